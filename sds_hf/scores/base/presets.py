"""Named settings: a preset is a recipe of the package, read for its scores and rules."""

from dataclasses import fields
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from sds_hf.errors import no_such

PREFIX, SUFFIX = "sds-", ".yaml"


def preset_names() -> list[str]:
    """Recipes of the package that read the method of SDS in one way or another, without the `sds-` before them."""
    names = (path.name for path in (files("sds_hf") / "selection" / "recipes").iterdir())
    return sorted(name.removeprefix(PREFIX).removesuffix(SUFFIX) for name in names if name.startswith(PREFIX))


@cache
def preset(name: str) -> dict[str, Any]:
    """The recipe of a preset, as its file has it; not to be changed.

    Raises:
        ValueError: if there is none; names those that exist.
    """
    if name not in preset_names():
        raise ValueError(no_such("preset", name, preset_names()))
    path = files("sds_hf") / "selection" / "recipes" / f"{PREFIX}{name}{SUFFIX}"
    recipe: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return recipe


def field_names(cls: type[Any]) -> set[str]:
    """Names of the settings of a score."""
    return {field.name for field in fields(cls)}
