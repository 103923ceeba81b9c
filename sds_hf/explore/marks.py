"""Marks of a person, good or bad, by row: a small Parquet file, written whole after each mark."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sds_hf.files import write_whole

SCHEMA = pa.schema(
    [("id", pa.string()), ("good", pa.bool_()), ("by", pa.string()), ("sampled", pa.string()), ("at", pa.string())]
)
SAMPLED = ("kept", "strata", "chosen")  # drawn of the kept rows, of each range of a score, or picked by the person
LONGEST = 1000  # letters of an id or a name


@dataclass(frozen=True)
class Mark:
    """What a person said of a row.

    Attributes:
        id: of the row.
        good: whether it is good.
        by: who said so.
        sampled: how the row came to be looked at, one of `SAMPLED`; only `kept` says something of all kept rows.
        at: when, ISO 8601.
    """

    id: str
    good: bool
    by: str = ""
    sampled: str = "chosen"
    at: str = ""


class MarksFile:
    """The marks in a file, one a row.

    Args:
        path: of the file, which need not exist.
        by: who marks.
    """

    def __init__(self, path: Path, by: str = "") -> None:
        self.path, self._by, self._lock = path, by, Lock()

    def read(self) -> dict[str, Mark]:
        """Marks by id."""
        if not self.path.exists():
            return {}
        return {line["id"]: Mark(**line) for line in pq.read_table(self.path, columns=SCHEMA.names).to_pylist()}

    def change(self, change: Mapping[str, Any]) -> None:
        """Set a mark, or take it back where `good` is null.

        Raises:
            ValueError: if it is none.
        """
        row_id, good, texts = change.get("id"), change.get("good"), [change.get(name) or "" for name in ("by", "at")]
        sampled = change.get("sampled") or "chosen"
        fine = isinstance(row_id, str) and all(isinstance(text, str) and len(text) <= LONGEST for text in texts)
        if not fine or len(str(row_id)) > LONGEST or good not in (True, False, None) or sampled not in SAMPLED:
            raise ValueError("a mark has an id, and true, false or null as good")
        with self._lock:
            marks = self.read()
            if good is None:
                marks.pop(str(row_id), None)
            else:
                marks[str(row_id)] = Mark(str(row_id), bool(good), texts[0] or self._by, sampled, texts[1])
            sink = pa.BufferOutputStream()
            pq.write_table(pa.Table.from_pylist([asdict(mark) for mark in marks.values()], SCHEMA), sink)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.path, sink.getvalue())
