"""COCO 2017 panoptic: every pixel in one segment, so nothing overlaps."""

from pathlib import Path
from typing import ClassVar

import numpy as np

from sds_hf.data.access.paths import read_file
from sds_hf.data.images import decode_image
from sds_hf.data.labels import IGNORE_INDEX
from sds_hf.data.sources.coco_files import COCOAnnotated, Listed, annotation_files
from sds_hf.data.sources.files import Tree, UnknownLayoutError, inner_path
from sds_hf.data.sources.reader import Row


class COCOPanoptic(COCOAnnotated):
    """Segments in `panoptic_<split>/*.png`; what no segment has is 255.

    Stuff is kept where its name is a class; what is no class is background, or 255 where the label space has none.

    The colour of a pixel is its segment's id, R + 256 G + 256² B; `panoptic_<split>.json` says the category of each.
    Pictures of segments are in a folder beside the file or beside `annotations/`. Arguments are those of
    `COCOAnnotated`, where what is held in memory is said too.
    """

    name: ClassVar[str] = "coco-panoptic"
    summary: ClassVar[str] = "annotations/panoptic_<split>.json with panoptic_<split>/*.png, and <split>/*.jpg"
    kind: ClassVar[str] = "panoptic"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """See `Reader.recognises`."""
        return bool(annotation_files(path, "panoptic"))

    def read_annotated(self, listed: Listed) -> Row | None:
        """See `COCOAnnotated.read_annotated`."""
        assert listed.image is not None
        if not listed.annotations:
            return self.missing("image without a mask", listed.image, listed.file)
        if len(listed.annotations) > 1:
            raise UnknownLayoutError(
                f"{listed.file}: {listed.name} has {len(listed.annotations)} annotations; one is right"
            )
        picture = self._picture(listed)
        if not picture.exists():
            return self.missing("image without a mask", listed.image, picture)
        values = {0: IGNORE_INDEX}
        for segment in listed.annotations[0]["segments_info"]:
            if segment["id"] in values:
                raise UnknownLayoutError(f"{listed.file}: {listed.name} has two segments {segment['id']!r}")
            values[segment["id"]] = self.value(listed, segment)
        ids = decode_image(read_file(self.file(picture)), str(picture)).astype(np.int64) @ (1, 256, 256**2)
        segment_ids, indices = np.unique(ids, return_inverse=True)
        if unknown := [int(segment) for segment in segment_ids if segment not in values]:
            raise UnknownLayoutError(f"{picture}: {listed.file.name} has no segments {unknown} of it")
        mask = np.array([values[segment] for segment in segment_ids], np.uint8)[indices].reshape(ids.shape)
        return self.row(listed.name, listed.image, mask, listed.caption)

    def _picture(self, listed: Listed) -> Path:
        """The picture of the segments, wherever the folder is."""
        name, folder = listed.annotations[0]["file_name"], listed.file.stem
        trees = [Tree(start / folder) for start in (listed.file.parent, self.path) if (start / folder).is_dir()]
        pictures = (tree.find(name) for tree in trees)
        return next((path for path in pictures if path), listed.file.parent / folder / str(inner_path(name)))
