"""Score tables: Parquet shards of scores beside a dataset, with a manifest that says what made them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import Dataset

from sds_hf.batches import labels_of_features
from sds_hf.content import content_digest, joint_digest, row_digests
from sds_hf.fitting import fit_scores, is_unfitted
from sds_hf.interrupts import finishing
from sds_hf.job import Job, Part
from sds_hf.labels import LabelSpace, label_space
from sds_hf.manifest import MANIFEST, check_request, circumstances, read_manifest, request, write_manifest
from sds_hf.score import Score, columns_read, common_labels
from sds_hf.scores.classes_present import ClassesPresent
from sds_hf.shards import JOURNAL, Shard, Shards

Progress = Callable[[int, int], None]  # rows done so far, failures so far; first those of earlier runs


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
            if not Shard(**shard).is_intact(folder):
                raise ValueError(
                    f"{folder / shard['path']} is missing or not what {MANIFEST} says; run the same `sds-hf score` "
                    "again to make it anew"
                )
        return cls(folder, manifest)

    @property
    def paths(self) -> list[Path]:
        """The shards, in row order."""
        return [self.folder / shard["path"] for shard in self.manifest["shards"]]

    def to_arrow(self) -> pa.Table:
        """All rows in memory."""
        return pa.concat_tables(pq.read_table(path) for path in self.paths)

    @property
    def sha256(self) -> str:
        """Digest of all shards: two tables that have it in common hold the same."""
        return joint_digest(shard["sha256"].encode() for shard in self.manifest["shards"])

    def provenance(self) -> dict[str, Any]:
        """What a report says of where the scores come from."""
        names = ("source", "scores", "models", "labels", "device", "notes", "versions")
        return {**{name: self.manifest[name] for name in names}, "table_sha256": self.sha256}


def score_table(
    dataset: Dataset,
    scores: Sequence[Score],
    out: str | Path,
    *,
    rows_per_shard: int = 1000,
    batch_size: int = 32,
    source: str = "",
    retry: str | None = None,
    progress: Progress | None = None,
) -> ScoreTable:
    """Score a dataset into a folder of Parquet shards; run again, it makes only those that are missing or damaged.

    A shard that is finished stays so, whatever happens then. In the main thread Ctrl-C waits for the shard in hand; a
    second one stops at once.

    Args:
        dataset: with `image` and `mask` (or `classes` where no score needs the mask); `id` names the rows, which are
            numbered if it is missing.
        scores: what to compute; `classes_present` comes by itself.
        out: folder of the table.
        rows_per_shard: rows a shard, which is what an interrupted run can lose.
        batch_size: rows at a time; does not change the numbers.
        source: what to call the dataset in the manifest.
        retry: `"failed"` scores rows again that failed; they may have changed in the dataset, others may not.
        progress: called with the rows done and failed by earlier runs, then after each batch.

    Raises:
        ValueError: if the folder holds a table of another request (it names the difference), ids repeat, a column is
            missing, the label space is not known, a model cannot be had or a number makes no sense.
        OSError: if the folder cannot be written.
        KeyboardInterrupt: after Ctrl-C.
    """
    out = Path(out)
    for name, value in (("rows_per_shard", rows_per_shard), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    if retry not in (None, "failed"):
        raise ValueError(f"retry must be 'failed', not {retry!r}")
    scores, labels = complete(dataset, scores)
    job = Job(dataset, scores, labels, batch_size, source)
    asked = request(dataset, scores, labels, rows_per_shard, None)
    check_request(out, asked, ignore=unknown(scores))  # refuse early: reading all of a dataset takes time
    _make_folder(out)
    scores = job.scores = fit_scores(scores, dataset, labels)
    asked = request(dataset, scores, labels, rows_per_shard, content_digest(dataset, columns_read(scores)))
    asked["source"] = {"name": source, **asked["source"]}
    manifest = check_request(out, asked, ignore=("source.sha256",) if retry else ())
    shards = Shards(out, len(dataset), rows_per_shard)
    finished = shards.finished(manifest)
    if manifest and manifest["source"]["sha256"] != asked["source"]["sha256"]:
        _check_rows(job.stored, shards, finished)
    todo = {place: rows for place in range(shards.count) if (rows := _rows_to_score(shards, place, finished, retry))}
    if todo or not manifest["complete"]:
        created = {"created": manifest["created"]} if manifest else {}
        manifest = {**asked, **circumstances(scores), **created, "complete": False}
        _save(out, manifest, finished)
    told = _Told(len(dataset), todo, finished, progress)
    if manifest["complete"]:
        return ScoreTable(out, manifest)
    parts = job.score(todo.values())
    with finishing("the shard in hand") as stop_if_asked:
        for place, rows in todo.items():
            stop_if_asked()
            found = _take(parts, len(rows), told)
            finished[place] = shards.write(place, *_merged(found, place, finished, shards, job.stored))
    manifest.update(complete=True, failed=told.failed)
    _save(out, manifest, finished)
    shards.clean()
    return ScoreTable.load(out)


def complete(dataset: Dataset, scores: Sequence[Score]) -> tuple[list[Score], LabelSpace]:
    """The scores with `classes_present` first, and the label space of the dataset.

    Raises:
        ValueError: if the scores do not go together or the label space is not known.
    """
    chosen = common_labels(scores)
    labels = label_space(chosen) if chosen != "auto" else labels_of_features(dataset.features)
    rest = (score for score in scores if score.name != ClassesPresent.name)
    return [ClassesPresent(labels=chosen), *rest], labels


def unknown(scores: Sequence[Score]) -> tuple[str, ...]:
    """Parts of a request that nobody knows before the whole dataset is read."""
    return "source.sha256", *(f"scores.{score.name}.statistics" for score in scores if is_unfitted(score))


class _Told:
    """How far a job is, and who is told."""

    def __init__(
        self, rows: int, todo: Mapping[int, Sequence[int]], finished: Mapping[int, Shard], progress: Progress | None
    ) -> None:
        again = sum(len(rows) for place, rows in todo.items() if place in finished)
        self.done = rows - sum(map(len, todo.values()))
        self.failed = sum(shard.failed for shard in finished.values()) - again
        self._progress = progress
        self._tell()

    def add(self, part: Part) -> None:
        self.done, self.failed = self.done + part.table.num_rows, self.failed + part.failed
        self._tell()

    def _tell(self) -> None:
        if self._progress:
            self._progress(self.done, self.failed)


def _rows_to_score(shards: Shards, place: int, finished: Mapping[int, Shard], retry: str | None) -> Sequence[int]:
    """Rows of a shard that have no score yet, or are to get another."""
    if place not in finished:
        return shards.rows(place)
    if not retry or not finished[place].failed:
        return ()
    table = shards.read(place, ["row", "status"])
    rows: list[int] = table.filter(pc.field("status") == "failed")["row"].to_pylist()
    return rows


def _check_rows(stored: Dataset, shards: Shards, finished: Mapping[int, Shard]) -> None:
    """Refuse a dataset in which rows that were scored have changed; those that failed may.

    Raises:
        ValueError: says where.
    """
    for place, shard in finished.items():
        if _content(stored, shards, place, shards.read(place, ["status"])) != shard.content_sha256:
            rows = shards.rows(place)
            raise ValueError(
                f"{shards.folder} holds scores of rows that have changed since, some of rows {rows.start} to "
                f"{rows.stop - 1}; choose another --out or delete it"
            )


def _content(stored: Dataset, shards: Shards, place: int, table: pa.Table) -> str:
    """Digest of the rows of a shard that could be scored."""
    return _scored_content(row_digests(stored, shards.rows(place)), table)


def _scored_content(digests: Iterable[bytes], table: pa.Table) -> str:
    statuses = table["status"].to_pylist()
    return joint_digest(digest for digest, status in zip(digests, statuses, strict=True) if status == "ok")


def _take(parts: Iterator[Part], rows: int, told: _Told) -> list[Part]:
    """The parts of so many rows."""
    found: list[Part] = []
    while sum(part.table.num_rows for part in found) < rows:
        found.append(next(parts))
        told.add(found[-1])
    return found


def _merged(
    parts: Sequence[Part], place: int, finished: Mapping[int, Shard], shards: Shards, stored: Dataset
) -> tuple[pa.Table, str]:
    """The table of a shard from newly scored rows and those it has, and the digest of what was scored."""
    table = pa.concat_tables(part.table for part in parts)
    if place not in finished:
        return table, _scored_content((digest for part in parts for digest in part.digests), table)
    known = shards.read(place).filter(pc.field("status") == "ok").cast(table.schema)
    table = pa.concat_tables([known, table]).sort_by("row")
    return table, _content(stored, shards, place, table)


def _save(out: Path, manifest: dict[str, Any], finished: Mapping[int, Shard]) -> None:
    """Write the manifest with the shards there are; the journal goes, as the manifest knows them now."""
    manifest["shards"] = [asdict(finished[place]) for place in sorted(finished)]
    write_manifest(out, manifest)
    (out / JOURNAL).unlink(missing_ok=True)


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"cannot make the folder {out}: {error.strerror}; choose another --out") from error
