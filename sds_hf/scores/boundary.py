"""`boundary`: whether the outlines of a mask lie where the picture changes."""

from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from sds_hf.data.instances import instance_map
from sds_hf.schema import settings
from sds_hf.scores.base.rows import Rows
from sds_hf.scores.base.score import Cost, Score, Values
from sds_hf.scores.functional.boundary import boundary_fit


@settings
class Boundary(Score):
    """How much stronger the picture changes on the outlines of its mask than beside them.

    Real objects end where the picture changes. No model is asked, so this sees what a CLIP cannot: masks that are
    shifted, boxed, too large, too small or ragged. It does not see whether the class is right.

    Columns read:
        image: picture of any size; looked at with at most 320 pixels a side.
        mask: class indices of the same size; pixels of 255 go to the nearest class, and an outline that runs through
            them may lie anywhere in their band.
        instances: only with `instances="column"`.

    Columns written:
        boundary: float32 in [-1, 1], higher is better, about 0 for outlines that lie anywhere: mean rank of the
            gradient on the outlines minus that 3 to 7 pixels beside them; null with fewer than 20 pixels of outline.
        boundary_class: list of structs, one a class of the mask, ids ascending: `class_id` int32, and `boundary`
            float32 of the outlines that bound this class, null likewise.

    Soft and low-contrast objects have low scores although they are right: compare rows of one class with each other.

    Args:
        instances: what has outlines: regions of the `mask`, or with `column` also the objects of the column `instances`
            (polygons, run lengths or a picture of ids), so that two objects of one class that touch have one between
            them.
        labels: see `Score`.

    Source:
        Ours; ranks of the Sobel gradient.

    Examples:
        >>> add_scores(candidates, Boundary()).features["boundary"]
        Value('float32')
    """

    name: ClassVar[str] = "boundary"
    columns: ClassVar[dict[str, pa.DataType]] = {
        "boundary": pa.float32(),
        "boundary_class": pa.list_(pa.struct({"class_id": pa.int32(), "boundary": pa.float32()})),
    }
    needs: ClassVar[frozenset[str]] = frozenset({"image", "mask"})
    cost: ClassVar[Cost] = "light"
    source: ClassVar[str] = "ours"

    instances: Literal["mask", "column"] = "mask"

    @property
    def reads(self) -> frozenset[str]:
        """See `Score.reads`."""
        return self.needs | {"instances"} if self.instances == "column" else self.needs

    def compute(self, rows: Rows) -> dict[str, Values]:
        """See `Score.compute`."""
        values: dict[str, Any] = {name: [] for name in self.columns}
        for row, (image, mask) in enumerate(zip(rows.images, rows.masks, strict=True)):
            objects = rows.cells["instances"][row] if self.instances == "column" else None
            segments = None if objects is None else instance_map(objects, mask.shape)
            fit = boundary_fit(image, mask, rows.classes_of(row), segments)
            values["boundary"].append(fit.whole)
            values["boundary_class"].append(
                [{"class_id": c, "boundary": None if np.isnan(v) else v} for c, v in fit.by_class.items()]
            )
        return values
