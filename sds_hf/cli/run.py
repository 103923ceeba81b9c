"""`sds-hf run`: everything a recipe says."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sds_hf.cli import completion, options
from sds_hf.cli.verify import after_push, conclude

if TYPE_CHECKING:
    from sds_hf.cli.run_plan import RunPlan
    from sds_hf.pipeline import Run
    from sds_hf.selection.recipe import Recipe

FOLDER = Path("sds-run")


def command(
    recipe: Annotated[str, typer.Argument(help="Recipe file with a source.", autocompletion=completion.recipes)],
    out: Annotated[
        Path | None,
        options.path(
            "Folder for source, scores, selection and publication; `sds-run/NAME`, of the recipe, by default."
        ),
    ] = None,
    batch_size: options.BatchSize = None,
    rows_per_shard: options.RowsPerShard = 1000,
    overwrite: Annotated[bool, typer.Option(help="Replace what was published to the recipe's folder.")] = False,
    all_scores: Annotated[
        bool, typer.Option("--all", help="Compute all scores of all rows, not only those that the rules need.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done, how long it takes and what is wrong.")
    ] = False,
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
    from sds_hf.cli.answer import answer_published
    from sds_hf.cli.progress import watcher
    from sds_hf.cli.run_plan import plan_run
    from sds_hf.clip.launcher import current_rank
    from sds_hf.selection.recipe import Recipe

    plan = Recipe.load(recipe, settings or ())
    out = out or FOLDER / re.sub(r"[^\w.-]+", "-", plan.name).strip("-.")
    target: dict[str, Any] = {"overwrite": True} if overwrite else {}
    first = current_rank().index == 0
    if dry_run:
        if first:
            planned = plan_run(plan, out, rows_per_shard=rows_per_shard, **target)
            _answer_plan(planned) if json else _show_plan(planned)
        return
    kind = "none" if quiet or not first else progress
    watch = watcher(json, kind)
    target |= {"rows_per_shard": rows_per_shard, "batch_size": batch_size, "all_scores": all_scores}
    finished_run = pipeline.run(plan, out, watch=watch, **target)
    if finished_run is None:  # another process publishes
        return
    verification = after_push(finished_run.published, verify, watcher(json, kind, brief=True))
    if json:
        answer_published("run", finished_run.published, verification)
    elif not quiet:
        _show(finished_run, plan)
    conclude(verification, json or (quiet and verification is not None and verification.ok))


def _show(run: "Run", recipe: "Recipe") -> None:
    from sds_hf.cli import show

    show.limits(run.report)
    show.scores(run.report)
    show.needed(run.table.manifest, run.report.rows)
    show.out.print()
    show.funnel(run.report)
    show.unread(run.report, recipe)
    show.published(run.published)
    if run.published.revision is None:
        show.paths(Path(run.published.target))
    selection, source = run.out / "selection", run.table.manifest["source"]["name"]
    dataset = run.out / "source" if (run.out / "source").exists() else source
    show.next_steps(
        [
            ["sds-hf", "look", selection, "--dataset", dataset, "--out", run.out / "look.html"],
            ["sds-hf", "explore", run.out / "scores", dataset, "--selection", selection],
        ],
        "Look at" if run.published.revision else "",
    )


def _show_plan(plan: "RunPlan") -> None:
    from sds_hf.cli import show

    if plan.imports:
        show.out.say("{} rows would be imported", f"{plan.imports:,}")
    show.plan(plan.table)
    if plan.published is not None:
        show.out.print()
        show.funnel(plan.published.report)
        show.published(plan.published)
        return
    show.out.say("\nthen rows are chosen by:")
    for rule in plan.rules:
        show.out.say("  {}", rule)
    show.out.say("and published to {}", plan.target)


def _answer_plan(plan: "RunPlan") -> None:
    from sds_hf.cli.answer import answer, answer_published
    from sds_hf.cli.score import plan_counts, plan_rest

    result: dict[str, Any] = {
        "imports": plan.imports,
        "rules": plan.rules,
        "target": plan.target,
        "table": plan_rest(plan.table),
    }
    if plan.published is not None:
        answer_published("run", plan.published, **result)
    else:
        answer("run", {"dry_run": True, **result}, counts=plan_counts(plan.table), warnings=plan.table.problems)
