"""What the builders share: a reader of `sds_hf.data.sources` behind the interface of any version of `datasets`."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar

import datasets
from datasets.exceptions import DatasetGenerationError

from sds_hf.data.folder import source_features
from sds_hf.data.sources import Reader, make_reader

logger = logging.getLogger(__name__)
VERSION = datasets.Version("1.0.0")  # to be raised whenever the same folder would give other rows


@dataclass
class RawConfig(datasets.BuilderConfig):
    """Options of every reader.

    `data_dir` is the raw folder, `labels` what its mask indices mean; the others say what to do about images without a
    mask (`skip` or `error`) and about broken files (`raise` or `skip`).
    """

    version: datasets.Version = VERSION
    labels: str | None = None
    on_missing: str | None = None
    on_error: str | None = None

    def reader_options(self) -> dict[str, Any]:
        """What the reader is given; None leaves the choice to it."""
        own = {field.name for field in fields(datasets.BuilderConfig)}
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in own}


@dataclass
class SplitConfig(RawConfig):
    """Options of a reader that knows lists or splits.

    `load_dataset` keeps an argument `split` for itself, so the name of the configuration also says which one to read.
    """

    split: str | None = None

    def reader_options(self) -> dict[str, Any]:
        """See `RawConfig.reader_options`."""
        named = None if self.name == "default" else self.name
        return {**super().reader_options(), "split": self.split or named}


class RawBuilder(datasets.GeneratorBasedBuilder):
    """The rows of a reader as the split `train`; what the reader skips is counted in one warning."""

    BUILDER_CONFIG_CLASS = RawConfig
    READER: ClassVar[str]

    @cached_property
    def reader(self) -> Reader:
        """The reader of the raw folder."""
        if self.config.data_dir is None:
            raise ValueError(f"{self.name} reads a raw folder: give data_dir=")
        return make_reader(self.READER, self.config.data_dir, **self.config.reader_options())

    def download_and_prepare(self, *args: Any, **kwargs: Any) -> None:
        """See `datasets`, which says "An error occurred" of anything; here an error says what is wrong."""
        try:
            super().download_and_prepare(*args, **kwargs)
        except DatasetGenerationError as error:
            raise (error.__cause__ or error) from None

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=source_features(self.reader))

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        return [datasets.SplitGenerator(name="train")]

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
        self.reader.counts.clear()
        yield from enumerate(self.reader.rows())
        for reason, count in self.reader.counts.items():
            logger.warning("%s: %d %s", self.config.data_dir, count, reason)
