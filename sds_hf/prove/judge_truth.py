"""The truth beside scores, and the rows as it and the classes divide them."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sds_hf.data.labels import LabelSpace
from sds_hf.prove.judge_auroc import Bootstrap, aurocs
from sds_hf.selection.source import beside_partial
from sds_hf.table.partial.joined import skipped_rows
from sds_hf.table.partial.needs import SKIPPED
from sds_hf.table.score_table import ScoreTable

if TYPE_CHECKING:
    from datasets import Dataset

ANY = "any"
BESIDE = ("strength", "original_id")  # what `sds-hf defects` writes beside the truth
OWN = ("id", "row", "num_classes_present")  # numbers that are no scores


class Truth:
    """The rows as the truth and the classes divide them."""

    def __init__(self, table: pa.Table, truth: str, manifest: Mapping[str, Any] | None) -> None:
        defects = np.array([str(value) if value is not None else "" for value in table[truth].to_pylist()])
        self.clean = defects == ""
        if self.clean.all() or not self.clean.any():
            raise ValueError(
                f"{truth!r} is {'null in every row' if self.clean.all() else 'null in no row'}; null means clean, and "
                "clean rows and others are compared"
            )
        names = sorted(set(defects[~self.clean].tolist()))
        self.counts = {name: int((defects == name).sum()) for name in names}
        self.kinds = {ANY: ~self.clean, **{name: defects == name for name in names}}
        strength, original = (table[name].to_pylist() if name in table.column_names else None for name in BESIDE)
        self._strengths = {}
        if strength is not None:
            grades = np.array([str(value) if value is not None else "" for value in strength])
            pairs = sorted({(name, grade) for name, grade in zip(defects, grades, strict=True) if name and grade})
            self._strengths = {f"{name}/{grade}": (defects == name) & (grades == grade) for name, grade in pairs}
        rows = np.arange(table.num_rows)
        self.originals = np.array([str(name) for name in original]) if original is not None else rows
        present = table["classes_present"].to_pylist() if "classes_present" in table.column_names else []
        labels = LabelSpace(**manifest["labels"]).names if manifest else ()
        members: dict[int, list[int]] = {}
        for row, class_ids in enumerate(present):
            for class_id in class_ids or ():
                members.setdefault(class_id, []).append(row)
        self._classes = {
            labels[class_id] if class_id < len(labels) else str(class_id): members[class_id]
            for class_id in sorted(members)
        }

    def by_strength(self, order: np.ndarray) -> dict[str, float]:
        """AUROC by defect and strength, without intervals."""
        if not self._strengths:
            return {}
        alone = Bootstrap(self.originals, 0, 0)
        return {name: value[0] for name, value in aurocs(order, self.clean, self._strengths, alone).items()}

    def class_shares(self, kept: np.ndarray) -> dict[str, float]:
        """Share of the rows that show each class that is kept."""
        return {name: round(float(kept[rows].mean()), 4) for name, rows in self._classes.items()}

    def precision(self, kept: np.ndarray) -> float | None:
        """Share of clean rows among the kept."""
        return round(float((kept * self.clean).sum() / kept.sum()), 4) if kept.any() else None


def read_scores(scores: str | Path) -> tuple[pa.Table, dict[str, Any] | None]:
    """All rows in their order, and the manifest of a score table."""
    if Path(scores).is_dir() or not str(scores).endswith(".parquet"):
        table = ScoreTable.load(scores)
        rows, manifest = table.to_arrow(), table.manifest
    else:
        paths = sorted(Path().glob(str(scores))) if not Path(scores).is_absolute() else _absolute(Path(scores))
        if not paths:
            raise ValueError(f"no score table and no Parquet file at {scores}")
        rows, manifest = pa.concat_tables(pq.read_table(path) for path in paths), None
    return (rows.sort_by("row") if "row" in rows.column_names else rows), manifest


def _absolute(pattern: Path) -> list[Path]:
    return sorted(pattern.parent.glob(pattern.name))


def with_truth(
    table: pa.Table, manifest: Mapping[str, Any] | None, truth: str, dataset: "Dataset | str | None"
) -> pa.Table:
    """The scores with the truth and what stands beside it, from the dataset if they do not have it.

    Raises:
        ValueError: if it is in neither, or the dataset has other rows.
    """
    if truth in table.column_names:
        return table
    opened = open_scored(dataset, manifest)
    if truth not in opened.column_names:
        raise ValueError(f"neither the scores nor their dataset have a column {truth!r} that tells the truth")
    names = [name for name in ("id", truth, *BESIDE) if name in opened.column_names]
    beside = opened.select_columns(names).with_format("arrow")[:]
    ids = [str(name) for name in beside["id"].to_pylist()] if "id" in names else [str(n) for n in range(len(opened))]
    if ids != table["id"].to_pylist():
        raise ValueError(
            f"the dataset has {len(ids):,} rows and the scores {table.num_rows:,}, or their ids differ: it is not what "
            "was scored"
        )
    for name in names[1:] if "id" in names else names:
        if name not in table.column_names:
            table = table.append_column(name, beside[name])
    return table


def open_scored(dataset: "Dataset | str | None", manifest: Mapping[str, Any] | None) -> "Dataset":
    """The dataset that was scored, as it is called here or in the manifest of its scores.

    Raises:
        ValueError: if it has no name or cannot be opened.
    """
    from sds_hf.data.opening import open_dataset

    if dataset is not None and not isinstance(dataset, str):
        return dataset
    name = dataset or (manifest or {}).get("source", {}).get("name")
    if not name:
        raise ValueError("the scores do not say which dataset they are of: name it with dataset=...")
    try:
        return open_dataset(name)
    except ValueError as error:
        raise ValueError(
            f"the dataset that was scored is needed for its truth: {error}; name it with dataset=..."
        ) from error


def score_columns(table: pa.Table, truth: str) -> list[str]:
    """Columns of numbers, true and false among them, in order."""
    beside = beside_partial(table.column_names) if SKIPPED in table.column_names else ()
    return [
        field.name
        for field in table.schema
        if field.name not in (*OWN, truth, *BESIDE, *beside)
        and (pa.types.is_floating(field.type) or pa.types.is_integer(field.type) or pa.types.is_boolean(field.type))
    ]


def skipped_columns(table: pa.Table) -> dict[str, str]:
    """Columns of which rows skip the value, and so nobody can judge, with a sentence that says so."""
    return {
        name: f"{int(rows.sum()):,} of its values were skipped, as no rule needed them; `sds-hf score` and its option "
        "`all` computes them, or `add` those of one score"
        for name, rows in skipped_rows(table).items()
    }


def numbers(column: pa.ChunkedArray) -> np.ndarray:
    """(N,) float64, NaN for null."""
    return np.asarray(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False), np.float64)
