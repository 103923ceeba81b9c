"""Quantiles of numbers in a database, of which only those near the quantiles are sorted."""

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any

from sds_hf.sql import between

BINS = 4096

Query = Callable[[str], list[tuple[Any, ...]]]


def quantiles(found: Query, numbers: str, shares: Sequence[float]) -> list[float]:
    """Quantiles, between neighbours in proportion; none if there is no number.

    Unlike the database's own aggregate, this needs no memory for all the numbers, and unlike a sort little time.

    Args:
        found: runs a query that gives few rows.
        numbers: SQL of a relation with the column `value`, DOUBLE without nulls.
        shares: in [0, 1].
    """
    count, low, high = found(f"SELECT count(*), min(value), max(value) FROM {numbers}")[0]
    if not count:
        return []
    exact = [share * (count - 1) for share in shares]
    neighbours = [(int(place), min(int(place) + 1, count - 1)) for place in exact]
    at = _values_at(found, numbers, _bins(low, high), {place for pair in neighbours for place in pair})
    return [between(at[left], at[right], place % 1) for (left, right), place in zip(neighbours, exact, strict=True)]


def _bins(low: float, high: float) -> str:
    """SQL of a whole number that grows with the value."""
    width = (high - low) / BINS
    return f"CAST((value - {low!r}) / {width!r} AS INTEGER)" if isfinite(width) and width else "0"


def _values_at(found: Query, numbers: str, bins: str, places: set[int]) -> dict[int, float]:
    """The values at places of the ascending order."""
    chosen, before, taken = [], 0, 0
    originals: dict[int, int] = {}
    for number, size in found(f"SELECT {bins}, count(*) FROM {numbers} GROUP BY 1 ORDER BY 1"):
        if inside := [place for place in places if before <= place < before + size]:
            chosen.append(number)
            originals |= {place - before + taken: place for place in inside}
            taken += size
        before += size
    near = (
        f"SELECT value, row_number() OVER (ORDER BY value) - 1 AS place FROM {numbers} WHERE {bins} IN {(*chosen, -1)}"
    )
    ranked = found(f"SELECT place, value FROM ({near}) WHERE place IN {(*originals, -1)}")
    return {originals[place]: value for place, value in ranked}
