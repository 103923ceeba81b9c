"""`tfdp`: how complex the shapes of an image's objects are, each class weighing as much as any other."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from sds_hf.schema import settings
from sds_hf.scores.base.rows import Rows
from sds_hf.scores.base.score import Values
from sds_hf.scores.base.shapes import InstanceKind, Shapes, shapes
from sds_hf.scores.base.whole_set import WholeSetScore
from sds_hf.scores.functional.outlines import scale_invariant_complexity, shape_complexity

Totals = tuple[Counter[int], Counter[int]]
ONE = 2**60  # sums are of integers, which no order of the rows changes; complexities above 1/256 are exact in these


@settings
class TFDP(WholeSetScore):
    """Shape complexity of the annotated objects, as training-free dataset pruning ranks images by it.

    Dai et al. (ICLR 2025): perimeter over area of every object, made independent of its size (SI) and of how common its
    class is (CB), summed over the image. No pixels of the image and no model are needed; keep the highest. Geometry is
    that of `largest_outline`: of an object in several parts only the largest counts, holes are filled.

    Columns read:
        mask: class indices; 255 belongs to no object.
        instances: in place of the mask with `instances="column"`, see `given_instances`.

    Columns written:
        scs: float64, sum over the objects of perimeter / area; 0 for an object without an area, such as a line.
        si_scs: float64, sum over the objects of perimeter / (2 sqrt(pi area)), at least 1 for each that has an area.
        cb_scs: float64, sum over the objects of their SI divided by the sum of SI of all objects of the class in the
            whole set; over the set it adds up to the number of classes.
        num_instances: int32. Masks in fragments have many, each adding about 1 to si_scs: see `min_area`.

    Args:
        instances: what an object is: `components`, a connected part of a class; `class`, all of a class, of which the
            largest part is measured; `column`, what the column `instances` says.
        min_area: components of fewer pixels are none; 16 is good for masks that a generator made.
        base: what cb_scs is made of: `si`, or `scs`.
        class_norm: what the base is divided by: `sum` over all objects of the class, their `count`, or `none`.
        statistics: sums and counts of objects by class, as `fit` finds them.
        labels: see `Score`.

    Source:
        Dai et al., Training-Free Dataset Pruning for Instance Segmentation, ICLR 2025. Objects of semantic masks are
        ours; the paper has instance masks.

    Examples:
        >>> add_scores(candidates, TFDP(base="si")).column_names[-2:]
        ['cb_scs', 'num_instances']
    """

    name: ClassVar[str] = "tfdp"
    columns: ClassVar[dict[str, pa.DataType]] = {
        **{name: pa.float64() for name in ("scs", "si_scs", "cb_scs")},
        "num_instances": pa.int32(),
    }
    needs: ClassVar[frozenset[str]] = frozenset({"mask"})
    source: ClassVar[str] = "TFDP (Dai et al., ICLR 2025)"

    statistics: Mapping[str, Mapping[int, float]] | None = field(default=None, hash=False)
    instances: InstanceKind = "components"
    min_area: Annotated[int, Field(ge=1)] = 1
    base: Literal["si", "scs"] = "si"
    class_norm: Literal["sum", "count", "none"] = "sum"

    @property
    def reads(self) -> frozenset[str]:
        """See `Score.reads`."""
        return frozenset({"instances"}) if self.instances == "column" else self.needs

    @property
    def is_fitted(self) -> bool:
        """See `WholeSetScore.is_fitted`."""
        return self.class_norm == "none" or super().is_fitted

    def collect(self, rows: Rows) -> Totals:
        """Of each class, the sum of the base in units of 1 / ONE, and the number of objects."""
        sums, counts = Counter[int](), Counter[int]()
        for objects in shapes(rows, self.instances, self.min_area):
            for class_id, value in zip(objects.class_ids.tolist(), self._base(objects).tolist(), strict=True):
                sums[class_id] += int(value * ONE)
                counts[class_id] += 1
        return sums, counts

    def merge(self, left: Totals, right: Totals) -> Totals:
        """See `WholeSetScore.merge`."""
        for total, more in zip(left, right, strict=True):
            total.update(more)
        return left

    def freeze(self, collected: Totals) -> Mapping[str, Mapping[int, float]]:
        """See `WholeSetScore.freeze`."""
        sums, counts = collected
        return {"sum": {c: sums[c] / ONE for c in sorted(sums)}, "count": {c: counts[c] for c in sorted(counts)}}

    def compute(self, rows: Rows) -> dict[str, Values]:
        """See `Score.compute`."""
        all_objects = shapes(rows, self.instances, self.min_area)
        return {
            "scs": [float(shape_complexity(objects.areas, objects.perimeters).sum()) for objects in all_objects],
            "si_scs": [
                float(scale_invariant_complexity(objects.areas, objects.perimeters).sum()) for objects in all_objects
            ],
            "cb_scs": [float(self._balanced(objects).sum()) for objects in all_objects],
            "num_instances": [len(objects.class_ids) for objects in all_objects],
        }

    def _base(self, objects: Shapes) -> np.ndarray:
        formula = shape_complexity if self.base == "scs" else scale_invariant_complexity
        return formula(objects.areas, objects.perimeters)

    def _balanced(self, objects: Shapes) -> np.ndarray:
        """The base of every object over what its class adds up to; 0 if the class adds up to nothing."""
        if self.class_norm == "none":
            return self._base(objects)
        totals = self.required_statistics()[self.class_norm]
        norms = np.array([totals.get(class_id, 0) for class_id in objects.class_ids.tolist()], np.float64)
        balanced: np.ndarray = np.divide(self._base(objects), norms, out=np.zeros(len(norms)), where=norms > 0)
        return balanced
