"""YAML of recipes: written so that it reads back, and settings given beside it.

A setting is given as `rules.0.threshold.above=0.7`.
"""

import re
from typing import Any

import yaml

from sds_hf.limits import read_yaml

BREAK = re.compile("[\x85\u2028\u2029]")


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
        raise ValueError(f"a setting is changed by key=value, e.g. rules.0.threshold.above=0.7, not {override!r}")
    *parents, last = key.split(".")
    for part in parents:
        try:
            if isinstance(data, dict) and data.get(part) is None:
                data[part] = {}
            data = data[int(part) if isinstance(data, list) else part]
        except (IndexError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(_no_place(override, part, data)) from error
    try:
        value = read_yaml(text, "the value")
    except ValueError as error:
        raise ValueError(f"{override}: {error}") from error
    try:
        data[int(last) if isinstance(data, list) else last] = value
    except (IndexError, ValueError, TypeError) as error:
        raise ValueError(_no_place(override, last, data)) from error


def _no_place(override: str, part: str, data: Any) -> str:
    """What to say of a part of a key that leads nowhere."""
    numbers = ""
    if isinstance(data, list):
        numbers = f", whose numbers go from 0 to {len(data) - 1}" if data else ", which is empty"
    return f"{override}: the recipe has no {part!r} there{numbers}"
