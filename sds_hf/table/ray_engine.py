"""Scoring on a Ray cluster: a task a shard. Ray schedules and repeats tasks; our shards say what is done."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from sds_hf.data.cells import stored_cells
from sds_hf.data.labels import LabelSpace
from sds_hf.scores.base.rows import cells_of
from sds_hf.scores.base.score import Score
from sds_hf.table.job import Batch, Job, Part, Piece, pieces_of, read_batches, score_batches
from sds_hf.table.partial.needs import Needs

AHEAD = 2  # shards on their way for each processor that works


class RayJob(Job):
    """A job whose shards are scored by the workers of a Ray cluster.

    The rows travel from here to the workers, so that only this process has to reach dataset and table; a model has to
    be on every worker, under the same name.

    Raises:
        ModuleNotFoundError: if Ray is not installed; says how to.
    """

    comes_in_batches: ClassVar[bool] = False

    def score(self, pieces: Iterable[Piece], needs: Needs | None = None) -> Iterator[Part]:
        """The scores of pieces of the dataset, one part each, in order; a task of a worker that dies is repeated."""
        ray = ray_module()
        if not ray.is_initialized():
            ray.init(log_to_driver=False, logging_level="ERROR")
        gpus = 1 if ray.cluster_resources().get("GPU") else 0
        score_shard = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=-1)(_score_shard)
        task, batch_sizes = self.task, (self.first_batch, self.batch_size)
        shared_arguments = ray.put((task.scores, task.request["scores"], task.labels, batch_sizes, needs))
        running: deque[Any] = deque()
        for piece in pieces:
            plain = Piece(list(piece.row_numbers), piece.stored)
            running.append(score_shard.remote(shared_arguments, stored_cells(self.stored, plain.row_numbers), plain))
            workers = ray.cluster_resources().get("GPU" if gpus else "CPU", 1)
            if len(running) >= AHEAD * max(1, workers):
                yield ray.get(running.popleft())
        while running:
            yield ray.get(running.popleft())


def ray_module() -> Any:
    """Ray, which only this engine imports.

    Raises:
        ModuleNotFoundError: if it is not installed; says how to.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('the engine "ray" needs Ray: pip install "sds-hf[ray]"') from error
    return ray


def _score_shard(
    shared_arguments: tuple[Sequence[Score], list[dict[str, Any]], LabelSpace, tuple[int, int], Needs | None],
    cells: Mapping[str, Sequence[Any]],
    piece: Piece,
) -> Part:
    """The scores of some rows, on a worker.

    Raises:
        ValueError: if the worker's models are others.
    """
    scores, identities, labels, batch_sizes, needs = shared_arguments
    if [{**score.identity(), "labels": labels.name} for score in scores] != identities:
        raise ValueError("the model of a worker is another one than here; put the same files on all machines")

    def read() -> Iterator[Batch]:
        start = 0
        for batch in pieces_of(piece, *batch_sizes):
            rows = range(start, start + len(batch.row_numbers))
            yield from read_batches(scores, labels, cells_of(cells, rows), batch.row_numbers, stored=batch.stored)
            start = rows.stop

    parts = list(score_batches(scores, read(), needs))
    table = pa.concat_tables(part.table for part in parts)
    return Part(table, [digest for part in parts for digest in part.digests], sum(part.failed for part in parts))
