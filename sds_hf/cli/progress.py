"""How a job shows how far it is: a bar for people, JSON lines for programs, or nothing."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from sds_hf.cli.terminal import Screen, text
from sds_hf.progress import Pace, Tell, Watch, duration, nothing

KINDS = ("bar", "json", "none")
PATIENCE = 60  # seconds on a CPU that need no warning
ENOUGH = 7  # rows that tell how long all take
LINE_EVERY = 1.0  # seconds between two lines of JSON


err = Screen(stderr=True)


def note(sentence: str) -> None:
    """A remark beside the output."""
    err.print(text("[yellow]note[/] {}", sentence), soft_wrap=True)


def watcher(json: bool = False, kind: str | None = None, brief: bool = False) -> Watch:
    """What shows the progress of a command.

    Args:
        json: whether the command prints its result as JSON.
        kind: one of `KINDS`; a bar on a terminal if None.
        brief: whether the bar of a step goes when the step is over, since what came of it is told.

    Raises:
        ValueError: if there is no such kind.
    """
    if kind not in (None, *KINDS):
        raise ValueError(f"--progress must be one of {', '.join(KINDS)}, not {kind!r}")
    bars: Watch = partial(bar, brief=brief)
    if kind is None:
        return nothing if json else bars if err.is_terminal else warning_only
    return {"bar": bars, "json": lines, "none": nothing}[kind]


@contextmanager
def bar(step: str, total: int | None, device: str = "", brief: bool = False) -> Iterator[Tell]:
    """A bar with rate, time left, failures and device; a brief one goes in the end."""
    columns = (
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description:<12}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("[dim]{task.fields[device]}"),
        TextColumn("[red]{task.fields[failures]}"),
    )
    with Progress(*columns, console=err, transient=brief) as progress:
        task = progress.add_task(step, total=total, rate="", left="", device=device, failures="")
        pace = Pace(total)

        def tell(finished_rows: int, failed: int) -> None:
            rate, left = pace(finished_rows)
            progress.update(
                task,
                completed=finished_rows,
                rate=f"{rate:{',.0f' if rate >= 100 else '.3g'}} rows/s" if rate else "",
                left=f"{duration(left)} left" if left else "",
                failures=f"{failed:,} failed" if failed else "",
            )

        yield _warning(tell, total, device)
        if total is None:
            finished_rows = progress.tasks[0].completed
            progress.update(task, total=finished_rows, completed=finished_rows)


@contextmanager
def lines(step: str, total: int | None, device: str = "") -> Iterator[Tell]:
    """A line of JSON on stderr, once a second and when all is done."""
    pace, told = Pace(total), -LINE_EVERY

    def tell(finished_rows: int, failed: int) -> None:
        nonlocal told
        (rate, left), now = pace(finished_rows), time.monotonic()
        if now - told < LINE_EVERY and finished_rows != total:
            return
        told = now
        line: dict[str, Any] = {"step": step, "done": finished_rows, "total": total, "failed": failed, "device": device}
        line |= {"rows_per_s": rate and float(f"{rate:.4g}"), "eta_s": None if left is None else round(left)}
        line |= {"elapsed_s": round(pace.seconds, 3)}
        print(json.dumps(line), file=sys.stderr, flush=True)

    yield tell


@contextmanager
def warning_only(step: str, total: int | None, device: str = "") -> Iterator[Tell]:
    """No progress: for output that is not a terminal. A warning of a long time is given all the same."""
    yield _warning(lambda finished_rows, failed: None, total, device)


def _warning(tell: Tell, total: int | None, device: str) -> Tell:
    """The same, and after the first rows on a CPU how long all of it will take, if that is long."""
    if device != "cpu":
        return tell
    pace, warned, earlier = Pace(total), False, -1

    def tell_and_warn(finished_rows: int, failed: int) -> None:
        nonlocal warned, earlier
        rate, left = pace(finished_rows)
        earlier = finished_rows if earlier < 0 else earlier
        if rate and left is not None and not warned and finished_rows - earlier >= min(ENOUGH, (total or 0) - earlier):
            warned = True
            if left > PATIENCE:
                rows = f"{(total or 0) - finished_rows:,} rows"
                note(f"no GPU is in use: on this CPU the other {rows} take about {duration(left)} ({rate:.2g} rows/s)")
        tell(finished_rows, failed)

    return tell_and_warn
