"""What a recipe and a table that is begun already allow jobs to do, found out before anything is paid for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sds_hf.scores.base.catalog import recipe_settings
from sds_hf.scores.base.score import Score
from sds_hf.scores.classes_present import ClassesPresent
from sds_hf.selection.cascade.parts import check_columns, phase_of_parts
from sds_hf.table.manifest import NEEDED, read_manifest

if TYPE_CHECKING:
    from sds_hf.hub_jobs.order import Order

FILES = ("model", "fitted", "labels")  # settings of scores that may name a file or folder
ELSEWHERE = "jobs wait for nobody: score here or with engine='ray', or score everything into another out=..."


def check_table(order: "Order", folder: Path) -> None:
    """Refuse what jobs cannot make of a folder, each of which makes its part of the table and waits for no other.

    Args:
        order: what is asked.
        folder: of the table.

    Raises:
        ValueError: says what, and what to do instead.
    """
    plan = order.plan
    scores = [ClassesPresent(), *(score for score in plan.make_scores() if score.name != ClassesPresent.name)]
    _check_files(scores)
    manifest = read_manifest(folder) or {}
    if manifest and (differing := _differing(order, scores, manifest)):
        raise ValueError(
            f"{folder} holds scores of another request, which differs in {', '.join(differing[:3])}: choose another "
            "out=..., or delete it"
        )
    if order.only_needed:
        check_columns(plan.rules, scores)
        if manifest and NEEDED not in manifest and not manifest.get("complete"):
            raise ValueError(
                f"{folder} holds an unfinished table of all scores: finish that first, or choose another out=..."
            )
        if not manifest or NEEDED in manifest:
            phase_of_parts(plan, scores, folder, manifest, ELSEWHERE)
    elif NEEDED in manifest:
        raise ValueError(
            f"{folder} has only what the rules of {manifest[NEEDED]['recipe']!r} needed, and the rest is computed by "
            f"processes that wait for each other; {ELSEWHERE}"
        )


def _check_files(scores: Sequence[Score]) -> None:
    """Refuse settings that are files of this machine.

    Raises:
        ValueError: names one.
    """
    for score in scores:
        for name, value in score.values().items():
            if name in FILES and isinstance(value, str) and Path(value).exists():
                raise ValueError(
                    f"jobs cannot see {value}, which lies on this machine and is the {name} of {score.name}: put it on "
                    "the Hub"
                )


def _differing(order: "Order", scores: Sequence[Score], manifest: Mapping[str, Any]) -> list[str]:
    """In what a table is of another request, as far as that can be seen without its dataset and models."""
    stored = {entry["score"]: recipe_settings(entry) for entry in manifest["scores"]}
    wanted = {score.name: recipe_settings({"score": score.name, **score.values()}) for score in scores}
    names = {*wanted} - {*stored} if order.only_needed else {*wanted} ^ {*stored}  # a table may have more than it needs
    differing = sorted(names)
    for name in sorted({*stored} & {*wanted}):
        both = {*stored[name]} & {*wanted[name]}  # what decides nothing is not stored
        differing += [f"{name}.{key}" for key in sorted(both) if stored[name][key] != wanted[name][key]]
    source = manifest["source"]
    pairs = {
        "rows_per_shard": (manifest["rows_per_shard"], order.rows_per_shard),
        "the dataset": (source.get("name"), order.dataset),
        "its rows": (source.get("rows"), order.rows if order.rows is not None else source.get("rows")),
    }
    return differing + [name for name, (old, new) in pairs.items() if old != new]
