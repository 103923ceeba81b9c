"""Files of raw folders: images by name, and masks in the formats they come in."""

import io
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np

from sds_hf.data.images import decode_mask
from sds_hf.data.paths import PathError, Reach, read_file

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".npy")
UNSAFE_SUFFIXES = (".pt", ".pth", ".pkl", ".pickle", ".npz")


class UnknownLayoutError(ValueError):
    """A folder whose layout or label encoding is not known; the message says what to give."""


def read_mask(path: Path, highest: int = 255) -> np.ndarray:
    """The indices of a mask file.

    Args:
        path: an image of indices, or an array of integers as `.npy`. One with Python objects is never loaded.
        highest: the highest index there may be.

    Returns:
        (H, W) uint8, or uint16 if `highest` is above 255.

    Raises:
        ValueError: names the file and what is wrong with it.
    """
    if path.suffix == ".npy":
        return _array(path, highest)
    return decode_mask(inside(path), str(path), highest)


_root: ContextVar[Path | None] = ContextVar("root", default=None)


@contextmanager
def reading_in(root: Path) -> Iterator[None]:
    """While this lasts, files are read only if they lie in the folder after their links are followed."""
    token = _root.set(root)
    try:
        yield
    finally:
        _root.reset(token)


def inside(path: Path) -> Path:
    """The real path of a file of the folder that is read.

    Raises:
        PathError: if it leads outside, and where to is not allowed.
    """
    root = _root.get()
    return path if root is None else Reach((os.path.realpath(root),)).check(path)


def files_by_stem(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES, deep: bool = False) -> dict[str, Path]:
    """Image files of a folder by their name without suffix, numbers in numeric order; hidden ones do not count.

    Args:
        folder: where they are.
        suffixes: of the files.
        deep: whether those of inner folders count, also of linked ones; their names have the folders' before them.

    Raises:
        UnknownLayoutError: if two have the same name.
    """
    files: dict[str, Path] = {}
    for path in files_in(folder, deep) if folder.is_dir() else ():
        if path.suffix.lower() in suffixes:
            stem = path.relative_to(folder).with_suffix("").as_posix()
            if stem in files:
                raise UnknownLayoutError(
                    f"{folder} has {files[stem].name} and {path.name}; which one is {stem!r}? Remove one"
                )
            files[stem] = path
    return dict(sorted(files.items(), key=lambda item: natural(item[0])))


def files_in(folder: Path, deep: bool = True, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """Files of a folder, those of inner folders too if `deep`; what is hidden, as `.ipynb_checkpoints`, is left out.

    Linked folders are entered, but none that is `above` already.
    """
    above = (*above, os.path.realpath(folder)) if deep else above
    with os.scandir(folder) as listing:
        entries = [entry for entry in listing if not entry.name.startswith(".")]
    for entry in entries:
        linked = entry.is_symlink()
        if not (os.path.isdir(entry) if linked else entry.is_dir()):  # a link may lead to itself
            yield folder / entry.name
        elif deep and not (linked and os.path.realpath(entry) in above):
            yield from files_in(folder / entry.name, deep, above)


def read_text(path: Path) -> str:
    """The text of a file, lines ending in a line feed.

    Raises:
        UnknownLayoutError: if it is not UTF-8.
    """
    try:
        text = read_file(inside(path), path).decode("utf-8-sig")
        return text.replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise UnknownLayoutError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from error


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        UnknownLayoutError: names the file and what is wrong with it.
    """
    try:
        return json.loads(read_text(path))
    except UnknownLayoutError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise UnknownLayoutError(f"{path} cannot be read: {error}") from error


def subfolders(path: Path) -> set[str]:
    """Names of the folders in a folder, spelt as they are."""
    return {inner.name for inner in path.iterdir() if inner.is_dir()} if path.is_dir() else set()


def natural(text: str) -> list[tuple[int, int | str]]:
    """A sort key that puts "2" before "10"."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", text)]


def _array(path: Path, highest: int) -> np.ndarray:
    try:
        array = np.lib.format.read_array(io.BytesIO(read_file(inside(path), path)), allow_pickle=False)
    except PathError:
        raise
    except Exception as error:  # a broken header fails in many ways
        raise UnknownLayoutError(
            f"{path}: no plain array of numbers; pickled objects can run code and are not loaded; save masks as PNG"
        ) from error
    if array.ndim != 2 or array.dtype.kind not in "iub":
        raise UnknownLayoutError(f"{path}: {array.dtype} of shape {array.shape}; a mask is (H, W) integers")
    if array.size and (array.min() < 0 or array.max() > highest):
        raise UnknownLayoutError(f"{path}: indices from {array.min()} to {array.max()}; they go from 0 to {highest}")
    return np.asarray(array, np.uint8 if highest <= 255 else np.uint16)
