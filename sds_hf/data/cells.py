"""Cells of Arrow columns as Python objects; numbers that come in lists of lists, such as polygons, stay arrays."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from datasets import Dataset

READABLE = ("image", "mask", "classes", "caption", "id")  # what any score may read


def column_cells(column: pa.ChunkedArray) -> list[Any]:
    """The cells of a column, as `to_pylist` gives them, except that polygons in lists of structs are arrays.

    Making Python floats of millions of corners would take as long as measuring the polygons.

    Raises:
        UnicodeDecodeError: if text is not UTF-8.
    """
    return [cell for chunk in column.chunks for cell in _chunk_cells(chunk)]


def _chunk_cells(array: pa.Array) -> list[Any]:
    if not _is_list(array.type) or not pa.types.is_struct(array.type.value_type):
        cells: list[Any] = array.to_pylist()
        return cells
    entries = array.flatten()
    names = [field.name for field in entries.type]
    children = [_numbers(child) for child in entries.flatten()]
    structs = [dict(zip(names, values, strict=True)) for values in zip(*children, strict=True)]
    return _split(structs, array) if entries.null_count == 0 else array.to_pylist()


def _numbers(array: pa.Array) -> list[Any]:
    """Cells of a column, those of lists of lists of numbers as lists of arrays."""
    if _is_list(array.type) and _is_list(array.type.value_type):
        inner = array.flatten()
        numbers = inner.flatten()
        if pa.types.is_floating(numbers.type) and not inner.null_count and not numbers.null_count:
            ends = np.cumsum(inner.value_lengths().to_numpy(zero_copy_only=False))
            return _split(np.split(numbers.to_numpy(), ends[:-1]), array)
    cells: list[Any] = array.to_pylist()
    return cells


def _split(values: list[Any], lists: pa.Array) -> list[Any]:
    """What an array of lists holds, of its values one after another; None for null."""
    cells, start = [], 0
    for length in lists.value_lengths().to_pylist():
        cells.append(None if length is None else values[start : start + length])
        start += length or 0
    return cells


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def readable(dataset: "Dataset", columns: Sequence[str] = READABLE) -> "Dataset":
    """These columns of a dataset if it has them, images as they are stored."""
    return dataset.select_columns([name for name in columns if name in dataset.column_names]).with_format("arrow")


def stored_cells(stored: "Dataset", rows: Sequence[int]) -> dict[str, list[Any]]:
    """Cells of some rows of what `readable` returns, by column."""
    table = stored[rows.start : rows.stop] if isinstance(rows, range) else stored[list(rows)]
    return {name: _column_of_any_text(table[name]) for name in table.column_names}


def _column_of_any_text(column: pa.ChunkedArray) -> list[Any]:
    """The cells of a column; text that is not UTF-8 stays bytes."""
    try:
        return column_cells(column)
    except UnicodeDecodeError:
        return [_scalar_of_any_text(scalar) for scalar in column]


def _scalar_of_any_text(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        if pa.types.is_struct(scalar.type):  # bytes and path of an image
            return {"bytes": scalar["bytes"].as_py(), "path": os.fsdecode(scalar["path"].as_buffer().to_pybytes())}
        return scalar.as_buffer().to_pybytes()
