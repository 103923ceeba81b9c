"""What a score table is made of: the request, how it was carried out, and the file that says so."""

import hashlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datasets import Dataset

import sds_hf
from sds_hf.checkpoints import model_files
from sds_hf.device import current_device
from sds_hf.images import cell_bytes
from sds_hf.labels import LabelSpace
from sds_hf.score import READABLE, ClipScore, Score
from sds_hf.scores.pcs import PCS, aligned_scales

MANIFEST = "manifest.json"
FORMAT = 1
PACKAGES = ("torch", "transformers", "datasets", "pyarrow", "pillow", "numpy")


def request(
    dataset: Dataset, scores: Sequence[Score], labels: LabelSpace, rows_per_shard: int, source: str
) -> dict[str, Any]:
    """Everything that decides what is in the shards; see `score_table`."""
    return {
        "format": FORMAT,
        "source": {"name": source, "rows": len(dataset), "sha256": content_digest(dataset)},
        "scores": [{**score.identity(), "labels": labels.name} for score in scores],
        "labels": asdict(labels),
        "rows_per_shard": rows_per_shard,
    }


def content_digest(dataset: Dataset) -> str:
    """SHA-256 of the ids, images, masks and classes of a dataset, in order: the same wherever the files lie."""
    digest = hashlib.sha256()
    columns = [name for name in READABLE if name in dataset.column_names]
    digest.update(json.dumps(columns).encode())
    stored = dataset.select_columns(columns).with_format("arrow")
    for start in range(0, len(dataset), 256):
        for row in stored[start : start + 256].to_pylist():
            for cell in row.values():
                data = _content(cell)
                digest.update(len(data).to_bytes(8, "little"))
                digest.update(data)
    return digest.hexdigest()


def _content(cell: Any) -> bytes:
    try:
        return (cell_bytes(cell) if isinstance(cell, dict) else json.dumps(cell).encode()) or b""
    except OSError:  # a file that cannot be read is its row's failure, not the table's
        return b""


def circumstances(scores: Sequence[Score]) -> dict[str, Any]:
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
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "models": models,
        "notes": notes,
        "device": str(current_device()),
        "versions": {"sds-hf": sds_hf.__version__, "python": platform.python_version(), **versions},
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def check_request(out: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """What is known of an unfinished or finished table of the same request in the folder, by shard.

    Raises:
        ValueError: if the folder holds scores of another request; names what differs.
    """
    manifest = read_manifest(out)
    if manifest is None:
        if any(out.glob("scores-*.parquet")):
            raise ValueError(f"{out} holds scores without {MANIFEST}; choose another --out or delete it")
        return {}
    old, new = _flat({key: manifest.get(key) for key in asked}), _flat(json.loads(json.dumps(asked)))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name) and name != "source.name"]
    differing = [f"{name} is {_short(old.get(name))}, now {_short(new.get(name))}" for name in names]
    if differing:
        raise ValueError(
            f"{out} holds scores of another request ({'; '.join(differing[:3])}); choose another --out or delete it"
        )
    return {shard["path"]: shard for shard in manifest["shards"]}


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


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder, None if there is none."""
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
        return manifest | {}
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is no manifest of sds-hf: choose another folder or move it away") from error


def write_manifest(folder: Path, value: dict[str, Any]) -> None:
    """Replace the manifest of a folder at once."""
    path = folder / MANIFEST
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(value, indent=2) + "\n")
    part.replace(path)
