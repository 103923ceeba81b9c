"""What a rule is, and how a recipe's entry becomes one."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, ClassVar, cast

from sds_hf.errors import SettingsError, no_such, short
from sds_hf.schema import settings
from sds_hf.selection.candidates import Candidates
from sds_hf.selection.duck import CLASSES, COUNT

GROUP_WORDS = {COUNT: "number of classes", CLASSES: "class"}  # for people
RANKING = ("rank", "group_size", "cutoff")  # of a row in its group
RULES: dict[str, type["Rule"]] = {}
EXAMPLE = "`threshold: {column: clip_sim, above: 0.8}`"  # of how one is written


class SkippedScoresError(ValueError):
    """A rule asks for values that were skipped when the rows were scored; the message says how they are computed."""


@settings
class Rule(ABC):
    """Drops some of the rows that are still in, and says why. Equal scores are ordered by id.

    Examples:
        >>> @settings
        ... class Crowded(Rule):
        ...     kind = "crowded"
        ...     most: int
        ...     reads, label = ("num_classes_present",), "few classes"
        ...     def apply(self, candidates):
        ...         classes = candidates.number("num_classes_present")
        ...         candidates.step(f"WHEN {classes} > {self.most} THEN 'dropped:crowded'")
        ...         return {}
        ...
        >>> select(scored, Crowded(most=1)).report.reasons
        {'dropped:crowded': 12, 'kept:all_rules': 12}
    """

    kind: ClassVar[str]  # in recipes

    def __init_subclass__(cls) -> None:
        if "kind" in cls.__dict__:
            RULES[cls.kind] = cls

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """Columns the rule looks at."""

    @property
    def tests(self) -> tuple[tuple[str, str, float], ...]:
        """Column, sign and bound of what a row that stays passes, if it does so by its own values alone; else none."""
        return ()

    def undecided(self, candidates: Candidates) -> str:
        """SQL of rows of which the rule asks for a value that was skipped when they were scored."""
        return " OR ".join([candidates.skipped(column) for column in self.reads] or ["false"])

    @property
    @abstractmethod
    def label(self) -> str:
        """The rule in a few words, for people."""

    @property
    def hint(self) -> str:
        """What to do if it leaves nothing."""
        return "Only rows that have a score, and a group if the rule asks for one, can stay"

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
        """Write a new state: `dropped` of rows that leave, `kept_by` of rows that were chosen.

        Returns:
            What bounds given as quantiles came to, by their name.
        """


def each_group(by: Iterable[str]) -> str:
    """Families of groups, for people."""
    return " and ".join(f"of each {GROUP_WORDS.get(column, column)}" for column in by)


def rule_named(name: str) -> type[Rule]:
    """A kind of rule by its name in recipes.

    Raises:
        ValueError: if there is none; says which there are.
    """
    if name not in RULES:
        raise ValueError(no_such("rule", name, RULES))
    return RULES[name]


def make_rule(index: int, entry: Any) -> Rule:
    """The rule that a recipe writes as `{kind: settings}`.

    Args:
        index: of the rule in its list, for the error.
        entry: what the recipe has there.

    Raises:
        ValueError: in one line, if it is none or makes no sense.
    """
    if not isinstance(entry, dict) or len(entry) != 1:
        raise ValueError(
            f"rule {index} must be one of {sorted(RULES)} with its settings, not {short(entry)}; it is written as "
            f"{EXAMPLE}"
        )
    ((kind, settings),) = entry.items()
    if kind not in RULES:
        raise ValueError(f"rule {index}: {no_such('rule', kind, RULES)}; a rule is written as {EXAMPLE}")
    names = [field.name for field in fields(cast(Any, RULES[kind]))]
    if not isinstance(settings or {}, dict):
        raise ValueError(f"rule {index}, {kind}: takes the settings {names}, not {settings!r}")
    try:
        return RULES[kind](**{str(name): value for name, value in (settings or {}).items()})
    except SettingsError as error:
        raise ValueError(f"rule {index}, {kind}: {error.problem}") from error
