"""A database for rows that may be more than memory holds."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from sds_hf.sql import literal


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
            known = f" of {memory_limit}" if memory_limit else ""
            raise ValueError(
                f"the rows do not fit into the memory limit{known}: give a larger --memory-limit"
            ) from error
        except duckdb.IOException as error:
            line = str(error).partition("\n")[0]
            raise OSError(f"{line}; free some space, or give --scratch a folder on a larger disk") from error
