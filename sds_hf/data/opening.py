"""Open whatever a user calls a dataset."""

import glob
import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar, cast

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import (
    Dataset,
    DatasetDict,
    Image,
    IterableDataset,
    IterableDatasetDict,
    concatenate_datasets,
    load_dataset,
    load_dataset_builder,
    load_from_disk,
)
from datasets.exceptions import DatasetGenerationError, SplitsVerificationError

from sds_hf.data.access.checks import (
    BUILT,
    CARDS,
    check_card,
    check_data_files,
    check_plain,
    check_saved,
    data_files_of,
    folder_builder,
    is_saved,
)
from sds_hf.data.access.origins import note_opened
from sds_hf.data.access.paths import NOWHERE
from sds_hf.data.access.prepared import prepare
from sds_hf.data.folder import source_features
from sds_hf.data.sources import READERS, make_reader
from sds_hf.data.sources.files import files_in
from sds_hf.data.sources.reader import Reader, Row
from sds_hf.files import identity_of, sample_of

logger = logging.getLogger(__name__)
T = TypeVar("T")
D = TypeVar("D", Dataset, IterableDataset)
# Names of the files of a sample in the tars of `webdataset`, by the column they become.
IN_TARS = {
    "id": ("__key__",),
    "image": (*(f"image.{kind}" for kind in ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "ppm")), "jpg", "jpeg"),
    "mask": ("mask.png", "seg.png", "png"),
    "caption": ("caption.txt", "txt"),
}
NEITHER = "no such folder here, and as a Hub dataset:"
HUB_SECONDS = 10  # a Hub that answers at all does so by then


def open_dataset(
    name: str | Path, split: str | None = None, config: str | None = None, revision: str | None = None, **options: Any
) -> Dataset:
    """A dataset from a folder, Parquet files or the Hub.

    Args:
        name: a folder that `load_dataset` or `load_from_disk` reads, a folder in a layout that a reader knows, a
            Parquet file or pattern, or a Hub id.
        split: which split, if there are several.
        config: which configuration, if there are several.
        revision: which version of a Hub dataset.
        **options: of the reader, e.g. `labels`.

    Raises:
        ValueError: if nothing is there, there are several splits and none is chosen, or a card names data files outside
            of its own folder or repository.
    """
    path = Path(name).expanduser()
    text = str(path) if str(name).startswith("~") else str(name)
    if path.is_dir():
        dataset_or_splits = _reading(text, lambda: _open_folder(path, split, config, options))
        return _one_split(dataset_or_splits, text, split, Dataset)
    if text.endswith(".parquet"):
        return _open_files(text, split)
    if path.exists():
        raise ValueError(f"{text} is a file; give a dataset's folder, Parquet files or a Hub id")
    if text.startswith((".", "/")) or text.count("/") > 1:
        raise ValueError(f"{text} does not exist")
    _check_hub(text)
    try:
        builder = _reading(text, lambda: _hub_builder(text, config, revision))
        return _one_split(_reading(text, lambda: _splits(builder, text, split)), text, split, Dataset)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot open {text}: {NEITHER} {_first_line(error)}") from error


def _open_files(pattern: str, split: str | None) -> Dataset:
    """Parquet files: an address, or those of a pattern."""
    if "://" in pattern:
        builder = _reading(pattern, lambda: load_dataset_builder("parquet", data_files=pattern))
        return _one_split(_reading(pattern, lambda: _splits(builder, pattern, split)), pattern, split, Dataset)
    files = [str(Path(file).resolve()) for file in _matching(pattern)]
    state = "\n".join(identity_of(Path(file)) for file in files)
    builder = _reading(pattern, lambda: prepare(lambda: load_dataset_builder("parquet", data_files=files), state))
    dataset = _one_split(_reading(pattern, lambda: _splits(builder, pattern, split)), pattern, split, Dataset)
    note_opened(Path(pattern).parent, [file["filename"] for file in dataset.cache_files])
    return dataset


def _matching(pattern: str) -> list[str]:
    """The files of a pattern, in order; a link among them may lead only into their folder, unless it is named itself.

    Raises:
        ValueError: if there are none, or a link leads elsewhere.
    """
    files = [pattern] if os.path.isfile(pattern) else sorted(glob.glob(pattern))
    if not files:
        raise ValueError(f"no file matches {pattern}")
    for file in files:
        check_plain(file)
    if files == [pattern]:
        return files
    folder = Path(*takewhile(lambda part: not glob.has_magic(part), Path(pattern).parts[:-1]))
    check_data_files(folder, files)
    return files


