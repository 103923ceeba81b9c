"""Score tables: Parquet shards of scores beside a dataset, with a manifest that says what made them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

from sds_hf.batches import Column, labels_of_features
from sds_hf.checkpoints import sha256_of
from sds_hf.labels import LabelSpace, label_space
from sds_hf.manifest import MANIFEST, check_request, circumstances, read_manifest, request, write_manifest
from sds_hf.score import READABLE, Score, all_columns, common_labels, score_cells
from sds_hf.scores.classes_present import ClassesPresent

Progress = Callable[[int, int], None]  # rows done so far, failures so far


class ScoreTable:
    """A finished score table.

    Columns: `id`, `row`, `classes_present`, `num_classes_present`, those of the scores, `status` (`ok` or `failed`) and
    `error`. A failed row has null scores and says why.

    Attributes:
        folder: where it lies.
        manifest: what `manifest.json` holds.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest

    @classmethod
    def load(cls, folder: str | Path) -> "ScoreTable":
        """The table in a folder.

        Raises:
            ValueError: if there is none, it is not finished, or a shard is not what the manifest says.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        if manifest is None or "shards" not in manifest:
            raise ValueError(f"{folder} holds no score table; make one with `sds-hf score DATASET --out {folder}`")
        if not manifest["complete"]:
            raise ValueError(f"the score table in {folder} is not finished; run the same `sds-hf score` again to go on")
        for shard in manifest["shards"]:
            path = folder / shard["path"]
            if not path.exists() or sha256_of(path) != shard["sha256"]:
                raise ValueError(
                    f"{path} is missing or not what {MANIFEST} says; run the same `sds-hf score` again to make it anew"
                )
        return cls(folder, manifest)

    @property
    def paths(self) -> list[Path]:
        """The shards, in row order."""
        return [self.folder / shard["path"] for shard in self.manifest["shards"]]

    def to_arrow(self) -> pa.Table:
        """All rows in memory."""
        return pa.concat_tables(pq.read_table(path) for path in self.paths)

    def provenance(self) -> dict[str, Any]:
        """What a report says of where the scores come from."""
        return {
            name: self.manifest[name]
            for name in ("source", "scores", "models", "labels", "device", "notes", "versions")
        }


def score_table(
    dataset: Dataset,
    scores: Sequence[Score],
    out: str | Path,
    *,
    rows_per_shard: int = 1000,
    batch_size: int = 32,
    source: str = "",
    progress: Progress | None = None,
) -> ScoreTable:
    """Score a dataset into a folder of Parquet shards; run again, it makes only those that are missing or damaged.

    Args:
        dataset: with `image` and `mask` (or `classes` where no score needs the mask); `id` names the rows, which are
            numbered if it is missing.
        scores: what to compute; `classes_present` comes by itself.
        out: folder of the table.
        rows_per_shard: rows a shard, which is what an interrupted run can lose.
        batch_size: rows at a time; does not change the numbers.
        source: what to call the dataset in the manifest.
        progress: called after each batch with the rows done and the rows failed so far.

    Raises:
        ValueError: if the folder holds a table of another request (it names the difference), ids repeat, a column is
            missing, the label space is not known, a model cannot be had or a number makes no sense.
    """
    out = Path(out)
    for name, value in (("rows_per_shard", rows_per_shard), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    chosen = common_labels(scores)
    labels = label_space(chosen) if chosen != "auto" else labels_of_features(dataset.features)
    scores = [ClassesPresent(labels=chosen), *(score for score in scores if score.name != ClassesPresent.name)]
    job = _Job(dataset, scores, labels, batch_size, source)
    asked = request(dataset, scores, labels, rows_per_shard, source)
    known = check_request(out, asked)
    out.mkdir(parents=True, exist_ok=True)
    manifest = {**asked, **circumstances(scores), "complete": False, "shards": list(known.values())}
    write_manifest(out, manifest)
    manifest["shards"] = []
    count, failed = -(-len(dataset) // rows_per_shard), 0
    for shard in range(count):
        path = out / f"scores-{shard:05d}-of-{count:05d}.parquet"
        start, stop = shard * rows_per_shard, min((shard + 1) * rows_per_shard, len(dataset))
        table = _finished(path, known.get(path.name))
        if table is None:
            table = job.score(range(start, stop), failed, progress)
            pq.write_table(table, path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)
        failed += table["status"].to_pylist().count("failed")
        if progress:
            progress(stop, failed)
        manifest["shards"].append({"path": path.name, "rows": table.num_rows, "sha256": sha256_of(path)})
    manifest.update(complete=True, failed=failed)
    write_manifest(out, manifest)
    return ScoreTable.load(out)


def _finished(path: Path, known: dict[str, Any] | None) -> pa.Table | None:
    """The status of each row of a finished shard; None if there is none, or it is not as it was written."""
    if not path.exists() or (known and sha256_of(path) != known["sha256"]):
        return None
    try:
        return pq.read_table(path, columns=["status"])
    except (pa.ArrowException, OSError):
        return None


class _Job:
    """A dataset and what is wanted of it, checked.

    Raises:
        ValueError: if there are no rows, ids repeat or a column is missing.
    """

    def __init__(
        self, dataset: Dataset, scores: Sequence[Score], labels: LabelSpace, batch_size: int, source: str
    ) -> None:
        if not len(dataset):
            raise ValueError(f"the dataset {source} has no rows" if source else "the dataset has no rows")
        self.scores, self.labels, self.batch_size = scores, labels, batch_size
        columns = [name for name in READABLE if name in dataset.column_names]
        self.stored = dataset.select_columns(columns).with_format("arrow")
        score_cells(scores, {name: [] for name in columns}, labels)
        self.ids = _unique_ids(dataset)

    def score(self, rows: range, failed: int, progress: Progress | None) -> pa.Table:
        """The table of some rows."""
        parts = []
        for start in range(rows.start, rows.stop, self.batch_size):
            batch = range(start, min(start + self.batch_size, rows.stop))
            stored = self.stored[batch.start : batch.stop]
            cells = {name: stored[name].to_pylist() for name in stored.column_names}
            columns, errors = score_cells(self.scores, cells, self.labels)
            parts.append(self._table(batch, columns, errors))
            failed += len(errors)
            if progress:
                progress(batch.stop, failed)
        return pa.concat_tables(parts)

    def _table(self, rows: range, columns: dict[str, Column], errors: dict[int, str]) -> pa.Table:
        places = range(len(rows))
        arrays = {"id": pa.array(self.ids[rows.start : rows.stop], pa.string()), "row": pa.array(rows, pa.int64())}
        arrays |= {name: pa.array(list(columns[name]), dtype) for name, dtype in all_columns(self.scores).items()}
        arrays["status"] = pa.array(["failed" if place in errors else "ok" for place in places])
        arrays["error"] = pa.array([errors.get(place) for place in places], pa.string())
        return pa.table(arrays)


def _unique_ids(dataset: Dataset) -> list[str]:
    if "id" not in dataset.column_names:
        return [str(row) for row in range(len(dataset))]
    ids: list[Any] = dataset.select_columns(["id"]).with_format("arrow")[:]["id"].to_pylist()
    rows: dict[str, int] = {}
    for row, value in enumerate(ids):
        if value is None:
            raise ValueError(f"row {row} has no id; scores are joined by id, so every row needs one")
        if rows.setdefault(str(value), row) != row:
            raise ValueError(
                f"the id {str(value)!r} occurs more than once, in rows {rows[str(value)]} and {row}; scores are joined "
                "by id, so ids must be unique"
            )
    return list(rows)
