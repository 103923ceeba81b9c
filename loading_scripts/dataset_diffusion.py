"""Output of Dataset Diffusion for `datasets`; README.md says how."""

from dataclasses import dataclass

from .builder import RawBuilder, RawConfig


@dataclass
class DatasetDiffusionConfig(RawConfig):
    """Options of the reader: see `sds_hf.data.sources.dataset_diffusion`."""

    prompts: str | None = None
    ids: str | None = None


class DatasetDiffusion(RawBuilder):
    """`image/*.jpg`, `mask/*.png` and a prompts file."""

    BUILDER_CONFIG_CLASS = DatasetDiffusionConfig
    READER = "dataset-diffusion"
