"""Publish a selection: to a folder, or to the Hub in one commit and a tag."""

import logging
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset

from sds_hf.datafolder import new_folder
from sds_hf.recipe import Recipe
from sds_hf.report import Report
from sds_hf.repository import MANIFEST, build_repository
from sds_hf.selection import Selection
from sds_hf.table import ScoreTable

logger = logging.getLogger(__name__)

REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
OURS = ("data/", "scores/", "assets/")  # folders whose stale files a new version removes
ATTEMPTS = 5


class PublishError(ValueError):
    """A publication that cannot be made; nothing was changed."""


@dataclass(frozen=True)
class Published:
    """What was, or with `dry_run` would be, published.

    Attributes:
        target: folder or Hub id.
        files: paths with sizes in bytes.
        removed: files of the last version that go.
        revision: commit on the Hub.
        tag: tag on the Hub.
        url: where to look.
        report: as published.
        dry_run: whether nothing was changed.
    """

    target: str
    files: dict[str, int]
    report: Report
    removed: list[str] = field(default_factory=list)
    revision: str | None = None
    tag: str | None = None
    url: str | None = None
    dry_run: bool = False


def publish(
    dataset: Dataset,
    selection: Selection,
    recipe: Recipe,
    *,
    to: str | None = None,
    folder: str | Path | None = None,
    scores: ScoreTable | None = None,
    private: bool | None = None,
    tag: str | None = None,
    token: str | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Published:
    """Publish the kept rows with card, recipe, report, scores of all candidates, pictures and checksums.

    On the Hub everything changes in one commit on the version that was looked at, then the commit is tagged. The same
    content again makes no commit.

    Args:
        dataset: the candidates.
        selection: which of them stay.
        recipe: what chose them; its `publish` part is the default for everything here.
        to: Hub id, `user/name`.
        folder: a folder instead; must not exist or be empty, unless `overwrite` is set and sds-hf made it.
        scores: the score table.
        private: whether a new repository is private; the account's default if None.
        tag: name of the tag; `v1`, `v2`, ... if None.
        token: as in `huggingface_hub`; the stored login if None.
        overwrite: replace a folder that sds-hf made, or a Hub repository that it did not make.
        dry_run: only say what would be done.
        progress: called with the number of rows written since the last call.

    Raises:
        PublishError: if the target makes no sense or is somebody else's.
        ValueError: if the selection is not of this dataset, or the folder is not empty.
    """
    to, folder = (None, folder) if folder else (to or recipe.publish.to, None if to else recipe.publish.folder)
    tag, private = tag or recipe.publish.tag, recipe.publish.private if private is None else private
    if (to is None) == (folder is None):
        raise PublishError("say where to publish: a Hub id with --to user/name, or a folder with --folder DIR")
    if to is not None and not REPO_ID.fullmatch(to):
        raise PublishError(f"{to!r} is no Hub id (user/name); a folder is given with --folder")
    options: dict[str, Any] = {"scores": scores, "address": to or str(folder), "progress": progress}
    if folder is not None and not dry_run:
        with new_folder(Path(folder), replaces=MANIFEST if overwrite else None) as part:
            report = build_repository(dataset, selection, recipe, part, **options)
            files = _sizes(part)
        return Published(str(folder), files, report)
    with tempfile.TemporaryDirectory(prefix="sds-hf-") as scratch:
        part = Path(scratch) / "repository"
        part.mkdir()
        report = build_repository(dataset, selection, recipe, part, **options)
        if folder is not None:
            return Published(str(folder), _sizes(part), report, dry_run=True)
        assert to is not None
        hub = _Hub(to, token)
        if dry_run:
            head, removed = hub.compare(_sizes(part), overwrite)
            return Published(to, _sizes(part), report, removed, head, tag, dry_run=True)
        return hub.push(part, report, private, tag, overwrite)


class _Hub:
    """One dataset repository on the Hub."""

    def __init__(self, repo_id: str, token: str | None) -> None:
        from huggingface_hub import HfApi

        self.repo_id, self.api = repo_id, HfApi(token=token, library_name="sds-hf")

    def compare(self, files: dict[str, int], overwrite: bool) -> tuple[str | None, list[str]]:
        """The present version and its files that would go; (None, []) if there is no repository.

        Raises:
            PublishError: if the repository was not made by sds-hf and `overwrite` is not set.
        """
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            info = self.api.dataset_info(self.repo_id)
        except RepositoryNotFoundError:
            return None, []
        existing = [sibling.rfilename for sibling in info.siblings or []]
        if MANIFEST not in existing and any(not name.startswith(".") for name in existing) and not overwrite:
            raise PublishError(
                f"{self.repo_id} exists ({len(existing)} files) and was not made by sds-hf; --overwrite replaces it"
            )
        return info.sha, [name for name in existing if name.startswith(OURS) and name not in files]

    def push(self, folder: Path, report: Report, private: bool | None, tag: str | None, overwrite: bool) -> Published:
        """One commit with everything, then a tag."""
        self.compare({}, overwrite)
        self.api.create_repo(self.repo_id, repo_type="dataset", private=private, exist_ok=True)
        files = _sizes(folder)
        revision, removed = self._commit(folder, files, overwrite)
        tag = self._tag(revision, tag)
        url = f"{self.api.endpoint}/datasets/{self.repo_id}"
        return Published(self.repo_id, files, report, removed, revision, tag, url)

    def _commit(self, folder: Path, files: dict[str, int], overwrite: bool) -> tuple[str, list[str]]:
        """Commit on the version looked at; if another came between or the Hub faltered, look again and repeat.

        Repeating is safe: files that are there are not sent again, and the same content makes no new commit.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete
        from huggingface_hub.errors import HfHubHTTPError

        for attempt in range(ATTEMPTS):
            try:
                head, removed = self.compare(files, overwrite)
                # Operations are used up by an attempt, so each gets its own.
                operations = [CommitOperationAdd(name, folder / name) for name in files]
                done = self.api.create_commit(
                    self.repo_id,
                    [*operations, *(CommitOperationDelete(name) for name in removed)],
                    commit_message="Publish with sds-hf",
                    repo_type="dataset",
                    parent_commit=head,
                )
                return done.oid, removed
            except HfHubHTTPError as error:
                status = error.response.status_code if error.response is not None else None
                if status not in (408, 409, 412, 429, 500, 502, 503, 504) or attempt == ATTEMPTS - 1:
                    raise
                logger.warning("the Hub answered %s; trying again", status)
            except OSError as error:
                if attempt == ATTEMPTS - 1:
                    raise
                logger.warning("the connection failed (%s); trying again", type(error).__name__)
            time.sleep(0.5 * 2**attempt)
        raise AssertionError("unreachable")

    def _tag(self, revision: str, wanted: str | None) -> str:
        """Tag the commit, unless it has that tag, or any of ours, already."""
        tags = {ref.name: ref.target_commit for ref in self.api.list_repo_refs(self.repo_id, repo_type="dataset").tags}
        numbers = [int(name[1:]) for name in tags if re.fullmatch(r"v\d+", name)]
        if wanted is None:
            present = [f"v{number}" for number in sorted(numbers) if tags[f"v{number}"] == revision]
            wanted = present[-1] if present else f"v{max(numbers, default=0) + 1}"
        if wanted not in tags:
            self.api.create_tag(self.repo_id, tag=wanted, revision=revision, repo_type="dataset")
        elif tags[wanted] != revision:
            raise PublishError(
                f"the data is published as {revision[:8]}, but the tag {wanted!r} is taken by {tags[wanted][:8]}"
            )
        return wanted


def _sizes(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()
    }
