"""Folders that may lie elsewhere, e.g. in an object store or in a bucket of the Hub."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from sds_hf.files import cache_folder, is_remote


def folder_at(name: str | Path) -> Path:
    """A folder, also one elsewhere, e.g. `s3://bucket/scores`.

    Raises:
        ModuleNotFoundError: if what reads addresses is not installed; says how to.
    """
    if not isinstance(name, str):
        return name  # one of a store is no `Path`
    if "://" not in name:
        return Path(name)
    try:
        from sds_hf.data.access.bucket import remote_folder
    except ModuleNotFoundError as error:
        extra = "jobs" if name.startswith("hf://") else "ray"
        raise ModuleNotFoundError(f'{name} needs universal-pathlib: pip install "sds-hf[{extra}]"') from error
    return cast(Path, remote_folder(name))


@contextmanager
def reaching(folder: Path) -> Iterator[None]:
    """Inside it, whatever a store fails with is one line.

    Raises:
        OSError: names the folder and the reason.
    """
    try:
        yield
    except Exception as error:  # each store fails in its own ways
        if not is_remote(folder):
            raise
        reason = (str(error).strip().splitlines() or [""])[0] or type(error).__name__
        raise OSError(
            f"cannot reach {folder}: {reason}; look at the address, the network and the credentials"
        ) from error


def local_copy(folder: Path) -> Path:
    """The files of a remote folder, in the cache of this machine.

    Raises:
        OSError: if the folder cannot be reached.
    """
    copy = cache_folder("tables") / hashlib.sha256(str(folder).encode()).hexdigest()
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    with reaching(folder):
        for path in folder.iterdir():
            (copy / path.name).write_bytes(path.read_bytes())
    return copy
