"""COCO 2017 stuff: regions without single objects, as run lengths or polygons."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from sds_hf.data.sources.coco_files import Crowd, Listed, annotation_files
from sds_hf.data.sources.coco_instances import COCOInstances


class COCOStuff(COCOInstances):
    """Regions of `stuff_<split>.json`, painted into a mask; it has no objects, so there is no column `instances`.

    Tools write every region of stuff as a crowd, so that crowds are painted too. Categories that are no class, such as
    COCO's `other` for all things, are background and are counted. Other arguments are those of `COCOAnnotated`.

    Args:
        path: the folder.
        labels: a file with the names of the stuff that counts; the label space `coco` has things only.
        split: as for `COCOAnnotated`.
        images: as for `COCOAnnotated`.
        crowd: as for `COCOAnnotated`; `paint` if None.
    """

    name: ClassVar[str] = "coco-stuff"
    summary: ClassVar[str] = "annotations/stuff_<split>.json and <split>/*.jpg"
    kind: ClassVar[str] = "stuff"
    further: Mapping[str, str] = {}
    usual_crowd: ClassVar[Crowd] = "paint"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """See `Reader.recognises`; of a folder with several kinds, the other annotations are the better ones."""
        return bool(annotation_files(path, "stuff")) and not any(
            annotation_files(path, kind) for kind in ("panoptic", "instances")
        )

    def entries(self) -> Iterable[Listed]:
        """See `Reader.entries`."""
        for listed in super().entries():
            yield replace(listed, categories=replace(listed.categories, things=()))
