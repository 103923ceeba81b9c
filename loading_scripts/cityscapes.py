"""Cityscapes for `datasets`; README.md says how."""

from dataclasses import dataclass

from .builder import RawBuilder, SplitConfig


@dataclass
class CityscapesConfig(SplitConfig):
    """Options of the reader: see `sds_hf.data.sources.cityscapes`."""

    masks: str | None = None
    instances: bool | None = None


class Cityscapes(RawBuilder):
    """`leftImg8bit/<split>/<city>/*.png` and `gtFine/<split>/<city>/*_labelIds.png`."""

    BUILDER_CONFIG_CLASS = CityscapesConfig
    READER = "cityscapes"
