"""Scores that need a whole set: fit them to it, then apply them to its rows or to others."""

import json
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, field, replace
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from sds_hf.data.access.origins import reach_of
from sds_hf.data.access.paths import held
from sds_hf.data.cells import PICTURES, readable, stored_cells, undecoded
from sds_hf.data.content import files_behind
from sds_hf.data.labels import LabelSpace, labels_of
from sds_hf.files import remembered
from sds_hf.prefetch import prefetch
from sds_hf.schema import settings
from sds_hf.scores.base.batches import columns_read
from sds_hf.scores.base.rows import Rows, cells_of, read_parts
from sds_hf.scores.base.score import Score, read_cells

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

ROWS_AT_ONCE = 64  # not a setting: what is found must not depend on it
KIND = "statistics"


@settings
class WholeSetScore(Score):
    """A score whose numbers depend on statistics of a whole set.

    `fit` reads the set once, a part at a time: each part is collected, what was collected is merged, and the whole is
    frozen into `statistics`. From then on they are a setting like others: part of the identity, the fingerprint and
    the manifest. `add_scores` and score tables fit what is not fitted yet.

    Args:
        labels: see `Score`.
        statistics: what `fit` found; None if the score is not fitted.

    Examples:
        >>> from collections import Counter
        >>> import pyarrow as pa
        >>> @settings
        ... class Share(WholeSetScore):
        ...     name, source = "share", "an example"
        ...     columns, needs = {"share": pa.float32()}, frozenset({"classes"})
        ...     def collect(self, rows):
        ...         return Counter(len(rows.classes_of(row)) for row in range(len(rows)))
        ...     def merge(self, left, right):
        ...         return left + right
        ...     def freeze(self, collected):
        ...         return {str(count): rows / collected.total() for count, rows in sorted(collected.items())}
        ...     def compute(self, rows):
        ...         shares = self.required_statistics()
        ...         return {"share": [shares[str(len(rows.classes_of(row)))] for row in range(len(rows))]}
        ...
        >>> Share().fit(candidates).statistics
        {'1': 0.5, '2': 0.2916666666666667, '3': 0.16666666666666666, '4': 0.041666666666666664}
    """

    whole_set: ClassVar[bool] = True
    applied: ClassVar[frozenset[str]] = frozenset()  # settings that matter after the fit only

    statistics: Mapping[str, Any] | None = field(default=None, hash=False)

    @property
    def is_fitted(self) -> bool:
        """See `Score.is_fitted`."""
        return self.statistics is not None

    def fit(self, dataset: "Dataset | IterableDataset") -> Self:
        """The score with the statistics of a dataset, in place of those it has.

        Raises:
            ValueError: if the dataset lacks a column or its label space is not known.
        """
        labels = labels_of(dataset.features, self.labels)
        return cast(Self, fit_scores([replace(cast(Any, self), statistics=None)], dataset, labels)[0])

    def required_statistics(self) -> Mapping[str, Any]:
        """The statistics, which there must be.

        Raises:
            ValueError: if the score is not fitted.
        """
        if self.statistics is None:
            raise ValueError(
                f"{self.name} needs statistics of the whole set: use add_scores(dataset, score), "
                "or fit it first: dataset.map(score.fit(dataset), batched=True)"
            )
        return self.statistics

    @abstractmethod
    def collect(self, rows: Rows) -> Any:
        """What some rows contribute; there may be none."""

    @abstractmethod
    def merge(self, left: Any, right: Any) -> Any:
        """What two parts contribute together; should not depend on the order of parts."""

    @abstractmethod
    def freeze(self, collected: Any) -> Mapping[str, Any]:
        """The statistics, as JSON."""


