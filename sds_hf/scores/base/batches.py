"""What `Dataset.map` hands to a score and what it takes back, in all the forms `datasets` has for it."""

import hashlib
import json
import logging
import uuid
import warnings
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from sds_hf.data.access.origins import MapCall, map_call, reach_of
from sds_hf.data.access.paths import held
from sds_hf.data.cells import PICTURES, READABLE, held_cells
from sds_hf.data.content import named_files_state
from sds_hf.data.labels import LabelSpace, labels_of
from sds_hf.files import cache_folder, write_whole
from sds_hf.scores.base.rows import Rows

if TYPE_CHECKING:
    from sds_hf.scores.base.score import Score

logger = logging.getLogger(__name__)
FAILURES = "failures"  # folder of the cache


class AllFailedError(ValueError):
    """No row of a dataset could be scored."""

    def __init__(self, rows: int, example: str) -> None:
        super().__init__(f"all {rows:,} rows failed, the first with: {example}")


class Column(list[Any]):
    """A list that becomes an Arrow array of a declared type, so that a first batch of nulls keeps its type."""

    def __init__(self, values: Sequence[Any], dtype: pa.DataType) -> None:
        super().__init__(values)
        self.dtype = dtype

    def __arrow_array__(self, type: pa.DataType | None = None) -> pa.Array:
        return pa.array(list(self), type or self.dtype)


def placed(
    rows: Rows, computed: Mapping[str, Sequence[Any]], too_large: Mapping[int, str], kinds: Mapping[str, pa.DataType]
) -> tuple[dict[str, Column], dict[int, str]]:
    """Columns of all rows that were read, of what was computed for those that could be; see `score_cells`."""
    errors = {**rows.errors, **{rows.positions[row]: error for row, error in too_large.items()}}
    columns = {}
    for name, dtype in kinds.items():
        values: list[Any] = [None] * (len(rows) + len(rows.errors))
        for position, value in zip(rows.positions, computed.get(name, ()), strict=True):
            values[position] = None if value is None or value != value else value
        columns[name] = Column(values, dtype)
    return columns, errors


def common_labels(scores: "Sequence[Score]") -> str:
    """The label space that scores computed together are set to.

    Raises:
        ValueError: if they differ in it, or two of them would write different numbers into one column.
    """
    spaces = {score.labels for score in scores}
    if len(spaces) != 1:
        one = f"scores computed together need one label space, not {sorted(spaces)}"
        raise ValueError(one if spaces else "no score is asked for: name one or more, e.g. pcs and asf_miou")
    writers: dict[str, Score] = {}
    for score in scores:
        for column in score.writes:
            other = writers.setdefault(column, score)
            differing = _differing(score, other)
            if differing or (other is not score and other.name == score.name):
                raise ValueError(
                    f"two scores write the column {column!r}, with different {sorted(differing) or score.name}"
                )
    return spaces.pop()


def _differing(score: "Score", other: "Score") -> set[str]:
    """Settings that both have, with different values; a dtype `auto` is what it stands for."""
    values = other.values()
    names = {name for name, value in score.values().items() if values.get(name, value) != value}
    if "dtype" in names and score.identity().get("dtype") == other.identity().get("dtype"):
        names.remove("dtype")
    return names


def all_columns(scores: "Sequence[Score]") -> dict[str, pa.DataType]:
    """Columns the scores write together, in order."""
    return {name: dtype for score in scores for name, dtype in score.writes.items()}


def columns_read(scores: "Sequence[Score]") -> list[str]:
    """Columns to hand to the scores: those that any may read, then what only these do."""
    return list(dict.fromkeys([*READABLE, *sorted(name for score in scores for name in score.reads)]))


