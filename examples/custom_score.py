"""A score of your own. `[project.entry-points."sds_hf.scores"] coverage = "custom_score"` makes it known everywhere."""

import numpy as np
import pyarrow as pa

from sds_hf import Score, settings


@settings
class Coverage(Score):
    """Share of the picture that shows a class.

    Columns read: mask.
    Columns written:
        coverage: float32 in [0, 1].

    Args:
        border: pixels left out at each side.
        labels: see `Score`.
    Source: an example.
    """

    name, source = "coverage", "an example"
    columns, needs = {"coverage": pa.float32()}, frozenset({"mask"})
    border: int = 0

    def compute(self, rows):
        inner = slice(self.border, -self.border or None)
        return {"coverage": [np.isin(mask[inner, inner], rows.labels.class_ids).mean() for mask in rows.masks]}
