"""Files that say what the values of masks mean: lists, tables, JSON, YAML and the label maps of annotation tools."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sds_hf.limits import read_json, read_yaml

SUFFIXES = (".txt", ".json", ".yaml", ".yml", ".csv", ".tsv", ".names")
HIGHEST = 255
LARGEST = 1 << 20  # bytes; a file of names has a few thousand
NAME_KEYS = ("name", "class", "label", "title", "category", "class_name", "classname", "label_name")
VALUE_KEYS = (
    "id",
    "index",
    "idx",
    "value",
    "pixel value",
    "pixelvalue",
    "class_id",
    "classid",
    "label_id",
    "mask_value",
)
LIST_KEYS = ("id2label", "label2id", "names", "classes", "categories", "labels")
LABELME = ["__ignore__", "_background_"]  # its first two lines stand for -1 and 0
NUMBER_FIRST = re.compile(r"(\d{1,9})\s*(?:[:;,=|\t)-]|\.\s|\s)\s*(\S.*)")
NUMBER_LAST = re.compile(r"(.*\D)(\d{1,9})")
SEPARATORS, BLANKS = tuple(":;,=|"), "\t "  # between a name and its number
LABELMAP = re.compile(r"([^:]+):((?:\d+,\d+,\d+)?):([^:]*):([^:]*)")
NO_NAME = re.compile(r"[:;=\t|{}\[\]<>\x00-\x1f]")
DOUBTFUL = ("none", "null", "nothing", "na", "nan", "empty", "undefined", "unknown", "other", "others")
Color = tuple[int, int, int]


class NamesError(ValueError):
    """A file of names that cannot be read, or can be read in two ways; the message says what to do."""


@dataclass(frozen=True)
class Names:
    """What a file says of the values of masks.

    Attributes:
        names: by value, in the order of the values.
        numbered: whether the file says the values itself; if not, they are the places of the names in it.
        colors: red, green and blue of values in coloured masks, where the file says them.
        is_labelmap: whether it is a label map of Datumaro, whose colours are those of PASCAL VOC if it says none.
    """

    names: Mapping[int, str]
    numbered: bool = False
    colors: Mapping[int, Color] = field(default_factory=dict)
    is_labelmap: bool = False


def is_background(name: str) -> bool:
    """Whether a name is a spelling of `background`."""
    return letters(name) in ("background", "bg")


def is_ignored(name: str) -> bool:
    """Whether a name is a spelling of what is left out: `void`, `unlabeled`, `ignore`, ..."""
    return re.fullmatch(r"void|unlabell?ed|ignored?|unannotated|nodata|nolabel|dontcare", letters(name)) is not None


def is_doubtful(name: str) -> bool:
    """Whether a name may mean the background, or what is left out, or a class: `none`, `other`, ..."""
    return letters(name) in DOUBTFUL


def read_names(path: Path) -> Names:
    """What a file says: a name a line, `0: name`, a table, JSON, YAML, or the label map of CVAT and Datumaro.

    Each line may also have a colour before or after its name, as in CamVid's `label_colors.txt`. Empty lines and lines
    that begin with `#` do not count. The text may be UTF-8, or UTF-16 with a byte order mark.

    Raises:
        NamesError: if it is none of these, or could be two; names the file.
    """
    text = _read(path)
    try:
        names = _parse(text, path.suffix.lower())
        _check(names)
    except NamesError as error:
        raise NamesError(f"{path}: {error}") from error
    return names


def _read(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise NamesError(f"{path} cannot be read as names of classes: it is no plain file")
    try:
        if path.stat().st_size > LARGEST:
            raise NamesError(f"{path} has over {LARGEST >> 20} MiB; it cannot be read as names of classes")
        data = path.read_bytes()
        return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except FileNotFoundError as error:
        raise NamesError(f"there is no file {path}: give one with the name of a class in each line") from error
    except (OSError, UnicodeDecodeError) as error:
        raise NamesError(f"{path} cannot be read as names of classes: {error}; save it as UTF-8") from error


def _parse(text: str, suffix: str) -> Names:
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if suffix in (".json", ".yaml", ".yml") or (lines and _is_document(lines)):
        return _of_document(_load(text))
    if lines and all(LABELMAP.fullmatch(line) for line in lines):
        return _of_labelmap(lines)
    if (table := _table(lines)) is not None:
        return table
    if colored := _colored(lines):
        return colored
    if lines[:2] == LABELME:
        return Names(dict(enumerate(lines[1:])))
    if numbered := _numbered(lines):
        return numbered
    if len(lines) == 1 and "," in lines[0]:
        lines = [name.strip() for name in lines[0].split(",")]
    for number, line in enumerate(lines, 1):
        if NO_NAME.search(line) or line.endswith(",") or (line[0] == line[-1] and line[0] in "\"'"):
            raise NamesError(
                f"name {number}, {line[:60]!r}, is no plain name of a class; write one a line, or all as `0: name`"
            )
    if len(lines) > 1 and all("," in line for line in lines):
        raise NamesError(f"every line has commas, as {lines[0][:60]!r}, and no header says which column is the name")
    return Names(_listed(lines))


def _check(names: Names) -> None:
    values, texts = list(names.names), list(names.names.values())
    if not all(texts) or not texts or len(set(texts)) < len(texts) or len(texts) > HIGHEST:
        raise NamesError(f"{len(texts)} names; there must be 1 to {HIGHEST}, each only once")
    if not all(0 <= value <= HIGHEST for value in values):
        raise NamesError(f"values go from 0 to {HIGHEST}, not to {max(values)}")
    backgrounds = [value for value, text in names.names.items() if is_background(text)]
    if len(backgrounds) > 1:
        raise NamesError(f"{[names.names[value] for value in backgrounds]} are all the background; keep one")
    if (first := names.names.get(0)) and is_doubtful(first):
        raise NamesError(
            f"{first!r} stands for 0: is it the background, or left out? Call it `background` or `unlabeled`, or by "
            "the name of a class"
        )
    if names.numbered or not backgrounds or not backgrounds[0]:
        return
    raise NamesError(
        f"the background is name {backgrounds[0] + 1}, so masks had {backgrounds[0]} for it: put it first if they "
        f"hold 0, or number all lines (`{backgrounds[0]}: {texts[backgrounds[0]]}`) if they do hold {backgrounds[0]}"
    )


def _is_document(lines: list[str]) -> bool:
    """Whether lines are JSON or YAML."""
    key = rf"({'|'.join(LIST_KEYS)}|nc)\s*:\s*(\[.*|\{{.*|\d+)?"
    return (
        lines[0][0] in "[{"
        or lines[0] == "---"
        or all(line.startswith("- ") for line in lines)
        or any(re.fullmatch(key, line) for line in lines)
    )


def _load(text: str) -> Any:
    with suppress(ValueError):
        return read_json(text.removeprefix("\ufeff"))
    try:
        return read_yaml(text)
    except ValueError as error:
        raise NamesError(f"neither JSON nor YAML: {' '.join(str(error).split())[:160]}") from error


def _of_document(document: Any) -> Names:
    """Names of a list, of a mapping either way, or of what a mapping holds under one of `LIST_KEYS`."""
    if isinstance(document, Mapping):
        inner = [document[key] for key in LIST_KEYS if isinstance(document.get(key), (list, Mapping))]
        if inner:
            parts = [_of_document(part) for part in inner]
            if any(part.names != parts[0].names for part in parts[1:]):
                keys = [key for key in LIST_KEYS if isinstance(document.get(key), (list, Mapping))]
                raise NamesError(f"{' and '.join(keys)} say different things; keep one")
            return parts[0]
        pairs = [(_number(key), text) for key, text in document.items() if isinstance(text, str)]
        pairs = pairs or [(_number(value), key) for key, value in document.items() if isinstance(key, str)]
        if len(pairs) < len(document) or any(value is None for value, _ in pairs):
            raise NamesError(f'an object with the keys {[*document][:5]}, not of names by value such as {{"0": "sky"}}')
        return _by_value(pairs)
    if not isinstance(document, list):
        raise NamesError(f"holds a {type(document).__name__}, no names")
    if all(isinstance(entry, str) for entry in document):
        return Names(_listed(entry.strip() for entry in document))
    if not all(isinstance(entry, Mapping) for entry in document):
        raise NamesError("a list of neither names nor objects with a name and an id")
    return _of_records([{str(key).lower(): value for key, value in entry.items()} for entry in document])


def _of_records(records: list[dict[str, Any]]) -> Names:
    """Names of records that have a name, and perhaps a value."""
    keys = set(records[0]) if records else set()
    name_keys = [key for key in NAME_KEYS if key in keys]
    value_keys = [key for key in VALUE_KEYS if key in keys]
    if len(name_keys) != 1 or len(value_keys) > 1:
        raise NamesError(
            f"records with {sorted(keys)}; which is the name and which the value in masks? Keep one `name` and one `id`"
        )
    if any(not isinstance(record.get(name_keys[0]), str) for record in records):
        raise NamesError(f"a record without a text {name_keys[0]!r}")
    texts = [record[name_keys[0]].strip() for record in records]
    if not value_keys:
        in_color = all({"r", "g", "b"} <= set(record) for record in records)
        colors = {value: _color([record[part] for part in "rgb"]) for value, record in enumerate(records) if in_color}
        return Names(_listed(texts), colors=colors)
    values = [_number(record.get(value_keys[0])) for record in records]
    if None in values:
        raise NamesError(f"a record without a number {value_keys[0]!r}")
    return _by_value(zip(values, texts, strict=True))


def _of_labelmap(lines: list[str]) -> Names:
    """`name:red,green,blue:parts:actions` in each line, as Datumaro and CVAT write them."""
    parts = [match for line in lines if (match := LABELMAP.fullmatch(line))]
    colors = {value: _color(part[2].split(",")) for value, part in enumerate(parts) if part[2]}
    return Names(_listed(part[1].strip() for part in parts), colors=colors, is_labelmap=True)


def _table(lines: list[str]) -> Names | None:
    """Names of lines under a header that names their columns."""
    for delimiter in "\t;,|":
        header = [cell.strip().lower() for cell in lines[0].split(delimiter)] if lines else []
        if len(header) > 1 and set(header) & set(NAME_KEYS):
            rows = [
                [cell.strip() for cell in row]
                for row in csv.reader(lines[1:], delimiter=delimiter, skipinitialspace=True)
            ]
            if any(len(row) != len(header) for row in rows):
                raise NamesError(f"a line has not the {len(header)} columns of {lines[0][:60]!r}")
            return _of_records([dict(zip(header, row, strict=True)) for row in rows])
    return None


def _colored(lines: list[str]) -> Names | None:
    """Names of lines that all have a colour before or after the name, as CamVid's `label_colors.txt`."""
    words = [re.split(r"[\s,;]+", line) for line in lines]
    for color, name in ((slice(0, 3), slice(3, None)), (slice(-3, None), slice(0, -3))):
        if lines and all(len(line) > 3 and "".join(line[color]).isdecimal() for line in words):
            names = _listed(" ".join(line[name]) for line in words)
            return Names(names, colors={value: _color(line[color]) for value, line in enumerate(words)})
    return None


