"""Rules that keep rows by looking at score columns only. Each is a step of SQL over the table of candidates."""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import fields
from typing import Annotated, Any, ClassVar, cast

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.dataclasses import dataclass

from sds_hf.candidates import Candidates, literal, quoted
from sds_hf.validation import one_line

QUANTILE = re.compile(r"q(0(\.\d+)?|1(\.0+)?)")
GROUP_LABELS = {"num_classes_present": "num_classes", "classes_present": "class"}  # in reasons and output columns
RANKING = ("rank", "group_size", "cutoff")  # of a row in its group
RULES: dict[str, type["Rule"]] = {}


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Rule(ABC):
    """Drops some of the rows that are still in, and says why."""

    kind: ClassVar[str]  # in recipes

    def __init_subclass__(cls) -> None:
        if "kind" in cls.__dict__:
            RULES[cls.kind] = cls

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """Columns the rule looks at."""

    @property
    @abstractmethod
    def label(self) -> str:
        """The rule in a few words, for people."""

    def settings(self) -> dict[str, Any]:
        """What was set, as a recipe writes it."""
        values = {field.name: getattr(self, field.name) for field in fields(cast(Any, self))}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if value is not None
        }

    @abstractmethod
    def apply(self, candidates: Candidates) -> dict[str, float]:
        """Set `dropped` of rows that leave, `kept_by` of rows that were chosen; returns what quantiles came to."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Threshold(Rule):
    """Keep rows whose score is strictly above (or below) a value; rows without a score leave.

    Args:
        column: a score column.
        above: a number, or a quantile of the rows still in, e.g. `"q0.15"`: then the lowest 15 % leave.
        below: likewise, from the other side.

    Source:
        Tang et al., SDS, AAAI 2025, Eq. 6.
    """

    kind: ClassVar[str] = "threshold"

    column: str
    above: float | str | None = None
    below: float | str | None = None

    @field_validator("above", "below")
    @classmethod
    def _number_or_quantile(cls, value: float | str | None) -> float | str | None:
        if value is None or (isinstance(value, str) and QUANTILE.fullmatch(value)):
            return value
        try:
            number = float(value)  # YAML takes 1e-3 for a string
        except ValueError:
            number = math.nan
        if math.isnan(number):
            raise ValueError(f'must be a number or a quantile from "q0" to "q1" such as "q0.15", not {value!r}')
        return number

    @model_validator(mode="after")
    def _some_bound(self) -> "Threshold":
        if self.above is None and self.below is None:
            raise ValueError(f"threshold on {self.column!r} needs `above` or `below`")
        return self

    @property
    def reads(self) -> tuple[str, ...]:
        """See `Rule.reads`."""
        return (self.column,)

    @property
    def label(self) -> str:
        """See `Rule.label`."""
        bounds = ((">", self.above), ("<", self.below))
        return " and ".join(f"{self.column} {sign} {value}" for sign, value in bounds if value is not None)

    def apply(self, candidates: Candidates) -> dict[str, float]:
        """See `Rule.apply`."""
        column, given = candidates.number(self.column), {"above": self.above, "below": self.below}
        bounds = {name: self._bound(candidates, value) for name, value in given.items() if value is not None}
        tests = [
            f"{column} {sign} {candidates.constant(self.column, bounds[name])}"
            for name, sign in (("above", ">"), ("below", "<"))
            if name in bounds
        ]
        candidates.step(
            f"""SELECT * REPLACE (CASE WHEN dropped IS NOT NULL THEN dropped
                                       WHEN {column} IS NULL THEN 'dropped:null'
                                       WHEN NOT ({" AND ".join(tests)}) THEN {literal("dropped:" + self.column)}
                                  END AS dropped)
                FROM candidates"""
        )
        quantiles = (name for name, value in given.items() if isinstance(value, str))
        return {name: bounds[name] for name in quantiles if not math.isnan(bounds[name])}

    def _bound(self, candidates: Candidates, value: float | str) -> float:
        if not isinstance(value, str):
            return value
        column = candidates.number(self.column)
        found = candidates.value(
            f"SELECT quantile_cont({column}, {float(value[1:])}) FROM candidates WHERE dropped IS NULL"
        )
        return math.nan if found is None else float(found)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class TopPerGroup(Rule):
    """Keep the best fraction of each group; a row stays if any of its groups keeps it.

    Groups are formed of the rows still in. `by` names families of groups: a column of numbers or strings puts a row
    into one group, a column of lists into several. In a group of g rows, `ceil(fraction * g)` stay, so that no group
    vanishes; equal scores are ordered by id.

    Args:
        column: a score column, higher is better.
        by: one or more columns, e.g. `num_classes_present` and `classes_present`; the union of all families is kept.
        fraction: share of each group, above 0 and at most 1.

    Source:
        Tang et al., SDS, AAAI 2025, Eq. 15 (the top 60 % by number of classes, and by class).
    """

    kind: ClassVar[str] = "top_per_group"

    column: str
    by: Annotated[tuple[str, ...], Field(min_length=1)]
    fraction: Annotated[float, Field(gt=0, le=1)]

    @field_validator("by", mode="before")
    @classmethod
    def _one_or_more(cls, value: str | Sequence[str]) -> Sequence[str]:
        return (value,) if isinstance(value, str) else value

    @property
    def reads(self) -> tuple[str, ...]:
        """See `Rule.reads`."""
        return (self.column, *self.by)

    @property
    def label(self) -> str:
        """See `Rule.label`."""
        groups = " or ".join(GROUP_LABELS.get(column, column) for column in self.by)
        return f"top {self.fraction:.0%} of {self.column} by {groups}"

    def apply(self, candidates: Candidates) -> dict[str, float]:
        """See `Rule.apply`."""
        score = candidates.number(self.column)
        added = [f"{GROUP_LABELS.get(column, column)}_{name}" for column in self.by for name in RANKING]
        found = [f"family_{place}.{name}" for place in range(len(self.by)) for name in RANKING]
        families = [f"family_{place}" for place in range(len(self.by))]
        ranked = ", ".join(
            f"{family} AS ({self._ranked(column, candidates)})"
            for family, column in zip(families, self.by, strict=True)
        )
        joins = " ".join(f'LEFT JOIN {family} USING ("row")' for family in families)
        kept = " ".join(f"WHEN {family}.rank <= {family}.cutoff THEN {family}.chosen" for family in families)
        ranks = ", ".join(f"{value} AS {quoted(name)}" for value, name in zip(found, added, strict=True))
        candidates.step(
            f"""WITH {ranked},
                chosen AS (SELECT candidates.*, CASE {kept} END AS chosen, {ranks} FROM candidates {joins})
                SELECT * EXCLUDE (chosen) REPLACE (
                    CASE WHEN dropped IS NOT NULL THEN dropped WHEN {score} IS NULL THEN 'dropped:null'
                         WHEN chosen IS NULL THEN 'dropped:top_fraction' END AS dropped,
                    coalesce(kept_by, chosen) AS kept_by)
                FROM chosen""",
            adds=added,
        )
        return {}

    def _ranked(self, column: str, candidates: Candidates) -> str:
        """One line a row: its rank in the group of a family that serves it best, and the group's size and cutoff.

        A row of several groups is listed under the first, in the groups' order, that keeps it, else under the one it
        came closest in.
        """
        several = candidates.is_list(column)
        group = f"unnest({quoted(column)})" if several else quoted(column)
        name = candidates.group_name(column, "grp")
        prefix = literal(f"kept:{GROUP_LABELS.get(column, column)}=")
        order = "rank > cutoff, CASE WHEN rank <= cutoff THEN grp END, rank / cutoff, grp"
        best = f'QUALIFY row_number() OVER (PARTITION BY "row" ORDER BY {order}) = 1' if several else ""
        return f"""
            SELECT "row", rank, group_size, cutoff, {prefix} || {name} AS chosen FROM (
                SELECT *, CAST(ceil({self.fraction!r} * group_size - 1e-9) AS BIGINT) AS cutoff FROM (
                    SELECT "row", grp, row_number() OVER (PARTITION BY grp ORDER BY score DESC, id) AS rank,
                           count(*) OVER (PARTITION BY grp) AS group_size
                    FROM (SELECT "row", id, {quoted(self.column)} AS score, {group} AS grp FROM candidates
                          WHERE dropped IS NULL AND {quoted(self.column)} IS NOT NULL)
                    WHERE grp IS NOT NULL)) {best}"""


def make_rule(place: int, given: Any) -> Rule:
    """The rule that a recipe writes as `{kind: settings}`.

    Args:
        place: of the rule in its list, for the error.
        given: what the recipe has there.

    Raises:
        ValueError: in one line, if it is none or makes no sense.
    """
    if not isinstance(given, dict) or len(given) != 1:
        raise ValueError(f"rule {place} must be one of {sorted(RULES)} with its settings, not {given!r}")
    ((kind, settings),) = given.items()
    if kind not in RULES:
        raise ValueError(f"rule {place}: no rule {kind!r}; there are {sorted(RULES)}")
    known = [field.name for field in fields(cast(Any, RULES[kind]))]
    if not isinstance(settings or {}, dict):
        raise ValueError(f"rule {place}, {kind}: takes the settings {known}, not {settings!r}")
    try:
        return RULES[kind](**{str(name): value for name, value in (settings or {}).items()})
    except ValidationError as error:
        raise ValueError(f"rule {place}, {kind}: {one_line(error, {(): known})}") from error
