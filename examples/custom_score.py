"""A score of your own: one class. Importing its file is enough for `map`, recipes and the command line's functions.

python examples/custom_score.py
"""

from typing import ClassVar

import numpy as np
import pyarrow as pa
from datasets import Dataset

from sds_hf import Recipe, Score, add_scores, select
from sds_hf.demo.dataset import demo_features, demo_rows
from sds_hf.rows import Rows
from sds_hf.score import Values, settings


@settings
class Coverage(Score):
    """How much of the picture is annotated.

    Columns read:
        mask: class indices.

    Columns written:
        coverage: float32 in [0, 1], share of the pixels that show a class; neither background nor ignored.

    Args:
        border: pixels left out at each side.
        labels: see `Score`.
    """

    name: ClassVar[str] = "coverage"
    columns: ClassVar[dict[str, pa.DataType]] = {"coverage": pa.float32()}
    needs: ClassVar[frozenset[str]] = frozenset({"mask"})
    source: ClassVar[str] = "an example"

    border: int = 0

    def compute(self, rows: Rows) -> dict[str, Values]:
        inner = slice(self.border, -self.border or None)
        masks = (mask[inner, inner] for mask in rows.masks)
        return {"coverage": [float(np.isin(mask, rows.labels.class_ids).mean()) for mask in masks]}


RECIPE = """
name: well-covered
scores:
  coverage: {border: 4}
rules:
  - threshold: {column: coverage, above: q0.5}
"""


def main() -> None:
    candidates = Dataset.from_list(list(demo_rows(20)), features=demo_features())
    recipe = Recipe.from_yaml(RECIPE)
    selection = select(add_scores(candidates, *recipe.make_scores()), recipe)
    print(f"{selection.report.kept} of {len(candidates)} rows are annotated more than the median")


if __name__ == "__main__":
    main()
