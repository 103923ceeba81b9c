"""Where the time goes: named stages of a pass, timed only while somebody listens."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

_listeners: list["Stages"] = []


class Stages:
    """Seconds spent in each stage, over all threads, while the `with` block runs.

    A GPU is waited for at the end of every stage, so listening slows a run down.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    def __enter__(self) -> "Stages":
        _listeners.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        _listeners.remove(self)

    def add(self, name: str, seconds: float) -> None:
        """Count seconds for a stage."""
        with self._lock:
            self.seconds[name] += seconds


@contextmanager
def stage(name: str) -> Iterator[None]:
    """A part of the work that has a name."""
    if not _listeners:
        yield
        return
    start = time.perf_counter()
    try:
        yield
    finally:
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        for listener in _listeners:
            listener.add(name, time.perf_counter() - start)
