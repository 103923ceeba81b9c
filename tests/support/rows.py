"""Small datasets."""

import numpy as np
import torch
from datasets import Dataset, Features, List, Value

from sds_hf.data.folder import row_features
from sds_hf.data.images import encode_jpeg, encode_mask
from sds_hf.data.labels import VOC

# Two label maps whose overlap is worked out by hand.
MASK = torch.tensor(
    [
        [0, 0, 1, 1, 1, 1],
        [0, 0, 1, 1, 1, 1],
        [0, 0, 1, 1, 255, 255],
        [2, 2, 0, 0, 0, 0],
        [2, 2, 0, 0, 0, 0],
        [2, 2, 0, 0, 0, 0],
    ],
    dtype=torch.uint8,
)
REFERENCE = torch.tensor(
    [
        [0, 0, 1, 1, 1, 0],
        [0, 0, 1, 1, 1, 0],
        [0, 0, 1, 1, 1, 0],
        [2, 2, 2, 0, 0, 0],
        [2, 255, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 3],
    ],
    dtype=torch.uint8,
)


def random_row(index: int, height: int = 40, width: int = 40) -> dict:
    """A row with a noisy image and a mask of one to three rectangles."""
    rng = np.random.default_rng([7, index])
    image = rng.integers(0, 256, (height // 4, width // 4, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    mask = np.zeros((height, width), np.uint8)
    for class_id in rng.choice(np.arange(1, 21), size=1 + index % 3, replace=False):
        y, x = rng.integers(0, height // 2), rng.integers(0, width // 2)
        mask[y : y + height // 3, x : x + width // 3] = class_id
    mask[0, : width // 4] = 255
    return {
        "id": f"row{index:03d}",
        "image": {"bytes": encode_jpeg(image), "path": f"row{index:03d}.jpg"},
        "mask": {"bytes": encode_mask(mask), "path": f"row{index:03d}.png"},
        "caption": f"a picture of thing {index}",
        "classes": [int(value) for value in np.unique(mask) if value not in (0, 255)],
        "class_prompt": None,
    }


def random_dataset(count: int = 12) -> Dataset:
    """Rows of two sizes in memory, VOC classes."""
    rows = [random_row(index, 40, 40 if index % 4 else 56) for index in range(count)]
    return Dataset.from_list(rows, features=row_features(VOC))


def masks_as_rows(*masks: np.ndarray) -> Dataset:
    rows = [{"id": str(place), "mask": {"bytes": encode_mask(mask), "path": None}} for place, mask in enumerate(masks)]
    features = {name: row_features(VOC)[name] for name in ("id", "mask", "classes")}
    return Dataset.from_list([{**row, "classes": []} for row in rows], features=Features(features))


def given_rows(*rows: list[dict]) -> Dataset:
    entry = {
        "class": Value("int32"), "polygons": List(List(Value("float64"))), "counts": Value("string"),
        "size": List(Value("int32")), "iscrowd": Value("int8"),
    }  # fmt: skip
    filled = [{"id": str(i), "instances": [dict.fromkeys(entry) | one for one in row]} for i, row in enumerate(rows)]
    return Dataset.from_list(filled, features=Features({"id": Value("string"), "instances": List(entry)}))
