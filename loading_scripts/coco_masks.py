"""Ready-made masks of COCO for `datasets`; README.md says how."""

from dataclasses import dataclass

from .builder import RawBuilder, SplitConfig


@dataclass
class COCOMasksConfig(SplitConfig):
    """Options of the reader: see `sds_hf.data.sources.coco_masks`."""

    images: str | None = None
    masks: str | None = None
    ids: str | None = None


class COCOMasks(RawBuilder):
    """`stuffthingmaps/`, `masks/` or `SegmentationClass/` with the images of COCO."""

    BUILDER_CONFIG_CLASS = COCOMasksConfig
    READER = "coco-masks"
