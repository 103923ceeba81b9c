"""Look at a new version before it is published: what is new against the last one, and whether it keeps the limits."""

import logging
from dataclasses import replace
from pathlib import Path

from sds_hf.check.diff import diff
from sds_hf.check.versions import built_version, published_version
from sds_hf.hub.layout import MANIFEST, read_manifest
from sds_hf.hub.push import HubRepository, PublishError
from sds_hf.hub.snapshot import FolderSnapshot, HubSnapshot, Snapshot, SnapshotError
from sds_hf.selection.changes import Diff
from sds_hf.selection.disclosure import public_name
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.report import Report
from sds_hf.selection.select import REPORT_FILE

logger = logging.getLogger(__name__)


def review(recipe: Recipe, folder: Path, report: Report, *, token: str | None = None) -> Diff | None:
    """What is new against the version that a publication replaces: rows, scores, classes, settings, but no picture.

    A version that equals the last one in all of these and in its data has nothing new to tell and keeps what that one
    told, so that publishing it again changes nothing.

    Args:
        recipe: says where it is published and which limits hold.
        folder: the new version's data and scores.
        report: of the new version.
        token: as in `huggingface_hub`.

    Returns:
        The changes; None for a first version.

    Raises:
        PublishError: if a limit is broken, or the Hub cannot be read.
    """
    gate, target = recipe.publish.gate, recipe.publish.to or str(recipe.publish.folder)
    changes = kept = None
    try:
        if snapshot := _last_version(recipe, token):
            last = published_version(snapshot, public_name(target))
            last = replace(last, side=last.side.model_copy(update={"tags": snapshot.tags()}))
            changes = diff(last, built_version(folder, public_name(target), report, recipe), pictures=False)
            kept = Report.load(snapshot.fetch(REPORT_FILE)).changes
    except ValueError as error:
        if gate.limits or isinstance(error, PublishError) or (recipe.publish.to and isinstance(error, SnapshotError)):
            raise PublishError(f"the last version of {target} cannot be compared with: {error}") from error
        logger.warning("the card does not tell what is new: %s", error)
    if broken := gate.broken(report, changes):
        raise PublishError(
            f"{target} stays as it is, for the gate {'; '.join(broken)}. Select other rows, or give another limit with "
            "--gate"
        )
    return kept if changes is not None and changes.is_empty and not changes.files else changes


def _last_version(recipe: Recipe, token: str | None) -> Snapshot | None:
    """The version that would be replaced; None if there is none that sds-hf published.

    Raises:
        ValueError: if it cannot be had.
    """
    to, folder = recipe.publish.to, recipe.publish.folder
    head = HubRepository(to, token, overwrite=True).compare(())[0] if to else None
    if to and head is None:
        return None
    if not to and not (Path(str(folder)) / MANIFEST).exists():
        return None
    snapshot = HubSnapshot(to, head, token) if to else FolderSnapshot(Path(str(folder)))
    try:
        return snapshot if read_manifest(snapshot.fetch(MANIFEST)) is not None else None
    except FileNotFoundError:
        return None
