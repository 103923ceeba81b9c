"""Images and masks, from the cells of a dataset to arrays and back. Masks are indices from first byte to last."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

Array = np.ndarray
BROKEN = (OSError, SyntaxError, TypeError, ValueError, IndexError, EOFError)  # what Pillow makes of broken data
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # Pillow knows some that run other programs
ORIENTATION = 0x0112  # the EXIF tag
LFS = b"version https://git-lfs"
LONGEST = 100  # times the shorter side; beyond that, resizing the shorter side to a model's size fills the memory
PHOTO_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")


class BadImageError(ValueError):
    """An image or mask that cannot be used; the message names it and says why."""


def decode_image(cell: Any, name: str = "image") -> Array:
    """The picture of a cell, upright.

    Args:
        cell: `{"bytes": ..., "path": ...}`, a path, encoded bytes, a PIL image or a (H, W, 3) uint8 array.
        name: what to call it in errors.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        BadImageError: if there is none or it cannot be decoded.
    """
    image = _open(cell, name)
    if image.mode not in PHOTO_MODES:
        raise BadImageError(f"{name}: mode {image.mode} is no 8-bit picture; convert it to RGB")
    if max(image.size) > LONGEST * min(image.size):
        size = f"{image.width}x{image.height}"
        raise BadImageError(f"{name}: {size} pixels; one side may be {LONGEST} times the other, not more")
    return np.asarray(_load(ImageOps.exif_transpose, image, name).convert("RGB"))


def decode_mask(cell: Any, name: str = "mask", highest: int = 255) -> Array:
    """The class indices of a mask, exactly as stored: a palette is never applied.

    Args:
        cell: as for `decode_image`; an array may also be (H, W).
        name: what to call it in errors.
        highest: the highest index there may be.

    Returns:
        (H, W) uint8, or uint16 if `highest` is above 255.

    Raises:
        BadImageError: if there is no mask, it cannot be decoded, or it holds colours or indices that are too high.
    """
    image = _open(cell, name)
    if image.format in ("JPEG", "MPO"):
        raise BadImageError(f"{name}: a JPEG mask has lost its indices; save masks as PNG")
    if _is_scaled(image):
        raise BadImageError(f"{name}: a grey mask of 2 or 4 bits, whose 1 may mean 1 or a grey; save it with 8 bits")
    indices = np.asarray(_load(lambda opened: opened, image, name))
    if image.mode in ("RGB", "RGBA"):
        colors = indices[..., :3]
        if (colors != colors[..., :1]).any():
            y, x = np.argwhere((colors != colors[..., :1]).any(-1))[0]
            color = tuple(int(v) for v in colors[y, x])
            raise BadImageError(
                f"{name}: holds colours, e.g. {color} at row {y}, column {x}; masks must hold class indices"
            )
        indices = colors[..., 0]
    elif image.mode == "1":
        indices = indices.astype(np.uint8)
    elif image.mode not in ("P", "L") and not image.mode.startswith("I"):
        raise BadImageError(f"{name}: mode {image.mode} holds no class indices; save it as an 8-bit index PNG")
    if indices.dtype != np.uint8 and ((indices < 0) | (indices > highest)).any():
        value = indices[(indices < 0) | (indices > highest)][0]
        raise BadImageError(f"{name}: holds the index {value}; indices go from 0 to {highest}")
    return indices.astype(np.uint8 if highest <= 255 else np.uint16)


def picture_size(cell: Any, name: str = "image") -> tuple[int, int]:
    """Height and width of the picture of a cell, upright; its pixels are not read.

    Raises:
        BadImageError: if there is none.
    """
    image = _open(cell, name)
    try:
        turned = image.getexif().get(ORIENTATION, 1) >= 5  # lies on its side
    except BROKEN as error:
        raise BadImageError(f"{name}: broken image data: {error}") from error
    return (image.width, image.height) if turned else (image.height, image.width)


def encode_mask(mask: Array) -> bytes:
    """Bytes of an index PNG of a (H, W) mask: of 8 bits (mode L) if it is uint8, of 16 if uint16."""
    return _encode(Image.fromarray(mask), "PNG", optimize=True)


def encode_jpeg(image: Array, quality: int = 92) -> bytes:
    """Bytes of a JPEG of a (H, W, 3) uint8 image."""
    return _encode(Image.fromarray(image), "JPEG", quality=quality)


def cell_bytes(cell: Any) -> bytes | None:
    """The encoded bytes of a cell, read from its path if need be; None for a decoded image or an empty cell."""
    if isinstance(cell, dict):
        if cell.get("bytes") is not None:
            return bytes(cell["bytes"])
        cell = cell.get("path")
    if isinstance(cell, (str, Path)):
        return Path(cell).read_bytes()
    return cell if isinstance(cell, bytes) else None


def _encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _open(cell: Any, name: str) -> Image.Image:
    if isinstance(cell, Image.Image):
        return cell
    if isinstance(cell, np.ndarray):
        return Image.fromarray(cell)
    try:
        data = cell_bytes(cell)
    except OSError as error:
        raise BadImageError(f"{name}: cannot read {error.filename}: {error.strerror}") from error
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
    except BROKEN as error:
        raise BadImageError(f"{name}: broken image data: {error}") from error
    if frames > 1:
        raise BadImageError(f"{name}: {frames} frames; an image has one")
    # Pillow only warns up to twice its limit; warnings made errors here would be errors in all threads.
    if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise BadImageError(f"{name}: too large: {image.width}x{image.height} pixels")
    return image


def _is_scaled(image: Image.Image) -> bool:
    """Whether Pillow will make 0 to 255 of grey values of 2 or 4 bits."""
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else []
    return "L;2" in str(tiles) or "L;4" in str(tiles)  # of each tile the mode, alone or in a tuple


def _load(transform: Callable[[Image.Image], Image.Image], image: Image.Image, name: str) -> Image.Image:
    """Read the pixels and apply a transform; broken data becomes one kind of error."""
    try:
        image.load()
        return transform(image)
    except BROKEN as error:
        raise BadImageError(f"{name}: broken image data: {error}") from error
