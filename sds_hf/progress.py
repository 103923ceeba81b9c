"""How a job tells how far it is, and how long the rest takes."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Tell = Callable[[int, int], None]  # rows done and failed so far


class Watch(Protocol):
    """Something that shows progress: a step of so many rows, told how many are done and how many failed."""

    def __call__(self, step: str, total: int | None, device: str = "") -> AbstractContextManager[Tell]:
        """Show a step while the context lasts; the function inside takes rows done and rows failed so far."""


@contextmanager
def nothing(step: str, total: int | None, device: str = "") -> Iterator[Tell]:
    """A `Watch` that shows nothing."""
    yield lambda finished, failed: None


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
    """Rows a second since the first call; rows that were done by then do not count."""

    def __init__(self, total: int | None, clock: Callable[[], float] | None = None) -> None:
        self._total, self._clock = total, clock or time.monotonic
        self._first: tuple[int, float] | None = None

    def __call__(self, finished_rows: int) -> tuple[float | None, float | None]:
        """Rate and seconds left, None while there is no telling."""
        now = self._clock()
        if self._first is None:
            self._first = (finished_rows, now)
        rows, seconds = finished_rows - self._first[0], now - self._first[1]
        if not rows or seconds <= 0:
            return None, None
        return rows / seconds, None if self._total is None else (self._total - finished_rows) * seconds / rows
