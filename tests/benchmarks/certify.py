"""How often the guarantees of `certify` are broken, and how many rows a chosen threshold keeps of the best possible.

OMP_NUM_THREADS=1 python tests/benchmarks/certify.py > tests/benchmarks/certify.json

Simulated sets of 10,000 kept rows whose truth is known: a row is good with a probability that rises with its score.
With `auc` near 1 the score tells good from bad; with 0.5 it says nothing. In `level` the share of good rows is just
below the wanted one at every threshold, in `bump` it rises and falls. The best possible is the lowest threshold that
truly keeps the share; a set in which no threshold does counts only for broken guarantees.
"""

import json
import sys

import numpy as np

from sds_hf.selection.marks.certificate import longest_start, lower_bound

ROWS, SETS, MARKS, CONFIDENCE = 10_000, 1000, 200, 0.95
# Share of good rows, slope of the log-odds in standard deviations of the score, wanted share.
SETTINGS = [
    (base, slope, share)
    for base, share in ((0.85, 0.9), (0.7, 0.9), (0.5, 0.9), (0.6, 0.8), (0.8, 0.95))
    for slope in (2, 4, 8, 16)
]


def chances(base: float, slope: float) -> np.ndarray:
    """Probability of each rank to be good, best score first, whose mean is `base`."""
    from scipy.special import expit, ndtri

    score = -ndtri((np.arange(ROWS) + 0.5) / ROWS)
    low, high = -100.0, 100.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if expit(middle + slope * score).mean() > base else (middle, high)
    return expit(low + slope * score)


def stratified(good: np.ndarray, marks: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """One random row of each of as many equal parts of the order, and the size of a part."""
    size = good.shape[1] // marks
    picks = rng.integers(0, size, (len(good), marks)) + np.arange(marks) * size
    return np.take_along_axis(good, picks, 1), size


def threshold(chance: np.ndarray, share: float, rng: np.random.Generator, sets: int = SETS) -> dict[str, float]:
    """What becomes of a wanted share in many sets."""
    good = rng.random((sets, len(chance))) < chance
    truth = np.cumsum(good, 1, dtype=np.int32) / np.arange(1, len(chance) + 1, dtype=np.float32)
    enough = truth >= share
    best = np.where(enough.any(1), len(chance) - enough[:, ::-1].argmax(1), 0)
    marks, size = stratified(good, MARKS, rng)
    kept = longest_start(marks, share, CONFIDENCE) * size
    true_share = np.where(kept > 0, truth[np.arange(sets), np.maximum(kept, 1) - 1], 1)
    ratio = kept[best > 0] / best[best > 0]
    quantiles = {"median": 0.5, "lowest_tenth": 0.1}
    return {
        "broken": float((true_share < share).mean()),
        "best_of_all": round(float(best.mean() / len(chance)), 3),
        **({"kept_of_best": round(float(ratio.mean()), 3)} if len(ratio) else {}),
        **({name: round(float(np.quantile(ratio, at)), 3) for name, at in quantiles.items()} if len(ratio) else {}),
        "none": float((kept == 0).mean()),
    }


def auc(chance: np.ndarray) -> float:
    """Probability that a good row has a higher score than a bad one."""
    bad_after = np.cumsum((1 - chance)[::-1])[::-1]
    return float((chance * bad_after).sum() / (chance.sum() * (1 - chance).sum()))


def guarantee(base: float, marks: int, rng: np.random.Generator) -> dict[str, float]:
    """How often less is good than a uniform sample shows, and how far the bound lies below."""
    good = rng.hypergeometric(round(base * ROWS), ROWS - round(base * ROWS), marks, SETS)
    bounds = np.array([lower_bound(int(count), marks, CONFIDENCE) for count in good])
    return {
        "good": base,
        "marks": marks,
        "broken": float((bounds > base).mean()),
        "bound": round(float(bounds.mean()), 3),
    }


def main() -> None:
    """All settings."""
    rng = np.random.default_rng(0)
    share = 0.9
    level, bump = np.full(ROWS, share - 0.001), np.interp(np.arange(ROWS), [0, 3000, 6000, ROWS], [0.8, 0.97, 0.9, 0.7])
    result = {
        "guarantee": [guarantee(base, marks, rng) for base in (0.5, 0.8, 0.9, 0.95, 0.99) for marks in (50, 100, 200)],
        "threshold": [
            {"good": base, "auc": round(auc(chance), 3), "share": share, **threshold(chance, share, rng)}
            for base, slope, share in SETTINGS
            for chance in [chances(base, slope)]
        ],
        "level": threshold(level, share, rng),
        "bump": threshold(bump, share, rng),
    }
    json.dump(result, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
