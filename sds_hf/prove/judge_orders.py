"""The order in which rules would give rows up, and whether a recipe's rules fit a table of scores."""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sds_hf.data.labels import LabelSpace
from sds_hf.scores.base.batches import columns_read
from sds_hf.scores.base.catalog import score_classes
from sds_hf.scores.base.score import score_cells
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.rules import Rule, resized
from sds_hf.selection.select import EmptySelectionError, select

if TYPE_CHECKING:
    from datasets import Dataset

Array = np.ndarray
SIZES = 12  # at which rules are asked how many rows they would keep
NOT_SETTINGS = ("labels", "model", "dtype", "fitted", "statistics")  # the rules mean the same with others


def kept_by(scores: str | Path, rules: Sequence[Rule], count: int, size: int | None = None) -> Array | None:
    """Which rows the rules keep, (count,) float of 0 and 1; none if no row is left.

    Args:
        scores: what `select` takes.
        rules: in order.
        count: rows of the scores.
        size: rows to keep, in place of the share that the last rule keeps; as the rules say if None.

    Returns:
        None if the last rule keeps no share, and so cannot keep another one.
    """
    try:
        chosen = list(rules) if size is None else resized(rules, size)
    except ValueError:
        return None
    kept = np.zeros(count)
    with suppress(EmptySelectionError):
        kept[select(scores, chosen).kept_rows()] = 1
    return kept


def order_of(scores: str | Path, rules: Sequence[Rule], count: int) -> Array:
    """For each row at how many sizes, evenly spaced, the rules keep it, (count,) float: higher stays longer.

    Rules that cannot keep another number of rows give 1 for what they keep, else 0.
    """
    stays = np.zeros(count)
    for step in range(1, SIZES + 1):
        kept = kept_by(scores, rules, count, max(1, count * step // SIZES))
        if kept is None:
            alone = kept_by(scores, rules, count)
            assert alone is not None
            return alone
        stays += kept
    return stays


def misfit(recipe: Recipe, columns: Sequence[str], identities: Sequence[Mapping[str, Any]] | None) -> str | None:
    """Why the rules of a recipe would mean something else on these scores; None if they would not.

    Args:
        recipe: with rules.
        columns: of the scores.
        identities: `Score.identity()` of each score; None if nothing says how they were computed.
    """
    reads = [column for rule in recipe.rules for column in rule.reads]
    if missing := [name for name in dict.fromkeys(reads) if name not in columns]:
        return f"there is no {' or '.join(missing)}"
    if identities is None:
        return "nothing says how the scores were computed; name it to judge its rules all the same"
    computed = {one["score"]: one for one in identities}
    for score in recipe.make_scores():
        if not set(score.columns) & set(reads):
            continue
        name = score.name if score.name in computed else _writer(reads, score.columns, computed)
        as_computed = json.loads(json.dumps(computed.get(name, {})))
        for setting, value in json.loads(json.dumps(score.values())).items():
            here = as_computed.get(setting, value)
            if setting not in NOT_SETTINGS and here != value:
                return f"{score.name} was computed with {setting} {here}, not {value}"
    return None


def _writer(reads: Sequence[str], columns: Mapping[str, Any], computed: Mapping[str, Any]) -> str:
    """The score that wrote what the rules read of another score's columns, e.g. `pcs` for `clip_sim`."""
    classes = score_classes()
    writers = (name for name in computed if name in classes and set(classes[name].columns) & set(columns) & set(reads))
    return next(writers, "")


def seconds_a_row(dataset: "Dataset", manifest: Mapping[str, Any], count: int) -> dict[str, tuple[set[str], float]]:
    """What each score of a table costs on this machine, alone: the columns it writes, and seconds a row.

    Args:
        dataset: that was scored.
        manifest: of the table.
        count: rows to score again; as many are scored before, to load what is needed.
    """
    recipe = Recipe().computed_as(manifest["scores"])
    labels, costs = LabelSpace(**manifest["labels"]), dict[str, tuple[set[str], float]]()
    for score in recipe.make_scores(labels=manifest["labels"]["name"]):
        names = [name for name in columns_read([score]) if name in dataset.column_names]
        if not score.is_fitted:
            continue
        table = dataset.select_columns(names).with_format("arrow")[: min(count, len(dataset))]
        cells = {name: table[name].to_pylist() for name in names}
        score_cells([score], cells, labels)
        started = time.perf_counter()
        score_cells([score], cells, labels)
        costs[score.name] = set(score.columns), (time.perf_counter() - started) / table.num_rows
    return costs
