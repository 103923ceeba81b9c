"""COCO 2014 and 2017 instances: objects that may overlap, as polygons or run lengths."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sds_hf.data.images import picture_size
from sds_hf.data.instances import decode_rle
from sds_hf.data.paths import read_file
from sds_hf.data.sources.coco_files import COCOAnnotated, Listed, annotation_files
from sds_hf.data.sources.files import UnknownLayoutError, inside
from sds_hf.data.sources.reader import Row
from sds_hf.errors import extra_module

FARTHEST = 100_000  # pixels from the corner; pycocotools walks along every edge, and fails on longer ones


@dataclass(frozen=True)
class Region:
    """The pixels of an annotation.

    Attributes:
        number: id of the annotation.
        is_crowd: whether it is a group of objects.
        area: what orders the regions, in pixels.
        value: what its pixels become.
        runs: its pixels, as `pycocotools` keeps run lengths.
        outline: its cell in the column `instances`.
    """

    number: int
    is_crowd: bool
    area: float
    value: int
    runs: dict[str, Any]
    outline: dict[str, Any]

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
        size = picture_size(read_file(inside(listed.image), listed.image), str(listed.image))
        expected = tuple(listed.entry.get(side, length) for side, length in zip(("height", "width"), size, strict=True))
        if expected != size:
            raise UnknownLayoutError(
                f"{listed.image}: {size[1]}x{size[0]} pixels, but {expected[1]}x{expected[0]} in {listed.file.name}"
            )
        all_regions = (self._region(listed, annotation, size) for annotation in listed.annotations)
        regions = [region for region in all_regions if region is not None]
        mask = np.zeros(size, np.uint8)
        for region in sorted(regions, key=lambda region: region.order):
            mask[_coco().decode(region.runs) == 1] = region.value
        outlines = [region.outline for region in regions]
        return self.row(listed.image.stem, listed.image, mask, listed.caption, instances=outlines)

    def _region(self, listed: Listed, annotation: Mapping[str, Any], size: tuple[int, int]) -> Region | None:
        """The pixels of an annotation; None if it has no outline.

        Raises:
            UnknownLayoutError: names the annotation and what is wrong with it.
        """
        number, shape, is_crowd = annotation["id"], annotation["segmentation"], bool(annotation.get("iscrowd"))
        polygons, counts = None, None
        try:
            if isinstance(shape, Mapping):
                runs = canonical_runs(shape, size)
                counts = runs["counts"].decode()
            elif polygons := self._polygons(shape):
                runs = _coco().merge(_coco().frPyObjects(polygons, *size))
            else:
                return None
            area = float(annotation["area"] if annotation.get("area") is not None else _coco().area(runs))
        except (ValueError, OverflowError) as error:
            raise UnknownLayoutError(f"{listed.file}: annotation {number}: {error}") from error
        outline = {"class": listed.index(annotation), "polygons": polygons, "counts": counts}
        outline |= {"size": list(size), "iscrowd": is_crowd}
        return Region(number, is_crowd, area, self.value(listed, annotation), runs, outline)

    def _polygons(self, shape: list[list[float]]) -> list[list[float]]:
        """Those that enclose something; `pycocotools` takes four numbers for a box.

        Raises:
            ValueError: if a polygon is no list of x and y.
        """
        arrays = [np.asarray(polygon, np.float64) for polygon in shape]
        for array in arrays:
            if array.ndim != 1 or len(array) % 2 or not (np.abs(array) < FARTHEST).all():
                raise ValueError(f"a polygon is x, y, x, y, ... below {FARTHEST}, not {array.tolist()}"[:200])
        whole = [array.tolist() for array in arrays if len(array) >= 6]
        if fewer := len(arrays) - len(whole) if arrays else 1:
            self.counts["outline of fewer than three corners"] += fewer
        return whole


def canonical_runs(run_lengths: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """Run lengths, given as a list or as their text, as `pycocotools` writes them.

    Raises:
        ValueError: if they are not of a picture of that size.
    """
    if tuple(run_lengths["size"]) != size:
        raise ValueError(f"run lengths for {run_lengths['size']} in a picture of {list(size)}, [height, width]")
    # pycocotools checks nothing: of text that is cut off it reads beyond the end.
    pixels = decode_rle(run_lengths["counts"], size)
    runs: dict[str, Any] = _coco().encode(np.asfortranarray(pixels, np.uint8))
    return runs


def _coco() -> Any:
    return extra_module("pycocotools.mask")
