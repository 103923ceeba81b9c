"""Output of DiffuMask for `datasets`; README.md says how."""

from dataclasses import dataclass

from .builder import RawBuilder, RawConfig


@dataclass
class DiffuMaskConfig(RawConfig):
    """Options of the reader: see `sds_hf.data.sources.diffumask`."""

    masks: str | None = None
    ids: str | None = None


class DiffuMask(RawBuilder):
    """Folders of a class with `train_image/*.jpg` and `refine_gt_crf/*.png`, or what the augmentations wrote."""

    BUILDER_CONFIG_CLASS = DiffuMaskConfig
    READER = "diffumask"
