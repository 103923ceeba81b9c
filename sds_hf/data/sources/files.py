"""Files of raw folders: found by name, inside the folder, and read as text."""

import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from sds_hf.data.access.paths import Reach, read_file

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp")
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".npy")
UNSAFE_SUFFIXES = (".pt", ".pth", ".pkl", ".pickle", ".npz")


class UnknownLayoutError(ValueError):
    """A folder whose layout or label encoding is not known; the message says what to give."""


def inner_file(path: Path, root: Path) -> Path:
    """The real path of a file of a raw folder.

    Raises:
        PathError: if it is a link that leads out, and where to is not allowed; names both ends.
    """
    return Reach((os.path.realpath(root),)).check(path)


def check_links(root: Path) -> None:
    """Refuse a raw folder with a link to a folder or a list outside, before anything walks through or reads that.

    Links to pictures are their rows' failures.

    Raises:
        PathError: names both ends of the link.
    """
    folders = [root]
    while folders:
        with os.scandir(folders.pop()) as listing:
            for entry in listing:
                is_picture = entry.name.lower().endswith((*IMAGE_SUFFIXES, *MASK_SUFFIXES))
                if entry.is_symlink() and not entry.name.startswith(".") and (os.path.isdir(entry) or not is_picture):
                    inner_file(Path(entry.path), root)
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))


class PathsByStem(Mapping[str, Path]):
    """Paths by name; what they hold beside the folder and the name, a suffix, all of a kind share.

    Args:
        folder: where the files are.
        endings: by name the suffix, or the whole path in the folder of a file that is spelt otherwise, in the order of
            the names.
    """

    def __init__(self, folder: Path, endings: dict[str, str]) -> None:
        self._folder, self._endings = folder, endings

    def __getitem__(self, stem: str) -> Path:
        ending = self._endings[stem]
        return self._folder / (stem + ending if ending.startswith(".") else ending)  # nothing hidden is a picture

    def __contains__(self, stem: object) -> bool:
        return stem in self._endings

    def __iter__(self) -> Iterator[str]:
        return iter(self._endings)

    def __len__(self) -> int:
        return len(self._endings)


def files_by_stem(
    folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES, deep: bool = False, but: Path | None = None
) -> PathsByStem:
    """Image files of a folder by their name without suffix, numbers in numeric order; hidden ones do not count.

    Names are in Unicode's composed form (NFC), whatever a file system makes of them.

    Args:
        folder: where they are.
        suffixes: of the files.
        deep: whether those of inner folders count, also of linked ones; their names have the folders' before them.
        but: a folder whose files do not count.

    Raises:
        UnknownLayoutError: if two have the same name.
    """
    endings: dict[str, str] = {}
    others: dict[str, str] = {}
    without = but if but is not None and but.is_relative_to(folder) else None
    for path in files_in(folder, deep) if folder.is_dir() else ():
        if path.suffix.lower() in suffixes and not (without and path.is_relative_to(without)):
            name, suffix = path.relative_to(folder), sys.intern(path.suffix)
            stem = stem_of(name)
            ending = suffix if name.as_posix() == stem + suffix else name.as_posix()
            (others if stem in endings else endings).setdefault(stem, ending)
    if others:
        stem = min(others, key=natural)
        first, second = sorted(PathsByStem(folder, paths)[stem].relative_to(folder) for paths in (endings, others))
        raise UnknownLayoutError(f"{folder} has {first} and {second}; which one is {stem!r}? Remove one")
    return PathsByStem(folder, {stem: endings[stem] for stem in sorted(endings, key=natural)})


def grouped_by_stem(folder: Path, suffixes: tuple[str, ...], deep: bool = False) -> dict[str, list[Path]]:
    """As `files_by_stem`, but all files that share a name."""
    files: dict[str, list[Path]] = {}
    for path in files_in(folder, deep) if folder.is_dir() else ():
        if path.suffix.lower() in suffixes:
            files.setdefault(stem_of(path.relative_to(folder)), []).append(path)
    return {stem: sorted(files.pop(stem)) for stem in sorted(files, key=natural)}


def stem_of(path: PurePath) -> str:
    """A path without suffix, in Unicode's composed form and with slashes."""
    return unicodedata.normalize("NFC", path.with_suffix("").as_posix())


class Tree:
    """Files of a folder, found by what lists call them: with slashes or backslashes, composed or not, `.jpg` or `.JPG`.

    Args:
        folder: where names start.
        around: folders in which names may start as well, tried after it.
    """

    def __init__(self, folder: Path, *around: Path) -> None:
        self.folder, self._folders = folder, (folder, *around)

    def find(self, name: str) -> Path | None:
        """The file of that name; of one that starts elsewhere, the file of its last part. None if there is none.

        A name never leads out of the folders.

        Raises:
            UnknownLayoutError: if two files are called so, and neither exactly so.
        """
        path, literal = inner_path(name), PurePosixPath(name)
        if not literal.is_absolute() and ".." not in literal.parts and (self.folder / literal).is_file():
            return self.folder / literal
        for folder in self._folders:
            if (folder / path).is_file():
                return folder / path
        last = PurePosixPath(path.name)
        if (self.folder / last).is_file() and _spelt(path) not in self._files:
            return self.folder / last
        return self._file(_spelt(path)) or self._file(_spelt(last))

    def expected(self, name: str) -> Path:
        """Where a file of that name would be."""
        return self.folder / inner_path(name)

    def _file(self, spelt: str) -> Path | None:
        file = self._files.get(spelt)
        if file or spelt not in self._files:
            return file
        inside = (path.relative_to(self.folder) for path in files_in(self.folder))
        first, second, *_ = sorted(path.as_posix() for path in inside if _spelt(path) == spelt)
        raise UnknownLayoutError(f"{self.folder} has {first} and {second}; which one is {spelt!r}? Remove one")

    @cached_property
    def _files(self) -> dict[str, Path | None]:
        """Files by their names as `_spelt`; None in the place of several of one name."""
        files: dict[str, Path | None] = {}
        for path in files_in(self.folder):
            spelt = _spelt(path.relative_to(self.folder))
            files[spelt] = None if spelt in files else path
        return files


def inner_path(name: str) -> PurePosixPath:
    """A name of a list as a path inside a folder; the last part alone of one that starts elsewhere or leads out."""
    path = PurePosixPath(name if "/" in name else name.replace("\\", "/"))
    outside = path.is_absolute() or ".." in path.parts or any(":" in part for part in path.parts[:1])
    return PurePosixPath(path.name) if outside else path


def _spelt(path: PurePath) -> str:
    return stem_of(path) + path.suffix.lower()


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
        text = read_file(path).decode("utf-8-sig")
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


def natural(text: str) -> tuple[str, str]:
    """A sort key that puts "2" before "10"; digits before letters. No two texts have the same, so "02" and "2" neither.

    A folder lists its files in an order of its own, which is another one in a copy of it.
    """
    return re.sub(r"[0-9]+", _number, text), text  # "²" is none


def _number(digits: re.Match[str]) -> str:
    """Digits so that more of them come later; a zero character, which no name has, puts them before letters."""
    significant = digits[0].lstrip("0")
    return f"\0{chr(len(significant))}{significant}"
