"""Published datasets on the Hub at one commit, and whatever a user calls a published dataset."""

import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar, cast

from datasets import load_dataset

from sds_hf.layout import MANIFEST
from sds_hf.retrying import describe, failures, retry
from sds_hf.snapshots import FolderSnapshot, Snapshot, SnapshotError, Stored, hidden

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
        from huggingface_hub import HfApi

        self.name, self._api, self._token = name, HfApi(token=token, library_name="sds-hf"), token
        self.revision = revision
        # The manifest is read first: it names the commit, and a foreign dataset costs no download.
        with suppress(FileNotFoundError):  # `entries` says that there is none
            self.revision = self.fetch(MANIFEST).parent.name

    def stored(self) -> dict[str, Stored]:
        """See `Snapshot`."""
        from huggingface_hub.hf_api import RepoFile

        where: dict[str, Any] = {"repo_type": "dataset", "revision": self.revision}
        tree = self._asking(lambda: list(self._api.list_repo_tree(self.name, recursive=True, **where)))
        return {
            file.path: Stored(file.size, file.lfs.sha256 if file.lfs else None)
            for file in tree
            if isinstance(file, RepoFile) and not hidden(PurePosixPath(file.path))
        }

    def fetch(self, path: str, *, fresh: bool = False) -> Path:
        """See `Snapshot`."""
        wanted: dict[str, Any] = {"repo_type": "dataset", "revision": self.revision, "force_download": fresh}
        return Path(self._asking(lambda: self._api.hf_hub_download(self.name, path, **wanted)))

    def open(self, path: str) -> BinaryIO:
        """See `Snapshot`."""
        from huggingface_hub import HfFileSystem

        address = f"datasets/{self.name}@{self.revision}/{path}"
        return cast(BinaryIO, self._asking(lambda: HfFileSystem(token=self._token).open(address, "rb")))

    def load(self, config: str = "default", **options: Any) -> Any:
        """See `Snapshot`."""
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
