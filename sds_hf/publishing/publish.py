"""Publish a selection: to a folder, or to the Hub in one commit and a tag."""

import logging
import re
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sds_hf.check.review import review
from sds_hf.data.access.paths import read_file
from sds_hf.errors import short
from sds_hf.files import check_free, files_of, new_folder, restore_folder, scratch_folder, sha256_of
from sds_hf.hub.layout import (
    CARD,
    MANIFEST,
    RECIPE,
    REPORT,
    ManifestError,
    compare_listed,
    read_manifest,
    taken_for_ours,
)
from sds_hf.hub.push import HubRepository, OvertakenError, PublishError
from sds_hf.hub.snapshot import FolderSnapshot, Snapshot
from sds_hf.publishing.card.handwritten import END, START, LastCard, join_card, lines_by_hand
from sds_hf.publishing.card.hub_rules import check_card, check_folder
from sds_hf.publishing.card.render import front_matter, knows_other_images, render_card
from sds_hf.publishing.repository import Explorer, build_repository
from sds_hf.publishing.scored import table_of
from sds_hf.screen import Block, Screen
from sds_hf.selection.disclosure import public_name
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.report import Report
from sds_hf.selection.rules import Rule
from sds_hf.selection.select import RECIPE_FILE, Selection
from sds_hf.table.score_table import ScoreTable

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
BUILDS = 3  # on as many versions of others that come in between

NO_LICENCE = "no licence is given, so nobody may use the data: say which in the recipe, e.g. publish.license=cc-by-4.0"
DEMO_MODEL = (
    "the model `demo` scored; it knows only the scenes that the demo draws: of other images its scores say nothing"
)

Make = Callable[..., Report]  # a new version in a folder, in place of a last one


@dataclass(frozen=True, repr=False)
class Published(Screen):
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

    def screen_title(self) -> str:
        """See `Screen.screen_title`."""
        verb = "would publish" if self.dry_run else "published"
        tag = f", tag {self.tag}" if self.tag else ""
        commit = f", commit {self.revision[:10]}" if self.revision else ""
        return f"Published: {verb} {self.report.kept:,} rows to {self.target}{tag}{commit}"

    def screen_blocks(self) -> list[Block]:
        """See `Screen.screen_blocks`."""
        sizes = sorted(self.files.items(), key=lambda file: -file[1])
        return [
            Block("Address", ("",), [[self.url]] if self.url else []),
            Block("Worth a look", ("",), [[warning] for warning in self.warnings]),
            Block("Files", ("file", "bytes"), [[name, f"{size:,}"] for name, size in sizes]),
            Block("Removed", ("",), [[name] for name in self.removed]),
        ]


@dataclass(frozen=True)
class Target:
    """Where a version goes: to a repository on the Hub, or into a folder; `overwrite` as in `publish`."""

    hub: HubRepository | None = None
    folder: Path | None = None
    overwrite: bool = False


