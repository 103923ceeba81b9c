"""Regions of a picture, and coarse maps that are snapped to them by a vote of their pixels."""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sds_hf.clip.reference.settings import SUPERPIXELS
from sds_hf.errors import extra_module

LONGEST = 320  # side of the picture that superpixels are looked for in
SCALE, SIGMA, SMALLEST = 100.0, 0.5, 30  # of Felzenszwalb and Huttenlocher; the last in pixels of a region
EPSILON = 1e-6

Segment = Callable[[np.ndarray], np.ndarray]


def segmenter(regions: str, device: torch.device) -> Segment:
    """What cuts a picture, (H, W, 3) uint8, into regions: (H, W) int64, numbers from 0.

    Args:
        regions: `superpixels`, or a model, see `ReferenceSettings`.
        device: of the model.

    Raises:
        ModelNotFoundError: if the model cannot be had or is of no kind that is known here.
        ModuleNotFoundError: if scikit-image is not installed.
    """
    if regions == SUPERPIXELS:
        return superpixels
    from sds_hf.clip.segmenters import load_segmenter

    return load_segmenter(regions, device)


def superpixels(image: np.ndarray) -> np.ndarray:
    """Regions of like colour (Felzenszwalb and Huttenlocher, IJCV 2004)."""
    segmentation = extra_module("skimage.segmentation")
    height, width = image.shape[:2]
    factor = min(1.0, LONGEST / max(height, width))
    small = Image.fromarray(image).resize((max(1, round(width * factor)), max(1, round(height * factor))))
    regions = segmentation.felzenszwalb(np.asarray(small), scale=SCALE, sigma=SIGMA, min_size=SMALLEST)
    rows, columns = (np.arange(side) * part // side for side, part in zip((height, width), regions.shape, strict=True))
    large: np.ndarray = np.asarray(regions, np.int64)[rows[:, None], columns]
    return large


def region_means(maps: Tensor, regions: np.ndarray) -> Tensor:
    """Maps with the mean of each region in all of its pixels, each class then scaled to [0, 1].

    A class that is in the picture has a region it is most likely in; so the scales of classes need not be compared, and
    the background has what the strongest class leaves.

    Args:
        maps: (1 + classes, H, W), the background first.
        regions: (H, W) int64, numbers from 0.

    Returns:
        (1 + classes, H, W) float32.
    """
    numbers = torch.from_numpy(regions.ravel()).to(maps.device)
    classes = maps[1:].flatten(1).double()
    sums = torch.zeros(len(classes), int(numbers.max()) + 1, dtype=torch.float64, device=maps.device)
    means = sums.index_add(1, numbers, classes) / torch.bincount(numbers).clamp(min=1)
    means = means - means.amin(1, keepdim=True)
    means = means / (means.amax(1, keepdim=True) + EPSILON)
    snapped = means[:, numbers].view_as(maps[1:]).float()
    return torch.cat([1 - snapped.amax(0, keepdim=True), snapped])
