"""The making of a table: what is left to do, each shard as it is finished, and the manifest around them."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sds_hf.data.content import joint_digest, row_digests
from sds_hf.progress import Tell
from sds_hf.scores.base.score import Score, all_columns
from sds_hf.table.job import Job, Part, Piece, table_schema
from sds_hf.table.manifest import NEEDED, circumstances, read_manifest, source_entry, write_manifest
from sds_hf.table.partial.needs import SKIPPED
from sds_hf.table.partial.phase import Phase
from sds_hf.table.shards import Shard, Shards
from sds_hf.table.task import Task
from sds_hf.table.team import Team, finishing

if TYPE_CHECKING:
    from datasets import Dataset


class Told:
    """How far a job is, and who is told.

    Args:
        finished_rows: rows of earlier runs.
        failed: those of them that could not be scored.
        tell: is told at once, and whenever there is more.
    """

    def __init__(self, finished_rows: int, failed: int, tell: Tell | None) -> None:
        self.finished_rows, self.failed, self._tell = finished_rows, failed, tell or (lambda rows, failed: None)
        self._tell(finished_rows, failed)

    def add(self, rows: int, failed: int) -> None:
        """More rows are done."""
        self.finished_rows, self.failed = self.finished_rows + rows, self.failed + failed
        self._tell(self.finished_rows, self.failed)


def write_table(
    job: Job,
    shards: Shards,
    team: Team,
    retry: str | None = None,
    tell: Tell | None = None,
    phase: Phase | None = None,
) -> None:
    """Make the shards of this process that are missing or damaged, and wait until the table is finished.

    The first process writes the manifest.

    Args:
        job: what is scored.
        shards: of the table.
        team: the processes at work.
        retry: see `score_table`.
        tell: see `score_table`; only the first process tells.
        phase: of a table that is scored as far as needed; then it is this phase that is finished.

    Raises:
        ValueError: if the folder holds another table.
        OSError: if the folder cannot be written, or another process is gone.
        KeyboardInterrupt: after Ctrl-C.
    """
    task, out, first = job.task, shards.folder, team.rank.index == 0
    with finishing("the shard in hand") as stop_if_asked:
        if not first:
            team.wait(lambda: _is_begun(read_manifest(out), phase), lambda: [0])
        manifest = task.manifest(ignore=("source.sha256",) if retry else ())
        finished = shards.finished(manifest)
        if manifest and manifest["source"]["sha256"] != task.request["source"]["sha256"]:
            _check_rows(job.stored, shards, finished)
        open_rows = partial(phase.open_rows, task.scores) if phase else None
        todo = {number: _rows_to_score(shards, number, finished, retry, open_rows) for number in range(shards.count)}
        told = _told(todo, finished, tell if first else None)
        todo = {number: rows for number, rows in todo.items() if rows}
        if manifest.get("complete") and not todo and (phase is None or phase.is_last_in(manifest)):
            return
        if first:
            manifest = begin(task, manifest, finished, _entries(manifest, phase, retry))
        needs = phase.needs if phase else None
        mine = {number: rows for number, rows in todo.items() if team.rank.owns(number)}
        theirs = {number: len(rows) for number, rows in todo.items() if number not in mine}

        def is_done() -> bool:
            stop_if_asked()
            if not first:
                return _is_over(out, phase)
            for number, shard in shards.news() if theirs else ():
                if number in theirs:
                    finished[number] = shard
                    told.add(theirs.pop(number), shard.failed)
            return not theirs

        parts = job.score((_piece(shards, rows, number in finished and phase) for number, rows in mine.items()), needs)
        for number, rows in mine.items():
            stop_if_asked()
            shard_parts = _take(parts, len(rows), told)
            finished[number] = shards.write(number, *_merged(shard_parts, number, finished, shards, job.stored))
            if first:
                is_done()
        team.wait(is_done, lambda: {number % team.rank.count for number in theirs} if first else {0})
    if first and phase:
        end_phase(task.scores, shards, manifest, finished, phase)
    elif first:
        end(shards, manifest, finished)


def begin(
    task: Task, old: Mapping[str, Any], finished: Mapping[int, Shard], more: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Write the manifest of a table that is being made, with more entries if there are."""
    created = {"created": old["created"]} if old else {}
    source = source_entry(task.source, task.request["source"])
    told = circumstances(task.scores, source.get("reader"))
    manifest = {**task.request, "source": source, **told, **created, **(more or {}), "complete": False}
    _save(task.folder, manifest, finished)
    return manifest


