"""What a run would do: rows to import and to score, and once they are scored, what would be kept and published."""

from dataclasses import dataclass, replace
from itertools import islice
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from sds_hf.data.folder import ORIGIN, source_features, write_data_folder
from sds_hf.data.opening import open_dataset
from sds_hf.data.sources import make_reader
from sds_hf.files import named_folder
from sds_hf.pipeline import check_imported, check_unused, scores_of, source_of, target_arguments
from sds_hf.publishing.publish import Published, check_target, publish, target_of
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.select import select
from sds_hf.table.manifest import NEEDED, read_manifest
from sds_hf.table.plan import SAMPLE, Plan, plan_table
from sds_hf.table.score_table import ScoreTable

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class RunPlan:
    """What a run would do.

    Attributes:
        imports: files that would be read into `source/`; 0 if they have been, or there is a dataset.
        table: of the scores.
        rules: of the recipe, in words.
        target: where would be published.
        published: what would be, if all rows are scored already.
    """

    imports: int
    table: Plan
    rules: list[str]
    target: str
    published: Published | None


def plan_run(recipe: Recipe, out: str | Path, *, rows_per_shard: int = 1000, **target: Any) -> RunPlan:
    """Look at what `run` would do. Nothing is written; a few rows are scored to measure how long it takes.

    Args:
        recipe: as for `run`.
        out: as for `run`.
        rows_per_shard: as for `run`.
        **target: as for `run`.

    Raises:
        ValueError: where `run` would, as far as that can be seen before rows are scored.
    """
    out = named_folder(Path(out))
    target = target_arguments(recipe, out, target)
    checked = target_of(recipe, **target)
    check_target(recipe, checked, dry_run=True)
    name = checked.hub.name if checked.hub else str(checked.folder)
    source, scores = source_of(recipe), scores_of(recipe)
    options: dict[str, Any] = {"rows_per_shard": rows_per_shard}
    if source.path is not None and not (out / "source" / ORIGIN).exists():
        check_unused(out)
        reader = make_reader(source.reader, source.path, **source.reader_options())
        rows = len(list(reader.entries()))
        with TemporaryDirectory(prefix="sds-hf-") as folder:  # as many rows as a plan looks at
            sample = Path(folder) / "sample"
            write_data_folder(islice(reader.rows(), SAMPLE), source_features(reader), sample)
            plan = plan_table(open_dataset(sample), scores, out / "scores", source=source.path, **options)
        return RunPlan(rows, _of_all(plan, rows, rows_per_shard), _labels(recipe), name, None)
    if source.path is not None:
        check_imported(source, out)
        dataset, title = open_dataset(out / "source"), source.path
    else:
        assert source.dataset is not None
        dataset = open_dataset(source.dataset, source.split, config=source.config, revision=source.revision)
        title = source.dataset
    # A table that has only what its rules needed is decided on row by row: what is left is known at most.
    needed = NEEDED in (read_manifest(out / "scores") or {})
    plan = plan_table(dataset, scores, out / ("scores-anew" if needed else "scores"), source=title, **options)
    published = None if plan.rows_left else _published(recipe, dataset, out, target)
    return RunPlan(0, plan, _labels(recipe), name, published)


def _of_all(sample: Plan, rows: int, rows_per_shard: int) -> Plan:
    """The plan for all rows, of that for some."""
    seconds = rows / sample.rows_per_second if sample.rows_per_second else None
    size = sample.bytes * rows // max(1, sample.rows)
    shards = ceil(rows / rows_per_shard)
    return replace(sample, rows=rows, rows_left=rows, shards=shards, seconds=seconds, bytes=size)


def _published(recipe: Recipe, dataset: "Dataset", out: Path, target: dict[str, Any]) -> Published:
    table = ScoreTable.load(out / "scores")
    return publish(dataset, select(table, recipe), recipe, scores=table, dry_run=True, **target)


def _labels(recipe: Recipe) -> list[str]:
    return [rule.label for rule in recipe.rules]
