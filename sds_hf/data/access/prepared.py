"""Copies that `datasets` keeps of local files: made anew when the files are others, whatever their times say."""

import hashlib
import shutil
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

from filelock import FileLock

from sds_hf.files import cache_folder, write_whole


def prepare(make_builder: Callable[[], Any], state: str) -> Any:
    """A builder of `datasets` whose copy is of files that are in this state.

    `datasets` tells files by their paths and times. A folder that was unpacked, synchronised or restored with the times
    of another one would be that other one for it.

    Args:
        make_builder: makes the builder.
        state: of the files, see `identity_of`.
    """
    builder = make_builder()
    note = cache_folder("prepared") / hashlib.sha256(builder.cache_dir.encode(errors="surrogateescape")).hexdigest()
    state = hashlib.sha256(state.encode(errors="surrogateescape")).hexdigest()
    with ExitStack() as stack:
        with suppress(OSError, NotImplementedError):  # without a cache nothing is known of copies
            note.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(note.with_suffix(".lock")))  # another process may make the copy just now
        if not note.is_file() or note.read_text(encoding="utf-8") != state:
            shutil.rmtree(builder.cache_dir, ignore_errors=True)
            builder = make_builder()  # the first one took what it knows from the old copy
        builder.download_and_prepare()
        with suppress(OSError):
            write_whole(note, state)
    return builder
