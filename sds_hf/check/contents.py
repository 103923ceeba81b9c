"""What is in a published dataset: its tables, its card, its report, and a sample of its rows."""

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sds_hf.data.labels import LabelSpace
from sds_hf.hub.client import Stored
from sds_hf.hub.layout import CARD, DATA, Entry
from sds_hf.hub.snapshot import Snapshot
from sds_hf.selection.report import Report

if TYPE_CHECKING:
    from datasets import DatasetInfo

GROUPS = 4  # row groups at least that a sample is taken from


class Contents:
    """What is in a published dataset.

    Args:
        snapshot: where its files are.
        entries: what its manifest lists.
        stored: what is there.
    """

    def __init__(self, snapshot: Snapshot, entries: dict[str, Entry], stored: dict[str, Stored]) -> None:
        self.snapshot, self.entries, self.stored = snapshot, entries, stored

    def tables(self, folder: str) -> list[Entry]:
        """The Parquet files of a folder, in order."""
        return [entry for path, entry in sorted(self.entries.items()) if path.startswith(folder)]

    def rows(self, folder: str) -> int:
        """How many rows the manifest says they have."""
        return sum(entry.rows or 0 for entry in self.tables(folder))

    @cached_property
    def info(self) -> "DatasetInfo":
        """What the card says of the data."""
        from datasets.info import DatasetInfosDict
        from huggingface_hub import DatasetCard

        card = DatasetCard(self.snapshot.fetch(CARD).read_text(encoding="utf-8"), ignore_metadata_errors=True)
        return DatasetInfosDict.from_dataset_card_data(card.data)["default"]

    @cached_property
    def report(self) -> Report:
        """What the selection found."""
        return Report.load(self.snapshot.fetch("report.json"))

    @property
    def labels(self) -> LabelSpace | None:
        """What the indices of the masks mean."""
        recorded_labels = self.report.provenance.get("labels")
        if not recorded_labels:
            return None
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in recorded_labels.items()
        }
        return LabelSpace(**values)

    def groups(self, folder: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The row groups of a folder's tables, one at a time."""
        for entry in self.tables(folder):
            with self.snapshot.open(entry.path) as file:
                parquet = pq.ParquetFile(file)
                for index in range(parquet.num_row_groups):
                    yield parquet.read_row_group(index, columns=columns)

    def sample(self, count: int, columns: list[str] | None = None) -> pa.Table:
        """Up to so many rows of the data, evenly spaced within evenly spaced row groups."""
        sizes = []
        for entry in self.tables(DATA):
            with self.snapshot.open(entry.path) as file:
                metadata = pq.read_metadata(file)
            sizes += [
                (entry.path, index, metadata.row_group(index).num_rows) for index in range(metadata.num_row_groups)
            ]
        group_count = min(len(sizes), max(GROUPS, count // 25))
        parts = []
        for path, index, rows in (sizes[i] for i in spaced(len(sizes), group_count)):
            with self.snapshot.open(path) as file:
                group = pq.ParquetFile(file).read_row_group(index, columns=columns)
            parts.append(group.take(pa.array(spaced(rows, -(-count // group_count)))))
        return pa.concat_tables(parts).slice(0, count)


def spaced(length: int, count: int) -> list[int]:
    """Up to `count` indices of a sequence, evenly spaced."""
    return [int(index) for index in np.linspace(0, length - 1, min(length, count))]
