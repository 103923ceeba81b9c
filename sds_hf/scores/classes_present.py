"""`classes_present`: which classes a mask shows; what the groups of the selection are made of."""

from typing import ClassVar

import pyarrow as pa

from sds_hf.schema import settings
from sds_hf.scores.base.rows import Rows
from sds_hf.scores.base.score import Score, Values


@settings
class ClassesPresent(Score):
    """The foreground classes of an annotation, and how many there are.

    Columns read:
        mask: class indices; or `classes`, a list of ids, if there is no mask.

    Columns written:
        classes_present: list of int32, ids ascending, without background and 255.
        num_classes_present: int32.

    Args:
        labels: see `Score`.

    Source:
        C(Y) of Tang et al., SDS, AAAI 2025.

    Examples:
        >>> add_scores(candidates, ClassesPresent())["classes_present"][:3]
        [[10, 17, 19], [4], [17]]
    """

    name: ClassVar[str] = "classes_present"
    columns: ClassVar[dict[str, pa.DataType]] = {
        "classes_present": pa.list_(pa.int32()),
        "num_classes_present": pa.int32(),
    }
    needs: ClassVar[frozenset[str]] = frozenset({"classes"})
    source: ClassVar[str] = "SDS (Tang et al., AAAI 2025), C(Y)"

    def compute(self, rows: Rows) -> dict[str, Values]:
        """See `Score.compute`."""
        classes = [rows.classes_of(row) for row in range(len(rows))]
        return {"classes_present": classes, "num_classes_present": [len(ids) for ids in classes]}
