"""The rows of a batch as scores see them: decoded once, checked, with the passes of an encoder shared."""

import difflib
import os
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeVar

import numpy as np

from sds_hf.clip.stages import stage
from sds_hf.data.access.paths import Unreadable
from sds_hf.data.images import BadImageError, decode_image, decode_mask, pixel_count, values_of
from sds_hf.data.instances import InstanceError, given_boxes, given_instances
from sds_hf.data.labels import LabelSpace
from sds_hf.errors import public_name, short

T = TypeVar("T")
ClassList = Literal["all", "inner"]
DECODE_THREADS = min(8, os.cpu_count() or 1)
BY_ROW = ("pixels", "images", "patches", "captions")  # begin the keys of arrays whose first axis are the rows
PART_BYTES = 512 << 20  # of pixels that are decoded together; with those read ahead, four times as much is in memory


class BadRowError(ValueError):
    """A row that cannot be scored; the message says why."""


class Rows:
    """Rows that could be read.

    Attributes:
        labels: what the indices of the masks mean.
        images: (H, W, 3) uint8 each, empty if no score needs them.
        masks: (H, W) uint8 each, empty if no score needs them or there are none.
        present: (rows, K) bool, foreground classes each row is annotated with, in the order of `labels.class_ids`.
        captions: the text that goes with each image, None where there is none; empty if no score needs them.
        cells: further columns that scores need, by name: `instances` and `boxes` checked, masks as (H, W) uint8 of the
            size of `masks`, None where there is none, others as they are stored.
        positions: of these rows among the cells they were read from.
        errors: what is wrong with the others, by their position.
    """

    def __init__(
        self,
        labels: LabelSpace,
        images: Sequence[np.ndarray],
        masks: Sequence[np.ndarray],
        present: np.ndarray,
        captions: Sequence[str | None] = (),
        cells: Mapping[str, Sequence[Any]] | None = None,
        positions: Sequence[int] | None = None,
        errors: Mapping[int, str] | None = None,
    ) -> None:
        self.labels, self.images, self.masks, self.present = labels, images, masks, present
        self.captions, self.cells = captions, cells or {}
        self.positions, self.errors = range(len(present)) if positions is None else positions, errors or {}
        self._shared: dict[Hashable, Any] = {}
        self._whole: tuple[Rows, np.ndarray] | None = None  # what these were taken of

    def __len__(self) -> int:
        return len(self.present)

    def share(self, key: Hashable, compute: Callable[[], T]) -> T:
        """The result of `compute`, made once for these rows under that key."""
        if key not in self._shared:
            taken = self._taken(key)
            self._shared[key] = compute() if taken is None else taken
        value: T = self._shared[key]
        return value

    def take(self, indices: np.ndarray) -> "Rows":
        """Some of these rows; arrays that were shared under a key that begins with one of `BY_ROW` are theirs too."""
        rows = self._picked(indices.tolist())
        rows._whole = self, indices
        return rows

    def _taken(self, key: Hashable) -> Any:
        """What was shared with the rows that these were taken of, as far as it is theirs; None if nothing was."""
        if self._whole is None or not (isinstance(key, tuple) and key[0] in BY_ROW):
            return None
        whole, indices = self._whole
        values = whole._shared[key] if key in whole._shared else whole._taken(key)
        return None if values is None else values[indices]

    def part(self, start: int, stop: int) -> "Rows":
        """Rows `start` to `stop`, without the errors of others."""
        return self._picked(range(start, stop))

    def _picked(self, indices: Sequence[int]) -> "Rows":
        def of(values: Sequence[Any]) -> Sequence[Any]:
            return [values[index] for index in indices] if len(values) else ()

        cells = {name: of(column) for name, column in self.cells.items()}
        images, masks, captions = of(self.images), of(self.masks), of(self.captions)
        return Rows(self.labels, images, masks, self.present[list(indices)], captions, cells, of(self.positions))

    def asked(self, class_list: ClassList = "all") -> np.ndarray:
        """Classes that CLIP is asked about, (rows, K) bool.

        `all` are those present. `inner` leaves out the lowest and the highest index of each mask, whatever they are, as
        the authors' script for VOC does: that is right only where these are the background and 255.
        """
        if class_list == "all":
            return self.present
        return self.share("inner", lambda: np.array([_present(np.unique(m)[1:-1], self.labels) for m in self.masks]))

    def classes_of(self, row: int) -> list[int]:
        """Ids of the foreground classes of a row, ascending."""
        return [self.labels.class_ids[i] for i in np.flatnonzero(self.present[row])]


