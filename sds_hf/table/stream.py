"""Scoring of a stream: an `IterableDataset`, whose rows come in order and whose end nobody knows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, islice
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq

from sds_hf.clip.launcher import current_rank
from sds_hf.data.access.origins import reach_of
from sds_hf.data.access.paths import held
from sds_hf.data.cells import PICTURES, undecoded
from sds_hf.data.content import cell_digests, joint_digest
from sds_hf.data.ids import RepeatedIdError
from sds_hf.progress import Hand, Tell, Told
from sds_hf.scores.base.score import score_cells
from sds_hf.table.job import Batch, Part, batch_sizes, batches_of, joined, read_batches, score_batches, scored_content
from sds_hf.table.shards import Shard, Shards
from sds_hf.table.task import Task, make_folder
from sds_hf.table.team import Team, finishing
from sds_hf.table.writer import begin, end


class Stream:
    """The columns of a stream that scores read, images as they are stored.

    Args:
        task: what is asked of an `IterableDataset`.

    Raises:
        ValueError: if there are no rows, or a column is missing.
    """

    def __init__(self, task: Task) -> None:
        from datasets import IterableDataset

        dataset = cast(IterableDataset, task.dataset)
        self._reach = reach_of(dataset)
        dataset = undecoded(dataset)
        first = next(iter(dataset), None)
        if first is None:
            raise ValueError("the stream has no rows")
        score_cells(task.scores, {name: [] for name in first}, task.labels)
        self.task, self._source = task, dataset
        self.columns = [name for name in task.columns if name in first]

    def shards(self, size: int, finished: Mapping[int, Shard], batch_size: int | None) -> Iterator[Batch]:
        """The rows of shards that are not finished, batch by batch; the last one of a shard has the stream's state."""
        at, rows = 0, self._read()
        for number in count():
            if number in finished:
                continue
            if number != at:
                rows = self._read(finished[number - 1] if number else None)
            for batch in batches_of(range(number * size, (number + 1) * size), *batch_sizes(batch_size)):
                start, limit = batch.start, len(batch)
                cells = self._cells(islice(rows, limit))
                got = len(next(iter(cells.values())))
                at = number + 1
                if got:
                    ends = got < limit or start + got == (number + 1) * size
                    state = self.state() if ends else None
                    row_numbers = range(start, start + got)
                    yield from read_batches(self.task.scores, self.task.labels, cells, row_numbers, state)
                if got < limit:
                    return

    def digests(self, number: int, size: int, finished: Mapping[int, Shard]) -> list[bytes]:
        """Digests of the rows of a shard."""
        return cell_digests(self._cells(islice(self._read(finished[number - 1] if number else None), size)))

    def goes_on(self, last: Shard) -> bool:
        """Whether there are rows after a shard."""
        return next(self._read(last), None) is not None

    def state(self) -> dict[str, Any]:
        """Where the stream is."""
        state: dict[str, Any] = self._dataset.state_dict()
        return state

    def _read(self, after: Shard | None = None) -> Iterator[dict[str, Any]]:
        """The rows from the beginning or after a shard."""
        self._dataset = self._source.select_columns(self.columns)  # a stream anew: one that was begun cannot go back
        if after:
            self._dataset.load_state_dict(after.state)
        return iter(self._dataset)

    def _cells(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
        all_rows = list(rows)
        return {name: [held(row.get(name), self._reach, name in PICTURES) for row in all_rows] for name in self.columns}


class Ids:
    """The ids seen so far, 8 bytes each."""

    def __init__(self, shards: Shards) -> None:
        self._shards, self._runs = shards, list[np.ndarray]()

    def add(self, number: int, names: Sequence[str]) -> None:
        """Note the ids of a shard.

        Raises:
            ValueError: if one was there before.
        """
        new = np.sort(np.fromiter(map(hash, names), np.int64, len(names)))
        if (new[1:] == new[:-1]).any() or any(np.isin(new, run, assume_unique=True).any() for run in self._runs):
            self._check(number, names)
        while self._runs and len(self._runs[-1]) <= 2 * len(new):  # few runs, each merged a few times
            new = np.sort(np.concatenate([self._runs.pop(), new]))
        self._runs.append(new)

    def _check(self, number: int, names: Sequence[str]) -> None:
        first: dict[str, int] = {}
        for row, name in zip(self._shards.rows(number), names, strict=False):
            first.setdefault(name, row)
            if first[name] != row:
                raise RepeatedIdError(name, first[name], row)
        for path in sorted(self._shards.folder.glob("scores-*.parquet")):
            for scored_row in pq.read_table(path, columns=["id", "row"]).to_pylist():
                if first.get(scored_row["id"], scored_row["row"]) != scored_row["row"]:
                    raise RepeatedIdError(scored_row["id"], scored_row["row"], first[scored_row["id"]])


def score_stream(task: Task, batch_size: int | None = None, tell: Tell | None = None) -> None:
    """Score a stream into the shards of a table; see `score_table`.

    Each finished shard keeps the stream's state after it: another run goes on there. Before that it reads the first
    and the last finished shard again, to see that the stream is still the same.

    Raises:
        ValueError: see `score_table`; also if the stream yields other rows than before, or several processes run.
    """
    if current_rank().count > 1:
        raise ValueError("a stream is read by one process; start one, or load the dataset without streaming")
    out, rows_per_shard = task.folder, task.rows_per_shard
    make_folder(out)
    stream = Stream(task)
    shards = Shards(out, None, rows_per_shard)
    hand = Hand(keeps=False)
    with Team(out, current_rank()), finishing("the shard in hand", hand.told) as stop_if_asked:
        task.fit()
        manifest = task.manifest(ignore=task.unknown)
        if manifest.get("source", {}).get("parts"):
            raise ValueError(
                f"{out} was joined from tables of different columns, which are compared with a dataset that can be "
                "read at once: load it without streaming"
            )
        finished, ids = shards.finished(manifest), Ids(shards)
        for number in sorted({0, *([max(finished)] if finished else ())} & set(finished)):
            _check_shard(stream, shards, number, finished)
        for number in finished:
            ids.add(number, shards.read(number, ["id"])["id"].to_pylist())
        whole = manifest.get("complete") and len(finished) == len(manifest["shards"])
        if whole and stream.goes_on(finished[max(finished)]):
            raise ValueError(f"{out} holds scores of a shorter stream; choose another out=... or delete it")
        told = Told(sum(s.rows for s in finished.values()), sum(s.failed for s in finished.values()), tell)
        if whole:
            return
        manifest = begin(task, manifest, finished)
        batches = stream.shards(rows_per_shard, finished, batch_size)
        parts: list[Part] = []
        hand.take_up(rows_per_shard)
        for part in score_batches(task.scores, batches):
            parts.append(part)
            told.add(part.table.num_rows, part.failed)
            hand.add(part.table.num_rows)
            if sum(part.table.num_rows for part in parts) == rows_per_shard:
                _write(shards, ids, parts, finished, stream)
                parts = []
                stop_if_asked()
                hand.take_up(rows_per_shard)
        if parts:
            _write(shards, ids, parts, finished, stream)
        digests = (_digests(stream, shards, number, finished) for number in sorted(finished))
        rows = sum(shard.rows for shard in finished.values())
        manifest["source"] |= {"rows": rows, "sha256": joint_digest(digests)}  # that of the dataset, once it is stored
        end(shards, manifest, finished)


def _write(shards: Shards, ids: Ids, parts: Sequence[Part], finished: dict[int, Shard], stream: Stream) -> None:
    table, content = joined(parts)
    number = shards.number(table["row"][0].as_py())
    ids.add(number, table["id"].to_pylist())
    shards.keep_digests(number, [digest for part in parts for digest in part.digests])
    finished[number] = shards.write(number, table, content, state=parts[-1].state or stream.state())


def _digests(stream: Stream, shards: Shards, number: int, finished: Mapping[int, Shard]) -> bytes:
    """The digests of a shard's rows; they are read again if an earlier run has ended the table, or did not keep them.

    Raises:
        ValueError: as `_check_shard`.
    """
    kept = shards.digests(number)
    return kept if kept is not None else b"".join(_check_shard(stream, shards, number, finished))


def _check_shard(stream: Stream, shards: Shards, number: int, finished: Mapping[int, Shard]) -> list[bytes]:
    """Refuse a stream that does not yield what a shard was made of.

    Returns:
        The digests of its rows; none if nobody knows where it begins.

    Raises:
        ValueError: says where.
    """
    rows, size = shards.rows(number), len(shards.rows(number))
    start_known = number == 0 or number - 1 in finished  # else nobody knows where it begins
    digests = stream.digests(number, size, finished) if start_known else []
    table = shards.read(number, ["status"])
    if start_known and (
        len(digests) != table.num_rows or scored_content(digests, table) != finished[number].content_sha256
    ):
        raise ValueError(
            f"{shards.folder} holds scores of rows {rows.start} to {rows.start + table.num_rows - 1} that the stream "
            "does not yield any more (a shuffled one never does twice); choose another out=... or delete it"
        )
    return digests
