"""The pictures of a published selection: score distributions, classes, and samples of kept and dropped rows."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sds_hf.check.reasons.words import reason_lines
from sds_hf.data.cells import stored_cells
from sds_hf.data.labels import LabelSpace
from sds_hf.hub.layout import CANDIDATES
from sds_hf.publishing.card import figures
from sds_hf.publishing.card.borderline import borderline_rows
from sds_hf.publishing.card.tiles import Section, Tile, sample_grid
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.report import Report, counted_reason
from sds_hf.selection.select import Selection

if TYPE_CHECKING:
    from datasets import Dataset

ROWS_AT_ONCE = 1 << 16
SAMPLES = 6  # shown of the kept and of the dropped rows
SCORES_A_LINE = 3


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
        recipe: for the rules.
        report: for the counts.
        labels: names and colours of the masks' classes; no samples are drawn without.

    Returns:
        The pictures, as paths in `folder`.
    """
    pictures = folder / "assets"
    pictures.mkdir()
    if report.scores:
        figures.score_histograms(report.scores, pictures / "scores.png", report.steps)
    if any(count.before for count in report.classes):
        figures.class_bars(report.classes, pictures / "classes.png")
    if labels and {"image", "mask"} <= set(dataset.column_names):
        decisions = folder / CANDIDATES if (folder / CANDIDATES).exists() else selection.path
        sections = _sections(dataset, selection, recipe, report, decisions)
        sample_grid(sections, labels, pictures / "samples.png")
    return sorted(f"assets/{path.name}" for path in pictures.iterdir())


def _sections(
    dataset: "Dataset", selection: Selection, recipe: Recipe, report: Report, decisions: Path
) -> list[Section]:
    """Kept and dropped rows, as many of a reason as it is frequent, and those next to a cut-off."""
    counts = _kinds(selection)
    chosen: dict[str, list[int]] = {}
    for title, side in (("Kept", True), ("Dropped", False)):
        sizes = {kind: count for (kept, kind), count in counts.items() if kept == side}
        if sizes:
            heading = f"{title}: {sum(sizes.values()):,} of {counts.total():,} candidates"
            chosen[heading] = _chosen(selection, side, _spread(sizes))
    borderline = borderline_rows(decisions, recipe.rules, report.steps)
    columns = _columns(recipe, decisions)
    records = _records(decisions, {row for rows in [*chosen.values(), borderline] for row in rows}, columns)
    stored = dataset.select_columns(["image", "mask"]).with_format("arrow")

    def tile(row: int, words: Sequence[str]) -> Tile:
        record, cells = records[row], _cells(stored, row)
        lines = [*words, *_score_lines(record, columns)]
        return Tile(cells["image"], cells["mask"], lines, f"id {record['id']}")

    def words(row: int) -> list[str]:
        first, *rest = reason_lines(records[row], recipe.rules, report.steps)
        return [f"{'kept' if records[row]['kept'] else 'dropped'}: {first}", *rest]

    sections = [Section(heading, [tile(row, words(row)) for row in rows]) for heading, rows in chosen.items()]
    if borderline:
        near = [tile(row, [text] if text else words(row)) for row, text in borderline.items()]
        sections.append(Section("Next to a cut-off: the last that stay, the first that leave", near))
    return sections


def _columns(recipe: Recipe, decisions: Path) -> list[str]:
    """The scores that the rules read, of those that are in the file."""
    schema = pq.read_schema(decisions)
    names = dict.fromkeys(name for rule in recipe.rules for name in rule.reads if name in schema.names)
    return [name for name in names if pa.types.is_floating(schema.field(name).type)]


def _score_lines(record: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    texts = [f"{name} {_short(record[name])}" for name in columns]
    return [", ".join(texts[start : start + SCORES_A_LINE]) for start in range(0, len(texts), SCORES_A_LINE)]


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
    """Which rows of each kind are shown, evenly spaced: as many as it is frequent, `SAMPLES` in all."""
    total = sum(sizes.values())
    shares = {kind: min(SAMPLES, total) * size / total for kind, size in sizes.items()}
    room = {kind: int(share) for kind, share in shares.items()}
    for kind in sorted(shares, key=lambda kind: room[kind] - shares[kind])[: min(SAMPLES, total) - sum(room.values())]:
        room[kind] += 1
    return {kind: np.linspace(0, sizes[kind] - 1, count).astype(int).tolist() for kind, count in room.items()}


def _chosen(selection: Selection, side: bool, positions_by_kind: dict[str, list[int]]) -> list[int]:
    """The rows at these positions among the kept or dropped ones of each kind, kind by kind."""
    passed, rows = dict.fromkeys(positions_by_kind, 0), dict[tuple[str, int], int]()
    for batch in selection.batches(["row", "kept", "reason"]):
        codes, keys = _coded(batch)
        for kind in positions_by_kind:
            members = np.flatnonzero(codes == keys.index((side, kind))) if (side, kind) in keys else np.empty(0, int)
            for position in positions_by_kind[kind]:
                if 0 <= position - passed[kind] < len(members):
                    index = int(members[position - passed[kind]])
                    rows[kind, position] = batch["row"][index].as_py()
            passed[kind] += len(members)
    return [rows[kind, position] for kind, positions in positions_by_kind.items() for position in positions]


def _records(decisions: Path, rows: Iterable[int], columns: Sequence[str]) -> dict[int, dict[str, Any]]:
    """What a file of decisions has of some rows, by row."""
    names = pq.read_schema(decisions).names
    ranks = [name for name in names if name.endswith(("_rank", "_group_size", "_cutoff"))]
    records = dict[int, dict[str, Any]]()
    numbers = pa.array(sorted(rows), pa.int64())
    with pq.ParquetFile(decisions) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=["id", "row", "kept", "reason", *columns, *ranks]):
            few = pa.Table.from_batches([batch]).filter(pc.is_in(batch["row"], numbers))
            records |= {record["row"]: record for record in few.to_pylist()}
    return records


def _short(value: float | None) -> str:
    return "–" if value is None else f"{round(value, 3) + 0:.3f}"  # no -0.000
