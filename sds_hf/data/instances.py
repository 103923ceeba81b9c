"""Objects that a row gives itself: instances as polygons, run lengths as COCO has them, a picture of ids, or boxes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

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
        polygons: (n, 2) float64 each, x and y of the corners in pixels; empty if there is a mask.
        mask: (H, W) bool, if it is given as run lengths.
        size: height and width of the picture, if they are given.
    """

    class_id: int
    polygons: tuple[np.ndarray, ...] = ()
    mask: np.ndarray | None = None
    size: tuple[int, int] | None = None


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
    return [_instance(entry, labels) for entry in entries(cell) if not entry.get("iscrowd")]


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
    runs = np.asarray(_numbers(counts) if isinstance(counts, (str, bytes)) else counts, np.int64)
    height, width = size
    if (runs < 0).any() or runs.sum() != height * width:
        raise InstanceError(f"run lengths of {runs.sum()} pixels in a picture of {width}x{height}")
    filled = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    mask: np.ndarray = filled.reshape(width, height).T
    return mask


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
            return Instance(class_id, mask=decode_rle(entry["counts"], size or ()))
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
    height, width = mask.shape
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate([[0] if flat.size == 0 or not flat[0] else [0, 0], edges, [flat.size]])).tolist()
    changes = [run - runs[index - 2] if index > 2 else run for index, run in enumerate(runs)]
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
