"""What `Dataset.map` hands to a score and what it takes back, in all the forms `datasets` has for it."""

import json
import logging
import warnings
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from sds_hf.data.cells import READABLE, column_cells
from sds_hf.data.labels import LabelSpace, labels_of

logger = logging.getLogger(__name__)


class Column(list[Any]):
    """A list that becomes an Arrow array of a declared type, so that a first batch of nulls keeps its type."""

    def __init__(self, values: Sequence[Any], dtype: pa.DataType) -> None:
        super().__init__(values)
        self.dtype = dtype

    def __arrow_array__(self, type: pa.DataType | None = None) -> pa.Array:
        return pa.array(list(self), type or self.dtype)


class MapBatch:
    """The batch of one call by `map`.

    Attributes:
        cells: needed columns by name; images as stored, not decoded, wherever `datasets` allows it: reading a decoded
            column makes `map` write the decoded images back, lossy.
        single: whether it is one row of an unbatched `map`.
    """

    def __init__(self, batch: Any, columns: Sequence[str]) -> None:
        if not isinstance(batch, Mapping):
            raise TypeError("a score takes whole rows: call map(score, batched=True) without input_columns")
        self._formatter = getattr(batch, "formatter", None)
        table = getattr(batch, "pa_table", None)
        self._metadata: dict[bytes, bytes] = (table.schema.metadata or {}) if table is not None else {}
        if table is not None:
            self.single = type(batch).__name__ == "LazyRow"
            self.cells = {name: column_cells(table[name]) for name in columns if name in table.column_names}
        else:
            values = {name: batch[name] for name in columns if name in batch}
            readable_values = {name: value for name, value in values.items() if name in READABLE} or values
            self.single = bool(values) and not any(_is_column(name, value) for name, value in readable_values.items())
            self.cells = {name: [value] if self.single else value for name, value in values.items()}
        if not self.cells:
            raise ValueError(f"a score reads the columns {list(columns)}; this batch has {sorted(batch.keys())}")

    def labels(self, name: str) -> LabelSpace:
        """The label space of that name; `"auto"` is the one of the schema's ClassLabel names."""
        features = self._features() if name == "auto" else None
        if name == "auto" and features is None:
            raise ValueError(
                'labels="auto" needs the features of the dataset, which `map` on a stream hides: say what indices '
                'mean, e.g. labels="voc", or use add_scores, which sees them'
            )
        return labels_of(features, name)

    def output(self, columns: dict[str, Column]) -> dict[str, Any]:
        """What to return to `map`."""
        return {name: column[0] for name, column in columns.items()} if self.single else dict(columns)

    def report(self, errors: dict[int, str]) -> None:
        """Count rows that failed; one warning sums them up when this `map` ends."""
        if errors:
            tally = _tallies.get(self._formatter) if self._formatter is not None else None
            if tally is None:
                tally = _Tally()
                if self._formatter is None:  # a stream has no end to wait for
                    tally.add(errors)
                    return tally.warn()
                _tallies[self._formatter] = tally
                # `map` holds one formatter while it runs and drops it at its end.
                weakref.finalize(self._formatter, tally.warn)
            tally.add(errors)
        return None

    def _features(self) -> Any:
        from datasets import Features

        info = json.loads(self._metadata.get(b"huggingface", b"{}")).get("info", {})
        return Features.from_dict(info["features"]) if info.get("features") else None


class _Tally:
    """Failed rows of one `map`."""

    def __init__(self) -> None:
        self.count, self.example = 0, ""

    def add(self, errors: dict[int, str]) -> None:
        self.example = self.example or next(iter(errors.values()))
        self.count += len(errors)

    def warn(self) -> None:
        rows = "1 row" if self.count == 1 else f"{self.count} rows"
        warnings.warn(f"{rows} could not be scored and got nulls; for example: {self.example}", stacklevel=2)


_tallies: "weakref.WeakKeyDictionary[Any, _Tally]" = weakref.WeakKeyDictionary()


def _is_column(name: str, value: Any) -> bool:
    """Whether a value of a plain dict is a column, not a cell; one row's `classes` are a list too, but of numbers."""
    if isinstance(value, np.ndarray):  # a cell has 0 dimensions, `classes` 1, a mask 2, an image 3
        return value.dtype == object or value.ndim > {"classes": 1, "mask": 2, "image": 3}.get(name, 0)
    if name == "classes":
        return isinstance(value, Sequence) and (not value or isinstance(value[0], (list, tuple, type(None))))
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
