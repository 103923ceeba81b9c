"""Files and folders that appear whole and replace only their own, their digests, and where they may lie."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from sds_hf.errors import naming_full_disk

WORKSPACE = ".sds-hf"  # beside or in a folder while it is written
SCRATCH = "sds-hf-"  # folders of ours in the system's temporary one
BLOCK = 4096  # bytes of a sample


def write_whole(path: Path, content: str | Any) -> None:
    """Put a text, in UTF-8, or bytes under a name at once, and on the disk.

    Raises:
        OSError: if they cannot be written; what was there stays.
        ValueError: if the name is a link.
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
        ValueError: if the name is a link: what it leads to may be somebody else's.
    """
    if path.is_symlink():
        raise ValueError(f"{path} is a link, and nothing is written through it; put a file in its place")
    part = path.with_name(f"{WORKSPACE}-{_hash(path.name)}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            flush(file)
        part.replace(path)
    except OSError as error:
        why = f"cannot write {path}: {error.strerror or error}; what is finished stays"
        raise OSError(f"{why}, run the same command again to go on") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


@contextmanager
def one_writer(path: Path) -> Iterator[None]:
    """Be the only process of this machine that changes a file which is read and written anew; others wait."""
    lock = cache_folder("locks") / hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
    with ExitStack() as stack:
        with suppress(OSError, NotImplementedError):  # nowhere to lock
            lock.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(lock))
        yield


def is_part(path: Path) -> bool:
    """Whether a file is one of `whole_file` that was never finished."""
    return path.name.startswith(f"{WORKSPACE}-") and path.suffix == ".part"


def flush(file: IO[Any]) -> None:
    """See what was written onto the disk."""
    file.flush()
    os.fsync(file.fileno())


def check_own(folder: Path, names: Iterable[str], is_own: Callable[[Path], bool]) -> None:
    """The rule of all writers: what is there is replaced only if the writer wrote it and nobody has changed it.

    Args:
        folder: where is written.
        names: what is to be written.
        is_own: whether a file that is there is the writer's.

    Raises:
        ValueError: names the first file that is somebody else's, or a link.
    """
    for path in (folder / name for name in names):
        if path.is_symlink() or (path.exists() and not (path.is_file() and is_own(path))):
            what = "was not written by this command, or was changed since, and is not replaced"
            raise ValueError(f"{path} {what}: move it away or choose another name")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read once in this process as long as nothing of the file changes, see `identity_of`."""
    return _sha256(path.resolve(), identity_of(path))


@lru_cache(maxsize=4096)
def _sha256(path: Path, identity: str) -> str:
    return read_sha256(path)


def read_sha256(path: Path) -> str:
    """SHA-256 of a file, read now; a device or a pipe, which has no end, is an OSError."""
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is no regular file")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def identity_of(path: Path) -> str:
    """What changes when a file does: where it is, size, times, inode, and a sample of its bytes.

    A file that is replaced by another of the same size and time has another inode, or another time of change.

    Raises:
        OSError: if there is none, or it is a pipe or a device: to open a pipe waits for somebody who writes into it.
    """
    stat = path.stat()
    if not path.is_file():
        raise OSError(f"{path} is no regular file")
    times = f"{stat.st_mtime_ns}|{stat.st_ctime_ns}|{stat.st_ino}"
    return f"{path.resolve()}|{stat.st_size}|{times}|{sample_of(path, stat.st_size)}"


