"""Several processes that make one table: whose part is which, who is at work; and Ctrl-C that waits for the shard."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from filelock import FileLock, Timeout

from sds_hf.clip.launcher import ALONE, Rank, current_rank
from sds_hf.files import is_remote

# What is the launcher's, too: for rooms that know no models.
__all__ = ["ALONE", "POLL", "PartScored", "Rank", "Team", "current_rank"]
POLL = 0.2  # seconds between two looks at what the others have done
PATIENCE = 120.0  # seconds a rank may take to start
MOMENT = 5.0  # seconds in which a lock that somebody only looked at is free again


class PartScored(Exception):
    """A part of a table is finished, and other parts are not: what a job of an array says that is not the last."""

    def __init__(self, rank: Rank, folder: Path) -> None:
        super().__init__(
            f"part {rank} is scored into {folder}, and the table is whole when all parts are; where this was meant to "
            f"be the whole table: {ALONE}"
        )


class Team:
    """The processes at work on a folder; each holds a lock there as long as it lives, however it ends.

    Args:
        folder: of the table.
        rank: of this process.

    Raises:
        ValueError: if several processes share a folder that has no locks.
    """

    def __init__(self, folder: Path, rank: Rank) -> None:
        if rank.count > 1 and rank.together and is_remote(folder):
            raise ValueError(
                f"several processes need a folder they all see, not {folder}; for that there is engine='ray'"
            )
        self._folder, self.rank = folder, rank
        self._lock = None if is_remote(folder) else FileLock(self._path(rank.index))  # stores of objects have no locks
        self._announced = folder / "rank-0.begun"
        self._seen: set[int] = set()
        self._left = {other for other in self._others() if self._path(other).exists() and not self._is_alive(other)}

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            OSError: if another run has it.
        """
        try:
            if self._lock:
                self._lock.acquire(timeout=MOMENT)
        except Timeout as error:
            raise OSError(
                f"another run is writing the scores in {self._folder}; wait for it or choose another out=..."
            ) from error
        except NotImplementedError:  # a file system without locks
            pass
        self.withdraw()  # what a run announced that was killed
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock:
            with suppress(OSError):
                self.withdraw()
                self._path(self.rank.index).unlink(missing_ok=True)
            self._lock.release()

    def wait(self, is_done: Callable[[], bool], for_whom: Callable[[], Collection[int]]) -> None:
        """Wait until others have done something, as long as they live.

        Args:
            is_done: whether they have.
            for_whom: the ranks that are still to do something.

        Raises:
            OSError: if one of them is gone.
        """
        started, gone = time.monotonic(), dict[int, float]()  # since when each one is
        while not is_done():
            now = time.monotonic()
            gone = {rank: gone.get(rank, now) for rank in for_whom() if not self._is_alive(rank)}
            lost = [
                rank
                for rank, since in gone.items()
                if rank in self._seen or now - started > PATIENCE or (self._was_killed(rank) and now - since > MOMENT)
            ]
            if lost and not is_done():  # what it did last comes before its end
                came = self._path(lost[0]).exists()  # what is killed leaves its lock
                raise OSError(
                    f"process {lost[0]} of {self.rank.count} stopped before its shards were done; what is finished "
                    "stays, run the same command again to go on" + ("" if came else f" ({ALONE})")
                )
            time.sleep(POLL)

    def announce(self, number: int) -> None:
        """Say as the first process that it has seen what is to be done in a pass over the rows; passes count from 0."""
        if self.rank.count > 1:
            self._announced.write_text(str(number), encoding="utf-8")

    def is_announced(self, number: int) -> bool:
        """Whether the first process of this run has seen what is to be done in that pass."""
        with suppress(FileNotFoundError):
            return self._is_alive(0) and self._announced.read_text(encoding="utf-8") == str(number)
        return False

    def withdraw(self) -> None:
        """Take back as the first process what was announced: all that waited for it have done their part."""
        if self.rank.index == 0 and self._lock:
            self._announced.unlink(missing_ok=True)

    def look(self) -> None:
        """See who is at work: who is gone later is not waited for as one that has not started yet."""
        for rank in self._others():
            self._is_alive(rank)

    def is_alone(self) -> bool:
        """Whether no other process is at work on the folder now."""
        return not any(self._is_alive(rank) for rank in self._others())

    def _others(self) -> list[int]:
        """The ranks that this process may have to wait for."""
        together = self._lock and self.rank.together
        return [rank for rank in range(self.rank.count) if rank != self.rank.index] if together else []

    def _was_killed(self, rank: int) -> bool:
        """Whether a process that is not alive has left its lock in this run; one that starts takes it in a moment."""
        return rank not in self._left and self._path(rank).exists()

    def _is_alive(self, rank: int) -> bool:
        lock = FileLock(self._path(rank))
        if not self._path(rank).exists():
            return False
        try:
            lock.acquire(blocking=False)
        except (Timeout, NotImplementedError):
            self._seen.add(rank)
            return True
        lock.release()
        return False

    def one_by_one(self, end_if_whole: Callable[[], bool]) -> bool:
        """End the table if it is whole, while no other process tries to; whether it is whole."""
        if not self._lock:
            return end_if_whole()
        lock = FileLock(self._path(self.rank.count))  # a number that is no rank's
        with suppress(NotImplementedError):
            lock.acquire()
        try:
            is_whole = end_if_whole()
            if is_whole:  # then nobody needs the lock any more
                self._path(self.rank.count).unlink(missing_ok=True)
            return is_whole
        finally:
            lock.release()

    def _path(self, rank: int) -> Path:
        return self._folder / f"rank-{rank}.lock"


logger = logging.getLogger(__name__)


class Interruption:
    """Whether a person has pressed Ctrl-C; called, it stops if so."""

    is_asked = False

    def __call__(self) -> None:
        """Stop if that was asked for.

        Raises:
            KeyboardInterrupt: if so.
        """
        if self.is_asked:
            raise KeyboardInterrupt


@contextmanager
def finishing(what: str, how_long: Callable[[], str] = lambda: "") -> Iterator[Interruption]:
    """Put off the first Ctrl-C until what is given here is called; the second one stops at once.

    Outside the main thread, and where a program handles Ctrl-C itself, nothing changes.

    Args:
        what: what is finished first, for the message.
        how_long: what the message says of how long that takes.
    """
    interruption = Interruption()
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield interruption
        return

    def note(number: int, frame: FrameType | None) -> None:
        interruption()
        interruption.is_asked = True
        logger.warning("finishing %s before stopping%s; Ctrl-C again stops at once", what, how_long())

    signal.signal(signal.SIGINT, note)
    try:
        yield interruption
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
