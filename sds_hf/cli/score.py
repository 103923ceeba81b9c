"""`sds-hf score`: a dataset becomes a score table."""

from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from sds_hf.cli import completion, options

if TYPE_CHECKING:
    from sds_hf.selection.recipe import Recipe
    from sds_hf.selection.report import Report
    from sds_hf.table.plan import Plan
    from sds_hf.table.score_table import ScoreTable


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
        str, typer.Option(metavar="local|ray", help="Where to score: here, or on the machines of a Ray cluster.")
    ] = "local",
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
    from sds_hf.cli.progress import watcher
    from sds_hf.clip.device import current_device
    from sds_hf.data.opening import open_dataset, open_stream
    from sds_hf.scores.base.batches import AllFailedError
    from sds_hf.selection.recipe import Recipe
    from sds_hf.table.add import add_to_table, replacements
    from sds_hf.table.plan import plan_table
    from sds_hf.table.score_table import ScoreTable, score_table
    from sds_hf.table.team import current_rank

    options.named_path(out)
    if (recipe and scores) or (add and (recipe or scores)):
        raise typer.BadParameter("give one of --scores, --recipe and --add")
    if add and (streaming or dry_run or retry):
        raise typer.BadParameter("--add goes with neither --streaming nor --dry-run nor --retry")
    if streaming and dry_run:
        raise typer.BadParameter("--dry-run counts rows, which a stream cannot: leave out --streaming")
    first = current_rank().index == 0
    watch = watcher(json, progress if first and not quiet else "none")
    names: dict[str, Any] = {name.strip(): {} for name in (add or scores or "pcs,asf_miou").split(",")}
    plan = Recipe.load(recipe, settings or ()) if recipe else Recipe.from_dict({"scores": names}, settings or ())
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
    with watch("scoring", None if streaming else len(data), str(current_device())) as tell:

        def noted(rows: int, failed: int) -> None:
            finished.append(rows)
            tell(rows, failed)

        job |= {"batch_size": batch_size, "engine": engine, "progress": noted}
        try:
            if add:
                if first and not json:
                    options.say_replaced(replacements(chosen_scores, ScoreTable.load(out)))
                del job["rows_per_shard"]
                table = add_to_table(cast(Any, data), chosen_scores, out, **job)
            else:
                table = score_table(data, chosen_scores, out, retry=retry, **job)
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


def _show(table: "ScoreTable", earlier: int, out: str, recipe: str | None, quiet: bool, json: bool) -> None:
    """What was found; a table of nothing but failures is an error."""
    from sds_hf.cli import show
    from sds_hf.cli.answer import answer, limits
    from sds_hf.cli.failures import stop
    from sds_hf.selection.recipe import Recipe
    from sds_hf.selection.select import select

    report = select(table, []).report
    if json:
        quantiles = {name: summary.quantiles for name, summary in report.scores.items()}
        counts = {"rows": report.rows, "failed": report.failed, "by_earlier_runs": earlier}
        answer("score", {"scores": quantiles}, out=out, counts=counts, warnings=[*limits(report), *report.failures])
    elif not quiet:
        show.scores(report)
        precision = ", ".join(sorted({score["dtype"] for score in table.manifest["scores"] if "dtype" in score}))
        where = " in ".join(filter(None, [table.manifest["device"], precision]))
        before = f", {earlier:,} by earlier runs" if earlier else ""
        done = f"{report.rows - earlier:,} rows scored on {where} into {out}{before}"
        done = f"nothing to do: {report.rows:,} rows are scored in {out}" if earlier == report.rows else done
        show.out.say("\n{}, {} failed", done, f"{report.failed:,}")
        show.failures(report)
    if not quiet and not json:
        show.limits(report)
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
