"""Objects that a row gives itself: instances as polygons, run lengths as COCO has them, a picture of ids, or boxes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from sds_hf.data.images import BadImageError, decode_mask
from sds_hf.data.labels import LabelSpace
from sds_hf.errors import short

NO_INSTANCE = (0, 255)  # in a picture of ids: background, and the border that PASCAL VOC ignores
HIGHEST_ID = 65535


class InstanceError(ValueError):
    """Instances or boxes that cannot be used; the message says why."""


@dataclass(frozen=True)
class Instance:
    """One object.

    Attributes:
        class_id: index in the label space.
        polygons: (n, 2) float64 each, x and y of the corners in pixels; empty if there is a part.
        part: its pixels, if it is given as run lengths.
        size: height and width of the picture, if they are given.
    """

    class_id: int
    polygons: tuple[np.ndarray, ...] = ()
    part: "Part | None" = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Part:
    """The pixels of an object, without the rest of the picture: thousands of them fit into memory.

    Attributes:
        mask: (h, w) bool, of its bounding box; one pixel, false, if it has none.
        top: the first row of the box.
        left: the first column of the box.
    """

    mask: np.ndarray
    top: int
    left: int

    @property
    def window(self) -> tuple[slice, slice]:
        """The box as slices of the picture."""
        height, width = self.mask.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    @property
    def area(self) -> int:
        """Pixels."""
        return int(self.mask.sum())

    @property
    def box(self) -> list[int]:
        """Left, top, width and height in pixels."""
        height, width = self.mask.shape
        return [self.left, self.top, width, height] if self.mask.any() else [0, 0, 0, 0]

    @classmethod
    def of(cls, mask: np.ndarray, top: int = 0, left: int = 0) -> "Part":
        """The part of a (h, w) bool mask whose first pixel is at that row and column of the picture."""
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            return cls(np.zeros((1, 1), bool), 0, 0)
        inner = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return cls(inner, top + int(rows[0]), left + int(columns[0]))


def flag(value: Any) -> bool:
    """Whether something is set: 1, true and their texts; not 0, false, their texts and what is empty.

    Raises:
        InstanceError: if it is neither.
    """
    text = str(value).strip().lower()
    if text not in ("0", "0.0", "false", "none", "", "no", "1", "1.0", "true", "yes"):
        raise InstanceError(f"{short(value)} is neither 0 nor 1")
    return text in ("1", "1.0", "true", "yes")


def is_crowd(entry: Mapping[str, Any]) -> bool:
    """Whether an annotation is of a group of objects that are not told apart."""
    return flag(entry.get("iscrowd"))


def given_instances(cell: Any, labels: LabelSpace) -> list[Instance] | np.ndarray:
    """The instances of a row.

    Args:
        cell: a list of `{"class", "polygons" or "counts", "size", "iscrowd"}`: class index, polygons as flat lists
            x, y, x, y, ..., run lengths as COCO has them (a list, or its text), [height, width] (needed for run
            lengths; polygons are cut off there); or a picture of ids, 0 and 255 being none, as PASCAL VOC has it.
        labels: what class indices mean.

    Returns:
        The instances without crowds, or (H, W) uint16 ids.

    Raises:
        InstanceError: if it is none of these.
    """
    if cell is None:
        raise InstanceError("the cell is empty; a picture without objects has an empty list")
    if isinstance(cell, (str, bytes, np.ndarray)) or hasattr(cell, "getpixel") or _is_picture(cell):
        try:
            return decode_mask(cell, "ids", HIGHEST_ID)
        except BadImageError as error:
            raise InstanceError(str(error)) from error
    return [_instance(entry, labels) for entry in entries(cell) if not is_crowd(entry)]


def instance_map(objects: Sequence[Instance] | np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A picture of ids, (H, W) int32: 0 for no object; of objects that overlap the last one is on top.

    Args:
        objects: what `given_instances` returns; those of a list are numbered from 1.
        shape: height and width.

    Raises:
        InstanceError: if run lengths are of a picture of another size.
    """
    if isinstance(objects, np.ndarray):
        return objects.astype(np.int32)
    segments = np.zeros(shape, np.int32)
    for number, instance in enumerate(objects, 1):
        if instance.part is not None:
            if instance.size != shape:
                raise InstanceError(f"an object is of a picture of {instance.size}, the mask of {shape}")
            segments[instance.part.window][instance.part.mask] = number
            continue
        canvas = Image.new("1", (shape[1], shape[0]))
        for polygon in instance.polygons:
            if len(polygon) > 1:
                ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in polygon], fill=1)
        segments[np.asarray(canvas)] = number
    return segments


def given_boxes(cell: Any, labels: LabelSpace) -> list[int]:
    """Class indices of the boxes of a row, one a box.

    Args:
        cell: a list of `{"class", ...}`. As in Open Images, boxes with `is_depiction` 1 or `confidence` 0 do not count,
            and one with `is_group_of` 1 counts once.
        labels: what class indices mean.

    Raises:
        InstanceError: if it is no such list.
    """
    listed = entries([] if cell is None else cell)
    counted = (entry for entry in listed if entry.get("is_depiction") != 1 and entry.get("confidence") != 0)
    return [_class_of(entry, labels) for entry in counted]


def decode_rle(counts: str | bytes | Sequence[int], size: Sequence[int]) -> np.ndarray:
    """The mask of COCO's run lengths: (H, W) bool.

    Runs go down the columns, the first one is of zeros. As text, each number is a sequence of 5-bit groups, lowest
    first, in characters from "0" on, whose next bit says that more follow; from the third on they are differences to
    the number two before.

    Raises:
        InstanceError: if the runs do not fill the picture.
    """
    runs = _runs(counts, size)
    filled = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    mask: np.ndarray = filled.reshape(size[1], size[0]).T
    return mask


