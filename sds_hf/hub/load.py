"""Load a published selection, pinned to one version and checked against its manifest."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sds_hf.files import sha256_of
from sds_hf.hub.layout import DATA, SCORES
from sds_hf.hub.snapshot import Snapshot, open_snapshot

if TYPE_CHECKING:
    from datasets import Dataset

Config = Literal["default", "scores"]
FOLDERS: dict[str, str] = {"default": DATA, "scores": SCORES}


def load(
    name: str | Path, config: Config = "default", *, revision: str | None = None, token: str | None = None
) -> "Dataset":
    """A dataset published by sds-hf, pinned to one version and checked.

    Plain `load_dataset(name)` works too; this one refuses files that are not what the manifest says. Only the files of
    the configuration are downloaded, and none anew that the cache of `huggingface_hub` has: what was loaded once can be
    loaded without a connection.

    Args:
        name: Hub id, with `@revision` if wanted, or folder.
        config: `"default"` is the selection, `"scores"` the scores of all candidates, the dropped too.
        revision: tag, branch or commit on the Hub; the newest version if None.
        token: as in `huggingface_hub`.

    Returns:
        The split `train`.

    Raises:
        ValueError: if there is no such dataset, version or configuration, it was not made by sds-hf, or a file differs
            from its checksum.

    Examples:
        >>> load("sds-mine").num_rows, load("sds-mine", "scores").num_rows
        (14, 24)
    """
    from datasets import load_dataset

    snapshot = open_snapshot(name, revision, token)
    paths, rows = checked_files(snapshot, config)
    # `datasets` tells its copies by path and time; the name makes it tell them by their content.
    content = hashlib.sha256("".join(map(sha256_of, paths)).encode()).hexdigest()
    files = [str(path) for path in paths]
    dataset = load_dataset("parquet", name=f"{config}-{content[:16]}", data_files=files, split="train")
    dataset.info.config_name = config
    if len(dataset) != rows:
        raise ValueError(f"{snapshot.title} has {len(dataset)} rows, its manifest says {rows}")
    return dataset


def checked_files(snapshot: Snapshot, config: str) -> tuple[list[Path], int]:
    """The Parquet files of a configuration on this machine, read and compared, and their rows by the manifest.

    Raises:
        ValueError: see `load`.
    """
    if config not in FOLDERS:
        raise ValueError(f"no configuration {config!r}; there are {list(FOLDERS)}")
    entries = [entry for entry in snapshot.entries().values() if entry.path.startswith(FOLDERS[config])]
    if not entries:
        raise ValueError(f"{snapshot.title} was published without {FOLDERS[config]}: there is nothing to load")
    return [snapshot.intact(entry) for entry in entries], sum(entry.rows or 0 for entry in entries)
