"""What shows that pixels of a mask file are not the indices that were meant: each says why, None if nothing does."""

import re
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageFile

Color = tuple[int, int, int]
OPTIMIZERS = "a tool that makes PNGs smaller (oxipng, optipng, pngquant, ImageMagick)"
LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")
MAXIMA = (255, 65535)  # of PGM files whose greys are read as they are stored


def why_decoded_otherwise(image: Image.Image, data: bytes | None) -> str | None:
    """Why a decoder gives other pixels than were stored: formats that lose some, and depths that are scaled.

    Args:
        image: opened, its pixels not yet read.
        data: its file; None of a picture that somebody else opened.
    """
    kind = "JPEG" if image.format == "MPO" else image.format
    if kind == "JPEG":
        return "a JPEG mask has lost its indices; save masks as PNG"
    if kind == "WEBP" and not (data and _is_lossless_webp(data)):
        return "a WebP mask that is not lossless has lost its indices; save masks as PNG"
    if kind == "TIFF" and (compression := image.info.get("compression")) in LOSSY_TIFF:
        return f"a TIFF mask compressed as {compression} has lost its indices; save masks as PNG"
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else []
    stored = str(tiles)  # of each tile the mode in the file, alone or in a tuple
    if re.search(r"\bL;[24]", stored):
        return "a grey mask of 2 or 4 bits, whose 1 may mean 1 or a grey; save it with 8 bits"
    if re.search(r"\bL;I", stored):
        return "a TIFF mask whose greys are stored inverted (WhiteIsZero), so that 1 may mean 254; save it as PNG"
    if re.search(r"\b(LA|RGB|BGR)[AX]*;1[56]", stored):
        return "channels of other than 8 bits, of which only the upper ones are read; save the mask as an 8-bit PNG"
    if kind == "PPM" and image.mode != "1" and tiles[0][0].startswith("ppm") and tiles[0][3][1] not in MAXIMA:
        return f"a PGM mask whose greys end at {tiles[0][3][1]}, so that a decoder scales them; save it as PNG"
    return None


def _is_lossless_webp(data: bytes) -> bool:
    start = 12  # after RIFF, its size and WEBP
    while start + 8 <= len(data):
        chunk, size = data[start : start + 4], int.from_bytes(data[start + 4 : start + 8], "little")
        if chunk in (b"VP8 ", b"VP8L"):
            return chunk == b"VP8L"
        start += 8 + size + size % 2
    return False


def why_in_transparency(pixels: np.ndarray) -> str | None:
    """Why pixels of four channels, (H, W, 4), say nothing: all their shapes are in the last."""
    constant = [(channel == channel.flat[0]).all() for channel in np.moveaxis(pixels, -1, 0)]
    if all(constant[:-1]) and not constant[-1]:
        return (
            "all its shapes are in its transparency (alpha), its colour is the same everywhere; save them as class "
            "indices, in a grey PNG of 8 bits"
        )
    return None


def why_of_other_values(stored: list[Color], values: list[int], value_of: Mapping[Color, int]) -> str | None:
    """Why values of a palette are no indices: they have the colours, or the greys, of others.

    Tools that make PNGs smaller sort a palette anew and drop what is not used, or make one of greys: the picture looks
    the same, and every value means something else. Palettes with a further colour, or with one colour twice, prove
    nothing; neither do black and white, in which masks of one class are shown.

    Args:
        stored: the palette.
        values: that the mask holds.
        value_of: the value that each colour stands for.
    """
    while len(stored) > 1 and stored[-1] == (0, 0, 0):  # filled up
        stored = stored[:-1]
    greys = {(value, value, value): value for value in value_of.values()}
    for meant in (value_of, greys):
        if len(set(stored)) < len(stored) or not set(stored) <= set(meant):
            continue
        if meant is greys and set(stored) <= {(0, 0, 0), (255, 255, 255)}:
            continue
        for value in values:
            if value < len(stored) and meant[stored[value]] != value:
                return (
                    f"its value {value} has the colour {stored[value]}, that of {meant[stored[value]]}: {OPTIMIZERS} "
                    "sorted its palette anew, so its values are no indices; take the masks from before that "
                    "(`oxipng --np` keeps palettes) or turn their colours back into indices; if the colours mean "
                    "nothing, save the masks as grey PNGs"
                )
    return None
