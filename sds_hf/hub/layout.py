"""How a published folder is laid out: the names of its parts, and the manifest with the checksums of its files."""

import json
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError, field_validator

from sds_hf.data.access.paths import PathError, read_file
from sds_hf.errors import one_line
from sds_hf.files import files_of, read_sha256, sha256_of, write_whole
from sds_hf.limits import read_json

CARD, MANIFEST, RECIPE, REPORT = "README.md", "manifest.json", "recipe.yaml", "report.json"
DATA, SCORES, ASSETS, EXPLORER = "data/", "scores/", "assets/", "explorer/"
CANDIDATES = f"{SCORES}candidates.parquet"  # scores and decisions of all
OUR_DATA = (f"{DATA}train-*", f"{SCORES}*.parquet")  # what the card's configurations take for our tables
MADE_BY = "sds-hf"
FORMAT = 1


class ManifestError(ValueError):
    """A manifest that is damaged or of a later version; what is damaged is not foreign."""


class Entry(BaseModel):
    """One file as the manifest lists it: path, SHA-256, bytes, and rows where it is a table."""

    path: str
    sha256: str
    size: int
    rows: int | None = None

    @field_validator("path")
    @classmethod
    def _inside(cls, path: str) -> str:
        if PurePosixPath(path).is_absolute() or {"..", "\\"} & {*PurePosixPath(path).parts, *path}:
            raise ValueError("leads out of the dataset")
        if any(
            part.startswith(".") for part in PurePosixPath(path).parts
        ):  # never published, so it is somebody else's: `.git/config`
            raise ValueError("is hidden, and no part of a dataset")
        return path


def write_manifest(folder: Path, rows: Mapping[str, int]) -> None:
    """List all files of a folder.

    Args:
        folder: with everything that is published.
        rows: of the tables, by path.
    """
    names = [name for name in files_of(folder) if name != MANIFEST]
    entries = [{"path": name, **_content(folder / name), "rows": rows.get(name)} for name in names]
    _save(folder, {"format": FORMAT, "made_by": MADE_BY, "files": entries})


def compare_listed(folder: Path, names: Collection[str]) -> dict[str, bool]:
    """Whether files are what the manifest lists; those that are not there, or that it does not list, are left out."""
    manifest = read_manifest(folder / MANIFEST) or {}
    listed = {entry["path"]: entry["sha256"] for entry in manifest.get("files", [])}
    there = [name for name in names if name in listed and (folder / name).exists()]
    return {name: read_sha256(folder / name) == listed[name] for name in there}


def renew_entry(folder: Path, name: str) -> None:
    """Bring the checksum and size of a file that was written anew into the manifest, if there is one."""
    manifest = read_manifest(folder / MANIFEST) or {}
    for entry in manifest.get("files", []):
        if entry["path"] == name and entry != (renewed := {**entry, **_content(folder / name)}):
            entry.update(renewed)
            _save(folder, manifest)


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest of a published folder; None if there is none or something else made it.

    Raises:
        ManifestError: if it is damaged, or a later version of sds-hf wrote it.
    """
    try:
        manifest = read_json(read_file(path)) if path.exists() else None
    except PathError as error:
        raise ManifestError(str(error)) from error
    except ValueError as error:
        raise ManifestError(f"{MANIFEST} is damaged: it is no JSON") from error
    if not isinstance(manifest, dict) or manifest.get("made_by") != MADE_BY:
        return None
    if manifest.get("format") != FORMAT:
        raise ManifestError(f"{MANIFEST} has the format {manifest.get('format')!r}, not {FORMAT}: update sds-hf")
    entries_of(manifest)  # refuses what makes no sense
    return manifest


def entries_of(manifest: Mapping[str, Any]) -> dict[str, Entry]:
    """What a manifest lists, by path.

    Raises:
        ManifestError: if it makes no sense.
    """
    try:
        listed = TypeAdapter(list[Entry]).validate_python(manifest.get("files"))
    except ValidationError as error:
        raise ManifestError(f"{MANIFEST} is damaged: {one_line(error, {})}") from error
    return {entry.path: entry for entry in listed}


def taken_for_ours(names: Collection[str]) -> list[str]:
    """Files that `load_dataset` would take for a part of our tables, whoever wrote them."""
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in OUR_DATA)]


def _content(path: Path) -> dict[str, Any]:
    return {"sha256": sha256_of(path), "size": path.stat().st_size}


def _save(folder: Path, manifest: Mapping[str, Any]) -> None:
    write_whole(folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")
