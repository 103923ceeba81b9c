"""A proof as text: the section for a card, with what was run."""

from collections.abc import Sequence

from sds_hf.prove.arms import FULL, PUBLISHED, RANDOM, RECIPE
from sds_hf.prove.results.proof import Comparison, Proof, Score
from sds_hf.prove.runs import EPOCHS, STEPS

CLASSES_SHOWN = 25
REGIMES = {STEPS: "equal optimiser steps", EPOCHS: "equal epochs"}


def proof_section(proof: Proof) -> str:
    """Markdown: what was trained, a table for each regime and evaluation set, differences, classes, what is missing."""
    lines = ["## Does the selection train a better segmenter?", "", _about(proof), ""]
    for regime, evaluation in dict.fromkeys((score.regime, score.evaluation) for score in proof.scores):
        rows = proof.settings["evaluation"][evaluation]
        lines += [
            f"### {evaluation} ({rows:,} rows), {REGIMES[regime]}",
            "",
            *_arm_table(proof, regime, evaluation),
            "",
        ]
        lines += [*_sentences(proof, regime, evaluation), ""]
    lines += [*_class_table(proof), ""]
    if proof.missing:
        lines += ["Not trained:", "", *(f"- {sentence}" for sentence in proof.missing), ""]
    return "\n".join(lines).rstrip() + "\n"


def _about(proof: Proof) -> str:
    settings, training = proof.settings, proof.settings["training"]
    what = (
        f"a small decoder on frozen features of `{settings['model']}`"
        if settings["depth"] == "probe"
        else f"the whole segmenter `{settings['model']}`"
    )
    times = [f"{settings['steps']:,} optimiser steps" if settings["steps"] else ""]
    times += [f"{settings['epochs']:.3g} epochs" if settings["epochs"] else ""]
    return (
        f"`sds-hf prove` trained {what} on each arm with {settings['seeds']} seeds: "
        f"{' and, apart from that, '.join(filter(None, times))} of {training['batch_size']} rows, AdamW at "
        f"{training['learning_rate']:g}, {settings['dtype']} on {settings['device']}. mIoU in percent over the classes "
        "that the evaluation set shows, mean ± standard deviation over seeds; differences are paired by seed, with a "
        "95 % interval by Student's t. Random rows are drawn anew for each seed."
    )


def _arm_table(proof: Proof, regime: str, evaluation: str) -> list[str]:
    header, *rows = arm_rows(proof, regime, evaluation)
    return [
        f"| {' | '.join(header)} |",
        f"|---|{'---:|' * (len(header) - 1)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def arm_rows(proof: Proof, regime: str, evaluation: str) -> list[list[str]]:
    """Cells of the table of a regime and an evaluation set: the header, then a row an arm."""
    truth = any(arm.clean is not None for arm in proof.arms)
    names = ["arm", "rows", *(["clean rows"] if truth else []), "steps", "mIoU", "minus random", "minus full"]
    rows = [names]
    for arm in proof.arms:
        try:
            score = proof.score(arm.name, regime, evaluation)
        except KeyError:
            continue
        clean = [f"{arm.clean:.0%}" if arm.clean is not None else ""] if truth else []
        against_random = _cell(_comparison(proof, score, RANDOM))
        against_full = _cell(_comparison(proof, score, FULL))
        rows.append(
            [
                arm.name,
                f"{arm.size:,}",
                *clean,
                f"{score.steps:,}",
                mean_and_deviation(score),
                against_random,
                against_full,
            ]
        )
    return rows


def mean_and_deviation(score: Score) -> str:
    """`48.7 ± 0.5`."""
    return f"{score.miou.mean:.1f} ± {score.miou.deviation:.1f}"


def _comparison(proof: Proof, score: Score, against: str) -> Comparison | None:
    """The comparison of an arm with the full set or with random rows of its size."""
    for one in proof.comparisons:
        if (one.regime, one.evaluation, one.arm) == (score.regime, score.evaluation, score.arm) and (
            one.against == against or one.against.startswith(f"{against} ")
        ):
            return one
    return None


def _cell(comparison: Comparison | None) -> str:
    if comparison is None:
        return ""
    difference = comparison.difference
    if difference.low is None:
        return f"{difference.mean:+.1f}"
    interval = f"{difference.mean:+.1f} [{difference.low:+.1f}, {difference.high:+.1f}]"
    return f"**{interval}**" if difference.verdict == "better" else interval


def _sentences(proof: Proof, regime: str, evaluation: str) -> list[str]:
    """Where a selection does not win, and which of two of one size is better, in words."""
    lines = []
    for one in proof.comparisons:
        if (one.regime, one.evaluation) != (regime, evaluation):
            continue
        of_recipe = next(arm for arm in proof.arms if arm.name == one.arm).kind in (RECIPE, PUBLISHED)
        standard = one.against == FULL or one.against.startswith(RANDOM)
        words = {
            "better": "is better than",
            "worse": "is **worse** than",
            "not told apart": "is **not told apart** from",
        }[one.difference.verdict]
        if of_recipe and (not standard or one.difference.verdict != "better"):
            lines.append(f"- {one.arm} {words} {one.against}: {_cell(one)}")
    return lines


def _class_table(proof: Proof) -> list[str]:
    """IoU by class of the full set, and of selections and random rows of their sizes, where most rows are compared."""
    regime, evaluation = proof.scores[0].regime, proof.scores[0].evaluation
    chosen = [arm for arm in proof.arms if arm.kind in (RECIPE, PUBLISHED)][:2]
    names = [FULL, *(arm.name for arm in chosen), *(f"{RANDOM} {arm.size:,}" for arm in chosen)]
    scores: list[Score] = []
    for name in dict.fromkeys(names):
        scores += [s for s in proof.scores if (s.arm, s.regime, s.evaluation) == (name, regime, evaluation)]
    lines = [f"IoU by class in percent, {evaluation}, {REGIMES[regime]}:", ""]
    lines += [f"| class | {' | '.join(score.arm for score in scores)} |", f"|---|{'---:|' * len(scores)}"]
    ids = [number for number, value in enumerate(scores[0].classes) if value is not None] if scores else []
    for number in _furthest(ids, scores):
        cells = (f"{value:.1f}" if (value := score.classes[number]) is not None else "" for score in scores)
        lines.append(f"| {proof.classes[number]} | {' | '.join(cells)} |")
    if len(ids) > CLASSES_SHOWN:
        lines += ["", f"The {CLASSES_SHOWN} of {len(ids)} classes that differ most; all are in `results.json`."]
    return lines


def _furthest(ids: Sequence[int], scores: Sequence[Score]) -> list[int]:
    """All classes if they are few, else those in which the arms differ most; in the order of their ids."""

    def reach(number: int) -> float:
        values = [score.classes[number] or 0.0 for score in scores]
        return max(values) - min(values)

    return sorted(sorted(ids, key=reach, reverse=True)[:CLASSES_SHOWN])
