"""Rules that keep a number or a share of all rows: the best by a score, or drawn at random."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import field, replace
from typing import Annotated, Any, ClassVar, cast

from pydantic import BeforeValidator, Field, model_validator

from sds_hf.schema import settings
from sds_hf.selection.candidates import Candidates
from sds_hf.selection.duck import literal
from sds_hf.selection.rules.base import RANKING, Rule
from sds_hf.selection.rules.order import Order, cut, rank


def _no_truth(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"must be a number of rows, not {value}")
    return value


Fraction = Annotated[float, Field(gt=0, le=1)]
Target = Annotated[int, Field(ge=1, le=1 << 53), BeforeValidator(_no_truth)]


@settings
class Sized(Rule):
    """A rule that keeps as many rows as it is told: a share of those still in, or a number of them."""

    fraction: Fraction | None = None
    target: Target | None = None

    @model_validator(mode="after")
    def _one_size(self) -> "Sized":
        if (self.fraction is None) == (self.target is None):
            raise ValueError(f"{self.kind} needs either `fraction` or `target`")
        return self

    @property
    def size(self) -> str:
        """How many stay, for people."""
        return f"{self.target:,}" if self.target is not None else f"{self.fraction:.0%}"

    def count(self, rows: str) -> str:
        """SQL of how many of `rows` stay; a share is rounded to the nearest, halves up, and is one row at least."""
        if self.target is not None:
            return f"least({self.target}, {rows})"
        return f"greatest(CAST(floor({self.fraction!r} * {rows} + 0.5) AS BIGINT), 1)"


@settings
class BestShare(Sized):
    """A rule that puts all rows into one order and keeps the first ones."""

    def apply(self, candidates: Candidates) -> dict[str, float]:
        """See `Rule.apply`."""
        order = self._order(candidates)
        rank(candidates, "best", group="1", order=order)
        cut(candidates, "best", self.count("group_size"))
        kept = literal(f"kept:{self.kind}")
        dropped, detail = self._dropped("best.note")
        candidates.step(
            f"WHEN best.rank IS NULL THEN 'dropped:null' WHEN best.rank > best.cutoff THEN {dropped}",
            detail=f"CASE WHEN best.rank > best.cutoff THEN {detail} END",
            kept_by=f"CASE WHEN best.rank <= best.cutoff THEN {kept} END",
            families=["best", *order.tables],
            adds={f"{self.kind}_{name}": f"best.{name}" for name in RANKING},
        )
        return {}

    def _dropped(self, note: str) -> tuple[str, str]:
        """SQL of why a row leaves, and of what is said of that row alone."""
        return literal(f"dropped:{self.kind}"), "NULL"

    @abstractmethod
    def _order(self, candidates: Candidates) -> Order:
        """The order of the rows."""


@settings
class TopK(BestShare):
    """Keep the rows of the highest scores.

    Args:
        column: a score column, higher is better.
        fraction: share of the rows still in that have a score, above 0 and at most 1; or
        target: number of rows.

    Source:
        Dai et al., TFDP, ICLR 2025; Meletis et al., ITSC 2019 (the images most like the target).

    Examples:
        >>> select(scored, TopK("pcs", target=10)).report.reasons
        {'dropped:top_k': 14, 'kept:top_k': 10}
    """

    kind: ClassVar[str] = "top_k"

    column: str = field(kw_only=False)

    @property
    def reads(self) -> tuple[str, ...]:
        """See `Rule.reads`."""
        return (self.column,)

    @property
    def label(self) -> str:
        """See `Rule.label`."""
        return f"top {self.size} of {self.column}"

    def _order(self, candidates: Candidates) -> Order:
        score = candidates.number(self.column)
        return Order(score, where=f"{score} IS NOT NULL")


@settings
class Random(BestShare):
    """Keep rows drawn at random: the same ones on every machine, whatever the order of the rows.

    Rows are ordered by the SHA-256 of `<seed>|<id>`, so that a smaller draw is part of a larger one.

    Args:
        fraction: share of the rows still in, above 0 and at most 1; or
        target: number of rows.
        seed: another one draws other rows.

    Examples:
        >>> select(scored, Random(fraction=0.5, seed=1)).report.kept
        12
    """

    kind: ClassVar[str] = "random"

    seed: int = 0

    @property
    def reads(self) -> tuple[str, ...]:
        """See `Rule.reads`."""
        return ()

    @property
    def label(self) -> str:
        """See `Rule.label`."""
        return f"{self.size} drawn at random, seed {self.seed}"

    def _order(self, candidates: Candidates) -> Order:
        return Order(drawn(self.seed), "ASC")


def drawn(seed: int) -> str:
    """SQL of a row's place in a random order: the first 60 bits of the SHA-256 of seed and id."""
    return f"CAST('0x' || substr(sha256('{seed}|' || id), 1, 15) AS BIGINT)"


def resized(rules: Sequence[Rule], target: int) -> list[Rule]:
    """The rules, the last keeping a number of rows in place of a share.

    Raises:
        ValueError: if the last rule keeps what lies beyond a bound, however many rows that are.
    """
    if not rules or not isinstance(last := rules[-1], Sized):
        raise ValueError(
            f"a target of {target} rows needs a last rule that keeps a share, such as top_per_group or top_k, not "
            f"{rules[-1].label if rules else 'no rule'!r}"
        )
    return [*rules[:-1], replace(cast(Any, last), fraction=None, target=target)]


def missed_target(rule: Rule, kept: int) -> str | None:
    """What to say of a rule that left fewer rows than it was told to keep; None if it did not."""
    if not isinstance(rule, Sized) or rule.target is None or kept >= rule.target:
        return None
    return (
        f"the target of {rule.target:,} rows is not met: {kept:,} are left by {rule.label!r}, no more could be chosen"
    )
