"""A judgement as a section of a card, and as a picture."""

import textwrap
from pathlib import Path
from typing import Any

from sds_hf.files import whole_file
from sds_hf.prove.judge import Judgement, Sight
from sds_hf.prove.judge_truth import ANY

INK, GREY, BLUE = "#1f2430", "#c4cad3", "#0072b2"
MOST = 24  # lines of the picture


def section(judgement: Judgement, picture: str | None = None) -> str:
    """Markdown that says what each score, rule and recipe sees.

    Args:
        judgement: what was found.
        picture: path of its picture, as the card names it.
    """
    defects = ", ".join(f"{name} {count:,}" for name, count in judgement.defects.items())
    lines = [
        "## What the scores see",
        "",
        f"{judgement.clean:,} rows without and {judgement.rows - judgement.clean:,} with a known defect ({defects}); "
        "no score was told. AUROC is the chance that a clean row comes before one with the defect: 0.5 sees nothing, "
        f"below it low values are the clean ones. Clean share: among {judgement.size:,} kept rows "
        f"({judgement.size_of}), with its 95 % interval.",
        "",
    ]
    if picture:
        lines += [f"![AUROC of each score and recipe by defect]({picture})", ""]
    names = [ANY, *judgement.defects]
    lines += [
        f"| | {' | '.join(names)} | clean share | fewest kept of a class |",
        f"|---|{'---:|' * (len(names) + 2)}",
        *(f"| {_title(sight)} | {' | '.join(_cells(sight, names, judgement.size))} |" for sight in judgement.sights),
    ]
    for name, reason in judgement.not_judged.items():
        lines += ["", f"The recipe {name} was not judged: {reason}."]
    return "\n".join(lines) + "\n"


def _title(sight: Sight) -> str:
    name = sight.name.replace("|", "\\|")
    return f"`{name}`" if sight.kind == "score" else f"{name} ({sight.kind})" if sight.kind != "chance" else name


def _cells(sight: Sight, names: list[str], size: int) -> list[str]:
    least = min(sight.classes.items(), key=lambda item: item[1], default=None)
    value, low, high = sight.precision
    return [
        *(f"{sight.auroc[name][0]:.2f}" for name in names),
        f"{value:.0%} ({low:.0%} to {high:.0%})" + ("" if sight.kept == size else f", of {sight.kept:,}"),
        "" if least is None else f"{least[1]:.0%} {least[0]}",
    ]


def draw(judgement: Judgement, path: Path) -> None:
    """A PNG: AUROC by defect as a table of shades, and the clean share of the kept beside it."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = [ANY, *judgement.defects]
    sights = _lines(judgement)
    height = 0.3 * len(sights) + 2.1
    figure, (grid, bars) = plt.subplots(
        1, 2, figsize=(0.52 * len(names) + 4.6, height), width_ratios=(0.52 * len(names), 2.2), sharey=True
    )
    values = [[sight.auroc[name][0] for name in names] for sight in sights]
    # One hue from light to dark is read alike by everyone; what lies below chance is as pale as chance.
    grid.imshow(values, cmap="Blues", vmin=0.5, vmax=1.1, aspect="auto")
    for line, row in enumerate(values):
        for column, value in enumerate(row):
            text = f"{value:.2f}".lstrip("0") if value < 0.995 else "1.0"
            grid.text(
                column, line, text, ha="center", va="center", fontsize=8.5, color="white" if value > 0.86 else INK
            )
    grid.set_xticks(range(len(names)), [name.replace("_", " ") for name in names], rotation=50, ha="left", fontsize=9.5)
    grid.xaxis.tick_top()
    grid.set_yticks(range(len(sights)), [_label(sight.name) for sight in sights], fontsize=9.5, parse_math=False)
    for label, sight in zip(grid.get_yticklabels(), sights, strict=True):
        label.set_fontweight("bold" if sight.kind in ("recipe", "rule") else "normal")
    grid.tick_params(length=0)
    grid.set_xlabel("AUROC, clean against defect", fontsize=9.5, labelpad=6)
    grid.axvline(0.5, color="white", linewidth=4)
    _bars(bars, sights, judgement)
    for axis in (grid, bars):
        axis.spines[:].set_visible(False)
    figure.tight_layout()
    with whole_file(path) as file:
        figure.savefig(file, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)


def _label(name: str) -> str:
    return textwrap.fill(name, 36, max_lines=2, placeholder=" …")


def _bars(axis: Any, sights: list[Sight], judgement: Judgement) -> None:
    """Clean share of the kept with its interval; a line at chance."""
    shares = [sight.precision for sight in sights]
    own = [sight.kept != judgement.size for sight in sights]
    axis.barh(range(len(sights)), [value for value, _, _ in shares], color=[GREY if one else BLUE for one in own])
    for line, (value, low, high) in enumerate(shares):
        axis.plot([low, high], [line, line], color=INK, linewidth=1.5)
        axis.text(0.02, line, f"{value:.0%}", va="center", fontsize=8.5, color=INK if own[line] else "white")
    axis.axvline(judgement.clean / judgement.rows, color=INK, linewidth=1, linestyle="--")
    axis.set_xlim(0, 1)
    axis.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"], fontsize=9)
    other = "\n(grey: of its own size)" if any(own) else ""
    axis.set_xlabel(f"clean among {judgement.size:,} kept{other}", fontsize=9.5, labelpad=6)
    axis.tick_params("y", length=0)


def _lines(judgement: Judgement) -> list[Sight]:
    """Rules and recipes, and the scores that tell the most apart, the best first."""
    chosen = [sight for sight in judgement.sights if sight.kind != "score"]
    scores = [sight for sight in judgement.sights if sight.kind == "score"]
    scores.sort(key=lambda sight: -abs(sight.auroc[ANY][0] - 0.5))
    return sorted([*chosen, *scores[: max(0, MOST - len(chosen))]], key=lambda sight: -sight.auroc[ANY][0])