def _numbered(lines: list[str]) -> Names | None:
    """Names of lines that all have a number before or after the name."""
    first = [NUMBER_FIRST.fullmatch(line) for line in lines]
    if lines and all(first):
        return _by_value((int(match[1]), match[2].strip("\"' ,")) for match in first if match)
    last = [(pair[0].strip("\"' "), pair[1]) for line in lines if (pair := _name_and_number(line))]
    if lines and all(len(set(part)) == len(lines) for part in zip(*last, strict=True)) and len(last) == len(lines):
        return _by_value((int(value), text) for text, value in last)  # of "lane 1" and "lane 2" the numbers are names
    return None


def _name_and_number(line: str) -> tuple[str, str] | None:
    """The name and the number after it; without one pattern for all, which would try every run of blanks n times."""
    match = NUMBER_LAST.fullmatch(line)
    name = match[1].rstrip() if match else ""
    if match and name.endswith(SEPARATORS) and (shorter := name[:-1].rstrip()):
        return shorter, match[2]
    is_parted = match and any(blank in match[1][len(name) :] for blank in BLANKS)
    return (name, match[2]) if match and name and is_parted else None


def _by_value(pairs: Iterable[tuple[int | None, str]]) -> Names:
    names: dict[int, str] = {}
    for value, text in pairs:
        if value is None or value in names:
            raise NamesError(f"the value {value} has two names, {names.get(value or 0)!r} and {text!r}")
        names[value] = text.strip()
    return Names(dict(sorted(names.items())), numbered=True)


def _listed(texts: Iterable[str]) -> dict[int, str]:
    return dict(enumerate(texts))


def _color(channels: Sequence[Any]) -> Color:
    red, green, blue = (_number(channel) for channel in channels)
    if red is None or green is None or blue is None or not 0 <= min(red, green, blue) <= max(red, green, blue) <= 255:
        raise NamesError(f"{list(channels)} is no colour of red, green and blue from 0 to 255")
    return red, green, blue


def _number(value: Any) -> int | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = int(value)
        return number if number == float(value) else None
    except (ValueError, TypeError, OverflowError):
        return None


def letters(name: str) -> str:
    """A name without case and punctuation, by which spellings are compared."""
    return re.sub(r"[\W_]+", "", name.casefold())
