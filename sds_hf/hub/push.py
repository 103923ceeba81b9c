"""A dataset repository on the Hub: is it ours, a new version at once, a tag.

Every step looks first at what is there and then does the next thing, so that whatever was interrupted goes on where it
was: what has arrived is not sent again, and the main branch changes in one commit or in one merge.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sds_hf.files import sha256_of
from sds_hf.hub.layout import ASSETS, CARD, DATA, MANIFEST, SCORES, read_manifest
from sds_hf.hub.retry import describe, failures, retry, status_of
from sds_hf.hub.snapshot import Stored, downloaded, hub_api, stored_files

OURS = (DATA, SCORES, ASSETS)  # folders whose stale files a new version removes


@dataclass(frozen=True)
class Revision:
    """A commit of a repository.

    Attributes:
        commit: its SHA.
        files: by path, without hidden ones.
        private: whether the repository is private.
    """

    commit: str
    files: Mapping[str, Stored]
    private: bool


def look(api: Any, name: str, branch: str | None = None) -> Revision:
    """The newest commit of a branch, the main one if None.

    Args:
        api: of `huggingface_hub`.
        name: Hub id of the dataset.
        branch: of Git; also `refs/pr/1`.
    """
    info = api.dataset_info(name, revision=branch)
    return Revision(str(info.sha), stored_files(api, name, info.sha), bool(info.private))


def is_ours(api: Any, name: str, revision: Revision) -> bool:
    """Whether sds-hf made it."""
    return MANIFEST in revision.files and read_manifest(downloaded(api, name, MANIFEST, revision.commit)) is not None


def new_files(revision: Revision, folder: Path, files: Collection[str]) -> list[str]:
    """Files of a folder that the revision lacks, or has with other content."""
    there = revision.files
    return [name for name in files if name not in there or not _is(folder / name, there[name])]


def stale_files(revision: Revision, files: Collection[str], ours: bool) -> list[str]:
    """Files that go: ours that the new version lacks, or all others where a foreign repository is replaced."""
    return [name for name in revision.files if name not in files and (name.startswith(OURS) or not ours)]


def _is(path: Path, stored: Stored) -> bool:
    """Whether a file has this content; Git hashes `blob`, the size, a zero byte and the bytes."""
    if stored.sha256:
        return sha256_of(path) == stored.sha256
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == stored.git_sha1


TITLE = "sds-hf: version"
SUPERSEDED = "Superseded: another version is published now."


def draft_for(api: Any, name: str, version: str, parent: str) -> Any:
    """The pull request of a version that is not merged yet: the one of an interrupted run, or a new one.

    Other ones that this user's interrupted runs left are closed.

    Args:
        api: of `huggingface_hub`.
        name: Hub id of the dataset.
        version: digest of what is published.
        parent: commit of the main branch that it follows.
    """
    title, user = f"{TITLE} {version[:12]} after {parent[:12]}", api.whoami()["name"]
    draft = None
    for other in api.get_repo_discussions(name, repo_type="dataset", discussion_type="pull_request", author=user):
        if not (other.is_pull_request and other.title.startswith(TITLE) and other.author == user):
            continue
        if other.status not in ("draft", "open"):
            continue
        if other.title == title and draft is None:
            draft = other
        else:
            api.change_discussion_status(name, other.num, "closed", repo_type="dataset", comment=SUPERSEDED)
    return draft or api.create_pull_request(
        name, title, repo_type="dataset", description="Files gather here; sds-hf merges them when all are there."
    )


def merge_draft(api: Any, name: str, draft: Any) -> None:
    """Merge a pull request; a draft has to be opened before."""
    if draft.status == "draft":
        api.change_discussion_status(name, draft.num, "open", repo_type="dataset")
    api.merge_pull_request(name, draft.num, repo_type="dataset")


MESSAGE = "Publish with sds-hf"
FILES_PER_COMMIT = 100  # what the Hub advises; a larger commit may take longer than it waits for one

T = TypeVar("T")


class PublishError(ValueError):
    """A publication that cannot be made; what was published before is unchanged."""


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

    @property
    def url(self) -> str:
        """Where to look at it."""
        return f"{self._api.endpoint}/datasets/{self.name}"

    def compare(self, files: Collection[str]) -> tuple[str | None, list[str]]:
        """The present version and its files that would go for these; (None, []) if there is no repository.

        Raises:
            PublishError: if the repository was not made by sds-hf and is not to be overwritten, or is public and is to
                be private.
        """
        main, ours = self._trying(self._main)
        return (main.commit, stale_files(main, files, ours)) if main else (None, [])

    def card(self) -> str | None:
        """The card of the present version; None if sds-hf published none there."""
        main, ours = self._trying(self._main)
        if main is None or not ours or CARD not in main.files:
            return None
        card = self._trying(lambda: downloaded(self._api, self.name, CARD, main.commit))
        return card.read_text(encoding="utf-8")

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

    def _main(self) -> tuple[Revision | None, bool]:
        """The main branch, None if there is no repository, and whether it is ours. See `compare`."""
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            main = look(self._api, self.name)
        except RepositoryNotFoundError:
            return None, False
        ours = is_ours(self._api, self.name, main)
        if main.files and not ours and not self._overwrite:
            raise PublishError(
                f"{self.name} exists ({len(main.files)} files) and was not made by sds-hf; --overwrite replaces it"
            )
        if self._private and not main.private:
            raise PublishError(
                f"{self.name} exists and is public, but private was asked for: make it private on the Hub, say "
                "--public, or choose another name"
            )
        return main, ours

    def _create(self) -> None:
        self._api.create_repo(self.name, repo_type="dataset", private=self._private, exist_ok=True)

    def _advance(self, folder: Path, files: Collection[str], gone: set[str]) -> str | None:
        """Do the next step towards the new version; its commit when it is there, None if there is more to do."""
        main, ours = self._main()
        if main is None:
            raise PublishError(f"{self.name} is gone: somebody deleted or renamed it; run it again")
        new, stale = new_files(main, folder, files), stale_files(main, files, ours)
        gone.update(stale)
        if not new and not stale:
            return main.commit
        if len(new) + len(stale) <= FILES_PER_COMMIT:
            return self._send(folder, new, stale, main.commit)
        draft = draft_for(self._api, self.name, sha256_of(folder / MANIFEST), main.commit)
        there = look(self._api, self.name, draft.git_reference)
        new, stale = new_files(there, folder, files), stale_files(there, files, ours)
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
        except ValueError as error:
            raise PublishError(f"the Hub refuses the files for {self.name}: {' '.join(str(error).split())}") from error

    def _tag(self, revision: str, tag: str | None) -> str:
        tags = self._tags()
        ours = [name for name in tags if tags[name] == revision and re.fullmatch(r"v[0-9]+", name)]
        tag = tag or (max(ours, key=lambda name: int(name[1:])) if ours else _next_tag(tags))
        if tag not in tags:
            self._api.create_tag(self.name, tag=tag, revision=revision, repo_type="dataset")
        elif tags[tag] != revision:
            raise PublishError(
                f"the data is published as {revision[:8]}, but the tag {tag!r} is taken by {tags[tag][:8]}; "
                "choose another --tag"
            )
        return tag

    def _tags(self) -> dict[str, str]:
        refs = self._api.list_repo_refs(self.name, repo_type="dataset")
        return {ref.name: ref.target_commit for ref in refs.tags}

    def _trying(self, action: Callable[[], T], prefix: str = "") -> T:
        """Do something that may be repeated.

        Raises:
            PublishError: if it does not work; `prefix` says what has.
        """
        try:
            return retry(action, self.name)
        except failures() as error:
            advice = _advice(status_of(error))
            raise PublishError(f"{prefix}publishing to {self.name} failed: {describe(error)}; {advice}") from error


def _next_tag(tags: Collection[str]) -> str:
    """The number after the highest of ours."""
    return f"v{max((int(name[1:]) for name in tags if re.fullmatch(r'v[0-9]+', name)), default=0) + 1}"


def _advice(status: int | None) -> str:
    if status in (401, 403):
        return "log in with `hf auth login`, or give a token that may write there"
    return "no half of it is published; run it again to go on"
