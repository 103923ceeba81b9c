"""Ctrl-C that waits for work that would be lost."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger(__name__)


@contextmanager
def finishing(what: str) -> Iterator[Callable[[], None]]:
    """Put off the first Ctrl-C until the function given here is called; the second one stops at once.

    Outside the main thread, and where a program handles Ctrl-C itself, nothing changes.

    Args:
        what: what is finished first, for the message.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield lambda: None
        return
    asked = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        logger.warning("finishing %s before stopping; Ctrl-C again stops at once", what)

    def stop_if_asked() -> None:
        if asked:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)
    try:
        yield stop_if_asked
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