def sample_of(path: Path, size: int) -> str:
    """Digest of the beginning, the middle and the end of a file; of a small one, of all of it."""
    sample = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        for start in sorted({0, max(0, size // 2 - BLOCK // 2), max(0, size - BLOCK)}):
            file.seek(start)
            sample.update(file.read(BLOCK))
    return sample.hexdigest()[:16]


def remembered(kind: str, key: str, compute: Callable[[], str]) -> str:
    """A text of a kind that follows from a key (of files, their `identity_of`), computed once on this machine."""
    note = cache_folder(kind) / hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()
    with suppress(OSError, UnicodeDecodeError):
        text, end, rest = note.read_text(encoding="utf-8").partition("\n")
        if end and not rest:  # else the machine died before it was on the disk
            return text
    text = compute()
    with suppress(OSError):  # it is computed again
        note.parent.mkdir(parents=True, exist_ok=True)
        write_whole(note, f"{text}\n")
    return text


def cache_folder(kind: str) -> Path:
    """Where things of a kind are kept on this machine."""
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(caches) / "sds_hf" / kind


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder in the system's temporary one that goes in the end, or with the next one if this process is killed."""
    for left in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*/.lock"):
        with suppress(OSError, Timeout, NotImplementedError), FileLock(left, timeout=0):
            shutil.rmtree(left.parent, ignore_errors=True)  # nobody holds it
    with tempfile.TemporaryDirectory(prefix=SCRATCH, ignore_cleanup_errors=True) as name, ExitStack() as stack:
        unlocked, folder = Path(name) / ".unlocked", Path(name) / "files"
        with suppress(NotImplementedError):
            stack.enter_context(FileLock(unlocked))
            unlocked.rename(Path(name) / ".lock")  # locked from the moment it is there
        folder.mkdir()
        with naming_full_disk(folder, Path(name).parent):
            yield folder


@contextmanager
def new_folder(out: Path, replace: bool = False, own: Collection[str] | None = None) -> Iterator[Path]:
    """A folder whose content appears only when it is complete; whatever happens before, the old one stays.

    One that is not there appears at once. In one that is there its own files go, new ones come, all others stay.

    Args:
        out: its name; links are followed.
        replace: whether what is there may go.
        own: the files there that may go, by their paths in the folder; all if None.

    Raises:
        ValueError: if there is already something under that name, or another process is writing it.
    """
    out = named_folder(out)
    with _alone(out) as workspace:
        check_free(out, replace)
        part = workspace / "new"
        part.mkdir(parents=True)
        with naming_full_disk(part, out):
            yield part
        if out.exists():
            _swap(workspace, out, files_of(out) if own is None else own)
        else:
            part.rename(out)


def restore_folder(out: Path) -> None:
    """Bring back what was in a folder whose replacement was killed half-way.

    Raises:
        ValueError: if another process is writing it.
    """
    out = named_folder(out)
    if (out / WORKSPACE).exists():
        with _alone(out):
            pass


def named_folder(out: Path) -> Path:
    """The folder that a user's name stands for, where links lead.

    Raises:
        ValueError: if a link leads to itself.
    """
    try:
        return out.resolve()
    except (RuntimeError, OSError) as error:
        raise ValueError(f"{out} is a link that leads to itself; choose another folder") from error


def files_of(folder: Path, hidden: bool = False) -> list[str]:
    """Paths of the files in a folder, with or without those that are hidden."""
    paths = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file() or path.is_symlink())
    return [path.as_posix() for path in paths if hidden or not any(part.startswith(".") for part in path.parts)]


def _swap(workspace: Path, out: Path, own: Collection[str]) -> None:
    """Put the new files of a workspace into a folder, in the place of its own.

    The README, by which others load the folder, comes first and goes last: no part of the data looks like all of it.

    Raises:
        ValueError: if a new file would take the place of one that is not to go.
    """
    names = files_of(workspace / "new", hidden=True)
    check_own(out, names, lambda path: path in {out / name for name in own})
    _check_inside([*names, *own], out)
    write_whole(workspace / "names.txt", os.fsencode("\0".join(names)))
    (workspace / "old").mkdir()
    for name in sorted(own, key=lambda name: (name == "README.md", name)):
        if (out / name).exists() or (out / name).is_symlink():
            _move(out / name, workspace / "old" / name)
    for name in sorted(names, key=lambda name: (name != "README.md", name.endswith(".json"), name)):
        _move(workspace / "new" / name, out / name)
    shutil.rmtree(workspace / "old")
    for folder in {folder for name in own for folder in _folders_of(out / name, out)}:
        with suppress(OSError):  # not empty
            folder.rmdir()


def _move(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    path.rename(target)


def _folders_of(path: Path, out: Path) -> list[Path]:
    """The folders a file is in, inside of `out`, the innermost first."""
    return [folder for folder in path.parents if out in folder.parents]


def _check_inside(names: Iterable[str], *folders: Path) -> None:
    """Refuse files that lie elsewhere, as their name says or a link on the way to them: a ValueError names it."""
    for folder, name in [(folder, name) for name in names for folder in folders]:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"{name} lies outside of {folder}, and nothing is moved there")
        if linked := [path for path in (folder, *_folders_of(folder / name, folder)) if path.is_symlink()]:
            raise ValueError(f"{linked[0]} is a link, and nothing is written through it; put a folder in its place")


def _restore(workspace: Path, out: Path) -> None:
    """Undo what a killed process did of `_swap`, unless all the new files were in place.

    What is there may have come with somebody else's folder; a ValueError says if it leads out, or makes no sense.
    """
    old, new = workspace / "old", workspace / "new"
    _check_inside([""], workspace, old, new)
    if old.exists() and files_of(new, hidden=True):
        names = os.fsdecode((workspace / "names.txt").read_bytes()).split("\0")
        _check_inside([*names, *files_of(old, hidden=True)], out, old, new)
        for name in names:
            if (out / name).exists() and not (new / name).exists():
                _move(out / name, new / name)
        for name in files_of(old, hidden=True):
            _move(old / name, out / name)
    shutil.rmtree(workspace, ignore_errors=True)


def _workspace(out: Path) -> Path:
    """Where a folder is made: in it if it is there, else beside it; a name of its own however long the folder's is."""
    return out / WORKSPACE if out.is_dir() else out.with_name(f"{WORKSPACE}-{_hash(out.name)}")


def _hash(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:8]


@contextmanager
def _alone(out: Path) -> Iterator[Path]:
    """Be the only process that writes a folder; the workspace for it is removed in the end.

    Raises:
        ValueError: if there is another.
    """
    workspace = _workspace(out)
    path = workspace.with_name(f"{workspace.name}.lock")
    lock = FileLock(path, timeout=0)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with suppress(NotImplementedError):  # a file system without locks
            lock.acquire()
    except Timeout as error:
        raise ValueError(f"another process is writing {out}; wait for it or choose another folder") from error
    except OSError as error:
        raise OSError(f"cannot write {out}: {error.strerror}; choose another folder") from error
    try:
        _restore(workspace, out)
        try:
            yield workspace
        finally:
            _restore(workspace, out)
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def check_free(out: Path, replace: bool = False) -> None:
    """Refuse a name under which there is something already; what is hidden, as in a mounted volume, does not count.

    Raises:
        ValueError: says what.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; choose the name of a new folder")
    names = [path.name for path in out.iterdir()] if out.exists() and not replace else []
    if any(not name.startswith(".") and name != "lost+found" for name in names):
        raise ValueError(f"{out} is not empty; choose another folder or empty it first")


def is_remote(path: Path) -> bool:
    """Whether a folder is one of an object store: files appear there whole and cannot grow."""
    return getattr(path, "protocol", "") not in ("", "file", "local")
