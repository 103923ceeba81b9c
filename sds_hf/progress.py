"""How a job tells how far it is."""

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
