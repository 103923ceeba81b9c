"""`naclip`: patches that attend to like patches nearby, compared with the texts (Hajimiri et al., WACV 2025)."""

import torch
from torch import Tensor

from sds_hf.clip.reference.tower import DenseJudge

DEVIATION = 5.0  # of the neighbourhood, in patches


class NACLIP(DenseJudge):
    """In the last block keys are compared with keys, and patches nearby are preferred. One forward pass a scale.

    Its residual connection and its feed-forward half are left out, as the authors do. Unlike theirs, patches do not
    attend to the class token.
    """

    def patches(self, hidden: Tensor, grid: tuple[int, int]) -> Tensor:
        """See `DenseJudge.patches`."""
        nearness = neighbourhood(grid).to(hidden.device, hidden.dtype)
        return self.vit.blocks[-1].to_like(hidden[:, 1:], nearness)


def neighbourhood(grid: tuple[int, int]) -> Tensor:
    """How near patches of a grid are to each other: a Gaussian of their distance, 1 for itself, (n, n) float32."""
    positions = torch.cartesian_prod(*(torch.arange(side, dtype=torch.float32) for side in grid))
    return (-torch.cdist(positions, positions).square() / (2 * DEVIATION**2)).exp()
