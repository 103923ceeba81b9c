"""The reason of a row as a person would say it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sds_hf.selection.duck import CLASSES, COUNT
from sds_hf.selection.report import Step
from sds_hf.selection.rules import Rule
from sds_hf.selection.rules.bounds import Bounded

IN_WORDS = {
    "kept:all_rules": "passes every rule",
    "kept:top_k": "among the best of all",
    "kept:rank_mean": "among the best by mean rank",
    "kept:worst_rank": "among the best by worst rank",
    "kept:random": "drawn at random",
    "kept:filled": "fills up the number of rows that was wanted",
    "dropped:null": "has no score that a rule needs",
    "dropped:failed": "could not be read or scored",
    "dropped:top_fraction": "not among the best of its groups",
    "dropped:top_k": "not among the best of all",
    "dropped:rank_mean": "not among the best by mean rank",
    "dropped:worst_rank": "not among the best by worst rank",
    "dropped:lowest": "among the lowest scores, which are left out",
    "dropped:stratified": "not drawn from its stratum",
    "dropped:random": "not drawn",
}
FAMILIES = {"num_classes": COUNT, "class": CLASSES}  # columns by what a family of groups is called


@dataclass(frozen=True)
class Place:
    """Where a row stands in a group: its rank from 1, of how many, and the last rank that stays.

    Attributes:
        group: what it is called; only its family where that is all that is known.
        rank: of the row.
        size: rows of the group.
        cutoff: last rank that stays; None where it is not known.
    """

    group: str
    rank: int
    size: int
    cutoff: int | None

    def __str__(self) -> str:
        stays = (
            ""
            if self.cutoff is None
            else f"; the first {self.cutoff:,} stay"
            if self.cutoff != 1
            else "; the first stays"
        )
        return f"{self.group}: rank {self.rank:,} of {self.size:,}{stays}".removeprefix(": ")


def reason_in_words(record: Mapping[str, Any], rules: Sequence[Rule], steps: Sequence[Step]) -> str:
    """The reason of a row in a line, see `reason_lines`."""
    return ", ".join(reason_lines(record, rules, steps))


def reason_lines(record: Mapping[str, Any], rules: Sequence[Rule], steps: Sequence[Step]) -> list[str]:
    """The reason of a row as a person would say it, and its rank if a group decided.

    Args:
        record: the row as the selection has it, with scores where these are known.
        rules: of the recipe.
        steps: of the report, for what quantiles came to.
    """
    reason = str(record["reason"])
    text = reason.partition(":")[2]
    kind, _, group = text.partition("=") if record["kept"] else (text, "", "")
    if reason in IN_WORDS:
        words = IN_WORDS[reason]
    elif group and kind == "num_classes":
        words = f"among the best with {group_in_words(kind, group)}"
    elif group:
        words = f"among the best of {group_in_words(kind, group)}"
    elif record["kept"]:
        words = f"passes {kind}"
    else:
        words = _beyond_bounds(record, text, rules, steps) or text
    place = _decisive(record, kind)
    return [words, f"rank {place.rank:,} of {place.size:,} ({place.cutoff:,} stay)"] if place else [words]


def group_in_words(family: str, group: Any) -> str:
    """A group of a family as a person would say it: `1 class`, `2 classes`, `class dog`."""
    if family == "num_classes":
        return f"{group} class{'' if str(group) == '1' else 'es'}"
    return f"{family} {group}"


def in_full(value: Any) -> str:
    """A score for people; all its digits count, as it may lie next to a bound."""
    if value is None:
        return "none"
    return str(np.float32(value)) if isinstance(value, float) and float(np.float32(value)) == value else str(value)


def place_of(record: Mapping[str, Any], family: str) -> list[Place]:
    """Where the selection says a row stands: in the group of a family that kept it, or that it came closest in."""
    ranking = [record.get(f"{family}_{name}") for name in ("rank", "group_size", "cutoff")]
    return [] if None in ranking else [Place("" if family not in FAMILIES else family, *map(int, ranking))]  # type: ignore[arg-type]


def _beyond_bounds(record: Mapping[str, Any], column: str, rules: Sequence[Rule], steps: Sequence[Step]) -> str:
    """Why a row leaves that a bound drops; empty if none does."""
    signs = {"above": "not above", "below": "not below", "low": "below", "high": "above"}
    value = record.get(column)
    for rule, step in zip(rules, steps, strict=False):
        for name, bound in bounds_of(rule, step).items() if isinstance(rule, Bounded) and rule.column == column else ():
            if value is None or not stays(value, name, bound):
                return f"{column}{'' if value is None else f' {value:.4g}'} is {signs[name]} {bound:.6g}"
    return ""


def bounds_of(rule: Bounded, step: Step) -> dict[str, float]:
    """The bounds of a rule as numbers, its quantiles as what they came to."""
    return {name: float(step.bounds.get(name, bound)) for name, bound in rule.bounds.items()}


def stays(value: float, name: str, bound: float) -> bool:
    """Whether a value is on the side of a bound that stays; bounds are as exact as a float32 score."""
    stored = float(np.float32(bound)) if float(np.float32(value)) == value else bound
    tests = {"above": value > stored, "below": value < stored, "low": value >= stored, "high": value <= stored}
    return tests[name]


def _decisive(record: Mapping[str, Any], kind: str) -> Place | None:
    """The place that a reason is about."""
    families = [name.removesuffix("_rank") for name in record if name.endswith("_rank")]
    places = {family: place for family in families for place in place_of(record, family)}
    if kind == "top_fraction":
        return min(places.values(), key=lambda place: place.rank / max(1, place.cutoff or 1), default=None)
    return places.get(kind)
