"""The making of a table: what is left to do, each shard as it is finished, and the manifest around them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sds_hf.data.content import joint_digest, row_digests
from sds_hf.progress import Hand, Tell, Told
from sds_hf.table.job import Job, Part, Piece, joined, scored_content, whole_table
from sds_hf.table.manifest import NEEDED, circumstances, read_manifest, source_entry, write_manifest
from sds_hf.table.partial.phase import Phase
from sds_hf.table.partial.shards import computed, without_partial_columns
from sds_hf.table.shards import UNKNOWN, Shard, Shards
from sds_hf.table.task import Task
from sds_hf.table.team import Interruption, Team, finishing

if TYPE_CHECKING:
    from datasets import Dataset

WAS = "was"  # entry of a table that is made anew in parts: its digest before
OpenRows = Callable[[pa.Table], np.ndarray]


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
    hand = Hand(keeps=job.comes_in_batches)
    with finishing("the shard in hand", hand.told) as stop_if_asked:
        if not first:
            team.wait(lambda: _is_begun(read_manifest(out), phase), lambda: [0])
        manifest = task.manifest(ignore=("source.sha256",) if retry else ())
        finished = shards.finished(manifest)
        if manifest and manifest["source"]["sha256"] != task.request["source"]["sha256"]:
            _check_rows(job.stored, shards, finished)
        open_rows = partial(phase.open_rows, task.scores) if phase else None
        todo = {number: _rows_to_score(shards, number, finished, retry, open_rows) for number in range(shards.count)}
        todo = {number: rows for number, rows in todo.items() if rows}
        own = [number for number in todo if team.rank.owns(number)]
        begun = {} if retry else _begun(shards, own, _source(job, phase))
        told = _told(todo, finished, begun, tell if first else None)
        if manifest.get("complete") and not todo and (phase is None or phase.is_last_in(manifest)):
            return
        if first:
            manifest = begin(task, manifest, finished, _entries(manifest, phase, retry))
            team.announce(phase.number if phase else 0)
        elif own and (retry or phase):  # else the first one may find shards written before it has looked at them
            team.wait(lambda: team.is_announced(phase.number if phase else 0), lambda: [0])
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

        for number, parts in _scored(job, shards, mine, begun, finished, told, hand, stop_if_asked, phase):
            finished[number] = shards.write(number, *_merged(parts, number, finished, shards, job.stored))
            team.look()
            if first:
                is_done()
        team.wait(is_done, lambda: {number % team.rank.count for number in theirs} if first else {0})
    if first:
        team.withdraw()
        _end_phase(task, shards, manifest, finished, phase) if phase else end(shards, manifest, finished)


def _scored(
    job: Job,
    shards: Shards,
    todo: Mapping[int, Sequence[int]],
    begun: Mapping[int, Part],
    finished: Mapping[int, Shard],
    told: Told,
    hand: Hand,
    stop_if_asked: Interruption,
    phase: Phase | None = None,
) -> Iterator[tuple[int, list[Part]]]:
    """The scored rows of shards, by number; those of one in hand are kept aside now and then."""
    lacking = {number: _after(rows, begun.get(number)) for number, rows in todo.items()}
    pieces = (_piece(shards, rows, number in finished and phase) for number, rows in lacking.items())
    scored_parts = job.score(pieces, phase.needs if phase else None)
    for number, rows in lacking.items():
        stop_if_asked()
        parts = [begun[number]] if number in begun else []
        hand.take_up(len(rows))
        for part in _taken(scored_parts, len(rows)):
            parts.append(part)
            told.add(part.table.num_rows, part.failed)
            if hand.is_to_be_kept_after(part.table.num_rows, stop_if_asked.is_asked) and number not in finished:
                shards.keep_begun(number, *whole_table(parts), _source(job, phase))
                if hand.is_long():
                    stop_if_asked()
        yield number, parts


def write_part(job: Job, shards: Shards, team: Team, tell: Tell | None = None, phase: Phase | None = None) -> bool:
    """Make the shards of this process that are missing or damaged, and wait for nobody.

    The first process that makes one begins the manifest, and the one that makes the last ends it. All that processes
    may write at once is the same for all of them.

    Args:
        job: what is scored.
        shards: of the table.
        team: of which this process is one.
        tell: see `score_table`; is told of this process's rows.
        phase: of a table that is scored as far as needed, if there is only one.

    Returns:
        Whether the table is whole.

    Raises:
        ValueError: if the folder holds another table.
        OSError: if the folder cannot be written.
        KeyboardInterrupt: after Ctrl-C.
    """
    hand = Hand(keeps=job.comes_in_batches)
    with finishing("the shard in hand", hand.told) as stop_if_asked:
        manifest = job.task.manifest()
        finished = shards.finished(manifest)
        mine = {number: shards.rows(number) for number in range(shards.count) if team.rank.owns(number)}
        own = {number: shard for number, shard in finished.items() if number in mine}
        mine = {number: rows for number, rows in mine.items() if number not in finished}
        begun = _begun(shards, mine, _source(job, phase))
        told = _told(mine, own, begun, tell)
        if mine and manifest.get("complete") is not False:
            begin(job.task, manifest, finished, _entries(manifest, phase))
        for number, parts in _scored(job, shards, mine, begun, finished, told, hand, stop_if_asked, phase):
            shards.write(number, *joined(parts))
    is_whole = team.one_by_one(lambda: _end_if_whole(job.task, phase))
    if is_whole:
        shards.forget_journal()
    return is_whole


def _end_if_whole(task: Task, phase: Phase | None) -> bool:
    """End a table if all of its shards are finished, whoever made them; whether it is whole."""
    folder = task.folder
    manifest = read_manifest(folder)
    if manifest is None or manifest["complete"]:
        return manifest is not None
    shards = Shards(folder, manifest["source"]["rows"], manifest["rows_per_shard"])
    if not all((folder / shards.name(number)).exists() for number in range(shards.count)):
        return False  # and not all of them are read
    finished = shards.finished(manifest)
    if len(finished) == shards.count:
        _end_phase(task, shards, manifest, finished, phase) if phase else end(shards, manifest, finished)
        return True
    return bool((read_manifest(folder) or {}).get("complete"))  # another process may have ended it just now


def begin(
    task: Task, old: Mapping[str, Any], finished: Mapping[int, Shard], more: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Write the manifest of a table that is being made, with more entries if there are."""
    dates = {name: old[name] for name in ("created", "scored") if name in old}
    source = source_entry(task.source, task.request["source"])
    told = circumstances(task.scores, source.get("reader"))
    manifest = {**task.request, "source": source, **told, **dates, **(more or {}), "complete": False}
    _save(task.folder, manifest, finished)
    return manifest


