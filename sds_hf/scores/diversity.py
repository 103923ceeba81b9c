"""`diversity`: how many objects of how many classes an image shows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from sds_hf.data.labels import LabelSpace
from sds_hf.schema import settings
from sds_hf.scores.base.rows import Rows
from sds_hf.scores.base.score import Values
from sds_hf.scores.base.shapes import InstanceKind, shapes
from sds_hf.scores.base.whole_set import WholeSetScore


@settings
class Diversity(WholeSetScore):
    """Object diversity: every class counts by its weight, and every further object of it less.

    Meletis et al. (ITSC 2019) rank images by "class scores, the heuristics scores and the number of objects of
    interest", without formulas; these are ours. Higher is better; rows without objects have 0, so a rule
    `diversity > 0` leaves them out. Ties are many: order by num_distinct and num_objects next.

    Columns read:
        mask: class indices, whose connected parts are the objects; `boxes` and `instances` in its place, as `objects`
            says.

    Columns written:
        diversity: float32, sum over classes of weight * log2(1 + number of objects), 0 or more.
        num_objects: int32, objects of the classes of interest.
        num_distinct: int32, classes of interest among them.
        effective: float32, exponential of the entropy of the classes' shares: 1 for one class, K for K equal ones, 0
            without objects.

    Args:
        objects: what is counted: `components`, connected parts of a class; `class`, each class once; `column`, those of
            the column `instances`; `boxes`, those of the column `boxes`.
        min_area: components of fewer pixels do not count.
        interest: names of the classes of interest; all if empty.
        weights: `equal`; `idf`, log((1 + rows) / (1 + rows with the class)), which needs the whole set; or weights
            above 0 by class name, the others having 1.
        statistics: rows of the set, and rows with each class, as `fit` finds them.
        labels: see `Score`.

    Source:
        Ours, after Meletis, Romijnders, Dubbelman, ITSC 2019.

    Examples:
        >>> score = Diversity(objects="components").fit(candidates)
        >>> add_scores(candidates, score).column_names[-3:]
        ['num_objects', 'num_distinct', 'effective']
    """

    name: ClassVar[str] = "diversity"
    columns: ClassVar[dict[str, pa.DataType]] = {
        "diversity": pa.float32(),
        "num_objects": pa.int32(),
        "num_distinct": pa.int32(),
        "effective": pa.float32(),
    }
    needs: ClassVar[frozenset[str]] = frozenset({"mask"})
    source: ClassVar[str] = "ours, after Meletis et al. (ITSC 2019)"

    statistics: Mapping[str, Mapping[int, int]] | None = field(default=None, hash=False)
    objects: InstanceKind | Literal["boxes"] = "components"
    min_area: Annotated[int, Field(ge=1)] = 1
    interest: tuple[str, ...] = ()
    weights: Literal["equal", "idf"] | Mapping[str, Annotated[float, Field(gt=0)]] = field(default="equal", hash=False)

    @property
    def reads(self) -> frozenset[str]:
        """See `Score.reads`."""
        return {"boxes": frozenset({"boxes"}), "column": frozenset({"instances"})}.get(self.objects, self.needs)

    @property
    def is_fitted(self) -> bool:
        """See `WholeSetScore.is_fitted`."""
        return self.weights != "idf" or super().is_fitted

    def collect(self, rows: Rows) -> Counter[int]:
        """Rows with each class; -1 stands for all rows."""
        return Counter({-1: len(rows)}) + Counter(class_id for counts in self.counts(rows) for class_id in counts)

    def merge(self, left: Counter[int], right: Counter[int]) -> Counter[int]:
        """See `WholeSetScore.merge`."""
        return left + right

    def freeze(self, collected: Counter[int]) -> Mapping[str, Mapping[int, int]]:
        """See `WholeSetScore.freeze`."""
        return {"rows": {c: collected[c] for c in sorted(collected)}}

    def compute(self, rows: Rows) -> dict[str, Values]:
        """See `Score.compute`."""
        weights, row_counts = self._weights(rows.labels), self.counts(rows)
        return {
            "diversity": [object_diversity(counts, weights) for counts in row_counts],
            "num_objects": [sum(counts.values()) for counts in row_counts],
            "num_distinct": [len(counts) for counts in row_counts],
            "effective": [effective_classes(list(counts.values())) for counts in row_counts],
        }

    def counts(self, rows: Rows) -> list[Counter[int]]:
        """Objects of each class of interest, row by row."""
        chosen = self._ids(self.interest, rows.labels) or rows.labels.class_ids
        if self.objects == "boxes":
            row_class_ids: list[Any] = list(rows.cells["boxes"])
        else:
            row_class_ids = [objects.class_ids.tolist() for objects in shapes(rows, self.objects, self.min_area)]
        return [Counter(class_id for class_id in row if class_id in chosen) for row in row_class_ids]

    def _weights(self, labels: LabelSpace) -> Mapping[int, float]:
        """The weights that are not 1, by class."""
        if self.weights == "equal":
            return {}
        if self.weights == "idf":
            rows = self.required_statistics()["rows"]
            total = rows.get(-1, 0)
            return {c: float(np.log((1 + total) / (1 + rows.get(c, 0)))) for c in labels.class_ids}
        return dict(zip(self._ids(self.weights, labels), self.weights.values(), strict=True))

    def _ids(self, names: Any, labels: LabelSpace) -> list[int]:
        """Indices of classes by name.

        Raises:
            ValueError: if a name is none of the label space.
        """
        ids_by_name = {labels.names[class_id]: class_id for class_id in labels.class_ids}
        if unknown := [name for name in names if name not in ids_by_name]:
            raise ValueError(f"diversity: {unknown} are no classes of {labels.name!r}; there are {list(ids_by_name)}")
        return [ids_by_name[name] for name in names]


def object_diversity(counts: Mapping[int, int], weights: Mapping[int, float]) -> float:
    """Sum over classes of weight times log2(1 + number of objects): repeats of a class add less and less."""
    return float(sum(weights.get(class_id, 1.0) * np.log2(1 + count) for class_id, count in counts.items()))


def effective_classes(counts: Sequence[int]) -> float:
    """Exponential of the entropy of the classes' shares of the objects: K for K equal classes, 0 for none."""
    shares = np.array(counts, np.float64) / max(1, sum(counts))
    return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0
