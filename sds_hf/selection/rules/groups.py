"""Rules about groups: the best of each, and at most so many of each."""

from collections.abc import Sequence
from dataclasses import field
from typing import ClassVar

from pydantic import model_validator

from sds_hf.schema import settings
from sds_hf.selection.candidates import GROUP_LABELS, Candidates
from sds_hf.selection.duck import literal
from sds_hf.selection.rules.base import RANKING, Rule, each_group
from sds_hf.selection.rules.order import Order, cut, lines_of, rank, rank_lines
from sds_hf.selection.rules.ranks import Families, Ranks, Several
from sds_hf.selection.rules.share import Sized, Target, drawn


@settings
class Grouped(Rule):
    """A rule about the groups of one or more families, whose rows are ordered by a score, or by ranks in several."""

    column: str | None = field(default=None, kw_only=False)
    worst_rank: Several | None = None
    rank_mean: Several | None = None
    by: Families
    within: Families | None = None

    @model_validator(mode="after")
    def _one_order(self) -> "Grouped":
        if self._orders > 1:
            raise ValueError(f"{self.kind} takes only one of `column`, `worst_rank` and `rank_mean`")
        if self.within and not self._several:
            raise ValueError("`within` says where ranks are taken: it needs `worst_rank` or `rank_mean`")
        return self

    @property
    def reads(self) -> tuple[str, ...]:
        """See `Rule.reads`."""
        return (*self._columns, *self.by, *(self.within or ()))

    @property
    def _orders(self) -> int:
        """How many of the orders are set."""
        return sum(value is not None for value in (self.column, self.worst_rank, self.rank_mean))

    @property
    def _several(self) -> tuple[str, ...] | None:
        return self.worst_rank or self.rank_mean

    @property
    def _columns(self) -> tuple[str, ...]:
        return self._several or ((self.column,) if self.column is not None else ())

    @property
    def _ranks(self) -> Ranks:
        return Ranks(self._several or (), self.within or (), self.worst_rank is not None)

    @property
    def _best(self) -> str:
        """What is best, for people."""
        return self._ranks.label if self._several else str(self.column)

    def _order(self, candidates: Candidates) -> Order:
        if self._several:
            return self._ranks.order(candidates)
        score = candidates.number(str(self.column))
        return Order(score, where=f"{score} IS NOT NULL")

    def _label(self, column: str) -> str:
        """What a family of groups is called, unless another column of the rule is called so itself."""
        label = GROUP_LABELS.get(column, column)
        return column if label in self.by else label


@settings
class TopPerGroup(Grouped, Sized):
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

    Examples:
        >>> rule = TopPerGroup("pcs", by=["num_classes_present", "classes_present"], fraction=0.6)
        >>> rule.label
        'top 60% of each number of classes and of each class by pcs'
        >>> select(scored, rule).report.kept
        22
    """

    kind: ClassVar[str] = "top_per_group"

    @model_validator(mode="after")
    def _some_order(self) -> "TopPerGroup":
        if not self._orders:
            raise ValueError(f"{self.kind} needs one of `column`, `worst_rank` and `rank_mean`")
        return self

    @property
    def label(self) -> str:
        """See `Rule.label`."""
        if self.target is not None:
            return f"top share {each_group(self.by)} by {self._best} that keeps {self.size} rows"
        return f"top {self.size} {each_group(self.by)} by {self._best}"

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

    def _dropped(self, note: str) -> tuple[str, str]:
        """SQL of why a row leaves that no group keeps, and of what is said of that row alone."""
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


@settings
class AtMostPerGroup(Grouped):
    """Keep at most a number of rows of each group.

    Rows are taken from the best to the worst, each if none of its groups is full, so that no group has more; a row in
    no group stays. Equal scores are ordered by id.

    Args:
        rows: how many of a group may stay.
        by: one or more columns of groups, as in `TopPerGroup`, e.g. `classes_present`.
        column: a score column, higher is better; rows without a score leave; or
        worst_rank: see `TopPerGroup`; or
        rank_mean: likewise. If there is none of the three, rows are taken at random, see `Random`.
        within: see `WorstRank`.
        seed: of the random order.

    Examples:
        >>> select(scored, AtMostPerGroup("pcs", by="num_classes_present", rows=3)).report.kept
        10
    """

    kind: ClassVar[str] = "at_most_per_group"

    rows: Target
    seed: int = 0

    @property
    def label(self) -> str:
        """See `Rule.label`."""
        order = f"the best by {self._best}" if self._orders else f"drawn at random, seed {self.seed}"
        return f"at most {self.rows:,} {each_group(self.by)}, {order}"

    def apply(self, candidates: Candidates) -> dict[str, float]:
        """See `Rule.apply`."""
        order = self._order(candidates) if self._orders else Order(drawn(self.seed), "ASC")
        lines = " UNION ALL ".join(
            f"""SELECT "row", tie, key, {literal(f"{self._label(column)}=")} || {candidates.group_name(column, "grp")}
                AS grp FROM {
                lines_of(candidates, candidates.column(column), order.where, {"key": order.key}, order.tables).sql
            }"""
            for column in self.by
        )
        candidates.execute(f"CREATE TABLE undecided AS {lines}")
        candidates.execute(
            f"CREATE TABLE room AS SELECT DISTINCT grp, CAST({self.rows} AS BIGINT) AS room FROM undecided"
        )
        candidates.execute('CREATE TABLE surplus("row" BIGINT, grp VARCHAR)')
        while candidates.value("SELECT count(*) FROM undecided"):
            self._decide(candidates, order.best)
        candidates.execute(
            """CREATE TABLE full_group AS
               SELECT surplus.grp FROM base LEFT JOIN surplus USING ("row") ORDER BY "row" """
        )
        candidates.step(
            f"""WHEN NOT ({order.where}) THEN 'dropped:null'
                WHEN full_group.grp IS NOT NULL THEN 'dropped:' || full_group.grp || ' is full'""",
            families=["full_group", *order.tables],
        )
        for table in ("undecided", "room", "surplus"):
            candidates.execute(f"DROP TABLE {table}")
        return {}

    def _decide(self, candidates: Candidates, best: str) -> None:
        """Take the rows that all their groups have room for whatever becomes of worse ones; drop those of full ones."""
        candidates.execute(
            f"""CREATE TABLE stays AS SELECT "row" FROM (
                    SELECT "row", row_number() OVER (PARTITION BY grp ORDER BY key {best}, tie) <= room AS fits
                    FROM undecided JOIN room USING (grp)) GROUP BY "row" HAVING bool_and(fits)"""
        )
        candidates.execute(
            """CREATE TABLE less_room AS SELECT grp, room - coalesce(taken, 0) AS room FROM room LEFT JOIN (
                   SELECT grp, count(*) AS taken FROM undecided SEMI JOIN stays USING ("row") GROUP BY 1) USING (grp)"""
        )
        candidates.execute("DROP TABLE room; ALTER TABLE less_room RENAME TO room")
        candidates.execute(
            """CREATE TABLE too_many AS SELECT "row", min(grp) AS grp FROM undecided JOIN room USING (grp)
                   ANTI JOIN stays USING ("row") WHERE room <= 0 GROUP BY 1"""
        )
        candidates.execute("INSERT INTO surplus FROM too_many")
        candidates.execute(
            """CREATE TABLE fewer AS SELECT * FROM undecided
                   ANTI JOIN stays USING ("row") ANTI JOIN too_many USING ("row")"""
        )
        candidates.execute("DROP TABLE undecided; ALTER TABLE fewer RENAME TO undecided")
        candidates.execute("DROP TABLE stays; DROP TABLE too_many")
