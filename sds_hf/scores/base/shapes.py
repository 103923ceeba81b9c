"""The objects of rows and their outlines, found once for all the scores that use them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sds_hf.data.instances import NO_INSTANCE, Instance, Part
from sds_hf.scores.base.rows import Rows
from sds_hf.scores.functional.outlines import Outline, component_outlines, largest_outline, polygon_outline

InstanceKind = Literal["components", "class", "column"]


@dataclass(frozen=True)
class Shapes:
    """The objects of a row.

    Attributes:
        class_ids: (n,) int64.
        areas: (n,) float64, see `largest_outline`.
        perimeters: (n,) float64.
    """

    class_ids: np.ndarray
    areas: np.ndarray
    perimeters: np.ndarray


def shapes(rows: Rows, kind: InstanceKind, min_area: int = 1) -> list[Shapes]:
    """The objects of every row.

    Args:
        rows: with what the kind needs: masks, or the column `instances`.
        kind: what an object is: `components`, a connected part of a class in the mask; `class`, all of a class;
            `column`, what the dataset gives, and where that is a picture of ids, one id in one class of the mask.
        min_area: components of fewer pixels are none.
    """
    return rows.share(
        ("shapes", kind, min_area), lambda: [_shapes(rows, row, kind, min_area) for row in range(len(rows))]
    )


def _shapes(rows: Rows, row: int, kind: InstanceKind, min_area: int) -> Shapes:
    if kind == "column":
        cell = rows.cells["instances"][row]
        objects = _of_ids(rows, row, cell) if isinstance(cell, np.ndarray) else [_of_instance(one) for one in cell]
    else:
        objects = []
        for class_id in rows.classes_of(row):
            mask = rows.masks[row] == class_id
            outlines = component_outlines(mask, min_area) if kind == "components" else [largest_outline(mask)]
            objects += [(class_id, outline) for outline in outlines]
    numbers = np.array([(class_id, *outline) for class_id, outline in objects], np.float64).reshape(-1, 3)
    return Shapes(numbers[:, 0].astype(np.int64), numbers[:, 1], numbers[:, 2])


def _of_instance(instance: Instance) -> tuple[int, Outline]:
    if instance.part is not None:
        return instance.class_id, largest_outline(instance.part.mask)
    return instance.class_id, polygon_outline(instance.polygons, instance.size)


def parts_of_ids(ids: np.ndarray) -> Iterator[tuple[int, Part]]:
    """The pixels of each id of a (H, W) picture of ids but 0, in the order of the ids, each in the time of its box."""
    from scipy import ndimage

    for number, window in enumerate(ndimage.find_objects(ids.astype(np.int32)), 1):
        if window is not None:
            yield number, Part(ids[window] == number, window[0].start, window[1].start)


def _of_ids(rows: Rows, row: int, ids: np.ndarray) -> list[tuple[int, Outline]]:
    mask, objects = rows.masks[row], []
    for number, part in parts_of_ids(ids):
        if number in NO_INSTANCE:
            continue
        class_ids = mask[part.window]
        for class_id in np.intersect1d(class_ids[part.mask], rows.labels.class_ids):
            objects.append((int(class_id), largest_outline(part.mask & (class_ids == class_id))))
    return objects
