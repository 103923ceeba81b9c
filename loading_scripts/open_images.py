"""Boxes of Open Images for `datasets`; README.md says how."""

from dataclasses import dataclass

from .builder import RawBuilder, SplitConfig


@dataclass
class OpenImagesConfig(SplitConfig):
    """Options of the reader: see `sds_hf.data.sources.open_images`."""

    table: str | None = None
    images: str | None = None
    classes: str | None = None


class OpenImages(RawBuilder):
    """`<split>-annotations-bbox.csv`, a file of class descriptions and the images."""

    BUILDER_CONFIG_CLASS = OpenImagesConfig
    READER = "open-images"
