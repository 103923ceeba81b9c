"""Folders that appear, or are replaced, only when they are complete."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout


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
