"""`sds-hf run`: everything a recipe says."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sds_hf.cli import options
from sds_hf.cli.verify import after_push, conclude


def command(
    recipe: Annotated[str, typer.Argument(help="Recipe file with a source.")],
    out: Annotated[
        Path,
        options.path("Folder for source, scores, selection and publication."),
    ] = Path("sds-run"),
    batch_size: options.BatchSize = None,
    rows_per_shard: options.RowsPerShard = 1000,
    overwrite: Annotated[bool, typer.Option(help="Replace what was published to the recipe's folder.")] = False,
    all_scores: Annotated[
        bool, typer.Option("--all", help="Compute all scores of all rows, not only those that the rules need.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Score and select, but publish nothing.")] = False,
    verify: options.Verify = True,
    settings: options.Sets = None,
    progress: options.Progress = None,
    quiet: options.Quiet = False,
    allow_path: options.AllowPath = None,
    allow_url: options.AllowURL = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Do all of it from one recipe file: import, score, select, publish."""
    from sds_hf import pipeline
    from sds_hf.cli import show
    from sds_hf.cli.progress import watcher
    from sds_hf.clip.launcher import current_rank
    from sds_hf.selection.recipe import Recipe

    plan = Recipe.load(recipe, settings or ())
    extra: dict[str, Any] = {name: True for name, is_set in (("dry_run", dry_run), ("overwrite", overwrite)) if is_set}
    watch = watcher(json, "none" if quiet or current_rank().index > 0 else progress)
    extra |= {"rows_per_shard": rows_per_shard, "batch_size": batch_size, "all_scores": all_scores}
    finished_run = pipeline.run(plan, out, watch=watch, **extra)
    if finished_run is None:  # another process publishes
        return
    verification = after_push(finished_run.published, verify)
    if json:
        options.print_json(options.published_json(finished_run.published, verification))
    elif not quiet:
        show.limits(finished_run.report)
        show.scores(finished_run.report)
        show.needed(finished_run.table.manifest, finished_run.report.rows)
        show.out.print()
        show.funnel(finished_run.report)
        show.published(finished_run.published)
    conclude(verification, json or (quiet and verification is not None and verification.ok))
