"""The rows a selection works on, as tables in DuckDB, so that a set larger than memory works like a small one."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from sds_hf.errors import did_you_mean
from sds_hf.scores.base.catalog import score_classes
from sds_hf.selection.duck import CLASSES, COUNT, is_list_of_ids, literal, quantiles, quoted
from sds_hf.selection.source import Scores
from sds_hf.table.partial.needs import HIGH, LOW

GROUP_LABELS = {COUNT: "num_classes", CLASSES: "class"}  # in reasons and output columns
OWN = ("status", "error")  # columns of a score table that no rule reads
NUMBER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL.*")


class Candidates:
    """The rows a selection works on; used by rules.

    `base` has what is known of each row and never changes: `id`, `row`, and under names of ours what the rules read and
    all scores (null for NaN): `column` and `number` say the SQL of a column. `state` has what the rules decide:
    `dropped` (a reason, null while the row is in), `detail` (what ends the reason of that row alone,
    such as its rank), `kept_by` (the first group that kept it), and the columns of groups.
    A step writes a new state. All tables are in the order of `row`, so that joining them means reading them side by
    side, and no step moves a column that it does not look at.

    Args:
        connection: a database that keeps the order in which rows are inserted.
        scores: the rows.
        reads: columns that the rules look at.

    Attributes:
        types: DuckDB types of the columns that are known, by name.
        scores: columns of scores.
        group_columns: what the groups have added.
        tie: SQL of a whole number that orders rows by their id.
        rows: SQL of the relation of all candidates, `base` and `state`.
        last_kept: of each group that was cut since it was emptied, its name and the row of its last rank that stays;
            nothing of families of very many groups.

    Raises:
        ValueError: if a column is missing, or rows cannot be told apart.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, scores: Scores, reads: Iterable[str]) -> None:
        self._db, self._names, self._halves = connection, scores.class_names, scores.halves
        self.types, self.group_columns = scores.types, list[str]()
        self.last_kept = list[tuple[str, int]]()
        own = ("id", "row", *scores.partial)
        self.scores = [name for name in scores.columns if self.is_float(name) and name not in own]
        reads = list(dict.fromkeys(reads))
        if missing := [column for column in reads if column not in self.types]:
            raise ValueError(_lacking(missing, [name for name in self.types if name not in OWN]))
        for column in reads:
            if column not in scores.columns:
                raise ValueError(f"no rule can read the column {column!r}, which holds {self.types[column]}")
        self._columns = {
            name: f"v{place}" for place, name in enumerate(dict.fromkeys([*reads, *self.scores, *self.class_columns]))
        }
        self._skipped, self._intervals = dict[str, str](), dict[str, tuple[str, str]]()
        self._create(scores)
        self._order_rows()
        self._order_ids()
        self.execute(
            """CREATE TABLE state AS SELECT CASE WHEN problem IS NOT NULL THEN 'dropped:failed' END AS dropped,
                                            CAST(NULL AS VARCHAR) AS detail, CAST(NULL AS VARCHAR) AS kept_by
               FROM base"""
        )

    @property
    def class_columns(self) -> list[str]:
        """The column that says which classes a row shows, if there is one."""
        return [CLASSES] if is_list_of_ids(self.types.get(CLASSES, "")) else []

    def _create(self, scores: Scores) -> None:
        values: Iterable[str] = (
            f"CASE WHEN NOT isnan({scores.columns[name]}) THEN {scores.columns[name]} END AS {alias}"
            if self.is_float(name)
            else f"{scores.columns[name]} AS {alias}"
            for name, alias in self._columns.items()
        )
        for name in self._columns if scores.skipped else ():
            values = (*values, *self._parts(name, scores))
        columns = [
            f"CAST({scores.columns['id']} AS VARCHAR) AS id",
            f'{scores.number} AS "row"',
            f"{scores.problem} AS problem",
            *values,
        ]
        self.execute(f"CREATE TABLE base AS SELECT {', '.join(columns)} FROM {scores.sql}")

    def _parts(self, name: str, scores: Scores) -> list[str]:
        """SQL of whether a value was skipped, and of what it lies between."""
        skipped, ends = f"skipped_{self._columns[name]}", (name + LOW, name + HIGH)
        self._skipped[name] = skipped
        parts = [f"coalesce(list_contains({scores.skipped}, {literal(name)}), false) AS {skipped}"]
        if all(end in scores.columns for end in ends):
            aliases = [f"low_{self._columns[name]}", f"high_{self._columns[name]}"]
            self._intervals[name] = (aliases[0], aliases[1])
            parts += [f"{scores.columns[end]} AS {alias}" for end, alias in zip(ends, aliases, strict=True)]
        return parts

    def _order_rows(self) -> None:
        if self._ascending("row"):
            return
        self.execute('CREATE TABLE ordered AS SELECT * FROM base ORDER BY "row"')
        self._replace("base", "ordered")
        if not self._ascending("row"):
            self._complain("row")

    def _order_ids(self) -> None:
        self.tie, self.rows = '"row"', "base POSITIONAL JOIN state"
        if self._ascending("id"):
            return
        self.execute(
            """CREATE TABLE ties AS SELECT tie, twice FROM (
                   SELECT "row", row_number() OVER (ORDER BY id) AS tie, id = lag(id) OVER (ORDER BY id) AS twice
                   FROM base) ORDER BY "row" """
        )
        if self.value("SELECT count(*) FROM ties WHERE twice"):
            self._complain("id")
        self.tie, self.rows = "tie", "base POSITIONAL JOIN ties POSITIONAL JOIN state"

    def _ascending(self, name: str) -> bool:
        broken = (
            f"SELECT {quoted(name)} AS now, lag({quoted(name)}) OVER () AS last, row_number() OVER () AS n FROM base"
        )
        return not self.value(f"SELECT count(*) FROM ({broken}) WHERE n > 1 AND NOT coalesce(now > last, false)")

    def _complain(self, name: str) -> None:
        twice = self.value(f"SELECT {quoted(name)} FROM base GROUP BY 1 HAVING count(*) > 1 ORDER BY 1 LIMIT 1")
        raise ValueError(f"the {name} {twice!r} occurs more than once; a selection needs each row once")

    def beside(self, families: Iterable[str]) -> str:
        """SQL of all candidates with tables that `rules.order.cut` made."""
        return " POSITIONAL JOIN ".join([self.rows, *families])

    def step(
        self,
        dropped: str,
        *,
        detail: str = "NULL",
        kept_by: str = "NULL",
        families: Sequence[str] = (),
        adds: Mapping[str, str] | None = None,
    ) -> None:
        """Write a new state.

        Args:
            dropped: `WHEN ... THEN ...` for rows that leave.
            detail: SQL of what ends the reason of one of them; null for all others.
            kept_by: SQL of what keeps the others, if nothing has before.
            families: tables that `rules.order.cut` made and that are no longer needed then.
            adds: columns of groups, added or anew, with their SQL.
        """
        columns = dict(self._groups()) | dict(adds or {})
        groups = "".join(f", {sql} AS g{place}" for place, sql in enumerate(columns.values()))
        self.group_columns = list(columns)
        self.execute(
            f"""CREATE TABLE next AS SELECT CASE WHEN dropped IS NOT NULL THEN dropped {dropped} END AS dropped,
                    CAST(CASE WHEN dropped IS NOT NULL THEN detail ELSE {detail} END AS VARCHAR) AS detail,
                    CAST(coalesce(kept_by, {kept_by}) AS VARCHAR) AS kept_by{groups}
                FROM {self.beside(families)}"""
        )
        self._replace("state", "next")
        for family in families:
            self.execute(f"DROP TABLE {family}")

    def _groups(self) -> Iterator[tuple[str, str]]:
        """Columns of groups with their SQL."""
        return ((name, f"state.g{place}") for place, name in enumerate(self.group_columns))

    def _replace(self, old: str, new: str) -> None:
        self.execute(f"DROP TABLE {old}")
        self.execute(f"ALTER TABLE {new} RENAME TO {old}")

    def execute(self, statement: str) -> None:
        """Make or drop a table or view."""
        self._db.execute(statement)

    def value(self, query: str) -> Any:
        """The single value of a query."""
        row = self._db.execute(query).fetchone()
        return row[0] if row else None

    def fetch(self, query: str) -> list[tuple[Any, ...]]:
        """All rows of a query that gives few."""
        return self._db.execute(query).fetchall()

    def quantiles(self, column: str, shares: Sequence[float], where: str) -> list[float]:
        """Quantiles of the numbers in a column; none if there is no number.

        Args:
            column: of numbers.
            shares: in [0, 1].
            where: SQL of which rows count.
        """
        value = self.column(column)
        numbers = f"(SELECT CAST({value} AS DOUBLE) AS value FROM {self.rows} WHERE {value} IS NOT NULL AND {where})"
        return quantiles(self.fetch, numbers, shares)

    def is_list(self, column: str) -> bool:
        """Whether the column holds lists."""
        return bool(self.types[column].endswith("[]"))

    def is_float(self, column: str) -> bool:
        """Whether the column holds scores."""
        return self.types[column] in ("FLOAT", "DOUBLE")

    def is_number(self, column: str) -> bool:
        """Whether the column holds numbers."""
        return bool(NUMBER.fullmatch(self.types[column]))

    def column(self, name: str) -> str:
        """SQL for a column that the rules read, or of a score."""
        return self._columns[name]

    def number(self, column: str) -> str:
        """SQL for a column of numbers.

        Raises:
            ValueError: if it holds something else.
        """
        if not self.is_number(column):
            raise ValueError(f"a rule needs numbers; the column {column!r} holds {self.types[column]}")
        return self.column(column)

    def deciding_number(self, column: str) -> str:
        """Like `number`, with an end of its interval for a value that was skipped, which decides as the value does.

        Raises:
            ValueError: see `number`.
        """
        number = self.number(column)
        if column not in self._skipped:
            return number
        return f"(CASE WHEN {self.skipped(column)} THEN {self.interval(column)[1]} ELSE {number} END)"

    def skipped(self, column: str) -> str:
        """SQL of whether a row's value of a column was not computed, because nobody needed it."""
        return self._skipped.get(column, "false")

    def interval(self, column: str) -> tuple[str, str]:
        """SQL of what a skipped value lies between; null where nothing is known."""
        return self._intervals.get(column, ("NULL", "NULL"))

    def skipped_rows(self) -> dict[str, int]:
        """How many rows skip each column of scores; only of those that some skip."""
        counts = {name: self.value(f"SELECT count(*) FROM base WHERE {sql}") for name, sql in self._skipped.items()}
        return {name: count for name, count in counts.items() if count}

    def constant(self, column: str, value: float, exact: bool = False) -> str:
        """SQL for a number to compare a column with, as exact as the column: a stored 0.8 is not above 0.8.

        Args:
            column: of numbers.
            value: the number.
            exact: whether it was computed of the column, so that it is no rounded one.
        """
        if exact:
            return f"CAST({literal(repr(value))} AS DOUBLE)"
        kind = self.types[column] if self.is_float(column) else "DOUBLE"
        with np.errstate(over="ignore"):
            stored = float(np.float16(value)) if column in self._halves else value
        return f"CAST({literal(repr(stored))} AS {kind})"

    def group_name(self, column: str, expression: str) -> str:
        """SQL for what to call a group in a reason: class ids by their names."""
        if column == CLASSES and self._names:
            names = ", ".join(literal(name) for name in self._names)
            return f"coalesce([{names}][{expression} + 1], CAST({expression} AS VARCHAR))"
        if self.is_float(column):
            expression = f"{expression} + 0"  # -0.0 and 0.0 are one group
        return f"CAST({expression} AS VARCHAR)"

    def group_label(self, column: str, expression: str) -> str:
        """SQL for a group with its family, such as `class=dog`."""
        return f"{literal(GROUP_LABELS.get(column, column) + '=')} || {self.group_name(column, expression)}"

    def save(self, path: Path) -> None:
        """Write the selection."""
        columns = "".join(f", {sql} AS {quoted(name)}" for name, sql in self._groups())
        self.execute(
            f"""COPY (SELECT id, "row", dropped IS NULL AS kept,
                             coalesce(dropped || coalesce(detail, ''), kept_by, 'kept:all_rules') AS reason{columns}
                      FROM {self.rows}) TO {literal(str(path))} (FORMAT PARQUET)"""
        )

    def types_of(self, relation: str) -> dict[str, str]:
        """DuckDB types of the columns of a relation."""
        return {name: str(kind) for name, kind, *_ in self.fetch(f"DESCRIBE SELECT * FROM {relation}")}


def _lacking(missing: Sequence[str], names: Sequence[str]) -> str:
    """What to say of columns that the scores do not have: what was meant, or which scores write them."""
    writers = {
        column: name for name, score in score_classes().items() for column in (*score.columns, *score.optional_columns)
    }
    what = f"the rules read {', '.join(missing)}, which the scores do not have; there are {', '.join(names)}"
    if meant := did_you_mean(missing[0], [name for name in names if name not in missing]):
        return what + meant
    scores = list(dict.fromkeys(writers[column] for column in missing if column in writers))
    if not scores:
        return what + did_you_mean(missing[0], writers)
    return f"{what}; add the score {', '.join(scores)} with `add_scores`, or `sds-hf score` and its option `add`"