def publish(
    dataset: "Dataset",
    selection: Selection,
    recipe: "Recipe | Rule | Sequence[Rule] | str | Path | None" = None,
    *,
    to: str | None = None,
    folder: str | Path | None = None,
    scores: "ScoreTable | Dataset | None" = None,
    private: bool | None = None,
    tag: str | None = None,
    token: str | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    explorer: Explorer | None = None,
    progress: Callable[[int], None] | None = None,
) -> Published:
    """Publish the kept rows with card, recipe, report, scores of all candidates, pictures and checksums.

    On the Hub everything changes at once, in one commit on the version that was looked at or, where that would be too
    many files, by the merge of a draft pull request; then the commit is tagged. If somebody else changes the repository
    meanwhile, the new version is built again on theirs. Interrupted or failed at any point it leaves the last version
    as it was; run again, it sends only what the Hub does not have yet. The same content again makes no commit. What
    others added stays: files, splits, configurations, keys, tags and languages of the card, and kept sections.

    Args:
        dataset: the candidates.
        selection: which of them stay.
        recipe: what chose them, as `select` takes it; what the selection was made with if None. Its `publish` part is
            the default for everything here.
        to: Hub id, `user/name`.
        folder: a folder instead; must not exist or be empty, unless `overwrite` is set and sds-hf made it.
        scores: what was selected from, a score table or a dataset that `add_scores` made; None publishes no scores.
        private: whether a new repository is private; the account's default if None. One that exists keeps its
            visibility; if it is public and True is asked for, nothing is published.
        tag: name of the tag; `v1`, `v2`, ... if None.
        token: as in `huggingface_hub`; the stored login if None.
        overwrite: replace a folder that sds-hf made, or a Hub repository that it did not make.
        dry_run: only say what would be done.
        explorer: puts a page to look into the set beside it, e.g. `sds_hf.explore.published.write_explorer`.
        progress: called with the number of rows written since the last call.

    Raises:
        PublishError: if the target makes no sense, is not ours to replace or is public against the wish, or the Hub
            cannot be reached or refuses.
        ValueError: if the selection is not of this dataset or not by this recipe, or the folder is not empty.

    Examples:
        >>> published = publish(candidates, selection, recipe, scores=table, folder="sds-voc")
        >>> sorted(published.files)[:3]
        ['README.md', 'assets/classes.png', 'assets/samples.png']
    """
    from datasets import Dataset

    if not isinstance(selection, Selection):
        raise ValueError(
            f"publish takes a dataset, then the Selection that `select` made of it, not {short(selection)}"
        )
    recipe = _recipe_of(selection) if recipe is None else Recipe.of(recipe)
    target = target_of(recipe, to, folder, private, token, overwrite)
    # The recipe that is published says where it was published, so that the card follows from it, and how the scores
    # were computed that it was applied to.
    named = {"to": target.hub and target.hub.name, "folder": target.folder and public_name(str(target.folder))}
    recipe = recipe.model_copy(update={"publish": recipe.publish.model_copy(update=named)})
    if identities := selection.report.provenance.get("scores"):
        recipe = recipe.computed_as(identities)
    with scratch_folder() as scratch:
        table = table_of(scores, selection, scratch) if isinstance(scores, Dataset) else scores
        make = partial(build_repository, dataset, selection, recipe, scores=table, explorer=explorer, progress=progress)
        if target.hub is not None:
            published = _to_hub(target.hub, make, recipe, tag or recipe.publish.tag, dry_run)
        else:
            assert target.folder is not None
            published = _to_folder(target.folder, make, recipe, overwrite, dry_run)
    notes = [NO_LICENCE] * (not recipe.publish.license) + [DEMO_MODEL] * knows_other_images(published.report)
    return replace(published, warnings=[*notes, *published.warnings])


def _recipe_of(selection: Selection) -> Recipe:
    """The recipe that a selection was made with, which lies beside it.

    Raises:
        ValueError: if there is none.
    """
    path = selection.path.parent / RECIPE_FILE
    if not path.exists():
        raise ValueError(f"no {RECIPE_FILE} lies beside {selection.path}: say what chose the rows with recipe=...")
    return Recipe.load(path)


def target_of(
    recipe: Recipe,
    to: str | None = None,
    folder: str | Path | None = None,
    private: bool | None = None,
    token: str | None = None,
    overwrite: bool = False,
) -> Target:
    """Where a recipe, and what is said beside it, publishes to; see `publish`.

    Raises:
        PublishError: if that makes no sense.
    """
    if to and folder:
        raise PublishError("publish with to=... (a Hub id) or with folder=..., not with both")
    to, folder = (None, folder) if folder else (to or recipe.publish.to, None if to else recipe.publish.folder)
    private = recipe.publish.private if private is None else private
    if (to is None) == (folder is None):
        raise PublishError("say where to publish: a Hub id (user/name) with to=..., or a folder with folder=...")
    if to is None:
        return Target(folder=Path(str(folder)), overwrite=overwrite)
    if not REPO_ID.fullmatch(to):
        raise PublishError(f"{to!r} is no Hub id (user/name); a folder is given with folder=...")
    return Target(HubRepository(to, token, overwrite, private), overwrite=overwrite)


def check_target(recipe: Recipe, target: Target, dry_run: bool = False) -> None:
    """Refuse a target before the work that is to be published: what is there, and what the recipe says of the card.

    Raises:
        PublishError: see `publish`.
        ValueError: see `publish`.
    """
    terms = recipe.publish.model_dump(include={"license", "license_name", "license_link", "language", "tags"})
    check_card(join_card({key: value for key, value in terms.items() if value}, "")).refuse()
    if target.hub is not None:
        target.hub.compare(())
    elif target.folder is not None:
        snapshot, _ = _last_version(target.folder, target.overwrite or dry_run)
        _check_hand(target.folder, snapshot)


