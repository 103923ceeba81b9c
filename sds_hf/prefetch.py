"""Make the next items in the background while one is used."""

import atexit
import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")
WAIT = 0.1  # seconds after which a reader that is held up looks whether it is still wanted
LAST_ITEM = 5.0  # seconds that a reader gets for the item in its hands, when the process ends

_readers: WeakKeyDictionary[threading.Thread, threading.Event] = WeakKeyDictionary()


@atexit.register
def _stop_readers() -> None:
    """A thread that Python ends while it is inside C++, as Arrow's readers are, aborts the whole process."""
    for stopped in _readers.values():
        stopped.set()
    for reader in list(_readers):
        reader.join(LAST_ITEM)


class _Failure:
    """An exception on its way to the consumer."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _End:
    """No more items."""


def prefetch(items: Iterable[T], depth: int = 2) -> Generator[T, None, None]:
    """Yield items in order, while one thread makes the next ones.

    Args:
        items: what to yield; iterated in the thread. Its exceptions are raised here, in place of the item.
        depth: items that may lie ready; with the one being used and the one being made, `depth + 2` are in memory.
    """
    ready: queue.Queue[T | _Failure | _End] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: T | _Failure | _End) -> None:
        while not stopped.is_set():
            try:
                return ready.put(item, timeout=WAIT)
            except queue.Full:
                continue
        return None

    def read() -> None:
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    return
            put(_End())
        except BaseException as error:
            put(_Failure(error))

    # A daemon does not keep a process alive that was told to stop.
    reader = threading.Thread(target=read, name="sds-hf-prefetch", daemon=True)
    _readers[reader] = stopped
    reader.start()
    try:
        while not isinstance(item := ready.get(), _End):
            if isinstance(item, _Failure):
                raise item.error
            yield item
    finally:
        stopped.set()