def _entries(old: Mapping[str, Any], phase: Phase | None, retry: str | None) -> dict[str, Any]:
    """What the manifest says of a phase; a selection from a table that only gets further values holds."""
    if phase is None:
        return {}
    joined = list(old.get("joined", ()))
    if old.get("complete") and not retry:
        joined.append(joint_digest(shard["sha256"].encode() for shard in old["shards"]))
    return {NEEDED: phase.entry(phase.number), **({"joined": joined} if joined else {})}


def end(shards: Shards, manifest: dict[str, Any], finished: Mapping[int, Shard]) -> None:
    """Write the manifest of a finished table."""
    manifest.update(complete=True, failed=sum(shard.failed for shard in finished.values()))
    _save(shards.folder, manifest, finished)
    shards.clean()


def end_phase(
    scores: Sequence[Score], shards: Shards, manifest: dict[str, Any], finished: dict[int, Shard], phase: Phase
) -> None:
    """Write the manifest after a phase; after the last one the table is finished, and may turn out to be whole."""
    manifest[NEEDED] = phase.entry(phase.number + 1)
    if not phase.is_last:
        _save(shards.folder, manifest, finished)
        return
    if phase.is_everything:
        kinds = table_schema(all_columns(scores))
        for number in sorted(finished):
            if SKIPPED in (table := shards.read(number)).column_names:
                table = table.select(kinds.names).cast(kinds)
                finished[number] = shards.write(number, table, finished[number].content_sha256)
        del manifest[NEEDED]
    else:
        manifest[NEEDED] |= computed(scores, shards, finished)
    end(shards, manifest, finished)


def computed(scores: Sequence[Score], shards: Shards, finished: Mapping[int, Shard]) -> dict[str, Any]:
    """What a manifest says of a table that is scored as far as needed: rows that have a score, and work by kind."""
    rows, work = Counter[str](), dict[str, list[int]]()
    for number in finished:
        table = shards.read(number)
        counts = Counter(name for cell in table[SKIPPED].to_pylist() for name in cell or ())
        ok = table.num_rows - finished[number].failed
        rows.update({name: ok - counts[name] for name in all_columns(scores)})
        for score in scores:
            for name, (done, whole) in score.work(table).items():
                before = work.get(name, [0, 0])
                work[name] = [before[0] + done, before[1] + whole]
    return {"rows": dict(rows), "work": work}


def _save(out: Path, manifest: dict[str, Any], finished: Mapping[int, Shard]) -> None:
    """Write the manifest with the shards there are."""
    manifest["shards"] = [finished[number].entry() for number in sorted(finished)]
    write_manifest(out, manifest)


def is_whole(out: Path) -> bool:
    """Whether the table in a folder is finished, and all of it there."""
    manifest = read_manifest(out) or {}
    return bool(manifest.get("complete")) and all(Shard(**entry).is_intact(out) for entry in manifest["shards"])


def scored_content(digests: Iterable[bytes], table: pa.Table) -> str:
    """Digest of the rows of a shard that could be scored, from those of all its rows."""
    statuses = table["status"].to_pylist()
    return joint_digest(digest for digest, status in zip(digests, statuses, strict=True) if status != "failed")


def joined(parts: Sequence[Part]) -> tuple[pa.Table, str]:
    """The table of a shard, and the digest of what was scored."""
    table = pa.concat_tables(part.table for part in parts)
    return table, scored_content((digest for part in parts for digest in part.digests), table)


