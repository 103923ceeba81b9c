"""The result of a proof: what each arm reached, and how they differ."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from sds_hf.prove.arms import FULL, RANDOM, Arm
from sds_hf.prove.results.statistics import Difference, Spread
from sds_hf.prove.runs import Result


@dataclass(frozen=True)
class Score:
    """What an arm reached on an evaluation set in a regime.

    Attributes:
        regime: `steps`, every arm takes as many, or `epochs`, every arm sees its rows as often.
        evaluation: name of the evaluation set.
        arm: its name.
        steps: of the optimiser.
        miou: mean IoU in percent over the classes that the set shows, by seed.
        classes: mean over seeds of the IoU of each class in percent, None for those the set does not show.
    """

    regime: str
    evaluation: str
    arm: str
    steps: int
    miou: Spread
    classes: tuple[float | None, ...]


@dataclass(frozen=True)
class Comparison:
    """One arm beside another.

    Attributes:
        regime, evaluation: as in `Score`.
        arm, against: their names.
        difference: of mean IoU in percentage points, paired by seed.
    """

    regime: str
    evaluation: str
    arm: str
    against: str
    difference: Difference


@dataclass(frozen=True)
class Proof:
    """Whether the subset trains a better segmenter.

    Attributes:
        arms: name, kind, rows and share of clean rows of each.
        scores: of each arm, in each regime, on each evaluation set.
        comparisons: each recipe beside the random rows of its size, the full set, and the recipes before it.
        missing: what was not trained and why.
        classes: class names by index.
        settings: what was run: depth, model, seeds, steps, epochs, sets and their rows, device, versions.

    Examples:
        >>> test = Dataset.from_list(list(demo_rows(8, seed=1)), features=demo_features())
        >>> proof = prove_subset(candidates, table, test, "proof", recipes=[recipe], model="demo", seeds=1, epochs=1)
        >>> first = proof.comparisons[0]
        >>> first.arm, first.against
        ('mine', 'random 14')
    """

    arms: tuple[Arm, ...]
    scores: tuple[Score, ...]
    comparisons: tuple[Comparison, ...]
    missing: tuple[str, ...]
    classes: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)

    def score(self, arm: str, regime: str | None = None, evaluation: str | None = None) -> Score:
        """The score of an arm; the first regime and evaluation set if none are named.

        Raises:
            KeyError: if there is none.
        """
        for score in self.scores:
            if score.arm == arm and regime in (None, score.regime) and evaluation in (None, score.evaluation):
                return score
        raise KeyError(f"no score of {arm!r} at equal {regime} on {evaluation!r}")

    def comparison(
        self, arm: str, against: str, regime: str | None = None, evaluation: str | None = None
    ) -> Comparison:
        """One arm beside another, likewise.

        Raises:
            KeyError: if there is none.
        """
        for one in self.comparisons:
            named = one.arm == arm and one.against == against
            if named and regime in (None, one.regime) and evaluation in (None, one.evaluation):
                return one
        raise KeyError(f"{arm!r} was not compared with {against!r} at equal {regime} on {evaluation!r}")

    def to_dict(self) -> dict[str, Any]:
        """As JSON; arms without their rows."""
        arms = [{name: value for name, value in vars(arm).items() if name != "rows"} for arm in self.arms]
        return {
            "settings": self.settings,
            "arms": arms,
            "scores": [_rounded(asdict(score)) for score in self.scores],
            "comparisons": [{**_rounded(asdict(one)), "verdict": one.difference.verdict} for one in self.comparisons],
            "missing": list(self.missing),
            "classes": list(self.classes),
        }


def make_proof(
    arms: Sequence[Arm],
    results: Mapping[tuple[str, str], tuple[int, Sequence[Result]]],
    missing: Sequence[str],
    classes: Sequence[str],
    settings: dict[str, Any],
) -> Proof:
    """Sum up results.

    Args:
        arms: in order.
        results: by regime and arm: steps, and a result a seed.
        missing: see `Proof`.
        classes: see `Proof`.
        settings: see `Proof`.
    """
    scores = []
    for (regime, arm), (steps, by_seed) in results.items():
        for evaluation in by_seed[0].overlaps:
            overlaps = [result.overlaps[evaluation] for result in by_seed]
            by_class = 100 * np.stack([overlap.by_class() for overlap in overlaps]).mean(0)
            values = tuple(None if np.isnan(value) else float(value) for value in by_class)
            miou = Spread.of([100 * overlap.mean() for overlap in overlaps])
            scores.append(Score(regime, evaluation, arm, steps, miou, values))
    return Proof(tuple(arms), tuple(scores), tuple(_compare(arms, scores)), tuple(missing), tuple(classes), settings)


def _compare(arms: Sequence[Arm], scores: Sequence[Score]) -> list[Comparison]:
    by_name = {(score.regime, score.evaluation, score.arm): score for score in scores}
    comparisons = []
    for regime, evaluation in dict.fromkeys((score.regime, score.evaluation) for score in scores):
        for arm, against in _pairs(arms):
            ours, theirs = (by_name.get((regime, evaluation, name)) for name in (arm, against))
            if ours and theirs:
                difference = Difference.of(ours.miou.values, theirs.miou.values)
                comparisons.append(Comparison(regime, evaluation, arm, against, difference))
    return comparisons


def _pairs(arms: Sequence[Arm]) -> list[tuple[str, str]]:
    """Names of what is compared: each chosen arm with random rows, the full set, and chosen arms before it."""
    chosen = [arm for arm in arms if arm.kind not in (FULL, RANDOM)]
    randoms = {arm.size: arm.name for arm in arms if arm.kind == RANDOM}
    pairs = []
    for index, arm in enumerate(chosen):
        against = [randoms.get(arm.size), FULL]
        # Arms of one size are compared with each other: there the choice of rows is all that differs.
        against += [other.name for other in chosen[:index] if other.recipe and other.size == arm.size]
        pairs += [(arm.name, name) for name in against if name]
    return pairs


def _rounded(value: Any) -> Any:
    """Numbers to four digits after the point."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, (list, tuple)) else value
