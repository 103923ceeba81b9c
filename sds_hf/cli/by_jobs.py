"""`sds-hf score --engine jobs`: the price and the question before, and what happens to jobs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sds_hf.version import __version__

if TYPE_CHECKING:
    from sds_hf.hub_jobs.order import Order
    from sds_hf.table.score_table import ScoreTable


def score_with_jobs(
    dataset: str,
    out: str,
    options: Mapping[str, Any],
    settings: Sequence[str],
    recipe: str | None,
    *,
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

    Args:
        dataset: its id on the Hub.
        out: address of the table.
        options: of `sds-hf score`, by name; those that are None are left out.
        settings: of `--set`.
        recipe: file or name of a recipe.
        revision: of the dataset.
        flavor: of the machines.
        jobs: how many.
        hours: after which a job is stopped.
        pace: rows a second of one machine, if somebody measured it.
        package: how jobs install this package.
        yes: whether to start without a question.
        json: whether the result is printed as JSON, so that nothing can be asked.
        quiet: whether nothing but errors is said.
    """
    from sds_hf.cli.progress import note, watcher
    from sds_hf.hub_jobs.fleet import score_by_jobs
    from sds_hf.hub_jobs.order import make_order

    if not flavor:
        raise typer.BadParameter("--engine jobs needs --flavor, the machine of each job, e.g. `h200` or `cpu-basic`")
    if json and not yes:
        raise typer.BadParameter("--json asks no questions: give --yes to start jobs, which cost money")
    recipe_file = _recipe_file(recipe)
    arguments = _arguments(options, settings, recipe if recipe_file is None else None)
    order = make_order(
        dataset, out, arguments, flavor=flavor, jobs=jobs, hours=hours, package=package or f"sds-hf=={__version__}",
        recipe=recipe_file, revision=revision, split=options.get("split"),
    )  # fmt: skip
    if not quiet and not json:
        _offer(order, pace)
    if not yes and not _agreed():
        raise typer.Exit(1)
    with watcher(json, "none" if quiet else None)("scoring", order.rows, flavor) as tell:
        return score_by_jobs(order, (lambda sentence: None) if quiet else note, tell)


def _agreed() -> bool:
    """Whether a person wants the jobs started.

    Raises:
        typer.BadParameter: if there is nobody to ask.
    """
    try:
        return typer.confirm("Start the jobs?")
    except typer.Abort as error:
        raise typer.BadParameter(
            "nothing was started, since nobody answered: --yes starts without a question"
        ) from error


def _recipe_file(recipe: str | None) -> Path | None:
    """The file of a recipe; None if it is one of the package, which every job has."""
    return Path(recipe) if recipe and Path(recipe).is_file() else None


def _arguments(options: Mapping[str, Any], settings: Sequence[str], recipe: str | None) -> list[str]:
    """Options of `sds-hf score` as words.

    Raises:
        ValueError: if one is a file or folder of this machine, which jobs cannot see.
    """
    for name in ("model", "labels"):
        if options.get(name) and Path(str(options[name])).exists():
            raise ValueError(f"jobs cannot see --{name} {options[name]}, which lies on this machine: put it on the Hub")
    named = {**options, "recipe": recipe}
    words = [word for name, value in named.items() if value is not None for word in (f"--{name}", str(value))]
    return words + [word for setting in settings for word in ("--set", setting)]


def _offer(order: "Order", pace: float | None) -> None:
    """What would be started, how long it takes and what it costs."""
    from sds_hf.cli import show
    from sds_hf.progress import duration

    rows = f"{order.rows:,} rows" if order.rows is not None else "rows that its card does not count"
    show.out.say("{} at {}: {}", order.dataset, order.revision[:7], rows)
    price = f"${order.dollars_an_hour:,.2f}"
    show.out.say("{} x {} ({}), {} an hour each", f"{order.jobs}", order.flavor, order.hardware, price)
    estimate = order.dollars(pace) if pace else None
    if estimate:
        hours, dollars = estimate
        told = f"about {duration(hours * 3600)} and ${dollars:,.2f} at {pace:g} rows/s a job"
    else:
        told = "not known: measure such a machine with `sds-hf bench` and give --pace"
    show.out.say("  time and price   {}, and as long as it takes to start", told)
    limit = f"{duration(order.hours * 3600)} a job, ${order.most_dollars:,.2f} if each is started 3 times"
    show.out.say("  at most          {}", limit)
    show.out.say("  table            {}", order.out)
