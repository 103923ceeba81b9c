"""The shards of a score table: written whole or not at all, with a journal of what is finished."""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sds_hf.clip.launcher import Rank
from sds_hf.files import flush, is_part, is_remote, read_sha256, write_whole
from sds_hf.table.manifest import LOCK

JOURNAL = "finished.jsonl"
JOURNALS = re.compile(r"finished(-\d+)?\.jsonl")
# Locks, what is kept of shards until the table is finished, and files half written as earlier versions called them.
LEFT = re.compile(
    rf"{LOCK.pattern}|unfinished-\d+\.arrow|digests-\d+\.sha256|(scores-\d{{5}}[\w.-]*|manifest\.json)\.\d+\.part"
)
UNKNOWN = ""  # digest of the content of a shard of which nobody knows it any more
DIGEST, DIGEST_BYTES = "digest", 32
ENTRY = b'{"path": "scores-'  # begins a line of a journal


@dataclass(frozen=True)
class Shard:
    """A finished shard.

    Attributes:
        path: its name in the folder.
        rows: how many it has.
        failed: how many of them could not be scored.
        sha256: of the file.
        content_sha256: of the dataset's rows that could be scored.
        state: of a stream after its last row.
    """

    path: str
    rows: int
    failed: int
    sha256: str
    content_sha256: str
    state: dict[str, Any] | None = None

    def entry(self) -> dict[str, Any]:
        """The shard in a manifest or a journal."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def is_intact(self, folder: Path) -> bool:
        """Whether the file is there and what it was."""
        path = folder / self.path
        return path.exists() and read_sha256(path) == self.sha256


class Shards:
    """The shards of one table.

    Each process that writes some of them has a journal of its own.

    Args:
        folder: where they lie.
        rows: of the table; None if nobody knows yet.
        rows_per_shard: of each but the last.
        rank: of this process.

    Attributes:
        folder: where they lie.
        count: how many there are when all are finished; 0 if nobody knows yet.
    """

    def __init__(self, folder: Path, rows: int | None, rows_per_shard: int, rank: int = 0) -> None:
        self.folder, self.count, self._rows, self._size = (
            folder,
            -(-(rows or 0) // rows_per_shard),
            rows,
            rows_per_shard,
        )
        self._journal = folder / (f"finished-{rank}.jsonl" if rank else JOURNAL)
        self._read: dict[Path, int] = {}  # bytes of each journal that were read

    def rows(self, number: int) -> range:
        """Rows of a shard."""
        stop = (number + 1) * self._size
        return range(number * self._size, stop if self._rows is None else min(stop, self._rows))

    def rows_of(self, rank: Rank) -> int:
        """How many rows are in the shards of one of several processes."""
        return sum(len(self.rows(number)) for number in range(rank.index, self.count, rank.count))

    def number(self, row: int) -> int:
        """The shard a row is in."""
        return row // self._size

    def name(self, number: int) -> str:
        """File name of a shard."""
        return f"scores-{number:05d}-of-{self.count:05d}.parquet" if self.count else f"scores-{number:05d}.parquet"

    def finished(self, manifest: Mapping[str, Any]) -> dict[int, Shard]:
        """The finished shards that are intact, by number.

        Args:
            manifest: of the table, whose `shards` are older than the journals.
        """
        intact = dict[int, Shard]()
        listed = [(self._number_of(entry["path"]), Shard(**entry)) for entry in manifest.get("shards", ())]
        digests: dict[int, str] = {}
        for number, shard in [*listed, *self.news()]:
            path = self.folder / self.name(number)
            if path.name == shard.path and path.exists():
                digests[number] = digests.get(number) or read_sha256(path)
                intact |= {number: shard} if shard.sha256 == digests[number] else {}
        return intact

    def news(self) -> list[tuple[int, Shard]]:
        """What the journals say that was not read before, by number; a line that was cut off says nothing."""
        shards = []
        for path in sorted(self.folder.glob("finished*.jsonl")):
            try:
                content = path.read_bytes()
            except FileNotFoundError:  # another process has ended the table just now
                continue
            for line in content[self._read.get(path, 0) :].splitlines(keepends=True):
                if line.endswith(b"\n"):
                    self._read[path] = self._read.get(path, 0) + len(line)
                    with suppress(ValueError, TypeError):
                        shard = Shard(**json.loads(line))
                        shards.append((self._number_of(shard.path), shard))
        return shards

    def _number_of(self, name: str) -> int:
        return int(name.removesuffix(".parquet").split("-")[1])

    def read(self, number: int, columns: Sequence[str] | None = None) -> pa.Table:
        """A finished shard, or some of its columns."""
        data = pa.BufferReader((self.folder / self.name(number)).read_bytes())
        return pq.read_table(data, columns=columns)

    def write(self, number: int, table: pa.Table, content: str, **more: Any) -> Shard:
        """Write a shard aside, move it into place and note it in the journal; after that no crash loses it."""
        sink = pa.BufferOutputStream()
        pq.write_table(table.combine_chunks(), sink)  # chunks, which follow the batches, would show in the file
        data = sink.getvalue()
        write_whole(self.folder / self.name(number), data)
        failed = table["status"].to_pylist().count("failed")
        digest = hashlib.sha256(data).hexdigest()
        shard = Shard(self.name(number), table.num_rows, failed, digest, content, **more)
        line = json.dumps(shard.entry()).encode() + b"\n"
        if is_remote(self.folder):
            (self.folder / f"finished-{number:05d}.jsonl").write_bytes(line)
            self._begun(number).unlink(missing_ok=True)
            return shard
        with self._journal.open("ab+") as journal:
            if journal.tell() and not _ends_with_a_line(journal):
                journal.write(b"\n")  # the machine died while it was written
            journal.write(line)
            flush(journal)
        self._begun(number).unlink(missing_ok=True)
        return shard

    def keep_begun(self, number: int, table: pa.Table, digests: Sequence[bytes], source: str) -> None:
        """Keep the first rows of a shard that is not finished, until it is or another run goes on with them.

        Args:
            number: of the shard.
            table: its first rows.
            digests: of what they hold in the dataset.
            source: digest of the dataset.
        """
        sink = pa.BufferOutputStream()
        kept = table.append_column(DIGEST, pa.array(digests, pa.binary()))
        with pa.ipc.new_stream(sink, kept.schema) as stream:
            stream.write_table(kept.combine_chunks())
        data = sink.getvalue().to_pybytes()
        write_whole(self._begun(number), _vouching(data, source) + data)

    def begun(self, number: int, source: str) -> tuple[pa.Table, list[bytes]] | None:
        """What `keep_begun` kept of a shard of the same dataset, if it is whole: the rows, and their digests."""
        try:
            content = self._begun(number).read_bytes()
        except OSError:
            return None
        vouching, data = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
        if vouching != _vouching(data, source):
            return None
        table = pa.ipc.open_stream(data).read_all()
        return table.drop_columns([DIGEST]), table[DIGEST].to_pylist()

    def _begun(self, number: int) -> Path:
        return self.folder / f"unfinished-{number:05d}.arrow"

    def keep_digests(self, number: int, digests: Sequence[bytes]) -> None:
        """Keep the digests of all rows of a shard until the table is finished."""
        write_whole(self._digests(number), b"".join(digests))

    def digests(self, number: int) -> bytes | None:
        """What `keep_digests` kept, one after the other; None if it is not there."""
        path = self._digests(number)
        return path.read_bytes() if path.exists() else None

    def _digests(self, number: int) -> Path:
        return self.folder / f"digests-{number:05d}.sha256"

    def clean(self) -> None:
        """Remove what is of no use once the manifest knows all shards, and what killed runs left half written."""
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):  # another process may end the table at this moment
                self._clean(path)

    def forget_journal(self) -> None:
        """Remove this process's journal, of a table that another one may have ended before."""
        self._journal.unlink(missing_ok=True)

    @staticmethod
    def _clean(path: Path) -> None:
        if is_part(path) or LEFT.fullmatch(path.name) or _is_journal(path):
            path.unlink(missing_ok=True)


def _vouching(data: bytes, source: str) -> bytes:
    """What stands before the rows of a shard that was begun: they, and the dataset they are of, are what they were."""
    return hashlib.sha256(source.encode() + data).digest()


def _is_journal(path: Path) -> bool:
    """Whether a file tells of shards and of nothing else; its last line may be cut off."""
    if not JOURNALS.fullmatch(path.name):
        return False
    return all(ENTRY.startswith(line[: len(ENTRY)]) for line in path.read_bytes().splitlines())


def _ends_with_a_line(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    ended: bool = file.read(1) == b"\n"
    return ended
