"""What a dataset holds, as digests: the same wherever its files lie."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sds_hf.data.access.paths import Unreadable
from sds_hf.data.cells import PICTURES, READABLE, names_files, readable, stored_content
from sds_hf.data.images import cell_bytes
from sds_hf.files import identity_of

if TYPE_CHECKING:
    from datasets import Dataset

ROWS_AT_ONCE = 256
_digests: dict[str, str] = {}  # that were read in this process, by `files_behind`


def content_digest(
    dataset: "Dataset", columns: Sequence[str] = READABLE, progress: Callable[[int], None] | None = None
) -> str:
    """SHA-256 of what these columns of a dataset hold, in order; about a second a gigabyte.

    Read once in this process as long as the files behind the dataset are the same. Nothing vouches for them later.

    Args:
        dataset: the rows.
        columns: those of them that it has.
        progress: called with the number of rows read since the last call; not at all if nothing has to be read.
    """
    return content_digests(dataset, [columns], progress)[0]


def content_digests(
    dataset: "Dataset", sets: Iterable[Sequence[str]], progress: Callable[[int], None] | None = None
) -> list[str]:
    """`content_digest` of several sets of columns; the dataset is read once."""
    sets = [tuple(columns) for columns in sets]
    keys = {columns: files_behind(dataset, columns) for columns in sets}
    digests = {columns: _digests[key] for columns, key in keys.items() if key in _digests}
    unread = [columns for columns in keys if columns not in digests]
    if unread:
        digests |= zip(unread, _read_digests(dataset, unread, progress), strict=True)
    _digests.update({key: digests[columns] for columns, key in keys.items() if key is not None})
    return [digests[columns] for columns in sets]


def _read_digests(
    dataset: "Dataset", sets: Sequence[Sequence[str]], progress: Callable[[int], None] | None
) -> list[str]:
    stored = readable(dataset, list(dict.fromkeys(chain(*sets))))
    joint = [hashlib.sha256() for _ in sets]
    for start in range(0, len(stored), ROWS_AT_ONCE):
        rows = range(start, min(start + ROWS_AT_ONCE, len(stored)))
        cells = stored_content(stored, rows)
        for digest, columns in zip(joint, sets, strict=True):
            for row_digest in cell_digests({name: cells[name] for name in columns if name in cells}):
                digest.update(row_digest)
        if progress:
            progress(len(rows))
    return [digest.hexdigest() for digest in joint]


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
        some = range(start, min(start + ROWS_AT_ONCE, rows.stop))
        yield from cell_digests(stored_content(stored, some))


def cell_digests(cells: Mapping[str, Sequence[Any]]) -> list[bytes]:
    """A digest a row of columns of cells."""
    digests, names = [], hashlib.sha256(json.dumps(list(cells)).encode())
    for row in zip(*cells.values(), strict=True):
        digest = names.copy()
        for name, cell in zip(cells, row, strict=True):
            data = _content(name, cell)
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
        digests.append(digest.digest())
    return digests


def _content(name: str, cell: Any) -> bytes | memoryview:
    if isinstance(cell, memoryview):  # of a file
        return cell
    if isinstance(cell, Unreadable):  # a file that cannot be read is its row's failure, not the table's
        return b""
    if isinstance(cell, bytes) or (isinstance(cell, dict) and "bytes" in cell):
        return cell_bytes(cell) or b""
    if name in PICTURES and cell is None:
        return b""
    return _ENCODER.encode(cell).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):  # of a file in a list or a struct
        return hashlib.sha256(value).hexdigest()
    return value.tolist() if isinstance(value, np.ndarray) else str(value)


_ENCODER = json.JSONEncoder(default=_plain)  # `json.dumps` with a default makes one for each cell


@dataclass(frozen=True)
class Content:
    """What scores read of a dataset: joined tables may have been made of different columns.

    Attributes:
        scores: that were computed from it.
        columns: that they may have read, as far as the dataset has them.
        sha256: of what these hold, see `content_digest`.
        readable_sha256: the same of `READABLE`, which all have in common; None if nobody knows.
    """

    scores: tuple[str, ...]
    columns: tuple[str, ...]
    sha256: str
    readable_sha256: str | None

    @classmethod
    def of(cls, entry: Mapping[str, Any], scores: Iterable[str]) -> Self:
        """What an entry of a manifest says."""
        columns = tuple(entry.get("columns", READABLE))
        readable = entry["sha256"] if columns == READABLE else entry.get("readable_sha256")
        return cls(tuple(scores), columns, entry["sha256"], readable)

    def entry(self) -> dict[str, Any]:
        """What a manifest says of it."""
        if self.columns == READABLE:
            return {"sha256": self.sha256}
        known = {"readable_sha256": self.readable_sha256} if self.readable_sha256 else {}
        return {"sha256": self.sha256, "columns": list(self.columns), **known}

    def is_other(self, content: "Content") -> bool:
        """Whether no dataset holds both."""
        if self.columns == content.columns:
            return self.sha256 != content.sha256
        both = {self.readable_sha256, content.readable_sha256} - {None}
        return len(both) == 2

    def includes(self, content: "Content") -> bool:
        """Whether a dataset that holds this holds the other one too."""
        if self.columns == content.columns:
            return self.sha256 == content.sha256
        return content.columns == READABLE and self.readable_sha256 == content.sha256


def not_held(
    dataset: "Dataset", contents: Sequence[Content], progress: Callable[[int], None] | None = None
) -> list[Content]:
    """Those contents that are not a dataset's, all of which is read."""
    digests = content_digests(dataset, [content.columns for content in contents], progress)
    return [content for content, digest in zip(contents, digests, strict=True) if content.sha256 != digest]


