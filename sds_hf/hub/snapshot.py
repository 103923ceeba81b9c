"""The files of a published dataset at one version, in a folder or on the Hub at one commit."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, BinaryIO, TypeVar, cast

from pydantic import BaseModel, TypeAdapter, ValidationError, field_validator

from sds_hf.data.origins import folder_builder
from sds_hf.errors import one_line
from sds_hf.hub.layout import MANIFEST, read_manifest
from sds_hf.hub.retry import describe, failures, retry


class SnapshotError(ValueError):
    """A published dataset that cannot be had; the message says what to do."""


class Entry(BaseModel):
    """One file as the manifest lists it: path, SHA-256, bytes, and rows where it is a table."""

    path: str
    sha256: str
    size: int
    rows: int | None = None

    @field_validator("path")
    @classmethod
    def _inside(cls, path: str) -> str:
        if PurePosixPath(path).is_absolute() or {"..", "\\"} & {*PurePosixPath(path).parts, *path}:
            raise ValueError("leads out of the dataset")
        return path


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


class Snapshot(ABC):
    """A published dataset at one version.

    Attributes:
        name: Hub id or folder.
        revision: commit on the Hub; None of a folder.
        address: where to look at it on the Hub; None of a folder.
    """

    name: str
    revision: str | None = None
    address: str | None = None

    @property
    def title(self) -> str:
        """The name, on the Hub with the commit."""
        return f"{self.name}@{self.revision[:10]}" if self.revision else self.name

    @abstractmethod
    def stored(self) -> dict[str, Stored]:
        """All files by path, without hidden ones."""

    @abstractmethod
    def fetch(self, path: str, *, fresh: bool = False) -> Path:
        """A file on this machine; `fresh` downloads it although there is a copy in the cache.

        Raises:
            FileNotFoundError: if there is none.
        """

    @abstractmethod
    def open(self, path: str) -> BinaryIO:
        """A file to read parts of."""

    @abstractmethod
    def load(self, config: str = "default", **options: Any) -> Any:
        """The split `train` of a configuration, by `datasets.load_dataset` as anybody calls it."""

    def tags(self) -> list[str]:
        """Tags of this version; a folder has none."""
        return []

    def entries(self, *, fresh: bool = False) -> dict[str, Entry]:
        """What the manifest lists, by path; see `fetch`.

        Raises:
            SnapshotError: if there is no manifest of sds-hf, or it makes no sense.
        """
        try:
            manifest = read_manifest(self.fetch(MANIFEST, fresh=fresh))
        except FileNotFoundError:
            manifest = None
        if manifest is None:
            raise SnapshotError(
                f"{self.name} has no {MANIFEST} of sds-hf: it was not published by it; load it with "
                "datasets.load_dataset"
            )
        try:
            listed = TypeAdapter(list[Entry]).validate_python(manifest.get("files"))
        except ValidationError as error:
            raise SnapshotError(f"{MANIFEST} of {self.name} is damaged: {one_line(error, {})}") from error
        return {entry.path: entry for entry in listed}


class FolderSnapshot(Snapshot):
    """A published folder."""

    def __init__(self, folder: Path) -> None:
        self.name, self._folder = str(folder), folder

    def stored(self) -> dict[str, Stored]:
        """See `Snapshot`."""
        files = ((path, path.relative_to(self._folder)) for path in sorted(self._folder.rglob("*")) if path.is_file())
        return {name.as_posix(): Stored(path.stat().st_size) for path, name in files if not hidden(name)}

    def fetch(self, path: str, *, fresh: bool = False) -> Path:
        """See `Snapshot`."""
        if not (self._folder / path).is_file():
            raise FileNotFoundError(f"{self.name} has no {path}")
        return self._folder / path

    def open(self, path: str) -> BinaryIO:
        """See `Snapshot`."""
        return self.fetch(path).open("rb")

    def load(self, config: str = "default", **options: Any) -> Any:
        """See `Snapshot`."""
        from datasets import load_dataset

        folder_builder(self._folder, config)  # refuses a card that names data files elsewhere
        return load_dataset(str(self._folder.absolute()), config, split="train", **options)


def hidden(path: PurePath) -> bool:
    """Whether a file is none of the dataset's, e.g. `.gitattributes`."""
    return any(part.startswith(".") for part in path.parts)


HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

T = TypeVar("T")


