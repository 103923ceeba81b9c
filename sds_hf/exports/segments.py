"""The objects of a row as disjoint masks: classes, connected parts, or the instances a dataset gives."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from sds_hf.data.instances import NO_INSTANCE, Instance, InstanceError, entries, given_instances
from sds_hf.data.labels import LabelSpace
from sds_hf.errors import extra_module
from sds_hf.exports.samples import ExportError, Sample
from sds_hf.scores.base.shapes import InstanceKind

TOUCHING = np.ones((3, 3))  # pixels that touch at corners are connected


@dataclass(frozen=True)
class Segment:
    """One object.

    Attributes:
        class_id: index in the label space.
        mask: (H, W) bool.
        crowd: whether it is a group of objects that are not told apart.
        polygons: flat lists x, y, x, y, ... where the dataset has them, else empty.
    """

    class_id: int
    mask: np.ndarray
    crowd: bool = False
    polygons: tuple[list[float], ...] = ()

    @property
    def area(self) -> int:
        """Pixels."""
        return int(self.mask.sum())

    @property
    def box(self) -> list[int]:
        """Left, top, width and height in pixels."""
        rows, columns = np.flatnonzero(self.mask.any(1)), np.flatnonzero(self.mask.any(0))
        if not len(rows):
            return [0, 0, 0, 0]
        return [int(v) for v in (columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1)]


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
        parts, count = (mask == class_id, 1) if kind == "class" else ndimage.label(mask == class_id, TOUCHING)
        yield from (Segment(int(class_id), parts == number) for number in range(1, count + 1))


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
        yield Segment(instance.class_id, _drawn(instance, sample.size), bool(entry.get("iscrowd")), _polygons(entry))


def _of_ids(ids: np.ndarray, mask: np.ndarray, labels: LabelSpace) -> Iterator[Segment]:
    if ids.shape != mask.shape:
        raise InstanceError(f"{ids.shape[1]}x{ids.shape[0]} pixels, but the mask has {mask.shape[1]}x{mask.shape[0]}")
    for number in np.setdiff1d(ids, NO_INSTANCE):
        inside = ids == number
        for class_id in np.intersect1d(mask[inside], labels.class_ids):
            yield Segment(int(class_id), inside & (mask == class_id))


def _drawn(instance: Instance, size: tuple[int, int]) -> np.ndarray:
    """The pixels of an instance by COCO's rule, (H, W) bool."""
    if instance.mask is None:
        tools = extra_module("pycocotools.mask")
        runs = tools.frPyObjects([polygon.ravel().tolist() for polygon in instance.polygons], *size)
        drawn: np.ndarray = tools.decode(tools.merge(runs)).astype(bool)
        return drawn
    if instance.mask.shape != size:
        height, width = instance.mask.shape
        raise InstanceError(f"run lengths of {width}x{height} pixels, but the image has {size[1]}x{size[0]}")
    return instance.mask


def _polygons(entry: Mapping[str, Any]) -> tuple[list[float], ...]:
    return () if entry.get("counts") is not None else tuple(list(flat) for flat in entry.get("polygons") or ())
