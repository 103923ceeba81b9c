"""COCO 2017 panoptic: every pixel in one segment, so nothing overlaps."""

from pathlib import Path
from typing import ClassVar

import numpy as np

from sds_hf.data.images import decode_image
from sds_hf.data.labels import IGNORE_INDEX
from sds_hf.data.sources.coco_files import COCOAnnotated, Listed, annotation_files
from sds_hf.data.sources.files import UnknownLayoutError, inside
from sds_hf.data.sources.reader import Row


class COCOPanoptic(COCOAnnotated):
    """Things of the segments in `panoptic_<split>/*.png`; stuff is background, what no segment has is 255.

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
        picture = self._picture(listed)
        if picture is None or not picture.exists():
            self.missing("image without a mask", listed.image)
            return None
        segments = listed.annotations[0]["segments_info"]
        values = {segment["id"]: self.value(listed, segment) for segment in segments} | {0: IGNORE_INDEX}
        ids = decode_image(inside(picture), str(picture)).astype(np.int64) @ (1, 256, 256**2)
        segment_ids, indices = np.unique(ids, return_inverse=True)
        if unknown := [int(segment) for segment in segment_ids if segment not in values]:
            raise UnknownLayoutError(f"{picture}: {listed.file.name} has no segments {unknown} of it")
        mask = np.array([values[segment] for segment in segment_ids], np.uint8)[indices].reshape(ids.shape)
        return self.row(listed.image.stem, listed.image, mask, listed.caption)

    def _picture(self, listed: Listed) -> Path | None:
        """The picture of the segments, wherever the folder is."""
        if not listed.annotations:
            return None
        name, folder = Path(listed.annotations[0]["file_name"]).name, listed.file.stem
        paths = (listed.file.parent / folder / name, self.path / folder / name)
        return next((path for path in paths if path.exists()), paths[0])
