"""The rule that keeps the best of each group."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from sds_hf.scores.base.score import settings
from sds_hf.selection.candidates import Candidates, cut, rank
from sds_hf.selection.duck import CLASSES, COUNT, literal
from sds_hf.selection.rules.base import RANKING
from sds_hf.selection.rules.share import Sized

GROUP_LABELS = {COUNT: "num_classes", CLASSES: "class"}  # in reasons and output columns


@settings
class TopPerGroup(Sized):
    """Keep the best fraction of each group; a row stays if any of its groups keeps it.

    Groups are formed of the rows still in. `by` names families of groups: a column of numbers or strings puts a row
    into one group, a column of lists into several. In a group of g rows, `ceil(fraction * g)` stay, so that no group
    vanishes; equal scores are ordered by id.

    Args:
        column: a score column, higher is better.
        by: one or more columns, e.g. `num_classes_present` and `classes_present`; the union of all families is kept.
        fraction: share of each group, above 0 and at most 1; or
        target: number of rows that stay in all. The fraction is then the largest that keeps no more; the best rows of
            those that no group keeps fill up what is missing.

    Source:
        Tang et al., SDS, AAAI 2025, Eq. 15 (the top 60 % by number of classes, and by class).
    """

    kind: ClassVar[str] = "top_per_group"

    column: str
    by: Annotated[tuple[str, ...], Field(min_length=1)]

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
        return f"top {self.size} of {self.column} by {' or '.join(self._label(column) for column in self.by)}"

    def apply(self, candidates: Candidates) -> dict[str, float]:
        """See `Rule.apply`."""
        score = candidates.number(self.column)
        families = {f"family_{number}": column for number, column in enumerate(self.by)}
        for family, column in families.items():
            rank(candidates, family, group=candidates.column(column), key=score, where=f"{score} IS NOT NULL")
        cutoff = self._cutoff(candidates, list(families))
        for family, column in families.items():
            cut(
                candidates,
                family,
                cutoff,
                f"{literal(self._label(column) + ' ')} || {candidates.group_name(column, 'grp')}",
            )
        kept = " ".join(
            f"WHEN {family}.rank <= {family}.cutoff THEN {literal(f'kept:{self._label(column)}=')} || "
            + candidates.group_name(column, f"{family}.grp")
            for family, column in families.items()
        )
        chosen = f"CASE {kept} {self._filled(candidates, kept, list(families))} END"
        candidates.step(
            f"WHEN {score} IS NULL THEN 'dropped:null' WHEN {chosen} IS NULL THEN 'dropped:top_fraction'",
            kept_by=chosen,
            families=list(families),
            adds={
                f"{self._label(column)}_{name}": f"{family}.{name}"
                for family, column in families.items()
                for name in RANKING
            },
        )
        return {}

    def _cutoff(self, candidates: Candidates, families: Sequence[str]) -> str:
        """SQL of how many rows of a group stay."""
        if self.target is None:
            return f"CAST(ceil({self.fraction!r} * group_size - 1e-9) AS BIGINT)"
        # A group of g rows keeps its row of rank r once the fraction exceeds (r - 1) / g.
        all_ranks = " UNION ALL ".join(
            f'SELECT "row", rank - 1 AS better, group_size FROM {family}_ranks' for family in families
        )
        first_too_many = candidates.value(
            f"""SELECT min(better / group_size) AS enters FROM ({all_ranks}) GROUP BY "row"
                ORDER BY enters LIMIT 1 OFFSET {self.target}"""
        )
        if first_too_many is None:
            return "group_size"
        better, size = candidates.fetch(
            f"""SELECT better, group_size FROM ({all_ranks}) WHERE better / group_size = {first_too_many!r}
                ORDER BY group_size LIMIT 1"""
        )[0]
        return f"({better} * group_size + {size - 1}) // {size}"

    def _filled(self, candidates: Candidates, kept: str, families: Sequence[str]) -> str:
        """SQL of the rows that no group keeps and the target asks for."""
        if self.target is None:
            return ""
        score, tie, rows = candidates.number(self.column), candidates.tie, candidates.beside(families)
        counts = f"SELECT count(*) FROM {rows} WHERE CASE {kept} END IS NOT NULL"
        if not (missing := self.target - candidates.value(counts)):
            return ""
        last = candidates.fetch(
            f"""SELECT {score}, {tie} FROM {rows} WHERE dropped IS NULL AND {score} IS NOT NULL
                    AND CASE {kept} END IS NULL
                ORDER BY {score} DESC, {tie} LIMIT 1 OFFSET {missing - 1}"""
        )
        if not last:
            return f"WHEN {score} IS NOT NULL THEN 'kept:filled'"
        bound = candidates.constant(self.column, last[0][0])
        return f"WHEN {score} > {bound} OR ({score} = {bound} AND {tie} <= {last[0][1]}) THEN 'kept:filled'"

    def _label(self, column: str) -> str:
        """What a family of groups is called, unless another column of the rule is called so itself."""
        label = GROUP_LABELS.get(column, column)
        return column if label in self.by else label
