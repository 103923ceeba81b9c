"""Pictures and masks of a dataset's rows for the page: as they are, or small and kept on disk."""

from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from sds_hf.data.cells import readable, stored_cells
from sds_hf.data.content import files_behind
from sds_hf.data.images import decode_image, decode_mask, encode_jpeg, encode_mask
from sds_hf.explore.bundle import short_digest
from sds_hf.files import cache_folder, write_whole

if TYPE_CHECKING:
    from datasets import Dataset

SMALL = 256  # pixels of the longer side
Size = Literal["small", "full"]


class RowPictures:
    """Pictures and masks by row number.

    Args:
        dataset: with `image` and, if it has masks, `mask`.
        keep: whether small ones are kept on disk for the next time.
    """

    def __init__(self, dataset: "Dataset", keep: bool = True) -> None:
        columns = [name for name in ("image", "mask") if name in dataset.column_names]
        self._stored, self._lock = readable(dataset, columns), Lock()
        key = files_behind(dataset, columns) if keep else None
        self._folder = cache_folder("thumbnails") / short_digest(key) if key else None

    def __len__(self) -> int:
        return len(self._stored)

    def cell(self, row: int, column: str) -> Any:
        """A cell as it is stored.

        Raises:
            ValueError: if there is no such row or column.
        """
        if not 0 <= row < len(self._stored) or column not in self._stored.column_names:
            raise ValueError(f"the dataset has no {column} of row {row}")
        with self._lock:
            return stored_cells(self._stored, [row])[column][0]

    def image(self, row: int, size: Size) -> bytes:
        """A JPEG.

        Raises:
            ValueError: if there is none, or it cannot be decoded.
        """
        return self._kept(f"{row}.jpg", size, lambda: encode_jpeg(_fit(decode_image(self.cell(row, "image")), size, 1)))

    def mask(self, row: int, size: Size) -> bytes:
        """An index PNG of 8 bits.

        Raises:
            ValueError: see `image`.
        """
        return self._kept(f"{row}.png", size, lambda: encode_mask(_fit(decode_mask(self.cell(row, "mask")), size, 0)))

    def _kept(self, name: str, size: Size, make: Callable[[], bytes]) -> bytes:
        if size == "full" or self._folder is None:
            return make()
        path = self._folder / name
        if path.exists():
            return path.read_bytes()
        data = make()
        with self._lock, suppress(OSError):  # a full disk is no reason to show nothing
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, data)
        return data


def small_mask(mask: np.ndarray, size: Size) -> bytes:
    """An index PNG of a mask that is no cell."""
    return encode_mask(_fit(mask, size, 0))


def _fit(array: np.ndarray, size: Size, smooth: int) -> np.ndarray:
    """The array with its longer side `SMALL` pixels at most; indices are picked, never mixed."""
    height, width = array.shape[:2]
    scale = SMALL / max(height, width)
    if size == "full" or scale >= 1:
        return array
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(array).resize(shape, how))
