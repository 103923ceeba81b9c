"""What a reader of a raw layout is: a folder in, rows out. Nothing here imports `datasets`: any version will do."""

import inspect
import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from sds_hf.data.images import BadImageError, encode_mask, picture_size
from sds_hf.data.labels import LabelSpace, label_space
from sds_hf.data.paths import read_file
from sds_hf.data.sources.files import UnknownLayoutError, inside, reading_in

logger = logging.getLogger(__name__)

READERS: dict[str, type["Reader"]] = {}
Row = dict[str, Any]
Missing = Literal["skip", "error"]
Errors = Literal["raise", "skip"]


class Reader(ABC):
    """Rows of a folder: `id`, `image`, `mask` (8-bit index PNG), `caption`, `classes` and `class_prompt`.

    A subclass names its layout, says how to recognise it, lists the entries of a folder and reads each into a row.
    Masks come out as class indices of `labels`, whatever they were; image files are passed through byte by byte.

    Attributes:
        path: the folder.
        labels: what the indices of the masks mean.
        further: columns besides those, with their kind: `text`; `picture` of ids; `outlines`, a list of
            `{"class", "polygons", "counts", "size", "iscrowd"}`; `boxes`. See `sds_hf.data.folder`.
        has_masks: whether there is a column `mask`.
        on_missing: what an image without a mask does: `skip` counts it, `error` stops.
        on_error: what a broken file does: `raise` stops and names it, `skip` names it in a warning and counts it.
        counts: what was skipped and why, by reason; complete when all rows were read.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    further: Mapping[str, str] = {}
    has_masks: ClassVar[bool] = True
    on_missing: Missing = "skip"
    on_error: Errors = "raise"

    def __init_subclass__(cls) -> None:
        if "name" in vars(cls):  # a base of several readers has none
            READERS[cls.name] = cls

    def __init__(self, path: str | Path, labels: str | None = None) -> None:
        self.path, self.counts = Path(path), Counter[str]()
        if not self.path.is_dir():
            raise UnknownLayoutError(f"{self.path} is no folder")
        space = labels or self.default_labels()
        if space is None:
            raise UnknownLayoutError(
                f"nothing in {self.path} says what its mask indices mean: give --labels voc or --labels coco, "
                "or a text file with the name of a class in each line"
            )
        self.labels: LabelSpace = label_space(space) if isinstance(space, str) else space

    @classmethod
    @abstractmethod
    def recognises(cls, path: Path) -> bool:
        """Whether the folder looks like this layout, and like no other."""

    def default_labels(self) -> str | LabelSpace | None:
        """The label space the layout implies; None if it could be any."""
        return None

    def entries(self) -> Iterable[Any]:
        """What there is to read, in a fixed order: files, names or lines; each becomes a row or none."""
        raise NotImplementedError

    def read(self, entry: Any) -> Row | None:
        """The row of an entry; None if something is `missing`.

        Raises:
            ValueError: if a file is broken; names it.
        """
        raise NotImplementedError

    def rows(self) -> Iterator[Row]:
        """All rows, in the order of the entries.

        Raises:
            ValueError: if a file is broken, or no entry became a row; `on_missing` and `on_error` say more.
        """
        number, problem = 0, ""
        for entry in self.entries():
            try:
                with reading_in(self.path):
                    row = self.read(entry)
            except MissingFileError:
                raise
            except (ValueError, OSError) as error:
                if self.on_error == "raise":
                    raise
                problem = problem or str(error)
                self.counts["broken"] += 1
                logger.warning("skipped: %s", error)
                continue
            if row is not None:
                number += 1
                yield row
        self.counts = +self.counts
        if not number:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.counts.items()) or "none is listed"
            raise UnknownLayoutError(f"{self.path}: no row could be read: {reasons}{problem and f'; {problem}'}")

    def missing(self, reason: str, where: str | Path) -> Row | None:
        """Count what is not there; None, in place of a row.

        Raises:
            MissingFileError: with `on_missing="error"`.
        """
        if self.on_missing == "error":
            raise MissingFileError(f"{where}: {reason}; with --on-missing skip such rows are left out and counted")
        self.counts[reason] += 1
        return None

    def row(
        self,
        name: str,
        image: Path,
        mask: np.ndarray | None,
        caption: str | None = None,
        prompt: str | None = None,
        **extra_cells: Any,
    ) -> Row:
        """One row of files and a checked mask.

        Args:
            name: its id.
            image: the file.
            mask: (H, W) uint8 class indices.
            caption: what the image shows.
            prompt: names of the classes that were asked for.
            **extra_cells: cells of the columns `further`; an array is a picture of ids.

        Raises:
            BadImageError: if the image is none, or differs in size from the mask or the ids; names the file.
            UnknownLayoutError: if a text cannot be written as UTF-8; names the file.
        """
        try:
            "".join(filter(None, (name, caption, prompt))).encode()
        except UnicodeEncodeError as error:
            raise UnknownLayoutError(
                f"{image}: its name or its caption holds {error.object[error.start]!r}, which is no character: "
                "rename the file or correct the caption"
            ) from error
        data = read_file(inside(image), image)
        if mask is None:
            picture_size(data, str(image))  # refuses what is no picture
        for pixels in (mask, *(cell for cell in extra_cells.values() if isinstance(cell, np.ndarray))):
            if pixels is not None and pixels.shape != (size := picture_size(data, str(image))):
                image_size, mask_size = (f"{width}x{height}" for height, width in (size, pixels.shape))
                raise BadImageError(
                    f"{image}: {image_size} pixels, but its mask has {mask_size}; they must be of one size"
                )
        row: Row = {"id": name, "image": {"bytes": data, "path": image.name}}
        if self.has_masks:
            row["mask"] = None if mask is None else _picture(mask, name)
        cells = {
            key: _picture(cell, name) if isinstance(cell, np.ndarray) else cell for key, cell in extra_cells.items()
        }
        present = np.unique(mask).tolist() if mask is not None else []
        classes = [value for value in present if value in self.labels.class_ids]
        return {**row, "caption": caption, "classes": classes, "class_prompt": prompt, **cells}

    def check_mask(self, mask: np.ndarray, path: Path) -> np.ndarray:
        """The mask, if all its indices are of the label space.

        Raises:
            ValueError: names the file and the values.
        """
        if unknown := self.labels.unknown(np.unique(mask)):
            lowest = 0 if self.labels.has_background else self.labels.class_ids[0]
            raise UnknownLayoutError(
                f"{path}: {unknown} stand for no class of the label space {self.labels.name!r} "
                f"({lowest} to {self.labels.class_ids[-1]}, 255 is ignored)"
            )
        return mask


class MissingFileError(UnknownLayoutError):
    """A file that must be there and is not."""


def make_reader(
    name: str, path: str | Path, *, on_missing: Missing | None = None, on_error: Errors | None = None, **options: Any
) -> Reader:
    """The reader of that name, or with `"auto"` the one that recognises the folder.

    Args:
        name: of the reader.
        path: the folder.
        on_missing: see `Reader`; `skip` if None.
        on_error: see `Reader`; `raise` if None.
        **options: of the reader; None leaves the choice to it.

    Raises:
        UnknownLayoutError: if there is none, or no such option; names those that exist.
    """
    for option, value, possible in (("missing", on_missing, Missing), ("error", on_error, Errors)):
        if value not in (None, *get_args(possible)):
            raise UnknownLayoutError(f"--on-{option} is {' or '.join(get_args(possible))}, not {value!r}")
    kind = _recognising(Path(path)) if name == "auto" else READERS.get(name)
    if kind is None:
        raise UnknownLayoutError(f"no reader {name!r}; there are {sorted(READERS)}")
    arguments = {option: value for option, value in options.items() if value is not None}
    if unknown := set(arguments) - set(inspect.signature(kind.__init__).parameters):
        raise UnknownLayoutError(f"the reader {kind.name!r} has no option {sorted(unknown)}")
    reader = kind(path, **arguments)
    reader.on_missing, reader.on_error = on_missing or "skip", on_error or "raise"
    return reader


def _recognising(path: Path) -> type[Reader]:
    if not path.is_dir():
        raise UnknownLayoutError(f"{path} is no folder")
    fitting = [reader for reader in READERS.values() if reader.recognises(path)]
    if not fitting:
        raise UnknownLayoutError(f"{path} has no layout that is known; the readers are {sorted(READERS)}")
    if len(fitting) > 1:
        names = " or ".join(sorted(reader.name for reader in fitting))
        raise UnknownLayoutError(f"{path} could be of several layouts: give {names} in place of auto")
    return fitting[0]


def _picture(pixels: np.ndarray, name: str) -> dict[str, Any]:
    return {"bytes": encode_mask(pixels), "path": f"{name}.png"}
