"""Any folder of images and masks for `datasets`; README.md says how."""

from dataclasses import dataclass

from .builder import RawBuilder, RawConfig


@dataclass
class FolderConfig(RawConfig):
    """Options of the reader: see `sds_hf.data.sources.folder`."""

    images: str | None = None
    masks: str | None = None
    mask_end: str | None = None
    table: str | None = None
    columns: str | None = None
    ids: str | None = None
    ignore: int | None = None


class Folder(RawBuilder):
    """Images and masks of the same names in two folders, and an optional table with captions."""

    BUILDER_CONFIG_CLASS = FolderConfig
    READER = "folder"
