"""The objects of a row as disjoint masks: classes, connected parts, or the instances a dataset gives."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from sds_hf.data.instances import (
    NO_INSTANCE,
    Instance,
    InstanceError,
    Part,
    entries,
    given_instances,
    is_crowd,
    part_of_rle,
)
from sds_hf.data.labels import LabelSpace
from sds_hf.errors import extra_module
from sds_hf.exports.samples import ExportError, Sample
from sds_hf.scores.base.shapes import InstanceKind, parts_of_ids

TOUCHING = np.ones((3, 3))  # pixels that touch at corners are connected


@dataclass(frozen=True)
class Segment:
    """One object.

    Attributes:
        class_id: index in the label space.
        part: its pixels.
        crowd: whether it is a group of objects that are not told apart.
        polygons: flat lists x, y, x, y, ... where the dataset has them, else empty.
    """

    class_id: int
    part: Part
    crowd: bool = False
    polygons: tuple[list[float], ...] = ()


def kind_of_objects(requested_kind: str | None, columns: Collection[str], without: InstanceKind) -> InstanceKind:
    """What an object is to be.

    Args:
        requested_kind: what was asked for; if None, the column `instances` decides.
        columns: of the dataset.
        without: what it is if there is no such column.

    Raises:
        ExportError: if there is no such kind, or what it needs is missing.
    """
    kind = requested_kind or ("column" if "instances" in columns else without)
    if kind not in get_args(InstanceKind):
        raise ExportError(f"instances is one of {', '.join(get_args(InstanceKind))}, not {kind!r}")
    needed = "instances" if kind == "column" else "mask"
    if needed not in columns:
        raise ExportError(f"instances={kind!r} needs the column {needed!r}; this dataset has {list(columns)}")
    return kind  # type: ignore[return-value]


def objects(sample: Sample, labels: LabelSpace, kind: InstanceKind) -> list[Segment]:
    """The objects of a row.

    Args:
        sample: the row, with what the kind needs: the mask, or the cell `instances`.
        labels: what indices mean; only foreground classes have objects.
        kind: what an object is: `components`, a connected part of a class in the mask; `class`, all of a class;
            `column`, what the dataset gives, and where that is a picture of ids, one id in one class of the mask.

    Raises:
        ExportError: if the cell holds no instances; names the row.
    """
    if kind != "column":
        return list(_of_mask(sample.indices, labels, kind))
    try:
        return list(_of_column(sample, labels))
    except InstanceError as error:
        raise ExportError(f"row {sample.row_id!r}: instances: {error}") from error


def _of_mask(mask: np.ndarray, labels: LabelSpace, kind: InstanceKind) -> Iterator[Segment]:
    from scipy import ndimage

    for class_id in np.intersect1d(mask, labels.class_ids):
        if kind == "class":
            yield Segment(int(class_id), Part.of(mask == class_id))
            continue
        numbers, _ = ndimage.label(mask == class_id, TOUCHING)
        yield from (Segment(int(class_id), part) for _, part in parts_of_ids(numbers))


def _of_column(sample: Sample, labels: LabelSpace) -> Iterator[Segment]:
    cell = sample.cells["instances"]
    if cell is None or "bytes" in cell:
        ids = given_instances(cell, labels)
        assert isinstance(ids, np.ndarray)  # a picture; an empty cell is an error
        yield from _of_ids(ids, sample.indices, labels)
        return
    for entry in entries(cell):
        (instance,) = given_instances([{**entry, "iscrowd": 0}], labels)
        assert isinstance(instance, Instance)
        yield Segment(instance.class_id, _drawn(instance, sample.size), is_crowd(entry), _polygons(entry))


def _of_ids(ids: np.ndarray, mask: np.ndarray, labels: LabelSpace) -> Iterator[Segment]:
    if ids.shape != mask.shape:
        raise InstanceError(f"{ids.shape[1]}x{ids.shape[0]} pixels, but the mask has {mask.shape[1]}x{mask.shape[0]}")
    for number, part in parts_of_ids(ids):
        if number in NO_INSTANCE:
            continue
        class_ids = mask[part.window]
        for class_id in np.intersect1d(class_ids[part.mask], labels.class_ids):
            yield Segment(int(class_id), Part.of(part.mask & (class_ids == class_id), part.top, part.left))


def _drawn(instance: Instance, size: tuple[int, int]) -> Part:
    """The pixels of an instance by COCO's rule."""
    if instance.part is None:
        tools = extra_module("pycocotools.mask")
        runs = tools.merge(tools.frPyObjects([polygon.ravel().tolist() for polygon in instance.polygons], *size))
        return part_of_rle(runs["counts"], size)
    if instance.size != size:
        height, width = instance.size or (0, 0)
        raise InstanceError(f"run lengths of {width}x{height} pixels, but the image has {size[1]}x{size[0]}")
    return instance.part


def _polygons(entry: Mapping[str, Any]) -> tuple[list[float], ...]:
    return () if entry.get("counts") is not None else tuple(list(flat) for flat in entry.get("polygons") or ())
