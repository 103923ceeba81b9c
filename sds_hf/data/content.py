"""What a dataset holds, as digests: the same wherever its files lie."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sds_hf.data.cells import READABLE, readable, stored_cells
from sds_hf.data.images import cell_bytes
from sds_hf.files import identity_of

if TYPE_CHECKING:
    from datasets import Dataset

ROWS_AT_ONCE = 256
PICTURES = ("image", "mask")
_digests: dict[str, str] = {}  # that were read in this process, by `files_behind`


def content_digest(dataset: "Dataset", columns: Sequence[str] = READABLE) -> str:
    """SHA-256 of what these columns of a dataset hold, in order; about a second a gigabyte.

    Read once in this process as long as the files behind the dataset are the same. Nothing vouches for them later.
    """
    key, stored = files_behind(dataset, columns), readable(dataset, columns)
    if key is None:
        return _read_digest(stored)
    if key not in _digests:
        _digests[key] = _read_digest(stored)
    return _digests[key]


def quick_content_digest(dataset: "Dataset", columns: Sequence[str] = READABLE) -> str | None:
    """The same if it is known without reading the dataset, else None."""
    key = files_behind(dataset, columns)
    return None if key is None else _digests.get(key)


def joint_digest(digests: Iterable[bytes]) -> str:
    """One digest of the digests of rows."""
    joint = hashlib.sha256()
    for digest in digests:
        joint.update(digest)
    return joint.hexdigest()


def row_digests(stored: "Dataset", rows: range | None = None) -> Iterator[bytes]:
    """The digests of rows of what `readable` returns, all of them if none are given."""
    rows = rows or range(len(stored))
    for start in range(rows.start, rows.stop, ROWS_AT_ONCE):
        yield from cell_digests(stored_cells(stored, range(start, min(start + ROWS_AT_ONCE, rows.stop))))


def cell_digests(cells: Mapping[str, Sequence[Any]]) -> list[bytes]:
    """A digest a row of columns of cells."""
    digests = []
    for row in zip(*cells.values(), strict=True):
        digest = hashlib.sha256(json.dumps(list(cells)).encode())
        for name, cell in zip(cells, row, strict=True):
            data = _content(name, cell)
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
        digests.append(digest.digest())
    return digests


def _read_digest(stored: "Dataset") -> str:
    return joint_digest(row_digests(stored))


def _content(name: str, cell: Any) -> bytes:
    try:
        if name in PICTURES or isinstance(cell, bytes) or (isinstance(cell, dict) and "bytes" in cell):
            return cell_bytes(cell) or b""
        return json.dumps(cell, default=_plain).encode()
    except (OSError, ValueError):  # a file that cannot be read is its row's failure, not the table's
        return b""


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else str(value)


def files_behind(dataset: "Dataset", columns: Sequence[str] = READABLE) -> str | None:
    """What tells the content of a dataset without reading it; None if part of it is only in memory or not there.

    The fingerprint stands for what was done to the files' tables, the indices for which of their rows are shown.
    """
    from datasets.table import ConcatenationTable, MemoryMappedTable

    blocks = dataset.data.blocks if isinstance(dataset.data, ConcatenationTable) else [[dataset.data]]
    if not all(isinstance(block, MemoryMappedTable) for line in blocks for block in line):
        return None
    columns = [name for name in columns if name in dataset.column_names]
    indices = dataset._indices.column(0).chunks if dataset._indices is not None else []
    indices_digest = joint_digest(chunk.to_numpy(zero_copy_only=False) for chunk in indices)
    try:
        files = sorted({identity_of(Path(file["filename"])) for file in dataset.cache_files})
        paths = _named_files(dataset, columns)
        named = joint_digest(identity_of(path).encode(errors="surrogateescape") for path in paths)
    except OSError:
        return None
    return json.dumps([columns, files, dataset._fingerprint, indices_digest, named])


def _named_files(dataset: "Dataset", columns: Sequence[str]) -> Iterator[Path]:
    """Files that cells name instead of holding their bytes."""
    for name in columns:
        column = dataset.data.column(name)
        of_images = pa.types.is_struct(column.type) and {field.name for field in column.type} == {"bytes", "path"}
        if of_images:
            column = pc.struct_field(column, "path").filter(pc.is_null(pc.struct_field(column, "bytes")))
        if (of_images or name in PICTURES) and pa.types.is_string(column.type):
            yield from (Path(path) for path in column.drop_null().to_pylist())
