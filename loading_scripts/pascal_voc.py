"""PASCAL VOC 2012 for `datasets`; README.md says how."""

from dataclasses import dataclass
from typing import Any

from .builder import RawBuilder, RawConfig


@dataclass
class PascalVOCConfig(RawConfig):
    """Options of the reader: see `sds_hf.sources.pascal_voc`.

    `load_dataset` keeps an argument `split` for itself, so the name of the configuration also says which list to read.
    """

    split: str | None = None
    masks: str | None = None

    def reader_options(self) -> dict[str, Any]:
        """See `RawConfig.reader_options`."""
        named = None if self.name == "default" else self.name
        return {**super().reader_options(), "split": self.split or named}


class PascalVOC(RawBuilder):
    """`JPEGImages/*.jpg`, `SegmentationClass/*.png` and the ids in `ImageSets/Segmentation/<split>.txt`."""

    BUILDER_CONFIG_CLASS = PascalVOCConfig
    READER = "pascal-voc"
