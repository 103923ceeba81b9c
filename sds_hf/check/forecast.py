"""How many more candidates a generator must make, judged by what was kept of those there are."""

from collections.abc import Iterable
from math import ceil, sqrt

from pydantic import BaseModel, ConfigDict

from sds_hf.selection.report import ClassCount, Report
from sds_hf.selection.rules import AtMostPerGroup, Rule
from sds_hf.selection.rules.share import Sized

Z = 1.959963984540054  # 95 % of a normal distribution lie within so many standard deviations


class ClassForecast(BaseModel):
    """One class: what was kept of it, and what is missing.

    Attributes:
        id: index of the class.
        name: of the class.
        candidates: rows that show it.
        kept: of these.
        share: that is kept; None without candidates.
        low: of the share, 95 % (Wilson); None without candidates.
        high: likewise.
        missing: kept rows that are to come.
        more: candidates with this class that are to come, at the share as it is; None if no row was kept.
        at_least: the same at the share's upper end.
        at_most: the same at its lower end; None if no row was kept.
    """

    model_config = ConfigDict(extra="forbid")

    id: int
    name: str
    candidates: int
    kept: int
    share: float | None
    low: float | None
    high: float | None
    missing: int
    more: int | None
    at_least: int | None
    at_most: int | None


def forecast(report: Report, goal: int, rules: Iterable[Rule] = ()) -> list[ClassForecast]:
    """Candidates of each class that must be made so that a number of rows of each is kept.

    The share of a class that is kept is taken to stay as it is: candidates of the same generator, and rules that keep a
    share or what lies beyond a bound. A row of several classes counts for each.

    Args:
        report: of a selection.
        goal: rows of each class that are to be kept, at least 1.
        rules: of the selection, if they are known.

    Returns:
        An entry a class: those that candidates show, and those of the label space that none shows.

    Raises:
        ValueError: if a rule keeps a number of rows however many candidates there are.

    Examples:
        >>> cow = next(one for one in forecast(selection.report, goal=50) if one.name == "cow")
        >>> cow.candidates, cow.kept, cow.more
        (1, 1, 49)
    """
    check_rules(rules, goal)
    return [_of_class(count, goal) for count in [*report.classes, *_unseen(report)]]


def check_rules(rules: Iterable[Rule], goal: int) -> None:
    """Refuse a forecast for rules that keep no more rows of more candidates. See `forecast`.

    Raises:
        ValueError: says which.
    """
    if goal < 1:
        raise ValueError(f"a forecast needs a goal of at least 1 row a class, not {goal}")
    for rule in rules:
        fixed = isinstance(rule, AtMostPerGroup) and rule.rows < goal
        if fixed or (isinstance(rule, Sized) and rule.target is not None):
            raise ValueError(
                f"no forecast: {rule.label!r} keeps no more rows however many candidates there are; give it a "
                "`fraction` in place of a number"
            )


def _unseen(report: Report) -> list[ClassCount]:
    """Classes of the label space that no candidate shows."""
    labels = report.provenance.get("labels") or {}
    first = 1 if labels.get("has_background", True) else 0
    seen = {count.id for count in report.classes}
    names = list(enumerate(labels.get("names") or ()))[first:]
    return [ClassCount(id=index, name=name, before=0, after=0) for index, name in names if index not in seen]


def _of_class(count: ClassCount, goal: int) -> ClassForecast:
    missing = max(0, goal - count.after)
    low, high = wilson(count.after, count.before) if count.before else (None, None)
    share = count.after / count.before if count.before else None
    return ClassForecast(
        id=count.id,
        name=count.name,
        candidates=count.before,
        kept=count.after,
        share=share,
        low=low,
        high=high,
        missing=missing,
        more=_needed(missing, share),
        at_least=_needed(missing, high),
        at_most=_needed(missing, low if count.after else None),
    )


def _needed(missing: int, share: float | None) -> int | None:
    if not missing:
        return 0
    return ceil(missing / share - 1e-9) if share else None


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a share, which also holds for few trials.

    Source:
        Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.
    """
    share, spread = successes / trials, Z * Z / trials
    centre = (share + spread / 2) / (1 + spread)
    half = Z * sqrt(share * (1 - share) / trials + spread / (4 * trials)) / (1 + spread)
    return max(0.0, centre - half) if successes else 0.0, min(1.0, centre + half) if successes < trials else 1.0
