"""How a job tells how far it is, and how long the rest takes."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Protocol

MINUTE = 60.0  # seconds of work that may be lost, and that Ctrl-C may take
Tell = Callable[[int, int], None]  # rows done and failed so far


class Watch(Protocol):
    """Something that shows progress: a step of so many rows, told how many are done and how many failed."""

    def __call__(self, step: str, total: int | None, device: str = "") -> AbstractContextManager[Tell]:
        """Show a step while the context lasts; the function inside takes rows done and rows failed so far."""


@contextmanager
def nothing(step: str, total: int | None, device: str = "") -> Iterator[Tell]:
    """A `Watch` that shows nothing."""
    yield lambda finished, failed: None


@contextmanager
def once_told(watch: Watch, step: str, total: int | None, device: str = "") -> Iterator[Tell]:
    """A step that is shown from the first time that it is told of; before, others can be."""
    with ExitStack() as shown:
        tells: list[Tell] = []

        def tell(finished_rows: int, failed: int) -> None:
            if not tells:
                tells.append(shown.enter_context(watch(step, total, device)))
            tells[0](finished_rows, failed)

        yield tell


def adding(tell: Tell) -> Callable[[int], None]:
    """Progress that comes in pieces, as a running total."""
    total = 0

    def add(count: int) -> None:
        nonlocal total
        total += count
        tell(total, 0)

    return add


def duration(seconds: float) -> str:
    """A time in words: `40 s`, `12 min`, `3.5 h`, `4.2 days`."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.{0 if seconds >= 10 * size else 1}f} {unit}"
    return f"{seconds:.0f} s"


class Pace:
    """Rows a second since the first call, or since there were fewer again; rows done by then do not count.

    Attributes:
        seconds: since then, at the last call.
    """

    def __init__(self, total: int | None, clock: Callable[[], float] | None = None) -> None:
        self._total, self._clock = total, clock or time.monotonic
        self._first: tuple[int, float] | None = None
        self._last, self.seconds = 0, 0.0

    def __call__(self, finished_rows: int) -> tuple[float | None, float | None]:
        """Rate and seconds left, None while there is no telling."""
        now = self._clock()
        if self._first is None or finished_rows < self._last:  # another pass over the rows
            self._first = (finished_rows, now)
        self._last = finished_rows
        rows, seconds = finished_rows - self._first[0], now - self._first[1]
        self.seconds = seconds
        if not rows or seconds <= 0:
            return None, None
        return rows / seconds, None if self._total is None else (self._total - finished_rows) * seconds / rows


class Told:
    """How far a job is, and who is told.

    Args:
        finished_rows: rows of earlier runs.
        failed: those of them that could not be scored.
        tell: is told at once, and whenever there is more.
    """

    def __init__(self, finished_rows: int, failed: int, tell: Tell | None) -> None:
        self.finished_rows, self.failed, self._tell = finished_rows, failed, tell or (lambda rows, failed: None)
        self._tell(finished_rows, failed)

    def add(self, rows: int, failed: int) -> None:
        """More rows are done."""
        self.finished_rows, self.failed = self.finished_rows + rows, self.failed + failed
        self._tell(self.finished_rows, self.failed)


class Hand:
    """The shard in hand: how much of it is left, and what Ctrl-C waits for.

    Every minute its rows are kept aside, so that a run that is stopped or killed loses no more than that. The shard
    itself has the same rows and bytes however often it was begun.

    Args:
        keeps: whether its rows are kept; else Ctrl-C waits for all of it, however long that takes.
    """

    def __init__(self, keeps: bool = True) -> None:
        self._pace, self._rows, self._left, self._kept = Pace(None), 0, 0, time.monotonic()
        self._keeps = keeps

    def take_up(self, rows: int) -> None:
        """Begin a shard of so many rows."""
        self._left, self._kept = rows, time.monotonic()
        self._pace(self._rows)

    def seconds(self) -> float | None:
        """How long the rest of it takes; None while there is no telling."""
        rate, _ = self._pace(self._rows)
        return self._left / rate if rate else None

    def is_long(self) -> bool:
        """Whether the rest takes so long that nobody waits for it."""
        return (self.seconds() or 0) > MINUTE

    def add(self, rows: int) -> None:
        """So many more rows of it are there."""
        self._rows, self._left = self._rows + rows, self._left - rows

    def is_to_be_kept_after(self, rows: int, is_stopping: bool) -> bool:
        """Whether its rows are to be kept now that so many more are there; then they are not, for a minute."""
        self.add(rows)
        now = time.monotonic()
        if not self._keeps or not self._left or (now - self._kept < MINUTE and not (is_stopping and self.is_long())):
            return False
        self._kept = now
        return True

    def told(self) -> str:
        """What Ctrl-C waits for, for its message."""
        seconds = self.seconds()
        if seconds is None:
            return ""
        if self._keeps and self.is_long():
            return f", as far as the batch: the rest would take another {duration(seconds)}; its rows so far are kept"
        return f", about {duration(seconds)}"
