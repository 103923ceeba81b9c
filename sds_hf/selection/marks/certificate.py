"""What marks show of all kept rows, and the statistics behind it."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field


class Certificate(BaseModel):
    """A share of good rows that marks of a random sample show, and how they were sampled.

    Attributes:
        rows: kept rows that the claim is about.
        share: of these at least so many are good, 0 to 1.
        confidence: probability that a claim made in this way is right, 0 to 1.
        good: marks that say good.
        marks: rows that were marked, all of them sampled at random.
        sample: `uniform`, or `stratified` by `column`.
        seed: of the sample.
        drawn: rows of the sample; more than `marks` where the claim is about a part of the rows.
        column: the score whose threshold was chosen; None if none was.
        above: the threshold: rows with a higher score.
        who: who marked.
        first: day of the first mark, ISO 8601.
        last: day of the last.
        unmarked: rows of the sample without a mark, which were counted as bad.
        disputed: rows that one person marked good and another bad, which were counted as bad.
        not_sampled: marks of rows that were not sampled, which do not count.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: int
    share: float
    confidence: float
    good: int
    marks: int
    sample: Literal["uniform", "stratified"]
    seed: int
    drawn: int
    column: str | None = None
    above: float | None = None
    who: list[str] = Field(default_factory=list)
    first: str | None = None
    last: str | None = None
    unmarked: int = 0
    disputed: int = 0
    not_sampled: int = 0

    @property
    def claim(self) -> str:
        """The claim in a sentence."""
        which = f"{self.rows:,} kept rows" + (f" with {self.column} above {self.above!r}" if self.column else "")
        return f"At least {_percent(self.share)} of the {which} are good, with {self.confidence:.0%} confidence."

    @property
    def method(self) -> str:
        """How it was sampled and counted, in sentences."""
        people = f" by {', '.join(self.who)}" if self.who else ""
        days = {day for day in (self.first, self.last) if day}
        when = f", {' to '.join(sorted(days))}" if days else ""
        if self.column is None:
            drawn = f"{self.drawn:,} rows were drawn uniformly at random from the kept (seed {self.seed})"
            test = "The bound is Clopper and Pearson's, one-sided"
        else:
            drawn = (
                f"{self.drawn:,} rows were drawn at random, one from each of as many equal parts of the range of "
                f"{self.column} (seed {self.seed}); {self.marks:,} of them lie above the threshold"
            )
            test = "The threshold is the lowest that a fixed sequence of binomial tests (learn then test) allows"
        sentences = [f"{drawn}; {self.good:,} of {self.marks:,} were marked good{people}{when}", test]
        if self.unmarked:
            sentences.append(f"Rows without a mark were counted as bad: {self.unmarked:,}")
        if self.disputed:
            sentences.append(f"Rows marked good by one and bad by another were counted as bad: {self.disputed:,}")
        if self.not_sampled:
            sentences.append(f"Marks of rows that were not sampled do not count: {self.not_sampled:,}")
        return "".join(f"{sentence}. " for sentence in sentences).rstrip()


def lower_bound(good: int, marks: int, confidence: float) -> float:
    """Clopper and Pearson's one-sided bound: at least this share is good.

    It holds too for rows drawn without replacement, whose count of good ones varies less than a binomial one.

    Args:
        good: rows marked good.
        marks: rows marked, drawn uniformly at random.
        confidence: probability that the bound holds, above 0 and below 1.

    Returns:
        A share, 0 to 1.

    Source:
        Clopper and Pearson, Biometrika 1934; Hoeffding, Annals of Mathematical Statistics 1956.
    """
    from scipy.stats import beta

    return float(beta.ppf(1 - confidence, good, marks - good + 1)) if good else 0.0


def longest_start(marks: np.ndarray, share: float, confidence: float, ends: Sequence[int] | None = None) -> np.ndarray:
    """How many rows of a sample, best score first, may be taken with all that lie between them.

    The sample has one random row of each of as many parts of equal size, so that its first rows are a sample of the
    parts they lie in, whose count of good ones varies less than a binomial one. The hypotheses "fewer than `share` of
    the first parts are good" are tested in an order fixed beforehand: from the length at which one bad row is allowed
    to longer ones, until one is not rejected. A wrong claim needs that the first hypothesis that is true is rejected,
    whose probability is at most `1 - confidence`, whatever the score is worth.

    Args:
        marks: (sets, rows) bool, whether good, highest score first.
        share: of good rows, above 0 and below 1.
        confidence: probability that the claim holds, above 0 and below 1.
        ends: lengths at which the sample may be cut, ascending; all if None.

    Returns:
        (sets,) int: length of the longest start for which the claim is shown; 0 if there is none.

    Source:
        Angelopoulos et al., Learn then Test, 2021 (fixed-sequence testing); Hoeffding, Annals of Mathematical
        Statistics 1956 (the count).
    """
    from scipy.stats import binom

    lengths = np.arange(1, marks.shape[1] + 1) if ends is None else np.asarray(ends, int)
    for bad in (1, 0):  # a short sample allows none
        first = np.flatnonzero(binom.cdf(bad, lengths, 1 - share) <= 1 - confidence)[:1]
        if len(first):
            lengths = lengths[first[0] :]
            good = np.cumsum(marks, 1)[:, lengths - 1]
            rejected = np.logical_and.accumulate(binom.sf(good - 1, lengths, share) <= 1 - confidence, 1)
            return np.where(rejected[:, 0], lengths[np.maximum(rejected.sum(1), 1) - 1], 0)
    return np.zeros(len(marks), int)


def _percent(share: float) -> str:
    """A share rounded down, so that it is not said to be more."""
    return f"{np.floor(share * 1000) / 10:.1f} %"
