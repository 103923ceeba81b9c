"""Publish a selection: to a folder, or to the Hub in one commit and a tag."""

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sds_hf.check.review import review
from sds_hf.files import check_free, new_folder, restore_folder
from sds_hf.hub.layout import CARD, MANIFEST, read_manifest
from sds_hf.hub.push import OURS, HubRepository, PublishError
from sds_hf.publishing.repository import build_repository
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.report import Report
from sds_hf.selection.select import Selection
from sds_hf.table.score_table import ScoreTable

if TYPE_CHECKING:
    from datasets import Dataset

REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

NO_LICENCE = (
    "no licence is given, so nobody may use the data: say which with --set publish.license=cc-by-4.0 or the like"
)
OWN_FILES = (CARD, "recipe.yaml", "report.json", MANIFEST)

Make = Callable[..., Report]  # a new version in a folder, with the last one's card as `old_card`


@dataclass(frozen=True)
class Published:
    """What was, or with `dry_run` would be, published.

    Attributes:
        target: folder or Hub id.
        files: paths with sizes in bytes.
        removed: files of the last version, or with `overwrite` of what was there, that go.
        revision: commit on the Hub.
        tag: tag on the Hub.
        url: where to look.
        report: as published.
        dry_run: whether nothing was changed.
        warnings: what a person should look at.
    """

    target: str
    files: dict[str, int]
    report: Report
    removed: list[str] = field(default_factory=list)
    revision: str | None = None
    tag: str | None = None
    url: str | None = None
    dry_run: bool = False
    warnings: list[str] = field(default_factory=list)


def publish(
    dataset: "Dataset",
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

    On the Hub everything changes at once, in one commit on the version that was looked at or, where that would be too
    many files, by the merge of a draft pull request; then the commit is tagged. Interrupted or failed at any point it
    leaves the last version as it was; run again, it sends only what the Hub does not have yet. The same content again
    makes no commit.

    Args:
        dataset: the candidates.
        selection: which of them stay.
        recipe: what chose them; its `publish` part is the default for everything here.
        to: Hub id, `user/name`.
        folder: a folder instead; must not exist or be empty, unless `overwrite` is set and sds-hf made it.
        scores: the score table.
        private: whether a new repository is private; the account's default if None. One that exists keeps its
            visibility; if it is public and True is asked for, nothing is published.
        tag: name of the tag; `v1`, `v2`, ... if None.
        token: as in `huggingface_hub`; the stored login if None.
        overwrite: replace a folder that sds-hf made, or a Hub repository that it did not make.
        dry_run: only say what would be done.
        progress: called with the number of rows written since the last call.

    Raises:
        PublishError: if the target makes no sense, is not ours to replace or is public against the wish, or the Hub
            cannot be reached or refuses.
        ValueError: if the selection is not of this dataset, or the folder is not empty.
    """
    if to and folder:
        raise PublishError("publish with --to (a Hub id) or with --folder, not with both")
    to, folder = (None, folder) if folder else (to or recipe.publish.to, None if to else recipe.publish.folder)
    tag, private = tag or recipe.publish.tag, recipe.publish.private if private is None else private
    if (to is None) == (folder is None):
        raise PublishError("say where to publish: a Hub id with --to user/name, or a folder with --folder DIR")
    # The recipe that is published says where it was published, so that the card follows from it.
    target = {"to": to, "folder": None if folder is None else str(folder)}
    recipe = recipe.model_copy(update={"publish": recipe.publish.model_copy(update=target)})
    look = partial(review, recipe, token=token)
    make = partial(build_repository, dataset, selection, recipe, scores=scores, progress=progress, review=look)
    if to is not None and not REPO_ID.fullmatch(to):
        raise PublishError(f"{to!r} is no Hub id (user/name); a folder is given with --folder")
    if to is not None:
        published = _to_hub(HubRepository(to, token, overwrite, private), make, tag, dry_run)
    else:
        published = _to_folder(Path(str(folder)), make, overwrite, dry_run)
    return published if recipe.publish.license else replace(published, warnings=[NO_LICENCE])


def _to_hub(hub: HubRepository, make: Make, tag: str | None, dry_run: bool) -> Published:
    old_card = hub.card()  # also refuses what cannot be published before it is built
    with tempfile.TemporaryDirectory(prefix="sds-hf-") as scratch:
        report = make(Path(scratch), old_card=old_card)
        files = _sizes(Path(scratch))
        if dry_run:
            head, removed = hub.compare(files)
            return Published(hub.name, files, report, removed, head, tag or hub.next_tag(head), dry_run=True)
        revision, removed = hub.commit(Path(scratch), list(files))
        return Published(hub.name, files, report, removed, revision, hub.tag(revision, tag), hub.url)


def _to_folder(folder: Path, make: Make, overwrite: bool, dry_run: bool) -> Published:
    restore_folder(folder)
    ours = read_manifest(folder / MANIFEST) is not None
    if ours and not overwrite and not dry_run:
        raise PublishError(f"{folder} holds a published dataset already; --overwrite replaces it")
    check_free(folder, replace=ours)
    before, card = _sizes(folder), folder / CARD
    if foreign := [name for name in before if not name.startswith(OURS) and name not in OWN_FILES]:
        raise PublishError(f"{folder} also holds {foreign[0]}, which sds-hf did not write: move it away first")
    old_card = card.read_text(encoding="utf-8") if ours and card.exists() else None
    workspace = tempfile.TemporaryDirectory(prefix="sds-hf-") if dry_run else new_folder(folder, replace=ours)
    with workspace as part:
        report = make(Path(part), old_card=old_card)
        files = _sizes(Path(part))
    removed = [name for name in before if name not in files]
    return Published(str(folder), files, report, removed, dry_run=dry_run)


def _sizes(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()
    }
