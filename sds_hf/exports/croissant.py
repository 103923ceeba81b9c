"""Croissant metadata of a published dataset."""

import tempfile
from pathlib import Path

from sds_hf.croissant import render_croissant
from sds_hf.data.folder import Shard
from sds_hf.exports.base import export_format
from sds_hf.exports.samples import ExportError
from sds_hf.hub.layout import MANIFEST, read_manifest
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.report import Report

READ = (MANIFEST, "recipe.yaml", "report.json")


@export_format(
    "croissant", "croissant.json of a published dataset, with the fields for responsible AI", needs=(), of_files=True
)
def write_croissant(dataset: str, folder: Path) -> None:
    """Write `croissant.json`.

    Paths in it count from the published folder, into which it belongs; those of a repository on the Hub are addresses
    of the version that was looked at. Rows are not read.

    Args:
        dataset: a published folder, or a Hub id.
        folder: where to write.

    Raises:
        ExportError: if sds-hf did not publish it, or the Hub cannot be reached.
    """
    if Path(dataset).is_dir():
        text = _described(Path(dataset), dataset)
    else:
        with tempfile.TemporaryDirectory(prefix="sds-hf-") as scratch:
            address, revision = _fetch(dataset, Path(scratch))
            text = _described(Path(scratch), dataset, address, revision)
    (folder / "croissant.json").write_text(text, encoding="utf-8")


def _described(folder: Path, name: str, address: str | None = None, revision: str = "main") -> str:
    manifest = read_manifest(folder / MANIFEST)
    if manifest is None or not all((folder / file).exists() for file in READ):
        raise ExportError(f"{name} was not published by sds-hf: it needs {', '.join(READ)}")
    files = [
        Shard(entry["path"], entry["rows"], entry["size"], entry["sha256"])
        for entry in manifest["files"]
        if entry["rows"] is not None
    ]
    recipe, report = Recipe.load(folder / "recipe.yaml"), Report.load(folder / "report.json")
    return render_croissant(recipe, report, files, address, revision)


def _fetch(name: str, folder: Path) -> tuple[str, str]:
    """Get the small files of a repository; its address and commit."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi(library_name="sds-hf")
    try:
        revision = str(api.dataset_info(name).sha)
        api.snapshot_download(name, repo_type="dataset", revision=revision, local_dir=folder, allow_patterns=list(READ))
    except (HfHubHTTPError, ValueError) as error:
        line = str(error).strip().partition("\n")[0]
        raise ExportError(f"cannot open {name}: no such folder here, and as a Hub dataset: {line}") from error
    except Exception as error:  # of a network library that depends on the version of `huggingface_hub`
        raise ExportError(f"cannot open {name}: no such folder here, and the Hub cannot be reached") from error
    return f"{api.endpoint}/datasets/{name}", revision
