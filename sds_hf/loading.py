"""Load a published selection and check it against its manifest."""

from pathlib import Path

from datasets import Dataset, load_dataset

from sds_hf.digests import sha256_of
from sds_hf.repository import MANIFEST, read_manifest


def load(name: str | Path, *, revision: str | None = None, token: str | None = None) -> Dataset:
    """A dataset published by sds-hf, pinned to one version and checked.

    Plain `load_dataset(name)` works too; this one refuses files that are not what the manifest says.

    Args:
        name: Hub id or folder.
        revision: tag, branch or commit on the Hub; the newest version if None.
        token: as in `huggingface_hub`.

    Returns:
        The split `train`.

    Raises:
        ValueError: if it was not made by sds-hf, or a file differs from its checksum.
    """
    folder = Path(name)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        patterns = ["data/*", "README.md", MANIFEST]
        folder = Path(
            snapshot_download(str(name), repo_type="dataset", revision=revision, token=token, allow_patterns=patterns)
        )
    manifest = read_manifest(folder / MANIFEST)
    if manifest is None:
        raise ValueError(
            f"{name} has no {MANIFEST} of sds-hf: it was not published by it; load it with datasets.load_dataset"
        )
    expected = {entry["path"]: entry for entry in manifest["files"] if entry["path"].startswith("data/")}
    for path, entry in expected.items():
        if not (folder / path).exists() or sha256_of(folder / path) != entry["sha256"]:
            raise ValueError(f"{name}: {path} is missing or differs from its checksum in {MANIFEST}; download it again")
    dataset = load_dataset("parquet", data_files=[str(folder / path) for path in expected], split="train")
    rows = sum(entry["rows"] for entry in expected.values())
    if len(dataset) != rows:
        raise ValueError(f"{name} has {len(dataset)} rows, its manifest says {rows}")
    return dataset
