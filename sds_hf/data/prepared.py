"""Copies that `datasets` keeps of local files: made anew when the files are others, whatever their times say."""

import hashlib
import json
import shutil
from contextlib import ExitStack, suppress
from typing import Any

import datasets
from filelock import FileLock

from sds_hf.files import cache_folder, write_whole


def load_prepared(state: str, *what: Any, **options: Any) -> Any:
    """What `load_dataset` gives, of a copy of files that are in this state.

    `datasets` tells files by their paths and times. A folder that was unpacked, synchronised or restored with the times
    of another one would be that other one for it.

    Args:
        state: of the files, see `identity_of`.
        *what: arguments of `load_dataset`.
        **options: further ones.
    """
    key = json.dumps([datasets.config.HF_DATASETS_CACHE, what, options], default=str)
    note = cache_folder("prepared") / hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()
    state = hashlib.sha256(state.encode(errors="surrogateescape")).hexdigest()
    with ExitStack() as stack:
        with suppress(OSError, NotImplementedError):  # without a cache nothing is known of copies
            note.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(note.with_suffix(".lock")))  # another process may make the copy just now
        if not note.is_file() or note.read_text(encoding="utf-8") != state:
            shutil.rmtree(datasets.load_dataset_builder(*what, **options).cache_dir, ignore_errors=True)
        loaded = datasets.load_dataset(*what, **options)
        with suppress(OSError):
            write_whole(note, state)
    return loaded