def read_rows(
    cells: Mapping[str, Sequence[Any]], needs: set[str], labels: LabelSpace, mask_columns: Collection[str] = ()
) -> Rows:
    """Decode and check a batch, in threads.

    Args:
        cells: columns by name; those of images hold what `decode_image` takes. `classes` (lists of ids) stands in for
            the mask where only the classes are needed.
        needs: which columns the scores read.
        labels: the label space of masks and classes.
        mask_columns: those of `needs` that hold further masks.

    Returns:
        The rows that could be read, with the errors of those that could not.

    Raises:
        ValueError: if a needed column is missing.
    """
    with_mask = "mask" in cells
    if missing := [name for name in needs if name not in cells and not (name == "classes" and with_mask)]:
        lacking = f"the scores need the columns {sorted(needs)}; {missing} missing among {sorted(cells)}"
        raise ValueError(lacking + _meant(missing, cells))
    count = len(next(iter(cells.values())))
    value_of = labels.value_of_color
    other_columns = sorted(needs - {"image", "mask", "classes", "caption"})

    def read(position: int) -> tuple[Any, ...] | str:
        try:
            image = (
                decode_image(cells["image"][position], _name(cells, "image", position)) if "image" in needs else None
            )
            caption = _caption(cells["caption"][position]) if "caption" in needs else None
            others = {
                name: _further_mask(cells[name][position], _name(cells, name, position))
                if name in mask_columns
                else _checked_cell(name, cells[name][position], labels)
                for name in other_columns
            }
            ids = instances if isinstance(instances := others.get("instances"), np.ndarray) else None
            if ids is not None and not with_mask:
                raise BadRowError("instances: a picture of ids needs the column `mask`, which says the classes")
            if not with_mask:
                return image, None, _present(_classes(cells, position), labels), caption, *others.values()
            name = _name(cells, "mask", position)
            mask = decode_mask(cells["mask"][position], name, value_of=value_of)
            if image is not None and image.shape[:2] != mask.shape:
                raise BadRowError(f"{name}: {_size(mask)} pixels, but the image has {_size(image)}")
            if ids is not None and ids.shape != mask.shape:
                raise BadRowError(f"instances: {_size(ids)} pixels, but the mask has {_size(mask)}")
            for column in mask_columns:
                _check_other_mask(others[column], mask, labels, _name(cells, column, position))
            return image, mask, _present(values_of(mask), labels, name), caption, *others.values()
        except (BadImageError, BadRowError) as error:
            return str(error)
        except Exception as error:  # whatever one row holds, the others are scored
            return f"{type(error).__name__}: {short(str(error))}"

    # Only pictures are decoded without Python's lock; threads would hold up everything else.
    threads = min(DECODE_THREADS, max(1, count)) if with_mask or "image" in needs else 1
    with stage("decoding"), ThreadPoolExecutor(threads) as pool:
        results = list(map(read, range(count))) if threads == 1 else list(pool.map(read, range(count)))
    errors = {position: result for position, result in enumerate(results) if isinstance(result, str)}
    good = [result for result in results if not isinstance(result, str)]
    images, masks, present, captions, *others = zip(*good, strict=True) if good else [()] * (4 + len(other_columns))
    return Rows(
        labels,
        images if "image" in needs else (),
        masks if with_mask else (),
        np.array(present, bool).reshape(len(good), len(labels.class_ids)),
        captions if "caption" in needs else (),
        dict(zip(other_columns, others, strict=True)),
        [position for position in range(count) if position not in errors],
        errors,
    )


def _present(values: Any, labels: LabelSpace, name: str = "classes") -> np.ndarray:
    """Which foreground classes occur among the indices: (K,) bool."""
    if unknown := labels.unknown(values):
        raise BadRowError(
            f"{name}: {unknown} stand for no class of the label space {labels.name!r} "
            f"({labels.class_ids[0]} to {labels.class_ids[-1]}, 255 is ignored)"
        )
    present = {int(value) for value in values}
    return np.array([class_id in present for class_id in labels.class_ids])


def _classes(cells: Mapping[str, Sequence[Any]], position: int) -> Sequence[int]:
    """The class ids that a row gives.

    Raises:
        BadRowError: if it gives something else, such as names.
    """
    cell = cells["classes"][position] if "classes" in cells else None
    if isinstance(cell, Unreadable):
        raise BadRowError(f"classes: {cell.reason}")
    values = [] if cell is None else np.asarray(cell).reshape(-1).tolist()
    if not all(isinstance(value, int) for value in values):
        raise BadRowError(f"classes: {short(cell)} is no list of class ids; cast it to Sequence(ClassLabel(names=...))")
    return values


def _further_mask(cell: Any, name: str) -> np.ndarray | None:
    """The mask of a cell besides `mask`, of another model, a teacher or a person; None where the row has none."""
    if cell is None or (isinstance(cell, dict) and cell.get("bytes") is None and cell.get("path") is None):
        return None
    if isinstance(cell, str):
        raise BadRowError(f"{name}: a text, not a mask; if it names a file, cast the column to datasets.Image()")
    return decode_mask(cell, name)


