"""Where a table lies: a folder here, or one of an object store, by the address that fsspec knows."""

import hashlib
import shutil
from pathlib import Path
from typing import cast

from sds_hf.digests import cache_folder


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
