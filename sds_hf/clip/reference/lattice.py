"""Gaussian filtering of scattered points on a permutohedral lattice (Adams, Baek & Davis, Eurographics 2010).

Each point spreads its values over the corners of the simplex that holds it, every vertex is blurred with its two
neighbours along each axis of the lattice, and the points read the result back. The cost is linear in the points and in
the occupied vertices, whatever the width of the Gaussian.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class SparseRows:
    """A sparse matrix by rows.

    Attributes:
        columns: (entries,) int32.
        weights: (entries,) float32.
        offsets: (rows,) int32, first entry of each row.
    """

    columns: Tensor
    weights: Tensor
    offsets: Tensor

    def __matmul__(self, values: Tensor) -> Tensor:
        """The product with a dense matrix (columns, C) float32, (rows, C)."""
        # Faster than torch's CSR matrices on CPUs, and the same in every run on GPUs: nothing is added atomically.
        return F.embedding_bag(self.columns, values, self.offsets, mode="sum", per_sample_weights=self.weights)


@dataclass(frozen=True)
class Lattice:
    """The lattice of some points, ready to filter any values they have.

    Attributes:
        splat: from points to vertices.
        blurs: over vertices, one for each axis.
        slice: from vertices to points.
    """

    splat: SparseRows
    blurs: tuple[SparseRows, ...]
    slice: SparseRows

    @property
    def size(self) -> int:
        """How many vertices are occupied."""
        return len(self.splat.offsets)

    def __matmul__(self, values: Tensor) -> Tensor:
        """The values of all points, weighted by a Gaussian of their distance and added: (N, C) float32 -> (N, C).

        The scale is the lattice's own: divide by the filtered ones for a mean.
        """
        for step in (self.splat, *self.blurs, self.slice):
            values = step @ values
        return values

    def normalised(self, weight: float = 1) -> "Lattice":
        """The same filter times `weight`, divided by the roots of its row sums on both sides."""
        # Multiplied into the matrices once, since this costs as much as a product with one of them.
        norm = (self @ torch.ones(len(self.slice.offsets), 1, device=self.slice.weights.device)).rsqrt()[:, 0]
        splat = replace(self.splat, weights=self.splat.weights * norm[self.splat.columns])
        rows = weight * norm.repeat_interleave(len(self.blurs))
        sliced = replace(self.slice, weights=self.slice.weights * rows)
        return replace(self, splat=splat, slice=sliced)


def permutohedral(features: Tensor, group: Tensor) -> Lattice:
    """Build the lattice of points in feature space.

    Args:
        features: (N, d) float32, in units of the Gaussian's standard deviation.
        group: (N,) int64, from 0 on. Points of different groups never meet, so images of a batch share one lattice.

    Raises:
        ValueError: if the features span more cells than can be numbered.
    """
    count, dim = features.shape
    origins, turns, weights = _simplices(features)
    keys, steps = _keys(origins, turns, group)
    ordered, order = keys.flatten().sort(stable=True)
    first = F.pad(ordered.diff() != 0, (1, 0), value=True)
    vertices = ordered[first]
    vertex_indices = torch.empty_like(order, dtype=torch.int32)
    vertex_indices[order] = first.cumsum(0, dtype=torch.int32) - 1
    starts = torch.arange(0, count * (dim + 1), dim + 1, dtype=torch.int32, device=features.device)
    return Lattice(
        splat=SparseRows((order % count).int(), weights.flatten()[order], first.nonzero()[:, 0].int()),
        blurs=tuple(_blur(vertices, step) for step in steps),
        slice=SparseRows(vertex_indices.view(dim + 1, count).T.flatten(), weights.T.flatten(), starts),
    )


def _simplices(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The simplex around each point, as a path along the axes of the lattice.

    The lattice lies in the hyperplane of d + 1 coordinates that sum to zero. Its points are congruent to one number
    modulo d + 1 in all coordinates; those congruent to 0 are where paths begin.

    Returns:
        Where the path begins in units of d + 1, (d + 1, N) int64; when it turns to each axis, (d + 1, N) int64 from 0
        to d; the barycentric weights of its corners, in the order of the path, (d + 1, N) float32.
    """
    dim = features.shape[1]
    number = torch.arange(1, dim + 1, device=features.device)
    # A blur [1/2, 1, 1/2] along all axes has a variance of (d + 1)^2 * 2 / 3.
    scaled = (features * ((2 / 3) ** 0.5 * (dim + 1) * (number * (number + 1)).rsqrt())).T
    tails = F.pad(scaled.flip(0).cumsum(0).flip(0), (0, 0, 0, 1))
    elevated = (tails - F.pad(scaled * number[:, None], (0, 0, 1, 0))) / (dim + 1)
    origins = elevated.round()
    rest = elevated - origins
    turns = torch.zeros_like(rest, dtype=torch.int64)
    for one in range(dim + 1):
        for other in range(one + 1, dim + 1):
            later = rest[one] >= rest[other]
            turns[one] += later
            turns[other] += ~later
    # Rounding may leave the hyperplane; going back changes the coordinates that were rounded furthest.
    turns -= origins.sum(0).long()
    wrapped = (turns > dim).long() - (turns < 0).long()
    turns -= wrapped * (dim + 1)
    origins += wrapped
    rest -= wrapped
    rising = torch.empty_like(rest).scatter_(0, turns, rest)
    weights = torch.cat([1 + rising[:1] - rising[-1:], rising.diff(dim=0)])
    return origins.long(), turns, weights


def _keys(origins: Tensor, turns: Tensor, group: Tensor) -> tuple[Tensor, list[int]]:
    """Number the vertices so that a step along an axis adds the same to every vertex's number.

    Returns:
        The corners of each simplex, (d + 1, N) int64, and the step of each axis.
    """
    axes = len(origins)
    coordinates = origins[:-1] * axes  # the last one follows from the others
    margin = 2 * axes  # of a corner from the origin, and of its neighbours from the corner
    low, high = coordinates.amin(1) - margin, coordinates.amax(1) + margin
    strides = [1]
    for span in (high - low + 1).tolist():
        strides.append(strides[-1] * span)
    if strides[-1] * (int(group.max()) + 1) >= 2**63:
        raise ValueError(f"features span {strides[-1]:.1e} cells, too many to count: use wider Gaussians")
    stride = torch.tensor([*strides[:-1], 0], device=origins.device)
    steps = stride.sum() - axes * stride
    starts = ((coordinates - low[:, None]) * stride[:-1, None]).sum(0) + group * strides[-1]
    path = torch.empty_like(turns).scatter_(0, turns, steps[:, None].expand_as(turns))
    return torch.cat([starts[None], path[:-1]]).cumsum(0), steps.tolist()


def _blur(vertices: Tensor, step: int) -> SparseRows:
    """[1/2, 1, 1/2] along one axis, over the vertices that are occupied: (M,) int64, sorted."""
    count = len(vertices)
    own = torch.arange(count, dtype=torch.int32, device=vertices.device)
    after = torch.searchsorted(vertices, vertices + step, out_int32=True).clamp_(max=count - 1)
    occupied = vertices[after] == vertices + step
    before = torch.full_like(own, -1)
    before[after[occupied]] = own[occupied]
    columns = torch.stack([own, torch.where(occupied, after, -1), before], 1)
    there = columns >= 0
    lengths = there.sum(1, dtype=torch.int32)
    entries = there.flatten().nonzero()[:, 0]
    weights = torch.tensor([1, 0.5, 0.5], device=vertices.device)[entries % 3]
    return SparseRows(columns.flatten()[entries], weights, lengths.cumsum(0, dtype=torch.int32) - lengths)
