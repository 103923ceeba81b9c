"""COCO instances for `datasets`, with their outlines in the column `instances`; README.md says how."""

from dataclasses import dataclass

from .builder import RawBuilder, SplitConfig


@dataclass
class COCOInstancesConfig(SplitConfig):
    """Options of the reader: see `sds_hf.data.sources.coco_files`."""

    images: str | None = None
    crowd: str | None = None


class COCOInstances(RawBuilder):
    """`annotations/instances_<split>.json`, `<split>/*.jpg`, and `captions_<split>.json` if there."""

    BUILDER_CONFIG_CLASS = COCOInstancesConfig
    READER = "coco-instances"
