"""Columns as those who load a published dataset get them: files embedded, and decoded to see that they are files.

`image` and `mask` go out as `Image()` in whatever form they came: paths, bytes, structs, arrays, images that are not
decoded or that are decoded into another mode, which would make greys of a mask's palette.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sds_hf.data.access.paths import PathError, Reach, Unreadable
from sds_hf.data.cells import PICTURES, are_whole, column_cells, held_cells, names_files
from sds_hf.data.images import (
    BadImageError,
    check_picture,
    decode_image,
    decode_mask,
    encode_mask,
    encode_picture,
)

if TYPE_CHECKING:
    from datasets import Features

IN_PARQUET = (("timestamp[s", "timestamp[ms"), ("time32[s", "time32[ms"), ("date64", "date32"))  # which has no seconds
STORED = pa.struct({"bytes": pa.binary(), "path": pa.string()})
NAMED = 5  # rows in an error
LARGEST = 1 << 31  # bytes that a chunk of pictures of Arrow can have
DECODERS = min(8, os.cpu_count() or 1)


class ColumnError(ValueError):
    """A column that cannot be published; names the row and says why."""


def published_features(features: "Features") -> "Features":
    """Features as they are published: `image` and `mask` as plain `Image()`, others of types that Parquet keeps."""
    from datasets import Features, Image

    return Features({name: Image() if name in PICTURES else _kept(feature) for name, feature in features.items()})


def _kept(feature: Any) -> Any:
    """A feature as it comes back from Parquet."""
    if isinstance(feature, dict):
        return {name: _kept(inner) for name, inner in feature.items()}
    if isinstance(feature, (list, tuple)):
        return [_kept(inner) for inner in feature]
    if hasattr(feature, "feature"):
        return replace(feature, feature=_kept(feature.feature))
    for dtype, kept in IN_PARQUET if type(feature).__name__ == "Value" else ():
        if feature.dtype.startswith(dtype):
            return replace(feature, dtype=feature.dtype.replace(dtype, kept, 1))
    return feature


def published_column(
    name: str,
    feature: Any,
    column: pa.ChunkedArray,
    reach: Reach,
    row_names: Sequence[str],
    is_decoded: bool = False,
) -> pa.ChunkedArray:
    """A column as it is published.

    Args:
        name: of the column.
        feature: what it is in the dataset.
        column: as it is stored.
        reach: where files may lie that it names.
        row_names: what to call the rows in errors.
        is_decoded: whether the very bytes of an `image` or `mask` were decoded before.

    Raises:
        ColumnError: if a cell names a file that may not or cannot be read, or does not decode as what its column says;
            or if an `image` or `mask` is null, on which whoever loads the dataset counts.
    """
    if name in PICTURES and is_decoded:
        column = _in_one(column)
        if are_whole(column):
            return pa.chunked_array([_as_stored(chunk) for chunk in column.chunks])
    if name in PICTURES:
        pictures = _each(_picture if name == "image" else _mask, name, held_cells(name, column, reach), row_names)
        if without := [row for row, picture in zip(row_names, pictures, strict=True) if picture is None]:
            raise ColumnError(
                f"{_rows(without)} cannot be published: {name} is null; take such rows out, or fill them in, and score "
                "again"
            )
        stored = pa.array(pictures, STORED)  # in several chunks where one cannot have so many bytes
        return stored if isinstance(stored, pa.ChunkedArray) else pa.chunked_array([stored])
    if not names_files(column.type):
        return column
    before, cells = column_cells(column), held_cells(name, column, reach)

    def embed(pair: tuple[Any, Any], name: str) -> Any:
        return _embedded(feature, *pair, name)

    return pa.chunked_array(
        [pa.array(_each(embed, name, list(zip(before, cells, strict=True)), row_names), column.type)]
    )


def _rows(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return f"row{'s' * (len(names) > 1)} {', '.join(names[:NAMED])}" + (f" and {more:,} more" if more > 0 else "")


def _in_one(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column in one chunk, if one can have so many bytes: of rows that were chosen each is a chunk of its own."""
    return pa.chunked_array([column.combine_chunks()]) if column.nbytes < LARGEST else column