def fit_scores(
    scores: Sequence[Score],
    dataset: "Dataset | IterableDataset",
    labels: LabelSpace,
    num_proc: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Score]:
    """Fit those scores that are not fitted yet, all in one pass over a dataset; rows that cannot be read are left out.

    What was found is remembered on disk as long as the files behind the dataset are the same.

    Args:
        scores: all kinds.
        dataset: the whole set.
        labels: what indices mean.
        num_proc: processes that read parts of a `Dataset`.
        progress: called with the number of rows read since the last call, if one process reads them.

    Returns:
        The scores in their order.
    """
    from datasets import Dataset

    unfitted = [cast(WholeSetScore, score) for score in scores if not score.is_fitted]
    if not unfitted:
        return list(scores)

    def compute() -> str:
        return json.dumps(_statistics(unfitted, dataset, labels, num_proc or 1, progress))

    content_key = files_behind(dataset, columns_read(unfitted)) if isinstance(dataset, Dataset) else None
    key = json.dumps([content_key, asdict(labels), [_fit_identity(score) for score in unfitted]], sort_keys=True)
    statistics = iter(json.loads(compute() if content_key is None else remembered(KIND, key, compute)))
    return [
        cast(Score, replace(cast(Any, score), statistics=next(statistics))) if not score.is_fitted else score
        for score in scores
    ]


def _fit_identity(score: WholeSetScore) -> dict[str, Any]:
    """Everything that decides what a fit finds."""
    return {name: value for name, value in score.identity().items() if name not in score.applied}


def _statistics(
    scores: Sequence[WholeSetScore],
    dataset: "Dataset | IterableDataset",
    labels: LabelSpace,
    processes: int,
    progress: Callable[[int], None] | None,
) -> list[Any]:
    from datasets import IterableDataset

    collect = partial(_collected, scores, labels)
    if isinstance(dataset, IterableDataset) or min(processes, len(dataset)) < 2:
        collected = collect(dataset, progress)
    else:
        parts = [dataset.shard(processes, index, contiguous=True) for index in range(processes)]
        with ProcessPoolExecutor(processes) as pool:
            collected = reduce(partial(_merged, scores), pool.map(collect, parts))
    return [score.freeze(part) for score, part in zip(scores, collected, strict=True)]


def _collected(
    scores: Sequence[WholeSetScore],
    labels: LabelSpace,
    dataset: "Dataset | IterableDataset",
    progress: Callable[[int], None] | None = None,
) -> list[Any]:
    """What the rows of a dataset contribute to each score."""

    def collected(rows: Rows) -> list[Any]:
        if progress:
            progress(len(rows))
        return [score.collect(rows) for score in scores]

    parts = (
        read_cells(scores, cells_of(cells, part), labels)
        for cells in _cells(dataset, columns_read(scores))
        for part in read_parts(cells)
    )
    # Only pictures are decoded without Python's lock; reading the rest ahead would hold up the collecting.
    ahead = prefetch(parts) if any(score.reads & {"image", "mask"} for score in scores) else parts
    return reduce(partial(_merged, scores), map(collected, ahead))


def _merged(scores: Sequence[WholeSetScore], left: list[Any], right: list[Any]) -> list[Any]:
    return [score.merge(*parts) for score, *parts in zip(scores, left, right, strict=True)]


def _cells(dataset: "Dataset | IterableDataset", columns: Sequence[str]) -> "Iterator[Mapping[str, Sequence[Any]]]":
    """The cells of a dataset, some rows at a time; at least once."""
    from datasets import IterableDataset

    if isinstance(dataset, IterableDataset):
        names = [name for name in columns if name in (dataset.column_names or columns)]
        reach = reach_of(dataset)
        for batch in undecoded(dataset).select_columns(names).iter(ROWS_AT_ONCE):
            yield {name: [held(cell, reach, name in PICTURES) for cell in column] for name, column in batch.items()}
        return
    stored = readable(dataset, columns)
    for start in range(0, max(1, len(stored)), ROWS_AT_ONCE):
        yield stored_cells(stored, range(start, min(start + ROWS_AT_ONCE, len(stored))))
