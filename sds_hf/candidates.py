"""The rows a selection works on, as a table in DuckDB, so that one larger than memory works like a small one."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import duckdb

NUMBER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL.*")


class Candidates:
    """The rows a selection works on; used by rules.

    There is the view `scores` with everything that is known, and the table `candidates`, which rules change: `id`,
    `row`, what the rules read (null for NaN), `dropped` (a reason, null while the row is in), `kept_by` (the first
    group that kept it), and the columns of groups.

    Args:
        connection: an empty database.
        source: SQL of a relation with `row`. Rows are named by `id`, or by their number if there is none, and `classes`
            stands in for `classes_present`.
        reads: columns that the rules look at.
        class_names: by class id, if they are known.

    Attributes:
        types: DuckDB types of the columns of `scores`.
        group_columns: what the groups have added.

    Raises:
        ValueError: if a column is missing, or rows cannot be told apart.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, source: str, reads: Iterable[str], class_names: Sequence[str]
    ) -> None:
        self._db, self._names = connection, list(class_names)
        self.group_columns: list[str] = []
        self._db.execute(f"CREATE VIEW scores AS SELECT *{_derived(self._types_of(source))} FROM {source}")
        self.types = self._types_of("scores")
        reads = list(dict.fromkeys(reads))
        if missing := [column for column in reads if column not in self.types]:
            raise ValueError(f"the rules read {missing}, which the scores do not have; there are {list(self.types)}")
        self._create(column for column in reads if column not in ("id", "row"))

    def _create(self, reads: Iterable[str]) -> None:
        columns = [
            f"CASE WHEN NOT isnan({quoted(name)}) THEN {quoted(name)} END AS {quoted(name)}"
            if self.is_float(name)
            else quoted(name)
            for name in reads
        ]
        failed = "CASE WHEN status = 'failed' THEN 'dropped:failed' END" if "status" in self.types else "NULL"
        self._db.execute(
            f"""CREATE TABLE candidates AS SELECT {", ".join(["CAST(id AS VARCHAR) AS id", '"row"', *columns])},
                CAST({failed} AS VARCHAR) AS dropped, CAST(NULL AS VARCHAR) AS kept_by FROM scores"""
        )
        for name in ("row", "id"):
            twice = self.rows(
                f"SELECT {quoted(name)} FROM candidates GROUP BY 1 HAVING count(*) > 1 ORDER BY 1 LIMIT 1"
            )
            if twice:
                raise ValueError(f"the {name} {twice[0][0]!r} occurs more than once; a selection needs each row once")

    def step(self, query: str, adds: Sequence[str] = ()) -> None:
        """Replace the table by the result of a query over it; `adds` are columns of groups that it adds (anew)."""
        for name in adds:
            if name in self.group_columns:
                self._db.execute(f"ALTER TABLE candidates DROP COLUMN {quoted(name)}")
        self.group_columns = list(dict.fromkeys([*self.group_columns, *adds]))
        self._db.execute(f"CREATE TABLE next AS {query}")
        self._db.execute("DROP TABLE candidates")
        self._db.execute("ALTER TABLE next RENAME TO candidates")

    def value(self, query: str) -> Any:
        """The single value of a query."""
        found = self._db.execute(query).fetchone()
        return found[0] if found else None

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self._db.execute(query).fetchall()

    def is_list(self, column: str) -> bool:
        """Whether the column holds lists."""
        return bool(self.types[column].endswith("[]"))

    def is_float(self, column: str) -> bool:
        """Whether the column holds scores."""
        return self.types[column] in ("FLOAT", "DOUBLE")

    def number(self, column: str) -> str:
        """SQL for a column of numbers.

        Raises:
            ValueError: if it holds something else.
        """
        if not NUMBER.fullmatch(self.types[column]):
            raise ValueError(f"a rule needs numbers; the column {column!r} holds {self.types[column]}")
        return quoted(column)

    def constant(self, column: str, value: float) -> str:
        """SQL for a number to compare a column with, as exact as the column: a stored 0.8 is not above 0.8."""
        kind = self.types[column] if self.is_float(column) else "DOUBLE"
        return f"CAST({literal(repr(value))} AS {kind})"

    def group_name(self, column: str, expression: str) -> str:
        """SQL for what to call a group in a reason: class ids by their names."""
        if column == "classes_present" and self._names:
            names = ", ".join(literal(name) for name in self._names)
            return f"coalesce([{names}][{expression} + 1], CAST({expression} AS VARCHAR))"
        return f"CAST({expression} AS VARCHAR)"

    def save(self, path: Path) -> None:
        """Write the selection."""
        columns = "".join(f", {quoted(name)}" for name in self.group_columns)
        self._db.execute(
            f"""COPY (SELECT id, "row", dropped IS NULL AS kept,
                             coalesce(dropped, kept_by, 'kept:all_rules') AS reason{columns}
                      FROM candidates ORDER BY "row") TO {literal(str(path))} (FORMAT PARQUET)"""
        )

    def _types_of(self, relation: str) -> dict[str, str]:
        return {name: kind for name, kind, *_ in self.rows(f"DESCRIBE SELECT * FROM {relation}")}


def _derived(types: dict[str, str]) -> str:
    """SQL for the columns that follow from others where they are missing."""
    classes = next((name for name in ("classes_present", "classes") if types.get(name, "").endswith("[]")), None)
    columns = {"id": 'CAST("row" AS VARCHAR)'}
    if classes:
        columns |= {"classes_present": classes, "num_classes_present": f"len({classes})"}
    return "".join(f", {sql} AS {name}" for name, sql in columns.items() if name not in types)


def quoted(name: str) -> str:
    """A column's name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string in SQL."""
    return "'" + text.replace("'", "''") + "'"
