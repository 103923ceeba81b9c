"""Charts of a selection or its report as axes of matplotlib, for notebooks and papers. Cards draw the same."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sds_hf.publishing.card.figures import cutoffs_of, draw_classes, draw_funnel, draw_histogram
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
    cutoffs = cutoffs_of(report.steps).get(name, ())
    return _drawn(ax, 3.4, lambda axes: draw_histogram(axes, name, report.scores[name], cutoffs))


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
    height = 0.27 * len(report.classes) + 1.3
    return _drawn(ax, height, lambda axes: draw_classes(axes, report.classes))


def funnel(selection: "Selection | Report", ax: Any = None) -> Any:
    """Rows before all rules and after each.

    Args:
        selection: or its report.
        ax: axes to draw on; new ones if None.

    Returns:
        The axes.
    """
    report = _report(selection)
    return _drawn(ax, 0.45 * len(report.steps) + 1.45, lambda axes: draw_funnel(axes, report.rows, report.steps))


def _report(selection: "Selection | Report") -> Report:
    return selection if isinstance(selection, Report) else selection.report


def _drawn(ax: Any, height: float, draw: Callable[[Any], None]) -> Any:
    """Axes with a chart and its legend; new ones, of so many inches, in a figure of the user's backend if None."""
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.subplots(figsize=(6.4, height), layout="constrained")[1]
    draw(ax)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False)
    return ax
