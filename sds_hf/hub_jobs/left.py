"""What of an order's table is not there yet, and what that takes at a pace."""

from dataclasses import dataclass

from sds_hf.data.access.remote import folder_at
from sds_hf.hub_jobs.order import Order
from sds_hf.table.manifest import read_manifest
from sds_hf.table.shards import Shards

MANY = 10**9  # shards: more than any table has


@dataclass(frozen=True)
class Pace:
    """How fast a job is.

    Attributes:
        rows_per_second: while it scores.
        start: seconds that are paid for besides: installing, downloading, ending; None if nobody knows.
        rows: that were scored to measure it; 0 if a person says it.
    """

    rows_per_second: float
    start: float | None = None
    rows: int = 0


@dataclass(frozen=True)
class Left:
    """What is to be done.

    Attributes:
        is_complete: whether the table is finished.
        rows: of the whole table; None if neither it nor the dataset's card says.
        shares: rows that each job has to score; empty if nobody knows how many there are.
        trial: the part that is nothing but the first shard that is missing.
    """

    is_complete: bool
    rows: int | None
    shares: tuple[int, ...]
    trial: str

    @property
    def finished(self) -> int:
        """Rows of the shards that are there."""
        return (self.rows or 0) - sum(self.shares)

    def takes(self, pace: Pace, order: Order) -> tuple[float, float] | None:
        """Seconds until the last job is through, and dollars for all; None if nobody knows how many rows there are.

        A start is counted as far as it is known, and that a job with more shards than others takes longer.
        """
        if self.rows is None:
            return None
        start = pace.start or 0.0
        paid = sum(self.shares) / pace.rows_per_second + order.jobs * start
        return max(self.shares) / pace.rows_per_second + start, paid / 3600 * order.dollars_an_hour


def left_of(order: Order) -> Left:
    """Look at what is there.

    Raises:
        OSError: if the bucket cannot be reached.
    """
    folder = folder_at(order.out)
    manifest = read_manifest(folder) or {}
    rows = (manifest.get("source") or {}).get("rows", order.rows)
    if rows is None:
        return Left(False, None, (), f"1/{MANY}")
    shards = Shards(folder, rows, order.rows_per_shard)
    there = {path.name for path in folder.glob("scores-*.parquet")} if manifest else set()
    missing = [number for number in range(shards.count) if shards.name(number) not in there]
    shares = [0] * order.jobs
    for number in missing:
        shares[number % order.jobs] += len(shards.rows(number))
    trial = f"{(missing[0] if missing else 0) + 1}/{max(1, shards.count)}"
    return Left(bool(manifest.get("complete")), rows, tuple(shares), trial)
