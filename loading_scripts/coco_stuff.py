"""COCO 2017 stuff for `datasets`; README.md says how."""

from dataclasses import dataclass

from .builder import RawBuilder, SplitConfig


@dataclass
class COCOStuffConfig(SplitConfig):
    """Options of the reader: see `sds_hf.data.sources.coco_stuff`."""

    images: str | None = None
    crowd: str | None = None


class COCOStuff(RawBuilder):
    """`annotations/stuff_<split>.json`, and `<split>/*.jpg`."""

    BUILDER_CONFIG_CLASS = COCOStuffConfig
    READER = "coco-stuff"
