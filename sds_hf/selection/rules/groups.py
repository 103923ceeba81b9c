"""The rule that keeps the best of each group."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import model_validator

from sds_hf.scores.base.score import settings
from sds_hf.selection.candidates import GROUP_LABELS, Candidates
from sds_hf.selection.duck import literal
from sds_hf.selection.rules.base import RANKING
from sds_hf.selection.rules.order import Order, cut, rank, rank_lines
from sds_hf.selection.rules.ranks import Families, Ranks, Several
from sds_hf.selection.rules.share import Sized


@settings
class TopPerGroup(Sized):
    """Keep the best fraction of each group; a row stays if any of its groups keeps it.

    Groups are formed of the rows still in. `by` names families of groups: a column of numbers or strings puts a row
    into one group, a column of lists into several. In a group of g rows, `ceil(fraction * g)` stay, so that no group
    vanishes; equal scores are ordered by id.

    Args:
        column: a score column, higher is better; or
        worst_rank: two or more score columns; the best rows are those whose worst rank is best, see `WorstRank`; or
        rank_mean: likewise by the mean rank, see `RankMean`.
        within: with several columns, in which groups ranks are taken, see `WorstRank`. Where it is a column of `by`,
            each of its groups is ordered by the ranks in that group.
        by: one or more columns, e.g. `num_classes_present` and `classes_present`; the union of all families is kept.
        fraction: share of each group, above 0 and at most 1; or
        target: number of rows that stay in all. The fraction is then the largest that keeps no more; the best rows of
            those that no group keeps fill up what is missing.

    Source:
        Tang et al., SDS, AAAI 2025, Eq. 15 (the top 60 % by number of classes, and by class).
    """

    kind: ClassVar[str] = "top_per_group"

    column: str | None = None
    worst_rank: Several | None = None
    rank_mean: Several | None = None
    by: Families
    within: Families | None = None

    @model_validator(mode="after")
    def _one_order(self) -> "TopPerGroup":
        if sum(value is not None for value in (self.column, self.worst_rank, self.rank_mean)) != 1:
            raise ValueError(f"{self.kind} needs one of `column`, `worst_rank` and `rank_mean`")
        if self.within and self.column is not None:
            raise ValueError("`within` says where ranks are taken: it needs `worst_rank` or `rank_mean`")
        return self

    @property
    def reads(self) -> tuple[str, ...]:
        """See `Rule.reads`."""
        return (*self._columns, *self.by, *(self.within or ()))

    @property
    def label(self) -> str:
        """See `Rule.label`."""
        best = f"of {self.column}" if self.column is not None else f"by {self._ranks.label}"
        return f"top {self.size} {best} by {' or '.join(self._label(column) for column in self.by)}"

    @property
    def _columns(self) -> tuple[str, ...]:
        return self.worst_rank or self.rank_mean or (str(self.column),)

    @property
    def _ranks(self) -> Ranks:
        return Ranks(self._columns, self.within or (), self.worst_rank is not None)

    def apply(self, candidates: Candidates) -> dict[str, float]:
        """See `Rule.apply`."""
        order = self._order(candidates)
        families = {f"family_{number}": column for number, column in enumerate(self.by)}
        for family, column in families.items():
            if column in (self.within or ()):
                rank_lines(candidates, family, self._ranks.lines(candidates, column), order.best)
            else:
                rank(candidates, family, group=candidates.column(column), order=order)
        cutoff = self._cutoff(candidates, list(families))
        for family in families:
            cut(candidates, family, cutoff)
        kept = " ".join(
            f"WHEN {family}.rank <= {family}.cutoff THEN {literal(f'kept:{self._label(column)}=')} || "
            + candidates.group_name(column, f"{family}.grp")
            for family, column in families.items()
        )
        chosen = f"CASE {kept} {self._filled(candidates, order, kept, [*families, *order.tables])} END"
        note = f"coalesce({', '.join(f'{family}.note' for family in families)})"
        dropped, detail = self._dropped(note)
        candidates.step(
            f"""WHEN NOT ({order.where}) THEN 'dropped:null' WHEN {chosen} IS NULL AND {note} IS NOT NULL THEN {dropped}
                WHEN {chosen} IS NULL THEN 'dropped:top_fraction'""",
            detail=f"CASE WHEN ({order.where}) AND {chosen} IS NULL THEN {detail} END",
            kept_by=chosen,
            families=[*families, *order.tables],
            adds={
                f"{self._label(column)}_{name}": f"{family}.{name}"
                for family, column in families.items()
                for name in RANKING
            },
        )
        return {}

    def _order(self, candidates: Candidates) -> Order:
        if self.column is None:
            return self._ranks.order(candidates)
        score = candidates.number(self.column)
        return Order(score, where=f"{score} IS NOT NULL")

    def _dropped(self, note: str) -> tuple[str, str]:
        """SQL of why a row leaves that no group keeps, and of what is said of that row alone."""
        if self.column is not None:
            return "'dropped:top_fraction'", "NULL"
        return self._ranks.dropped(note, "dropped:top_fraction")

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

    def _filled(self, candidates: Candidates, order: Order, kept: str, tables: Sequence[str]) -> str:
        """SQL of the rows that no group keeps and the target asks for."""
        if self.target is None:
            return ""
        key, tie, rows = order.key, candidates.tie, candidates.beside(tables)
        counts = f"SELECT count(*) FROM {rows} WHERE CASE {kept} END IS NOT NULL"
        if not (missing := self.target - candidates.value(counts)):
            return ""
        last = candidates.fetch(
            f"""SELECT {key}, {tie} FROM {rows} WHERE dropped IS NULL AND {order.where} AND CASE {kept} END IS NULL
                ORDER BY {key} {order.best}, {tie} LIMIT 1 OFFSET {missing - 1}"""
        )
        if not last:
            return f"WHEN {order.where} THEN 'kept:filled'"
        bound, better = f"CAST({literal(repr(last[0][0]))} AS DOUBLE)", "<" if order.best == "ASC" else ">"
        return f"WHEN {key} {better} {bound} OR ({key} = {bound} AND {tie} <= {last[0][1]}) THEN 'kept:filled'"

    def _label(self, column: str) -> str:
        """What a family of groups is called, unless another column of the rule is called so itself."""
        label = GROUP_LABELS.get(column, column)
        return column if label in self.by else label