class HubSnapshot(Snapshot):
    """A dataset on the Hub at one commit, whatever is pushed meanwhile.

    Args:
        name: Hub id.
        revision: tag, branch or commit; the newest version if None. Without a connection, what the cache has of it.
        token: as in `huggingface_hub`.

    Raises:
        SnapshotError: if there is no such dataset or version, or it cannot be reached.
    """

    def __init__(self, name: str, revision: str | None = None, token: str | None = None) -> None:
        self.name, self._api, self._token = name, hub_api(token), token
        self.revision, self.address = revision, f"{self._api.endpoint}/datasets/{name}"
        # The manifest is read first: it names the commit, and a foreign dataset costs no download.
        with suppress(FileNotFoundError):  # `entries` says that there is none
            self.revision = self.fetch(MANIFEST).parent.name

    def stored(self) -> dict[str, Stored]:
        """See `Snapshot`."""
        return self._asking(lambda: stored_files(self._api, self.name, self.revision))

    def tags(self) -> list[str]:
        """See `Snapshot`."""
        refs = self._asking(lambda: self._api.list_repo_refs(self.name, repo_type="dataset"))
        return sorted(tag.name for tag in refs.tags if tag.target_commit == self.revision)

    def fetch(self, path: str, *, fresh: bool = False) -> Path:
        """See `Snapshot`."""
        return self._asking(lambda: downloaded(self._api, self.name, path, self.revision, fresh))

    def open(self, path: str) -> BinaryIO:
        """See `Snapshot`."""
        from huggingface_hub import HfFileSystem

        address = f"datasets/{self.name}@{self.revision}/{path}"
        return cast(BinaryIO, self._asking(lambda: HfFileSystem(token=self._token).open(address, "rb")))

    def load(self, config: str = "default", **options: Any) -> Any:
        """See `Snapshot`."""
        from datasets import load_dataset

        # `datasets` prefers a folder of that name, unless told so; not each of its versions knows the address.
        where = f"hf://datasets/{self.name}" if Path(self.name).exists() else self.name
        return load_dataset(where, config, split="train", revision=self.revision, token=self._token, **options)

    def _asking(self, action: Callable[[], T]) -> T:
        """Ask the Hub, again where it falters.

        Raises:
            FileNotFoundError: if there is no such file.
            SnapshotError: if there is no such dataset or version, or no answer.
        """
        from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

        try:
            return retry(partial(self._attempt, action), self.name)
        except RevisionNotFoundError as error:
            raise SnapshotError(
                f"{self.name} has no version {self.revision!r} on the Hub; give a tag, branch or commit of it"
            ) from error
        except RepositoryNotFoundError as error:
            raise SnapshotError(
                f"{self.name} is no folder here and no dataset on the Hub that this login may see; check the name, or "
                "log in with `hf auth login`"
            ) from error
        except EntryNotFoundError as error:
            raise FileNotFoundError(f"{self.name} has no such file") from error
        except failures() as error:
            raise SnapshotError(f"cannot read {self.name}: {describe(error)}; try again later") from error

    def _attempt(self, action: Callable[[], T]) -> T:
        """Ask once; without a connection it makes no sense to ask again."""
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            return action()
        except LocalEntryNotFoundError as error:
            if isinstance(error.__cause__, HfHubHTTPError):  # an answer, if not the one that was hoped for
                raise error.__cause__ from None
            raise SnapshotError(
                f"{self.name} is no folder here, the Hub cannot be reached, and no copy of this version is cached"
            ) from error


def hub_api(token: str | None = None) -> Any:
    """The client of the Hub; the stored login if there is no token."""
    from huggingface_hub import HfApi

    return HfApi(token=token, library_name="sds-hf")


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
    return Path(api.hf_hub_download(name, path, repo_type="dataset", revision=revision, force_download=fresh))


def open_snapshot(target: str | Path, revision: str | None = None, token: str | None = None) -> Snapshot:
    """A published dataset at one version.

    Args:
        target: a folder, or a Hub id, with `@revision` if wanted.
        revision: tag, branch or commit on the Hub; the newest version if None.
        token: as in `huggingface_hub`.

    Raises:
        SnapshotError: if there is no such dataset or version, or it cannot be reached.
    """
    folder = Path(target).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise SnapshotError(f"{target} is a folder, which has no versions: leave out the revision {revision!r}")
        return FolderSnapshot(folder)
    name, _, named = str(target).partition("@")
    if revision and named:
        raise SnapshotError(f"two versions are given, {named!r} in {str(target)!r} and {revision!r}: give one")
    if not HUB_ID.fullmatch(name):
        raise SnapshotError(f"{target} is neither a published folder nor a Hub id (user/name, user/name@revision)")
    return HubSnapshot(name, revision or named or None, token)
