"""`sds-hf score`: a dataset becomes a score table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from sds_hf.cli import completion, options

if TYPE_CHECKING:
    from sds_hf.clip.launcher import Rank
    from sds_hf.selection.recipe import Recipe
    from sds_hf.selection.report import Report
    from sds_hf.table.plan import Plan
    from sds_hf.table.score_table import ScoreTable


ENGINES = ("local", "ray", "jobs")
COUNTS = ("rows", "rows_left", "shards", "finished")  # of a plan


def command(
    dataset: Annotated[str, typer.Argument(help="Dataset folder, raw folder, Parquet files or Hub id.")],
    out: Annotated[str, typer.Option(help="Folder of the score table, or an address such as s3://bucket/scores.")],
    scores: Annotated[
        str | None,
        typer.Option(
            help="Which scores, separated by commas; default `pcs,asf_miou`. `sds-hf scores` lists them.",
            autocompletion=completion.scores,
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Recipe that says which scores, how, and with which model.", autocompletion=completion.recipes
        ),
    ] = None,
    for_recipe: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="RECIPE",
            help="Recipe whose rules say which rows need which of its scores.",
        ),
    ] = None,
    all_scores: Annotated[
        bool, typer.Option("--all", help="All scores of all rows, also those that a table made with --for skips.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            help="Hub id, local folder or `demo`; default openai/clip-vit-base-patch16.",
            autocompletion=completion.models,
        ),
    ] = None,
    labels: options.Labels = None,
    split: options.Split = None,
    config: options.Config = None,
    revision: options.Revision = None,
    dtype: options.DType = None,
    batch_size: options.BatchSize = None,
    rows_per_shard: options.RowsPerShard = 1000,
    streaming: Annotated[
        bool, typer.Option("--streaming", help="Read rows as they come, without storing the dataset here.")
    ] = False,
    engine: Annotated[
        str,
        typer.Option(metavar="local|ray|jobs", help="Where to score: here, on a Ray cluster, or in Hugging Face Jobs."),
    ] = "local",
    flavor: Annotated[
        str | None, typer.Option(help="With `--engine jobs`: the machine of each job, e.g. `h200`.")
    ] = None,
    shards: Annotated[int, typer.Option(min=1, help="With `--engine jobs`: how many jobs share the work.")] = 1,
    hours: Annotated[
        float, typer.Option(min=0.01, help="With `--engine jobs`: after how long a job is stopped.")
    ] = 4.0,
    pace: Annotated[
        float | None,
        typer.Option(min=0.0, help="With `--engine jobs`: rows/s of such a machine, instead of a trial."),
    ] = None,
    package: Annotated[
        str | None, typer.Option(help="With `--engine jobs`: what jobs install, an address or a requirement.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="With `--engine jobs`: start without a question and without a trial.")
    ] = False,
    part: Annotated[
        str | None,
        typer.Option(metavar="K/N", help="Score the K-th of N parts, and wait for none; the last one ends it."),
    ] = None,
    add: Annotated[
        str | None,
        typer.Option(
            help="Scores to add to the table that is there, separated by commas.", autocompletion=completion.scores
        ),
    ] = None,
    retry: Annotated[
        str | None, typer.Option(metavar="failed", help="Score rows again that failed; they may have been repaired.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done, how long it takes and what is wrong.")
    ] = False,
    settings: options.Sets = None,
    progress: options.Progress = None,
    quiet: options.Quiet = False,
    allow_path: options.AllowPath = None,
    allow_url: options.AllowURL = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Score a dataset into a table of Parquet shards; run again, it goes on after the last finished shard."""
    from sds_hf.cli import show
    from sds_hf.cli.answer import answer
    from sds_hf.cli.by_jobs import score_with_jobs
    from sds_hf.cli.progress import watcher
    from sds_hf.clip.device import current_device
    from sds_hf.clip.launcher import current_rank, rank_of_part
    from sds_hf.data.opening import open_dataset, open_stream
    from sds_hf.progress import once_told
    from sds_hf.scores.base.batches import AllFailedError
    from sds_hf.selection.cascade.score import score_for, scores_of_table
    from sds_hf.table.add import add_to_table, replacements
    from sds_hf.table.plan import plan_table
    from sds_hf.table.score_table import ScoreTable, score_table
    from sds_hf.table.team import PartScored

    options.named_path(out)
    if sum(map(bool, (recipe, scores, add, for_recipe))) > 1:
        raise typer.BadParameter("give one of --scores, --recipe, --for and --add")
    recipe = recipe or for_recipe
    decides = bool(for_recipe) and not all_scores
    if decides and (streaming or dry_run):
        raise typer.BadParameter("--for goes with neither --streaming nor --dry-run")
    if add and (streaming or dry_run or retry):
        raise typer.BadParameter("--add goes with neither --streaming nor --dry-run nor --retry")
    if part and (add or streaming or retry):
        raise typer.BadParameter("--part goes with neither --add nor --streaming nor --retry")
    if engine not in ENGINES:
        raise typer.BadParameter(f"--engine is {', '.join(ENGINES[:-1])} or {ENGINES[-1]}, not {engine!r}")
    if engine != "jobs" and (flavor or shards > 1 or pace or package or yes):
        raise typer.BadParameter("--flavor, --shards, --pace, --package and --yes are of --engine jobs")
    if engine == "jobs":
        if add or streaming or retry or dry_run or part or allow_path or allow_url or all_scores:
            raise typer.BadParameter("--engine jobs scores a dataset of the Hub as a whole: leave out what limits it")
        words: dict[str, Any] = {
            "split": split,
            "config": config,
            "labels": labels,
            "scores": scores,
            "model": model,
            "dtype": dtype,
        }
        words["batch-size"] = batch_size
        plan = _plan(recipe, scores, None, settings or [])
        plan = plan.model_copy(update={"model": model or plan.model})
        table = score_with_jobs(
            dataset, out, plan, words, settings or (), recipe, only_needed=decides, rows_per_shard=rows_per_shard,
            revision=revision, flavor=flavor, jobs=shards, hours=hours, pace=pace, package=package, yes=yes, json=json,
            quiet=quiet,
        )  # fmt: skip
        _show(table, 0, out, recipe, quiet, json)
        return
    if streaming and dry_run:
        raise typer.BadParameter("--dry-run counts rows, which a stream cannot: leave out --streaming")
    rank = rank_of_part(part) if part else current_rank()
    first = rank.index == 0 or not rank.together
    watch = watcher(json, progress if first and not quiet else "none")
    plan = _plan(recipe, add or scores, out if all_scores else None, settings or [])
    plan = plan.model_copy(update={"model": model or plan.model})
    named = {"labels": labels} if labels else {}
    which = (dataset, split, config, revision)
    data = open_stream(*which) if streaming else open_dataset(*which, **named)
    chosen_scores = plan.make_scores(labels=labels, dtype=dtype)
    job: dict[str, Any] = {"rows_per_shard": rows_per_shard, "source": dataset}
    if dry_run:
        planned = plan_table(data, chosen_scores, out, **job)
        _answer_plan(planned) if json else show.plan(planned)
        return
    finished: list[int] = []  # rows, whenever there are more; first those of earlier runs
    total = None if streaming else _total(len(cast(Any, data)), rank, rows_per_shard)
    with once_told(watch, "scoring", total, str(current_device())) as tell:

        def noted(rows: int, failed: int) -> None:
            finished.append(rows)
            tell(rows, failed)

        job |= {"batch_size": batch_size, "engine": engine, "progress": noted, "watch": watch}
        try:
            if add:
                if first and not json:
                    options.say_replaced(replacements(chosen_scores, ScoreTable.load(out)))
                del job["rows_per_shard"]
                table = add_to_table(cast(Any, data), chosen_scores, out, **job)
            elif decides:
                table = score_for(cast(Any, data), plan, out, scores=chosen_scores, retry=retry, rank=rank, **job)
            else:
                chosen_scores = scores_of_table(chosen_scores, out) if for_recipe else chosen_scores
                table = score_table(data, chosen_scores, out, retry=retry, rank=rank, **job)
        except PartScored as scored:
            if json:
                answer("score", {"part": str(rank)}, out=out, counts={"rows": total} if total is not None else {})
            elif not quiet:
                show.out.say("\n{}", scored)
            return
        except AllFailedError:  # the table says why
            table = ScoreTable.load(out)
    if first:
        _show(table, finished[0] if finished else len(cast(Any, data)), out, recipe, quiet, json)


