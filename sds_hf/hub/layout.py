"""How a published folder is laid out: the names of its parts, and the manifest with the checksums of its files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sds_hf.files import sha256_of, write_whole

CARD, MANIFEST = "README.md", "manifest.json"
DATA, SCORES, ASSETS = "data/", "scores/", "assets/"
CANDIDATES = f"{SCORES}candidates.parquet"  # scores and decisions of all
MADE_BY = "sds-hf"


def write_manifest(folder: Path, rows: Mapping[str, int]) -> None:
    """List all files of a folder.

    Args:
        folder: with everything that is published.
        rows: of the tables, by path.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    names = [path.relative_to(folder).as_posix() for path in paths]
    entries = [{"path": name, **_content(folder / name), "rows": rows.get(name)} for name in names]
    _save(folder, {"format": 1, "made_by": MADE_BY, "files": entries})


def renew_entry(folder: Path, name: str) -> None:
    """Bring the checksum and size of a file that has changed into the manifest, if there is one."""
    manifest = read_manifest(folder / MANIFEST) or {}
    for entry in manifest.get("files", []):
        if entry["path"] == name and entry != (renewed := {**entry, **_content(folder / name)}):
            entry.update(renewed)
            _save(folder, manifest)


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest of a published folder; None if there is none or something else made it."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("made_by") == MADE_BY else None


def _content(path: Path) -> dict[str, Any]:
    return {"sha256": sha256_of(path), "size": path.stat().st_size}


def _save(folder: Path, manifest: Mapping[str, Any]) -> None:
    write_whole(folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")
