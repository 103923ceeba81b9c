"""A picture of a proof: mIoU by number of rows, a panel for each evaluation set and regime."""

from pathlib import Path
from typing import Any

from sds_hf.files import whole_file
from sds_hf.prove.arms import CLEAN, FULL, RANDOM
from sds_hf.prove.results.proof import Proof
from sds_hf.prove.results.report import REGIMES

# Told apart by anyone, also in grey: Okabe and Ito's colours; random is grey, the full set black.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY, INK = "#7d8590", "#1f2430"
OFFSET = 0.004  # of the width, between the seeds' points of two arms


def draw_proof(proof: Proof, path: Path) -> None:
    """Write a PNG: lines over the sizes of a recipe, points for single arms, small points for seeds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    regimes = list(dict.fromkeys(score.regime for score in proof.scores))
    evaluations = list(dict.fromkeys(score.evaluation for score in proof.scores))
    figure, grid = plt.subplots(
        len(regimes), len(evaluations), figsize=(5.2 * len(evaluations), 4.0 * len(regimes) + 0.7), squeeze=False,
        sharex=True,
    )  # fmt: skip
    handles: dict[str, Any] = {}
    for line, regime in zip(grid, regimes, strict=True):
        for axis, evaluation in zip(line, evaluations, strict=True):
            handles |= _panel(axis, proof, regime, evaluation)
            axis.set_title(f"{evaluation}, {REGIMES[regime]}", fontsize=11, color=INK)
            axis.spines[["top", "right"]].set_visible(False)
            axis.grid(axis="y", color="#e6e9ee", linewidth=0.8)
            axis.set_axisbelow(True)
        line[0].set_ylabel("mIoU in percent", fontsize=11)
    for axis in grid[-1]:
        axis.set_xlabel("rows", fontsize=11)
    columns = min(5, len(handles))
    lines = -(-len(handles) // columns)
    height = figure.get_size_inches()[1]
    figure.tight_layout(rect=(0, (0.15 + 0.26 * lines) / height, 1, 1))
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=columns, frameon=False, fontsize=10)
    with whole_file(path) as file:
        figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    plt.close(figure)


def _panel(axis: Any, proof: Proof, regime: str, evaluation: str) -> dict[str, Any]:
    """Draw the arms of a regime and an evaluation set; handles for the legend by name."""
    sizes = {arm.name: arm.size for arm in proof.arms}
    families: dict[str, list[Any]] = {}
    for arm in proof.arms:
        name = RANDOM if arm.kind == RANDOM else arm.recipe or arm.kind
        scores = [s for s in proof.scores if (s.arm, s.regime, s.evaluation) == (arm.name, regime, evaluation)]
        families.setdefault(name, []).extend(scores)
    handles, width = {}, max(sizes.values())
    styles = iter(zip(COLORS, MARKERS, strict=True))
    for number, (name, scores) in enumerate(families.items()):
        color, marker = _style(name, styles)
        points = sorted(((sizes[score.arm], score.miou) for score in scores), key=lambda point: point[0])
        shift = OFFSET * width * (number - len(families) / 2)
        for size, spread in points:
            axis.plot([size + shift] * len(spread.values), spread.values, ".", color=color, alpha=0.35, markersize=4)
        means = [spread.mean for _, spread in points]
        style = "--" if name == RANDOM else "-"
        (handles[name],) = axis.plot(
            [size + shift for size, _ in points], means, style, marker=marker, color=color, markersize=7, linewidth=1.6
        )
        if name == FULL:
            axis.axhline(means[0], color=color, linewidth=0.8, linestyle=":")
    return handles


def _style(name: str, styles: Any) -> tuple[str, str]:
    if name in (FULL, RANDOM, CLEAN):
        return {FULL: (INK, "*"), RANDOM: (GREY, "o"), CLEAN: (INK, "d")}[name]
    color, marker = next(styles, (GREY, "x"))
    return color, marker
