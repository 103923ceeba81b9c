"""A job that stops in the middle."""


class Crash(Exception):
    """What stops it."""


def crash_at(rows: int):
    """A `progress` that stops the job once so many rows are done."""

    def progress(done: int, failed: int) -> None:
        if done >= rows:
            raise Crash

    return progress
