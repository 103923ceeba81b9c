"""What decides a row: the bounds it has to pass and the values it is asked for, in order; nothing else is computed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from sds_hf.scores.base.batches import Column, all_columns, placed
from sds_hf.scores.base.rows import Rows, in_parts
from sds_hf.scores.base.score import COSTS, Score, in_turn

SKIPPED = "skipped_scores"  # column with the names of a row's columns that were not computed
LOW, HIGH = "_low", "_high"  # end the names of the columns with the interval that a value lies in
COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    ">": np.greater,
    ">=": np.greater_equal,
    "<": np.less,
    "<=": np.less_equal,
}


@dataclass(frozen=True)
class Need:
    """The values of columns, of every row that gets here."""

    columns: tuple[str, ...]

    def is_open(self, values: "PartialValues", column: str) -> np.ndarray:
        """Rows that lack the value, (rows,) bool."""
        rows: np.ndarray = values.lacking[column]
        return rows

    def is_open_between(self, values: "PartialValues", low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Which values are still asked for when they lie in [low, high]: all."""
        return np.ones(len(low), bool)

    def passes(self, values: "PartialValues") -> np.ndarray:
        """Rows that go on, (rows,) bool."""
        return np.ones(len(values), bool)


@dataclass(frozen=True)
class Test:
    """Bounds on a column; a row that does not keep them goes no further, as does one without a value.

    Attributes:
        column: of numbers.
        bounds: how a row that passes compares (`>`, `>=`, `<` or `<=`), and with which number; all of them hold.
        exact: whether the values of rows that pass are asked for later, so that an interval is not enough.
    """

    column: str
    bounds: tuple[tuple[str, float], ...]
    exact: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """What is looked at."""
        return (self.column,)

    def is_open(self, values: "PartialValues", column: str) -> np.ndarray:
        """Rows that lack the value, and of which the interval does not decide, (rows,) bool."""
        rows: np.ndarray = values.lacking[column] & self.is_open_between(values, *values.interval(column))
        return rows

    def is_open_between(self, values: "PartialValues", low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Which values decide nothing yet when they lie in [low, high], (n,) bool; NaN where nothing is known."""
        ends = [(self._keeps(values, bound, low), self._keeps(values, bound, high)) for bound in self.bounds]
        fails = np.any([~at_low & ~at_high for at_low, at_high in ends], axis=0)
        passes = np.all([at_low & at_high for at_low, at_high in ends], axis=0) & (not self.exact)
        rows: np.ndarray = np.isnan(low) | np.isnan(high) | ~(fails | passes)
        return rows

    def passes(self, values: "PartialValues") -> np.ndarray:
        """Rows that keep all bounds, (rows,) bool; of those whose value is lacking the interval decides."""
        numbers, (_, high) = values.numbers(self.column), values.interval(self.column)
        numbers = np.where(values.lacking[self.column], high, numbers)
        rows: np.ndarray = np.all([self._keeps(values, bound, numbers) for bound in self.bounds], axis=0)
        return rows

    def _keeps(self, values: "PartialValues", bound: tuple[str, float], numbers: np.ndarray) -> np.ndarray:
        """Whether numbers keep a bound, which is as exact as the column: a stored 0.8 is not above 0.8."""
        sign, number = bound
        kind = values.kinds[self.column]
        with np.errstate(over="ignore"):
            stored = kind.to_pandas_dtype()(number) if pa.types.is_floating(kind) else number
        kept: np.ndarray = COMPARED[sign](numbers, float(stored))
        return kept


Needs = tuple[Test | Need, ...]


class PartialValues:
    """Values of some rows, as far as they are computed.

    Args:
        kinds: columns of scores with their types.
        further: columns that stand beside them while values are lacking, such as intervals, with their types.
        count: how many rows.
        stored: the same rows of a table; None if nothing is computed yet.

    Attributes:
        kinds: as given.
        columns: values by column; None where there is none, or it was not computed.
        lacking: which were not computed, (rows,) bool, by column of scores.
    """

    def __init__(
        self,
        kinds: Mapping[str, pa.DataType],
        further: Mapping[str, pa.DataType],
        count: int,
        stored: pa.Table | None = None,
    ) -> None:
        self.kinds, self._count = kinds, count
        self.columns: dict[str, list[Any]] = {}
        names = stored.column_names if stored is not None else ()
        for name in (*kinds, *(name for name in further if name != SKIPPED)):
            self.columns[name] = stored[name].to_pylist() if stored is not None and name in names else [None] * count
        skipped, failed = [frozenset[str]()] * count, np.ones(count, bool)
        if stored is not None:
            failed = np.array([status == "failed" for status in stored["status"].to_pylist()], bool)
            cells = stored[SKIPPED].to_pylist() if SKIPPED in names else [()] * count
            skipped = [frozenset(cell or ()) for cell in cells]
        self.lacking = {name: failed | np.array([name in cell for cell in skipped], bool) for name in kinds}

    def __len__(self) -> int:
        return self._count

    def numbers(self, column: str) -> np.ndarray:
        """The values of a column of numbers as a table stores them, (rows,) float64, NaN where there is none."""
        numbers = np.array([np.nan if value is None else value for value in self.columns[column]], np.float64)
        if column not in self.kinds or not pa.types.is_floating(self.kinds[column]):
            return numbers
        return numbers.astype(self.kinds[column].to_pandas_dtype()).astype(np.float64)

    def interval(self, column: str) -> tuple[np.ndarray, np.ndarray]:
        """What values of a column that are lacking lie in, (rows,) float64 each, NaN where nothing is known."""
        if column + LOW not in self.columns:
            unknown = np.full(len(self), np.nan)
            return unknown, unknown
        return self.numbers(column + LOW), self.numbers(column + HIGH)

    def put(self, rows: np.ndarray, values: Mapping[str, Sequence[Any]], lacking: Mapping[str, np.ndarray]) -> None:
        """Take values of some rows, but none in place of one that is there.

        Args:
            rows: their positions.
            values: by column, a value a row.
            lacking: columns of which some of these rows have no value yet, (n,) bool.
        """
        for name, column in values.items():
            absent = self.lacking[name][rows] if name in self.lacking else np.ones(len(rows), bool)
            for position in np.flatnonzero(absent).tolist():
                value = column[position]
                self.columns[name][rows[position]] = None if value is None or value != value else value
            if name in self.lacking:
                self.lacking[name][rows] &= lacking.get(name, np.zeros(len(rows), bool))

    def as_columns(self) -> dict[str, list[Any]]:
        """All columns, with the names of those that a row lacks; an interval only where the value is lacking."""
        columns = dict(self.columns)
        for name in self.lacking:
            for end in (LOW, HIGH):
                if name + end in columns:
                    lacking = self.lacking[name]
                    columns[name + end] = [
                        v if lack else None for v, lack in zip(columns[name + end], lacking, strict=True)
                    ]
        names = [[name for name, lack in self.lacking.items() if lack[row]] for row in range(len(self))]
        return {**columns, SKIPPED: names}


def partial_columns(scores: Sequence[Score]) -> dict[str, pa.DataType]:
    """Columns of a table whose scores are computed as far as needed, in order."""
    return {**all_columns(scores), **further_columns(scores)}


def further_columns(scores: Sequence[Score]) -> dict[str, pa.DataType]:
    """Those of them that a table has only as long as values are lacking."""
    kinds = {name: kind for score in scores for name, kind in score.partial_columns.items()}
    return {**kinds, SKIPPED: pa.list_(pa.string())}


def open_rows(scores: Sequence[Score], needs: Needs, stored: pa.Table) -> np.ndarray:
    """Rows of a table that have not all that is needed of them, (rows,) bool; none that failed."""
    values = PartialValues(all_columns(scores), further_columns(scores), len(stored), stored)
    going = np.array([status != "failed" for status in stored["status"].to_pylist()], bool)
    wanted = np.zeros(len(stored), bool)
    for step in needs:
        for column in filter(values.lacking.__contains__, step.columns):
            wanted |= going & step.is_open(values, column)
        going &= step.passes(values) & ~wanted
    return wanted


def score_needed(
    scores: Sequence[Score], rows: Rows, needs: Needs, stored: pa.Table | None = None
) -> tuple[dict[str, Column], dict[int, str]]:
    """Compute what is needed of rows, each score for the rows that get to where it is asked for.

    Args:
        scores: that write the columns.
        rows: as `read_cells` returns them.
        needs: what decides them.
        stored: what a table has of all the rows that were read; it stays.

    Returns:
        The columns of `partial_columns` with nulls for rows that could not be scored, and what is wrong with these, by
        position.
    """
    kinds = partial_columns(scores)

    def compute(part: Rows) -> dict[str, list[Any]]:
        there = None if stored is None else stored.take(list(part.positions))
        values = PartialValues(all_columns(scores), further_columns(scores), len(part), there)
        _fill(values, scores, part, needs)
        return values.as_columns()

    computed, too_large = in_parts(compute, rows, list(kinds), repr((scores, needs))) if len(rows) else ({}, {})
    return placed(rows, computed, too_large, kinds)


def _fill(values: PartialValues, scores: Sequence[Score], rows: Rows, needs: Needs) -> None:
    """Compute what is needed of rows into their values."""
    writers = _writers(scores)
    turns = [score.name for score in in_turn(scores)]
    going = np.ones(len(rows), bool)
    for step in needs:
        columns = filter(writers.__contains__, step.columns)
        for column in sorted(columns, key=lambda column: turns.index(writers[column].name)):
            wanted = np.flatnonzero(going & step.is_open(values, column))
            if not len(wanted):
                continue
            part = rows if len(wanted) == len(rows) else rows.take(wanted)
            is_open = partial(step.is_open_between, values)
            values.put(wanted, *writers[column].compute_open(part, column, is_open))
        going &= step.passes(values)


def _writers(scores: Sequence[Score]) -> dict[str, Score]:
    """The score that writes each column, the cheapest of several."""
    dearest_first = sorted(scores, key=lambda score: COSTS.index(score.cost), reverse=True)
    return {column: score for score in dearest_first for column in score.writes}
