"""The folder of a published dataset: data, card, recipe, report, scores, pictures and a manifest with checksums."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from datasets import Dataset, concatenate_datasets

from sds_hf import figures
from sds_hf.cards import render_card
from sds_hf.checkpoints import sha256_of
from sds_hf.datafolder import Shard, card_metadata, tables_of_dataset, write_shards
from sds_hf.labels import LabelSpace
from sds_hf.recipe import Recipe
from sds_hf.report import Report
from sds_hf.rules import Threshold, literal
from sds_hf.selection import Selection
from sds_hf.table import ScoreTable

MANIFEST = "manifest.json"
SAMPLES = 12  # shown of the kept and of the dropped rows


def build_repository(
    dataset: Dataset,
    selection: Selection,
    recipe: Recipe,
    folder: Path,
    *,
    scores: ScoreTable | None = None,
    address: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Write everything that is published into an empty folder.

    Args:
        dataset: the candidates that were scored.
        selection: which of them stay.
        recipe: what chose them.
        folder: where to write.
        scores: their score table; its columns are added to the data and all candidates' scores are published.
        address: what the card tells people to load.
        progress: called with the number of rows written since the last call.

    Returns:
        The report as published, with the truth where the dataset has it and what the card needs.
    """
    report = selection.report.model_copy(deep=True)
    kept = _with_scores(selection.apply(dataset), selection, scores)
    shards, num_bytes = write_shards(tables_of_dataset(kept), folder, progress=progress)
    metadata: dict[str, Any] = card_metadata(kept.features, shards, num_bytes).to_dict()  # type: ignore[no-untyped-call]
    if scores is not None:
        metadata["configs"].append({"config_name": "scores", "data_files": "scores/*.parquet"})
        shards.append(_write_candidates(scores, selection, folder))
    report.metadata = metadata
    report.truth = _truth(dataset, selection)
    labels = _labels_of(dataset, report)
    (folder / "assets").mkdir()
    if report.scores:
        figures.score_histograms(report.scores, folder / "assets" / "scores.png", _thresholds(recipe))
    if labels and {"image", "mask"} <= set(dataset.column_names):
        figures.sample_grid(_samples(dataset, selection, scores), labels, folder / "assets" / "samples.png")
    report.assets = sorted(f"assets/{path.name}" for path in (folder / "assets").iterdir())
    report.save(folder / "report.json")
    (folder / "recipe.yaml").write_text(recipe.to_yaml())
    (folder / "README.md").write_text(render_card(recipe, report, address))
    _write_manifest(folder, shards)
    return report


def _with_scores(kept: Dataset, selection: Selection, scores: ScoreTable | None) -> Dataset:
    """The kept rows with their score columns, in place of columns of the same names."""
    if scores is None:
        return kept
    hidden = ("id", "row", "status", "error", "classes_present", "num_classes_present")
    table = scores.to_arrow().take(pa.array(selection.kept_rows()))
    columns = Dataset(table.select([name for name in table.column_names if name not in hidden]))
    kept = kept.remove_columns([name for name in columns.column_names if name in kept.column_names])
    return concatenate_datasets([kept, columns], axis=1)


def _write_candidates(scores: ScoreTable, selection: Selection, folder: Path) -> Shard:
    """Scores, decision and reason of all candidates, in one file."""
    path = folder / "scores" / "candidates.parquet"
    path.parent.mkdir()
    sources = ", ".join(literal(str(source)) for source in scores.paths)
    duckdb.sql(
        f"""COPY (SELECT s.*, k.* EXCLUDE (id, "row") FROM read_parquet([{sources}]) s
                  JOIN read_parquet({literal(str(selection.path))}) k USING ("row") ORDER BY "row")
            TO {literal(str(path))} (FORMAT PARQUET)"""
    )
    return Shard("scores/candidates.parquet", selection.report.rows, path.stat().st_size, sha256_of(path))


def _truth(dataset: Dataset, selection: Selection) -> dict[str, tuple[int, int]]:
    """Rows by defect among candidates and kept, where the data has a column `defect`."""
    if "defect" not in dataset.column_names:
        return {}
    defects = np.array([value or "none" for value in dataset["defect"]])
    kept = defects[selection.kept_rows()]
    names = sorted(set(defects.tolist()), key=lambda name: (name != "none", name))
    return {name: (int((defects == name).sum()), int((kept == name).sum())) for name in names}


def _labels_of(dataset: Dataset, report: Report) -> LabelSpace | None:
    feature = dataset.features.get("classes")
    names = getattr(getattr(feature, "feature", feature), "names", None) or report.provenance.get("labels", {}).get(
        "names"
    )
    return LabelSpace.from_names(names) if names else None


def _thresholds(recipe: Recipe) -> dict[str, float]:
    return {
        rule.column: rule.above
        for rule in recipe.rules
        if isinstance(rule, Threshold) and isinstance(rule.above, float)
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
            text = str(reasons[place]).removeprefix("kept:").removeprefix("dropped:")
            if values is not None:
                text += "".join(f"  {name} {_short(values[name][int(rows[place])].as_py())}" for name in _shown(values))
            picked.append({**cell, "text": text})
        return picked

    groups = []
    for title, side in (("Kept", kept), ("Dropped", ~kept)):
        if side.any():
            groups.append(
                (f"{title}: {int(side.sum()):,} of {len(kept):,}", cells(_spread(np.flatnonzero(side), reasons)))
            )
    return groups


def _spread(places: np.ndarray, reasons: np.ndarray) -> np.ndarray:
    """Up to `SAMPLES` places, dealt out over the kinds of reasons in turn, evenly spaced within each."""
    kinds: dict[str, list[int]] = {}
    for place in places:
        kinds.setdefault(str(reasons[place]).split("=")[0], []).append(int(place))
    share = -(-SAMPLES // len(kinds))
    chosen = [
        group[round(step * (len(group) - 1) / max(1, min(share, len(group)) - 1))]
        for group in kinds.values()
        for step in range(min(share, len(group)))
    ]
    return np.array(chosen[:SAMPLES])


def _shown(values: pa.Table) -> list[str]:
    return [name for name in ("clip_sim", "pcs", "asf_miou") if name in values.column_names]


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _write_manifest(folder: Path, shards: list[Shard]) -> None:
    rows = {shard.path: shard.rows for shard in shards}
    entries = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            name = path.relative_to(folder).as_posix()
            entries.append(
                {"path": name, "sha256": sha256_of(path), "size": path.stat().st_size, "rows": rows.get(name)}
            )
    (folder / MANIFEST).write_text(json.dumps({"format": 1, "made_by": "sds-hf", "files": entries}, indent=2) + "\n")
