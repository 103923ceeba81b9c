"""The rows of a dataset as exports take them: a few at a time, images as bytes, masks checked."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from sds_hf.data.cells import stored_cells
from sds_hf.data.images import FORMATS, cell_bytes, check_picture, decode_mask, picture_size
from sds_hf.data.labels import LabelSpace
from sds_hf.exports.names import FileNames

if TYPE_CHECKING:
    from datasets import Dataset

ROWS_AT_ONCE = 32
SUFFIXES = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif"}  # of others, the name of the format


class ExportError(ValueError):
    """A dataset that cannot be exported; the message says what is wrong and what to do."""


@dataclass(frozen=True)
class Sample:
    """One row.

    Attributes:
        number: place in the dataset, from 0.
        row_id: its id; the number as text if it has none.
        name: a file name without suffix, unique.
        image: the bytes of the image file.
        suffix: of the image file by its content, e.g. `jpg`.
        size: height and width of the upright picture.
        mask: (H, W) uint8, None if the dataset has none or it is not asked for.
        cells: all cells as they are stored.
    """

    number: int
    row_id: str
    name: str
    image: bytes
    suffix: str
    size: tuple[int, int]
    mask: np.ndarray | None
    cells: dict[str, Any]

    @property
    def indices(self) -> np.ndarray:
        """The mask, of formats that need one."""
        if self.mask is None:
            raise ExportError(f"row {self.row_id!r} has no mask")
        return self.mask


def samples(dataset: "Dataset", labels: LabelSpace, names: FileNames, masks: bool = True) -> Iterator[Sample]:
    """The rows in order.

    Args:
        dataset: the rows.
        labels: what masks may hold.
        names: gives the file names.
        masks: whether to read the column `mask`, if there is one.

    Raises:
        ExportError: names the row that cannot be exported.
    """
    stored, masks = dataset.with_format("arrow"), masks and "mask" in dataset.column_names
    for start in range(0, len(dataset), ROWS_AT_ONCE):
        columns = stored_cells(stored, range(start, min(start + ROWS_AT_ONCE, len(dataset))))
        for number, row in enumerate(zip(*columns.values(), strict=True), start):
            cells = dict(zip(columns, row, strict=True))
            row_id = str(cells["id"]) if cells.get("id") is not None else str(number)
            try:
                sample = _sample(number, row_id, names.name(row_id), cells, labels, masks)
            except (OSError, ValueError) as error:
                raise ExportError(f"row {row_id!r}: {error}") from error
            yield sample


def _sample(number: int, row_id: str, name: str, cells: dict[str, Any], labels: LabelSpace, masks: bool) -> Sample:
    image = cell_bytes(cells["image"])
    if not image:
        raise ValueError("has no image")
    check_picture(image)
    size = picture_size(image)
    mask = decode_mask(cells["mask"]) if masks else None
    if mask is not None:
        _check_mask(mask, size, labels)
    return Sample(number, row_id, name, image, _suffix(image), size, mask, cells)


def _suffix(image: bytes) -> str:
    with Image.open(io.BytesIO(image), formats=FORMATS) as opened:
        kind = str(opened.format)
    return SUFFIXES.get(kind, kind.lower())


def _check_mask(mask: np.ndarray, size: tuple[int, int], labels: LabelSpace) -> None:
    if mask.shape != size:
        raise ValueError(f"the mask has {mask.shape[1]}x{mask.shape[0]} pixels, but the image has {size[1]}x{size[0]}")
    if unknown := labels.unknown(np.unique(mask)):
        raise ValueError(
            f"the mask holds {unknown}, which stand for no class of the label space {labels.name!r}: say which it is "
            "with labels=..."
        )
