"""Marks of the person at the page, kept in a file of marks after each."""

from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from sds_hf.selection.marks.file import read_marks, record_marks


class MarksFile:
    """A file of marks that one person adds to.

    Args:
        path: of the file, which need not exist; `sds-hf sample` begins it with rows to mark.
        who: marks here.
    """

    def __init__(self, path: Path, who: str) -> None:
        self.path, self._who, self._lock = path, who, Lock()

    def lines(self) -> list[dict[str, Any]]:
        """All lines, as JSON has them.

        Raises:
            ValueError: if the file is something else.
        """
        lines = read_marks(self.path).to_pylist()
        return [line | {"when": line["when"] and line["when"].isoformat()} for line in lines]

    def change(self, change: Mapping[str, Any]) -> None:
        """Mark a row, which replaces the last mark of this person, or take it back where `mark` is null.

        Raises:
            ValueError: if it is no mark.
            OSError: if it cannot be written.
        """
        with self._lock:
            record_marks(self.path, [{"id": change.get("id"), "mark": change.get("mark"), "who": self._who}])