def _entries(old: Mapping[str, Any], phase: Phase | None, retry: str | None = None) -> dict[str, Any]:
    """What else a manifest says while a table is made: which selections hold, and of which digest it has to be then."""
    if phase:
        return phase.entries(old, retry)
    digest = joint_digest(shard["sha256"].encode() for shard in old["shards"]) if old.get("complete") else None
    kept = {"joined": old.get("joined"), WAS: old.get(WAS, digest)}
    return {} if retry else {name: value for name, value in kept.items() if value}


def end(shards: Shards, manifest: dict[str, Any], finished: Mapping[int, Shard]) -> None:
    """Write the manifest of a finished table."""
    digest = joint_digest(finished[number].sha256.encode() for number in sorted(finished))
    if manifest.pop(WAS, digest) != digest:
        manifest.pop("joined", None)
    manifest.update(complete=True, failed=sum(shard.failed for shard in finished.values()))
    _save(shards.folder, manifest, finished)
    shards.clean()


def _end_phase(task: Task, shards: Shards, manifest: dict[str, Any], finished: dict[int, Shard], phase: Phase) -> None:
    """Write the manifest after a phase; after the last one the table is finished, and may turn out to be whole."""
    if not phase.is_last:
        manifest[NEEDED] = phase.entry(phase.number + 1)
        return _save(shards.folder, manifest, finished)
    if phase.is_everything:
        finished |= without_partial_columns(task.scores, shards, finished)
        del manifest[NEEDED]
    else:
        manifest[NEEDED] = phase.entry(phase.count) | computed(task.scores, shards, finished)
    return end(shards, manifest, finished)


def _save(out: Path, manifest: dict[str, Any], finished: Mapping[int, Shard]) -> None:
    """Write the manifest with the shards there are."""
    manifest["shards"] = [finished[number].entry() for number in sorted(finished)]
    write_manifest(out, manifest)


def is_whole(out: Path) -> bool:
    """Whether the table in a folder is finished, and all of it there."""
    manifest = read_manifest(out) or {}
    return bool(manifest.get("complete")) and all(Shard(**entry).is_intact(out) for entry in manifest["shards"])


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


def _source(job: Job, phase: Phase | None = None) -> str:
    """Digest of what the dataset holds, and what of it is scored."""
    return f"{job.task.request['source']['sha256']}{phase.needs if phase else ''}"


def _after(rows: Sequence[int], begun: Part | None) -> Sequence[int]:
    """The rows of a shard that are not there yet."""
    return rows[begun.table.num_rows :] if begun else rows


def _taken(parts: Iterator[Part], rows: int) -> Iterator[Part]:
    """The parts of so many rows."""
    while rows > 0:
        part = next(parts)
        rows -= part.table.num_rows
        yield part


def _is_begun(manifest: dict[str, Any] | None, phase: Phase | None) -> bool:
    return manifest is not None if phase is None else phase.is_begun(manifest)


def _is_over(out: Path, phase: Phase | None) -> bool:
    """Whether the first process has finished the table, or the phase."""
    manifest = read_manifest(out) or {}
    if phase is None or manifest.get("complete"):
        return is_whole(out) and (phase is None or phase.is_over(manifest))
    return phase.is_over(manifest)


def _rows_to_score(
    shards: Shards, number: int, finished: Mapping[int, Shard], retry: str | None, open_rows: OpenRows | None
) -> Sequence[int]:
    """Rows of a shard that have no score yet, or are to get another; `open_rows` says which lack something."""
    if number not in finished:
        return shards.rows(number)
    lacks_scores = np.zeros(len(shards.rows(number)), bool)
    if open_rows:
        lacks_scores |= open_rows(shards.read(number))
    if retry and finished[number].failed:
        lacks_scores |= pc.equal(shards.read(number, ["status"])["status"], "failed").to_numpy()
    return [shards.rows(number)[index] for index in np.flatnonzero(lacks_scores)]


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
        rows = shards.rows(number)
        if shard.content_sha256 == UNKNOWN:
            raise ValueError(
                f"{shards.folder} was joined from tables that do not say what rows {rows.start} to {rows.stop - 1} "
                "held when they were scored: score anew, into another out=..."
            )
        if _content(stored, shards, number, shards.read(number, ["status"])) != shard.content_sha256:
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
    table, old = pa.concat_tables(part.table for part in parts), shards.read(number)
    others = old.filter(pc.invert(pc.is_in(old["row"], table["row"].combine_chunks()))).cast(table.schema)
    table = pa.concat_tables([others, table]).sort_by("row")
    if _failed(table).equals(_failed(old)):
        return table, finished[number].content_sha256
    return table, _content(stored, shards, number, table)


def _failed(table: pa.Table) -> pa.Array:
    return pc.equal(table["status"], "failed").combine_chunks()