def of_other_rows(contents: Iterable[Content]) -> str:
    """What is wrong with scores that were computed from other contents than the dataset has, in words."""
    names = dict.fromkeys(name for content in contents for name in content.scores)
    which = f"the scores {', '.join(names)}" if names else "some scores"
    return (
        f"{which} were computed from other images, masks or columns than this dataset has, or in another order: score "
        "this one anew, or give the one that was scored"
    )


def distinct(contents: Iterable[Content]) -> list[Content]:
    """Contents without those that others include, that of most columns first."""
    kept = dict[Content, list[str]]()
    for content in sorted(contents, key=lambda content: len(content.columns), reverse=True):
        whole = next((other for other in kept if other.includes(content)), content)
        kept.setdefault(whole, []).extend(content.scores)
    return [replace(content, scores=tuple(dict.fromkeys(scores))) for content, scores in kept.items()]


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
        named = joint_digest(
            identity_of(Path(path)).encode(errors="surrogateescape") for path in named_files(dataset, columns)
        )
    except (OSError, ValueError):
        return None
    return json.dumps([columns, files, dataset._fingerprint, indices_digest, named])


def named_files_state(dataset: "Dataset", columns: Sequence[str]) -> str:
    """Digest of names, sizes and times of the files that cells name; empty if they name none."""
    columns = [name for name in columns if name in dataset.column_names]
    states = [_state(path).encode(errors="surrogateescape") for path in named_files(dataset, columns)]
    return joint_digest(states) if states else ""


def _state(path: str) -> str:
    try:
        return identity_of(Path(path))
    except (OSError, ValueError):
        return f"{path}|not there"


def named_files(dataset: "Dataset", columns: Sequence[str]) -> Iterator[str]:
    """Files that cells name instead of holding their bytes, also in lists and structs."""
    for name in columns:
        for chunk in dataset.data.column(name).chunks:
            yield from _names_in(chunk, name in PICTURES)


def _names_in(array: pa.Array, is_picture: bool) -> Iterator[str]:
    if not names_files(array.type, is_picture):
        return
    if isinstance(array, pa.ExtensionArray):
        yield from _names_in(array.storage, is_picture)
    elif not pa.types.is_struct(array.type):
        texts = not pa.types.is_nested(array.type)
        yield from array.drop_null().to_pylist() if texts else _names_in(array.flatten(), is_picture)
    elif {field.name for field in array.type} <= {"bytes", "path"}:
        paths = pc.struct_field(array, "path")
        stored = [field.name for field in array.type if field.name == "bytes"]
        paths = paths.filter(pc.is_null(pc.struct_field(array, "bytes"))) if stored else paths
        yield from paths.drop_null().to_pylist()
    else:
        for field in array.type:
            yield from _names_in(pc.struct_field(array, field.name), False)
