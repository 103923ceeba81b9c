"""Names for `load_dataset`: `sds_voc` and `sds_coco`, for folders that sds-hf published and for raw ones.

`datasets` has no hook for names from outside; `register` writes into a table of its own that is not public.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.exceptions import DatasetGenerationError

from sds_hf.data.folder import source_features, tables_of_rows
from sds_hf.data.labels import class_names, label_space
from sds_hf.data.opening import folder_state
from sds_hf.data.sources import Reader, make_reader
from sds_hf.hub.layout import MANIFEST
from sds_hf.hub.load import checked_files
from sds_hf.hub.snapshot import FolderSnapshot
from sds_hf.version import __version__

NAMES = {"sds_voc": "voc", "sds_coco": "coco"}


def register() -> list[str]:
    """Make `load_dataset("sds_voc", data_dir=...)` and `"sds_coco"` work in this process.

    `data_dir` is a folder that sds-hf published, whose files are checked against its manifest (with the configuration
    `scores` for those of all candidates), or a raw folder in a layout that `sds-hf import` knows, whose masks are taken
    to hold the indices of the name; `reader=` and `options={...}` are those of the import. Either gives the split
    `train`, also with `streaming=True`. What is on the Hub needs no names: `load_dataset("user/sds-voc")`.

    Returns:
        The names.

    Raises:
        RuntimeError: if the installed `datasets` has no table of names.

    Examples:
        >>> register()
        ['sds_voc', 'sds_coco']
    """
    try:
        from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES as table

        table.update(dict.fromkeys(NAMES, (__name__, __version__)))
    except (ImportError, AttributeError, TypeError) as error:
        raise RuntimeError(
            f"datasets {datasets.__version__} takes no further names; load a published folder with "
            "load_dataset(FOLDER), and a raw one after `sds-hf import`"
        ) from error
    return list(NAMES)


@dataclass
class Config(datasets.BuilderConfig):  # type: ignore[misc]
    """What `load_dataset` is given besides the folder.

    Attributes:
        reader: of a raw folder; the one that recognises it by default.
        options: of that reader.
    """

    reader: str = "auto"
    options: dict[str, Any] | None = None

    def create_config_id(self, config_kwargs: dict[str, Any], custom_features: Any = None) -> str:
        """See `datasets`; a folder that has changed is read again, whatever files `datasets` takes for its data."""
        kwargs = {name: value for name, value in config_kwargs.items() if name != "data_files"}
        if self.data_dir is not None:
            kwargs["state"] = folder_state(Path(self.data_dir).expanduser(), here=True)
        name: str = super().create_config_id(kwargs, custom_features)
        return name


class SDS(datasets.ArrowBasedBuilder):  # type: ignore[misc]
    """A published or a raw folder as the split `train`."""

    BUILDER_CONFIG_CLASS = Config

    @cached_property
    def folder(self) -> Path:
        """The folder.

        Raises:
            ValueError: if none is given.
        """
        if self.config.data_dir is None:
            raise ValueError(
                f'{self.dataset_name} reads a folder: load_dataset("{self.dataset_name}", data_dir=FOLDER)'
            )
        return Path(self.config.data_dir).expanduser()

    @cached_property
    def files(self) -> list[Path] | None:
        """The Parquet files of a published folder, checked; None if the folder is raw."""
        if not (self.folder / MANIFEST).exists():
            return None
        return checked_files(FolderSnapshot(self.folder), self.config.name)[0]

    @cached_property
    def reader(self) -> Reader:
        """What reads a raw folder."""
        if self.config.name != "default":
            raise ValueError(f"{self.folder} was not published by sds-hf: it has no configuration {self.config.name!r}")
        return make_reader(
            self.config.reader, self.folder, **{"labels": NAMES[self.dataset_name], **(self.config.options or {})}
        )

    def download_and_prepare(self, *args: Any, **kwargs: Any) -> None:
        """See `datasets`, which says "An error occurred" of anything; here an error says what is wrong."""
        try:
            super().download_and_prepare(*args, **kwargs)
        except DatasetGenerationError as error:
            raise (error.__cause__ or error) from None

    def _info(self) -> datasets.DatasetInfo:
        if self.files is None:
            return datasets.DatasetInfo(features=source_features(self.reader))
        features = datasets.Features.from_arrow_schema(pq.read_schema(self.files[0]))
        names, labels = class_names(features), label_space(NAMES[self.dataset_name])
        if names and names != list(labels.names):
            raise ValueError(
                f"the classes of {self.folder} are not those of {self.dataset_name} ({names[:3]}...); load it with "
                "load_dataset(FOLDER)"
            )
        return datasets.DatasetInfo(features=features)

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        arguments = {} if self.files is None else {"files": [str(path) for path in self.files]}
        return [datasets.SplitGenerator(name="train", gen_kwargs=arguments)]

    def _generate_tables(self, files: list[str] | None = None) -> Iterator[tuple[Any, pa.Table]]:
        tables = tables_of_rows(self.reader.rows(), self.info.features) if files is None else _row_groups(files)
        yield from enumerate(tables)


def _row_groups(files: list[str]) -> Iterator[pa.Table]:
    for file in files:
        with pq.ParquetFile(file) as parquet:
            yield from (parquet.read_row_group(index) for index in range(parquet.num_row_groups))
