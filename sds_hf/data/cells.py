"""Cells of Arrow columns as Python objects; numbers that come in lists of lists, such as polygons, stay arrays."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sds_hf.data.access.origins import reach_of
from sds_hf.data.access.paths import Reach, held

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

READABLE = ("image", "mask", "classes", "caption", "id")  # what any score may read
PICTURES = ("image", "mask")
READERS = 8  # threads that read files


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


def held_cells(name: str, column: pa.ChunkedArray, reach: Reach) -> list[Any]:
    """The cells of a column with the bytes of the files that they name, see `held`; text that is not UTF-8 stays bytes.

    Args:
        name: of the column; a text in `image` or `mask` is a path.
        column: as it is stored.
        reach: where the files may lie.
    """
    cells, is_picture = _cells_of_any_text(column), name in PICTURES
    if not names_files(column.type, is_picture) or holds_all(column):
        return cells
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(lambda cell: held(cell, reach, is_picture), cells))


def holds_all(column: pa.ChunkedArray) -> bool:
    """Whether all cells of a column are files whose bytes it holds."""
    kind = column.type
    is_file = pa.types.is_struct(kind) and {field.name for field in kind} == {"bytes", "path"}
    return is_file and all(pc.struct_field(chunk, "bytes").null_count == 0 for chunk in column.chunks)


def are_whole(column: pa.ChunkedArray) -> bool:
    """Whether `stored_bytes` can be had: all cells are files whose bytes the column holds, in the usual type."""
    return holds_all(column) and bool(pa.types.is_binary(column.type.field("bytes").type))


def stored_bytes(files: pa.ChunkedArray) -> list[memoryview]:
    """The bytes of files of a column that `are_whole`, as views of it: nothing is copied."""
    views: list[memoryview] = []
    for chunk in filter(len, files.chunks):
        data = pc.struct_field(chunk, "bytes")
        _, offsets, content = data.buffers()
        ends = np.frombuffer(offsets, np.int32)[data.offset : data.offset + len(data) + 1].tolist()
        whole = memoryview(content or b"")
        views += [whole[start:end] for start, end in pairwise(ends)]
    return views


def names_files(kind: pa.DataType, is_picture: bool = False) -> bool:
    """Whether cells of a type can name files, also in lists and structs; see `held`."""
    if isinstance(kind, pa.BaseExtensionType):
        return names_files(kind.storage_type, is_picture)
    if pa.types.is_struct(kind):
        names = {field.name for field in kind}
        is_file = names == {"bytes", "path"} or (is_picture and names == {"path"})
        return is_file or any(names_files(field.type) for field in kind)
    if _is_list(kind) or pa.types.is_fixed_size_list(kind):
        return names_files(kind.value_type, is_picture)
    return is_picture and _is_text(kind)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def readable(dataset: "Dataset", columns: Sequence[str] = READABLE) -> "Dataset":
    """These columns of a dataset if it has them, images as they are stored."""
    return dataset.select_columns([name for name in columns if name in dataset.column_names]).with_format("arrow")


def stored_cells(stored: "Dataset", rows: Sequence[int]) -> dict[str, list[Any]]:
    """Cells of some rows of what `readable` returns, by column, with the files that they name."""
    table = stored[rows.start : rows.stop] if isinstance(rows, range) else stored[list(rows)]
    reach = reach_of(stored)
    return {name: held_cells(name, table[name], reach) for name in table.column_names}


def stored_content(stored: "Dataset", rows: range) -> dict[str, list[Any]]:
    """The same, but of files that are stored whole only their bytes, see `stored_bytes`."""
    table, reach = stored[rows.start : rows.stop], reach_of(stored)
    return {
        name: stored_bytes(column) if are_whole(column) else held_cells(name, column, reach)
        for name, column in zip(table.column_names, table.columns, strict=True)
    }


def _cells_of_any_text(column: pa.ChunkedArray) -> list[Any]:
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


def undecoded(stream: "IterableDataset") -> "IterableDataset":
    """A stream of what is stored, also in lists and structs: decoding would follow paths, wherever they lead."""
    from datasets import Features

    stream = stream.with_format(None) if stream._formatting else stream
    if not stream.features:
        return stream
    features = Features({name: _stored(feature) for name, feature in stream.features.items()})
    return stream if features == stream.features else stream.cast(features)


def _stored(feature: Any) -> Any:
    """A feature that decodes nothing."""
    if isinstance(feature, dict):
        return {name: _stored(inner) for name, inner in feature.items()}
    if isinstance(feature, list):
        return [_stored(inner) for inner in feature]
    feature = copy(feature)
    if hasattr(feature, "feature"):
        feature.feature = _stored(feature.feature)
    if getattr(feature, "decode", False) is True:
        feature.decode = False
    return feature