def _to_hub(hub: HubRepository, make: Make, recipe: Recipe, tag: str | None, dry_run: bool) -> Published:
    for build in range(1, BUILDS + 1):
        head = hub.pin()  # also refuses what cannot be published before it is built
        snapshot, others = hub.snapshot(), head.others if head else []
        last_card = _last_card(hub.card(), snapshot, others)
        with scratch_folder() as scratch:
            report = make(scratch, last_card=last_card, review=partial(review, recipe, snapshot))
            files, warnings = _sizes(scratch), check_folder(scratch, others=others).warnings
            commit, removed = hub.compare(files)
            if dry_run:
                next_tag = tag or hub.next_tag(commit)
                return Published(hub.name, files, report, removed, commit, next_tag, None, True, warnings)
            try:
                revision, removed = hub.commit(scratch, list(files))
            except OvertakenError:
                if build == BUILDS:
                    raise
                logger.warning("%s was changed by somebody else meanwhile; building on their version", hub.name)
                continue
            tag = hub.tag(revision, tag)
            return Published(hub.name, files, report, removed, revision, tag, hub.url, warnings=warnings)
    raise AssertionError("unreachable")


def _to_folder(folder: Path, make: Make, recipe: Recipe, overwrite: bool, dry_run: bool) -> Published:
    restore_folder(folder)
    snapshot, own = _last_version(folder, overwrite or dry_run)
    _check_hand(folder, snapshot)
    there = files_of(folder)
    others = [name for name in there if name not in own]
    card = read_file(folder / CARD).decode() if snapshot and CARD in there else None
    workspace: AbstractContextManager[Path] = (
        scratch_folder() if dry_run else new_folder(folder, replace=snapshot is not None, own=own)
    )
    with workspace as part:
        last_card = _last_card(card, snapshot, others)
        report = make(part, last_card=last_card, review=partial(review, recipe, snapshot))
        files, warnings = _sizes(part), check_folder(part, others=others).warnings
    removed = [name for name in there if name in own and name not in files]
    return Published(str(folder), files, report, removed, dry_run=dry_run, warnings=warnings)


def _last_version(folder: Path, replace: bool) -> tuple[Snapshot | None, Collection[str]]:
    """The version in a folder and the files that sds-hf wrote there; None and none if there is nothing.

    Raises:
        PublishError: if there is one that may not be replaced, or what is there would be taken for a part of it.
        ValueError: if there is something else.
    """
    try:
        ours = read_manifest(folder / MANIFEST) is not None
    except ManifestError as error:
        raise PublishError(f"{folder}: {error}; nothing there is replaced: move it away") from error
    if ours and not replace:
        raise PublishError(f"{folder} holds a published dataset already; overwrite=True replaces it")
    check_free(folder, replace=ours)
    if not ours:
        return None, ()
    snapshot = FolderSnapshot(folder)
    own = {*snapshot.entries(), MANIFEST}
    if strange := [name for name in taken_for_ours(files_of(folder)) if name not in own]:
        raise PublishError(
            f"{folder} holds {strange[0]}, which sds-hf did not write and `load_dataset` would take for its data: move "
            "it away"
        )
    return snapshot, own


def _check_hand(folder: Path, snapshot: Snapshot | None) -> None:
    """Refuse to drop what people wrote into the card of a folder, of which there is no older version.

    Raises:
        PublishError: says what, and what to do.
    """
    if snapshot is None or compare_listed(folder, (CARD,)).get(CARD, True):
        return
    recipe, report = _asked_and_found(snapshot)
    if recipe is None or report is None:
        return
    lines = lines_by_hand(read_file(folder / CARD).decode(), render_card(recipe, report))
    if lines:
        raise PublishError(
            f"{folder / CARD} has lines written by hand which a new card would not have, first {short(lines[0])}: put "
            f"them between lines `{START}` and `{END}`, or run `sds-hf card {folder}`, which takes them out"
        )


def _asked_and_found(snapshot: Snapshot) -> tuple[Recipe, Report] | tuple[None, None]:
    """Recipe and report of a version; None where they are gone, changed, or of another version of sds-hf."""
    try:
        recipe, report = (snapshot.fetch_whole(name) for name in (RECIPE, REPORT))
        listed = snapshot.entries()
        if all(sha256_of(path) == listed[name].sha256 for path, name in ((recipe, RECIPE), (report, REPORT))):
            return Recipe.load(recipe), Report.load(report)
    except (FileNotFoundError, KeyError, ValueError):
        logger.debug("recipe or report of %s is gone, or of another version of sds-hf", snapshot.title)
    return None, None


def _last_card(text: str | None, snapshot: Snapshot | None, others: Collection[str]) -> LastCard | None:
    """The card of the last version, with what sds-hf wrote into its YAML: its recipe and report say so."""
    if text is None or snapshot is None:
        return None
    recipe, report = _asked_and_found(snapshot)
    return LastCard(text, front_matter(recipe, report) if recipe and report else None, others)


def _sizes(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_size for name in files_of(folder)}
