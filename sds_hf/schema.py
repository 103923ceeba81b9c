"""Classes of settings, of scores and of rules: frozen, checked when they are made, readable in `help`."""

import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import field, fields
from inspect import get_annotations
from typing import Any, TypeVar, cast, dataclass_transform

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from sds_hf.errors import SettingsError, one_line

S = TypeVar("S")
MOST_CHARACTERS = 200  # of a signature in `help`
WIDTH = 112
SECTION = re.compile(r"^(?:Args|Attributes):\n((?: {4}.*\n?|\n)+)", re.M)
ENTRY = re.compile(r"^ {4}\S.*(?:\n {8}.*)*", re.M)
REFERENCE = re.compile(r"see `(\w+)`\. ?")
FURTHER = inspect.Parameter("further", inspect.Parameter.VAR_KEYWORD)  # inherited settings that do not fit


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field, Field))
def settings(cls: type[S]) -> type[S]:
    """Make a class of a score or a rule a frozen dataclass whose fields are checked when it is created.

    Fields are given by name, but those that say `field(kw_only=False)`. The docstring gets the arguments of the bases
    that it refers to, as in "labels: see `Score`".

    Raises:
        SettingsError: in one line, when the class is made with settings that make no sense.

    Examples:
        >>> @settings
        ... class Warm(Score):
        ...     name, columns, needs, source = "warm", {}, frozenset(), "an example"
        ...     above: float = 0.5
        ...     def compute(self, rows):
        ...         return {}
        ...
        >>> Warm(above=0.7)
        Warm(labels='auto', above=0.7)
    """
    cls.__doc__ = with_inherited_args(cls)
    checked = cast(Any, dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))(cls))
    checked.__signature__ = signature(checked)
    checked.__init__ = _in_one_line(checked, checked.__init__)
    return cast(type[S], checked)


def _in_one_line(cls: type, init: Callable[..., None]) -> Callable[..., None]:
    """The same, with errors for people."""

    def __init__(self: Any, *args: Any, **values: Any) -> None:
        try:
            init(self, *args, **values)
        except ValidationError as error:
            names = [setting.name for setting in fields(self)]
            positional = [setting.name for setting in fields(self) if not setting.kw_only]
            raise SettingsError(type(self).__name__, one_line(error, {(): names}, positional)) from None

    __init__.__module__, __init__.__qualname__ = cls.__module__, f"{cls.__qualname__}.__init__"
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    cast(Any, __init__).__signature__ = inspect.Signature([itself, *inspect.signature(cls).parameters.values()])
    return __init__


def signature(cls: type[Any]) -> inspect.Signature:
    """Settings with their defaults, without types: the own ones first, the model, then inherited ones that fit."""
    depths = {name: depth for depth, base in reversed([*enumerate(cls.__mro__)]) for name in get_annotations(base)}

    def key(parameter: inspect.Parameter) -> tuple[int, int]:
        by_name_only = parameter.kind is inspect.Parameter.KEYWORD_ONLY
        depth = depths.get(parameter.name, 0) if by_name_only else 0
        return by_name_only, depth and depth + (parameter.name != "model") * len(cls.__mro__)

    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in sorted(inspect.signature(cls).parameters.values(), key=key)
    ]
    further: list[inspect.Parameter] = []
    while len(str(inspect.Signature([*parameters, *further]))) > MOST_CHARACTERS:
        parameters, further = parameters[:-1], [FURTHER]
    return inspect.Signature([*parameters, *further])


def with_inherited_args(cls: type) -> str | None:
    """The docstring of a class, with what its bases say of the arguments for which it says "see `Base`"."""
    if not cls.__doc__:  # with `python -OO` there is none
        return cls.__doc__
    text = inspect.cleandoc(cls.__doc__)
    section = SECTION.search(text)
    if section is None:
        return text
    bases = {base.__name__: arguments(base.__doc__ or "") for base in cls.__mro__[1:]}
    lines = [
        textwrap.fill(f"{name}: {about}", WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 8)
        for name, about in _entries(section[1], bases)
    ]
    rest = text[section.end() :]
    return f"{text[: section.start(1)]}{chr(10).join(lines)}\n{chr(10) if rest else ''}{rest}".rstrip("\n")


def arguments(text: str) -> dict[str, str]:
    """What a docstring says of each argument or attribute, in one line."""
    section = SECTION.search(inspect.cleandoc(text))
    return dict(_entries(section[1], {})) if section else {}


def _entries(section: str, bases: dict[str, dict[str, str]]) -> list[tuple[str, str]]:
    """Arguments of a section with what is said of them, those of bases in their place."""
    entries = []
    for entry in ENTRY.findall(section):
        names, _, about = " ".join(entry.split()).partition(": ")
        reference = REFERENCE.match(f"{about} ")
        inherited = bases.get(reference[1], {}) if reference else {}
        if reference and set(names.split(", ")) <= set(inherited):
            first, *others = names.split(", ")
            entries.append((first, f"{inherited[first]} {about[reference.end() :]}".strip()))
            entries += [(name, inherited[name]) for name in others]
        else:
            entries.append((names, about))
    return entries
