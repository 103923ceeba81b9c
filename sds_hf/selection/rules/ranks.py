"""Rules that order rows by their ranks in several scores: by the worst of them, or by their mean."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from sds_hf.schema import settings
from sds_hf.selection.candidates import Candidates
from sds_hf.selection.duck import literal
from sds_hf.selection.rules.base import GROUP_WORDS
from sds_hf.selection.rules.order import Lines, Order, lines_of
from sds_hf.selection.rules.share import BestShare

ALL = "1"  # the group of all rows


def _one_or_more(value: str | Sequence[str] | None) -> Sequence[str] | None:
    return (value,) if isinstance(value, str) else value


Several = Annotated[tuple[str, ...], Field(min_length=2)]
Families = Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(_one_or_more)]


@dataclass(frozen=True)
class Ranks:
    """The order of rows by their ranks in several columns.

    In each column the highest score has rank 1; rows of equal scores share the mean of their ranks. A rank r among n
    rows counts as (r - 1/2) / n, so that ranks in groups of any size compare: a row that is alone is in the middle.

    Attributes:
        columns: of scores.
        within: columns of groups in which ranks are taken; among all rows if there is none.
        worst: whether the worst of a row's ranks counts, else their mean. A row of several groups has ranks in each.
    """

    columns: tuple[str, ...]
    within: tuple[str, ...]
    worst: bool

    @property
    def label(self) -> str:
        """What orders the rows, for people."""
        columns = f"{', '.join(self.columns[:-1])} and {self.columns[-1]}"
        within = " and ".join(f"within its {GROUP_WORDS.get(column, column)}" for column in self.within)
        return f"{'worst' if self.worst else 'mean'} rank in {columns}{within and f' {within}'}"

    def where(self, candidates: Candidates) -> str:
        """SQL of the rows that have all the scores."""
        return " AND ".join(f"{candidates.number(column)} IS NOT NULL" for column in self.columns)

    def lines(self, candidates: Candidates, family: str | None) -> Lines:
        """A line a row and group with its `key`, lower is better, and what is weakest in it as `note`.

        Args:
            candidates: the rows.
            family: column of the groups; all rows are one group if None.
        """
        scores = {f"score_{index}": candidates.number(column) for index, column in enumerate(self.columns)}
        group = ALL if family is None else candidates.column(family)
        plain = lines_of(candidates, group, self.where(candidates), scores)
        windows = [f"OVER (PARTITION BY grp ORDER BY {score} DESC)" for score in scores]
        # The best and the worst rank of rows of equal scores; their sum is twice the mean, and a whole number.
        ranks = [f"rank() {window} + count(*) {window} AS twice_{index}" for index, window in enumerate(windows)]
        twice = [f"twice_{index}" for index in range(len(windows))]
        key, note = self._key(twice), "CAST(NULL AS TINYINT)"
        if self.worst:
            weakest = " ".join(f"WHEN {rank} = greatest({', '.join(twice)}) THEN {-n}" for n, rank in enumerate(twice))
            name = "CAST(NULL AS VARCHAR)" if family is None else candidates.group_label(family, "grp")
            note = f"""{{'key': {key}, 'first': CASE {weakest} END, 'twice': greatest({", ".join(twice)}),
                         'size': size, 'grp': {name}}}"""
        return Lines(
            f"""(SELECT "row", tie, grp, {key} AS key, {note} AS note FROM (
                    SELECT *, count(*) OVER (PARTITION BY grp) AS size, {", ".join(ranks)} FROM {plain.sql}))""",
            plain.rest,
        )

    def _key(self, twice: Sequence[str]) -> str:
        """SQL of what orders a group, of twice the ranks; one division, so that equal shares are equal numbers."""
        if self.worst:
            return f"(greatest({', '.join(twice)}) - 1) / (2 * size)"
        return f"({' + '.join(twice)} - {len(twice)}) / ({2 * len(twice)} * size)"

    def order(self, candidates: Candidates) -> Order:
        """Make the table `combined`, which has a row's key and note beside the candidates."""
        lines = [self.lines(candidates, family).sql for family in self.within or [None]]
        keys = " UNION ALL ".join(f'SELECT "row", key, note FROM {sql}' for sql in lines)
        if self.within:  # sums depend on their order, in the last digits
            key, note = ("max(key)", "max(note)") if self.worst else ("round(avg(key), 12)", "any_value(note)")
            keys = f'SELECT "row", {key} AS key, {note} AS note FROM ({keys}) GROUP BY 1'
        candidates.execute(
            f"""CREATE TABLE combined AS SELECT key, note FROM base LEFT JOIN ({keys}) USING ("row") ORDER BY "row" """
        )
        return Order("combined.key", "ASC", "combined.key IS NOT NULL", ("combined",), "combined.note")

    def dropped(self, note: str, otherwise: str) -> tuple[str, str]:
        """SQL of why a row leaves, and of its rank in the score that is weakest.

        Args:
            note: SQL of the row's note.
            otherwise: the reason if no score is named.
        """
        if not self.worst:
            return literal(otherwise), "NULL"
        names = " ".join(
            f"WHEN {-index} THEN {literal(f'dropped:{column} is the weakest')}"
            for index, column in enumerate(self.columns)
        )
        rank = f"{note}.twice // 2 || CASE {note}.twice % 2 WHEN 1 THEN '.5' ELSE '' END"
        detail = f"', rank ' || {rank} || ' of ' || {note}.size || coalesce(' in ' || {note}.grp, '')"
        return f"CASE {note}.first {names} END", detail


