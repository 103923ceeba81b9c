"""The pictures of a published selection: score distributions, classes, and samples of kept and dropped rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset

from sds_hf.data.labels import LabelSpace
from sds_hf.publishing.card import figures
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.report import Report
from sds_hf.selection.rules import Threshold
from sds_hf.selection.select import Selection
from sds_hf.table.score_table import ScoreTable

SAMPLES = 6  # shown of the kept and of the dropped rows


def draw_pictures(
    folder: Path,
    dataset: Dataset,
    selection: Selection,
    recipe: Recipe,
    report: Report,
    *,
    labels: LabelSpace | None = None,
    scores: ScoreTable | None = None,
) -> list[str]:
    """Draw what there is to draw into `folder/assets`.

    Args:
        folder: of the repository.
        dataset: the candidates.
        selection: which of them stay.
        recipe: for the thresholds.
        report: for the counts.
        labels: names and colours of the masks' classes; no samples are drawn without.
        scores: their score table, to write scores below the samples.

    Returns:
        The pictures, as paths in `folder`.
    """
    pictures = folder / "assets"
    pictures.mkdir()
    if report.scores:
        figures.score_histograms(report.scores, pictures / "scores.png", _thresholds(recipe, report))
    if any(count.before for count in report.classes):
        figures.class_bars(report.classes, pictures / "classes.png")
    if labels and {"image", "mask"} <= set(dataset.column_names):
        figures.sample_grid(_samples(dataset, selection, scores), labels, pictures / "samples.png")
    return sorted(f"assets/{path.name}" for path in pictures.iterdir())


def _thresholds(recipe: Recipe, report: Report) -> dict[str, float]:
    """Lower bounds by column, quantiles as what they came to."""
    return {
        rule.column: above
        for rule, step in zip(recipe.rules, report.steps, strict=False)
        if isinstance(rule, Threshold) and isinstance(above := step.bounds.get("above", rule.above), float)
    }


def _samples(
    dataset: Dataset, selection: Selection, scores: ScoreTable | None
) -> list[tuple[str, list[dict[str, Any]]]]:
    """Rows for the picture: kept and dropped ones, spread evenly over the reasons."""
    table = selection.table()
    rows, kept, reasons = (table[name].to_numpy(zero_copy_only=False) for name in ("row", "kept", "reason"))
    values = scores.to_arrow() if scores is not None else None
    stored = dataset.select_columns(["image", "mask"]).with_format("arrow")

    def cells(chosen: np.ndarray) -> list[dict[str, Any]]:
        picked = []
        for place in chosen:
            cell = stored[int(rows[place])].to_pylist()[0]
            lines = [str(reasons[place])]
            if values is not None:
                found = {name: values[name][int(rows[place])].as_py() for name in _shown(values)}
                lines.append(", ".join(f"{name} {_short(value)}" for name, value in found.items()))
            picked.append({**cell, "lines": lines})
        return picked

    groups = []
    for title, side in (("Kept", kept), ("Dropped", ~kept)):
        if side.any():
            heading = f"{title}: {int(side.sum()):,} of {len(kept):,} candidates"
            groups.append((heading, cells(_spread(np.flatnonzero(side), reasons))))
    return groups


def _spread(places: np.ndarray, reasons: np.ndarray) -> np.ndarray:
    """Up to `SAMPLES` places, as many of each kind of reason as can be, evenly spaced within each."""
    kinds: dict[str, list[int]] = {}
    for place in places:
        kinds.setdefault(str(reasons[place]).split("=")[0], []).append(int(place))
    room = dict.fromkeys(kinds, 0)
    while sum(room.values()) < min(SAMPLES, len(places)):
        fewest = min((kind for kind, group in kinds.items() if room[kind] < len(group)), key=room.__getitem__)
        room[fewest] += 1
    return np.array(
        [
            kinds[kind][i]
            for kind, count in room.items()
            for i in np.linspace(0, len(kinds[kind]) - 1, count).astype(int)
        ]
    )


def _shown(values: pa.Table) -> list[str]:
    return [name for name in ("clip_sim", "pcs", "asf_miou") if name in values.column_names]


def _short(value: float | None) -> str:
    return "–" if value is None else f"{round(value, 2) + 0:.2f}"  # no -0.00
