"""Neighbours by cosine: an exact search in blocks, with memory that does not grow with the points."""

import hashlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    # For points start to stop, which of them each query may meet: (m, block) bool.
    Allowed = Callable[[int, int], Tensor]

BLOCK = 16384  # points compared at once


def blocks(queries: "Tensor", points: "Tensor", size: int = BLOCK) -> "Iterator[tuple[int, Tensor]]":
    """Cosines with some points at a time.

    Args:
        queries: (m, D) float, of length 1.
        points: (n, D) float of any precision, of length 1, on any device.
        size: points compared at once; does not change the result.

    Yields:
        The index of the first point, and cosines (m, up to `size`) float32.
    """
    for start in range(0, len(points), size):
        yield start, queries.float() @ points[start : start + size].to(queries.device).float().T


def nearest(
    queries: "Tensor", points: "Tensor", k: int, allowed: "Allowed | None" = None, size: int = BLOCK
) -> "tuple[Tensor, Tensor]":
    """The `k` points of highest cosine for each query.

    Args:
        queries: see `blocks`.
        points: see `blocks`.
        k: how many.
        allowed: which pairs count, all if None.
        size: see `blocks`.

    Returns:
        Cosines (m, k) float32, descending, and indices (m, k) int64; where a query has fewer points, minus infinity
        and -1.
    """
    import torch

    best = queries.new_full((len(queries), k), -torch.inf, dtype=torch.float32)
    indices = torch.full_like(best, -1, dtype=torch.int64)
    for start, cosines in blocks(queries, points, size):
        stop = start + cosines.shape[1]
        if allowed is not None:
            cosines = cosines.masked_fill(~allowed(start, stop).to(cosines.device), -torch.inf)
        here = torch.arange(start, stop, device=best.device).expand(len(queries), -1)
        best, order = torch.cat([best, cosines], 1).topk(k)
        indices = torch.cat([indices, here], 1).gather(1, order)
    return best, indices.masked_fill(best == -torch.inf, -1)


def mean_cosine(queries: "Tensor", points: "Tensor", k: int, allowed: "Allowed | None" = None) -> "Tensor":
    """Mean cosine with the `k` nearest points, or as many as there are: (m,) float32, NaN where there is none."""
    cosines, indices = nearest(queries, points, k, allowed)
    is_neighbor = indices >= 0
    return cosines.masked_fill(~is_neighbor, 0).sum(1) / is_neighbor.sum(1)


def text_hash(text: str) -> int:
    """64 bits that stand for a text, the same in every process."""
    return _int64(hashlib.sha256(text.encode(errors="surrogateescape")))


def pixel_hash(image: np.ndarray) -> int:
    """64 bits that stand for the pixels of an image (H, W, 3) uint8, whatever file they come from."""
    digest = hashlib.sha256(str(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    return _int64(digest)


def _int64(digest: "hashlib._Hash") -> int:
    return int.from_bytes(digest.digest()[:8], "big", signed=True)