def open_stream(
    name: str | Path, split: str | None = None, config: str | None = None, revision: str | None = None
) -> IterableDataset:
    """A dataset that is read as it comes, never stored.

    Args:
        name: a folder that `load_dataset` or `load_from_disk` reads, Parquet files or tars of `webdataset` (files or
            patterns, also as URLs), a folder of such tars, or a Hub id.
        split: which split, if there are several.
        config: which configuration, if there are several.
        revision: which version of a Hub dataset.

    Raises:
        ValueError: see `open_dataset`.
    """
    path, text = Path(name).expanduser(), str(name)
    if path.is_dir() and any(path.glob("*.tar")):
        path = path / "*.tar"
    if path.suffix in (".tar", ".parquet"):
        files = text if "://" in text else _matching(str(path))
        kind = "webdataset" if path.suffix == ".tar" else "parquet"
        return _named(_one_split(load_dataset(kind, data_files=files, streaming=True), text, split, IterableDataset))
    if path.is_dir() and is_saved(path):
        check_saved(path)
        return _one_split(load_from_disk(str(path)), text, split, Dataset).to_iterable_dataset()
    if path.is_dir():
        builder = _reading(text, lambda: folder_builder(path, config))
        note_opened(path, data_files_of(builder))
    else:
        _check_hub(text)
        builder = _reading(text, lambda: _hub_builder(text, config, revision))
    return _one_split(_reading(text, builder.as_streaming_dataset), text, split, IterableDataset)


def _hub_builder(name: str, config: str | None, revision: str | None) -> Any:
    """What reads a dataset of the Hub, whose card names no data files outside of its repository."""
    from huggingface_hub import HfApi

    api, kept = HfApi(), (Path(datasets.config.HF_DATASETS_CACHE) / name.replace("/", "___")).exists()
    for card in CARDS:
        try:
            if not api.file_exists(name, card, repo_type="dataset", revision=revision):
                continue
            path = api.hf_hub_download(name, card, repo_type="dataset", revision=revision)
        except Exception:  # no network, in whatever way: what an earlier download left was checked then
            if not kept:
                raise
            continue
        check_card(Path(path).read_text(encoding="utf-8", errors="replace"), f"{name}/{card}")
    builder = load_dataset_builder(name, config, revision=revision)
    for file in data_files_of(builder):
        if not file.startswith(f"hf://datasets/{name}@"):
            NOWHERE.check_data_file(file)
    return builder


def _splits(builder: Any, name: str, split: str | None) -> Any:
    """The split of that name, or all splits that have rows, in the cache of `datasets`."""
    builder.download_and_prepare()
    splits = {key: info.num_examples for key, info in (builder.info.splits or {}).items()}
    if split is not None and split not in splits:
        raise ValueError(f"{name} has the splits {list(splits)}: choose one with split=...")
    if not any(splits.values()):
        raise ValueError(f"{name} has no rows")
    if split is not None and not splits[split]:
        raise ValueError(f"the split {split!r} of {name} has no rows")
    return DatasetDict({key: builder.as_dataset(split=key) for key, rows in splits.items() if rows})


def _named(stream: IterableDataset) -> IterableDataset:
    """The stream with the columns of tars as rows have them."""
    for name, feature in (stream.features or {}).items():
        if isinstance(feature, Image):  # renaming decoded images would encode them anew
            stream = stream.cast_column(name, Image(decode=False))
    names = stream.column_names or []
    stored_names = {column: next((name for name in IN_TARS[column] if name in names), column) for column in IN_TARS}
    return stream.rename_columns({name: new for new, name in stored_names.items() if name in names and name != new})


def _reading(name: str, read: Callable[[], T]) -> T:
    """What is read, or one line that says what cannot be.

    Raises:
        ValueError: names the dataset and, where it can be told, the file.
    """
    try:
        return read()
    except (DatasetGenerationError, pa.ArrowException) as error:
        raise ValueError(_trouble(name, error.__cause__ or error)) from error
    except SplitsVerificationError as error:
        raise ValueError(
            f"{name} has other rows than its README.md says, which some were added to or taken from since: remove "
            "`dataset_info` there, or make the folder anew"
        ) from error
    except RuntimeError as error:  # of `datasets`, about a loading script
        raise ValueError(
            f"cannot read {name}: {_first_line(error)}; its code is not run, give the data itself"
        ) from error


def _trouble(name: str, error: BaseException) -> str:
    """Why a dataset cannot be read: a Parquet file that is none, no rows, or what the error says."""
    path, rows = Path(name), []
    for file in sorted(path.rglob("*.parquet") if path.is_dir() else map(Path, glob.glob(name))):
        try:
            rows.append(pq.read_metadata(file).num_rows)
        except (pa.ArrowException, OSError) as broken:
            return f"cannot read {name}: {file}: {_first_line(broken)}"
    return f"{name} has no rows" if rows and not any(rows) else f"cannot read {name}: {_first_line(error)}"


