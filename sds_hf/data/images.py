"""Images and masks, from the cells of a dataset to arrays and back. Masks are indices from first byte to last."""

import io
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from sds_hf.data.access.paths import PathError, Unreadable, read_file
from sds_hf.data.masks.checks import Color, why_decoded_otherwise, why_in_transparency, why_of_other_values

Array = np.ndarray
T = TypeVar("T")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # Pillow knows some that run other programs
ORIENTATION = 0x0112  # the EXIF tag
TURNS = {  # what makes a picture upright, by that tag
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
LFS = b"version https://git-lfs"
LONGEST = 100  # times the shorter side; beyond that, resizing the shorter side to a model's size fills the memory
PHOTO_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")


class BadImageError(ValueError):
    """An image or mask that cannot be used; the message names it and says why."""


def decode_image(cell: Any, name: str = "image") -> Array:
    """The picture of a cell, upright.

    Args:
        cell: `{"bytes": ..., "path": ...}` or encoded bytes; the `Path` of a file; a PIL image; or (H, W, 3) integers
            from 0 to 255, as an array, a tensor of either order or nested lists. A path that is text comes from data
            and is not followed here, see `sds_hf.data.access.paths`.
        name: what to call it in errors.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        BadImageError: if there is none or it cannot be decoded.
    """
    image = _open(_picture(cell, name), name)
    if image.mode not in PHOTO_MODES:
        raise BadImageError(f"{name}: mode {image.mode} is no 8-bit picture; convert it to RGB")
    if max(image.size) > LONGEST * min(image.size):
        size = f"{image.width}x{image.height}"
        raise BadImageError(f"{name}: {size} pixels; one side may be {LONGEST} times the other, not more")
    return _pixels(lambda: np.asarray(_upright(image).convert("RGB")), name)


def decode_mask(
    cell: Any, name: str = "mask", highest: int = 255, value_of: Mapping[Color, int] | None = None
) -> Array:
    """The class indices of a mask, exactly as stored but upright: a palette is never applied.

    Args:
        cell: as for `decode_image`; an array may also be (H, W).
        name: what to call it in errors.
        highest: the highest index there may be.
        value_of: the index that each colour of a palette stands for: what proves that a tool sorted one anew.

    Returns:
        (H, W) uint8, or uint16 if `highest` is above 255.

    Raises:
        BadImageError: if there is no mask, it cannot be decoded, its pixels are not the indices that were meant, or it
            holds colours or indices that are too high.
    """
    if (array := _array(cell, name)) is not None:
        return _indices(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array, name, highest)
    image = _open(cell, name)
    if reason := why_decoded_otherwise(image, None if image is cell else cell_bytes(cell)):
        raise BadImageError(f"{name}: {reason}")
    pixels = _pixels(lambda: np.asarray(_upright(image)), name)
    if image.mode not in ("1", "P", "L", "RGB", "RGBA") and not image.mode.startswith("I"):
        raise BadImageError(f"{name}: mode {image.mode} holds no class indices; save it as an 8-bit index PNG")
    indices = _indices(pixels, name, highest)
    if (
        image.mode == "P"
        and value_of
        and (reason := why_of_other_values(_palette(image), values_of(indices), value_of))
    ):
        raise BadImageError(f"{name}: {reason}")
    return indices


def _palette(image: Image.Image) -> list[Color]:
    return [(red, green, blue) for red, green, blue in zip(*[iter(image.getpalette() or [])] * 3, strict=False)]


def _indices(pixels: Array, name: str, highest: int) -> Array:
    """The indices that the pixels of a mask are: (H, W), or (H, W, 3 or 4) where all colours are grey.

    Raises:
        BadImageError: if they are none.
    """
    if pixels.ndim == 3 and pixels.shape[2] in (3, 4):
        if pixels.shape[2] == 4 and (reason := why_in_transparency(pixels)):
            raise BadImageError(f"{name}: {reason}")
        colors = pixels[..., :3]
        if (colors != colors[..., :1]).any():
            y, x = np.argwhere((colors != colors[..., :1]).any(-1))[0]
            color = tuple(int(v) for v in colors[y, x])
            raise BadImageError(
                f"{name}: holds colours, e.g. {color} at row {y}, column {x}; masks must hold class indices"
            )
        pixels = colors[..., 0]
    if pixels.ndim != 2 or not pixels.size or pixels.dtype.kind not in "biu":
        raise BadImageError(f"{name}: {pixels.dtype} of shape {pixels.shape}; a mask is (H, W) integers")
    if pixels.dtype == np.uint8 and highest == 255:
        return np.array(pixels)
    if pixels.dtype.kind != "b" and (pixels.min() < 0 or pixels.max() > highest):
        value = pixels[(pixels < 0) | (pixels > highest)][0]
        raise BadImageError(f"{name}: holds the index {value}; indices go from 0 to {highest}")
    return pixels.astype(np.uint8 if highest <= 255 else np.uint16)


def values_of(mask: Array) -> list[int]:
    """The different values of a (H, W) uint8 mask, ascending; eight times as fast as sorting them."""
    counts = Image.fromarray(mask).histogram()
    return [value for value, count in enumerate(counts) if count]


def picture_size(cell: Any, name: str = "image") -> tuple[int, int]:
    """Height and width of the picture of a cell, upright; its pixels are not read.

    Raises:
        BadImageError: if there is none.
    """
    if (array := _array(cell, name)) is not None:
        return array.shape[0], array.shape[1]
    image = _open(cell, name)
    turned = _pixels(lambda: _orientation(image), name) >= 5  # lies on its side
    return (image.width, image.height) if turned else (image.height, image.width)


def pixel_count(cell: Any) -> int:
    """Pixels of the picture of a cell by its header; 0 if it is none, or has more than are decoded."""
    try:
        if (array := _array(cell, "picture")) is not None:
            return int(array.shape[0] * array.shape[1])
        image = _open(cell, "picture")
    except BadImageError:
        return 0
    return image.width * image.height


def check_picture(cell: Any, name: str = "image") -> None:
    """Refuse a cell that is no picture that can be decoded.

    All data of a JPEG is read, but only an eighth of its pixels a side are made of it: what is broken shows as well.

    Raises:
        BadImageError: says why.
    """
    image = _open(_picture(cell, name), name)
    if image is not cell:  # the user's own picture stays whole
        image.draft(image.mode, (1, 1))
    _pixels(image.load, name)


def encode_mask(mask: Array) -> bytes:
    """Bytes of an index PNG of a (H, W) mask: of 8 bits (mode L) if it is uint8, of 16 if uint16.

    Masks are runs of equal values: looking for these alone takes an eighth of the time that the best compression takes,
    and an eighth more bytes.
    """
    return _encode(Image.fromarray(mask), "PNG", compress_type=zlib.Z_RLE)


def encode_jpeg(image: Array, quality: int = 92) -> bytes:
    """Bytes of a JPEG of a (H, W, 3) uint8 image."""
    return _encode(Image.fromarray(image), "JPEG", quality=quality)


def encode_picture(image: Array) -> bytes:
    """Bytes of a PNG of a (H, W, 3) uint8 image."""
    return _encode(Image.fromarray(image), "PNG")


def cell_bytes(cell: Any) -> bytes | None:
    """The encoded bytes of a cell, of a file if the cell is a `Path`; None for a decoded image or an empty cell.

    Raises:
        PathError: if the file cannot be read, or the cell is a path that comes from data.
    """
    if isinstance(cell, Unreadable):
        raise PathError(cell.reason)
    if isinstance(cell, dict):
        if cell.get("bytes") is not None:
            return bytes(cell["bytes"])
        cell = cell.get("path")
    if isinstance(cell, str):
        raise PathError(f"{cell} is a path in data of which nobody knows where it comes from; it is not followed")
    if isinstance(cell, Path):
        return read_file(cell)
    return bytes(cell) if isinstance(cell, (bytes, bytearray, memoryview)) else None


def _encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _array(cell: Any, name: str) -> Array | None:
    """The array of a cell that is one, a tensor, or nested lists; None for files and pictures.

    Raises:
        BadImageError: if it is none that can be used.
    """
    if isinstance(cell, (list, tuple)):
        try:
            array = np.array(cell)
        except (ValueError, TypeError, OverflowError) as error:
            raise BadImageError(f"{name}: lists of unequal lengths are no picture") from error
    elif isinstance(cell, np.ndarray):
        array = cell
    elif type(cell).__module__.partition(".")[0] in ("torch", "jax", "jaxlib", "tensorflow"):
        array = np.asarray(cell.detach().cpu() if hasattr(cell, "detach") else cell)
        if array.ndim == 3 and type(cell).__module__.startswith("torch") and array.shape[0] in (1, 3):
            array = np.moveaxis(array, 0, -1)  # `datasets` puts the channels of tensors first
    else:
        return None
    if array.dtype == object:
        raise BadImageError(f"{name}: lists of unequal lengths are no picture")
    if array.dtype.kind not in "biu":
        raise BadImageError(
            f"{name}: an array of {array.dtype}, whose 1 may be white or nearly black; give integers from 0 to 255"
        )
    if array.ndim not in (2, 3) or not array.size:
        raise BadImageError(f"{name}: an array of shape {array.shape} is no picture")
    return array


def _picture(cell: Any, name: str) -> Any:
    """A cell, as a picture if it is an array.

    Raises:
        BadImageError: if it is an array that is none.
    """
    array = _array(cell, name)
    if array is None:
        return cell
    if array.dtype != bool and (array.min() < 0 or array.max() > 255):
        raise BadImageError(f"{name}: holds {array.min()} to {array.max()}; pixels go from 0 to 255")
    array = array.astype(np.uint8) * (255 if array.dtype == bool else 1)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim == 3 and array.shape[2] not in (3, 4):
        raise BadImageError(f"{name}: an array of shape {array.shape} is no picture; it is (H, W, 3)")
    return Image.fromarray(np.ascontiguousarray(array, np.uint8))


def _open(cell: Any, name: str) -> Image.Image:
    if isinstance(cell, Image.Image):
        return cell
    try:
        data = cell_bytes(cell)
    except ValueError as error:
        raise BadImageError(f"{name}: {error}") from error
    if data is None:
        what = "the cell is empty" if cell is None or isinstance(cell, dict) else f"a {type(cell).__name__} is no image"
        raise BadImageError(f"{name}: {what}")
    if not data:
        raise BadImageError(f"{name}: the file is empty (0 bytes)")
    if data.startswith(LFS):
        raise BadImageError(f"{name}: a pointer of Git LFS, not the file itself; get it with `git lfs pull`")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    except UnidentifiedImageError as error:
        raise BadImageError(f"{name}: {len(data)} bytes that are no image") from error
    except Image.DecompressionBombError as error:
        raise BadImageError(f"{name}: too large: {error}") from error
    except Exception as error:  # what Pillow's plugins make of broken data has no end
        raise _broken(name, error) from error
    if frames > 1:
        raise BadImageError(f"{name}: {frames} frames; an image has one")
    # Pillow only warns up to twice its limit; warnings made errors here would be errors in all threads.
    if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise BadImageError(f"{name}: too large: {image.width}x{image.height} pixels")
    return image


def _upright(image: Image.Image) -> Image.Image:
    """The picture turned as its EXIF tag says; by the tag alone, since others need not be well-formed."""
    image.load()  # some tags stand behind the pixels
    turn = TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":
        return 1  # Pillow turns these by itself
    value = image.getexif().get(ORIENTATION, 1)
    return value if isinstance(value, int) else 1


def _pixels(read: Callable[[], T], name: str) -> T:
    """What is read of a picture; whatever a decoder makes of broken data becomes one kind of error."""
    try:
        return read()
    except Exception as error:
        raise _broken(name, error) from error


def _broken(name: str, error: Exception) -> BadImageError:
    if isinstance(error, MemoryError):
        return BadImageError(f"{name}: does not fit into the memory that is free")
    return BadImageError(f"{name}: broken image data: {str(error) or type(error).__name__}")