@settings
class RankShare(BestShare):
    """A rule that keeps the best rows by their ranks in several columns."""

    worst: ClassVar[bool]

    columns: Several = field(kw_only=False)
    within: Families | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """See `Rule.reads`."""
        return (*self.columns, *(self.within or ()))

    @property
    def label(self) -> str:
        """See `Rule.label`."""
        return f"top {self.size} by {self._ranks.label}"

    @property
    def _ranks(self) -> Ranks:
        return Ranks(self.columns, self.within or (), self.worst)

    def _order(self, candidates: Candidates) -> Order:
        return self._ranks.order(candidates)

    def _dropped(self, note: str) -> tuple[str, str]:
        return self._ranks.dropped(note, f"dropped:{self.kind}")


@settings
class WorstRank(RankShare):
    """Keep the rows whose worst rank in several columns is best: as good as their weakest score.

    In each column the highest score has rank 1; rows of equal scores share the mean of their ranks. Only rows that have
    all the scores, and a group if ranks are taken within groups, are ranked; the others leave. The reason of a dropped
    row names its weakest score.

    Args:
        columns: two or more score columns, higher is better in each.
        within: one or more columns of groups in which ranks are taken, e.g. `classes_present`; then they count as
            shares of their group, and all of them in a row of several groups. Among all rows if None.
        fraction: share of the ranked rows, above 0 and at most 1; or
        target: number of rows.

    Source:
        Ours.

    Examples:
        >>> rule = WorstRank(["pcs", "boundary"], target=6)
        >>> rule.label
        'top 6 by worst rank in pcs and boundary'
        >>> select(scored, rule).report.kept
        6
    """

    kind: ClassVar[str] = "worst_rank"
    worst: ClassVar[bool] = True


@settings
class RankMean(RankShare):
    """Keep the rows that rank best in several columns on average.

    In each column the highest score has rank 1; rows of equal scores share the mean of their ranks. Only rows that have
    all the scores, and a group if ranks are taken within groups, are ranked; the others leave.

    Args:
        columns: two or more score columns, higher is better in each.
        within: see `WorstRank`.
        fraction: share of the ranked rows, above 0 and at most 1; or
        target: number of rows.

    Source:
        Meletis et al., ITSC 2019, combine similarity and object diversity; how is not published, this is our reading.

    Examples:
        >>> select(scored, RankMean(["pcs", "boundary"], target=6)).report.kept
        6
    """

    kind: ClassVar[str] = "rank_mean"
    worst: ClassVar[bool] = False
