"""What scoring a dataset would do: rows, shards, time, disk, and the problems of a sample of rows."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sds_hf.data.access.remote import folder_at
from sds_hf.data.content import quick_content_digest
from sds_hf.files import is_remote
from sds_hf.scores.base.score import Score
from sds_hf.table.job import Job, Part, Piece
from sds_hf.table.manifest import NEEDED
from sds_hf.table.shards import Shards
from sds_hf.table.task import Task

if TYPE_CHECKING:
    from datasets import Dataset

SAMPLE = 64  # rows looked at
ROWS_AT_ONCE = 4  # few enough that a slow model is measured in seconds
SECONDS = 5.0


@dataclass(frozen=True)
class Plan:
    """What a job would do.

    Attributes:
        rows: of the dataset.
        rows_left: those without a score yet.
        shards: of the table.
        finished: shards that earlier runs made.
        content_known: whether the dataset is known to be the one they scored; reading all of it takes too long here.
        scores: what would be computed.
        device: where.
        rows_per_second: as measured on a few rows; None if none of them could be scored.
        seconds: for the rows that are left.
        bytes: of the finished table.
        free_bytes: on its disk.
        sample: rows looked at.
        measured: rows scored for the measurement.
        problems: what is wrong, in one line each.
    """

    rows: int
    rows_left: int
    shards: int
    finished: int
    content_known: bool
    scores: list[str]
    device: str
    rows_per_second: float | None
    seconds: float | None
    bytes: int
    free_bytes: int
    sample: int
    measured: int
    problems: list[str]


def plan_table(
    dataset: "Dataset", scores: Sequence[Score], out: str | Path, *, rows_per_shard: int = 1000, source: str = ""
) -> Plan:
    """Look at what `score_table` would do, in seconds and without writing anything.

    Args:
        dataset: as for `score_table`.
        scores: as for `score_table`.
        out: folder of the table.
        rows_per_shard: as for `score_table`.
        source: what to call the dataset in errors.

    Raises:
        ValueError: where `score_table` would.
    """
    from sds_hf.clip.device import current_device

    if is_remote(folder_at(out)):
        raise ValueError(f"a plan looks at the disk that {out} lies on, and it is not one of this machine's")
    task = Task(dataset, scores, out, rows_per_shard, source)
    job = Job(task, ROWS_AT_ONCE)
    task.request["source"]["sha256"] = content = quick_content_digest(dataset, task.columns)
    manifest = task.manifest(ignore=[name for name in task.unknown if content is None or name != "source.sha256"])
    if NEEDED in manifest:
        raise ValueError(f"a plan cannot say how long the values take that {out} skips; leave it out")
    shards = Shards(task.folder, len(dataset), rows_per_shard)
    finished = shards.finished(manifest)
    rows = np.unique(np.linspace(0, len(dataset) - 1, min(SAMPLE, len(dataset))).astype(int)).tolist()
    task.fit(dataset.select(rows))  # reading all of it takes too long here
    left = len(dataset) - sum(shard.rows for shard in finished.values())
    parts, rate = _measure(job, rows)
    size, free = _table_size(parts, len(dataset), shards.count), shutil.disk_usage(_existing(task.folder)).free
    problems = [f"row {row}: {error}" for row, error in sorted(job.check(rows).items())]
    if size > free:
        problems.append(f"the table needs about {size / 1e6:.3g} MB in {out}, {free / 1e6:.3g} MB are free")
    return Plan(
        rows=len(dataset), rows_left=left, shards=shards.count, finished=len(finished),
        content_known=content is not None, scores=[score.name for score in task.scores], device=str(current_device()),
        rows_per_second=rate, seconds=left / rate if rate else None, bytes=size, free_bytes=free, sample=len(rows),
        measured=sum(part.table.num_rows for part in parts), problems=problems,
    )  # fmt: skip


def _measure(job: Job, rows: Sequence[int]) -> tuple[list[Part], float | None]:
    """The scores of as many rows as can be had in a few seconds, and rows a second; the first ones only warm up."""
    started, parts, times = time.monotonic(), list[Part](), list[float]()
    for part in job.score([Piece(rows)]):
        parts.append(part)
        times.append(time.monotonic() - started)
        if times[-1] > SECONDS:
            break
    scored = [part.table.num_rows - part.failed for part in parts]
    if len(parts) > 1 and sum(scored[1:]):
        return parts, sum(scored[1:]) / max(times[-1] - times[0], 1e-9)
    return parts, sum(scored) / max(times[-1], 1e-9) if sum(scored) else None


def _table_size(parts: Sequence[Part], rows: int, shards: int) -> int:
    """Bytes of a table, from those of some of its rows."""
    table = pa.concat_tables(part.table for part in parts)
    empty = _parquet_size(table.slice(0, 0))
    return int(shards * empty + rows * (_parquet_size(table) - empty) / table.num_rows)


def _parquet_size(table: pa.Table) -> int:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    size: int = sink.getvalue().size
    return size


def _existing(path: Path) -> Path:
    """The folder a path would be made in."""
    path = path.absolute()
    return next(parent for parent in (path, *path.parents) if parent.is_dir())
