"""Files that data names: read only inside its own folder, or where the user allows it; addresses only if allowed.

The user's word is kept in the environment, so that worker processes have it too.
"""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sds_hf.errors import public_name

FOLDERS, ADDRESSES = "SDS_HF_ALLOW_PATH", "SDS_HF_ALLOW_URL"
MOST_BYTES = 1 << 30  # of one file
LOCAL = ("file", "local", "asynclocal", "asyncwrapper")  # protocols of fsspec for files of this machine
ARCHIVES = ("zip", "tar", "gzip", "bz2", "lz4", "xz", "zstd", "rar", "7z", "libarchive")  # files inside files


class PathError(ValueError):
    """A file that may not or cannot be read; the message names it and says why."""


@contextmanager
def allow_paths(*folders: str | Path, urls: bool = False) -> Iterator[None]:
    """Follow the paths in cells into these folders too, and to addresses if `urls`, as long as this context lasts.

    Args:
        folders: whatever lies in them may be read, and published if the row is.
        urls: whether cells may name addresses (`https://`, `hf://`, `s3://`); they are asked for with your credentials.

    Raises:
        ValueError: if one of them is no folder.

    Examples:
        >>> with allow_paths(".."):
        ...     dataset = add_scores(candidates, Boundary())
        ...
        >>> dataset.num_rows
        24
    """
    if lacking := [str(folder) for folder in folders if not Path(folder).is_dir()]:
        raise ValueError(f"{lacking[0]} is no folder, so no path in it can be allowed")
    if parted := [path for path in map(os.path.realpath, folders) if os.pathsep in path]:
        raise ValueError(f"the folder {parted[0]} has {os.pathsep!r} in it, which parts paths: give it another name")
    before = {name: os.environ.get(name) for name in (FOLDERS, ADDRESSES)}
    allowed = [*filter(None, (before[FOLDERS] or "").split(os.pathsep)), *(os.path.realpath(path) for path in folders)]
    os.environ[FOLDERS] = os.pathsep.join(allowed)
    if urls:
        os.environ[ADDRESSES] = "1"
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@dataclass(frozen=True)
class Reach:
    """Where the files may lie that data names.

    Attributes:
        folders: real paths; what lies in them may be read.
        addresses: beginnings of addresses.
        anywhere: whether the user wrote the paths: then they lead where they lead.
    """

    folders: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    anywhere: bool = False

    def __or__(self, other: "Reach") -> "Reach":
        """Both, without the trust in what the user wrote unless both have it."""
        folders = tuple(dict.fromkeys((*self.folders, *other.folders)))
        addresses = tuple(dict.fromkeys((*self.addresses, *other.addresses)))
        return Reach(folders, addresses, self.anywhere and other.anywhere)

    def read(self, name: str) -> bytes:
        """The bytes of a file, here or at an address; also one in an archive, as `zip://a.png::DIR/all.zip`.

        Raises:
            PathError: if it may not or cannot be read, or is too large.
        """
        *archives, target = name.split("::") if "://" in name else [name]
        if unknown := [part for part in archives if part.partition("://")[0] not in ARCHIVES or "://" not in part]:
            raise PathError(f"{shown(name)}: {shown(unknown[0])} is no archive that is read")
        protocol = target.partition("://")[0] if "://" in target else "file"
        if protocol in LOCAL:
            path = self.check(target.partition("://")[2] if "://" in target else target)
            return _from("::".join([*archives, str(path)]), name) if archives else read_file(path, name)
        self._check_address(target)
        return _from(name, name)

    def check(self, name: str | Path) -> Path:
        """The real path of a file that may be read.

        Raises:
            PathError: if it may not.
        """
        try:
            path = os.path.realpath(name)
        except ValueError as error:  # a NUL
            raise PathError(f"{str(name)!r} is no path: {error}") from error
        if self.anywhere or any(is_inside(path, folder) for folder in (*self.folders, *allowed_folders())):
            return Path(path)
        target = f", it leads to {path}" if os.path.islink(name) else ""
        raise PathError(
            f"{name} lies outside the dataset's own folder{target}, so it is not read; if you trust it, allow its "
            "folder with allow_paths"
        )

    def check_data_file(self, name: str) -> None:
        """Refuse a data file, or a pattern of some, that a card names and that lies elsewhere.

        Raises:
            PathError: says where.
        """
        target = name.rpartition("::")[2]
        if "://" in target and target.partition("://")[0] not in LOCAL:
            return self._check_address(target)
        path = os.path.expanduser(target.partition("://")[2] if "://" in target else target)
        is_pattern = "*" in path and not os.path.lexists(path)
        self.check(re.split(r"[*?\[]", path, maxsplit=1)[0] if is_pattern else path)
        if "://" not in target and os.path.exists(path) and not os.path.isfile(path):
            raise PathError(f"{path} is no regular file")
        return None

    def _check_address(self, name: str) -> None:
        inside = ".." not in name and "%" not in name and name.startswith(self.addresses)
        if not ((inside and self.addresses) or self.anywhere or allows_addresses()):
            raise PathError(
                f"{shown(name)} is an address, and none that data names is asked for; if you trust it, say so with "
                "allow_paths(urls=True)"
            )