def _told(todo: Mapping[int, Sequence[int]], finished: Mapping[int, Shard], tell: Tell | None) -> Told:
    again = sum(len(todo[number]) for number in finished)
    finished_rows, failed = (sum(getattr(shard, name) for shard in finished.values()) for name in ("rows", "failed"))
    return Told(finished_rows - again, failed - again, tell)


def _take(parts: Iterator[Part], rows: int, told: Told) -> list[Part]:
    """The parts of so many rows."""
    shard_parts: list[Part] = []
    while sum(part.table.num_rows for part in shard_parts) < rows:
        shard_parts.append(next(parts))
        told.add(shard_parts[-1].table.num_rows, shard_parts[-1].failed)
    return shard_parts


def _is_begun(manifest: dict[str, Any] | None, phase: Phase | None) -> bool:
    return manifest is not None if phase is None else phase.is_begun(manifest)


def _is_over(out: Path, phase: Phase | None) -> bool:
    """Whether the first process has finished the table, or the phase."""
    manifest = read_manifest(out) or {}
    if phase is None or manifest.get("complete"):
        return is_whole(out) and (phase is None or phase.is_over(manifest))
    return phase.is_over(manifest)


def _rows_to_score(
    shards: Shards,
    number: int,
    finished: Mapping[int, Shard],
    retry: str | None,
    open_rows: Callable[[pa.Table], np.ndarray] | None = None,
) -> Sequence[int]:
    """Rows of a shard that have no score yet, or are to get another; `open_rows` says which lack something."""
    if number not in finished:
        return shards.rows(number)
    wanted = np.zeros(len(shards.rows(number)), bool)
    if open_rows:
        wanted |= open_rows(shards.read(number))
    if retry and finished[number].failed:
        wanted |= pc.equal(shards.read(number, ["status"])["status"], "failed").to_numpy()
    return [shards.rows(number)[index] for index in np.flatnonzero(wanted)]


def _piece(shards: Shards, rows: Sequence[int], is_stored: object) -> Piece:
    """Rows of a shard, with what it has of them already."""
    if not is_stored:
        return Piece(rows)
    number = shards.number(rows[0])
    return Piece(rows, shards.read(number).take(np.asarray(rows) - shards.rows(number).start))


def _check_rows(stored: "Dataset", shards: Shards, finished: Mapping[int, Shard]) -> None:
    """Refuse a dataset in which rows that were scored have changed; those that failed may.

    Raises:
        ValueError: says where.
    """
    for number, shard in finished.items():
        if _content(stored, shards, number, shards.read(number, ["status"])) != shard.content_sha256:
            rows = shards.rows(number)
            raise ValueError(
                f"{shards.folder} holds scores of rows that have changed since, some of rows {rows.start} to "
                f"{rows.stop - 1}; choose another --out or delete it"
            )


def _content(stored: "Dataset", shards: Shards, number: int, table: pa.Table) -> str:
    return scored_content(row_digests(stored, shards.rows(number)), table)


def _merged(
    parts: Sequence[Part], number: int, finished: Mapping[int, Shard], shards: Shards, stored: "Dataset"
) -> tuple[pa.Table, str]:
    """The table of a shard from newly scored rows and those it has, and the digest of what was scored."""
    if number not in finished:
        return joined(parts)
    table, old = pa.concat_tables(part.table for part in parts), shards.read(number)
    others = old.filter(pc.invert(pc.is_in(old["row"], table["row"].combine_chunks()))).cast(table.schema)
    table = pa.concat_tables([others, table]).sort_by("row")
    if _failed(table).equals(_failed(old)):
        return table, finished[number].content_sha256
    return table, _content(stored, shards, number, table)


def _failed(table: pa.Table) -> pa.Array:
    return pc.equal(table["status"], "failed").combine_chunks()
