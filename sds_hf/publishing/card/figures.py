"""Charts for people: how scores are distributed, where the rules cut, and which classes stay."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sds_hf.publishing.card.colors import class_color
from sds_hf.publishing.card.fonts import drawable, families
from sds_hf.selection.report import ClassCount, ScoreSummary, Step

# Told apart by anyone, also in grey: Okabe and Ito's blue and vermilion on a light grey.
GREY, BLUE, VERMILION = "#c4cad3", "#0072b2", "#d55e00"
INK, PAPER = "#1f2430", "#ffffff"
PANELS = 2  # histograms side by side
LINES = 4  # cut-offs of a score that are lines with their values; more are ticks
BOUNDS = {"above": ">", "below": "<", "low": "≥", "high": "≤"}


def cutoffs_of(steps: Sequence[Step]) -> dict[str, list[tuple[str, float]]]:
    """By score the values that part its rows, each after what it is: the name of a bound or a group."""
    cutoffs: dict[str, list[tuple[str, float]]] = {}
    for step in steps:
        for column, values in step.cutoffs.items():
            cutoffs.setdefault(column, []).extend(values.items())
    return cutoffs


def score_histograms(scores: Mapping[str, ScoreSummary], path: Path, steps: Sequence[Step] = ()) -> None:
    """One panel a score, see `draw_histogram`.

    Args:
        scores: what is told of each.
        path: PNG to write.
        steps: rules, for their cut-offs.
    """
    summaries = {name: summary for name, summary in scores.items() if summary.edges}
    cutoffs = cutoffs_of(steps)
    columns, lines = max(1, min(len(summaries), PANELS)), max(1, -(-len(summaries) // PANELS))
    figure = _figure(3.9 * columns, 2.9 * lines)
    grid = figure.subplots(lines, columns, squeeze=False)
    handles: dict[str, Any] = {}
    for axis, (name, summary) in zip(grid.flat, summaries.items(), strict=False):
        draw_histogram(axis, name, summary, cutoffs.get(name, ()))
        handles |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    for axis in grid.flat[len(summaries) :]:
        axis.set_axis_off()
    figure.tight_layout(rect=(0, 0.36 / (2.9 * lines), 1, 1))
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=4, frameon=False, fontsize=10)
    _save(figure, path)


def draw_histogram(axis: Any, name: str, summary: ScoreSummary, cutoffs: Sequence[tuple[str, float]]) -> None:
    """All candidates in grey, the kept ones in blue before them; few cut-offs are dashed lines, many are ticks.

    Bins end at bounds, so that their widths differ: what counts is the area. Heights are rows in a bin of the usual
    width, which the axis then names.

    Args:
        axis: of matplotlib.
        name: of the score.
        summary: what is told of it.
        cutoffs: see `cutoffs_of`.
    """
    edges = np.array(summary.edges)
    usual = edges[-1] / (len(edges) - 1) - edges[0] / (len(edges) - 1)
    scale = usual / np.diff(edges)
    axis.stairs(np.array(summary.all) * scale, edges, fill=True, color=GREY, label="all candidates")
    axis.stairs(np.array(summary.kept) * scale, edges, fill=True, color=BLUE, label="kept")
    values = sorted({value for _, value in cutoffs})
    if len(values) <= LINES:
        for number, value in enumerate(values):
            label = "_nolegend_" if number else "cut-off"
            axis.axvline(value, color=VERMILION, linewidth=2, linestyle="--", label=label)
    else:
        axis.plot(values, np.full(len(values), 0.03), "|", color=VERMILION, markersize=11, markeredgewidth=1.4,
                  transform=axis.get_xaxis_transform(), clip_on=False, label="cut-offs of groups")  # fmt: skip
    if cutoffs:
        _write(axis, _words(cutoffs))
    axis.set_xlabel(drawable(name), fontsize=12, color=INK, parse_math=False, family=families(), labelpad=6)
    axis.yaxis.get_major_locator().set_params(integer=True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=10)
    axis.set_ylabel("rows" if np.allclose(scale, 1) else f"rows per {usual:.2g}", fontsize=11)


def _words(cutoffs: Sequence[tuple[str, float]]) -> str:
    """What is cut where: bounds with their signs, of groups the range."""
    bounds = [f"{BOUNDS.get(name, '≥')} {value:.4g}" for name, value in cutoffs if not name or name in BOUNDS]
    groups = sorted(value for name, value in cutoffs if name and name not in BOUNDS)
    if groups:
        bounds.append(f"{len(groups):,} groups cut at {groups[0]:.3g} to {groups[-1]:.3g}")
    return ", ".join(bounds)


def _write(axis: Any, text: str) -> None:
    """What is cut where, above the panel."""
    axis.set_title(drawable(text)[:48], fontsize=9.5, color=VERMILION, loc="right", parse_math=False, family=families())


def class_bars(classes: Sequence[ClassCount], path: Path) -> None:
    """A chart of its own of what `draw_classes` draws.

    Args:
        classes: counted.
        path: PNG to write.
    """
    height = 0.27 * sum(bool(count.before) for count in classes) + 1.3
    figure = _figure(7.8, height)
    axis = figure.subplots()
    draw_classes(axis, classes)
    figure.tight_layout(rect=(0, 0.36 / height, 1, 1))
    figure.legend(loc="lower center", ncols=2, frameon=False, fontsize=11)
    _save(figure, path)


def draw_classes(axis: Any, classes: Sequence[ClassCount]) -> None:
    """Images that show each class: candidates in grey, the kept ones in blue before them; beside a class its colour.

    Args:
        axis: of matplotlib.
        classes: counted; those without a candidate are left out.
    """
    from matplotlib.patches import Rectangle

    counts = [count for count in classes if count.before]
    positions = range(len(counts))
    axis.barh(positions, [count.before for count in counts], height=0.8, color=GREY, label="candidates")
    axis.barh(positions, [count.after for count in counts], height=0.8, color=BLUE, label="kept")
    names = [drawable(count.name)[:30] for count in counts]
    axis.set_yticks(positions, names, fontsize=11, parse_math=False, family=families())
    axis.tick_params("y", length=0, pad=18)
    axis.tick_params("x", labelsize=10)
    # Squares of 13 points between the names and the bars.
    side = 13 / (0.27 * 72)
    for position, count in enumerate(counts):
        box = (-0.024, position - side / 2)
        axis.add_patch(
            Rectangle(
                box, 0.02, side, transform=axis.get_yaxis_transform(), clip_on=False,
                facecolor=[channel / 255 for channel in class_color(count.id)], edgecolor=INK, linewidth=0.6,
            )
        )  # fmt: skip
    axis.set_ylim(len(counts) - 0.4, -0.6)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_xlabel("images that show the class", fontsize=11)
    axis.spines[["top", "right", "left"]].set_visible(False)


def draw_funnel(axis: Any, rows: int, steps: Sequence[Step]) -> None:
    """Rows before all rules, in grey, and after each, in blue.

    Args:
        axis: of matplotlib.
        rows: candidates.
        steps: rules in order.
    """
    names, counts = ["all candidates", *(step.text for step in steps)], [rows, *(step.after for step in steps)]
    positions = range(len(names))
    axis.barh(positions, counts, height=0.7, color=[GREY, *[BLUE] * len(steps)])
    axis.set_yticks(positions, [drawable(name)[:60] for name in names], parse_math=False, family=families())
    for position, count in zip(positions, counts, strict=True):
        axis.annotate(f" {count:,}", (count, position), va="center")
    axis.invert_yaxis()
    axis.margins(x=0.15)
    axis.set_xlabel("rows")
    axis.spines[["top", "right"]].set_visible(False)


def _figure(width: float, height: float) -> Any:
    """A figure of so many inches that no window shows, whatever a notebook has chosen."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def _save(figure: Any, path: Path) -> None:
    """Write a PNG without date or version: the same report gives the same bytes."""
    figure.savefig(path, dpi=110, metadata={"Software": None})
