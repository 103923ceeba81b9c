"""What a reader of a raw layout is: a folder in, rows out. Nothing here imports `datasets`: any version will do."""

import inspect
import logging
import os
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from sds_hf.data.access.paths import read_file
from sds_hf.data.images import encode_mask, values_of
from sds_hf.data.labels import LabelSpace, MaskValues, is_names_file, mask_values
from sds_hf.data.sources.files import UnknownLayoutError, check_links
from sds_hf.data.sources.findings import Findings, check_sizes, check_whole, with_way_out
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
THREADS = min(4, os.cpu_count() or 1)  # that check images and write masks; more would wait for the one that reads
AHEAD = 16  # rows on their way
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

    Examples:
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from PIL import Image
        >>> class Pairs(Reader):
        ...     name, summary = "pairs", "*.jpg beside *.png"
        ...     @classmethod
        ...     def recognises(cls, path):
        ...         return any(path.glob("*.jpg"))
        ...     def entries(self):
        ...         return sorted(self.path.glob("*.jpg"))
        ...     def read(self, entry):
        ...         mask = np.asarray(Image.open(entry.with_suffix(".png")))
        ...         return self.row(entry.stem, entry, self.check_mask(mask, entry))
        ...
        >>> Path("pairs").mkdir()
        >>> candidates[0]["image"].save("pairs/a.jpg")
        >>> candidates[0]["mask"].save("pairs/a.png")
        >>> [row["id"] for row in Pairs("pairs", labels="voc").rows()]
        ['a']
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    further: Mapping[str, str] = {}
    has_masks: ClassVar[bool] = True
    on_missing: Missing = "skip"
    on_error: Errors = "raise"
    _counted: Iterable[Any] | None = None  # entries that were counted and not read yet
    _pool: Executor | None = None  # that makes cells of files, while `rows` is read

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
                f"nothing in {self.path} says what its mask indices mean: give labels='voc' or labels='coco', "
                f"or a text file with the name of a class in each line{own}; or give the folder that `sds-hf import` "
                "made of it"
            )
        self.values = mask_values(space) if isinstance(space, str) else MaskValues(space)
        self.labels = self.values.labels
        self.names_file = space if isinstance(space, str) and is_names_file(space) else None
        self._files_by_id: dict[str, str] = {}  # texts need a fifth of the memory of paths

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

    def count(self) -> int | None:
        """How many entries there are to be read; None if that shows only as they are."""
        self._counted = self.entries()
        return len(self._counted) if isinstance(self._counted, Sized) else None

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
        self.findings, self._files_by_id, problem, broken = Findings(), {}, "", 0
        for row in self._rows_and_errors():
            if not isinstance(row, Exception):
                self.findings.add(row["classes"])
                yield row
                continue
            if self.on_error == "raise" or isinstance(row, MissingFileError):
                raise with_way_out(row)
            problem = problem or str(row)
            broken += 1
            logger.warning("skipped: %s", row)
        self.counts = Counter({"broken": broken}) + self.counts
        if not self.findings.rows:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.counts.items()) or "none is listed"
            first = f"; looked for {next(iter(self.findings.missing.values()))}" if self.findings.missing else ""
            raise UnknownLayoutError(f"{self.path}: no row could be read: {reasons}{problem and f'; {problem}'}{first}")

    def _rows_and_errors(self) -> Iterator[Row | Exception]:
        """All rows, and in place of one that cannot be read its error; the next ones are on their way meanwhile."""
        ahead: deque[Row | Exception] = deque()
        entries, self._counted = self.entries() if self._counted is None else self._counted, None
        with ThreadPoolExecutor(THREADS) as pool:
            self._pool = pool
            try:
                for entry in entries:
                    try:
                        row = self.read(entry)
                    except (ValueError, OSError) as error:
                        ahead.append(error)
                    else:
                        ahead.extend([row] if row is not None else ())
                    if len(ahead) > AHEAD:
                        yield _whole(ahead.popleft())
                while ahead:
                    yield _whole(ahead.popleft())
            finally:
                del self._pool
                pool.shutdown(wait=False, cancel_futures=True)

    def _cell(self, make: Callable[[], Any]) -> Any:
        """A cell, or where rows are read one after another what it will be."""
        return make() if self._pool is None else self._pool.submit(make)

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
                f"{where}: {reason}; with on_missing='skip' such rows are left out and counted{looked}"
            )
        self.counts[reason] += 1
        self.findings.missing.setdefault(reason, str(expected or where))
        return None

    def notes(self) -> list[str]:
        """What may be wrong with the rows, in one line each; complete when all were read."""
        return self.findings.notes(self.labels, self.names_file, [self.path / name for name in NAMES_FILES])

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
        self._files_by_id[name] = str(image)
        arrays = [pixels for pixels in (mask, *extra_cells.values()) if isinstance(pixels, np.ndarray)]
        sizes = [pixels.shape for pixels in arrays]
        row: Row = {"id": name, "image": self._cell(partial(_image, self.file(image), image, sizes))}
        if self.has_masks:
            row["mask"] = None if mask is None else self._cell(partial(_picture, mask, name))
        cells = {
            key: self._cell(partial(_picture, cell, name)) if isinstance(cell, np.ndarray) else cell
            for key, cell in extra_cells.items()
        }
        present = values_of(mask) if mask is not None else []
        self.findings.values.update(present)
        classes = [value for value in present if value in self.labels.class_ids]
        return {**row, "caption": caption, "classes": classes, "class_prompt": prompt, **cells}


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
        UnknownLayoutError: if there is none, or no such option, which names those that exist.
        PathError: if a link leads out of the folder, and where to is not allowed.
    """
    for option, value, possible in (("missing", on_missing, Missing), ("error", on_error, Errors)):
        if value not in (None, *get_args(possible)):
            raise UnknownLayoutError(f"on_{option} must be {' or '.join(get_args(possible))}, not {value!r}")
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
        is_inside = any(reader.recognises(path.absolute().parent) for reader in READERS.values())
        hint = f"; the folder above it, {path.parent}, has one: give that" if is_inside else ""
        raise UnknownLayoutError(
            f"{path} has no layout that is known; the readers are {', '.join(sorted(READERS))}: `sds-hf readers` says "
            f"which files each expects{hint}"
        )
    if len(fitting) > 1:
        names = " or ".join(sorted(reader.name for reader in fitting))
        raise UnknownLayoutError(f"{path} could be of several layouts: give {names} in place of auto")
    return fitting[0]


def _whole(row: Row | Exception) -> Row | Exception:
    """A row with the cells that were on their way; the error of the first that could not be made."""
    if isinstance(row, Exception):
        return row
    try:
        return {name: cell.result() if isinstance(cell, Future) else cell for name, cell in row.items()}
    except (ValueError, OSError) as error:
        return error


def _image(file: Path, image: Path, sizes: Sequence[tuple[int, ...]]) -> dict[str, Any]:
    """An image file as it is, checked.

    Args:
        file: where it really lies.
        image: its name, for errors.
        sizes: height and width of its masks.

    Raises:
        ValueError: if it is no image, or of another size; names it.
    """
    data = read_file(file, image)
    size = check_whole(data, image)
    for other in sizes:
        if other != size:
            check_sizes(data, other, image)
    return {"bytes": data, "path": image.name}


def _picture(pixels: np.ndarray, name: str) -> dict[str, Any]:
    return {"bytes": encode_mask(pixels), "path": f"{name}.png"}