def _answer_plan(plan: "Plan") -> None:
    """What would be done, for a program."""
    from sds_hf.cli.answer import answer

    answer("score", plan_rest(plan), counts=plan_counts(plan), warnings=plan.problems)


def plan_counts(plan: "Plan") -> dict[str, int]:
    """Rows and shards of a plan."""
    return {name: value for name, value in vars(plan).items() if name in COUNTS}


def plan_rest(plan: "Plan") -> dict[str, Any]:
    """What else a plan says, but its problems."""
    return {name: value for name, value in vars(plan).items() if name not in (*COUNTS, "problems")}


def _plan(recipe: str | None, scores: str | None, out: str | None, settings: list[str]) -> "Recipe":
    """What is to be scored: a recipe, scores by their names, what the table in `out` has, or the two default ones."""
    from sds_hf.data.access.remote import folder_at
    from sds_hf.selection.recipe import Recipe
    from sds_hf.table.manifest import read_manifest, stored_settings

    if recipe:
        return Recipe.load(recipe, settings)
    if not scores and out and (manifest := read_manifest(folder_at(out))):
        return Recipe.from_dict({"scores": stored_settings(manifest["scores"])}, settings)
    return Recipe.from_dict({"scores": {name.strip(): {} for name in (scores or "pcs,asf_miou").split(",")}}, settings)


