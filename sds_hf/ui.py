"""What the command line shows to a person: progress on stderr, tables on stdout."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from sds_hf.publishing import Published
from sds_hf.report import Report

out, err = Console(highlight=False), Console(stderr=True, highlight=False)
MAX_CLASSES = 12  # listed in the terminal; the card lists all


@contextmanager
def watch(step: str, total: int | None) -> Iterator[Callable[[int, int], None]]:
    """A progress bar with rate and failures for one step of a job."""
    columns = (
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description:<11}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("[red]{task.fields[failures]}"),
    )
    with Progress(*columns, console=err) as bar:
        task, started = bar.add_task(step, total=total, rate="", failures=""), time.monotonic()

        def tell(done: int, failed: int) -> None:
            rate = done / max(1e-6, time.monotonic() - started)
            failures = f"{failed} failed" if failed else ""
            bar.update(task, completed=done, rate=f"{rate:.3g} rows/s", failures=failures)

        yield tell
        if total is None:
            done = bar.tasks[0].completed
            bar.update(task, total=done, completed=done)


@contextmanager
def quiet(step: str, total: int | None) -> Iterator[Callable[[int, int], None]]:
    """No progress: for `--json` and for output that is not a terminal."""
    yield lambda done, failed: None


def show_funnel(report: Report) -> None:
    """The funnel, and how much is clean where the truth is known."""
    table = Table(title="Funnel", title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    for name, justify in (("rule", "left"), ("before", "right"), ("after", "right"), ("left because of", "left")):
        table.add_column(name, justify=justify, style="dim" if name == "left because of" else "")  # type: ignore[arg-type]
    for step in report.steps:
        reasons = ", ".join(f"{name.removeprefix('dropped:')} {count:,}" for name, count in step.dropped.items())
        table.add_row(escape(step.rule), f"{step.before:,}", f"{step.after:,}", escape(reasons))
    out.print(table)
    out.print(f"\n[bold]{report.kept:,}[/] of {report.rows:,} rows kept ({report.kept / report.rows:.0%})", end="")
    out.print(f", [red]{report.failed:,} could not be scored[/]" if report.failed else "")
    show_failures(report)
    for warning in report.warnings:
        out.print(f"  [yellow]note[/] {escape(warning)}")


def show_failures(report: Report) -> None:
    """The first rows that could not be scored, and why."""
    for failure in report.failures:
        out.print(f"  [red]failed[/] {escape(failure)}", soft_wrap=True)


def show_truth(report: Report) -> None:
    """What became of each kind of defect."""
    shares = report.clean_share()
    if shares is None:
        return
    table = Table(
        title="\nThe truth (known here, unseen by the scores)",
        title_justify="left",
        title_style="bold",
        box=None,
        padding=(0, 2, 0, 0),
    )
    for name in ("defect", "candidates", "kept", "kept share"):
        table.add_column(name, justify="left" if name == "defect" else "right")
    for defect, (before, after) in report.truth.items():
        style = "green" if defect == "none" else ""
        table.add_row(defect, f"{before:,}", f"{after:,}", f"{after / before:.0%}" if before else "", style=style)
    out.print(table)
    out.print(f"\nclean rows: [bold]{shares[0]:.0%}[/] of the candidates, [bold green]{shares[1]:.0%}[/] of the kept")


def show_scores(report: Report) -> None:
    """How the scores are distributed."""
    table = Table(title="Scores", title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    table.add_column("score")
    for name in ("min", "5 %", "25 %", "50 %", "75 %", "95 %", "max", "nulls"):
        table.add_column(name, justify="right")
    for name, summary in report.scores.items():
        values = [f"{value:.3f}" for value in summary.quantiles.values()] or ["–"] * 7
        table.add_row(name, *values, f"{summary.nulls:,}")
    out.print(table)


def show_published(published: Published) -> None:
    """Where it went."""
    size = sum(published.files.values()) / 1e6
    verb = "would publish" if published.dry_run else "published"
    what = f"{published.report.kept:,} rows, {len(published.files)} files, {size:.1f} MB"
    out.print(f"{verb} {what} to [bold]{escape(published.target)}[/]")
    if published.dry_run:
        for name, count in published.files.items():
            out.print(f"  [green]+[/] {escape(name)}  [dim]{count:,} bytes[/]")
        for name in published.removed:
            out.print(f"  [red]-[/] {escape(name)}")
    if published.tag:
        out.print(
            f"  tag {escape(published.tag)}" + (f", commit {published.revision[:10]}" if published.revision else "")
        )
    if published.url:
        out.print(f"  {published.url}")


def show_paths(folder: Path) -> None:
    """Card and pictures of a published folder."""
    out.print("\n[bold]Look at[/]")
    for name, what in (
        ("README.md", "card"),
        ("assets/samples.png", "kept and dropped samples"),
        ("assets/scores.png", "distributions"),
    ):
        if (folder / name).exists():
            out.print(f"  {folder / name}  [dim]{what}[/]", soft_wrap=True)


def show_next(lines: list[str]) -> None:
    """What a user would type next."""
    out.print("\n[bold]Next[/]")
    for line in lines:
        out.print(f"  {escape(line)}", soft_wrap=True)


def note(text: str) -> None:
    """A remark beside the output."""
    err.print(f"[yellow]note[/] {escape(text)}", soft_wrap=True)


def fail(text: str) -> None:
    """Why a command stopped, in one line."""
    err.print(f"[red]error[/] {escape(' '.join(text.split()))}", soft_wrap=True)


def watcher(json: bool) -> Any:
    """The watcher to use."""
    return quiet if json or not err.is_terminal else watch
