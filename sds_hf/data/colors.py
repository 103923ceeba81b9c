"""Colours of classes in pictures for people. Files keep the palette of their label space."""

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
)
COLORS = tuple(HEX[start : start + 6] for start in range(0, len(HEX), 6))
PALE = (235, 235, 215)  # pixels to ignore


def class_color(index: int) -> tuple[int, int, int]:
    """RGB of a class; after forty classes colours come again."""
    if index == IGNORE_INDEX:
        return PALE
    red, green, blue = bytes.fromhex(COLORS[(index - 1) % len(COLORS)])
    return red, green, blue


@cache
def class_colors() -> np.ndarray:
    """RGB of all indices, (256, 3) uint8."""
    return np.array([class_color(index) for index in range(IGNORE_INDEX + 1)], np.uint8)
