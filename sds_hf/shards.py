"""The shards of a score table: written whole or not at all, with a journal of what is finished."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sds_hf.digests import read_sha256

JOURNAL = "finished.jsonl"


@dataclass(frozen=True)
class Shard:
    """A finished shard.

    Attributes:
        path: its name in the folder.
        rows: how many it has.
        failed: how many of them could not be scored.
        sha256: of the file.
        content_sha256: of the dataset's rows that could be scored.
    """

    path: str
    rows: int
    failed: int
    sha256: str
    content_sha256: str

    def is_intact(self, folder: Path) -> bool:
        """Whether the file is there and what it was."""
        path = folder / self.path
        return path.exists() and read_sha256(path) == self.sha256


class Shards:
    """The shards of one table.

    Attributes:
        folder: where they lie.
        count: how many there are when all are finished.
    """

    def __init__(self, folder: Path, rows: int, rows_per_shard: int) -> None:
        self.folder, self.count, self._rows, self._size = folder, -(-rows // rows_per_shard), rows, rows_per_shard

    def rows(self, place: int) -> range:
        """Rows of a shard."""
        return range(place * self._size, min((place + 1) * self._size, self._rows))

    def name(self, place: int) -> str:
        """File name of a shard."""
        return f"scores-{place:05d}-of-{self.count:05d}.parquet"

    def finished(self, manifest: Mapping[str, Any]) -> dict[int, Shard]:
        """The finished shards that are intact, by place.

        Args:
            manifest: of the table, whose `shards` are older than the journal.
        """
        known = {entry["path"]: entry for entry in [*manifest.get("shards", ()), *read_journal(self.folder)]}
        found = {place: Shard(**known[self.name(place)]) for place in range(self.count) if self.name(place) in known}
        return {place: shard for place, shard in found.items() if shard.is_intact(self.folder)}

    def read(self, place: int, columns: Sequence[str] | None = None) -> pa.Table:
        """A finished shard, or some of its columns."""
        return pq.read_table(self.folder / self.name(place), columns=columns)

    def write(self, place: int, table: pa.Table, content: str) -> Shard:
        """Write a shard aside, move it into place and note it in the journal; after that no crash loses it."""
        sink = pa.BufferOutputStream()
        pq.write_table(table.combine_chunks(), sink)  # chunks, which follow the batches, would show in the file
        data = sink.getvalue()
        replace(self.folder / self.name(place), data)
        failed = table["status"].to_pylist().count("failed")
        digest = hashlib.sha256(data).hexdigest()
        shard = Shard(self.name(place), table.num_rows, failed, digest, content)
        with (self.folder / JOURNAL).open("a") as journal:
            journal.write(json.dumps(asdict(shard)) + "\n")
            _flush(journal)
        return shard

    def clean(self) -> None:
        """Remove what runs that were killed left half written."""
        for part in self.folder.glob("*.part"):
            part.unlink()


def read_journal(folder: Path) -> list[dict[str, Any]]:
    """What the journal of a folder says; a line that was cut off is none."""
    path, entries = folder / JOURNAL, []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    return entries


def replace(path: Path, data: Any) -> None:
    """Put bytes under a name at once, and on the disk.

    Raises:
        OSError: if they cannot be written; what was there stays.
    """
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            _flush(file)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise OSError(
            f"cannot write {path}: {error.strerror}; what is finished stays, run the same command again to go on"
        ) from error


def _flush(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
