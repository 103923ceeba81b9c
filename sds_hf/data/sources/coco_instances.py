"""COCO 2014 and 2017 instances: objects that may overlap, as polygons or run lengths."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sds_hf.data.access.paths import read_file
from sds_hf.data.images import picture_size
from sds_hf.data.instances import Part, is_crowd, part_of_rle, rle_of_part
from sds_hf.data.sources.coco_files import COCOAnnotated, Listed, annotation_files
from sds_hf.data.sources.files import UnknownLayoutError
from sds_hf.data.sources.findings import check_sizes
from sds_hf.data.sources.reader import Row
from sds_hf.errors import extra_module, short

FARTHEST = 100_000  # pixels from the corner; pycocotools walks along every edge, and fails on longer ones


@dataclass(frozen=True)
class Region:
    """The pixels of an annotation.

    Attributes:
        number: id of the annotation.
        is_crowd: whether it is a group of objects.
        area: what orders the regions, in pixels.
        value: what its pixels become.
        part: its pixels.
        outline: its cell in the column `instances`; None if it is no object of a class.
    """

    number: int
    is_crowd: bool
    area: float
    value: int
    part: Part
    outline: dict[str, Any] | None

    @property
    def order(self) -> tuple[bool, float, int]:
        """Crowds are painted first, then large objects, then small ones; of one size, the lower id first."""
        return not self.is_crowd, -self.area, self.number


class COCOInstances(COCOAnnotated):
    """Objects of `instances_<split>.json`, painted into a mask: large ones first, so that small ones stay visible.

    Polygons become pixels as in COCO's own tools, `pycocotools` (the extra `coco`). Objects of one area are painted in
    the order of their ids; a crowd never covers an object. What is in no object is background. The column `instances`
    has the objects as they were, covered or not, for `tfdp` and `diversity`. Arguments are those of `COCOAnnotated`,
    where what is held in memory is said too.
    """

    name: ClassVar[str] = "coco-instances"
    summary: ClassVar[str] = "annotations/instances_<split>.json and <split>/*.jpg, with captions_<split>.json if there"
    kind: ClassVar[str] = "instances"
    further: Mapping[str, str] = {"instances": "outlines"}

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """See `Reader.recognises`; of a folder with both kinds, panoptic annotations are the better ones."""
        return bool(annotation_files(path, "instances")) and not annotation_files(path, "panoptic")

    def entries(self) -> Iterable[Listed]:
        """See `Reader.entries`."""
        extra_module("pycocotools.mask")
        return super().entries()

    def read_annotated(self, listed: Listed) -> Row:
        """See `COCOAnnotated.read_annotated`."""
        assert listed.image is not None
        data = read_file(self.file(listed.image), listed.image)
        size = picture_size(data, str(listed.image))
        expected = tuple(listed.entry.get(side, length) for side, length in zip(("height", "width"), size, strict=True))
        if expected != size:
            check_sizes(data, expected, listed.image, f"{{}} in {listed.file.name}")
        all_regions = (self._region(listed, annotation, size) for annotation in listed.annotations)
        regions = [region for region in all_regions if region is not None]
        mask = np.full(size, self.unlabeled, np.uint8)
        for region in sorted(regions, key=lambda region: region.order):
            mask[region.part.window][region.part.mask] = region.value
        outlines = [region.outline for region in regions if region.outline is not None]
        cells: dict[str, Any] = dict.fromkeys(self.further, outlines)
        return self.row(listed.name, listed.image, mask, listed.caption, **cells)

    def _region(self, listed: Listed, annotation: Mapping[str, Any], size: tuple[int, int]) -> Region | None:
        """The pixels of an annotation; None if it has no outline, or covers no pixel.

        Raises:
            UnknownLayoutError: names the annotation and what is wrong with it.
        """
        number, shape = annotation["id"], annotation["segmentation"]
        polygons, counts = None, None
        try:
            if isinstance(shape, Mapping):
                part = part_of_rle(*_run_lengths(shape, size))
                counts = rle_of_part(part, size)["counts"]
            elif polygons := self._polygons(shape):
                runs = _coco().merge(_coco().frPyObjects(polygons, *size))
                part = part_of_rle(runs["counts"], size)
            else:
                return None
            area = float(annotation.get("area") or 0)
            area = area if area > 0 else float(part.area)  # tools write 0, -1 or NaN for what they do not know
            crowd = is_crowd(annotation)
        except (ValueError, OverflowError) as error:
            raise UnknownLayoutError(f"{listed.file}: annotation {number}: {error}") from error
        if not part.area:
            self.counts[_why_nothing(polygons)] += 1
        index, value = listed.index(annotation), self.value(listed, annotation)
        outline = {"class": index, "polygons": polygons, "counts": counts, "size": list(size), "iscrowd": crowd}
        return Region(number, crowd, area, value, part, outline if index in self.labels.class_ids else None)

    def _polygons(self, shape: Any) -> list[list[float]]:
        """Those that enclose something; `pycocotools` takes four numbers for a box.

        Raises:
            ValueError: if a polygon is no list of x and y.
        """
        polygons = [] if shape is None else shape
        if not isinstance(polygons, list) or not all(isinstance(polygon, list) for polygon in polygons):
            raise ValueError(
                "a segmentation is a list of polygons [[x, y, x, y, ...], ...] or run lengths "
                f'{{"size", "counts"}}, not {short(shape)}'
            )
        if pair := _pair_of(polygons):
            raise ValueError(f"a polygon is one list x, y, x, y, ..., not pairs such as {short(pair)}")
        arrays = [_corners(polygon) for polygon in polygons]
        whole = [array.tolist() for array in arrays if len(array) >= 6]
        if fewer := len(arrays) - len(whole) if arrays else 1:
            self.counts["outline of fewer than three corners"] += fewer
        return whole


def _pair_of(polygons: list[list[Any]]) -> list[Any] | None:
    """The first corner of polygons that are lists of corners, or are themselves the corners of one."""
    if len(polygons) > 2 and all(len(polygon) == 2 for polygon in polygons):
        return polygons[0]
    return next((polygon[0] for polygon in polygons if polygon and isinstance(polygon[0], list)), None)


def _corners(polygon: list[Any]) -> np.ndarray:
    """x, y, x, y, ... of a polygon, (n,) float64.

    Raises:
        ValueError: if it is none.
    """
    try:
        corners = np.asarray(polygon, np.float64)
    except (ValueError, TypeError):
        corners = np.full(1, np.nan)
    if len(corners) % 2 or not (np.abs(corners) < FARTHEST).all():
        raise ValueError(f"a polygon is x, y, x, y, ... in pixels below {FARTHEST}, not {short(polygon)}")
    return corners


def _run_lengths(shape: Mapping[str, Any], size: tuple[int, int]) -> tuple[Any, tuple[int, int]]:
    """Run lengths, as a list or as their text, and the size of their picture.

    Raises:
        ValueError: if they are not of a picture of that size.
    """
    if not {"size", "counts"} <= shape.keys():
        raise ValueError(f'run lengths are {{"size": [height, width], "counts": ...}}, not {short(shape)}')
    if tuple(shape["size"]) != size:
        raise ValueError(f"run lengths for {shape['size']} in a picture of {list(size)}, [height, width]")
    return shape["counts"], size


def _why_nothing(polygons: list[list[float]] | None) -> str:
    """What is wrong with an outline that covers no pixel."""
    corners = [value for polygon in polygons or () for value in polygon]
    if corners and 0 <= min(corners) < max(corners) <= 1:
        return "outline from 0 to 1, in parts of the picture's sides (COCO has pixels), so that it covers none"
    return "outline that covers no pixel"


def _coco() -> Any:
    return extra_module("pycocotools.mask")
