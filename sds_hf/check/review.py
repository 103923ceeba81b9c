"""Look at a new version before it is published: what is new against the last one, and whether it keeps the limits."""

import logging
from dataclasses import replace
from pathlib import Path

from sds_hf.check.diff import diff
from sds_hf.check.versions import built_version, published_version
from sds_hf.hub.layout import REPORT
from sds_hf.hub.push import PublishError
from sds_hf.hub.snapshot import Snapshot, SnapshotError
from sds_hf.selection.changes import Diff
from sds_hf.selection.disclosure import public_name
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.report import Report

logger = logging.getLogger(__name__)


def review(recipe: Recipe, snapshot: Snapshot | None, folder: Path, report: Report) -> Diff | None:
    """What is new against the version that a publication replaces: rows, scores, classes, settings, but no picture.

    A version that equals the last one in all of these and in its data has nothing new to tell and keeps what that one
    told, so that publishing it again changes nothing.

    Args:
        recipe: says where it is published and which limits hold.
        snapshot: the version that it replaces; None if sds-hf published none.
        folder: the new version's data and scores.
        report: of the new version.

    Returns:
        The changes; None for a first version.

    Raises:
        PublishError: if a limit is broken, or the Hub cannot be read.
    """
    gate, target = recipe.publish.gate, recipe.publish.to or str(recipe.publish.folder)
    changes = kept = None
    try:
        if snapshot:
            last = published_version(snapshot, public_name(target))
            last = replace(last, side=last.side.model_copy(update={"tags": snapshot.tags()}))
            changes = diff(last, built_version(folder, public_name(target), report, recipe), pictures=False)
            kept = Report.load(snapshot.fetch_whole(REPORT)).changes
    except ValueError as error:
        if gate.limits or isinstance(error, PublishError) or (recipe.publish.to and isinstance(error, SnapshotError)):
            raise PublishError(f"the last version of {target} cannot be compared with: {error}") from error
        logger.warning("the card does not tell what is new: %s", error)
    if broken := gate.broken(report, changes):
        raise PublishError(
            f"{target} stays as it is, for the gate {'; '.join(broken)}. Select other rows, or give another "
            "limit with gate=..."
        )
    return kept if changes is not None and changes.is_empty and not changes.files else changes
