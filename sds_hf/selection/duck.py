"""DuckDB: open one, hand rows over under names of ours, quote texts, and the quantiles of columns."""

import json
import os
import re
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite, isinf, nextafter
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from sds_hf.data.labels import IGNORE_INDEX, LabelSpace

CLASSES, COUNT = "classes_present", "num_classes_present"
INNER = re.compile(r'\{.*"exception_message":("(?:[^"\\]|\\.)*")')
FULL = "No space left on device"
PATTERN = "*?[{" + ("\\" if os.sep == "/" else "")  # what DuckDB takes for a pattern in a path


def quoted(name: str) -> str:
    """A column's name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string in SQL."""
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def database(memory_limit: str | None = None, scratch: str | Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database in memory that spills into a folder of its own as long as it is open.

    Args:
        memory_limit: what it may use, e.g. `"3GB"`; 80 % of the machine's if None.
        scratch: where the folder is made; the system's temporary one if None.

    Raises:
        ValueError: if there is no such folder, the limit is no amount of memory, or too small for what is done inside,
            or something cannot be read as what it should be.
        OSError: if what is done inside finds no room on the disk, or files it cannot read.
        KeyboardInterrupt: after Ctrl-C in a query.
    """
    if scratch is not None and not Path(scratch).is_dir():
        raise ValueError(f"there is no folder {scratch} for what does not fit into memory")
    with (
        tempfile.TemporaryDirectory(prefix="sds-hf-", dir=scratch) as folder,
        duckdb.connect(config={"temp_directory": str(Path(folder) / "spill")}) as connection,
    ):
        # Parquet's least and greatest values leave NaN out; DuckDB concludes from them that there is none.
        connection.execute("SET disabled_optimizers = 'statistics_propagation'")
        if memory_limit is not None:
            _limit(connection, memory_limit)
        try:
            with _interruptible(connection):
                yield connection
        except (duckdb.InterruptException, RuntimeError) as error:
            if "interrupted" not in str(error).lower():
                raise
            raise KeyboardInterrupt from error
        except duckdb.OutOfMemoryException as error:
            more = f" limit of {memory_limit}: give a larger memory_limit=..." if memory_limit else " that is free"
            raise ValueError(f"the rows do not fit into the memory{more}") from error
        except duckdb.IOException as error:
            option = "give scratch=..." if scratch is not None else "set TMPDIR to"
            line = _first_line(error)
            if FULL in line and "/spill/" not in line:  # of what is written, which lies where the user said
                raise OSError(f"{line}; free some space and run the same command again") from error
            raise OSError(
                f"{line}; if the disk is full, free some space or {option} a folder on a larger one"
            ) from error
        except duckdb.Error as error:
            raise ValueError(f"DuckDB cannot read this: {_first_line(error)}") from error


@contextmanager
def _interruptible(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Ctrl-C stops a query at once: by itself DuckDB looks only between tasks, of which one may take hours."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    def watch() -> None:
        while signals := reader.recv(64):
            if signal.SIGINT in signals:
                connection.interrupt()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    before = signal.set_wakeup_fd(writer.fileno())
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        writer.close()
        watcher.join()
        reader.close()


def _limit(connection: duckdb.DuckDBPyConnection, memory_limit: str) -> None:
    try:
        if not any(character.isdigit() for character in memory_limit):  # DuckDB takes a dash for no limit
            raise duckdb.ParserException(memory_limit)
        connection.execute(f"SET memory_limit = {literal(memory_limit)}")
        connection.execute("SELECT 1").fetchall()
    except duckdb.Error as error:
        raise ValueError(f'a memory limit is an amount such as "3GB", not {memory_limit!r}') from error


def _first_line(error: Exception) -> str:
    """What an error of DuckDB says first; of one that it wraps in JSON, what that one says."""
    line = str(error).strip().partition("\n")[0]
    wrapped = INNER.search(line)
    return f"{line.partition(':')[0]}: {json.loads(wrapped[1])}" if wrapped else line


@dataclass(frozen=True)
class Relation:
    """Rows for DuckDB, whose columns have names of ours there: a user's cannot be taken for one, whatever its case.

    Attributes:
        sql: of the relation.
        columns: SQL of each column, by the name it has outside.
        types: DuckDB's type of each; Arrow's of one that DuckDB cannot take, which has no SQL.
        halves: columns that were float16, which DuckDB has as FLOAT.
    """

    sql: str
    columns: dict[str, str]
    types: dict[str, str]
    halves: frozenset[str] = field(default_factory=frozenset)


def parquet_relation(connection: duckdb.DuckDBPyConnection, paths: Sequence[str | Path]) -> Relation:
    """The rows of Parquet files, in the files' order. Every file that DuckDB reads goes through here.

    Names of folders are no columns, and no character of a path is a pattern.

    Raises:
        ValueError: if the first is no Parquet file.
    """
    listed = ", ".join(literal(path) for path in _plain_paths(connection, paths))
    try:
        schema = pq.read_schema(paths[0])
    except pa.ArrowException as error:
        raise pa.ArrowInvalid(f"{paths[0]} cannot be read as Parquet: {_first_line(error)}") from error
    aliases = _aliases(len(schema))
    sql = f"(SELECT * FROM read_parquet([{listed}], hive_partitioning = false) AS files({', '.join(aliases)}))"
    return _relation(connection, sql, schema.names, aliases, schema)


def arrow_relation(connection: duckdb.DuckDBPyConnection, table: pa.Table, view: str) -> Relation:
    """The rows of a table in memory; columns of types that DuckDB does not have stay outside.

    Args:
        connection: a database.
        table: the rows.
        view: what to call it there.
    """
    readable = [index for index, kind in enumerate(table.schema.types) if _is_readable(connection, _widened(kind))]
    aliases = _aliases(len(readable))
    columns = [table.column(index).cast(_widened(table.schema[index].type)) for index in readable]
    connection.register(view, pa.table(columns, names=aliases))
    outside = {name: str(kind) for name, kind in zip(table.schema.names, table.schema.types, strict=True)}
    relation = _relation(connection, view, [table.schema.names[index] for index in readable], aliases, table.schema)
    return Relation(view, relation.columns, {**outside, **relation.types}, relation.halves)


def _aliases(count: int) -> list[str]:
    return [f"c{number}" for number in range(count)]


def _relation(
    connection: duckdb.DuckDBPyConnection, sql: str, names: Sequence[str], aliases: Sequence[str], schema: pa.Schema
) -> Relation:
    kinds = [str(kind) for _, kind, *_ in connection.execute(f"DESCRIBE SELECT * FROM {sql}").fetchall()]
    halves = frozenset(column.name for column in schema if pa.types.is_float16(column.type))
    return Relation(sql, dict(zip(names, aliases, strict=True)), dict(zip(names, kinds, strict=False)), halves)


def _widened(kind: pa.DataType) -> pa.DataType:
    return pa.float32() if pa.types.is_float16(kind) else kind


def _is_readable(connection: duckdb.DuckDBPyConnection, kind: pa.DataType) -> bool:
    try:
        connection.from_arrow(pa.table({"c": pa.nulls(0, kind)})).fetchall()
    except (duckdb.Error, pa.ArrowException):
        return False
    return True


def _plain_paths(connection: duckdb.DuckDBPyConnection, paths: Sequence[str | Path]) -> list[str]:
    """The paths, or links to these in the database's folder if a character in them would be taken for a pattern.

    Escaping does not do: DuckDB 2.0 loses its way in folders whose names it has to match.
    """
    plain = [os.path.abspath(path) for path in paths]
    if not any(character in path for path in plain for character in PATTERN):
        return plain
    (spill,) = connection.execute("SELECT current_setting('temp_directory')").fetchall()[0]
    links = Path(tempfile.mkdtemp(dir=Path(spill).parent))
    if any(character in str(links) for character in PATTERN):
        raise ValueError(f"DuckDB takes {links.parent} for a pattern: give scratch=... without any of {PATTERN}")
    for number, path in enumerate(plain):
        (links / f"{number}.parquet").symlink_to(path)
    return [str(links / f"{number}.parquet") for number in range(len(plain))]


def is_list_of_ids(kind: str) -> bool:
    """Whether a DuckDB type is that of lists of whole numbers."""
    element, bracket, _ = kind.rpartition("[")
    return bool(bracket) and element.removeprefix("U") in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT")


def classes_in(ids: str, labels: LabelSpace | None) -> tuple[str, str]:
    """SQL of the classes in a list of ids, and of what is wrong with it, null if nothing is.

    The classes are ascending, each once, without background and what is ignored.

    Args:
        ids: SQL of the list.
        labels: what ids stand for; if that is not known, 0 is the background and 255 is ignored.
    """
    listed = f"CAST({ids} AS BIGINT[])"
    if labels is None:
        foreground, problem = f"x NOT IN (0, {IGNORE_INDEX})", "CAST(NULL AS VARCHAR)"
    else:
        foreground = f"x BETWEEN {labels.class_ids.start} AND {labels.class_ids.stop - 1}"
        other = f"x <> {IGNORE_INDEX} AND NOT ({foreground})" + (" AND x <> 0" if labels.has_background else "")
        strange = f"list_sort(list_distinct([x FOR x IN {listed} IF {other}]))"
        stand = literal(f" stand for no class of the label space {labels.name}")
        problem = f"CASE WHEN len({strange}) > 0 THEN 'classes: ' || CAST({strange} AS VARCHAR) || {stand} END"
    return f"list_sort(list_distinct([x FOR x IN {listed} IF {foreground}]))", problem


BINS = 4096

Query = Callable[[str], list[tuple[Any, ...]]]


def quantiles(fetch: Query, numbers: str, shares: Sequence[float]) -> list[float]:
    """Quantiles, between neighbours in proportion; none if there is no number.

    Unlike the database's own aggregate, this needs no memory for all the numbers, and unlike a sort little time.

    Args:
        fetch: runs a query that gives few rows.
        numbers: SQL of a relation with the column `value`, DOUBLE without nulls.
        shares: in [0, 1].
    """
    count, low, high = fetch(f"SELECT count(*), min(value), max(value) FROM {numbers}")[0]
    if not count:
        return []
    exact = [share * (count - 1) for share in shares]
    neighbours = [(int(position), min(int(position) + 1, count - 1)) for position in exact]
    at = _values_at(fetch, numbers, _bins(low, high), {position for pair in neighbours for position in pair})
    return [
        between(at[left], at[right], position % 1) for (left, right), position in zip(neighbours, exact, strict=True)
    ]


def between(low: float, high: float, share: float) -> float:
    """The value at a share of the way from one number to the next; exact where they are the same.

    To an infinite number there is no such way: then it is a number between the two, beside the finite one.
    """
    if low == high or share == 0:
        return float(low)
    if isinf(low) or isinf(high):
        return 0.0 if isinf(low) and isinf(high) else nextafter(high, low) if isinf(low) else nextafter(low, high)
    return low + (high - low) * share if isfinite(high - low) else low * (1 - share) + high * share


def _bins(low: float, high: float) -> str:
    """SQL of a whole number that grows with the value."""
    width = (high - low) / BINS
    return f"CAST((value - {low!r}) / {width!r} AS INTEGER)" if isfinite(width) and width else "0"


def _values_at(fetch: Query, numbers: str, bins: str, positions: set[int]) -> dict[int, float]:
    """The values at positions of the ascending order."""
    chosen, before, taken = [], 0, 0
    originals: dict[int, int] = {}
    for number, size in fetch(f"SELECT {bins}, count(*) FROM {numbers} GROUP BY 1 ORDER BY 1"):
        if inside := [position for position in positions if before <= position < before + size]:
            chosen.append(number)
            originals |= {position - before + taken: position for position in inside}
            taken += size
        before += size
    near = (
        f"SELECT value, row_number() OVER (ORDER BY value) - 1 AS place FROM {numbers} WHERE {bins} IN {(*chosen, -1)}"
    )
    ranked = fetch(f"SELECT place, value FROM ({near}) WHERE place IN {(*originals, -1)}")
    return {originals[position]: value for position, value in ranked}
