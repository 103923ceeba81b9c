"""The client of the Hub: requests that end in time, the files of a dataset at a commit, and copies of them here."""

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from sds_hf.errors import public_name
from sds_hf.files import sha256_of
from sds_hf.hub.limits import limit_requests
from sds_hf.hub.retry import failures


@dataclass(frozen=True)
class Stored:
    """One file as it is stored.

    Attributes:
        size: in bytes.
        sha256: what the Hub keeps of large files, so that nothing is read for it; None of others.
        git_sha1: what it keeps of small files, see `git hash-object`; None of others.
    """

    size: int
    sha256: str | None = None
    git_sha1: str | None = None

    def is_of(self, path: Path) -> bool:
        """Whether a file here has this content; Git hashes `blob`, the size, a zero byte and the bytes."""
        if self.sha256:
            return sha256_of(path) == self.sha256
        data = path.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == self.git_sha1


def hub_api(token: str | None = None) -> Any:
    """The client of the Hub, whose requests end in time; with the stored login if there is no token."""
    from huggingface_hub import HfApi

    limit_requests()
    return HfApi(token=token, library_name="sds-hf")


def address_of(api: Any, name: str) -> str:
    """Where to look at a dataset on the Hub; without what an endpoint may say of the user."""
    return f"{public_name(api.endpoint)}/datasets/{name}"


def stored_files(api: Any, name: str, revision: str | None) -> dict[str, Stored]:
    """All files of a dataset on the Hub at one version, by path, without hidden ones."""
    from huggingface_hub.hf_api import RepoFile

    tree = api.list_repo_tree(name, repo_type="dataset", revision=revision, recursive=True)
    return {
        file.path: Stored(file.size, file.lfs.sha256) if file.lfs else Stored(file.size, git_sha1=file.blob_id)
        for file in tree
        if isinstance(file, RepoFile) and not hidden(PurePosixPath(file.path))
    }


def downloaded(api: Any, name: str, path: str, revision: str | None, fresh: bool = False) -> Path:
    """A copy here of one file of a dataset on the Hub; `fresh` makes a new one although the cache has one."""
    try:
        return Path(api.hf_hub_download(name, path, repo_type="dataset", revision=revision, force_download=fresh))
    except failures():
        raise
    except ValueError as error:  # which a fresh download makes of an answer that was an error
        raise (error.__cause__ if isinstance(error.__cause__, failures()) else error) from None


def whole_download(api: Any, name: str, path: str, revision: str, stored: Stored) -> Path:
    """The same, of the content that the Hub keeps; a damaged copy in the cache is downloaded once more.

    Raises:
        OSError: if it arrives damaged again.
    """
    for fresh in (False, True):
        local_path = downloaded(api, name, path, revision, fresh)
        if stored.is_of(local_path):
            return local_path
    raise OSError(f"{path} arrives damaged")


def hidden(path: PurePath) -> bool:
    """Whether a file is none of the dataset's, e.g. `.gitattributes`."""
    return any(part.startswith(".") for part in path.parts)
