"""`maskclip`: patch embeddings compared with the texts (Zhou et al., ECCV 2022)."""

from torch import Tensor

from sds_hf.clip.reference.tower import DenseJudge


class MaskCLIP(DenseJudge):
    """In the last block every patch attends to itself only. One forward pass a scale."""

    def patches(self, hidden: Tensor, grid: tuple[int, int]) -> Tensor:
        """See `DenseJudge.patches`."""
        return self.vit.blocks[-1].to_itself(hidden[:, 1:])