class MapBatch:
    """The batch of one call by `map`.

    Attributes:
        cells: needed columns by name; images as stored, not decoded, wherever `datasets` allows it: reading a decoded
            column makes `map` write the decoded images back, lossy.
        single: whether it is one row of an unbatched `map`.
    """

    def __init__(self, batch: Any, columns: Sequence[str]) -> None:
        self._call = map_call()
        self._table = _table_of(batch, self._call)
        self._keeps_table = not isinstance(batch, Mapping)  # of the formats arrow, pandas and polars
        if self._keeps_table and not isinstance(batch, pa.Table) and type(batch).__name__ != "DataFrame":
            raise TypeError("a score takes whole rows: call map(score, batched=True) without input_columns")
        reach = reach_of(self._call.dataset if self._call else None)
        if self._table is not None:
            self.single = type(batch).__name__ == "LazyRow" or not (self._call is None or self._call.batched)
            names = [name for name in columns if name in self._table.column_names]
            self.cells = {name: held_cells(name, self._table[name], reach) for name in names}
        else:
            values = {name: batch[name] for name in columns if name in batch}
            readable_values = {name: value for name, value in values.items() if name in READABLE} or values
            self.single = bool(values) and not any(_is_column(name, value) for name, value in readable_values.items())
            cells = {name: [value] if self.single else list(value) for name, value in values.items()}
            self.cells = {name: [held(c, reach, name in PICTURES) for c in cells[name]] for name in cells}
        if not self.cells:
            raise ValueError(f"a score reads the columns {list(columns)}; this batch has {sorted(_names(batch))}")

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(next(iter(self.cells.values())))

    def labels(self, name: str) -> LabelSpace:
        """The label space of that name; `"auto"` is the one of the schema's ClassLabel names.

        Raises:
            ValueError: if there is none, or the rows come from a stream that does not tell.
        """
        features = self._features() if name == "auto" else None
        if name == "auto" and features is None and self._call and self._call.is_stream:
            raise ValueError(
                "this stream does not tell what its columns are (`map` hides it without features=), so nothing says "
                "what the indices of masks mean: "
                'say it, e.g. labels="voc"'
            )
        return labels_of(features, name)

    def output(self, columns: dict[str, Column]) -> Any:
        """What to return to `map`."""
        if self._keeps_table and self._table is not None:
            removed = (*columns, *(self._call.removed if self._call else ()))
            table = self._table.drop_columns([name for name in self._table.column_names if name in removed])
            for name, column in columns.items():
                table = table.append_column(name, pa.array(column, column.dtype))
            return table
        if not self.single:
            return dict(columns)
        if self._call and not self._call.is_stream:  # arrays keep their type, and that of nulls
            return {name: pa.array(list(column), column.dtype) for name, column in columns.items()}
        return {name: column[0] for name, column in columns.items()}

    def report(self, errors: dict[int, str], identity: str) -> None:
        """Count rows that failed; one warning sums them up when this `map` ends, and its result is not taken again.

        Args:
            errors: by position in the batch.
            identity: of the scores.

        Raises:
            AllFailedError: if it was the last batch and not one row could be scored.
        """
        call, rows = self._call, self.rows
        if call is None or call.formatter is None:  # a stream has no end to wait for
            if errors:
                _Tally().add(errors, rows).warn()
            return
        tally = _tallies.get(call.formatter)
        if tally is None:
            tally = _tallies[call.formatter] = _Tally()
            # `map` holds one formatter while it runs and drops it at its end.
            weakref.finalize(call.formatter, tally.warn)
        if errors and not tally.count:
            _note_failure(identity, call.dataset)
        tally.add(errors, rows)
        if call.rank is None and tally.count == tally.rows == len(call.dataset):
            tally.count = 0
            raise AllFailedError(tally.rows, tally.example)

    def _features(self) -> Any:
        from datasets import Features

        if self._call:
            source = self._call.dataset
            return source.features if not self._call.is_stream else getattr(source.ex_iterable, "features", None)
        metadata = (self._table.schema.metadata or {}) if self._table is not None else {}
        info = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {})
        return Features.from_dict(info["features"]) if info.get("features") else None


def _table_of(batch: Any, call: MapCall | None) -> pa.Table | None:
    """The rows of a batch as they are stored."""
    if call and call.table is not None:
        return call.table
    if isinstance(batch, pa.Table):
        return batch
    if hasattr(batch, "pa_table"):
        return batch.pa_table
    if type(batch).__name__ == "DataFrame":  # of pandas or polars
        return batch.to_arrow() if hasattr(batch, "to_arrow") else pa.Table.from_pandas(batch, preserve_index=False)
    return None


def _names(batch: Any) -> list[str]:
    return list(batch.keys() if isinstance(batch, Mapping) else getattr(batch, "column_names", ()))


class _Tally:
    """Rows of one `map`, and those that failed."""

    def __init__(self) -> None:
        self.rows, self.count, self.example = 0, 0, ""

    def add(self, errors: dict[int, str], rows: int) -> "_Tally":
        self.example = self.example or next(iter(errors.values()), "")
        self.count, self.rows = self.count + len(errors), self.rows + rows
        return self

    def warn(self) -> None:
        if self.count:
            warn_of_failures(self.count, self.example)


_tallies: "weakref.WeakKeyDictionary[Any, _Tally]" = weakref.WeakKeyDictionary()


def warn_of_failures(count: int, example: str) -> None:
    """One warning for all rows that failed."""
    rows = "1 row" if count == 1 else f"{count} rows"
    warnings.warn(f"{rows} could not be scored and got nulls; for example: {example}", stacklevel=3)


def map_state(identity: str, columns: Sequence[str]) -> str:
    """What decides, besides the scores, whether `map` may take its result from the cache: files and earlier failures.

    Empty where no cell names a file and no row failed before, and outside of `map`.

    Args:
        identity: of the scores.
        columns: what they read.
    """
    call = map_call()
    if call is None or call.is_stream:
        return ""
    note, failures = _note(identity, call.dataset), ""
    with suppress(OSError):
        failures = note.read_text(encoding="utf-8")
    return named_files_state(call.dataset, columns) + failures


def _note_failure(identity: str, dataset: Any) -> None:
    """See that the result of this `map` is not found in the cache by the next one: rows may be repaired by then."""
    note = _note(identity, dataset)
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_whole(note, uuid.uuid4().hex)
    except OSError:
        logger.debug("cannot note failures in %s", note.parent)


def _note(identity: str, dataset: Any) -> Any:
    files = sorted(file["filename"] for file in dataset.cache_files)
    return cache_folder(FAILURES) / hashlib.sha256(json.dumps([identity, files]).encode()).hexdigest()


def _is_column(name: str, value: Any) -> bool:
    """Whether a value of a plain dict is a column, not a cell; one row's `classes` are a list too, but of numbers."""
    if hasattr(value, "ndim"):  # a cell has 0 dimensions, `classes` 1, a mask 2, an image 3
        dimensions = {"classes": 1, "mask": 2, "image": 3}.get(name, 0)
        return getattr(value, "dtype", None) == np.dtype(object) or value.ndim > dimensions
    if name == "classes":
        return isinstance(value, Sequence) and (not value or isinstance(value[0], (list, tuple, type(None))))
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
