"""Rules that keep rows whose score lies beyond a bound or between two."""

import math
import re
from dataclasses import field
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, model_validator

from sds_hf.schema import settings
from sds_hf.selection.candidates import Candidates
from sds_hf.selection.duck import literal
from sds_hf.selection.rules.base import Rule

QUANTILE = re.compile(r"q(0(\.\d+)?|1(\.0+)?)")


def _number_or_quantile(value: float | str) -> float | str:
    if isinstance(value, bool):
        raise ValueError(f"must be a number or a quantile, not {value}")
    if isinstance(value, str) and QUANTILE.fullmatch(value):
        return value
    try:
        number = float(value)  # YAML takes 1e-3 for a string
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if math.isnan(number):
        raise ValueError(f'must be a number or a quantile from "q0" to "q1" such as "q0.15", not {value!r}')
    return number


Bound = Annotated[float | str, BeforeValidator(_number_or_quantile)]


@settings
class Bounded(Rule):
    """A rule with bounds, each a number or a quantile of the rows still in."""

    signs: ClassVar[dict[str, str]]  # how a row that stays compares, by the bound's name

    column: str = field(kw_only=False)

    @property
    def bounds(self) -> dict[str, float | str]:
        """The bounds that are set."""
        values = {name: getattr(self, name) for name in self.signs}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def quantiles(self) -> list[str]:
        """Names of the bounds that are quantiles."""
        return [name for name, value in self.bounds.items() if isinstance(value, str)]

    @model_validator(mode="after")
    def _some_bound(self) -> "Bounded":
        if not self.bounds:
            raise ValueError(f"{self.kind} on {self.column!r} needs {' or '.join(f'`{name}`' for name in self.signs)}")
        return self

    @property
    def reads(self) -> tuple[str, ...]:
        """See `Rule.reads`."""
        return (self.column,)

    @property
    def label(self) -> str:
        """See `Rule.label`."""
        return " and ".join(f"{self.column} {self.signs[name]} {value}" for name, value in self.bounds.items())

    @property
    def hint(self) -> str:
        """See `Rule.hint`."""
        if self.quantiles:
            return "A lower quantile keeps more; rows of equal scores stay or go together"
        return f'A quantile as bound keeps a share whatever the scale: {next(iter(self.signs))}: "q0.2"'

    @property
    def tests(self) -> tuple[tuple[str, str, float], ...]:
        """See `Rule.tests`; a quantile is of other rows too."""
        numbers = {name: value for name, value in self.bounds.items() if not isinstance(value, str)}
        if len(numbers) < len(self.bounds):
            return ()
        return tuple((self.column, self.signs[name], number) for name, number in numbers.items())

    def undecided(self, candidates: Candidates) -> str:
        """See `Rule.undecided`; the interval that a skipped value lies in can be enough."""
        if not self.tests:
            return super().undecided(candidates)
        bounds = [(sign, candidates.constant(self.column, bound)) for _, sign, bound in self.tests]
        low, high = candidates.interval(self.column)
        ends = [(f"{low} {sign} {bound}", f"{high} {sign} {bound}") for sign, bound in bounds]
        passes = " AND ".join(f"{at_low} AND {at_high}" for at_low, at_high in ends)
        fails = " OR ".join(f"(NOT ({at_low}) AND NOT ({at_high}))" for at_low, at_high in ends)
        return f"({candidates.skipped(self.column)} AND NOT coalesce(({passes}) OR {fails}, false))"

    def apply(self, candidates: Candidates) -> dict[str, float]:
        """See `Rule.apply`."""
        column = candidates.deciding_number(self.column) if self.tests else candidates.number(self.column)
        bounds = {name: self._number(candidates, value) for name, value in self.bounds.items()}
        tests = " AND ".join(
            f"{column} {self.signs[name]} {candidates.constant(self.column, value, exact=name in self.quantiles)}"
            for name, value in bounds.items()
        )
        dropped = literal("dropped:" + self.column)
        candidates.step(f"WHEN {column} IS NULL THEN 'dropped:null' WHEN NOT ({tests}) THEN {dropped}")
        return {name: bounds[name] for name in self.quantiles}

    def _number(self, candidates: Candidates, value: float | str) -> float:
        if not isinstance(value, str):
            return value
        quantiles = candidates.quantiles(self.column, [float(value[1:])], "dropped IS NULL")
        return quantiles[0] if quantiles else 0.0  # no row has a score


@settings
class Threshold(Bounded):
    """Keep rows whose score is strictly above (or below) a value; rows without a score leave.

    Args:
        column: a score column.
        above: a number, or a quantile of the rows still in, e.g. `"q0.15"`: then the lowest 15 % leave.
        below: likewise, from the other side.

    Source:
        Tang et al., SDS, AAAI 2025, Eq. 6.

    Examples:
        >>> select(scored, Threshold("clip_sim", 0.2)).report.steps[0].rule
        'clip_sim > 0.2'
        >>> select(scored, Threshold("boundary", above="q0.25")).report.kept
        18
    """

    kind: ClassVar[str] = "threshold"
    signs: ClassVar[dict[str, str]] = {"above": ">", "below": "<"}

    above: Bound | None = field(default=None, kw_only=False)
    below: Bound | None = field(default=None, kw_only=False)


@settings
class Band(Bounded):
    """Keep rows whose score is in [low, high], both included; rows without a score leave.

    Args:
        column: a score column.
        low: a number, or a quantile of the rows still in, e.g. `"q0.25"`; None for no bound.
        high: likewise.

    Source:
        Wang et al., Difficulty Controlled Diffusion Model, AAAI 2026: rows of medium difficulty help most.

    Examples:
        >>> select(scored, Band("boundary", low="q0.25", high="q0.75")).report.kept
        12
    """

    kind: ClassVar[str] = "band"
    signs: ClassVar[dict[str, str]] = {"low": ">=", "high": "<="}

    low: Bound | None = field(default=None, kw_only=False)
    high: Bound | None = field(default=None, kw_only=False)
