"""Work beside the writing of shards, which keeps one core busy and the other free."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class Beside:
    """Threads that work while another does; once that is over, however it ended, they stop where they look."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads, self._is_over = threads, threading.Event()

    def start(self, work: Callable[..., T], *arguments: Any, **options: Any) -> Future[T]:
        """Do something beside; its result is asked of what is returned."""
        return self._threads.submit(work, *arguments, **options)

    def go_on(self, rows: int = 0) -> None:
        """Return, unless what this is beside of is over; may be given to work as its `progress`.

        Raises:
            CancelledError: if it is.
        """
        if self._is_over.is_set():
            raise CancelledError

    def end(self) -> None:
        """Let everything stop."""
        self._is_over.set()


@contextmanager
def beside(threads: int) -> Iterator[Beside]:
    """Work in so many threads while the context lasts; an error or Ctrl-C in it waits for no long work."""
    with ThreadPoolExecutor(threads, "sds-hf-beside") as pool:
        work = Beside(pool)
        try:
            yield work
        finally:
            work.end()


def as_long_as(check: "Future[None]", items: Iterable[T]) -> Iterator[T]:
    """Items, while a check beside has found nothing; else its error."""
    for item in items:
        if check.done():
            check.result()
        yield item
