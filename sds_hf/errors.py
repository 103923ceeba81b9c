"""What a person is told: errors in one line, and packages that are not installed."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # readers need `short` where there is no pydantic
    from pydantic import ValidationError
from importlib import import_module


def one_line(error: "ValidationError", possible: Mapping[tuple[Any, ...], Sequence[str]]) -> str:
    """What is wrong with which field, what was given, and what is possible.

    Args:
        error: with one or more problems.
        possible: the settings there are, by place; those at `()` are for all other places.
    """
    parts = []
    for problem in error.errors():
        where, kind = problem["loc"], problem["type"]
        if kind in ("extra_forbidden", "unexpected_keyword_argument"):
            what = f"there is no such setting, only {list(possible.get(where[:-1], possible[()]))}"
        else:
            given = "" if kind in ("value_error", "missing", "too_short") else f", not {short(problem['input'])}"
            what = problem["msg"].removeprefix("Value error, ").removeprefix("Input ") + given
        parts.append(": ".join([".".join(str(part) for part in where), what] if where else [what]))
    return "; ".join(parts)


def short(value: Any) -> str:
    """A value in a message."""
    text = " ".join(repr(value).split())
    return text if len(text) < 80 else text[:76] + "..."


PACKAGES = {  # by module: the package, and the extra that brings it
    "sklearn": ("scikit-learn", "selectors"),
    "cv2": ("OpenCV", "selectors"),
    "skimage": ("scikit-image", "selectors"),
    "pycocotools": ("pycocotools", "coco"),
}


def extra_module(name: str) -> Any:
    """A module of a package that is not always installed.

    Raises:
        ModuleNotFoundError: if it is not; names the extra.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package, extra = PACKAGES[name.split(".")[0]]
        raise ModuleNotFoundError(f'this needs {package}: pip install "sds-hf[{extra}]"') from error