NOWHERE, ANYWHERE = Reach(), Reach(anywhere=True)


@dataclass(frozen=True)
class Unreadable:
    """A cell in place of one that names a file which may not or cannot be read."""

    path: str
    reason: str


def allowed_folders() -> tuple[str, ...]:
    """Real paths of the folders that the user allows."""
    return _folders(os.environ.get(FOLDERS, ""))


@lru_cache(maxsize=8)
def _folders(text: str) -> tuple[str, ...]:
    return tuple(os.path.realpath(folder) for folder in text.split(os.pathsep) if folder)


def allows_addresses() -> bool:
    """Whether the user allows addresses."""
    return os.environ.get(ADDRESSES, "") not in ("", "0")


def is_inside(path: str, folder: str) -> bool:
    """Whether a real path is that of a folder, or of something in it."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def shown(name: str) -> str:
    """An address without user, password and query; another name as it is."""
    if "://" not in name:
        return name
    try:
        parts = urlsplit(name)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return name.partition("://")[0] + "://..."
    return f"{parts.scheme}://{host}{parts.path}"


def read_file(path: Path, name: str | Path | None = None) -> bytes:
    """The bytes of a regular file; of devices, pipes and the like nothing is read.

    Args:
        path: the file.
        name: what to call it in errors.

    Raises:
        PathError: if it is none, cannot be read or has more than `MOST_BYTES`.
    """
    name = name or path
    try:
        # A pipe without a writer would hold up whoever opens it.
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(number, "rb") as file:
            state = os.fstat(file.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise PathError(f"{name} is no regular file ({_kind(state.st_mode)})")
            if state.st_size > MOST_BYTES:
                raise PathError(f"{name} has {state.st_size:,} bytes; files in rows have at most {MOST_BYTES:,}")
            return file.read(state.st_size)  # what /proc has says a size of 0
    except OSError as error:
        raise PathError(f"cannot read {name}: {error.strerror or error}") from error


def _kind(mode: int) -> str:
    kinds = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    return next((kind for is_kind, kind in kinds.items() if is_kind(mode)), "a device")


def _from(address: str, name: str) -> bytes:
    """What lies at an address or in an archive.

    Raises:
        PathError: if it cannot be read or is too large.
    """
    from datasets.utils.file_utils import xopen

    try:
        with xopen(address, "rb") as file:
            data: bytes = file.read(MOST_BYTES + 1)
    except Exception as error:  # each protocol fails in its own ways
        reason = (str(error).strip().splitlines() or [""])[0] or type(error).__name__
        raise PathError(f"cannot read {shown(name)}: {reason}") from error
    if len(data) > MOST_BYTES:
        raise PathError(f"{shown(name)} has more than {MOST_BYTES:,} bytes")
    return data


def held(cell: Any, reach: Reach, is_picture: bool = False) -> Any:
    """A cell with the bytes of the files that it names, also in lists and structs; `Unreadable` in place of a file.

    Files are structs of `bytes` and `path`, as `datasets` stores images, audio, video and documents.

    Args:
        cell: as `pyarrow` gives it.
        reach: where the files may lie.
        is_picture: whether a text, or a struct of only one of both, is a file too.
    """
    try:
        return _held(cell, reach, is_picture)
    except RecursionError:
        return Unreadable("", "lists in lists, too deep to be read")


def _held(cell: Any, reach: Reach, is_picture: bool = False) -> Any:
    if isinstance(cell, str) and is_picture:
        cell = {"bytes": None, "path": cell}
    if isinstance(cell, list):
        return [_held(item, reach, is_picture) for item in cell]
    if not isinstance(cell, dict):
        return cell
    if set(cell) != {"bytes", "path"} and not (is_picture and set(cell) in ({"bytes"}, {"path"})):
        return {name: _held(item, reach) for name, item in cell.items()}
    path = cell.get("path")
    if cell.get("bytes") is not None or not path:
        return cell
    if not isinstance(path, str):
        return Unreadable(repr(path), f"{path!r} is no path")
    try:
        return {**cell, "bytes": reach.read(path)}
    except PathError as error:
        reason = str(error).replace(path, public_name(path) or path)  # others may be told, whatever it holds
        return Unreadable(path, reason)