def _as_stored(files: pa.StructArray) -> pa.StructArray:
    """Files of which all bytes are there, as `pa.array` would make them of structs, without a copy of these."""
    data, paths = pc.struct_field(files, "bytes"), pc.struct_field(files, "path").to_pylist()
    _, ends, content = data.buffers()
    data = pa.Array.from_buffers(pa.binary(), len(data), [None, ends, content], 0, data.offset)  # nothing is null
    return pa.StructArray.from_arrays([data, pa.array(map(_last_part, paths), pa.string())], fields=list(STORED))


def _each(embed: Callable[[Any, str], Any], name: str, cells: Sequence[Any], row_names: Sequence[str]) -> list[Any]:
    def one(pair: tuple[str, Any]) -> Any:
        row_name, cell = pair
        try:
            return embed(cell, name)
        except (BadImageError, PathError) as error:
            raise ColumnError(f"row {row_name} cannot be published: {error}") from error

    with ThreadPoolExecutor(DECODERS) as pool:
        return list(pool.map(one, zip(row_names, cells, strict=True)))


def _picture(cell: Any, name: str) -> Any:
    if _is_array(cell):
        return {"bytes": encode_picture(decode_image(cell, name)), "path": None}
    return _file(cell, name, lambda: check_picture(cell, name))


def _mask(cell: Any, name: str) -> Any:
    if _is_array(cell):
        return {"bytes": encode_mask(decode_mask(cell, name)), "path": None}
    return _file(cell, name, lambda: decode_mask(cell, name))


def _is_array(cell: Any) -> bool:
    return isinstance(cell, (list, np.ndarray))


def _file(cell: Any, name: str, check: Callable[[], Any]) -> dict[str, Any] | None:
    """A file's struct, of whose path only the last part goes out; None for an empty cell."""
    if cell is None or (isinstance(cell, dict) and cell.get("bytes") is None and not cell.get("path")):
        return None
    check()
    if isinstance(cell, bytes):
        return {"bytes": cell, "path": None}
    if not isinstance(cell, dict):
        raise BadImageError(f"{name}: a {type(cell).__name__} is no image")
    return {"bytes": cell["bytes"], "path": _last_part(cell.get("path"))}


def _last_part(path: str | None) -> str | None:
    return path and path.partition("::")[0].replace("\\", "/").rsplit("/", 1)[-1]


def _embedded(feature: Any, before: Any, cell: Any, name: str) -> Any:
    """A cell of another column with the files that it names, each decoded as its feature says."""
    if isinstance(cell, Unreadable):
        raise PathError(f"{name}: {cell.reason}")
    if isinstance(cell, list):
        inner = getattr(feature, "feature", feature[0] if isinstance(feature, list) and feature else None)
        return [_embedded(inner, *pair, name) for pair in zip(before, cell, strict=True)]
    if not isinstance(cell, dict):
        return cell
    if hasattr(feature, "decode_example"):
        from_path = before.get("bytes") is None and cell.get("bytes") is not None
        if from_path or (type(feature).__name__ == "Image" and cell.get("bytes") is not None):
            _decode(feature, cell, name)
        return {**cell, "path": _last_part(cell["path"])} if "path" in cell else cell
    if set(cell) == {"bytes", "path"}:
        if cell != before:
            raise PathError(f"{name}: it names a file, and nothing says what the file is; cast the column")
        return cell
    inner_features = feature if isinstance(feature, dict) else {}
    return {key: _embedded(inner_features.get(key), before[key], item, f"{name}.{key}") for key, item in cell.items()}


def _decode(feature: Any, cell: dict[str, Any], name: str) -> None:
    """Decode a file as the feature does that its column has.

    Raises:
        PathError: if it is no such file, or what decodes it is not installed.
    """
    if type(feature).__name__ == "Image":
        return check_picture(cell, name)
    kind = type(feature).__name__
    decoding = type(feature)() if not getattr(feature, "decode", True) else feature
    try:
        decoding.decode_example({"bytes": cell["bytes"], "path": None})
    except ImportError as error:
        raise PathError(
            f"{name}: to see that it is {kind}, it is decoded before it is embedded, and {error}"
        ) from error
    except Exception as error:  # each decoder fails in its own ways
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise PathError(f"{name}: {cell.get('path')} does not decode as {kind}: {reason}") from error
    return None
