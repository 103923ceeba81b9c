"""Colours of classes: in pictures for people, and as palettes of mask files."""

import struct
import zlib
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

from sds_hf.data.labels import IGNORE_INDEX

# None is grey, dark or pale, so that each is seen on a grey picture. From the first, the next is always the one that is
# farthest from all before it in OKLab, as it is and as people see it who lack one of the three cones (Machado et al.,
# 2009); about twelve are told apart by everyone, more by their outlines and names.
HEX = (
    "0078b4a5f000e10000ffb4ffe1965ad25aff5a2de100781e00b4d2d21ea5"
    "5ae196962d870fb400d2c34b4b965a7887d2f087ff4b5ac300ff78964bf0"
    "ff7800b44b3c783ca5b478b469b4785a87ffe187d2e14b4b00e1ff96f0a5"
    "87a5f0965a00b41ed2a55ad2965aa500d27800874bd24bc30f96f0ffa500"
    "b4780096d269f0d25ac3963cf05ac34bf0876978e1784be1b478e1b40096"
    "78d21e8700d22d963ce18769962db4b43c961eb4ffd2784ba5e13c3c783c"
    "b44bc3ff87e13cc3e13c69ffc34be13c4bf0c3b44b5aa569ffa587873c96"
    "e178005ad2f0b4000f4bb45ab45a2d00c3ffc369f0695ad2ffb4694bc378"
)
COLORS = tuple(HEX[start : start + 6] for start in range(0, len(HEX), 6))
PALE = (235, 235, 215)  # pixels to ignore


def class_color(index: int) -> tuple[int, int, int]:
    """RGB of a class; after eighty classes colours come again."""
    if index == IGNORE_INDEX:
        return PALE
    red, green, blue = bytes.fromhex(COLORS[(index - 1) % len(COLORS)])
    return red, green, blue


@cache
def class_colors() -> np.ndarray:
    """RGB of all indices, (256, 3) uint8."""
    return np.array([class_color(index) for index in range(IGNORE_INDEX + 1)], np.uint8)


SIGNATURE = b"\x89PNG\r\n\x1a\n"
OF_GREY = (b"tRNS", b"bKGD", b"sBIT", b"hIST", b"PLTE")  # chunks that mean something else with a palette


def with_palette(png: bytes, palette: Sequence[tuple[int, int, int]]) -> bytes:
    """An index PNG with a palette, so that programs that look at it show colours; its pixels stay as they are encoded.

    Args:
        png: grey, of 8 bits, or with a palette already.
        palette: RGB of each index, at most 256.

    Raises:
        ValueError: if it is something else.
    """
    chunks = list(_chunks(png))
    header = dict(chunks).get(b"IHDR", b"")
    if len(header) != 13 or header[8:10] not in (b"\x08\x00", b"\x08\x03"):
        raise ValueError("a palette needs masks that are PNGs of 8-bit indices; publish them without, or save them so")
    colors = bytes(channel for color in palette for channel in color)
    kept = [(kind, data) for kind, data in chunks[1:] if kind not in OF_GREY]
    return SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in [(b"IHDR", header[:9] + b"\x03" + header[10:]), (b"PLTE", colors), *kept]
    )


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and data of the parts of a PNG; none of what is no PNG or broken."""
    position = len(SIGNATURE)
    while png.startswith(SIGNATURE) and position + 12 <= len(png):
        (length,) = struct.unpack(">I", png[position : position + 4])
        yield png[position + 4 : position + 8], png[position + 8 : position + 8 + length]
        position += 12 + length
