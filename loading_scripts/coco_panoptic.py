"""COCO 2017 panoptic for `datasets`; README.md says how."""

from dataclasses import dataclass

from .builder import RawBuilder, SplitConfig


@dataclass
class COCOPanopticConfig(SplitConfig):
    """Options of the reader: see `sds_hf.data.sources.coco_files`."""

    images: str | None = None
    crowd: str | None = None


class COCOPanoptic(RawBuilder):
    """`annotations/panoptic_<split>.json` with `panoptic_<split>/*.png`, and `<split>/*.jpg`."""

    BUILDER_CONFIG_CLASS = COCOPanopticConfig
    READER = "coco-panoptic"
