"""What a vision transformer sees of the regions of a mask."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def seen_labels(
    mask: np.ndarray, resized: tuple[int, int], corner: tuple[int, int], size: tuple[int, int], outside: int = 255
) -> np.ndarray:
    """The labels in the frame that an encoder sees: those of the nearest pixels of the mask.

    Args:
        mask: (H, W) integers.
        resized: (height, width) that the image is resized to.
        corner: (top, left) of the crop in that, see `Preprocessing.frame`.
        size: (height, width) of the crop.
        outside: label of what lies outside of the image.

    Returns:
        Of `size`, dtype of the mask.
    """
    indices, inside = [], []
    for before, after, start, length in zip(mask.shape, resized, corner, size, strict=True):
        at = (start + np.arange(length) + 0.5) * before / after
        indices.append(at.astype(np.int64).clip(0, before - 1))
        inside.append((at >= 0) & (at < before))
    return np.where(np.logical_and.outer(*inside), mask[np.ix_(*indices)], outside).astype(mask.dtype)


def patch_shares(labels: np.ndarray, class_ids: list[int], patch: int) -> np.ndarray:
    """The share of each patch that each class covers.

    Args:
        labels: (H, W) integers; what does not fill a patch at the end is not seen.
        class_ids: the classes.
        patch: pixels a side.

    Returns:
        (classes, patches) float32, patches row by row.
    """
    height, width = (side // patch for side in labels.shape)
    tiles = labels[: height * patch, : width * patch].reshape(height, patch, width, patch)
    shares = [(tiles == class_id).mean((1, 3), dtype=np.float32).ravel() for class_id in class_ids]
    return np.stack(shares) if shares else np.empty((0, height * width), np.float32)


def mean_features(tokens: "Tensor", shares: np.ndarray) -> np.ndarray:
    """The mean direction of the patch tokens in each region.

    Args:
        tokens: (patches, D) float, of any length.
        shares: (regions, patches) float32, the weights.

    Returns:
        (regions, D) float32 of length 1; NaN where nothing has a weight or a token is not finite.
    """
    import torch
    import torch.nn.functional as F

    sums = torch.from_numpy(shares).to(tokens.device) @ F.normalize(tokens.float(), dim=-1)
    directions: np.ndarray = (sums / sums.norm(dim=-1, keepdim=True)).cpu().numpy()
    return directions
