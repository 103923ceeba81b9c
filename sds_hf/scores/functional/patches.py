"""Patches and colour channels of images, shuffled, and what shuffling does to a similarity."""

import hashlib
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

DifferenceKind = Literal["signed", "abs"]
PatchUnit = Literal["grid", "pixels"]
ShuffleKind = Literal["tiles", "channels"]


def perturbation_score(intact: "Tensor", mixed: "Tensor", difference: DifferenceKind = "signed") -> "Tensor":
    """How far shuffling moves the similarity of an image.

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


def patch_order(seed: int, grid: int, draw: int) -> "Tensor":
    """A random order of the `grid * grid` tiles of an image, (grid * grid,) int64, never the identity.

    It depends on its arguments only, so every image is shuffled alike whatever its id, batch or process.
    """
    import torch

    digest = hashlib.sha256(f"{seed}|{grid}|{draw}".encode()).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "big")))
    order = np.arange(grid * grid)
    while grid > 1 and (order == np.arange(grid * grid)).all():
        order = generator.permutation(grid * grid)
    return torch.from_numpy(order)


def shuffle_patches(images: "Tensor", order: "Tensor", tile: int | None = None) -> "Tensor":
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
    import torch.nn.functional as F

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


def channel_order(seed: int, row_id: str, draw: int) -> "Tensor":
    """A random order of the three colour channels of a row's image, (3,) int64; one draw in six is the identity.

    It depends on its arguments only, so a row's image is changed alike in every batch and process.
    """
    import torch

    digest = hashlib.sha256(f"{seed}|{row_id}|channels|{draw}".encode("utf-8", "surrogatepass")).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "big")))
    return torch.from_numpy(generator.permutation(3))


def shuffle_channels(images: "Tensor", orders: "Tensor") -> "Tensor":
    """Put channel `orders[b, c]` of image b at place c: what the authors of SDS published does this to an image.

    Their code cuts an image of 512 pixels into (3, 16, 128 * 128) and permutes the first axis, the channels, in place
    of the second, the tiles. No pixel moves.

    Args:
        images: (B, C, S, S).
        orders: (B, C) int64, a permutation for each image.

    Returns:
        (B, C, S, S), dtype of the images.

    Source:
        github.com/tanghao2000/SDS, PCS_voc.py and PCS_coco.py, in every commit of May 2025.
    """
    import torch

    rows = torch.arange(len(images), device=images.device)[:, None]
    return images[rows, orders.to(images.device)]
