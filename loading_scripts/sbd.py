"""The Semantic Boundaries Dataset for `datasets`; README.md says how."""

from dataclasses import dataclass

from .builder import RawBuilder, SplitConfig


@dataclass
class SBDConfig(SplitConfig):
    """Options of the reader: see `sds_hf.data.sources.sbd`."""

    instances: bool | None = None


class SBD(RawBuilder):
    """`img/*.jpg`, `cls/*.mat` and `inst/*.mat` of `benchmark_RELEASE/dataset`."""

    BUILDER_CONFIG_CLASS = SBDConfig
    READER = "sbd"
