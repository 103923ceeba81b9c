"""What a revision of a dataset repository on the Hub holds, and what a new version changes in it."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sds_hf.files import sha256_of
from sds_hf.layout import ASSETS, DATA, MANIFEST, SCORES, read_manifest

OURS = (DATA, SCORES, ASSETS)  # folders whose stale files a new version removes
SHA256_LENGTH = 64  # in hexadecimal


@dataclass(frozen=True)
class Revision:
    """A commit of a repository.

    Attributes:
        commit: its SHA.
        digests: by path, SHA-256 of a large file, Git's SHA-1 of another; dotfiles are left out.
        private: whether the repository is private.
    """

    commit: str
    digests: Mapping[str, str]
    private: bool


def look(api: Any, name: str, branch: str | None = None) -> Revision:
    """The newest commit of a branch, the main one if None.

    Args:
        api: of `huggingface_hub`.
        name: Hub id of the dataset.
        branch: of Git; also `refs/pr/1`.
    """
    from huggingface_hub.hf_api import RepoFile

    info = api.dataset_info(name, revision=branch)
    tree = api.list_repo_tree(name, repo_type="dataset", revision=info.sha, recursive=True)
    files = [entry for entry in tree if isinstance(entry, RepoFile) and not entry.path.startswith(".")]
    digests = {file.path: file.lfs.sha256 if file.lfs else file.blob_id for file in files}
    return Revision(str(info.sha), digests, bool(info.private))


def read(api: Any, name: str, path: str, revision: Revision) -> Path:
    """A copy of a file here."""
    return Path(api.hf_hub_download(name, path, repo_type="dataset", revision=revision.commit))


def is_ours(api: Any, name: str, revision: Revision) -> bool:
    """Whether sds-hf made it."""
    return MANIFEST in revision.digests and read_manifest(read(api, name, MANIFEST, revision)) is not None


def new_files(revision: Revision, folder: Path, files: Collection[str]) -> list[str]:
    """Files of a folder that the revision lacks, or has with other content."""
    there = revision.digests
    return [name for name in files if name not in there or not _is(folder / name, there[name])]


def stale_files(revision: Revision, files: Collection[str], ours: bool) -> list[str]:
    """Files that go: ours that the new version lacks, or all others where a foreign repository is replaced."""
    return [name for name in revision.digests if name not in files and (name.startswith(OURS) or not ours)]


def _is(path: Path, digest: str) -> bool:
    """Whether a file has this content; Git hashes `blob`, the size, a zero byte and the bytes."""
    if len(digest) == SHA256_LENGTH:
        return sha256_of(path) == digest
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == digest
