"""The files of a published dataset at one version, in a folder or on the Hub at one commit."""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from sds_hf.data.access.checks import CARDS, check_card, check_data_files, folder_builder
from sds_hf.data.access.paths import PathError
from sds_hf.errors import short
from sds_hf.files import files_of, sha256_of
from sds_hf.hub.client import Stored, address_of, downloaded, hub_api, stored_files, whole_download
from sds_hf.hub.layout import MANIFEST, Entry, ManifestError, entries_of, read_manifest
from sds_hf.hub.retry import advice, describe, failures, retry


class SnapshotError(ValueError):
    """A published dataset that cannot be had; the message says what to do."""


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

    def fetch_whole(self, path: str) -> Path:
        """The same, of the content that is stored there: what a cache has damaged is downloaded once more.

        Raises:
            FileNotFoundError: if there is none.
        """
        return self.fetch(path)

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
            manifest = self._manifest(fresh)
        except FileNotFoundError:
            manifest = None
        except (ManifestError, PathError) as error:
            raise SnapshotError(f"{self.name}: {error}") from error
        if manifest is None:
            raise SnapshotError(
                f"{self.name} has no {MANIFEST} of sds-hf: it was not published by it; load it with "
                "datasets.load_dataset, or give what `sds-hf publish` wrote"
            )
        return entries_of(manifest)

    def _manifest(self, fresh: bool) -> dict[str, Any] | None:
        """The manifest; a copy in the cache that arrived damaged is downloaded once more."""
        try:
            return read_manifest(self.fetch(MANIFEST, fresh=fresh))
        except ManifestError:
            return read_manifest(self.fetch(MANIFEST, fresh=True))

    def intact(self, entry: Entry) -> Path:
        """A file on this machine that is what the manifest says; a damaged copy in the cache is downloaded once more.

        Raises:
            SnapshotError: if it is not.
        """
        for fresh in (False, True):
            try:
                path = self.fetch(entry.path, fresh=fresh)
            except FileNotFoundError:
                break
            except SnapshotError:
                if fresh:
                    break
                raise
            if sha256_of(path) == entry.sha256:
                return path
        raise SnapshotError(
            f"{self.title}: {entry.path} is missing or differs from its checksum in {MANIFEST}; get it again, or see "
            f"with `sds-hf verify {self.name}` what else is wrong"
        )


class FolderSnapshot(Snapshot):
    """A published folder."""

    def __init__(self, folder: Path) -> None:
        self.name, self._folder = str(folder), folder

    def stored(self) -> dict[str, Stored]:
        """See `Snapshot`."""
        files = {name: self._folder / name for name in files_of(self._folder)}
        return {name: Stored(path.stat().st_size) for name, path in files.items() if path.is_file()}

    def fetch(self, path: str, *, fresh: bool = False) -> Path:
        """See `Snapshot`."""
        local_path = self._folder / path
        if not os.path.lexists(local_path):
            raise FileNotFoundError(f"{self.name} has no {path}")
        check_data_files(self._folder, [str(local_path)])
        return local_path

    def open(self, path: str) -> BinaryIO:
        """See `Snapshot`."""
        return self.fetch(path).open("rb")

    def load(self, config: str = "default", **options: Any) -> Any:
        """See `Snapshot`."""
        from datasets import load_dataset

        folder_builder(self._folder, config)  # refuses a card that names data files elsewhere
        return load_dataset(str(self._folder.absolute()), config, split="train", **options)


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
        self.revision, self.address = revision, address_of(self._api, name)
        self._stored: dict[str, Stored] | None = None
        # The manifest is read first: it names the commit, and a foreign dataset costs no download.
        with suppress(FileNotFoundError):  # `entries` says that there is none
            self.revision = self.fetch(MANIFEST).parent.name

    def stored(self) -> dict[str, Stored]:
        """See `Snapshot`."""
        if self._stored is None:
            self._stored = self._asking(lambda: stored_files(self._api, self.name, self.revision))
        return self._stored

    def tags(self) -> list[str]:
        """See `Snapshot`."""
        refs = self._asking(lambda: self._api.list_repo_refs(self.name, repo_type="dataset"))
        return sorted(tag.name for tag in refs.tags if tag.target_commit == self.revision)

    def fetch(self, path: str, *, fresh: bool = False) -> Path:
        """See `Snapshot`."""
        return self._asking(lambda: downloaded(self._api, self.name, path, self.revision, fresh))

    def fetch_whole(self, path: str) -> Path:
        """See `Snapshot`."""
        commit, stored = self.revision, self.stored().get(path)
        if stored is None or commit is None:
            raise FileNotFoundError(f"{self.name} has no {path}")
        return self._asking(lambda: whole_download(self._api, self.name, path, commit, stored))

    def open(self, path: str) -> BinaryIO:
        """See `Snapshot`."""
        from huggingface_hub import HfFileSystem

        address = f"datasets/{self.name}@{self.revision}/{path}"
        return cast(BinaryIO, self._asking(lambda: HfFileSystem(token=self._token).open(address, "rb")))

    def load(self, config: str = "default", **options: Any) -> Any:
        """See `Snapshot`."""
        from datasets import load_dataset

        for card in CARDS:  # `datasets` would ask for every address in it, with the user's token
            with suppress(FileNotFoundError):
                text = self.fetch(card).read_text(encoding="utf-8", errors="replace")
                check_card(text, f"{self.title}/{card}")
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
            todo = advice(error, "try again later")
            raise SnapshotError(f"cannot read {self.name}: {describe(error)}; {todo}") from error

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


def open_snapshot(target: str | Path, revision: str | None = None, token: str | None = None) -> Snapshot:
    """A published dataset at one version.

    Args:
        target: a folder, or a Hub id, with `@revision` if wanted.
        revision: tag, branch or commit on the Hub; the newest version if None.
        token: as in `huggingface_hub`.

    Raises:
        SnapshotError: if there is no such dataset or version, or it cannot be reached.
    """
    if not isinstance(target, (str, Path)):
        raise SnapshotError(f"a published dataset is told by its folder or its Hub id, not by {short(target)}")
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
