"""Synthetic images named as in SDS for `datasets`; README.md says how."""

from dataclasses import dataclass

from .builder import RawBuilder, SplitConfig


@dataclass
class SDSConfig(SplitConfig):
    """Options of the reader: see `sds_hf.data.sources.sds`."""

    masks: str | None = None
    ids: str | None = None


class SDS(RawBuilder):
    """`image/*.jpg` and `mask/*.png`, called by real image and number, and lists such as `voc/train.txt`."""

    BUILDER_CONFIG_CLASS = SDSConfig
    READER = "sds"
