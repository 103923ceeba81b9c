"""`sds-hf score --engine jobs`: the price and the question before, and what happens to jobs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sds_hf.version import __version__

if TYPE_CHECKING:
    from sds_hf.hub_jobs.left import Left, Pace
    from sds_hf.hub_jobs.order import Order
    from sds_hf.selection.recipe import Recipe
    from sds_hf.table.score_table import ScoreTable


def score_with_jobs(
    dataset: str,
    out: str,
    plan: "Recipe",
    options: Mapping[str, Any],
    settings: Sequence[str],
    recipe: str | None,
    *,
    only_needed: bool,
    rows_per_shard: int,
    revision: str | None,
    flavor: str | None,
    jobs: int,
    hours: float,
    pace: float | None,
    package: str | None,
    yes: bool,
    json: bool,
    quiet: bool,
) -> "ScoreTable":
    """Say what it costs, ask, and have a dataset scored by jobs.

    Where nobody says how fast such a machine is, one job scores one shard first, which is asked for by itself.

    Args:
        dataset: its id on the Hub.
        out: address of the table.
        plan: what is scored.
        options: of `sds-hf score`, by name; those that are None are left out.
        settings: of `--set`.
        recipe: file or name of a recipe.
        only_needed: whether only what the recipe's rules need is scored.
        rows_per_shard: how rows are cut.
        revision: of the dataset.
        flavor: of the machines.
        jobs: how many.
        hours: after which a job is stopped.
        pace: rows a second of one machine, if somebody measured it.
        package: how jobs install this package.
        yes: whether to start without a question.
        json: whether the result is printed as JSON, so that nothing can be asked.
        quiet: whether nothing but errors is said, so that nothing can be asked either.
    """
    from sds_hf.cli.progress import note, watcher
    from sds_hf.hub_jobs.fleet import are_at_work, score_by_jobs, try_one_shard
    from sds_hf.hub_jobs.left import Pace, left_of
    from sds_hf.hub_jobs.order import make_order

    if not flavor:
        raise typer.BadParameter("--engine jobs needs --flavor, the machine of each job, e.g. `h200` or `cpu-basic`")
    if (json or quiet) and not yes:
        raise typer.BadParameter(
            f"{'--json' if json else '--quiet'} asks no questions: give --yes to start jobs, which cost money"
        )
    recipe_file = _recipe_file(recipe)
    arguments = _arguments(options, settings, None if recipe_file else recipe, "for" if only_needed else "recipe")
    order = make_order(
        dataset, out, arguments, plan=plan, only_needed=only_needed, rows_per_shard=rows_per_shard, flavor=flavor,
        jobs=jobs, hours=hours, package=package or f"sds-hf=={__version__}", recipe=recipe_file, revision=revision,
        split=options.get("split"),
    )  # fmt: skip
    say = (lambda sentence: None) if quiet else note
    watch = watcher(json, "none" if quiet else None)
    measured, left = Pace(pace) if pace else None, left_of(order)
    if not (quiet or json or left.is_complete):
        _say_order(order, left)
    if not (yes or pace or left.is_complete or are_at_work(order)):
        _ask_for_trial(order)
        with watch("trial", left.rows, order.flavor) as tell:
            measured = try_one_shard(order, say, tell)
        left = left_of(order)
        _say_measured(measured)
    if not (quiet or json or left.is_complete):
        _say_price(order, left, measured)
    if not (yes or left.is_complete):
        _agree("Start the jobs?")
    with watch("scoring", left.rows, order.flavor) as tell:
        return score_by_jobs(order, say, tell)


def _agree(question: str) -> None:
    """Ask whether to start jobs, and end the command if not.

    Raises:
        typer.Exit: if a person says no.
        typer.BadParameter: if there is nobody to ask.
    """
    try:
        agreed = typer.confirm(question)
    except typer.Abort as error:
        raise typer.BadParameter(
            "nothing further was started, since nobody answered: --yes starts without a question"
        ) from error
    if not agreed:
        raise typer.Exit(1)


def _recipe_file(recipe: str | None) -> Path | None:
    """The file of a recipe; None if it is one of the package, which every job has."""
    return Path(recipe) if recipe and Path(recipe).is_file() else None


def _arguments(options: Mapping[str, Any], settings: Sequence[str], recipe: str | None, asked_as: str) -> list[str]:
    """Options of `sds-hf score` as words; a recipe of the package by the option that it is asked as.

    Raises:
        ValueError: if one is a file or folder of this machine, which jobs cannot see.
    """
    for name in ("model", "labels"):
        if options.get(name) and Path(str(options[name])).exists():
            raise ValueError(f"jobs cannot see --{name} {options[name]}, which lies on this machine: put it on the Hub")
    named = {**options, asked_as: recipe}
    words = [word for name, value in named.items() if value is not None for word in (f"--{name}", str(value))]
    return words + [word for setting in settings for word in ("--set", setting)]


def _say_order(order: "Order", left: "Left") -> None:
    """What is to be scored, where, and on which machines."""
    from sds_hf.cli import show

    rows = f"{left.rows:,} rows" if left.rows is not None else "rows that its card does not count"
    rows += f", {left.finished:,} of them finished" if left.finished else ""
    show.out.say("{} at {}: {}", order.dataset, order.revision[:7], rows)
    price = f"${order.dollars_an_hour:,.2f}"
    show.out.say("{} x {} ({}), {} an hour each", f"{order.jobs}", order.flavor, order.hardware, price)
    show.out.say("  table            {}", order.out)


def _ask_for_trial(order: "Order") -> None:
    """Say what a trial is and costs, and ask for it."""
    from sds_hf.cli import show
    from sds_hf.progress import duration

    limit = f"{duration(order.hours * 3600)}, ${order.most_dollars:,.2f} if it is started 3 times"
    trial = "one job scores one shard, which stays in the table, and measures; --pace spares it"
    show.out.say("  time and price   not known yet: {}", trial)
    show.out.say("  at most          {}", limit)
    _agree("Start one job as a trial?")


def _say_measured(pace: "Pace | None") -> None:
    """What a trial found."""
    from sds_hf.cli import show
    from sds_hf.progress import duration

    if pace is None:
        show.out.say("the trial's log has no pace; what it scored stays")
        return
    took, rate = duration(pace.rows / pace.rows_per_second), f"{pace.rows_per_second:.3g}"
    start = "" if pace.start is None else f"; {duration(pace.start)} of the job besides, to install, load and end"
    show.out.say("trial: {} rows scored in {}, {} rows/s{}", f"{pace.rows:,}", took, rate, start)


def _say_price(order: "Order", left: "Left", pace: "Pace | None") -> None:
    """How long the rest takes and what it costs."""
    from sds_hf.cli import show
    from sds_hf.progress import duration

    takes = left.takes(pace, order) if pace else None
    if pace and takes:
        start = "and as long as it takes to start"
        if pace.start is not None:
            start = f"{duration(pace.start)} a job for its start included"
        told = f"about {duration(takes[0])} and ${takes[1]:,.2f} at {pace.rows_per_second:.3g} rows/s a job, {start}"
    else:
        told = "not known: --pace says how many rows/s such a machine makes, as `sds-hf bench` measures it"
    if left.finished:
        show.out.say("  left             {} rows", f"{(left.rows or 0) - left.finished:,}")
    show.out.say("  time and price   {}", told)
    limit = f"{duration(order.hours * 3600)} a job, ${order.jobs * order.most_dollars:,.2f} if each is started 3 times"
    show.out.say("  at most          {}", limit)
