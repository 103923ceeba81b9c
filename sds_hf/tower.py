"""A CLIP vision tower at an image's own resolution."""

from functools import lru_cache

import torch
from torch import Tensor

from sds_hf.checkpoints import ModelNotFoundError
from sds_hf.clip import Encoder, resize
from sds_hf.stages import stage
from sds_hf.vit import Position


class Tower:
    """What reference masks need of an encoder.

    Blocks run in the encoder's dtype; what comes after them is fp32, since maps are made of small differences there.

    Attributes:
        encoder: whose tower it is.
        patch: side of a patch in pixels.
        last: the last block.
        depth: how many blocks there are.
    """

    def __init__(self, encoder: Encoder) -> None:
        vit = encoder.vit
        if vit is None or not vit.with_class_token:
            raise ModelNotFoundError(
                f"reference masks need a CLIP vision tower; model {encoder.files.name!r} has a {encoder.architecture}'s"
                "; give asf_miou a CLIP such as openai/clip-vit-base-patch16"
            )
        self.encoder, self.patch, self.depth = encoder, encoder.patch_size, len(vit.blocks)
        self._vit = vit
        self.last = vit.blocks[-1]

    def resize(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 -> normalised, both sides rounded up to whole patches, as Pillow resizes."""
        height, width = (-(-side // self.patch) * self.patch for side in pixels.shape[-2:])
        return self.encoder.normalize(resize(pixels, (height, width)))

    @torch.no_grad()
    def before_last(self, pixels: Tensor, position: Position, attention_blocks: int) -> tuple[Tensor, Tensor | None]:
        """Run all blocks but the last.

        Args:
            pixels: (B, 3, H, W), normalised, whole patches.
            position: how position embeddings are resized to the image's grid.
            attention_blocks: how many of the blocks run here, counted from the end, have their attention added up.

        Returns:
            Tokens (B, 1 + n, C) in the encoder's dtype and the sum of the attention weights, averaged over heads,
            (B, 1 + n, 1 + n) float32; None for no blocks.
        """
        with stage("native encoder"):
            hidden, total = self._vit.embed(pixels, position), None
            for index, block in enumerate(self._vit.blocks[:-1]):
                hidden, weights = block(hidden, with_weights=index >= self.depth - 1 - attention_blocks)
                if weights is not None:
                    total = weights if total is None else total.add_(weights)
            return hidden, total

    def project(self, tokens: Tensor) -> Tensor:
        """Tokens (..., C) of the last block into the space of the texts, (..., D) float32, not normalised."""
        return self._vit.project(tokens)


@lru_cache(maxsize=4)
def tower_of(encoder: Encoder) -> Tower:
    """The tower of an encoder, made once."""
    return Tower(encoder)
