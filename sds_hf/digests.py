"""SHA-256 of files and of what takes long to read, remembered on disk."""

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file; remembered on disk by path, size and time, so that large weights are read once."""
    return remembered("sha256", identity_of(path), lambda: read_sha256(path))


def read_sha256(path: Path) -> str:
    """SHA-256 of a file, read now."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def identity_of(path: Path) -> str:
    """Where a file is, its size and its time: what changes when the file does.

    Raises:
        OSError: if there is none.
    """
    stat = path.stat()
    return f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"


def remembered(kind: str, key: str, compute: Callable[[], str]) -> str:
    """A text that follows from a key, computed once on this machine.

    Args:
        kind: what is computed; a folder of the cache.
        key: everything the text depends on.
        compute: makes it.
    """
    note = _note(kind, key)
    if note.exists():
        return note.read_text()
    text = compute()
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        part = note.with_suffix(f".{os.getpid()}")
        part.write_text(text)
        part.replace(note)
    except OSError:
        logger.debug("cannot remember digests in %s", note.parent)
    return text


def is_remembered(kind: str, key: str) -> bool:
    """Whether `remembered` would not have to compute."""
    return _note(kind, key).exists()


def cache_folder(kind: str) -> Path:
    """Where things of a kind are kept on this machine."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sds_hf" / kind


def _note(kind: str, key: str) -> Path:
    return cache_folder(kind) / hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()
