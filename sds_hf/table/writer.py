"""The making of a table: what is left to do, each shard as it is finished, and the manifest around them."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from sds_hf.data.content import joint_digest, row_digests
from sds_hf.progress import Pace, Tell, duration
from sds_hf.table.job import Job, Part
from sds_hf.table.manifest import circumstances, read_manifest, source_entry, write_manifest
from sds_hf.table.shards import Shard, Shards
from sds_hf.table.task import Task
from sds_hf.table.team import Team, finishing

if TYPE_CHECKING:
    from datasets import Dataset


MINUTE = 60.0  # seconds of work that may be lost, and that Ctrl-C may take


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


class Hand:
    """The shard in hand: how much of it is left, and what Ctrl-C waits for.

    Every minute its rows are kept aside, so that a run that is stopped or killed loses no more than that. The shard
    itself has the same rows and bytes however often it was begun.
    """

    def __init__(self) -> None:
        self._pace, self._rows, self._left, self._kept = Pace(None), 0, 0, time.monotonic()

    def take_up(self, rows: int) -> None:
        """Begin a shard of so many rows."""
        self._left, self._kept = rows, time.monotonic()
        self._pace(self._rows)

    def seconds(self) -> float | None:
        """How long the rest of it takes; None while there is no telling."""
        rate, _ = self._pace(self._rows)
        return self._left / rate if rate else None

    def is_long(self) -> bool:
        """Whether the rest takes so long that nobody waits for it."""
        return (self.seconds() or 0) > MINUTE

    def is_to_be_kept_after(self, rows: int, is_stopping: bool) -> bool:
        """Whether its rows are to be kept now that so many more are there; then they are not, for a minute."""
        self._rows, self._left = self._rows + rows, self._left - rows
        now = time.monotonic()
        if not self._left or (now - self._kept < MINUTE and not (is_stopping and self.is_long())):
            return False
        self._kept = now
        return True

    def told(self) -> str:
        """What Ctrl-C waits for, for its message."""
        seconds = self.seconds()
        if seconds is None:
            return ""
        if self.is_long():
            return f", as far as the batch: the rest would take another {duration(seconds)}; its rows so far are kept"
        return f", about {duration(seconds)}"


def write_table(job: Job, shards: Shards, team: Team, retry: str | None = None, tell: Tell | None = None) -> None:
    """Make the shards of this process that are missing or damaged, and wait until the table is finished.

    The first process writes the manifest.

    Args:
        job: what is scored.
        shards: of the table.
        team: the processes at work.
        retry: see `score_table`.
        tell: see `score_table`; only the first process tells.

    Raises:
        ValueError: if the folder holds another table.
        OSError: if the folder cannot be written, or another process is gone.
        KeyboardInterrupt: after Ctrl-C.
    """
    task, out, first = job.task, shards.folder, team.rank.index == 0
    hand = Hand()
    with finishing("the shard in hand", hand.told) as stop_if_asked:
        if not first:
            team.wait(lambda: read_manifest(out) is not None, lambda: [0])
        manifest = task.manifest(ignore=("source.sha256",) if retry else ())
        finished = shards.finished(manifest)
        if manifest and manifest["source"]["sha256"] != task.request["source"]["sha256"]:
            _check_rows(job.stored, shards, finished)
        todo = {number: _rows_to_score(shards, number, finished, retry) for number in range(shards.count)}
        todo = {number: rows for number, rows in todo.items() if rows}
        source = task.request["source"]["sha256"]
        begun = {} if retry else _begun(shards, [number for number in todo if team.rank.owns(number)], source)
        told = _told(todo, finished, begun, tell if first else None)
        if manifest.get("complete") and not todo:
            return
        if first:
            manifest = begin(task, manifest, finished)
        mine = {number: rows for number, rows in todo.items() if team.rank.owns(number)}
        theirs = {number: len(rows) for number, rows in todo.items() if number not in mine}

        def is_done() -> bool:
            stop_if_asked()
            if not first:
                return is_whole(out)
            for number, shard in shards.news() if theirs else ():
                if number in theirs:
                    finished[number] = shard
                    told.add(theirs.pop(number), shard.failed)
            return not theirs

        def keep(number: int, parts: Sequence[Part]) -> None:
            shards.keep_begun(number, *whole_table(parts), source)
            if hand.is_long():
                stop_if_asked()

        lacking = {number: _after(rows, begun.get(number)) for number, rows in mine.items()}
        parts = job.score(lacking.values())
        for number, rows in lacking.items():
            stop_if_asked()
            shard_parts = [begun[number]] if number in begun else []
            hand.take_up(len(rows))
            for part in _taken(parts, len(rows)):
                shard_parts.append(part)
                told.add(part.table.num_rows, part.failed)
                if hand.is_to_be_kept_after(part.table.num_rows, stop_if_asked.is_asked) and number not in finished:
                    keep(number, shard_parts)
            finished[number] = shards.write(number, *_merged(shard_parts, number, finished, shards, job.stored))
            if first:
                is_done()
        team.wait(is_done, lambda: {number % team.rank.count for number in theirs} if first else {0})
    if first:
        end(shards, manifest, finished)


def write_part(job: Job, shards: Shards, team: Team, tell: Tell | None = None) -> bool:
    """Make the shards of this process that are missing or damaged, and wait for nobody.

    The first process that makes one begins the manifest, and the one that makes the last ends it. All that processes
    may write at once is the same for all of them.

    Args:
        job: what is scored.
        shards: of the table.
        team: of which this process is one.
        tell: see `score_table`; is told of this process's rows.

    Returns:
        Whether the table is whole.

    Raises:
        ValueError: if the folder holds another table.
        OSError: if the folder cannot be written.
        KeyboardInterrupt: after Ctrl-C.
    """
    with finishing("the shard in hand") as stop_if_asked:
        manifest = job.task.manifest()
        finished = shards.finished(manifest)
        mine = {number: shards.rows(number) for number in range(shards.count) if team.rank.owns(number)}
        own = [shard for number, shard in finished.items() if number in mine]
        told = Told(sum(shard.rows for shard in own), sum(shard.failed for shard in own), tell)
        mine = {number: rows for number, rows in mine.items() if number not in finished}
        if mine and manifest.get("complete") is not False:
            begin(job.task, manifest, finished)
        parts = job.score(mine.values())
        for number, rows in mine.items():
            stop_if_asked()
            shard_parts = []
            for part in _taken(parts, len(rows)):
                shard_parts.append(part)
                told.add(part.table.num_rows, part.failed)
            shards.write(number, *joined(shard_parts))
    with team.only_one():
        return end_if_whole(shards.folder)


def end_if_whole(folder: Path) -> bool:
    """End the table in a folder if all of its shards are finished, whoever made them.

    Returns:
        Whether it is whole.
    """
    manifest = read_manifest(folder)
    if manifest is None or manifest["complete"]:
        return manifest is not None
    shards = Shards(folder, manifest["source"]["rows"], manifest["rows_per_shard"])
    if not all((folder / shards.name(number)).exists() for number in range(shards.count)):
        return False  # and not all of them are read
    finished = shards.finished(manifest)
    if len(finished) == shards.count:
        end(shards, manifest, finished)
        return True
    return bool((read_manifest(folder) or {}).get("complete"))  # another process may have ended it just now


def begin(task: Task, old: Mapping[str, Any], finished: Mapping[int, Shard]) -> dict[str, Any]:
    """Write the manifest of a table that is being made."""
    created = {"created": old["created"]} if old else {}
    source = source_entry(task.source, task.request["source"])
    told = circumstances(task.scores, source.get("reader"))
    manifest = {**task.request, "source": source, **told, **created, "complete": False}
    _save(task.folder, manifest, finished)
    return manifest


def end(shards: Shards, manifest: dict[str, Any], finished: Mapping[int, Shard]) -> None:
    """Write the manifest of a finished table."""
    manifest.update(complete=True, failed=sum(shard.failed for shard in finished.values()))
    _save(shards.folder, manifest, finished)
    shards.clean()


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
    return joint_digest(digest for digest, status in zip(digests, statuses, strict=True) if status == "ok")


def joined(parts: Sequence[Part]) -> tuple[pa.Table, str]:
    """The table of a shard, and the digest of what was scored."""
    table, digests = whole_table(parts)
    return table, scored_content(digests, table)


def whole_table(parts: Sequence[Part]) -> tuple[pa.Table, list[bytes]]:
    """The rows of parts together, and their digests."""
    return pa.concat_tables(part.table for part in parts), [digest for part in parts for digest in part.digests]


def _told(
    todo: Mapping[int, Sequence[int]], finished: Mapping[int, Shard], begun: Mapping[int, Part], tell: Tell | None
) -> Told:
    again = sum(len(todo.get(number, ())) for number in finished)
    finished_rows, failed = (sum(getattr(shard, name) for shard in finished.values()) for name in ("rows", "failed"))
    finished_rows += sum(part.table.num_rows for part in begun.values())
    return Told(finished_rows - again, failed - again + sum(part.failed for part in begun.values()), tell)


def _begun(shards: Shards, numbers: Iterable[int], source: str) -> dict[int, Part]:
    """The first rows of shards that an earlier run was stopped in, by number."""
    kept = {number: shards.begun(number, source) for number in numbers}
    return {
        number: Part(table, digests, table["status"].to_pylist().count("failed"))
        for number, (table, digests) in ((number, begun) for number, begun in kept.items() if begun)
    }


def _after(rows: Sequence[int], begun: Part | None) -> Sequence[int]:
    """The rows of a shard that are not there yet."""
    return rows[begun.table.num_rows :] if begun else rows


def _taken(parts: Iterator[Part], rows: int) -> Iterator[Part]:
    """The parts of so many rows."""
    while rows > 0:
        part = next(parts)
        rows -= part.table.num_rows
        yield part


def _rows_to_score(shards: Shards, number: int, finished: Mapping[int, Shard], retry: str | None) -> Sequence[int]:
    """Rows of a shard that have no score yet, or are to get another."""
    if number not in finished:
        return shards.rows(number)
    if not retry or not finished[number].failed:
        return ()
    table = shards.read(number, ["row", "status"])
    rows: list[int] = table.filter(pc.field("status") == "failed")["row"].to_pylist()
    return rows


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
                f"{rows.stop - 1}; choose another out=... or delete it"
            )


def _content(stored: "Dataset", shards: Shards, number: int, table: pa.Table) -> str:
    return scored_content(row_digests(stored, shards.rows(number)), table)


def _merged(
    parts: Sequence[Part], number: int, finished: Mapping[int, Shard], shards: Shards, stored: "Dataset"
) -> tuple[pa.Table, str]:
    """The table of a shard from newly scored rows and those it has, and the digest of what was scored."""
    if number not in finished:
        return joined(parts)
    table = pa.concat_tables(part.table for part in parts)
    scored_rows = shards.read(number).filter(pc.field("status") == "ok").cast(table.schema)
    table = pa.concat_tables([scored_rows, table]).sort_by("row")
    return table, _content(stored, shards, number, table)
