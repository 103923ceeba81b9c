"""Where a dataset comes from, and so which files its cells may name.

`datasets` keeps of a dataset the Arrow files behind it. Those of a folder that `save_to_disk` wrote lie in that folder.
Those that a builder wrote lie in a cache, where nothing says what was read, except by what builder. So:

- paths in a dataset made in memory, or by the user's own generator, are the user's own words and lead anywhere;
- in a folder written by `save_to_disk` they may lead into that folder;
- builders such as `imagefolder` make the paths themselves, out of the folders they list: there they may lead;
- in all other data, e.g. Parquet, a stranger may have written them: they lead into the folder that was opened, if
  `open_dataset` opened it, and else nowhere.
"""

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from sds_hf.data.access.paths import ANYWHERE, NOWHERE, Reach, read_file
from sds_hf.limits import read_json, read_yaml

if TYPE_CHECKING:
    from datasets import Dataset

USER_CODE = "generator"
LISTING = ("imagefolder", "audiofolder", "videofolder", "pdffolder", "niftifolder", "meshfolder")

CARDS = ("README.md", ".huggingface.yaml")  # what may name data files
BUILT = "dataset_info.json"  # of a builder, or beside STATE of `save_to_disk`
STATES = ("state.json", "dataset_dict.json")  # of `save_to_disk`

_opened: dict[str, str] = {}  # by folder of Arrow or data files, the folder that `open_dataset` was given


def note_opened(folder: Path, files: Iterable[str]) -> None:
    """Note which folder it was that a user opened.

    Args:
        folder: its path.
        files: Arrow files that were made of it, or data files in it.
    """
    for file in files:
        _opened[os.path.dirname(file)] = os.path.realpath(folder)


def reach_of(dataset: Any) -> Reach:
    """Where files may lie that the cells of a dataset name.

    Args:
        dataset: a `Dataset`, a stream, that of a `MapCall`, or None if nobody knows: then nowhere.
    """
    from datasets import Dataset

    if dataset is None:
        return NOWHERE
    if not isinstance(dataset, Dataset):
        return _reach_of_stream(getattr(dataset, "_ex_iterable", dataset))
    if not dataset.cache_files:
        return _reach_in_memory(dataset)
    reaches = [
        _reach_of_arrow(folder, dataset) for folder in {os.path.dirname(f["filename"]) for f in dataset.cache_files}
    ]
    if _is_partly_in_memory(dataset):
        reaches.append(_reach_in_memory(dataset))
    return _joined(reaches)


def _reach_in_memory(dataset: "Dataset") -> Reach:
    return ANYWHERE if dataset.info.builder_name in (None, USER_CODE) else NOWHERE


def _joined(reaches: Iterable[Reach]) -> Reach:
    first, *others = reaches
    for other in others:
        first = first | other
    return first


def _is_partly_in_memory(dataset: "Dataset") -> bool:
    from datasets.table import ConcatenationTable, InMemoryTable

    blocks = dataset.data.blocks if isinstance(dataset.data, ConcatenationTable) else [[dataset.data]]
    return any(isinstance(block, InMemoryTable) for line in blocks for block in line)


def _reach_of_arrow(folder: str, dataset: "Dataset") -> Reach:
    """The reach of an Arrow file in a folder."""
    if folder in _opened:
        return Reach((_opened[folder],))
    builder = None if os.path.exists(os.path.join(folder, "state.json")) else _builder_of(folder)
    if builder == USER_CODE:
        return ANYWHERE
    if builder in LISTING:
        return Reach(tuple(_listed_folders(dataset)))
    return Reach((os.path.realpath(folder),))


def _builder_of(folder: str) -> str | None:
    """The builder that wrote a folder of the cache."""
    try:
        info = json.loads(Path(folder, "dataset_info.json").read_text(encoding="utf-8"))
        name = info.get("builder_name")
        return name if isinstance(name, str) else None
    except (OSError, ValueError, AttributeError, RecursionError):
        return None


def _listed_folders(dataset: "Dataset") -> Iterator[str]:
    """The folders of the files in columns that a builder such as `imagefolder` made."""
    from datasets import Image

    for name, feature in dataset.features.items():
        column = dataset.data.column(name)
        if isinstance(feature, Image) and pa.types.is_struct(column.type):
            paths = pc.struct_field(column, "path").combine_chunks().drop_null()
            folders = pc.unique(pc.replace_substring_regex(paths, r"[^/\\]*$", ""))
            yield from (_with_blobs(os.path.realpath(folder)) for folder in folders.to_pylist() if folder)


def _with_blobs(folder: str) -> str:
    """A folder, or all of a repository in the cache of the Hub, whose files are links to others of it."""
    from huggingface_hub.constants import HF_HUB_CACHE

    cache = os.path.realpath(HF_HUB_CACHE) + os.sep
    return cache + folder[len(cache) :].split(os.sep)[0] if folder.startswith(cache) else folder


def _reach_of_stream(examples: Any) -> Reach:
    """The reach of the source at the end of a stream's chain."""
    from datasets import Dataset

    inner = [getattr(examples, "ex_iterable", None), *(getattr(examples, "ex_iterables", None) or ())]
    if inner := [one for one in inner if one is not None]:
        return _joined(map(_reach_of_stream, inner))
    kwargs = getattr(examples, "kwargs", None) or {}
    if datasets := [shard for shard in kwargs.get("shards", ()) if isinstance(shard, Dataset)]:
        return _joined(map(reach_of, datasets))
    function = getattr(examples, "generate_examples_fn", None) or getattr(examples, "generate_tables_fn", None)
    builder = getattr(function, "__self__", None)
    config = getattr(builder, "config", None)
    if getattr(builder, "name", None) == USER_CODE:
        return ANYWHERE
    files = [str(file) for split in (getattr(config, "data_files", None) or {}).values() for file in split]
    folders = {os.path.dirname(file) for file in files}
    return Reach(
        tuple(os.path.realpath(_opened.get(folder, folder)) for folder in folders if "://" not in folder),
        tuple(_repository(folder) for folder in folders if "://" in folder and "::" not in folder),
    )


