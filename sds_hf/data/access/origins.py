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

from sds_hf.data.access.paths import ANYWHERE, NOWHERE, Reach, is_inside

if TYPE_CHECKING:
    from datasets import Dataset

USER_CODE = "generator"
LISTING = ("imagefolder", "audiofolder", "videofolder", "pdffolder", "niftifolder", "meshfolder")

CACHED = re.compile("(datasets|models)--")  # folders of repositories in a cache of the Hub
STATE = "state.json"  # of `save_to_disk`

_opened: dict[str, str] = {}  # by folder of Arrow or data files, the folder that `open_dataset` was given


def note_opened(folder: Path, files: Iterable[str]) -> None:
    """Note which folder it was that a user opened.

    Args:
        folder: its path.
        files: Arrow files that were made of it, or data files in it.
    """
    for file in files:
        _opened[os.path.dirname(file)] = own_folder(folder)


def own_folder(folder: str | Path) -> str:
    """The real path of a folder; of one in a cache of the Hub that of all the repository, to whose files links lead."""
    path = Path(os.path.realpath(folder))
    for inner in (path, *path.parents):
        if inner.name == "snapshots" and CACHED.match(inner.parent.name):
            return str(inner.parent)
    return str(path)


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
        return _reach_into(_opened[folder])
    builder = None if os.path.exists(os.path.join(folder, STATE)) else _builder_of(folder)
    if builder == USER_CODE and _is_of_this_user(folder, dataset):
        return ANYWHERE
    if builder in LISTING:
        return Reach(tuple(_listed_folders(dataset)))
    return _reach_into(own_folder(folder))


def _reach_into(*folders: str) -> Reach:
    """The reach of what lies in folders, without those in which all that is the user's lies: the home, and above."""
    home = os.path.realpath(os.path.expanduser("~"))
    return Reach(tuple(folder for folder in folders if not is_inside(home, folder)))


def _is_of_this_user(folder: str, dataset: "Dataset") -> bool:
    """Whether a generator that a folder names was run here: what the folder itself says may be a stranger's word."""
    from datasets.config import HF_DATASETS_CACHE

    is_cached = is_inside(os.path.realpath(folder), os.path.realpath(HF_DATASETS_CACHE))
    return is_cached or dataset.info.builder_name == USER_CODE


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
            yield from (own_folder(folder) for folder in folders.to_pylist() if folder)


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
    addresses = tuple(_repository(folder) for folder in folders if "://" in folder and "::" not in folder)
    local = (_opened.get(folder) or own_folder(folder) for folder in folders if "://" not in folder)
    return _reach_into(*local) | Reach(addresses=addresses)


def _repository(address: str) -> str:
    """Where the files of a data file's own repository are, or those beside it."""
    parts = address.split("/")
    if address.startswith("hf://") and len(parts) > 4 and "@" in parts[4]:  # hf://datasets/user/name@commit
        return "/".join(parts[:5]) + "/"
    return address + "/"


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
