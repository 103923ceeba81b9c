"""Limits of what is read into memory: YAML whose aliases or depth have no end, deep JSON, arrays of terabytes."""

import io
import json
import re
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from sds_hf.errors import short

MOST_TEXT = 4 << 20  # bytes of YAML or JSON that people write
MOST_NODES = 100_000  # in it, aliases followed
MOST_DEPTH = 100
MOST_ARRAYS = 4 << 30  # bytes of the arrays of a file
DIGITS = re.compile(r"[-+]?(?:[\d_]{19,}|0[xo][\da-fA-F_]{16,})")


class LimitError(ValueError):
    """Something that is larger or deeper than what is read; the message names the limit."""


def read_yaml(text: str | bytes, name: str = "YAML") -> Any:
    """What a YAML text holds, of plain types; 1:30 and 010 are texts, not the numbers 90 and 8.

    Raises:
        LimitError: if it is longer, deeper or, its aliases followed, larger than any that people write.
        ValueError: if it is no YAML; says where.
    """
    import yaml

    if len(text) > MOST_TEXT:
        raise LimitError(f"{name} has {len(text):,} characters; at most {MOST_TEXT:,} are read")
    try:
        _check_events(yaml.parse(text, Loader=_loader()), name)
        return yaml.load(text, Loader=_loader())
    except yaml.YAMLError as error:
        raise ValueError(f"{name} is no YAML: {_what_is_wrong(error, text)}") from error
    except RecursionError as error:
        raise LimitError(f"{name} nests deeper than {MOST_DEPTH} levels") from error
    except LimitError:
        raise
    except ValueError as error:
        why = str(error).partition(";")[0]
        raise ValueError(
            f"{name} holds a number or a date that cannot be read: {why}; quote it if it is a text"
        ) from error


def _what_is_wrong(error: Exception, text: str | bytes) -> str:
    """The line and column of what is no YAML, and what the parser says of it."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return " ".join(str(error).split())
    lines = text.splitlines()
    rest = lines[mark.line][mark.column :] if mark.line < len(lines) else text[:0]
    hint = "; indent with spaces, not with tabs" if rest[:1] in ("\t", b"\t") else ""
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}{hint}"


@cache
def _loader() -> Any:
    import yaml

    whole, decimal = "tag:yaml.org,2002:int", re.compile(r"[-+]?(?:0|[1-9][0-9_]*)$")
    safe = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    resolvers = {
        first: [(tag, decimal if tag == whole else pattern) for tag, pattern in those]
        for first, those in safe.yaml_implicit_resolvers.items()
    }
    return type("Loader", (safe,), {"yaml_implicit_resolvers": resolvers})


def _check_events(events: Any, name: str) -> None:
    """Count the nodes of a YAML text and their characters, those of aliases as often as they are named."""
    import yaml

    sizes: dict[str, tuple[int, int] | None] = {}  # by anchor, nodes and characters; None while it is open
    open_nodes: list[tuple[str | None, int, int]] = []  # anchor, and what came before it
    nodes = characters = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            size = sizes.get(str(event.anchor), (1, 0))
            if size is None:
                raise LimitError(f"{name}: *{event.anchor} holds itself, which has no end")
            nodes, characters = nodes + size[0], characters + size[1]
        elif isinstance(event, yaml.ScalarEvent):
            _check_scalar(event, name)
            nodes, characters = nodes + 1, characters + len(event.value)
            if event.anchor:
                sizes[event.anchor] = 1, len(event.value)
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, nodes, characters))
            nodes += 1
            if event.anchor:
                sizes[event.anchor] = None
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, *before = open_nodes.pop()
            if anchor:
                sizes[anchor] = nodes - before[0], characters - before[1]
        if nodes > MOST_NODES:
            raise LimitError(f"{name} holds more than {MOST_NODES:,} values, aliases followed")
        if characters > 2 * MOST_TEXT:
            raise LimitError(f"{name} holds more than {2 * MOST_TEXT:,} characters, aliases followed")
        if len(open_nodes) > MOST_DEPTH:
            raise LimitError(f"{name} nests deeper than {MOST_DEPTH} levels")


def _check_scalar(event: Any, name: str) -> None:
    if event.style is None and DIGITS.fullmatch(event.value):
        raise LimitError(f"{name} has a number of {len(event.value):,} digits, more than any setting")
    if any("\ud800" <= character <= "\udfff" for character in event.value):
        raise ValueError(f"{name} has {short(event.value)}, which is no text but half of a surrogate pair")


def read_json(text: str | bytes, name: str = "JSON") -> Any:
    """What a JSON text holds.

    Raises:
        LimitError: if it nests too deeply.
        ValueError: if it is no JSON.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise LimitError(f"{name} nests too deeply") from error
    except ValueError as error:
        raise ValueError(f"{name} is no JSON: {error}") from error


def read_arrays(path: Path) -> Mapping[str, Any]:
    """The arrays of an `.npz` file, none of Python objects; what their headers claim is checked before memory is taken.

    Raises:
        LimitError: if they claim more than `MOST_ARRAYS` bytes.
        ValueError: if it is no such file, or it holds objects.
    """
    import numpy as np

    try:
        with zipfile.ZipFile(path) as archive:
            total = 0
            for entry in archive.infolist():
                total += max(entry.file_size, _claimed(archive, entry))
                if total > MOST_ARRAYS:
                    raise LimitError(
                        f"{path} claims arrays of more than {total:,} bytes; at most {MOST_ARRAYS:,} are read"
                    )
            arrays = {}
            for entry in archive.infolist():
                data = archive.read(entry)
                arrays[entry.filename.removesuffix(".npy")] = np.lib.format.read_array(
                    io.BytesIO(data), allow_pickle=False
                )
            return arrays
    except (LimitError, OSError):
        raise
    except Exception as error:  # broken archives and headers fail in many ways
        raise ValueError(f"{path}: {str(error) or type(error).__name__}") from error


def _claimed(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> int:
    """Bytes of an array by its header."""
    import numpy as np

    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    count = 1
    for side in shape:
        if side < 0:
            raise ValueError(f"{entry.filename} has a side of {side}")
        count *= side
    return count * int(dtype.itemsize)
