"""PASCAL VOC 2012 for `datasets`; README.md says how."""

from dataclasses import dataclass

from .builder import RawBuilder, SplitConfig


@dataclass
class PascalVOCConfig(SplitConfig):
    """Options of the reader: see `sds_hf.data.sources.pascal_voc`."""

    masks: str | None = None
    ids: str | None = None
    instances: bool | None = None


class PascalVOC(RawBuilder):
    """`JPEGImages/*.jpg`, `SegmentationClass/*.png` and the ids in `ImageSets/Segmentation/<split>.txt`."""

    BUILDER_CONFIG_CLASS = PascalVOCConfig
    READER = "pascal-voc"
