"""How many pixels of each class a row's mask has, for shares of pixels before and after the rules."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sds_hf.data.cells import readable, stored_cells
from sds_hf.data.images import BadImageError, decode_mask
from sds_hf.data.labels import LabelSpace
from sds_hf.files import whole_file

if TYPE_CHECKING:
    from datasets import Dataset

ROWS_AT_ONCE = 256
SCHEMA = pa.schema([("row", pa.int32()), ("classes", pa.list_(pa.int16())), ("pixels", pa.list_(pa.int32()))])


def write_pixels(dataset: "Dataset", labels: LabelSpace, path: Path) -> None:
    """Count the pixels of every mask into a Parquet file: `row`, `classes` and `pixels`, lists of the same length.

    Background and ignored pixels are not counted, nor are masks that cannot be read.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file, pq.ParquetWriter(file, SCHEMA) as writer:
        for start, cells in _batches(dataset):
            counts = [_counts(cell, labels) for cell in cells]
            rows = range(start, start + len(counts))
            classes, pixels = [list(count) for count in counts], [list(count.values()) for count in counts]
            writer.write_table(pa.table([pa.array(rows, pa.int32()), classes, pixels], schema=SCHEMA))


def _batches(dataset: "Dataset") -> Iterator[tuple[int, list[Any]]]:
    masks = readable(dataset, ["mask"])
    for start in range(0, len(masks), ROWS_AT_ONCE):
        yield start, stored_cells(masks, range(start, min(start + ROWS_AT_ONCE, len(masks))))["mask"]


def _counts(cell: Any, labels: LabelSpace) -> dict[int, int]:
    try:
        counts = np.bincount(decode_mask(cell).ravel(), minlength=256)
    except BadImageError:
        return {}
    return {index: int(counts[index]) for index in labels.class_ids if counts[index]}