def _total(rows: int, rank: "Rank", rows_per_shard: int) -> int:
    """Rows that progress counts: all of them, or those of a part that nobody waits for."""
    from sds_hf.table.shards import Shards

    return rows if rank.together else Shards(Path(), rows, rows_per_shard).rows_of(rank)


def _show(table: "ScoreTable", earlier: int, out: str, recipe: str | None, quiet: bool, json: bool) -> None:
    """What was found; a table of nothing but failures is an error."""
    from sds_hf.cli import show
    from sds_hf.cli.answer import answer, limits
    from sds_hf.cli.failures import stop
    from sds_hf.selection.recipe import Recipe
    from sds_hf.selection.select import select
    from sds_hf.table.manifest import NEEDED

    report = select(table, []).report
    if json:
        needed = {NEEDED: table.manifest[NEEDED]} if table.skips else {}
        quantiles = {name: summary.quantiles for name, summary in report.scores.items()}
        counts = {"rows": report.rows, "failed": report.failed, "by_earlier_runs": earlier}
        notes = [*limits(report), *report.warnings, *report.failures]
        answer("score", {"scores": quantiles, **needed}, out=out, counts=counts, warnings=notes)
    elif not quiet:
        show.scores(report)
        precision = ", ".join(sorted({score["dtype"] for score in table.manifest["scores"] if "dtype" in score}))
        where = " in ".join(filter(None, [table.manifest["device"], precision]))
        before = f", {earlier:,} by earlier runs" if earlier else ""
        outcome = f"{report.rows - earlier:,} rows scored on {where} into {out}{before}"
        outcome = f"nothing to do: {report.rows:,} rows are scored in {out}" if earlier == report.rows else outcome
        show.out.say("\n{}, {} failed", outcome, f"{report.failed:,}")
        show.failures(report)
        show.needed(table.manifest, report.rows)
    if not quiet and not json:
        show.limits(report)
        show.warnings(report)
    if report.failed == report.rows:
        if not json:
            stop("AllFailedError", f"all {report.rows:,} rows failed, the first with: {report.failures[0]}", 1, json)
        raise typer.Exit(1)
    if report.failed and not json and not quiet:
        show.out.print("  the same command with --retry failed scores them again, repaired or not")
    if not json and not quiet and (recipe or {"clip_sim", "pcs", "asf_miou"} <= set(report.scores)):
        chosen = recipe or "sds-paper"
        bounds = _bounds_in_reach(Recipe.load(chosen), report)
        show.next_steps([["sds-hf", "select", out, "--recipe", chosen, *bounds, "--out", "selection"]])


def _bounds_in_reach(recipe: "Recipe", report: "Report") -> list[str]:
    """Quantiles in place of fixed bounds that nearly no row reaches, as with another model than the recipe's."""
    from sds_hf.selection.rules import Threshold

    words = []
    for index, rule in enumerate(recipe.rules):
        summary = report.scores.get(rule.column) if isinstance(rule, Threshold) else None
        bound, values = getattr(rule, "above", None), summary.quantiles if summary else {}
        if isinstance(bound, float) and values and values["0.95"] <= bound:
            words += ["--set", f"rules.{index}.threshold.above=q0.2"]
    return words
