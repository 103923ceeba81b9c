"""YAML of people: read within limits, written so that it reads back, and settings given beside it.

A setting is given as `rules.0.threshold.above=0.7`.
"""

import re
from collections.abc import Iterable
from typing import Any

import yaml

from sds_hf.errors import short

BREAK = re.compile("[\x85\u2028\u2029]")
LONGEST, DEEPEST = 256 << 10, 32  # bytes of a text, with all its aliases written out four times that; levels in it
DIGITS = re.compile(r"[-+]?(?:[\d_]{19,}|0[xo][\da-fA-F_]{16,})")


class _Loader(yaml.SafeLoader):
    """Takes 1:30 and 010 for text, not for the numbers 90 and 8."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [
            (tag, re.compile(r"[-+]?(?:0|[1-9][0-9_]*)$") if tag == "tag:yaml.org,2002:int" else pattern)
            for tag, pattern in resolvers
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_yaml(text: str | bytes) -> Any:
    """Plain data of YAML.

    Raises:
        ValueError: if it is none, or larger or deeper than a recipe needs, or goes in a circle; what is wrong, to
            follow its name.
    """
    if len(text) > LONGEST:
        raise ValueError(f"has more than the {LONGEST:,} bytes that are read")
    try:
        _check_size(yaml.parse(text, _Loader))
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"is no YAML: {' '.join(str(error).split())}") from error


def _check_size(events: Iterable[yaml.Event]) -> None:
    """Refuse what would be too large or too deep with all aliases written out.

    Raises:
        ValueError: says what.
    """
    sizes: dict[str, int] = {}  # by anchor; an alias inside its own anchor has none yet
    open_nodes: list[tuple[str | None, int]] = [(None, 0)]
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, 1))
            if len(open_nodes) > DEEPEST:
                raise ValueError(f"is nested more than {DEEPEST} levels deep")
            continue
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise ValueError(f"has an alias *{event.anchor} inside what it stands for, or for nothing")
            anchor, size = None, sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            anchor, size = event.anchor, len(event.value) + 1
            _check_scalar(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_nodes.pop()
        else:
            continue
        if anchor is not None:
            sizes[anchor] = size
        parent, before = open_nodes.pop()
        open_nodes.append((parent, before + size))
        if before + size > 4 * LONGEST:
            raise ValueError(f"has, with its aliases written out, more than {4 * LONGEST:,} characters")


def _check_scalar(event: yaml.ScalarEvent) -> None:
    if event.style is None and DIGITS.fullmatch(event.value):
        raise ValueError(f"has a number of {len(event.value):,} digits, more than any setting")
    if any("\ud800" <= character <= "\udfff" for character in event.value):
        raise ValueError(f"has {short(event.value)}, which is no text but half of a surrogate pair")


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML would take for a line break."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """As it is, or escaped in double quotes."""
        return self.represent_scalar("tag:yaml.org,2002:str", text, '"' if BREAK.search(text) else None)


_Dumper.add_representer(str, _Dumper.represent_text)


def to_yaml(data: Any) -> str:
    """Plain data as YAML, in its order."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


def apply_override(data: Any, override: str) -> None:
    """Set `a.b.0.c=value` in nested dicts and lists; the value is read as YAML.

    Raises:
        ValueError: if the override is none or there is no such place.
    """
    key, equals, text = override.partition("=")
    if not equals:
        raise ValueError(f"--set takes key=value, e.g. rules.0.threshold.above=0.7, not {override!r}")
    *parents, last = key.split(".")
    for part in parents:
        try:
            if isinstance(data, dict) and data.get(part) is None:
                data[part] = {}
            data = data[int(part) if isinstance(data, list) else part]
        except (IndexError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"--set {override}: the recipe has no {part!r} there") from error
    try:
        value = read_yaml(text)
    except ValueError as error:
        raise ValueError(f"--set {override}: the value {error}") from error
    try:
        data[int(last) if isinstance(data, list) else last] = value
    except (IndexError, ValueError, TypeError) as error:
        raise ValueError(f"--set {override}: the recipe has no {last!r} there") from error
