"""Scoring of a dataset's rows, batch by batch: the next ones are decoded while one is computed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

import pyarrow as pa

from sds_hf.data.cells import readable, stored_cells
from sds_hf.data.content import cell_digests, joint_digest
from sds_hf.data.ids import RepeatedIdError, repeated_ids
from sds_hf.data.labels import LabelSpace
from sds_hf.errors import public_text
from sds_hf.prefetch import prefetch
from sds_hf.scores.base.batches import Column
from sds_hf.scores.base.rows import Rows, cells_of, read_parts
from sds_hf.scores.base.score import Score, read_cells, score_cells, score_rows
from sds_hf.table.partial.needs import SKIPPED, Needs, score_needed
from sds_hf.table.task import Task

if TYPE_CHECKING:
    from datasets import Dataset

IDS_AT_ONCE = 10_000
R = TypeVar("R", bound=Sequence[int])


@dataclass(frozen=True)
class Part:
    """Some scored rows.

    Attributes:
        table: as in a score table.
        digests: of what the rows hold in the dataset.
        failed: how many could not be scored.
        state: of a stream after these rows, if a shard ends there.
    """

    table: pa.Table
    digests: list[bytes]
    failed: int
    state: dict[str, Any] | None = None


@dataclass(frozen=True)
class Batch:
    """Rows on their way: their numbers in the dataset, ids and digests, what could be read, a stream's state after.

    `stored` is what a table that is scored as far as needed has of them.
    """

    row_numbers: Sequence[int]
    ids: list[str]
    digests: list[bytes]
    rows: Rows
    state: dict[str, Any] | None = None
    stored: pa.Table | None = None


@dataclass(frozen=True)
class Piece:
    """Rows that are scored together, and what a table that is scored as far as needed has of them; None if nothing."""

    row_numbers: Sequence[int]
    stored: pa.Table | None = None


class Job:
    """A task on its way.

    Args:
        task: what is asked of a `Dataset`.
        batch_size: rows at a time; by default what suits the device.

    Raises:
        ValueError: if there are no rows, ids repeat or a column is missing.
    """

    comes_in_batches: ClassVar[bool] = True  # whether the rows of a shard are there before all of it is

    def __init__(self, task: Task, batch_size: int | None = None) -> None:
        from datasets import Dataset

        dataset = cast(Dataset, task.dataset)
        if not len(dataset):
            raise ValueError(f"the dataset {task.source} has no rows" if task.source else "the dataset has no rows")
        self.task, (self.first_batch, self.batch_size) = task, batch_sizes(batch_size)
        self.stored = readable(dataset, task.columns)
        score_cells(task.scores, {name: [] for name in dataset.column_names}, task.labels)
        if "id" in self.stored.column_names:
            _check_ids(self.stored)

    def score(self, pieces: Iterable[Piece], needs: Needs | None = None) -> Iterator[Part]:
        """The scores of pieces of the dataset, in parts of at most a batch; none belongs to two pieces.

        Args:
            pieces: rows.
            needs: what decides a row, so that no more is computed; None for everything.
        """
        return score_batches(self.task.scores, self._read(pieces), needs)

    def check(self, rows: Sequence[int]) -> dict[int, str]:
        """What is wrong with rows that cannot be read, by row."""
        cells, errors = stored_cells(self.stored, rows), dict[int, str]()
        for part in read_parts(cells):
            part_errors = read_cells(self.task.scores, cells_of(cells, part), self.task.labels).errors
            errors |= {rows[part.start + position]: error for position, error in part_errors.items()}
        return errors

    def _read(self, pieces: Iterable[Piece]) -> Iterator[Batch]:
        scores, labels = self.task.scores, self.task.labels
        for piece in pieces:
            offset = piece.row_numbers.start % self.task.rows_per_shard if isinstance(piece.row_numbers, range) else 0
            for batch in pieces_of(piece, self.first_batch, self.batch_size, offset):
                cells = stored_cells(self.stored, batch.row_numbers)
                yield from read_batches(scores, labels, cells, batch.row_numbers, stored=batch.stored)


def batch_sizes(asked: int | None) -> tuple[int, int]:
    """Rows of the first batch of a shard and of the largest, see `batches_of`.

    On a CPU a batch may take a minute; the first rows of each shard come alone, so that soon there is something to
    tell. How a shard is cut depends on the shard alone: so do its numbers, whoever makes it from where on.

    Args:
        asked: one size for all; by default what suits the device.
    """
    from sds_hf.clip.device import current_device, default_batch_size

    largest = asked or default_batch_size()
    return (1 if asked is None and current_device().type == "cpu" else largest), largest


def pieces_of(piece: Piece, first: int, largest: int, offset: int = 0) -> Iterator[Piece]:
    """A piece in batches, see `batches_of`."""
    start = 0
    for row_numbers in batches_of(piece.row_numbers, first, largest, offset):
        stored = None if piece.stored is None else piece.stored.slice(start, len(row_numbers))
        yield Piece(row_numbers, stored)
        start += len(row_numbers)


def batches_of(rows: R, first: int, largest: int, offset: int = 0) -> Iterator[R]:
    """Rows of a shard in batches, each twice as large as the one before until they are as large as they may be.

    Args:
        rows: of the shard, all or those after the first `offset`.
        first: size of the first batch.
        largest: size of the last ones.
        offset: rows of the shard before these; batches end where they would if those were not left out.
    """
    start, stop, size = 0, -offset, first
    while start < len(rows):
        stop, size = stop + size, min(2 * size, largest)
        if stop > start:
            yield cast(R, rows[start:stop])
            start = stop


def read_batches(
    scores: Sequence[Score],
    labels: LabelSpace,
    cells: Mapping[str, Sequence[Any]],
    row_numbers: Sequence[int],
    state: dict[str, Any] | None = None,
    stored: pa.Table | None = None,
) -> Iterator[Batch]:
    """Decode the cells of some rows, as many together as fit into the memory; without ids their numbers name them.

    Args:
        scores: what they are decoded for.
        labels: what indices mean.
        cells: by column.
        row_numbers: of the rows.
        state: of a stream after the last of them.
        stored: see `Piece`.
    """
    for part in read_parts(cells):
        part_cells, part_numbers = cells_of(cells, part), row_numbers[part.start : part.stop]
        ids = [str(name) for name in part_cells.get("id", part_numbers)]
        rows = read_cells(scores, part_cells, labels)
        is_last = part.stop == len(row_numbers)
        part_stored = None if stored is None else stored.slice(part.start, len(part))
        yield Batch(part_numbers, ids, cell_digests(part_cells), rows, state if is_last else None, part_stored)


def score_batches(scores: Sequence[Score], batches: Iterable[Batch], needs: Needs | None = None) -> Iterator[Part]:
    """The scores of each batch, while the next ones are made in the background; see `Job.score`."""
    with closing(prefetch(batches)) as ahead:
        for batch in ahead:
            if needs is None:
                columns, errors = score_rows(scores, batch.rows)
            else:
                columns, errors = score_needed(scores, batch.rows, needs, batch.stored)
            yield Part(_table(batch, columns, errors), batch.digests, len(errors), batch.state)


def _table(batch: Batch, columns: Mapping[str, Column], errors: Mapping[int, str]) -> pa.Table:
    positions = range(len(batch.row_numbers))
    skipped = columns.get(SKIPPED, [None] * len(positions))
    statuses = ["failed" if row in errors else "skipped" if skipped[row] else "ok" for row in positions]
    told = [_told(errors.get(position)) for position in positions]
    values = [batch.ids, batch.row_numbers, *map(list, columns.values()), statuses, told]
    schema = table_schema({name: column.dtype for name, column in columns.items()})
    return pa.table([pa.array(column, field.type) for column, field in zip(values, schema, strict=True)], schema=schema)


def scored_content(digests: Iterable[bytes], table: pa.Table) -> str:
    """Digest of the rows of a shard that could be scored, from those of all its rows."""
    statuses = table["status"].to_pylist()
    return joint_digest(digest for digest, status in zip(digests, statuses, strict=True) if status != "failed")


def joined(parts: Sequence[Part]) -> tuple[pa.Table, str]:
    """The table of a shard, and the digest of what was scored."""
    table, digests = whole_table(parts)
    return table, scored_content(digests, table)


def whole_table(parts: Sequence[Part]) -> tuple[pa.Table, list[bytes]]:
    """The rows of parts together, and their digests."""
    return pa.concat_tables(part.table for part in parts), [digest for part in parts for digest in part.digests]


def table_schema(kinds: Mapping[str, pa.DataType]) -> pa.Schema:
    """The columns of a table with these of scores."""
    texts = {"status": pa.string(), "error": pa.string()}
    return pa.schema({"id": pa.string(), "row": pa.int64(), **kinds, **texts})


def _told(error: str | None) -> str | None:
    """Why a row failed, without where its files lie: the table may be published."""
    return error and public_text(error)


def _check_ids(stored: "Dataset") -> None:
    """Refuse ids that repeat or are missing.

    Raises:
        ValueError: names the rows.
    """
    for name, rows in repeated_ids(lambda: _ids(stored)).items():
        raise RepeatedIdError(str(name), rows[0], rows[1])


def _ids(stored: "Dataset") -> Iterator[str]:
    ids = stored.select_columns(["id"])
    for start in range(0, len(ids), IDS_AT_ONCE):
        rows = range(start, min(start + IDS_AT_ONCE, len(ids)))
        for row, value in zip(rows, stored_cells(ids, rows)["id"], strict=True):
            if value is None:
                raise ValueError(f"row {row} has no id; scores are joined by id, so every row needs one")
            yield str(value)
