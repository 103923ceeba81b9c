"""Masks of raw layouts: pictures and arrays, as the values that are stored, and what proves that these are wrong."""

import io
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from sds_hf.data.access.paths import PathError, read_file
from sds_hf.data.images import FORMATS, decode_image, decode_mask
from sds_hf.data.masks.checks import Color, why_decoded_otherwise, why_in_transparency
from sds_hf.data.sources.files import UnknownLayoutError


def read_mask(
    path: Path,
    highest: int = 255,
    colors: Mapping[Color, int] | None = None,
    palette: Mapping[Color, int] | None = None,
) -> np.ndarray:
    """The values of a mask file.

    Args:
        path: a picture of values, or an array of integers as `.npy`. One with Python objects is never loaded.
        highest: the highest value there may be.
        colors: value of each colour of pictures in colours; these are refused without.
        palette: value that each colour should have in a palette: what proves that one is in another order.

    Returns:
        (H, W) uint8, or uint16 if `highest` is above 255.

    Raises:
        ValueError: names the file and what is wrong with it.
    """
    if path.suffix.lower() == ".npy":
        return _array(path, highest)
    data = read_file(path)
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception:
        return decode_mask(data, str(path), highest)  # which says what is wrong
    if image.mode in ("RGB", "RGBA") and colors and image.format == "PNG":
        return _of_colors(image, data, path, colors)
    return decode_mask(data, str(path), highest, palette)


def _of_colors(image: Image.Image, data: bytes, path: Path, colors: Mapping[Color, int]) -> np.ndarray:
    """The values of a picture in known colours, (H, W) uint8; one whose channels are equal holds values itself.

    Raises:
        ValueError: names the file, and the first colour that is not known.
    """
    channels = decode_image(data, str(path))
    if image.mode == "RGBA" and (reason := why_in_transparency(np.asarray(image))):
        raise UnknownLayoutError(f"{path}: {reason}")
    if reason := why_decoded_otherwise(image, data):
        raise UnknownLayoutError(f"{path}: {reason}")
    codes, inverse = np.unique(channels.astype(np.int64) @ (1, 256, 256**2), return_inverse=True)
    pixels = [(int(code) % 256, int(code) // 256 % 256, int(code) // 256**2) for code in codes]
    if unknown := [color for color in pixels if color not in colors]:
        if all(red == green == blue for red, green, blue in pixels):
            return np.asarray(channels[..., 0])
        raise UnknownLayoutError(
            f"{path}: holds the colour {unknown[0]}, which stands for no name; the colours are {[*colors][:5]}, ..."
        )
    return np.array([colors[color] for color in pixels], np.uint8)[inverse].reshape(channels.shape[:2])


def _array(path: Path, highest: int) -> np.ndarray:
    try:
        data = read_file(path)
        file = io.BytesIO(data)
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = read_header(file)
        if math.prod(shape) * kind.itemsize > len(data):
            raise ValueError(f"{shape} values in {len(data)} bytes")
        file.seek(0)
        array = np.lib.format.read_array(file, allow_pickle=False)
    except PathError:
        raise
    except Exception as error:  # of a parser that believes what a file says: of many kinds
        raise UnknownLayoutError(
            f"{path}: no plain array of numbers; pickled objects can run code and are not loaded; save masks as PNG"
        ) from error
    if array.ndim != 2 or array.dtype.kind not in "iub":
        raise UnknownLayoutError(f"{path}: {array.dtype} of shape {array.shape}; a mask is (H, W) integers")
    if array.size and (array.min() < 0 or array.max() > highest):
        raise UnknownLayoutError(f"{path}: indices from {array.min()} to {array.max()}; they go from 0 to {highest}")
    return np.asarray(array, np.uint8 if highest <= 255 else np.uint16)
