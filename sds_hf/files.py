"""Files and folders that appear whole, their digests, and where they may lie: on this machine or in an object store."""

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, cast

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)


def write_whole(path: Path, content: str | Any) -> None:
    """Put a text, in UTF-8, or bytes under a name at once, and on the disk.

    Raises:
        OSError: if they cannot be written; what was there stays.
    """
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    if is_remote(path):
        path.write_bytes(bytes(data))
        return
    with whole_file(path) as file:
        file.write(data)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that appears under its name at once, when all is written and on the disk.

    Raises:
        OSError: if it cannot be written; what was there stays.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            flush(file)
        part.replace(path)
    except OSError as error:
        raise OSError(
            f"cannot write {path}: {error.strerror}; what is finished stays, run the same command again to go on"
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def flush(file: IO[Any]) -> None:
    """See what was written onto the disk."""
    file.flush()
    os.fsync(file.fileno())


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read once in this process as long as nothing of the file changes."""
    stat = path.stat()
    return _sha256(path.resolve(), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


@lru_cache(maxsize=4096)
def _sha256(path: Path, *state: int) -> str:
    return read_sha256(path)


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
        return note.read_text(encoding="utf-8")
    text = compute()
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_whole(note, text)
    except OSError:
        logger.debug("cannot remember digests in %s", note.parent)
    return text


def is_remembered(kind: str, key: str) -> bool:
    """Whether `remembered` would not have to compute."""
    return _note(kind, key).exists()


def cache_folder(kind: str) -> Path:
    """Where things of a kind are kept on this machine."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sds_hf" / kind


def _note(kind: str, key: str) -> Path:
    return cache_folder(kind) / hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()


@contextmanager
def new_folder(out: Path, replace: bool = False) -> Iterator[Path]:
    """A folder that appears under its name only when it is complete; whatever happens before, the old one stays.

    Args:
        out: its name.
        replace: whether a folder of that name may go.

    Raises:
        ValueError: if there is already something under that name, or another process is writing it.
    """
    out = out.absolute()
    part, old = _beside(out, "part"), _beside(out, "old")
    with _alone(out):
        _restore(out)
        check_free(out, replace)
        shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
        part.mkdir()
        try:
            yield part
            if out.exists():
                out.rename(old)
            part.rename(out)
        finally:
            _restore(out)
            shutil.rmtree(part, ignore_errors=True)


def restore_folder(out: Path) -> None:
    """Bring back a folder whose replacement was killed between its two last steps.

    Raises:
        ValueError: if another process is writing it.
    """
    out = out.absolute()
    if _beside(out, "old").exists():
        with _alone(out):
            _restore(out)


def _restore(out: Path) -> None:
    old = _beside(out, "old")
    if old.exists() and not out.exists():
        old.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _beside(out: Path, kind: str) -> Path:
    return out.with_name(f".{out.name}.{kind}")


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Be the only process that writes a folder.

    Raises:
        ValueError: if there is another.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    path = _beside(out, "lock")
    lock = FileLock(path, timeout=0)
    try:
        with suppress(NotImplementedError):  # a file system without locks
            lock.acquire()
    except Timeout as error:
        raise ValueError(f"another process is writing {out}; wait for it or choose another folder") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def check_free(out: Path, replace: bool = False) -> None:
    """Refuse a name under which there is something already.

    Raises:
        ValueError: says what.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; choose the name of a new folder")
    if out.exists() and any(out.iterdir()) and not replace:
        raise ValueError(f"{out} is not empty; choose another folder or delete it first")


def folder_at(name: str | Path) -> Path:
    """A folder, also one elsewhere, e.g. `s3://bucket/scores`.

    Raises:
        ModuleNotFoundError: if what reads addresses is not installed; says how to.
    """
    if not isinstance(name, str) or "://" not in name:
        return Path(name)
    try:
        from upath import UPath
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f'{name} needs universal-pathlib: pip install "sds-hf[ray]"') from error
    return cast(Path, UPath(name))


def is_remote(path: Path) -> bool:
    """Whether a folder is one of an object store: files appear there whole and cannot grow."""
    return getattr(path, "protocol", "") not in ("", "file", "local")


def local_copy(folder: Path) -> Path:
    """The files of a remote folder, in the cache of this machine."""
    copy = cache_folder("tables") / hashlib.sha256(str(folder).encode()).hexdigest()
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy
