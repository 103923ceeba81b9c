"""DuckDB: open one, quote names and texts, read Parquet files, and the quantiles of columns."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

import duckdb

CLASSES = "classes_present"


def derived(types: dict[str, str]) -> str:
    """SQL for the columns that follow from others where they are missing."""
    classes = next((name for name in (CLASSES, "classes") if types.get(name, "").endswith("[]")), None)
    columns = {"id": 'CAST("row" AS VARCHAR)'}
    if classes:
        columns |= {CLASSES: classes, "num_classes_present": f"len({classes})"}
    return "".join(f", {sql} AS {name}" for name, sql in columns.items() if name not in types)


def between(low: float, high: float, share: float) -> float:
    """The value at a share of the way from one number to the next; exact where they are the same, infinite or not."""
    return float(low if low == high or share == 0 else low + (high - low) * share)


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
        ValueError: if the limit is no amount of memory, or too small for what is done inside.
        OSError: if what is done inside finds no room on the disk, or files it cannot read.
    """
    with (
        tempfile.TemporaryDirectory(prefix="sds-hf-", dir=scratch) as folder,
        duckdb.connect(config={"temp_directory": str(Path(folder) / "spill")}) as connection,
    ):
        if memory_limit is not None:
            try:
                connection.execute(f"SET memory_limit = {literal(memory_limit)}")
            except duckdb.Error as error:
                raise ValueError(f'a memory limit is an amount such as "3GB", not {memory_limit!r}') from error
        try:
            yield connection
        except duckdb.OutOfMemoryException as error:
            limit = f" of {memory_limit}" if memory_limit else ""
            raise ValueError(
                f"the rows do not fit into the memory limit{limit}: give a larger --memory-limit"
            ) from error
        except duckdb.IOException as error:
            line = str(error).partition("\n")[0]
            raise OSError(f"{line}; free some space, or give --scratch a folder on a larger disk") from error


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


def read_parquet(paths: Sequence[str | Path], numbered: bool = False) -> str:
    """SQL of the rows of Parquet files; `numbered` adds `filename` and `file_row_number`."""
    numbering = ", filename = true, file_row_number = true" if numbered else ""
    listed = ", ".join(literal(str(path)) for path in paths)
    return f"read_parquet([{listed}], hive_partitioning = false{numbering})"  # names of folders are no columns
