"""A sample that covers the whole range of a score."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated, ClassVar

from pydantic import Field

from sds_hf.schema import settings
from sds_hf.selection.candidates import Candidates
from sds_hf.selection.rules.base import RANKING
from sds_hf.selection.rules.order import Order, cut, rank
from sds_hf.selection.rules.share import Sized, drawn


@settings
class Stratified(Sized):
    """Drop the lowest scores, then draw about as many rows from every part of the range that is left.

    The range is cut into strata of equal width. From the smallest stratum to the largest, each gives an equal share of
    what is still to be drawn, or all it has; inside a stratum rows are drawn at random.

    Args:
        column: a score column.
        fraction: share of the rows still in that have a score, above 0 and at most 1; or
        target: number of rows.
        strata: how many there are.
        drop_lowest: share of the rows that leaves before, rounded down.
        seed: another one draws other rows.

    Source:
        Zheng et al., Coverage-centric Coreset Selection (CCS), ICLR 2023, with its 50 strata and cut of 10 %.

    Examples:
        >>> select(scored, Stratified("boundary", target=8, strata=4)).report.kept
        8
    """

    kind: ClassVar[str] = "stratified"

    column: str = field(kw_only=False)
    strata: Annotated[int, Field(ge=1, le=10_000)] = 50
    drop_lowest: Annotated[float, Field(ge=0, lt=1)] = 0.1
    seed: int = 0

    @property
    def reads(self) -> tuple[str, ...]:
        """See `Rule.reads`."""
        return (self.column,)

    @property
    def label(self) -> str:
        """See `Rule.label`."""
        lowest = f", without its lowest {self.drop_lowest:.0%}" if self.drop_lowest else ""
        return f"{self.size} drawn evenly over the range of {self.column}, in {self.strata} strata{lowest}"

    def apply(self, candidates: Candidates) -> dict[str, float]:
        """See `Rule.apply`."""
        column = candidates.number(self.column)
        scored = f"dropped IS NULL AND {column} IS NOT NULL"
        budget = candidates.value(f"SELECT {self.count('count(*)')} FROM {candidates.rows} WHERE {scored}")
        high_enough = self._cut(candidates, scored)
        stratum = self._stratum(candidates, f"{scored} AND {high_enough}")
        sizes = dict(
            candidates.fetch(
                f"SELECT {stratum}, count(*) FROM {candidates.rows} WHERE {scored} AND {high_enough} GROUP BY 1"
            )
        )
        budgets = ccs_budgets([sizes.get(number, 0) for number in range(self.strata)], budget)
        rank(candidates, "stratum", group=stratum, order=Order(drawn(self.seed), "ASC", f"{scored} AND {high_enough}"))
        cut(candidates, "stratum", f"CAST({budgets}[grp + 1] AS BIGINT)")
        candidates.step(
            f"""WHEN {column} IS NULL THEN 'dropped:null' WHEN stratum.rank IS NULL THEN 'dropped:lowest'
                WHEN stratum.rank > stratum.cutoff THEN 'dropped:stratified'""",
            kept_by="CASE WHEN stratum.rank <= stratum.cutoff THEN 'kept:stratum=' || stratum.grp END",
            families=["stratum"],
            adds={f"stratum_{name}": f"stratum.{name}" for name in RANKING},
        )
        return {}

    def _cut(self, candidates: Candidates, scored: str) -> str:
        """SQL of whether a row is above the lowest ones."""
        column = candidates.number(self.column)
        total = candidates.value(f"SELECT count(*) FROM {candidates.rows} WHERE {scored}")
        if not (lowest := int(self.drop_lowest * total + 1e-9)):
            return "true"
        value, tie = candidates.fetch(
            f"""SELECT {column}, {candidates.tie} FROM {candidates.rows} WHERE {scored}
                ORDER BY {column}, {candidates.tie} DESC LIMIT 1 OFFSET {lowest - 1}"""
        )[0]  # the best of the lowest
        bound = candidates.constant(self.column, value)
        return f"({column} > {bound} OR ({column} = {bound} AND {candidates.tie} < {tie}))"

    def _stratum(self, candidates: Candidates, where: str) -> str:
        """SQL of a row's stratum, from 0; infinite scores belong to the first or the last."""
        value = f"CAST({candidates.number(self.column)} AS DOUBLE)"
        ends = (
            f"SELECT min(v), max(v) FROM (SELECT {value} AS v FROM {candidates.rows} WHERE {where}) WHERE isfinite(v)"
        )
        low, high = candidates.fetch(ends)[0]
        if low is None or high <= low:  # infinite scores do not matter then: all rows are in one stratum
            return "0"
        width = (high + 1e-4 * abs(high) - low) / self.strata
        return f"CAST(least(greatest(floor(({value} - {low!r}) / {width!r}), 0), {self.strata - 1}) AS INTEGER)"


def ccs_budgets(sizes: Sequence[int], budget: int) -> list[int]:
    """How many rows each stratum gives.

    Args:
        sizes: rows of each stratum.
        budget: rows to draw.

    Returns:
        As many as are asked for in all, or fewer if there are fewer.

    Source:
        Zheng et al., CCS, ICLR 2023, Algorithm 1.
    """
    budgets = [0] * len(sizes)
    for position, stratum in enumerate(sorted(range(len(sizes)), key=lambda stratum: sizes[stratum])):
        budgets[stratum] = min(sizes[stratum], budget // (len(sizes) - position))
        budget -= budgets[stratum]
    return budgets
