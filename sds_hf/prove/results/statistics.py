"""Means over seeds, and differences between arms that were trained with the same seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Spread:
    """Some numbers, one a seed.

    Attributes:
        values: by seed.
        mean: of them.
        deviation: their standard deviation (of the sample); 0 for one number.
    """

    values: tuple[float, ...]
    mean: float
    deviation: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Mean and deviation of at least one number."""
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        return cls(tuple(float(value) for value in values), float(np.mean(values)), deviation)


@dataclass(frozen=True)
class Difference:
    """One arm minus another, seed by seed.

    Attributes:
        values: by seed.
        mean: of them.
        low, high: 95 % interval of the mean by Student's t; None for fewer than two seeds.
    """

    values: tuple[float, ...]
    mean: float
    low: float | None
    high: float | None

    @classmethod
    def of(cls, ours: Sequence[float], theirs: Sequence[float]) -> "Difference":
        """The paired difference of two arms over the same seeds."""
        from scipy.stats import t

        values = np.subtract(ours, theirs)
        mean = float(values.mean())
        if len(values) < 2:
            return cls(tuple(values.tolist()), mean, None, None)
        error = float(values.std(ddof=1)) / len(values) ** 0.5
        reach = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * error
        return cls(tuple(values.tolist()), mean, mean - reach, mean + reach)

    @property
    def verdict(self) -> str:
        """`better`, `worse` or `not told apart`."""
        if self.low is None or self.high is None:
            return "not told apart"
        return "better" if self.low > 0 else "worse" if self.high < 0 else "not told apart"
