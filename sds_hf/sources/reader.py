"""What a reader of a raw layout is: a folder in, rows out. Nothing here imports `datasets`: any version will do."""

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sds_hf.images import decode_mask, encode_mask
from sds_hf.labels import LabelSpace, label_space

READERS: dict[str, type["Reader"]] = {}
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
Row = dict[str, Any]


class UnknownLayoutError(ValueError):
    """A folder whose layout or label encoding is not known; the message says what to give."""


class Reader(ABC):
    """Rows of a folder: `id`, `image`, `mask` (8-bit index PNG), `caption`, `classes` and `class_prompt`.

    A subclass names its layout, says how to recognise it and yields rows. Masks come out as class indices of `labels`,
    whatever they were; image files are passed through byte by byte.

    Attributes:
        path: the folder.
        labels: what the indices of the masks mean.
        counts: what was skipped and why, by reason; complete when all rows were read.
    """

    name: ClassVar[str]
    summary: ClassVar[str]

    def __init_subclass__(cls) -> None:
        READERS[cls.name] = cls

    def __init__(self, path: str | Path, labels: str | None = None) -> None:
        self.path, self.counts = Path(path), Counter[str]()
        if not self.path.is_dir():
            raise UnknownLayoutError(f"{self.path} is no folder")
        name = labels or self.default_labels()
        if name is None:
            raise UnknownLayoutError(
                f"nothing in {self.path} says what its mask indices mean: give --labels voc or --labels coco"
            )
        self.labels: LabelSpace = label_space(name)

    @classmethod
    @abstractmethod
    def recognises(cls, path: Path) -> bool:
        """Whether the folder looks like this layout."""

    def default_labels(self) -> str | None:
        """The label space the layout implies; None if it could be any."""
        return None

    @abstractmethod
    def rows(self) -> Iterator[Row]:
        """All rows, in a fixed order."""

    def row(
        self, name: str, image: Path, mask: np.ndarray | None, caption: str | None = None, prompt: str | None = None
    ) -> Row:
        """One row of files and a checked mask."""
        classes = (
            [int(value) for value in np.unique(mask) if value in self.labels.class_ids] if mask is not None else []
        )
        return {
            "id": name,
            "image": {"bytes": image.read_bytes(), "path": image.name},
            "mask": None if mask is None else {"bytes": encode_mask(mask), "path": f"{name}.png"},
            "caption": caption,
            "classes": classes,
            "class_prompt": prompt,
        }

    def check_mask(self, mask: np.ndarray, path: Path) -> np.ndarray:
        """The mask, if all its indices are of the label space.

        Raises:
            ValueError: names the file and the values.
        """
        if unknown := self.labels.unknown(np.unique(mask)):
            raise UnknownLayoutError(
                f"{path}: {unknown} stand for no class of the label space {self.labels.name!r} "
                f"(0 to {self.labels.class_ids[-1]}, 255 is ignored)"
            )
        return mask


def read_mask(path: Path) -> np.ndarray:
    """The indices of a mask file, (H, W) uint8; errors name the file."""
    return decode_mask(str(path), str(path))


def files_by_stem(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> dict[str, Path]:
    """Image files of a folder by their name without suffix, numbers in numeric order."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in suffixes] if folder.is_dir() else []
    return {path.stem: path for path in sorted(found, key=lambda path: natural(path.stem))}


def natural(text: str) -> list[tuple[int, int | str]]:
    """A sort key that puts "2" before "10"."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", text)]


def make_reader(name: str, path: str | Path, **options: Any) -> Reader:
    """The reader of that name, or with `"auto"` the one that recognises the folder.

    Raises:
        UnknownLayoutError: if there is none; names those that exist.
    """
    if name == "auto":
        fitting = [reader for reader in READERS.values() if reader.recognises(Path(path))]
        if not fitting:
            raise UnknownLayoutError(f"{path} has no layout that is known; the readers are {sorted(READERS)}")
        return fitting[0](path, **_accepted(fitting[0], options))
    if name not in READERS:
        raise UnknownLayoutError(f"no reader {name!r}; there are {sorted(READERS)}")
    return READERS[name](path, **_accepted(READERS[name], options))


def _accepted(reader: type[Reader], options: dict[str, Any]) -> dict[str, Any]:
    import inspect

    given = {key: value for key, value in options.items() if value is not None}
    if unknown := set(given) - set(inspect.signature(reader.__init__).parameters):
        raise UnknownLayoutError(f"the reader {reader.name!r} has no option {sorted(unknown)}")
    return given
