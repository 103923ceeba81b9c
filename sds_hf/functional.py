"""Tensor functions behind the scores: similarity, patch shuffling and overlap of label maps. No models, no I/O."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

DifferenceKind = Literal["signed", "abs"]
PatchUnit = Literal["grid", "pixels"]
IgnoreKind = Literal["base", "none", "either"]


def perturbation_score(intact: Tensor, mixed: Tensor, difference: DifferenceKind = "signed") -> Tensor:
    """How far shuffling its patches moves the similarity of an image.

    `signed`: what is lost (Tang et al. 2025, Eq. 7). `abs`: the size of the change either way, as in the authors' code;
    it also rewards images of which CLIP becomes more certain when they are shuffled.

    Args:
        intact: (...) float, similarities of the images.
        mixed: (...) float, mean similarities of their shuffled versions.
        difference: which.

    Returns:
        (...) float.
    """
    return intact - mixed if difference == "signed" else (intact - mixed).abs()


def patch_grid(side: int, scale: int, unit: PatchUnit = "grid") -> tuple[int, int]:
    """Tiles a side, and pixels a side of each tile, for an image of `side` pixels.

    Raises:
        ValueError: if that leaves nothing to shuffle.
    """
    grid, tile = (scale, side // scale) if unit == "grid" else (side // scale, scale)
    if tile < 1 or grid < 2:
        raise ValueError(
            f"scale {scale} in patch_unit {unit!r} cannot cut an image of {side} pixels a side into tiles to shuffle; "
            f"give 2 to {side} tiles a side, or tiles of 1 to {side // 2} pixels"
        )
    return grid, tile


def patch_order(seed: int, grid: int, draw: int) -> Tensor:
    """A random order of the `grid * grid` tiles of an image, (grid * grid,) int64, never the identity.

    It depends on its arguments only, so every image is shuffled alike whatever its id, batch or process.
    """
    digest = hashlib.sha256(f"{seed}|{grid}|{draw}".encode()).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "big")))
    order = np.arange(grid * grid)
    while grid > 1 and (order == np.arange(grid * grid)).all():
        order = generator.permutation(grid * grid)
    return torch.from_numpy(order)


def shuffle_patches(images: Tensor, order: Tensor, tile: int | None = None) -> Tensor:
    """Cut square images into tiles and put tile `order[i]` at place i, row by row (Tang et al. 2025, Eq. 3).

    Args:
        images: (B, C, S, S). If the tiles do not fill S, the images are resized to what they fill and back.
        order: (n * n,) int64, a permutation.
        tile: pixels a side of a tile; as many as fit if None.

    Returns:
        (B, C, S, S), dtype of the images.

    Raises:
        ValueError: if there are more tiles a side than pixels.
    """
    batch, channels, side, _ = images.shape
    grid = int(len(order) ** 0.5)
    tile = tile or side // grid
    if tile == 0:
        raise ValueError(f"cannot cut an image of {side} pixels into {grid} tiles a side")
    inner = tile * grid
    if inner != side:
        images = F.interpolate(images, size=(inner, inner), mode="bilinear", antialias=True)
    tiles = images.reshape(batch, channels, grid, tile, grid, tile).permute(2, 4, 0, 1, 3, 5)
    tiles = tiles.reshape(grid * grid, batch, channels, tile, tile)[order.to(images.device)]
    shuffled = tiles.reshape(grid, grid, batch, channels, tile, tile).permute(2, 3, 0, 4, 1, 5)
    shuffled = shuffled.reshape(batch, channels, inner, inner)
    return shuffled if inner == side else F.interpolate(shuffled, size=(side, side), mode="bilinear")


def class_overlap(
    mask: Tensor, reference: Tensor, class_ids: Tensor, ignore: IgnoreKind = "base", ignore_index: int = 255
) -> tuple[Tensor, Tensor]:
    """Intersection and union of two label maps, class by class.

    Args:
        mask: (H, W) uint8, the label map in question.
        reference: (H, W) uint8, what it is compared with.
        class_ids: (K,) int64, classes to compare.
        ignore: `base` leaves out pixels that `mask` ignores, `either` those that one of the two ignores, `none` nothing
            (an ignored pixel then counts as another class, as in the authors' code).
        ignore_index: the index of ignored pixels.

    Returns:
        Intersections (K,) and unions (K,), int64, in pixels.
    """
    counted = torch.ones_like(mask, dtype=torch.bool)
    if ignore in ("base", "either"):
        counted &= mask != ignore_index
    if ignore == "either":
        counted &= reference != ignore_index
    pairs = mask[counted].long() * 256 + reference[counted].long()
    table = torch.bincount(pairs, minlength=256 * 256).view(256, 256)
    intersection = table.diagonal()[class_ids]
    return intersection, table.sum(1)[class_ids] + table.sum(0)[class_ids] - intersection


def mean_iou(intersection: Tensor, union: Tensor) -> float:
    """Mean over classes of intersection over union; classes without pixels are left out, NaN if none is left."""
    counted = union > 0
    return float((intersection[counted].double() / union[counted]).mean()) if counted.any() else float("nan")


def pooled_iou(intersection: Tensor, union: Tensor) -> float:
    """Sum of intersections over sum of unions (what the authors' code calls mIoU), NaN if there are no pixels."""
    total = int(union.sum())
    return int(intersection.sum()) / total if total else float("nan")


def shape_complexity(areas: np.ndarray, perimeters: np.ndarray) -> np.ndarray:
    """SCS of Dai et al. (ICLR 2025): perimeter over area, (n,) float64; 0 without an area."""
    complexity: np.ndarray = np.divide(perimeters, areas, out=np.zeros(len(areas)), where=areas > 0)
    return complexity


def scale_invariant_complexity(areas: np.ndarray, perimeters: np.ndarray) -> np.ndarray:
    """SI-SCS: perimeter over that of the circle of equal area, (n,) float64, at least 1; 0 without an area."""
    of_circles = 2 * np.sqrt(np.pi * areas)
    complexity: np.ndarray = np.divide(perimeters, of_circles, out=np.zeros(len(areas)), where=areas > 0)
    return complexity


def object_diversity(counts: Mapping[int, int], weights: Mapping[int, float]) -> float:
    """Sum over classes of weight times log2(1 + number of objects): repeats of a class add less and less."""
    return float(sum(weights.get(class_id, 1.0) * np.log2(1 + count) for class_id, count in counts.items()))


def effective_classes(counts: Sequence[int]) -> float:
    """Exponential of the entropy of the classes' shares of the objects: K for K equal classes, 0 for none."""
    shares = np.array(counts, np.float64) / max(1, sum(counts))
    return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0
