"""COCO's run lengths of a mask, as text."""

from typing import Any

import numpy as np


def encode_rle(mask: np.ndarray) -> dict[str, Any]:
    """The run lengths of a (H, W) bool mask as COCO's JSON has them: `{"size": [H, W], "counts": text}`.

    Runs go down the columns, the first one is of zeros. `sds_hf.instances.decode_rle` tells how they are written; it is
    the inverse.
    """
    height, width = mask.shape
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate([[0] if flat.size == 0 or not flat[0] else [0, 0], edges, [flat.size]])).tolist()
    changes = [run - runs[place - 2] if place > 2 else run for place, run in enumerate(runs)]
    return {"size": [height, width], "counts": "".join(map(_text, changes))}


def _text(value: int) -> str:
    """In groups of 5 bits, lowest first: the sixth bit says that more follow, the fifth of the last one is its sign."""
    text = ""
    while True:
        group, value = value & 0x1F, value >> 5
        last = value == (-1 if group & 0x10 else 0)
        text += chr(48 + (group if last else group | 0x20))
        if last:
            return text
