"""A dataset repository on the Hub: what is there, one commit, a tag. What may be repeated is, when the Hub falters."""

import logging
import re
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

from sds_hf.repository import MANIFEST, read_manifest

logger = logging.getLogger(__name__)

OURS = ("data/", "scores/", "assets/")  # folders whose stale files a new version removes
ATTEMPTS = 5
PASSING = (408, 409, 412, 429, 500, 502, 503, 504)  # answers after which it is worth trying again

T = TypeVar("T")


class PublishError(ValueError):
    """A publication that cannot be made; what was published before is unchanged."""


class HubRepository:
    """A dataset repository that sds-hf publishes to.

    Args:
        name: Hub id.
        token: as in `huggingface_hub`.
        overwrite: whether a repository that sds-hf did not make may be replaced.
    """

    def __init__(self, name: str, token: str | None = None, overwrite: bool = False) -> None:
        from huggingface_hub import HfApi

        self.name, self._overwrite, self._api = name, overwrite, HfApi(token=token, library_name="sds-hf")

    @property
    def url(self) -> str:
        """Where to look at it."""
        return f"{self._api.endpoint}/datasets/{self.name}"

    def compare(self, files: Collection[str]) -> tuple[str | None, list[str]]:
        """The present version and its files that would go for these; (None, []) if there is no repository.

        Raises:
            PublishError: if the repository was not made by sds-hf and is not to be overwritten.
        """
        return self._trying(lambda: self._compare(files))

    def commit(self, folder: Path, files: Collection[str], private: bool | None) -> tuple[str, list[str]]:
        """Make the files of a folder the new version, in one commit on the version looked at.

        Args:
            folder: where the files lie.
            files: their paths in the folder and in the repository.
            private: whether the repository is private if it has to be created.

        Returns:
            The commit, which is the present one if nothing differs, and the files that went.

        Raises:
            PublishError: if it cannot be done.
        """
        if self.compare(files)[0] is None:
            self._trying(lambda: self._create(private))
        return self._trying(lambda: self._commit(folder, files))

    def tag(self, revision: str, wanted: str | None) -> str:
        """Tag a commit, unless it has the tag, or with `None` any of ours, already; returns the tag.

        Raises:
            PublishError: if it cannot be done or the tag is taken.
        """
        return self._trying(
            lambda: self._tag(revision, wanted), f"the data is published as {revision[:8]}, its tag is not: "
        )

    def next_tag(self, head: str | None) -> str:
        """The tag of the next version."""
        return _next_tag(self._trying(self._tags) if head else {})

    def _compare(self, files: Collection[str]) -> tuple[str | None, list[str]]:
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            info = self._api.dataset_info(self.name)
        except RepositoryNotFoundError:
            return None, []
        existing = [sibling.rfilename for sibling in info.siblings or [] if not sibling.rfilename.startswith(".")]
        ours = MANIFEST in existing and self._is_ours(info.sha)
        if existing and not ours and not self._overwrite:
            raise PublishError(
                f"{self.name} exists ({len(existing)} files) and was not made by sds-hf; --overwrite replaces it"
            )
        return info.sha, [name for name in existing if name not in files and (name.startswith(OURS) or not ours)]

    def _is_ours(self, revision: str | None) -> bool:
        path = self._api.hf_hub_download(self.name, MANIFEST, repo_type="dataset", revision=revision)
        return read_manifest(Path(path)) is not None

    def _create(self, private: bool | None) -> None:
        self._api.create_repo(self.name, repo_type="dataset", private=private, exist_ok=True)

    def _commit(self, folder: Path, files: Collection[str]) -> tuple[str, list[str]]:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        head, removed = self._compare(files)
        # Operations are used up by an attempt, so each gets its own.
        operations: list[Any] = [CommitOperationAdd(name, folder / name) for name in files]
        operations += [CommitOperationDelete(name) for name in removed]
        done = self._api.create_commit(
            self.name, operations, commit_message="Publish with sds-hf", repo_type="dataset", parent_commit=head
        )
        return done.oid, removed

    def _tag(self, revision: str, wanted: str | None) -> str:
        tags = self._tags()
        ours = [name for name in tags if tags[name] == revision and re.fullmatch(r"v[0-9]+", name)]
        wanted = wanted or (max(ours, key=lambda name: int(name[1:])) if ours else _next_tag(tags))
        if wanted not in tags:
            self._api.create_tag(self.name, tag=wanted, revision=revision, repo_type="dataset")
        elif tags[wanted] != revision:
            raise PublishError(
                f"the data is published as {revision[:8]}, but the tag {wanted!r} is taken by {tags[wanted][:8]}; "
                "choose another --tag"
            )
        return wanted

    def _tags(self) -> dict[str, str]:
        refs = self._api.list_repo_refs(self.name, repo_type="dataset")
        return {ref.name: ref.target_commit for ref in refs.tags}

    def _trying(self, action: Callable[[], T], done: str = "") -> T:
        """Do something that may be repeated: files that are there are not sent again, the same content is no commit.

        Raises:
            PublishError: if it does not work; `done` says what has.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return action()
            except _connection_errors() as error:
                status = getattr(getattr(error, "response", None), "status_code", None)
                what = f"the Hub answered {status}" if status else f"{type(error).__name__}: {_first_line(error)}"
                if attempt == ATTEMPTS or (status is not None and status not in PASSING):
                    raise PublishError(f"{done}publishing to {self.name} failed: {what}; {_advice(status)}") from error
                logger.warning("%s: %s; trying again", self.name, what)
            time.sleep(0.25 * 2**attempt)
        raise AssertionError("unreachable")


def _next_tag(tags: Collection[str]) -> str:
    """The number after the highest of ours."""
    return f"v{max((int(name[1:]) for name in tags if re.fullmatch(r'v[0-9]+', name)), default=0) + 1}"


def _connection_errors() -> tuple[type[Exception], ...]:
    """What goes wrong on the way; the HTTP library depends on the version of `huggingface_hub`."""
    from huggingface_hub.errors import HfHubHTTPError

    bases: tuple[type[Exception], ...] = HfHubHTTPError.__bases__
    return OSError, *bases


def _advice(status: int | None) -> str:
    if status in (401, 403):
        return "log in with `hf auth login`, or give a token that may write there"
    return "no half of it is published; run it again to go on"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]
