"""Score tables: Parquet shards of scores beside a dataset, with a manifest that says what made them."""

import hashlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

import sds_hf
from sds_hf.batches import Column, labels_of_features
from sds_hf.checkpoints import model_files, sha256_of
from sds_hf.device import current_device
from sds_hf.images import cell_bytes
from sds_hf.labels import LabelSpace, label_space
from sds_hf.score import READABLE, ClipScore, Score, all_columns, common_labels, score_cells
from sds_hf.scores.classes_present import ClassesPresent
from sds_hf.scores.pcs import PCS, aligned_scales

MANIFEST = "manifest.json"
FORMAT = 1
PACKAGES = ("sds-hf", "torch", "transformers", "datasets", "pyarrow", "pillow", "numpy")
Progress = Callable[[int, int], None]  # rows done so far, failures so far


class ScoreTable:
    """A finished score table.

    Columns: `id`, `row`, `classes_present`, `num_classes_present`, those of the scores, `status` (`ok` or `failed`) and
    `error`. A failed row has null scores and says why.

    Attributes:
        folder: where it lies.
        manifest: what `manifest.json` holds.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest

    @classmethod
    def load(cls, folder: str | Path) -> "ScoreTable":
        """The table in a folder.

        Raises:
            ValueError: if there is none, it is not finished, or a shard is not what the manifest says.
        """
        folder = Path(folder)
        manifest = _read_manifest(folder)
        if manifest is None:
            raise ValueError(f"{folder} holds no score table; make one with `sds-hf score DATASET --out {folder}`")
        if not manifest["complete"]:
            raise ValueError(f"the score table in {folder} is not finished; run the same `sds-hf score` again to go on")
        for shard in manifest["shards"]:
            path = folder / shard["path"]
            if not path.exists() or sha256_of(path) != shard["sha256"]:
                raise ValueError(
                    f"{path} is missing or not what {MANIFEST} says; delete it and run `sds-hf score` again"
                )
        return cls(folder, manifest)

    @property
    def paths(self) -> list[Path]:
        """The shards, in row order."""
        return [self.folder / shard["path"] for shard in self.manifest["shards"]]

    def to_arrow(self) -> pa.Table:
        """All rows in memory."""
        return pa.concat_tables(pq.read_table(path) for path in self.paths)

    def provenance(self) -> dict[str, Any]:
        """What a report says of where the scores come from."""
        return {
            name: self.manifest[name]
            for name in ("source", "scores", "models", "labels", "device", "notes", "versions")
        }


def score_table(
    dataset: Dataset,
    scores: Sequence[Score],
    out: str | Path,
    *,
    rows_per_shard: int = 1000,
    batch_size: int = 32,
    source: str = "",
    progress: Progress | None = None,
) -> ScoreTable:
    """Score a dataset into a folder of Parquet shards; run again, it goes on after the last finished shard.

    Args:
        dataset: with `image` and `mask` (or `classes` where no score needs the mask); `id` names the rows, which are
            numbered if it is missing.
        scores: what to compute; `classes_present` comes by itself.
        out: folder of the table.
        rows_per_shard: rows a shard, which is what an interrupted run can lose.
        batch_size: rows at a time; does not change the numbers.
        source: what to call the dataset in the manifest.
        progress: called after each batch.

    Raises:
        ValueError: if the folder holds a table of another request (it names the difference), ids repeat, a column is
            missing, the label space is not known or a model cannot be had.
    """
    out = Path(out)
    chosen = common_labels(scores)
    labels = label_space(chosen) if chosen != "auto" else labels_of_features(dataset.features)
    scores = [ClassesPresent(labels=chosen), *(score for score in scores if score.name != ClassesPresent.name)]
    if not len(dataset):
        raise ValueError(f"the dataset {source} has no rows")
    ids = _unique_ids(dataset)
    request = {
        "format": FORMAT,
        "source": {"name": source, "rows": len(dataset), "sha256": content_digest(dataset)},
        "scores": [{**score.identity(), "labels": labels.name} for score in scores],
        "labels": asdict(labels),
        "rows_per_shard": rows_per_shard,
    }
    _check_request(out, request)
    out.mkdir(parents=True, exist_ok=True)
    manifest = {**request, "complete": False, "shards": [], **_circumstances(scores)}
    _write_json(out / MANIFEST, manifest)
    count = -(-len(dataset) // rows_per_shard)
    failed = 0
    for shard in range(count):
        path = out / f"scores-{shard:05d}-of-{count:05d}.parquet"
        start, stop = shard * rows_per_shard, min((shard + 1) * rows_per_shard, len(dataset))
        if path.exists():
            table = pq.read_table(path, columns=["status"])
        else:
            table = _score_shard(dataset, ids, range(start, stop), scores, labels, batch_size, progress, failed)
            pq.write_table(table, path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)
        failed += sum(status == "failed" for status in table["status"].to_pylist())
        if progress:
            progress(stop, failed)
        manifest["shards"].append({"path": path.name, "rows": table.num_rows, "sha256": sha256_of(path)})
    manifest.update(complete=True, failed=failed)
    _write_json(out / MANIFEST, manifest)
    return ScoreTable(out, manifest)


def content_digest(dataset: Dataset) -> str:
    """SHA-256 of the ids, images, masks and classes of a dataset, in order: the same wherever the files lie."""
    digest = hashlib.sha256()
    columns = [name for name in READABLE if name in dataset.column_names]
    digest.update(json.dumps(columns).encode())
    stored = dataset.select_columns(columns).with_format("arrow")
    for start in range(0, len(dataset), 256):
        for row in stored[start : start + 256].to_pylist():
            for cell in row.values():
                data = cell_bytes(cell) if isinstance(cell, dict) else json.dumps(cell).encode()
                digest.update(len(data or b"").to_bytes(8, "little"))
                digest.update(data or b"")
    return digest.hexdigest()


def _score_shard(
    dataset: Dataset,
    ids: list[str],
    rows: range,
    scores: Sequence[Score],
    labels: LabelSpace,
    batch_size: int,
    progress: Progress | None,
    failed: int,
) -> pa.Table:
    stored = dataset.select_columns([name for name in READABLE if name in dataset.column_names]).with_format("arrow")
    parts = []
    for start in range(rows.start, rows.stop, batch_size):
        stop = min(start + batch_size, rows.stop)
        cells = {
            name: column.to_pylist()
            for name, column in zip(stored.column_names, stored[start:stop].columns, strict=True)
        }
        columns, errors = score_cells(scores, cells, labels)
        failed += len(errors)
        parts.append(_table(ids[start:stop], range(start, stop), scores, columns, errors))
        if progress:
            progress(stop, failed)
    return pa.concat_tables(parts)


def _table(
    ids: list[str], rows: range, scores: Sequence[Score], columns: dict[str, Column], errors: dict[int, str]
) -> pa.Table:
    places = range(len(rows))
    arrays = {"id": pa.array(ids, pa.string()), "row": pa.array(rows, pa.int64())}
    arrays |= {name: pa.array(list(columns[name]), dtype) for name, dtype in all_columns(scores).items()}
    arrays["status"] = pa.array(["failed" if place in errors else "ok" for place in places])
    arrays["error"] = pa.array([errors.get(place) for place in places], pa.string())
    return pa.table(arrays)


def _unique_ids(dataset: Dataset) -> list[str]:
    if "id" not in dataset.column_names:
        return [str(row) for row in range(len(dataset))]
    ids = [str(value) for value in dataset.select_columns(["id"]).with_format("arrow")[:]["id"].to_pylist()]
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        twice = next(value for value in ids if value in seen or seen.add(value))  # type: ignore[func-returns-value]
        raise ValueError(f"the id {twice!r} occurs more than once; scores are joined by id, so ids must be unique")
    return ids


def _circumstances(scores: Sequence[Score]) -> dict[str, Any]:
    """What is worth knowing of a run besides what was asked."""
    models, notes = {}, []
    for score in scores:
        if isinstance(score, ClipScore):
            found, encoder = model_files(score.model), score.encoder()
            models[score.model] = {
                "weights_sha256": found.weights_sha256,
                "digest": found.digest,
                "preprocessing": asdict(encoder.preprocessing),
            }
            if isinstance(score, PCS) and (aligned := aligned_scales(encoder, score.scales)):
                notes.append(f"pcs: the tiles of scales {aligned} are whole ViT patches, which weakens the score")
    versions = {name: importlib.metadata.version(name) for name in PACKAGES if name != "sds-hf"}
    return {
        "models": models,
        "notes": notes,
        "device": str(current_device()),
        "versions": {"sds-hf": sds_hf.__version__, "python": platform.python_version(), **versions},
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _check_request(out: Path, request: dict[str, Any]) -> None:
    """Refuse a folder whose table was asked for differently; name what differs."""
    manifest = _read_manifest(out)
    if manifest is None:
        return
    old, new = _flat({key: manifest.get(key) for key in request}), _flat(json.loads(json.dumps(request)))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name) and name != "source.name"]
    differing = [f"{name} is {_short(old.get(name))}, now {_short(new.get(name))}" for name in names]
    if differing:
        raise ValueError(
            f"{out} holds scores of another request ({'; '.join(differing[:3])}); choose another --out or delete it"
        )


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested JSON as dotted names: {"scores.pcs.seed": 0}."""
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in _flat(item, f"{name}.{key}" if name else key).items()}
    if isinstance(value, list) and value and all(isinstance(item, dict) and "score" in item for item in value):
        return {k: v for item in value for k, v in _flat(item, f"{name}.{item['score']}").items()}
    return {name: value}


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 40 else text[:36] + "..."


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    path = folder / MANIFEST
    manifest: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return manifest


def _write_json(path: Path, value: Any) -> None:
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(value, indent=2) + "\n")
    part.replace(path)