def _check_hub(name: str) -> None:
    """Say at once that a dataset is not on the Hub, or that there is no Hub and no copy of it here.

    Raises:
        ValueError: says which.
    """
    from huggingface_hub import dataset_info
    from huggingface_hub.errors import HfHubHTTPError

    if (Path(datasets.config.HF_DATASETS_CACHE) / name.replace("/", "___")).exists():
        return  # of an earlier download, which serves where the Hub cannot be reached
    try:
        dataset_info(name, timeout=HUB_SECONDS)
    except (HfHubHTTPError, ValueError) as error:
        raise ValueError(f"cannot open {name}: {NEITHER} {_first_line(error)}") from error
    except Exception as error:  # of a network library that depends on the version of `huggingface_hub`
        raise ValueError(f"cannot open {name}: no such folder here, and the Hub cannot be reached") from error


def _open_folder(path: Path, split: str | None, config: str | None, options: dict[str, Any]) -> Any:
    if is_saved(path):
        check_saved(path)
        return load_from_disk(str(path))
    card = path / "README.md"
    described = card.is_file() and "\nconfigs:" in card.read_text(encoding="utf-8", errors="replace")
    if not described and any(reader.recognises(path) for reader in READERS.values()):
        # Some readers know splits; of the others, a raw folder is one.
        reader = make_reader("auto", path, **{**options, "split": split})
        # The state is part of the cache's key: a folder that has changed is read again.
        arguments = {"reader": reader, "state": folder_state(path, here=True)}
        return Dataset.from_generator(_rows, features=source_features(reader), gen_kwargs=arguments)
    if card.exists() or (path / BUILT).exists() or any(path.glob("**/*.parquet")):
        builder = prepare(lambda: folder_builder(path.resolve(), config), folder_state(path, here=True))
        splits = _splits(builder, str(path), split)
    elif arrow := sorted(path.glob("*.arrow")):
        splits = _cached(arrow)
    else:
        raise ValueError(f"{path} is no dataset: neither Parquet nor a layout of the readers {sorted(READERS)}")
    for dataset in splits.values():
        note_opened(path, [file["filename"] for file in dataset.cache_files])
    return splits


def _cached(files: Iterable[Path]) -> Any:
    """The splits of a folder of the cache of `datasets`: NAME-SPLIT.arrow, or NAME-SPLIT-00000-of-00002.arrow."""
    splits: dict[str, list[Dataset]] = {}
    for file in files:
        match = re.fullmatch(r".+?-([^-]+)(-\d{5}-of-\d{5})?", file.stem)
        if match and not file.name.startswith("cache-"):
            splits.setdefault(match[1], []).append(Dataset.from_file(str(file)))
    return DatasetDict({split: concatenate_datasets(parts) for split, parts in splits.items()})


def _rows(reader: Reader, state: str) -> Iterator[Row]:
    yield from reader.rows()
    for note in reader.notes():
        logger.warning("%s: %s", reader.path, note)


def folder_state(path: Path, here: bool = False, but: Path | None = None) -> str:
    """Digest of the names, sizes and times of all files of a folder and of samples of their bytes, wherever it lies.

    Args:
        path: the folder.
        here: whether the same files elsewhere are others; then nothing can change unnoticed, see `identity_of`.
        but: a folder in it that does not count.
    """
    digest = hashlib.sha256()
    for file in sorted(files_in(path)):
        if but is not None and but in file.parents:
            continue
        name, is_file = file.relative_to(path), file.is_file()
        stat = file.stat() if is_file else file.lstat()
        times = f"{stat.st_mtime_ns}|{identity_of(file)}" if here and is_file else str(stat.st_mtime_ns)
        sample = sample_of(file, stat.st_size) if is_file else ""
        digest.update(f"{name}|{stat.st_size}|{times}|{sample}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _one_split(dataset_or_splits: Any, name: str, split: str | None, kind: type[D]) -> D:
    if isinstance(dataset_or_splits, kind):
        return dataset_or_splits
    if not isinstance(dataset_or_splits, (DatasetDict, IterableDatasetDict)):
        raise ValueError(f"{name} holds a {type(dataset_or_splits).__name__}, not a dataset")
    if split is None and len(dataset_or_splits) == 1:
        return cast(D, next(iter(dataset_or_splits.values())))
    if split not in dataset_or_splits:
        raise ValueError(f"{name} has the splits {list(dataset_or_splits)}: choose one with split=...")
    return cast(D, dataset_or_splits[split])


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
