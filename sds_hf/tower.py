"""A CLIP vision tower, block by block: what reference masks need and `transformers` does not hand out."""

import copy
from functools import lru_cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sds_hf.checkpoints import ModelNotFoundError
from sds_hf.clip import Encoder, resize

Position = Literal["bicubic", "bilinear"]
PARTS = ("embeddings", "pre_layrnorm", "encoder", "post_layernorm")  # `pre_layrnorm` is how transformers spells it


class Tower:
    """The vision tower of an encoder at any resolution.

    All blocks but the last run in the encoder's dtype without gradients; the last one and the projection are fp32
    copies, since maps are made of small differences there.

    Attributes:
        encoder: whose tower it is.
        patch: side of a patch in pixels.
        last: the last block.
    """

    def __init__(self, encoder: Encoder) -> None:
        vision: Any = encoder.model.vision_model
        if not all(hasattr(vision, part) for part in PARTS) or not hasattr(encoder.model, "visual_projection"):
            raise ModelNotFoundError(
                f"reference masks need a CLIP vision tower; model {encoder.files.name!r} has a {type(vision).__name__}"
            )
        self.encoder, self.patch = encoder, encoder.patch_size
        self._vision, self._blocks = vision, list(vision.encoder.layers)
        self.last = copy.deepcopy(self._blocks[-1]).float()
        self._norm = copy.deepcopy(vision.post_layernorm).float()
        self._projection = copy.deepcopy(encoder.model.visual_projection).float()
        self.depth = len(self._blocks)

    def resize(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in 0 to 255 -> normalised, both sides rounded up to whole patches, as Pillow resizes."""
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
            Tokens (B, 1 + n, C) float32 and the sum of the attention weights, each the mean of its heads,
            (B, 1 + n, 1 + n) float32; None for no blocks.
        """
        hidden = self._vision.pre_layrnorm(self._embed(pixels.to(self.encoder.dtype), position))
        total = None
        for index, block in enumerate(self._blocks[:-1]):
            wanted = index >= self.depth - 1 - attention_blocks
            hidden, weights = self.block(block, hidden, with_weights=wanted)
            if weights is not None:
                total = weights if total is None else total + weights
        return hidden.float(), total

    def block(
        self, block: Any, hidden: Tensor, normed: Tensor | None = None, *, with_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """One transformer block: tokens (B, 1 + n, C) and, if wanted, its attention weights averaged over heads.

        `normed` stands for the output of its first LayerNorm, so that a gradient can be taken there.
        """
        attention = block.self_attn
        normed = block.layer_norm1(hidden) if normed is None else normed
        batch, count, width = normed.shape
        heads = self._vision.config.num_attention_heads
        query, key, value = (
            part(normed).view(batch, count, heads, width // heads).transpose(1, 2)
            for part in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        if with_weights:
            weights = (query @ key.transpose(-1, -2) * (width // heads) ** -0.5).float().softmax(-1)
            mixed, mean = weights.to(value.dtype) @ value, weights.mean(1)
        else:
            mixed, mean = F.scaled_dot_product_attention(query, key, value), None
        hidden = hidden + attention.out_proj(mixed.transpose(1, 2).reshape(batch, count, width))
        return hidden + block.mlp(block.layer_norm2(hidden)), mean

    def attend_to_self(self, hidden: Tensor) -> Tensor:
        """The last block with every token attending to itself only (MaskCLIP): (B, n, C) -> (B, n, C)."""
        attention = self.last.self_attn
        hidden = hidden + attention.out_proj(attention.v_proj(self.last.layer_norm1(hidden)))
        output: Tensor = hidden + self.last.mlp(self.last.layer_norm2(hidden))
        return output

    def project(self, tokens: Tensor) -> Tensor:
        """Tokens (..., C) of the last block into the space of the texts, (..., D), not normalised."""
        projected: Tensor = self._projection(self._norm(tokens))
        return projected

    def _embed(self, pixels: Tensor, position: Position) -> Tensor:
        embeddings = self._vision.embeddings
        patches = embeddings.patch_embedding(pixels)
        height, width = patches.shape[-2:]
        table = embeddings.position_embedding.weight
        side = round((len(table) - 1) ** 0.5)
        places = table[1:]
        if (height, width) != (side, side):
            grid = places.float().view(1, side, side, -1).permute(0, 3, 1, 2)
            grid = F.interpolate(grid, size=(height, width), mode=position, align_corners=False)
            places = grid[0].flatten(1).T.to(table.dtype)
        first = (embeddings.class_embedding + table[0]).expand(len(pixels), 1, -1)
        return torch.cat([first, patches.flatten(2).transpose(1, 2) + places], 1)


@lru_cache(maxsize=4)
def tower_of(encoder: Encoder) -> Tower:
    """The tower of an encoder, made once."""
    return Tower(encoder)
