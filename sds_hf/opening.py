"""Open whatever a user calls a dataset."""

import glob
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, load_dataset, load_from_disk
from datasets.exceptions import DatasetGenerationError

from sds_hf.datafolder import row_features
from sds_hf.sources import READERS, make_reader
from sds_hf.sources.reader import Reader, Row


def open_dataset(name: str | Path, split: str | None = None, **options: Any) -> Dataset:
    """A dataset from a folder, Parquet files or the Hub.

    Args:
        name: a folder that `load_dataset` or `load_from_disk` reads, a folder in a layout that a reader knows, a
            Parquet file or pattern, or a Hub id.
        split: which split, if there are several.
        **options: of the reader, e.g. `labels`.

    Raises:
        ValueError: if nothing is there, or there are several splits and none is chosen.
    """
    path = Path(name).expanduser()
    text = str(path) if str(name).startswith("~") else str(name)
    if path.is_dir():
        try:
            return _one_split(_open_folder(path, options), text, split)
        except DatasetGenerationError as error:
            raise ValueError(f"cannot read {text}: {_first_line(error.__cause__ or error)}") from error
    if text.endswith(".parquet"):
        files = sorted(glob.glob(text))
        if not files:
            raise ValueError(f"no file matches {text}")
        return _one_split(load_dataset("parquet", data_files=files), text, split)
    if text.startswith((".", "/")) or text.count("/") > 1:
        raise ValueError(f"{text} does not exist")
    try:
        return _one_split(load_dataset(text), text, split)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"cannot open {text}: no such folder here, and as a Hub dataset: {_first_line(error)}"
        ) from error


def _open_folder(path: Path, options: dict[str, Any]) -> Any:
    if (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists():
        return load_from_disk(str(path))
    card = path / "README.md"
    described = card.exists() and "\nconfigs:" in card.read_text(errors="replace")
    if not described and any(reader.recognises(path) for reader in READERS.values()):
        reader = make_reader("auto", path, **options)
        # The state is part of the cache's key: a folder that has changed is read again.
        given = {"reader": reader, "state": _state(path)}
        return Dataset.from_generator(_rows, features=row_features(reader.labels), gen_kwargs=given)
    if card.exists() or any(path.glob("**/*.parquet")):
        return load_dataset(str(path))
    raise ValueError(f"{path} is no dataset: neither Parquet nor a layout of the readers {sorted(READERS)}")


def _rows(reader: Reader, state: str) -> Iterator[Row]:
    return reader.rows()


def _state(path: Path) -> str:
    """Digest of the names, sizes and times of all files of a folder."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        stat = file.stat()
        digest.update(f"{file}|{stat.st_size}|{stat.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _one_split(found: Any, name: str, split: str | None) -> Dataset:
    if isinstance(found, Dataset):
        return found
    if not isinstance(found, DatasetDict):
        raise ValueError(f"{name} holds a {type(found).__name__}, not a dataset")
    if split is None and len(found) == 1:
        return next(iter(found.values()))
    if split not in found:
        raise ValueError(f"{name} has the splits {list(found)}: choose one with --split")
    return found[split]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
