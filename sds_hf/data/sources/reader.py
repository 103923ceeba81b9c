"""What a reader of a raw layout is: a folder in, rows out. Nothing here imports `datasets`: any version will do."""

import inspect
import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from sds_hf.data.access.paths import read_file
from sds_hf.data.images import encode_mask
from sds_hf.data.labels import LabelSpace, MaskValues, is_names_file, mask_values
from sds_hf.data.sources.files import UnknownLayoutError, check_links
from sds_hf.data.sources.findings import Findings, check_sizes, check_whole
from sds_hf.data.sources.indices import MaskFiles
from sds_hf.errors import no_such

logger = logging.getLogger(__name__)

READERS: dict[str, type["Reader"]] = {}
Row = dict[str, Any]
NAMES_FILES = (  # in which tools write the names of classes
    "labelmap.txt",
    "class_names.txt",
    "classes.txt",
    "labels.txt",
    "names.txt",
    "_classes.csv",
    "dataset_meta.json",
    "mask_targets.json",
)
Missing = Literal["skip", "error"]
Errors = Literal["raise", "skip"]


class Reader(MaskFiles, ABC):
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
        findings: what else the rows showed; complete when all were read.
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
        self.path, self.counts, self.findings = Path(path), Counter[str](), Findings()
        if not self.path.is_dir():
            raise UnknownLayoutError(f"{self.path} is no folder")
        space = labels or self.default_labels()
        if space is None:
            own = next((f", perhaps {self.path / name}" for name in NAMES_FILES if (self.path / name).is_file()), "")
            raise UnknownLayoutError(
                f"nothing in {self.path} says what its mask indices mean: give --labels voc or --labels coco, "
                f"or a text file with the name of a class in each line{own}"
            )
        self.values = mask_values(space) if isinstance(space, str) else MaskValues(space)
        self.labels = self.values.labels
        self.names_file = space if isinstance(space, str) and is_names_file(space) else None
        self._files_by_id: dict[str, Path] = {}

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
            ValueError: if a file is broken, two rows have one id, or no entry became a row; `on_missing` and `on_error`
                say more.
        """
        self.findings, self._files_by_id, problem = Findings(), {}, ""
        for entry in self.entries():
            try:
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
                self.findings.add(row["classes"])
                yield row
        self.counts = +self.counts
        if not self.findings.rows:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.counts.items()) or "none is listed"
            first = f"; looked for {next(iter(self.findings.missing.values()))}" if self.findings.missing else ""
            raise UnknownLayoutError(f"{self.path}: no row could be read: {reasons}{problem and f'; {problem}'}{first}")

    def missing(self, reason: str, where: str | Path, expected: Path | None = None) -> Row | None:
        """Count what is not there; None, in place of a row.

        Args:
            reason: what is missing.
            where: the file or path that it is about.
            expected: the path that was looked for, if `where` is not.

        Raises:
            MissingFileError: with `on_missing="error"`.
        """
        if self.on_missing == "error":
            looked = f"; looked for {expected}" if expected else ""
            raise MissingFileError(
                f"{where}: {reason}; with --on-missing skip such rows are left out and counted{looked}"
            )
        self.counts[reason] += 1
        self.findings.missing.setdefault(reason, str(expected or where))
        return None

    def notes(self) -> list[str]:
        """What may be wrong with the rows, in one line each; complete when all were read."""
        return self.findings.notes(self.labels, self.names_file)

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
            UnknownLayoutError: if a text cannot be written as UTF-8, or another row has the id; names the files.
        """
        try:
            "".join(filter(None, (name, caption, prompt))).encode()
        except UnicodeEncodeError as error:
            raise UnknownLayoutError(
                f"{image}: its name or its caption holds {error.object[error.start]!r}, which is no character: "
                "rename the file or correct the caption"
            ) from error
        if name in self._files_by_id:
            raise UnknownLayoutError(
                f"two rows would have the id {name!r}: {self._files_by_id[name]} and {image}; ids must be unique: "
                "rename a file, take one line out of a list, or give a table with a column `id`"
            )
        self._files_by_id[name] = image
        data = read_file(self.file(image), image)
        check_whole(data, image)
        for pixels in (mask, *(cell for cell in extra_cells.values() if isinstance(cell, np.ndarray))):
            if pixels is not None:
                check_sizes(data, pixels.shape, image)
        row: Row = {"id": name, "image": {"bytes": data, "path": image.name}}
        if self.has_masks:
            row["mask"] = None if mask is None else _picture(mask, name)
        cells = {
            key: _picture(cell, name) if isinstance(cell, np.ndarray) else cell for key, cell in extra_cells.items()
        }
        present = np.unique(mask).tolist() if mask is not None else []
        self.findings.values.update(present)
        classes = [value for value in present if value in self.labels.class_ids]
        return {**row, "caption": caption, "classes": classes, "class_prompt": prompt, **cells}


class MissingFileError(UnknownLayoutError):
    """A file that must be there and is not."""


def make_reader(
    name: str,
    path: str | Path,
    *,
    on_missing: Missing | None = None,
    on_error: Errors | None = None,
    **options: Any,
) -> Reader:
    """The reader of that name, or with `"auto"` the one that recognises the folder.

    Args:
        name: of the reader.
        path: the folder.
        on_missing: see `Reader`; `skip` if None.
        on_error: see `Reader`; `raise` if None.
        **options: of the reader; None leaves the choice to it.

    Raises:
        UnknownLayoutError: if there is none, or no such option, which names those that exist.
        PathError: if a link leads out of the folder, and where to is not allowed.
    """
    for option, value, possible in (("missing", on_missing, Missing), ("error", on_error, Errors)):
        if value not in (None, *get_args(possible)):
            raise UnknownLayoutError(f"--on-{option} is {' or '.join(get_args(possible))}, not {value!r}")
    kind = _recognising(Path(path)) if name == "auto" else READERS.get(name)
    if kind is None:
        raise UnknownLayoutError(no_such("reader", name, READERS))
    arguments = {option: value for option, value in options.items() if value is not None}
    if unknown := set(arguments) - set(inspect.signature(kind.__init__).parameters):
        raise UnknownLayoutError(f"the reader {kind.name!r} has no option {sorted(unknown)}")
    if Path(path).is_dir():
        check_links(Path(path))
    reader = kind.__new__(kind)
    reader.on_missing, reader.on_error = on_missing or "skip", on_error or "raise"
    reader.__init__(path, **arguments)  # type: ignore[misc]  # which may read masks already
    return reader


def _recognising(path: Path) -> type[Reader]:
    if not path.is_dir():
        raise UnknownLayoutError(f"{path} is no folder")
    fitting = [reader for reader in READERS.values() if reader.recognises(path)]
    if not fitting:
        raise UnknownLayoutError(
            f"{path} has no layout that is known; the readers are {', '.join(sorted(READERS))}: `sds-hf readers` says "
            "which files each expects"
        )
    if len(fitting) > 1:
        names = " or ".join(sorted(reader.name for reader in fitting))
        raise UnknownLayoutError(f"{path} could be of several layouts: give {names} in place of auto")
    return fitting[0]


def _picture(pixels: np.ndarray, name: str) -> dict[str, Any]:
    return {"bytes": encode_mask(pixels), "path": f"{name}.png"}
