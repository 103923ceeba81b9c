"""How a job shows how far it is: a bar for people, JSON lines for programs, or nothing."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from sds_hf.cli.terminal import Screen, text
from sds_hf.progress import Tell, Watch, nothing

KINDS = ("bar", "json", "none")
PATIENCE = 60  # seconds on a CPU that need no warning
LINE_EVERY = 1.0  # seconds between two lines of JSON


err = Screen(stderr=True)


def note(sentence: str) -> None:
    """A remark beside the output."""
    err.print(text("[yellow]note[/] {}", sentence), soft_wrap=True)


def watcher(json: bool = False, kind: str | None = None) -> Watch:
    """What shows the progress of a command.

    Args:
        json: whether the command prints its result as JSON.
        kind: one of `KINDS`; a bar on a terminal if None.

    Raises:
        ValueError: if there is no such kind.
    """
    if kind not in (None, *KINDS):
        raise ValueError(f"--progress must be one of {', '.join(KINDS)}, not {kind!r}")
    if kind is None:
        return nothing if json else bar if err.is_terminal else warning_only
    return {"bar": bar, "json": lines, "none": nothing}[kind]


def duration(seconds: float) -> str:
    """A time in words: `40 s`, `12 min`, `3.5 h`, `4.2 days`."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.{0 if seconds >= 10 * size else 1}f} {unit}"
    return f"{seconds:.0f} s"


class Pace:
    """Rows a second since the first call, or since there were fewer again; rows done by then do not count."""

    def __init__(self, total: int | None, clock: Callable[[], float] | None = None) -> None:
        self._total, self._clock = total, clock or time.monotonic
        self._first: tuple[int, float] | None = None
        self._last = 0

    def __call__(self, finished_rows: int) -> tuple[float | None, float | None]:
        """Rate and seconds left, None while there is no telling."""
        now = self._clock()
        if self._first is None or finished_rows < self._last:  # another pass over the rows
            self._first = (finished_rows, now)
        self._last = finished_rows
        rows, seconds = finished_rows - self._first[0], now - self._first[1]
        if not rows or seconds <= 0:
            return None, None
        return rows / seconds, None if self._total is None else (self._total - finished_rows) * seconds / rows


@contextmanager
def bar(step: str, total: int | None, device: str = "") -> Iterator[Tell]:
    """A bar with rate, time left, failures and device."""
    columns = (
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description:<11}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("[dim]{task.fields[device]}"),
        TextColumn("[red]{task.fields[failures]}"),
    )
    with Progress(*columns, console=err) as progress:
        task = progress.add_task(step, total=total, rate="", left="", device=device, failures="")
        pace = Pace(total)

        def tell(finished_rows: int, failed: int) -> None:
            rate, left = pace(finished_rows)
            progress.update(
                task,
                completed=finished_rows,
                rate=f"{rate:.3g} rows/s" if rate else "",
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
        line |= {"rows_per_s": rate and round(rate, 3), "eta_s": None if left is None else round(left)}
        print(json.dumps(line), file=sys.stderr, flush=True)

    yield tell


@contextmanager
def warning_only(step: str, total: int | None, device: str = "") -> Iterator[Tell]:
    """No progress: for output that is not a terminal. A warning of a long time is given all the same."""
    yield _warning(lambda finished_rows, failed: None, total, device)


def _warning(tell: Tell, total: int | None, device: str) -> Tell:
    """The same, and after the first batch on a CPU how long all of it will take, if that is long."""
    if device != "cpu":
        return tell
    pace, warned = Pace(total), False

    def tell_and_warn(finished_rows: int, failed: int) -> None:
        nonlocal warned
        rate, left = pace(finished_rows)
        if rate and left is not None and not warned:
            warned = True
            if left > PATIENCE:
                rows = f"{(total or 0) - finished_rows:,} rows"
                note(f"no GPU is in use: on this CPU the other {rows} take about {duration(left)} ({rate:.2g} rows/s)")
        tell(finished_rows, failed)

    return tell_and_warn
