"""Tables that come with a folder of images: which column is what, and their rows."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sds_hf.data.sources.files import UnknownLayoutError, read_text

ROLES = {  # what a column says, and what it may be called
    "file_name": ("file_name", "image"),
    "mask_file_name": ("mask_file_name", "mask"),
    "id": ("id",),
    "caption": ("caption", "text", "prompt"),
    "class_prompt": ("class_prompt", "classes", "class"),
}


def roles(path: Path, rows: Sequence[Mapping[str, Any]], columns: str | Mapping[str, str] | None) -> dict[str, str]:
    """Columns of a table by what they say.

    Args:
        path: the table.
        rows: its rows.
        columns: `role=column`, with commas between them, or a mapping.

    Raises:
        UnknownLayoutError: if there is no such role or column, or none with file names.
    """
    there = list(dict.fromkeys(name for row in rows for name in row))
    pairs = (
        [part.partition("=")[::2] for part in columns.split(",")]
        if isinstance(columns, str)
        else [*(columns or {}).items()]
    )
    chosen = {role.strip(): column.strip() for role, column in pairs}
    for role, column in chosen.items():
        if role not in ROLES or column not in there:
            raise UnknownLayoutError(f"columns {role}={column}: {path} has {there}, to be taken as {list(ROLES)}")
    for role, names in ROLES.items():
        table_column = next((name for name in names if name in there), None)
        if role not in chosen and table_column:
            chosen[role] = table_column
    if rows and "file_name" not in chosen:
        raise UnknownLayoutError(f"{path} needs a column `file_name`; it has {there}: name one with columns=...")
    return chosen


def read_table(path: Path) -> list[dict[str, Any]]:
    """The rows of a table.

    Raises:
        UnknownLayoutError: names the file and what is wrong with it.
    """
    if path.suffix not in (".csv", ".jsonl", ".parquet"):
        raise UnknownLayoutError(f"{path} is no .csv, .jsonl or .parquet table")
    try:
        if path.suffix == ".csv":
            return _csv_rows(read_text(path))
        if path.suffix == ".jsonl":
            lines = [json.loads(line) for line in read_text(path).split("\n") if line.strip()]
            if not all(isinstance(line, dict) for line in lines):
                raise ValueError("a line is no JSON object")
            return lines
        import pyarrow.parquet as pq

        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    except UnknownLayoutError:
        raise
    except (ValueError, csv.Error, OSError, RecursionError) as error:
        raise UnknownLayoutError(f"{path} cannot be read: {error}") from error
    return rows


def _csv_rows(text: str) -> list[dict[str, Any]]:
    """Rows of a table whose columns are parted by the commas, semicolons, tabs or bars of its header.

    Raises:
        ValueError: if two columns have one name, a row has more values than there are columns, or a quote is not
            closed, which would make one text of all that follows; names the line.
    """
    header = text.partition("\n")[0]
    delimiter = max(",;\t|", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    names = [name.strip() for name in reader.fieldnames or []]
    if twice := next((name for name in names if name and names.count(name) > 1), None):
        raise ValueError(f"it has two columns {twice!r}: rename or remove one")
    reader.fieldnames = names
    rows: list[dict[str, Any]] = []
    for row in _with_lines(reader):
        if (extra := row.pop(None, None)) is not None:
            raise ValueError(
                f"line {reader.line_num} has {len(row) + len(extra)} values for the columns {names}; a text with "
                f"{delimiter!r} in it must stand in double quotes"
            )
        rows.append(row)
    return rows


def _with_lines(reader: "csv.DictReader[str]") -> Iterator[dict[Any, Any]]:
    """The rows of a table; what is wrong with its quotes names the line where the row begins."""
    while True:
        line = reader.line_num + 1
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(
                f"line {line}: {error}; a text in double quotes ends with one, and has each of its own twice"
            ) from error


def text_of(cell: Any) -> str | None:
    """What a cell says; None if it is empty or no number. Lists, as of classes, have commas between their entries."""
    if isinstance(cell, Mapping) and isinstance(cell.get("path"), str):  # of an image, as `datasets` stores it
        return str(cell["path"])
    if isinstance(cell, (list, tuple)):
        return ", ".join(map(str, cell)) or None
    return None if cell is None or cell == "" or cell != cell else str(cell)