def _repository(address: str) -> str:
    """Where the files of a data file's own repository are, or those beside it."""
    parts = address.split("/")
    if address.startswith("hf://") and len(parts) > 4 and "@" in parts[4]:  # hf://datasets/user/name@commit
        return "/".join(parts[:5]) + "/"
    return address + "/"


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote a folder."""
    return any((folder / name).exists() for name in STATES)


def check_saved(folder: Path) -> None:
    """Refuse a folder of `save_to_disk` that names Arrow files outside of it.

    Raises:
        PathError: names the file.
    """
    for state in [*folder.glob("state.json"), *folder.glob("*/state.json")]:
        listed = read_json(read_file(state), str(state))
        for entry in (listed.get("_data_files") if isinstance(listed, dict) else None) or ():
            Reach((os.path.realpath(folder),)).check(state.parent / str(entry["filename"]))


def folder_builder(folder: Path, config: str | None = None) -> Any:
    """What reads a folder as `load_dataset` does, if its card names no data files outside of it.

    Raises:
        PathError: if it does; names the file.
    """
    from datasets import load_dataset_builder

    for name in CARDS:
        if os.path.lexists(folder / name):
            check_card(read_file(folder / name).decode("utf-8", "replace"), str(folder / name), Path(folder))
    builder = load_dataset_builder(str(folder.absolute()), config)
    reach = Reach((os.path.realpath(folder),))
    for file in data_files_of(builder):
        reach.check_data_file(file)
    return builder


def data_files_of(builder: Any) -> list[str]:
    """The data files that a builder of `datasets` reads."""
    return [str(file) for files in (builder.config.data_files or {}).values() for file in files]


def check_card(text: str, name: str, folder: Path | None = None) -> None:
    """Refuse a card whose configurations name data files outside of its own folder or repository.

    It is done before `datasets` sees the card, since that asks for every address in it.

    Args:
        text: a card with YAML between two lines `---`, or YAML alone.
        name: what to call it in errors.
        folder: that it lies in, if it is one of this machine.

    Raises:
        PathError: names the file.
    """
    from huggingface_hub.repocard import REGEX_YAML_BLOCK  # what `datasets` takes for the front, to the last blank

    front = REGEX_YAML_BLOCK.search(text)
    data = read_yaml(text if name.endswith(CARDS[1]) else front[2] if front else "", name)
    configs = data.get("configs") if isinstance(data, dict) else None
    reach = Reach((os.path.realpath(folder),) if folder else ())
    for pattern in _texts(configs):
        if "://" in pattern or "::" in pattern or ".." in re.split(r"[/\\]", pattern) or _is_absolute(pattern):
            reach.check_data_file(pattern)


def _is_absolute(pattern: str) -> bool:
    return os.path.isabs(pattern) or pattern.startswith(("~", "\\")) or bool(re.match(r"[A-Za-z]:", pattern))


def _texts(configs: Any) -> Iterator[str]:
    """The patterns that configurations name."""
    waiting = [
        config.get(key)
        for config in (configs if isinstance(configs, list) else ())
        for key in ("data_files", "data_dir")
        if isinstance(config, dict)
    ]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, (dict, list)):
            waiting += value.values() if isinstance(value, dict) else value


@dataclass(frozen=True)
class MapCall:
    """The call of `map` that a function is in.

    Attributes:
        dataset: the `Dataset`, or of a stream the source of its rows.
        table: the rows of the batch as they are stored; None while `map` only hashes the function, and in streams.
        batched: whether the function gets several rows at a time.
        formatter: an object that lives as long as the call; None in streams.
        rank: of this process among several.
        removed: columns that are not to come out.
    """

    dataset: Any
    table: pa.Table | None = None
    batched: bool = True
    formatter: Any = None
    rank: int | None = None
    removed: tuple[str, ...] = ()

    @property
    def is_stream(self) -> bool:
        """Whether rows come one after another and nobody knows how many."""
        return not hasattr(self.dataset, "cache_files")


def map_call() -> MapCall | None:
    """The call of `map` that is on its way, None if there is none.

    `datasets` hands a function rows and says nothing of where they are from, and in some formats not what is stored;
    its own frames know both.
    """
    table = None
    for frame in _frames():
        names = frame.f_locals
        table = names.get("pa_inputs") if table is None else table
        if frame.f_code.co_name == "_map_single" and "shard" in names:
            call = (names.get(name) for name in ("batched", "input_formatter", "rank", "remove_columns"))
            batched, formatter, rank, removed = call
            return MapCall(names["shard"], table, bool(batched), formatter, rank, tuple(removed or ()))
        self = names.get("self")
        if frame.f_code.co_name == "map" and hasattr(self, "cache_files"):
            return MapCall(self)
        if hasattr(self, "ex_iterable"):
            return MapCall(self, batched=bool(getattr(self, "batched", True)))
    return None


def _frames() -> Iterator[FrameType]:
    """The frames of `datasets` that this is called from, the innermost first."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("datasets."):
            yield frame
        frame = frame.f_back
