"""What the nearest points of a set say of a label: whole-numbered vectors, whose cosines no order of sums changes."""

from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from sds_hf.errors import extra_module

# Length of a vector: a product of two, and each part of its sum, stays below 2**24, up to where float32 counts.
LENGTH = 4000
BLOCK = 16384  # points compared at once
QUERIES = 1024  # of them with so many
CELL = 64  # points a cell of the approximate index, about
MOST_CELLS = 4096
POINTS_PER_CELL = 64  # of which its centre is found
SEARCHED, FEWEST_SEARCHED = 1 / 32, 8  # of the cells, those with the closest centres


@dataclass(frozen=True, eq=False)
class Points:
    """Vectors that are searched, in the order that decides among equal ones.

    Attributes:
        vectors: (n, D) int16, see `whole_numbers`; may lie in a file.
        groups: (n,) int64, ascending: points of a query's own group do not count for it.
        index: of faiss, see `build_index`; None for the exact search.
    """

    vectors: np.ndarray
    groups: np.ndarray
    index: Any = None


def whole_numbers(vectors: np.ndarray) -> np.ndarray:
    """Vectors (n, D) of length 1 as int16, (n, D), of length about `LENGTH`.

    Rounding moves a cosine by about 0.0001. In return a sum of products is exact in float32, whatever its order is, so
    that neighbours do not depend on blocks, threads, batches or the machine.
    """
    numbers: np.ndarray = np.rint(vectors * LENGTH).astype(np.int16)
    return numbers


def nearest_others(queries: np.ndarray, groups: np.ndarray, points: Points, k: int, device: str = "cpu") -> np.ndarray:
    """The `k` points of highest cosine for each query, of equal ones the earlier; none of the query's own group.

    Args:
        queries: (m, D) int16, see `whole_numbers`.
        groups: (m,) int64, of the queries.
        points: what is searched.
        k: how many.
        device: that computes the cosines of the exact search. Its memory holds a block, whatever the number of points.

    Returns:
        (m, k) int64, the closest first; -1 where there are fewer points.
    """
    own = np.stack([np.searchsorted(points.groups, groups, side) for side in ("left", "right")], 1)
    if points.index is None:
        parts = range(0, len(queries), QUERIES)
        chunks = [_exact(queries[p : p + QUERIES], own[p : p + QUERIES], points.vectors, k, device) for p in parts]
        return np.concatenate([np.empty((0, k), np.int64), *chunks])
    return _approximate(queries, own, points, k, device)


def _exact(queries: np.ndarray, own: np.ndarray, vectors: np.ndarray, k: int, device: str) -> np.ndarray:
    import torch

    left = torch.from_numpy(queries).to(device).float()
    best = left.new_full((len(left), k), -torch.inf)
    indices = torch.full_like(best, -1, dtype=torch.int64)
    for start in range(0, len(vectors), BLOCK):
        block = torch.from_numpy(np.ascontiguousarray(vectors[start : start + BLOCK])).to(device)
        products = left @ block.float().T
        first, last = (own - start).clip(0, len(block)).T
        for query in np.flatnonzero(first < last):
            products[query, first[query] : last[query]] = -torch.inf
        # Points come in order, so a later one has to be closer. Of most blocks only a few are.
        closer = (products > best[:, -1:]).any(0).nonzero()[:, 0]
        if len(closer):
            numbers = (start + closer).expand(len(left), -1)
            best, order = torch.cat([best, products[:, closer]], 1).sort(stable=True, dim=1, descending=True)
            best, indices = best[:, :k], torch.cat([indices, numbers], 1).gather(1, order)[:, :k]
    return indices.masked_fill(best == -torch.inf, -1).cpu().numpy()


def _approximate(queries: np.ndarray, own: np.ndarray, points: Points, k: int, device: str) -> np.ndarray:
    """The exact order of those that the index finds; where it finds too few, the exact search."""
    counts = np.minimum(k + own[:, 1] - own[:, 0], len(points.vectors))  # those of the own group may come first
    indices = np.full((len(queries), k), -1)
    for count in np.unique(counts):
        chosen = np.flatnonzero(counts == count)
        candidates = points.index.search(queries[chosen].astype(np.float32) / LENGTH, int(count))[1]
        for query, candidate in zip(chosen, candidates, strict=True):
            ids = np.sort(candidate[(candidate >= 0) & ((candidate < own[query, 0]) | (candidate >= own[query, 1]))])
            products = points.vectors[ids].astype(np.int64) @ queries[query].astype(np.int64)
            ids = ids[np.argsort(-products, kind="stable")][:k]
            indices[query, : len(ids)] = ids
    others = len(points.vectors) - (own[:, 1] - own[:, 0])
    short = np.flatnonzero((indices >= 0).sum(1) < np.minimum(k, others))
    if len(short):
        indices[short] = _exact(queries[short], own[short], points.vectors, k, device)
    return indices


def build_index(vectors: np.ndarray) -> Any:
    """An inverted file of faiss over vectors (n, D) int16: cells around centres, of which a search looks into a few.

    Raises:
        ModuleNotFoundError: if faiss is not installed; names the extra.
    """
    faiss = extra_module("faiss")
    count, dimensions = vectors.shape
    cells = max(1, min(MOST_CELLS, count // CELL))
    coarse = faiss.IndexFlatIP(dimensions)
    metric, half = faiss.METRIC_INNER_PRODUCT, faiss.ScalarQuantizer.QT_fp16
    index = faiss.IndexIVFScalarQuantizer(coarse, dimensions, cells, half, metric)
    sample = np.linspace(0, count - 1, min(count, POINTS_PER_CELL * cells)).astype(np.int64)
    index.train(vectors[sample].astype(np.float32) / LENGTH)
    for start in range(0, count, BLOCK):
        index.add(vectors[start : start + BLOCK].astype(np.float32) / LENGTH)
    index.nprobe = max(FEWEST_SEARCHED, round(cells * SEARCHED))
    return index


def write_index(file: IO[bytes], index: Any) -> None:
    """An index as a file."""
    faiss = extra_module("faiss")
    faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))


def read_index(path: Path) -> Any:
    """What `write_index` wrote.

    Raises:
        ModuleNotFoundError: if faiss is not installed; names the extra.
    """
    return extra_module("faiss").read_index(str(path))


def agreement(labels: np.ndarray, neighbor_labels: np.ndarray, neighbors: np.ndarray) -> np.ndarray:
    """The share of neighbours that have the label of their query.

    Args:
        labels: (m,) integers, of the queries.
        neighbor_labels: (m, k) integers, of the neighbours.
        neighbors: (m, k) int64, -1 for none.

    Returns:
        (m,) float64 in [0, 1]; NaN without neighbours.
    """
    is_there = neighbors >= 0
    agreeing = (is_there & (neighbor_labels == labels[:, None])).sum(1)
    count = is_there.sum(1)
    shares: np.ndarray = np.divide(agreeing, count, out=np.full(len(labels), np.nan), where=count > 0)
    return shares
