"""Copies that `datasets` keeps of local files: made anew when the files are others, whatever their times say."""

import hashlib
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import TypeVar

import datasets
from filelock import FileLock

from sds_hf.files import cache_folder, write_whole

T = TypeVar("T")
REUSE, ANEW = datasets.DownloadMode.REUSE_DATASET_IF_EXISTS, datasets.DownloadMode.FORCE_REDOWNLOAD


def load_prepared(name: str, state: str, load: Callable[[datasets.DownloadMode], T]) -> T:
    """What `load` gives, of a copy of files that are in this state.

    `datasets` tells files by their paths and times. A folder that was unpacked, synchronised or restored with the times
    of another one would be that other one for it.

    Args:
        name: what is loaded, and how.
        state: of the files, see `identity_of`.
        load: calls `load_dataset`, with this mode.
    """
    key = hashlib.sha256(f"{datasets.config.HF_DATASETS_CACHE}|{name}".encode(errors="surrogateescape")).hexdigest()
    note, state = cache_folder("prepared") / key, hashlib.sha256(state.encode(errors="surrogateescape")).hexdigest()
    with ExitStack() as stack:
        with suppress(OSError, NotImplementedError):  # without a cache nothing is known of copies
            note.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(note.with_suffix(".lock")))  # another process may make the copy just now
        is_known = note.is_file() and note.read_text(encoding="utf-8") == state
        loaded = load(REUSE if is_known else ANEW)
        with suppress(OSError):
            write_whole(note, state)
    return loaded
