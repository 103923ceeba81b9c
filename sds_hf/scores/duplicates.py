"""`duplicates`: which images of a set repeat others of the same prompt."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from sds_hf.files import cache_folder, read_sha256
from sds_hf.schema import settings
from sds_hf.scores.base import encoding
from sds_hf.scores.base.fitted import load_statistics, save_statistics
from sds_hf.scores.base.rows import Rows
from sds_hf.scores.base.score import ClipScore, Values
from sds_hf.scores.base.whole_set import WholeSetScore
from sds_hf.scores.functional.neighbors import blocks, pixel_hash, text_hash

if TYPE_CHECKING:
    from torch import Tensor

BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))  # 1 is for copies
Parts = dict[str, list[np.ndarray]]


@settings
class Duplicates(WholeSetScore, ClipScore):
    """How many other images of the same prompt look the same, by the cosine of their CLIP embeddings.

    A generator that collapses draws one picture many times. Keeping the rows whose `duplicate_rank` is 0 keeps the
    first of each.

    Columns read:
        image: picture of any size.
        caption: the prompt; or the column that `within` says.
        id: which row of the set it is.

    Columns written:
        duplicates: int32, other rows of the prompt whose cosine is at least `threshold`.
        duplicate_rank: int32, how many of them come earlier in the set.
        duplicate_sim: float32, the highest cosine with another row of the prompt, exactly 1 for the same pixels; null
            if there is none.
        duplicate_of: id of that row.

    Args:
        threshold: cosine from which two images are duplicates; it depends on the model.
        within: column whose value two rows must share to be compared, or None to compare all rows, which takes time
            that grows with the square of their number. A row in which it is null is compared with none and has nulls.
        statistics: names the file with the embeddings of the set, as `fit` writes it.
        model, dtype, labels: see `ClipScore`.

    Source:
        Ours; SemDeDup (Abbas et al., 2023) removes duplicates by such cosines.

    Examples:
        >>> score = Duplicates(model="demo", threshold=0.9)
        >>> add_scores(candidates, score).column_names[-2:]
        ['duplicate_sim', 'duplicate_of']
    """

    name: ClassVar[str] = "duplicates"
    columns: ClassVar[dict[str, pa.DataType]] = {
        "duplicates": pa.int32(),
        "duplicate_rank": pa.int32(),
        "duplicate_sim": pa.float32(),
        "duplicate_of": pa.string(),
    }
    needs: ClassVar[frozenset[str]] = frozenset({"image", "caption", "id"})
    applied: ClassVar[frozenset[str]] = frozenset({"threshold"})
    source: ClassVar[str] = "ours, after SemDeDup (Abbas et al., 2023)"

    threshold: Annotated[float, Field(gt=-1, le=1)] = 0.95
    within: str | None = "caption"

    @property
    def reads(self) -> frozenset[str]:
        """See `Score.reads`."""
        return frozenset({"image", "id", *([self.within] if self.within else [])})

    def collect(self, rows: Rows) -> Parts:
        """Embeddings, and 64 bits each for prompts, pixels and ids."""
        if not len(rows):
            return {}
        kept = [row for row, group in enumerate(self._groups(rows)) if group is not None]
        parts = {
            "points": self._embeddings(rows).half().cpu().numpy(),
            "groups": np.array([group or 0 for group in self._groups(rows)]),
            "hashes": np.array([pixel_hash(image) for image in rows.images]),
            "ids": np.array([str(value) for value in rows.cells["id"]]),
        }
        return {name: [array[kept]] for name, array in parts.items()}

    def merge(self, left: Parts, right: Parts) -> Parts:
        """See `WholeSetScore.merge`."""
        return {name: left.get(name, []) + right.get(name, []) for name in {**left, **right}}

    def freeze(self, collected: Parts) -> Mapping[str, Any]:
        """The digest of a file in the cache with the rows in the order of their groups."""
        if not collected:
            raise ValueError("duplicates: the set has no row that can be read")
        arrays = {name: np.concatenate(parts) for name, parts in collected.items()}
        order = np.argsort(arrays["groups"], kind="stable")  # within a group the earlier rows stay first
        folder = cache_folder("models")
        part = folder / f"{os.getpid()}.part.npz"
        save_statistics(
            part, self.name, {"within": self.within}, **{name: array[order] for name, array in arrays.items()}
        )
        digest = read_sha256(part)
        part.replace(folder / f"{digest}.npz")
        return {"sha256": digest, "rows": len(order)}

    def compute(self, rows: Rows) -> dict[str, Values]:
        """See `Score.compute`."""
        arrays = self._index()
        vectors, names = self._embeddings(rows), rows.cells["id"]
        row_values: list[Sequence[Any]] = []
        for row, group in enumerate(self._groups(rows)):
            start, stop = (int(np.searchsorted(arrays["groups"], group or 0, side)) for side in ("left", "right"))
            members = {name: array[start:stop] for name, array in arrays.items()}
            compared = self._compare(vectors[row : row + 1], rows.images[row], str(names[row]), members)
            row_values.append((None,) * 4 if group is None else compared)
        return dict(zip(self.columns, map(list, zip(*row_values, strict=True)), strict=True))

    def _compare(
        self, vector: "Tensor", image: np.ndarray, name: str, members: Mapping[str, np.ndarray]
    ) -> tuple[int, int, float | None, str | None]:
        """The columns of a row, given the rows of its group."""
        import torch

        points = torch.from_numpy(members["points"])
        cosines = np.concatenate([np.empty(0), *(block[0].cpu().numpy() for _, block in blocks(vector, points))])
        cosines = np.where(members["hashes"] == pixel_hash(image), 1, np.minimum(cosines, BELOW_ONE))
        others = members["ids"] != name
        if not others.any():
            return 0, 0, None, None
        own = int(np.argmin(others)) if not others.all() else len(others)
        alike = others & (cosines >= self.threshold)
        closest = int(np.where(others, cosines, -np.inf).argmax())
        return int(alike.sum()), int(alike[:own].sum()), float(cosines[closest]), str(members["ids"][closest])

    def _index(self) -> Mapping[str, np.ndarray]:
        """The rows of the set, by group."""
        path = cache_folder("models") / f"{self.required_statistics()['sha256']}.npz"
        if not path.exists():
            raise ValueError(
                f"duplicates: the embeddings of the set are no longer in {path.parent}; delete "
                f"{cache_folder('statistics')} and score again"
            )
        model = load_statistics(path, self.name)
        if model.about["within"] != self.within:
            raise ValueError(
                f"duplicates was fitted with within={model.about['within']!r}, not {self.within!r}; fit again"
            )
        return model.arrays

    def _embeddings(self, rows: Rows) -> "Tensor":
        return encoding.images(rows, self.encoder(), encoding.View())

    def _groups(self, rows: Rows) -> list[int | None]:
        """64 bits for what each row shares with those it is compared with; None where that is null."""
        if self.within is None:
            return [0] * len(rows)
        values: Sequence[Any] = rows.captions if self.within == "caption" else rows.cells[self.within]
        return [None if value is None else text_hash(str(value)) for value in values]