def part_of_rle(counts: str | bytes | Sequence[int], size: Sequence[int]) -> Part:
    """The pixels of COCO's run lengths, in the time that these pixels take, however large the picture is.

    Raises:
        InstanceError: if the runs do not fill the picture.
    """
    runs, height = _runs(counts, size), int(size[0])
    ends = np.cumsum(runs)[1::2]
    lengths = runs[1::2]
    ends, lengths = ends[lengths > 0], lengths[lengths > 0]
    if not len(lengths):
        return Part(np.zeros((1, 1), bool), 0, 0)
    before = np.cumsum(lengths) - lengths
    pixels = np.arange(lengths.sum()) - np.repeat(before, lengths) + np.repeat(ends - lengths, lengths)
    columns, rows = np.divmod(pixels, height)
    top, left = int(rows.min()), int(columns.min())
    mask = np.zeros((int(rows.max()) - top + 1, int(columns.max()) - left + 1), bool)
    mask[rows - top, columns - left] = True
    return Part(mask, top, left)


def _runs(counts: str | bytes | Sequence[int], size: Sequence[int]) -> np.ndarray:
    """Run lengths as numbers, (n,) int64.

    Raises:
        InstanceError: if they do not fill the picture.
    """
    runs = np.asarray(_numbers(counts) if isinstance(counts, (str, bytes)) else counts, np.int64)
    height, width = size
    if (runs < 0).any() or runs.sum() != height * width:
        raise InstanceError(f"run lengths of {runs.sum()} pixels in a picture of {width}x{height}")
    return runs


def _numbers(text: str | bytes) -> list[int]:
    numbers: list[int] = []
    value, shift = 0, 0
    for code in text if isinstance(text, bytes) else text.encode():
        group = code - 48
        value |= (group & 0x1F) << shift
        shift += 5
        if group & 0x20:
            continue
        if group & 0x10:  # the sign
            value -= 1 << shift
        numbers.append(value + numbers[-2] if len(numbers) > 2 else value)
        value, shift = 0, 0
    return numbers


def entries(cell: Any) -> list[Mapping[str, Any]]:
    """The entries of a list of structs; `datasets` may give a struct of lists instead."""
    if isinstance(cell, Mapping):
        cell = [dict(zip(cell, values, strict=True)) for values in zip(*cell.values(), strict=True)]
    if not isinstance(cell, (list, tuple)) or not all(isinstance(entry, Mapping) for entry in cell):
        raise InstanceError(f'must be a list of {{"class": ..., ...}}, not {short(cell)}')
    return list(cell)


def _instance(entry: Mapping[str, Any], labels: LabelSpace) -> Instance:
    class_id, size = _class_of(entry, labels), entry.get("size")
    try:
        if entry.get("counts") is not None:
            part = part_of_rle(entry["counts"], size or ())
            return Instance(class_id, part=part, size=(int(entry["size"][0]), int(entry["size"][1])))
        polygons = tuple(np.asarray(flat, np.float64).reshape(-1, 2) for flat in entry.get("polygons") or ())
    except InstanceError:
        raise
    except (ValueError, TypeError) as error:
        raise InstanceError(f"{short(dict(entry))} has neither polygons nor run lengths with a size") from error
    if not polygons or not all(len(polygon) and math.isfinite(polygon.sum()) for polygon in polygons):
        raise InstanceError(f"{short(dict(entry))} has neither polygons nor run lengths with a size")
    return Instance(class_id, polygons, size=(int(size[0]), int(size[1])) if size else None)


def _class_of(entry: Mapping[str, Any], labels: LabelSpace) -> int:
    class_id = entry.get("class")
    if not isinstance(class_id, (int, np.integer)) or class_id not in labels.class_ids:
        ids = labels.class_ids
        raise InstanceError(f"{class_id!r} is no class of {labels.name!r}, whose ids are {ids[0]} to {ids[-1]}")
    return int(class_id)


def _is_picture(cell: Any) -> bool:
    return isinstance(cell, Mapping) and "bytes" in cell and "path" in cell


def encode_rle(mask: np.ndarray) -> dict[str, Any]:
    """The run lengths of a (H, W) bool mask as COCO's JSON has them: `{"size": [H, W], "counts": text}`.

    Runs go down the columns, the first one is of zeros. `decode_rle` tells how they are written; it is the inverse.
    """
    return rle_of_part(Part(mask, 0, 0), mask.shape)


def rle_of_part(part: Part, size: Sequence[int]) -> dict[str, Any]:
    """The run lengths of a part of a picture of that height and width, as `encode_rle` writes them."""
    height, width = (int(side) for side in size)
    columns, rows = np.nonzero(part.mask.T)
    pixels = (columns + part.left) * height + rows + part.top  # down the columns
    starts = pixels[np.diff(pixels, prepend=-2) > 1]
    ends = pixels[np.diff(pixels, append=height * width + 1) > 1] + 1
    edges = np.stack([starts, ends], 1).ravel()
    runs = np.diff(np.concatenate([[0], edges, [height * width] if not len(ends) or ends[-1] < height * width else []]))
    numbers = runs.astype(int).tolist()
    changes = [run - numbers[index - 2] if index > 2 else run for index, run in enumerate(numbers)]
    return {"size": [height, width], "counts": "".join(map(_run_text, changes))}


def _run_text(value: int) -> str:
    """In groups of 5 bits, lowest first: the sixth bit says that more follow, the fifth of the last one is its sign."""
    text = ""
    while True:
        group, value = value & 0x1F, value >> 5
        last = value == (-1 if group & 0x10 else 0)
        text += chr(48 + (group if last else group | 0x20))
        if last:
            return text
