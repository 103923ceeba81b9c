"""Folders that may lie elsewhere, e.g. in an object store or in a bucket of the Hub."""

import hashlib
import shutil
from pathlib import Path
from typing import cast

from sds_hf.files import cache_folder


def folder_at(name: str | Path) -> Path:
    """A folder, also one elsewhere, e.g. `s3://bucket/scores`.

    Raises:
        ModuleNotFoundError: if what reads addresses is not installed; says how to.
    """
    if not isinstance(name, str) or "://" not in name:
        return Path(name)
    try:
        from sds_hf.data.access.bucket import remote_folder
    except ModuleNotFoundError as error:
        extra = "jobs" if name.startswith("hf://") else "ray"
        raise ModuleNotFoundError(f'{name} needs universal-pathlib: pip install "sds-hf[{extra}]"') from error
    return cast(Path, remote_folder(name))


def local_copy(folder: Path) -> Path:
    """The files of a remote folder, in the cache of this machine."""
    copy = cache_folder("tables") / hashlib.sha256(str(folder).encode()).hexdigest()
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy
