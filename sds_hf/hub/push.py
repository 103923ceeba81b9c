"""A dataset repository on the Hub: is it ours, a new version at once, a tag.

Every step looks first at what is there and then does the next thing, so that whatever was interrupted goes on where it
was: what has arrived is not sent again, and the main branch changes in one commit or in one merge.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from sds_hf.files import sha256_of
from sds_hf.hub.client import Stored, address_of, hidden, hub_api, stored_files, whole_download
from sds_hf.hub.draft import draft_for, merge_draft
from sds_hf.hub.layout import (
    ASSETS,
    CARD,
    DATA,
    EXPLORER,
    MANIFEST,
    SCORES,
    ManifestError,
    entries_of,
    read_manifest,
    taken_for_ours,
)
from sds_hf.hub.retry import BadAnswerError, advice, describe, failures, retry
from sds_hf.hub.snapshot import HubSnapshot

OURS = (DATA, SCORES, ASSETS, EXPLORER)  # folders that a version consists of
COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class Revision:
    """A commit of a repository.

    Attributes:
        commit: its SHA.
        files: by path, without hidden ones.
        private: whether the repository is private.
        listed: paths of the files that sds-hf wrote, by its manifest; None if it did not make the repository.
    """

    commit: str
    files: Mapping[str, Stored]
    private: bool
    listed: frozenset[str] | None = None

    @property
    def others(self) -> list[str]:
        """Files of a repository of ours that somebody else added."""
        return [] if self.listed is None else [name for name in self.files if name not in self.listed]


def look(api: Any, name: str, branch: str | None = None) -> Revision:
    """The newest commit of a branch, the main one if None.

    Args:
        api: of `huggingface_hub`.
        name: Hub id of the dataset.
        branch: of Git; also `refs/pr/1`.

    Raises:
        BadAnswerError: if the Hub contradicts itself.
    """
    info = api.dataset_info(name, revision=branch)
    if not COMMIT.fullmatch(str(info.sha)):
        raise BadAnswerError(f"it names {str(info.sha)[:20]!r} for a commit")
    files = stored_files(api, name, info.sha)
    names = [PurePosixPath(sibling.rfilename) for sibling in info.siblings or ()]
    if lost := [name for name in names if str(name) not in files and not hidden(name)]:
        raise BadAnswerError(f"of the files of {info.sha[:8]} it lists {lost[0]} only sometimes")
    return Revision(str(info.sha), files, bool(info.private))


def listed_files(api: Any, name: str, revision: Revision) -> frozenset[str] | None:
    """What the manifest of a revision lists, and itself; None if sds-hf did not make it.

    Raises:
        ManifestError: if it is damaged.
    """
    if MANIFEST not in revision.files:
        return None
    manifest = read_manifest(whole_download(api, name, MANIFEST, revision.commit, revision.files[MANIFEST]))
    return None if manifest is None else frozenset({*entries_of(manifest), MANIFEST})


def new_files(there: Revision, folder: Path, files: Collection[str]) -> list[str]:
    """Files of a folder that the revision lacks, or has with other content."""
    return [name for name in files if name not in there.files or not there.files[name].is_of(folder / name)]


def stale_files(main: Revision, files: Collection[str]) -> list[str]:
    """Files that go: ours that the new version lacks, or all others where a foreign repository is replaced."""
    return [name for name in main.files if name not in files and (main.listed is None or name in main.listed)]


MESSAGE = "Publish with sds-hf"
FILES_PER_COMMIT = 100  # what the Hub advises; a larger commit may take longer than it waits for one

T = TypeVar("T")


class PublishError(ValueError):
    """A publication that cannot be made; what was published before is unchanged."""


class OvertakenError(PublishError):
    """Somebody else has changed what a new version was built on."""


class HubRepository:
    """A dataset repository that sds-hf publishes to.

    Args:
        name: Hub id.
        token: as in `huggingface_hub`.
        overwrite: whether a repository that sds-hf did not make may be replaced.
        private: whether it is private if it has to be created, the account's default if None; one that is there keeps
            its visibility, but what is to be private does not go into a public one.
    """

    def __init__(
        self, name: str, token: str | None = None, overwrite: bool = False, private: bool | None = None
    ) -> None:
        self.name, self._overwrite, self._private, self._api = name, overwrite, private, hub_api(token)
        self._token, self._pinned, self._base = token, False, None  # type: str | None, bool, Revision | None

    @property
    def url(self) -> str:
        """Where to look at it."""
        return address_of(self._api, self.name)

    def pin(self) -> Revision | None:
        """The present version, None if there is no repository; from now on a new one is made on top of this alone.

        Raises:
            PublishError: if the repository was not made by sds-hf and is not to be overwritten, or is public and is to
                be private.
        """
        self._base, self._pinned = self._trying(self._main), True
        return self._base

    def snapshot(self) -> HubSnapshot | None:
        """The files of the present version, if sds-hf made it."""
        main = self._present()
        return None if main is None or main.listed is None else HubSnapshot(self.name, main.commit, self._token)

    def compare(self, files: Collection[str]) -> tuple[str | None, list[str]]:
        """The present version and its files that would go for these; (None, []) if there is no repository.

        Raises:
            PublishError: see `pin`; or if one of somebody else's files would be replaced, or taken for ours.
        """
        main = self._present()
        if main is None:
            return None, []
        if strange := [name for name in (*files, *taken_for_ours(main.others)) if name in main.others]:
            raise PublishError(
                f"{self.name} holds {strange[0]}, which sds-hf did not write, and which would be replaced or taken for "
                "its data: move it to another folder there, or delete it"
            )
        return main.commit, stale_files(main, files)

    def card(self) -> str | None:
        """The card of the present version; None if sds-hf published none there."""
        main = self._present()
        if main is None or main.listed is None or CARD not in main.files:
            return None
        card = self._trying(lambda: whole_download(self._api, self.name, CARD, main.commit, main.files[CARD]))
        return card.read_text(encoding="utf-8", errors="replace")

    def commit(self, folder: Path, files: Collection[str]) -> tuple[str, list[str]]:
        """Make the files of a folder the new version, at once, on top of the version looked at.

        Up to `FILES_PER_COMMIT` changes are one commit with the present version as its parent. More gather in a draft
        pull request, which is merged if the main branch is still where it was.

        Args:
            folder: where the files lie, with a manifest.
            files: their paths in the folder and in the repository.

        Returns:
            The commit, which is the present one if nothing differs, and the files that went.

        Raises:
            OvertakenError: if the version that `pin` gave is no longer the present one.
            PublishError: if it cannot be done.
        """
        if self.compare(files)[0] is None:
            self._trying(self._create)
        gone: set[str] = set()
        for _ in range(10 + 2 * len(files) // FILES_PER_COMMIT):
            if revision := self._trying(lambda: self._advance(folder, files, gone)):
                return revision, sorted(gone)
        raise PublishError(
            f"publishing to {self.name} comes to no end: somebody else writes there, or its .gitignore hides files"
        )

    def tag(self, revision: str, tag: str | None) -> str:
        """Tag a commit, unless it has the tag, or with `None` any of ours, already; returns the tag.

        Raises:
            PublishError: if it cannot be done or the tag is taken.
        """
        return self._trying(
            lambda: self._tag(revision, tag), f"the data is published as {revision[:8]}, its tag is not: "
        )

    def next_tag(self, head: str | None) -> str:
        """The tag of the next version."""
        return _next_tag(self._trying(self._tags) if head else {})

    def _present(self) -> Revision | None:
        return self._base if self._pinned else self._trying(self._main)

    def _main(self) -> Revision | None:
        """The main branch, None if there is no repository. See `pin`."""
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            main = look(self._api, self.name)
        except RepositoryNotFoundError:
            return None
        try:
            main = replace(main, listed=listed_files(self._api, self.name, main))
        except ManifestError as error:
            raise PublishError(
                f"{self.name}: {error}; nothing there is replaced: bring back {MANIFEST} from an earlier commit"
            ) from error
        if main.files and main.listed is None and not self._overwrite:
            raise PublishError(
                f"{self.name} exists ({len(main.files)} files) and was not made by sds-hf; overwrite=True replaces it"
            )
        if self._private and not main.private:
            raise PublishError(
                f"{self.name} exists and is public, but private was asked for: make it private on the Hub, say "
                "private=False, or choose another name"
            )
        return main

    def _create(self) -> None:
        self._api.create_repo(self.name, repo_type="dataset", private=self._private, exist_ok=True)

    def _advance(self, folder: Path, files: Collection[str], gone: set[str]) -> str | None:
        """Do the next step towards the new version; its commit when it is there, None if there is more to do."""
        main = self._main()
        if main is None:
            raise PublishError(f"{self.name} is gone: somebody deleted or renamed it; run it again")
        new, stale = new_files(main, folder, files), stale_files(main, files)
        if not new and not stale:
            return main.commit
        if self._pinned and (main.files if self._base is None else main.commit != self._base.commit):
            raise OvertakenError(f"{self.name} was changed by somebody else meanwhile; run it again")
        gone.update(stale)
        if len(new) + len(stale) <= FILES_PER_COMMIT:
            return self._send(folder, new, stale, main.commit)
        draft = draft_for(self._api, self.name, sha256_of(folder / MANIFEST), main.commit)
        there = look(self._api, self.name, draft.git_reference)
        new, stale = new_files(there, folder, files), [name for name in stale if name in there.files]
        if new or stale:
            new = new[:FILES_PER_COMMIT]
            self._send(folder, new, stale[: FILES_PER_COMMIT - len(new)], there.commit, draft.git_reference)
        else:
            merge_draft(self._api, self.name, draft)
        return None

    def _send(
        self, folder: Path, new: Collection[str], stale: Collection[str], parent: str, branch: str | None = None
    ) -> str:
        """One commit; large files that the Hub has already are not sent again."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        # Operations are used up by an attempt, so each gets its own.
        operations: list[Any] = [CommitOperationAdd(name, folder / name) for name in new]
        operations += [CommitOperationDelete(name) for name in stale]
        options: dict[str, Any] = {"commit_message": MESSAGE, "repo_type": "dataset", "revision": branch}
        try:
            return str(self._api.create_commit(self.name, operations, parent_commit=parent, **options).oid)
        except failures():  # some of which are ValueErrors too
            raise
        except UnicodeDecodeError:  # of an answer that is no text
            raise
        except ValueError as error:
            text = " ".join(str(error).split())
            if not isinstance(error.__cause__, failures()):  # of the client alone
                raise BadAnswerError(text) from error
            raise PublishError(f"the Hub refuses the files for {self.name}: {text}") from error

    def _tag(self, revision: str, tag: str | None) -> str:
        tags = self._tags()
        ours = [name for name in tags if tags[name] == revision and re.fullmatch(r"v[0-9]+", name)]
        tag = tag or (max(ours, key=lambda name: int(name[1:])) if ours else _next_tag(tags))
        if tag not in tags:
            self._api.create_tag(self.name, tag=tag, revision=revision, repo_type="dataset")
        elif tags[tag] != revision:
            raise PublishError(
                f"the data is published as {revision[:8]}, but the tag {tag!r} is taken by {tags[tag][:8]}; "
                "choose another one with tag=..."
            )
        return tag

    def _tags(self) -> dict[str, str]:
        refs = self._api.list_repo_refs(self.name, repo_type="dataset")
        return {ref.name: ref.target_commit for ref in refs.tags}

    def _trying(self, action: Callable[[], T], prefix: str = "") -> T:
        """Do something that may be repeated.

        Raises:
            PublishError: if it does not work; `prefix` says what has, if anything.
        """
        try:
            return retry(action, self.name)
        except failures() as error:
            published = prefix or f"publishing to {self.name} failed: "
            todo = advice(
                error, "run it again to go on" if prefix else "no half of it is published; run it again to go on"
            )
            raise PublishError(f"{published}{describe(error)}; {todo}") from error


def _next_tag(tags: Collection[str]) -> str:
    """The number after the highest of ours."""
    return f"v{max((int(name[1:]) for name in tags if re.fullmatch(r'v[0-9]+', name)), default=0) + 1}"