def _check_other_mask(other: np.ndarray | None, mask: np.ndarray, labels: LabelSpace, name: str) -> None:
    """Refuse a further mask of another size, or with other indices than the label space has."""
    if other is None:
        return
    if other.shape != mask.shape:
        raise BadRowError(f"{name}: {_size(other)} pixels, but the mask has {_size(mask)}")
    _present(values_of(other), labels, name)


def _meant(missing: Sequence[str], cells: Collection[str]) -> str:
    """What columns that are missing may have been meant to be."""
    close = {name: difflib.get_close_matches(name, cells, 1) for name in missing}
    return "".join(f"; instead of {name!r}, did you mean {names[0]!r}?" for name, names in close.items() if names)


def _caption(cell: Any, name: str = "caption") -> str | None:
    """The text of a cell; None if it says nothing."""
    if isinstance(cell, Unreadable):
        raise BadRowError(f"{name}: {cell.reason}")
    if cell is not None and not isinstance(cell, str):
        raise BadRowError(f"{name}: {short(cell)} is no text")
    return cell if cell and cell.strip() else None


def _checked_cell(name: str, cell: Any, labels: LabelSpace) -> Any:
    """The cell of a further column, checked where its form is known."""
    if isinstance(cell, Unreadable):
        raise BadRowError(f"{name}: {cell.reason}")
    if name == "class_prompt":
        return _caption(cell, name)
    check = {"instances": given_instances, "boxes": given_boxes}.get(name)
    try:
        return check(cell, labels) if check else cell
    except InstanceError as error:
        raise BadRowError(f"{name}: {error}") from error


def _name(cells: Mapping[str, Sequence[Any]], column: str, position: int) -> str:
    """What to call a cell in an error: its column, and the row's id or the file's name if it has one."""
    cell = cells[column][position]
    named = cell.path if isinstance(cell, Unreadable) else cell
    path = named.get("path") if isinstance(named, dict) else named if isinstance(named, str) else None
    label = os.path.basename(public_name(path)) if path else cells["id"][position] if "id" in cells else None
    return f"{column} {label}" if label is not None else column


def _size(pixels: np.ndarray) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"


def read_parts(cells: Mapping[str, Sequence[Any]]) -> Iterator[range]:
    """Rows that are decoded together: as many as fit into `PART_BYTES`, or one; a single empty part of no rows."""
    pictures = [(cells[name], channels) for name, channels in (("image", 3), ("mask", 1)) if name in cells]
    count = len(next(iter(cells.values())))
    start, total = 0, 0
    for position in range(count if count > 1 else 0):
        size = sum(channels * pixel_count(column[position]) for column, channels in pictures)
        if total and total + size > PART_BYTES:
            yield range(start, position)
            start, total = position, 0
        total += size
    yield range(start, count)


def cells_of(cells: Mapping[str, Sequence[Any]], rows: range) -> dict[str, Sequence[Any]]:
    """The cells of some rows."""
    return {name: column[rows.start : rows.stop] for name, column in cells.items()}


Columns = dict[str, list[Any]]

_fitting: dict[Hashable, int] = {}  # rows at a time that fitted where more did not


def in_parts(
    compute: Callable[[Rows], Columns], rows: Rows, names: Collection[str], key: Hashable
) -> tuple[Columns, dict[int, str]]:
    """Columns of rows, which are halved while they do not fit into the memory; what fitted is remembered.

    Args:
        compute: makes the columns.
        rows: at least one.
        names: of the columns.
        key: stands for what is computed.

    Returns:
        The columns, null for a row that does not fit alone, and for such rows what is wrong.
    """
    columns: Columns = {name: [] for name in names}
    errors, fitted, most = dict[int, str](), list[int](), _fitting.get(key, len(rows))
    waiting = [(start, min(start + most, len(rows))) for start in reversed(range(0, len(rows), most))]
    while waiting:
        start, stop = waiting.pop()
        part_columns = _if_it_fits(compute, rows.part(start, stop) if stop - start < len(rows) else rows)
        if part_columns is None and stop - start > 1:
            middle = start + (stop - start) // 2
            waiting += [(middle, stop), (start, middle)]
            continue
        if part_columns is None:
            size = _size(rows.images[start]) if len(rows.images) else "its"
            errors[start] = f"image: {size} pixels do not fit into the memory that is free"
        else:
            fitted.append(stop - start)
        for name, column in columns.items():
            column += [None] if part_columns is None else part_columns[name]
    if fitted and max(fitted) < min(most, len(rows)):  # one large image says nothing of the others
        _fitting[key] = max(fitted)
    return columns, errors


def _if_it_fits(compute: Callable[[Rows], Columns], rows: Rows) -> Columns | None:
    from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

    try:
        return compute(rows)
    except (RuntimeError, MemoryError) as error:
        if not (isinstance(error, MemoryError) or should_reduce_batch_size(error)):
            raise
    clear_device_cache(garbage_collection=True)
    return None
