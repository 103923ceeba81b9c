"""Class activation maps and their refinement (CLIP-ES, Lin et al., CVPR 2023), on tensors only."""

import torch
from scipy import ndimage
from torch import Tensor

EPSILON = 1e-7


def min_max(maps: Tensor) -> Tensor:
    """Scale maps (..., n) to [0, 1] over the last dimension; a constant map becomes 0."""
    shifted = maps - maps.amin(-1, keepdim=True)
    return shifted / (EPSILON + shifted.amax(-1, keepdim=True))


def grad_cam(activations: Tensor, weights: Tensor) -> Tensor:
    """Where a class is seen: channels weighted by their mean gradient, summed, negative parts cut off, min-max scaled.

    Args:
        activations: (..., n, D), the tokens of the patches.
        weights: (..., D), the gradient of the class probability, averaged over the tokens.

    Returns:
        (..., n) in [0, 1].
    """
    maps = (activations @ weights[..., None])[..., 0].relu()
    # Scaled twice as in the authors' code: it matters for a class of tiny probability, whose maximum is near EPSILON.
    return min_max(min_max(maps))


def affinity(attention: Tensor) -> Tensor:
    """Pairwise affinity of patches from mean attention weights: made doubly stochastic, symmetric, and squared.

    Args:
        attention: (..., n, n), rows attend to columns, class token removed.

    Returns:
        (..., n, n).
    """
    transition = attention / attention.sum(-2, keepdim=True)
    transition = transition / transition.sum(-1, keepdim=True)
    for _ in range(2):
        transition = transition / transition.sum(-2, keepdim=True)
        transition = transition / transition.sum(-1, keepdim=True)
    transition = (transition + transition.transpose(-1, -2)) / 2
    return transition @ transition


def object_boxes(cam: Tensor, threshold: float, exclusive: bool = False) -> Tensor:
    """Bounding boxes of the parts of a map above a share of its maximum.

    Args:
        cam: (h, w) in [0, 1].
        threshold: share of the maximum that a cell must exceed, in grey levels of 8 bits.
        exclusive: never reach the map's last row and column, as the authors' code does.

    Returns:
        (h, w) bool, true inside a box; all false if nothing exceeds the threshold.
    """
    levels = (cam * 255).to(torch.uint8).cpu().numpy()
    parts, _ = ndimage.label(levels > int(threshold * levels.max()), structure=[[1, 1, 1]] * 3)
    inside = torch.zeros(cam.shape, dtype=torch.bool)
    for box in ndimage.find_objects(parts):
        inside[box] = True
    if exclusive:
        inside[-1], inside[:, -1] = False, False
    return inside.to(cam.device)


def refine(cams: Tensor, boxes: Tensor, transition: Tensor) -> Tensor:
    """Spread each map inside its boxes along the affinity: (K, n), (K, n) bool, (n, n) -> (K, n), not scaled."""
    return (cams * boxes) @ transition.T
