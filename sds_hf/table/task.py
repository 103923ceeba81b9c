"""What is asked of a table: a dataset, scores and a folder. Every plan, run and stream begins with one."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sds_hf.data.access.remote import folder_at
from sds_hf.data.cells import READABLE
from sds_hf.data.content import Content, content_digests, of_other_rows
from sds_hf.data.labels import labels_of
from sds_hf.errors import short
from sds_hf.files import is_remote, named_folder
from sds_hf.progress import Watch, adding, nothing, once_told
from sds_hf.scores.base.batches import columns_read, common_labels
from sds_hf.scores.base.catalog import ScoreLike, scores_of
from sds_hf.scores.base.score import Score
from sds_hf.scores.base.whole_set import fit_scores
from sds_hf.scores.classes_present import ClassesPresent
from sds_hf.table.manifest import check_request, contents_of, read_manifest, request

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset


class Task:
    """A dataset, the scores it is to get, and the folder they go to.

    Args:
        dataset: the rows.
        scores: what to compute; `classes_present` comes by itself.
        out: folder of the table, here or in an object store.
        rows_per_shard: how rows are cut.
        source: what to call the dataset.

    Attributes:
        dataset, source, rows_per_shard: as given.
        scores: with `classes_present` first, in the order of a table that is there; those that need the whole set are
            fitted by `fit`.
        labels: what indices mean.
        folder: of the table.
        request: everything that decides what is in the shards, see `manifest.request`; what nobody knows before the
            whole dataset is read is null.

    Raises:
        ValueError: if a number makes no sense, the scores do not go together, the label space is not known, a model
            cannot be had, or the folder holds a table of another request (it names the difference).
    """

    def __init__(
        self,
        dataset: "Dataset | IterableDataset",
        scores: ScoreLike,
        out: str | Path,
        rows_per_shard: int = 1000,
        source: str = "",
    ) -> None:
        if isinstance(dataset, dict):
            raise ValueError(f"a score table is of one split, not of several: choose one of {sorted(dataset)}")
        if rows_per_shard < 1:
            raise ValueError(f"rows_per_shard must be at least 1, not {rows_per_shard}")
        if not hasattr(dataset, "features"):
            raise ValueError(f"a score table is of a Dataset or an IterableDataset, not of {short(dataset)}")
        chosen_scores = scores_of([scores])
        self.dataset, self.source, self.rows_per_shard, self.folder = dataset, source, rows_per_shard, folder_at(out)
        chosen = common_labels(chosen_scores)
        self.labels = labels_of(dataset.features, chosen)
        rest = (score for score in chosen_scores if score.name != ClassesPresent.name)
        self.scores: list[Score] = _in_order([ClassesPresent(labels=chosen), *rest], self.folder)
        self.request = request(dataset, self.scores, self.labels, rows_per_shard)
        self.manifest(ignore=self.unknown)  # refuse early: reading all of a dataset takes time

    @property
    def columns(self) -> list[str]:
        """What is read of the dataset, if it is there."""
        return columns_read(self.scores)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Parts of the request that nobody knows before the whole dataset is read."""
        rows = ("source.rows",) if "stream" in self.request["source"] else ()
        fitted = (f"scores.{score.name}.statistics" for score in self.scores if not score.is_fitted)
        return *rows, "source.sha256", *fitted

    def manifest(self, ignore: Collection[str] = ()) -> dict[str, Any]:
        """What the folder holds of this request already; see `check_request`."""
        return check_request(self.folder, self.request, ignore)

    def read(self, watch: Watch = nothing) -> None:
        """Go over the whole dataset, not a stream, for what can be known only then: see `fit`, and what it holds.

        Raises:
            ValueError: if tables that were joined into the one in the folder were made of other rows.
        """
        dataset = cast("Dataset", self.dataset)
        with once_told(watch, "fitting", len(dataset)) as tell:
            self.fit(progress=adding(tell))
        with once_told(watch, "reading", len(dataset)) as tell:
            parts = contents_of(manifest)[1:] if (manifest := read_manifest(self.folder)) else []
            sets = [self.columns, READABLE, *(part.columns for part in parts)]
            sha256, readable_sha256, *part_digests = content_digests(dataset, sets, adding(tell))
        others = [part for part, digest in zip(parts, part_digests, strict=True) if part.sha256 != digest]
        if others:
            raise ValueError(f"{self.folder}: {of_other_rows(others)}")
        self.request["source"] |= Content((), tuple(self.columns), sha256, readable_sha256).entry()

    def fit(
        self, dataset: "Dataset | IterableDataset | None" = None, progress: Callable[[int], None] | None = None
    ) -> None:
        """Fit the scores that need the whole set to it, or for an estimate to a part of it."""
        unfitted = [index for index, score in enumerate(self.scores) if not score.is_fitted]
        self.scores = fit_scores(self.scores, dataset or self.dataset, self.labels, progress=progress)
        for index in unfitted:
            statistics = cast(Any, self.scores[index]).statistics
            self.request["scores"][index]["statistics"] = statistics


def _in_order(scores: list[Score], folder: Path) -> list[Score]:
    """Scores in the order that a table in a folder has them in, if it has all of them: so are its columns."""
    names = [entry["score"] for entry in (read_manifest(folder) or {}).get("scores", ())]
    return sorted(scores, key=lambda score: names.index(score.name)) if {s.name for s in scores} <= {*names} else scores


def make_folder(out: Path) -> None:
    """Make the folder of a table, unless it is one of an object store, which comes with its first file."""
    if is_remote(out):
        return
    try:
        named_folder(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"cannot make the folder {out}: {error.strerror}; choose another out=...") from error
