"""Charts of a selection or its report as axes of matplotlib, for notebooks and papers. Cards draw the same."""

from typing import TYPE_CHECKING, Any

from sds_hf.publishing.card.figures import BLUE, GREY, cutoffs_of, draw_classes, draw_histogram
from sds_hf.publishing.card.fonts import drawable, families
from sds_hf.selection.report import Report

if TYPE_CHECKING:
    from sds_hf.selection.select import Selection


def scores(selection: "Selection | Report", column: str | None = None, ax: Any = None) -> Any:
    """How a score is distributed among all candidates and among the kept, with the cut-offs of the rules.

    Args:
        selection: or its report.
        column: a score; the first that the rules compare if None.
        ax: axes to draw on; new ones if None.

    Returns:
        The axes.

    Raises:
        ValueError: if there is no such score, or none of its values is a number.
    """
    report = _report(selection)
    drawn = [name for name, summary in report.scores.items() if summary.edges]
    name = column if column is not None else next(iter(drawn), "")
    if name not in drawn:
        raise ValueError(f"there is no score {name!r} to draw; there are {drawn}")
    ax = _axes(ax)
    draw_histogram(ax, name, report.scores[name], cutoffs_of(report.steps).get(name, ()))
    ax.legend(frameon=False)
    return ax


def classes(selection: "Selection | Report", ax: Any = None) -> Any:
    """Images that show each class, among the candidates and among the kept.

    Args:
        selection: or its report.
        ax: axes to draw on; new ones if None.

    Returns:
        The axes.

    Raises:
        ValueError: if no row shows a class.
    """
    report = _report(selection)
    if not any(count.before for count in report.classes):
        raise ValueError("there are no classes to draw: no row shows one, or nothing says which")
    ax = _axes(ax, height=0.27 * len(report.classes) + 1.3)
    draw_classes(ax, report.classes)
    ax.legend(frameon=False)
    return ax


def funnel(selection: "Selection | Report", ax: Any = None) -> Any:
    """Rows before all rules and after each.

    Args:
        selection: or its report.
        ax: axes to draw on; new ones if None.

    Returns:
        The axes.
    """
    report = _report(selection)
    names = ["all candidates", *(step.text for step in report.steps)]
    counts = [report.rows, *(step.after for step in report.steps)]
    ax = _axes(ax, height=0.45 * len(names) + 1)
    positions = range(len(names))
    ax.barh(positions, counts, height=0.7, color=[GREY, *[BLUE] * len(report.steps)])
    ax.set_yticks(positions, [drawable(name)[:60] for name in names], parse_math=False, family=families())
    for position, count in zip(positions, counts, strict=True):
        ax.annotate(f" {count:,}", (count, position), va="center")
    ax.invert_yaxis()
    ax.margins(x=0.15)
    ax.set_xlabel("rows")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _report(selection: "Selection | Report") -> Report:
    return selection if isinstance(selection, Report) else selection.report


def _axes(ax: Any, height: float = 3.4) -> Any:
    """Axes to draw on, in a figure of the user's backend."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(6.4, height), layout="constrained")[1]
