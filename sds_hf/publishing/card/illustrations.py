"""The pictures of a published selection: score distributions, classes, and samples of kept and dropped rows."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sds_hf.data.cells import stored_cells
from sds_hf.data.labels import LabelSpace
from sds_hf.hub.layout import CANDIDATES
from sds_hf.publishing.card import figures
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.report import Report, counted_reason
from sds_hf.selection.rules import Threshold
from sds_hf.selection.select import Selection

if TYPE_CHECKING:
    from datasets import Dataset

ROWS_AT_ONCE = 1 << 16
SHOWN = ("clip_sim", "pcs", "asf_miou")  # below a sample
SAMPLES = 6  # shown of the kept and of the dropped rows


def draw_pictures(
    folder: Path,
    dataset: "Dataset",
    selection: Selection,
    recipe: Recipe,
    report: Report,
    *,
    labels: LabelSpace | None = None,
) -> list[str]:
    """Draw what there is to draw into `folder/assets`.

    Args:
        folder: of the repository; scores of `CANDIDATES`, if it is there, are written below the samples.
        dataset: the candidates.
        selection: which of them stay.
        recipe: for the thresholds.
        report: for the counts.
        labels: names and colours of the masks' classes; no samples are drawn without.

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
        figures.sample_grid(_samples(dataset, selection, folder / CANDIDATES), labels, pictures / "samples.png")
    return sorted(f"assets/{path.name}" for path in pictures.iterdir())


def _thresholds(recipe: Recipe, report: Report) -> dict[str, float]:
    """Lower bounds by column, quantiles as what they came to."""
    return {
        rule.column: above
        for rule, step in zip(recipe.rules, report.steps, strict=False)
        if isinstance(rule, Threshold) and isinstance(above := step.bounds.get("above", rule.above), float)
    }


def _samples(dataset: "Dataset", selection: Selection, scores: Path) -> list[tuple[str, list[dict[str, Any]]]]:
    """Rows for the picture: kept and dropped ones, spread evenly over the reasons."""
    stored = dataset.select_columns(["image", "mask"]).with_format("arrow")
    counts = _kinds(selection)
    samples = []
    for title, side in (("Kept", True), ("Dropped", False)):
        sizes = {kind: count for (kept, kind), count in counts.items() if kept == side}
        if sizes:
            heading = f"{title}: {sum(sizes.values()):,} of {counts.total():,} candidates"
            reasons = _chosen(selection, side, _spread(sizes))
            lines = {row: _in_lines(reason) for row, reason in reasons.items()}
            for row, values in _scores_of(scores, list(reasons)).items():
                lines[row].append(", ".join(f"{name} {_short(value)}" for name, value in values.items()))
            samples.append((heading, [{**_cells(stored, row), "lines": lines[row]} for row in reasons]))
    return samples


def _cells(stored: "Dataset", row: int) -> dict[str, Any]:
    return {name: column[0] for name, column in stored_cells(stored, [row]).items()}


def _in_lines(reason: str) -> list[str]:
    """A reason, and below it what it says of its row alone."""
    counted = counted_reason(reason)
    return [counted, reason.removeprefix(counted).removeprefix(", ")] if counted != reason else [reason]


def _kinds(selection: Selection) -> Counter[tuple[bool, str]]:
    """How many rows are kept and dropped for each kind of reason, in the order of their first rows."""
    counts = Counter[tuple[bool, str]]()
    for batch in selection.batches(["kept", "reason"]):
        codes, keys = _coded(batch)
        first = np.unique(codes, return_index=True)
        for code in first[0][np.argsort(first[1])]:
            counts[keys[code]] += int((codes == code).sum())
    return counts


def _coded(batch: pa.RecordBatch) -> tuple[np.ndarray, list[tuple[bool, str]]]:
    """The kind of reason of each row as a number, and what the numbers stand for."""
    reasons = batch["reason"].dictionary_encode()
    kinds = [counted_reason(reason).split("=")[0] for reason in reasons.dictionary.to_pylist()]
    keys = list(dict.fromkeys((kept, kind) for kind in kinds for kept in (False, True)))
    table = np.array([[keys.index((kept, kind)) for kept in (False, True)] for kind in kinds])
    kept = batch["kept"].to_numpy(zero_copy_only=False).astype(int)
    return table[reasons.indices.to_numpy(), kept], keys


def _spread(sizes: dict[str, int]) -> dict[str, list[int]]:
    """Which rows of each kind are shown, evenly spaced: as many of each as can be, `SAMPLES` in all."""
    room = dict.fromkeys(sizes, 0)
    while sum(room.values()) < min(SAMPLES, sum(sizes.values())):
        fewest = min((kind for kind, size in sizes.items() if room[kind] < size), key=room.__getitem__)
        room[fewest] += 1
    return {kind: np.linspace(0, sizes[kind] - 1, count).astype(int).tolist() for kind, count in room.items()}


def _chosen(selection: Selection, side: bool, positions_by_kind: dict[str, list[int]]) -> dict[int, str]:
    """The rows at these positions among the kept or dropped ones of each kind, kind by kind, and their reasons."""
    passed, rows = dict.fromkeys(positions_by_kind, 0), dict[tuple[str, int], tuple[int, str]]()
    for batch in selection.batches(["row", "kept", "reason"]):
        codes, keys = _coded(batch)
        for kind in positions_by_kind:
            members = np.flatnonzero(codes == keys.index((side, kind))) if (side, kind) in keys else np.empty(0, int)
            for position in positions_by_kind[kind]:
                if 0 <= position - passed[kind] < len(members):
                    index = int(members[position - passed[kind]])
                    rows[kind, position] = (batch["row"][index].as_py(), batch["reason"][index].as_py())
            passed[kind] += len(members)
    return dict(rows[kind, position] for kind, positions in positions_by_kind.items() for position in positions)


def _scores_of(scores: Path, rows: list[int]) -> dict[int, dict[str, float | None]]:
    """The scores of some rows, by row; none if there is no file of scores."""
    if not scores.exists():
        return {}
    names = [name for name in SHOWN if name in pq.read_schema(scores).names]
    scores_by_row = dict[int, dict[str, float | None]]()
    with pq.ParquetFile(scores) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=["row", *names]):
            few = pa.Table.from_batches([batch]).filter(pc.is_in(batch["row"], pa.array(rows)))
            scores_by_row |= {row.pop("row"): row for row in few.to_pylist()}
    return scores_by_row


def _short(value: float | None) -> str:
    return "–" if value is None else f"{round(value, 2) + 0:.2f}"  # no -0.00
