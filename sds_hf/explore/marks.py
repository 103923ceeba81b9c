"""Marks of a person, good or bad, by row: a small Parquet file, written whole after each mark."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sds_hf.files import whole_file

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("mark", pa.bool_()),
        ("who", pa.string()),
        ("when", pa.timestamp("us", "UTC")),
        ("sample", pa.string()),
    ]
)
LONGEST = 1000  # letters of an id


class MarksFile:
    """The marks in a file: a line for each row, sample and person; one without a mark waits for it.

    Args:
        path: of the file, which need not exist; `sds-hf sample` begins it with rows to mark.
        who: marks here.
    """

    def __init__(self, path: Path, who: str) -> None:
        self.path, self._who, self._lock = path, who, Lock()

    def table(self) -> pa.Table:
        """All lines, with what the file says of its samples as metadata.

        Raises:
            ValueError: if it is something else.
        """
        if not self.path.exists():
            return SCHEMA.empty_table()
        try:
            table = pq.read_table(self.path)
            return table.select(SCHEMA.names).cast(SCHEMA.with_metadata(table.schema.metadata))
        except (pa.ArrowException, KeyError) as error:
            what = " ".join(str(error).split())
            raise ValueError(f"{self.path} is no file of marks with the columns {SCHEMA.names}: {what}") from error

    def lines(self) -> list[dict[str, Any]]:
        """As JSON has them."""
        lines = self.table().to_pylist()
        return [line | {"when": line["when"] and line["when"].isoformat()} for line in lines]

    def change(self, change: Mapping[str, Any]) -> None:
        """Mark a row, which replaces the last mark of this person, or take it back where `mark` is null.

        Raises:
            ValueError: if it is no mark.
            OSError: if it cannot be written.
        """
        row_id, mark = change.get("id"), change.get("mark")
        if not isinstance(row_id, str) or not row_id or len(row_id) > LONGEST or not isinstance(mark, bool | None):
            raise ValueError("a mark has an `id`, and true, false or null as `mark`")
        with self._lock:
            table = self.table()
            lines: dict[str, list[dict[str, Any]]] = {}
            for line in table.to_pylist():
                lines.setdefault(line["id"], []).append(line)
            lines[row_id] = list(self._marked(row_id, mark, lines.get(row_id, [])))
            schema = SCHEMA.with_metadata(table.schema.metadata)
            marked = pa.Table.from_pylist([line for several in lines.values() for line in several], schema)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(self.path) as file:
                pq.write_table(marked, file)

    def _marked(self, row_id: str, mark: bool | None, lines: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The lines of a row with a further mark."""
        for sample in dict.fromkeys(line["sample"] for line in lines) or [None]:
            others = [line for line in lines if line["sample"] == sample and line["who"] not in (None, self._who)]
            yield from others
            if mark is not None:
                yield {"id": row_id, "mark": mark, "who": self._who, "when": datetime.now(UTC), "sample": sample}
            elif not others and sample is not None:
                yield {"id": row_id, "mark": None, "who": None, "when": None, "sample": sample}
