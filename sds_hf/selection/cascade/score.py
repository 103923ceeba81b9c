"""A score table of which only that is computed which decides the rows of a recipe."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sds_hf.data.access.remote import folder_at, local_copy
from sds_hf.files import is_remote
from sds_hf.progress import Watch, nothing
from sds_hf.scores.base.score import Score
from sds_hf.scores.classes_present import ClassesPresent
from sds_hf.selection.cascade.parts import check_columns, phase_of_parts, wish_of
from sds_hf.selection.cascade.plan import stretches
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.rules import Rule
from sds_hf.selection.select import rows_left
from sds_hf.table.manifest import NEEDED, read_manifest, stored_scores
from sds_hf.table.partial.phase import Phase
from sds_hf.table.score_table import Engine, Progress, ScoreTable, job_class, score_table, some_scored
from sds_hf.table.shards import Shards
from sds_hf.table.task import Task, make_folder
from sds_hf.table.team import ALONE, POLL, PartScored, Rank, Team, current_rank
from sds_hf.table.writer import write_part, write_table

if TYPE_CHECKING:
    from datasets import Dataset

ATTEMPTS = 10  # to read files that others replace


def score_for(
    dataset: "Dataset",
    recipe: Recipe,
    out: str | Path,
    *,
    scores: Sequence[Score] | None = None,
    rows_per_shard: int = 1000,
    batch_size: int | None = None,
    source: str = "",
    retry: str | None = None,
    progress: Progress | None = None,
    watch: Watch = nothing,
    engine: Engine = "local",
    rank: Rank | None = None,
) -> ScoreTable:
    """Score a dataset as far as a recipe's rules need it: `select` keeps the same rows, for the same reasons.

    A row that a bound drops gets no further score, and the shuffles of `pcs` stop as soon as its bound is certain
    either way: similarities lie in a range, so the mean lies in an interval after each of them. Rules that look at all
    rows that are left, such as quantiles and the best of a group, get the values of all of these. What is not computed
    is null, and named in the column `skipped_scores`.

    Run again it goes on, as `score_table` does; with another recipe of the same scores it computes what this one needs
    besides, and `score_table` computes the rest. A table that has everything is left as it is.

    Args:
        dataset: see `score_table`; not a stream.
        recipe: whose rules decide.
        out: folder of the table.
        scores: what the table has columns for; the recipe's scores if None.
        rows_per_shard: see `score_table`.
        batch_size: see `score_table`.
        source: see `score_table`.
        retry: see `score_table`.
        progress: see `score_table`; it begins again with each pass over the rows.
        watch: see `score_table`.
        engine: see `score_table`.
        rank: see `score_table`. The jobs of an array, which wait for nobody, can make the table of a recipe whose rules
            look at all rows once at most, after bounds that are numbers: as those of the paper do.

    Raises:
        ValueError: see `score_table`; also if the dataset is a stream, or the folder holds an unfinished table of all
            scores.
        PartScored: see `score_table`.

    Example:
        >>> table = score_for(candidates, Recipe.load("demo"), "needed")
        >>> table.manifest["needed"]["rows"]["boundary"]  # no rule of the demo reads it
        0
    """
    from datasets import Dataset

    if not isinstance(dataset, Dataset):
        raise ValueError("what a recipe needs is found by going over the rows more than once, which a stream cannot")
    folder = folder_at(out)
    team = Team(folder, rank or current_rank())
    manifest = read_manifest(folder) or {}
    wanted = recipe.make_scores() if scores is None else list(scores)
    chosen = scores_of_table(wanted, folder)
    job: dict[str, Any] = {"rows_per_shard": rows_per_shard, "source": source, "batch_size": batch_size}
    shown: dict[str, Any] = {"progress": progress, "watch": watch}
    if manifest and NEEDED not in manifest:
        if not manifest.get("complete"):
            raise ValueError(
                f"{folder} holds an unfinished table of all scores: finish that first, or choose another out=..."
            )
        return score_table(dataset, chosen, out, **job, retry=retry, **shown, engine=engine, rank=rank)
    task = Task(dataset, chosen, out, rows_per_shard, source)
    work = job_class(engine)(task, batch_size)
    check_columns(recipe.rules, task.scores)
    alone = None if team.rank.together else phase_of_parts(recipe, task.scores, folder, manifest)
    if alone and retry:
        raise ValueError(f"rows that failed are scored again by processes that wait for each other; {ALONE}")
    make_folder(task.folder)
    with team:
        task.read(watch)
        if alone:
            shards = Shards(task.folder, len(dataset), rows_per_shard, team.rank.index)
            if not write_part(work, shards, team, progress, alone):
                raise PartScored(team.rank, task.folder)
            return some_scored(ScoreTable.load(task.folder))
        parts = stretches(recipe.rules, task.scores)
        for number, part in enumerate(parts):
            left = _rows_left_so_far(task.folder, part.rules, team.rank.count) if part.rules else None
            phase = Phase(part.needs, left, number, len(parts), wish_of(recipe))
            shards = Shards(task.folder, len(dataset), rows_per_shard, team.rank.index)
            write_table(work, shards, team, None if number else retry, progress, phase)
    return some_scored(ScoreTable.load(task.folder))


def _rows_left_so_far(folder: Path, rules: Sequence[Rule], processes: int) -> np.ndarray:
    """Which rows of a folder's table some rules leave, (rows,) bool.

    Other processes may be further, and replace a file just while it is read. What the rules read is the same in the new
    one: it is read again.
    """
    for _ in range(ATTEMPTS if processes > 1 else 0):
        with suppress(OSError, ValueError):
            return rows_left(_table_so_far(folder), rules)
        time.sleep(POLL)
    return rows_left(_table_so_far(folder), rules)


def _table_so_far(folder: Path) -> ScoreTable:
    """The table of a folder after a phase."""
    folder = local_copy(folder) if is_remote(folder) else folder
    manifest = read_manifest(folder)
    assert manifest is not None
    return ScoreTable(folder, manifest)


def scores_of_table(scores: Sequence[Score], folder: str | Path) -> list[Score]:
    """The scores of the table in a folder if it has these and others besides, else these."""
    manifest = read_manifest(folder_at(folder)) or {}
    stored = {entry["score"]: entry for entry in manifest.get("scores", ())}
    names = [score.name for score in scores]
    if not (scores and {*names} < {*stored} - {ClassesPresent.name}):
        return list(scores)
    by_name = {score.name: score for score in scores}
    return [by_name.get(score.name, score) for score in stored_scores(stored.values(), scores[0].labels)]
