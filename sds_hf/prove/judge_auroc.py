"""How well an order of rows tells the clean ones from the others, with bootstrap intervals."""

from collections.abc import Iterator, Mapping

import numpy as np

Array = np.ndarray
Interval = tuple[float, float, float]  # the value, and the ends of its 95 % interval
CELLS = 1 << 24  # of weights in memory at a time


class Bootstrap:
    """Samples of rows drawn with replacement, all rows of one original together.

    A row and its spoilt copies show the same picture: they are drawn as one.

    Args:
        originals: (N,) what each row is a copy of, or itself.
        draws: number of samples.
        seed: of the draws.
    """

    def __init__(self, originals: Array, draws: int, seed: int) -> None:
        names, self._numbers = np.unique(originals, return_inverse=True)
        self._count, self._draws, self._seed = len(names), draws, seed

    def weights(self) -> Iterator[Array]:
        """How often each row is in each sample, (draws, N) float32 in parts; first a sample of every row once."""
        yield np.ones((1, len(self._numbers)), np.float32)
        rng, left = np.random.default_rng(self._seed), self._draws
        while left:
            part = min(left, max(1, CELLS // max(len(self._numbers), 1)))
            drawn = [
                np.bincount(rng.integers(self._count, size=self._count), minlength=self._count) for _ in range(part)
            ]
            yield np.asarray(drawn, np.float32)[:, self._numbers]
            left -= part


def aurocs(values: Array, clean: Array, kinds: Mapping[str, Array], bootstrap: Bootstrap) -> dict[str, Interval]:
    """The chance that a clean row has a higher value than a row of a kind, halves for equal ones, for each kind.

    Args:
        values: (N,) float; NaN is lower than any number, as rules drop rows without a score.
        clean: (N,) bool.
        kinds: (N,) bool by name, each with a row.
        bootstrap: for the intervals.
    """
    groups = np.unique(np.nan_to_num(values, nan=-np.inf), return_inverse=True)[1]
    order = np.argsort(groups, kind="stable")
    ends = np.cumsum(np.bincount(groups))
    starts = ends - np.bincount(groups)
    samples: dict[str, list[Array]] = {kind: [] for kind in kinds}
    for weights in bootstrap.weights():
        below = np.zeros((len(weights), len(values) + 1))
        np.cumsum((weights * clean)[:, order], 1, out=below[:, 1:])
        for kind, members in kinds.items():
            rows = np.flatnonzero(members)
            own = weights[:, rows]
            beaten = below[:, -1:] - (below[:, starts[groups[rows]]] + below[:, ends[groups[rows]]]) / 2
            with np.errstate(invalid="ignore"):
                samples[kind].append((own * beaten).sum(1) / (own.sum(1) * below[:, -1]))
    return {kind: _interval(np.concatenate(parts)) for kind, parts in samples.items()}


def weighted_share(kept: Array, clean: Array, bootstrap: Bootstrap) -> Interval:
    """Share of clean rows among the kept.

    Args:
        kept: (N,) float in [0, 1], how much of a row is kept: a part where rows of equal scores share what is left.
        clean: (N,) bool.
        bootstrap: for the interval.
    """
    with np.errstate(invalid="ignore"):
        return _interval(
            np.concatenate([weights @ (kept * clean) / (weights @ kept) for weights in bootstrap.weights()])
        )


def best(values: Array, size: int) -> Array:
    """How much of each row is among the `size` highest, (N,) float in [0, 1]; equal ones share what is left."""
    values = np.nan_to_num(values, nan=-np.inf)
    last = np.sort(values)[::-1][size - 1]
    kept, equal = (values > last).astype(float), values == last
    kept[equal] = (size - kept.sum()) / equal.sum()
    return np.asarray(kept)


def _interval(samples: Array) -> Interval:
    """The first sample, which is of every row once, and the middle 95 % of the others."""
    drawn = samples[1:][np.isfinite(samples[1:])]
    low, high = np.quantile(drawn, (0.025, 0.975)) if len(drawn) else (np.nan, np.nan)
    value, low, high = (round(float(number), 4) for number in (samples[0], low, high))
    return value, low, high
