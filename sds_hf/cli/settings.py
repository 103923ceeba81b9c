"""The settings of a score or a rule for a person: defaults, what is possible, and what they mean, from its class."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from sds_hf.selection.rules import RULES

LIMITS = {
    "gt": "above",
    "ge": "at least",
    "lt": "below",
    "le": "at most",
    "min_length": "at least",
    "max_length": "at most",
}
LARGEST = 2**53  # a limit that says no more than that numbers are exact
PLURALS = {str: "texts", int: "whole numbers", float: "numbers"}
WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", NoneType: "null", Any: "anything"}
INTERNAL = ("statistics",)  # what a fit finds, and nobody sets
SECTION = re.compile(r"^(?:Args|Attributes):\n((?:(?: .*)?\n?)*)", re.M)
ENTRY = re.compile(r"^ {4}(?P<names>\w+(?:,\s+\w+)*): (?P<text>.*(?:\n {5,}.*)*)", re.M)
POINTER = re.compile(r"see `(?P<cls>\w+)`[.;,]?\s*(?P<more>.*)")


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        name: as a recipe has it.
        required: whether it has no default.
        default: its default.
        possible: what it may be, in words.
        meaning: what it does.
    """

    name: str
    required: bool
    default: Any
    possible: str
    meaning: str


def settings_of(cls: type) -> list[Setting]:
    """The settings of a class under `@settings`, in the order of its own docstring, those of its bases last."""
    meanings = _meanings(cls)
    fields: Mapping[str, Any] = cast(Any, cls).__pydantic_fields__
    order = {name: place for place, name in enumerate(meanings)}
    names = sorted((name for name in fields if name not in INTERNAL), key=lambda name: order.get(name, len(order)))
    return [_setting(name, fields[name], meanings.get(name, "")) for name in names]


def _setting(name: str, field: Any, meaning: str) -> Setting:
    required = field.is_required()
    default, words = None if required else field.default, possible(field.annotation, field.metadata)
    # That nothing is possible follows from its being the default.
    return Setting(name, required, default, words.removesuffix(" or null") if default is None else words, meaning)


def possible(annotation: Any, metadata: Any = (), many: bool = False) -> str:
    """What a value may be, in words.

    Args:
        annotation: its type.
        metadata: limits of it, as pydantic has them.
        many: whether it is what a list holds.
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = [limit for extra in parts[1:] for limit in getattr(extra, "metadata", [extra])]
        return possible(parts[0], [*inner, *metadata], many)
    limits = _limits(metadata)
    if origin is Literal:
        words = ", ".join(map(str, parts[:-1])) + (" or " if parts[1:] else "") + str(parts[-1])
    elif origin in (Union, UnionType):
        words = " or ".join(possible(part) for part in parts)
    elif origin is tuple:
        several = parts[-1] is Ellipsis
        words = f"list of {'' if several else f'{len(parts)} '}{possible(parts[0], many=True)}"
        return words + (f"; {limits} of them" if limits else "")
    else:
        words = (PLURALS if many else WORDS).get(annotation) or ("mapping" if origin is not None else "text")
    return f"{words}, {limits}" if limits else words


def _limits(metadata: Any) -> str:
    """Limits in words."""
    values = [
        (word, getattr(limit, name)) for limit in metadata for name, word in LIMITS.items() if hasattr(limit, name)
    ]
    return ", ".join(f"{word} {value}" for word, value in values if value is not None and abs(value) < LARGEST)


def _meanings(cls: type) -> dict[str, str]:
    """What docstrings say of settings, by name; where one points to another class, what that says."""
    classes = {one.__name__: one for one in (*RULES.values(), *cls.__mro__)}
    meanings: dict[str, str] = {}
    for base in cls.__mro__:
        for name in (said := _said(base)):
            meanings.setdefault(name, _followed(name, said, classes))
    return meanings


def _followed(name: str, said: Mapping[str, str], classes: Mapping[str, type]) -> str:
    text = said.get(name, "")
    pointer = POINTER.match(text)
    if pointer is None or pointer["cls"] not in classes:
        return text
    there, more = _followed(name, _said(classes[pointer["cls"]]), classes), pointer["more"]
    return there if there.endswith(more) else f"{there} {more}"


def _said(cls: type) -> dict[str, str]:
    """The entries of a docstring's section of settings."""
    said = {}
    for section in SECTION.findall(inspect.cleandoc(cls.__doc__ or "")):
        for entry in ENTRY.finditer(section):
            text = " ".join(entry["text"].split())
            for number, name in enumerate(re.split(r",\s+", entry["names"])):
                # What follows a pointer of several settings is said of the first.
                said[name] = POINTER.sub(r"see `\g<cls>`", text) if number else text
    return said
