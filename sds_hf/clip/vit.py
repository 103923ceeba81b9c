"""The vision transformer of a CLIP-like model, block by block, at any resolution and close to the hardware's speed.

It computes what `transformers` computes, from the same weights, with fewer passes over memory; and it hands out what
`transformers` does not: single blocks, attention weights, patch tokens.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sds_hf.clip.kinds import Pool, Position

QUICK = 1.702  # quick_gelu(x) = x * sigmoid(1.702 x)
EMBEDDINGS = ("patch_embedding", "position_embedding")
BLOCK = ("layer_norm1", "self_attn", "layer_norm2", "mlp")


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear`; in fp32 on a CPU as a 1x1 convolution.

    Convolutions go to oneDNN, matrix products to MKL, which leaves half of the vector units of AMD's CPUs idle.
    """
    if inputs.device.type != "cpu" or inputs.dtype != torch.float32:
        return F.linear(inputs, weight, bias)
    flat = inputs.reshape(1, -1, 1, inputs.shape[-1]).permute(0, 3, 1, 2)
    return F.conv2d(flat, weight[:, :, None, None], bias).permute(0, 2, 3, 1).view(*inputs.shape[:-1], len(weight))


class Block:
    """One transformer block: the weights of a `transformers` layer, in some dtype, laid out for speed.

    `quick_gelu` is a SiLU of scaled inputs. The scale goes into the LayerNorm before and the sum after it, so that no
    weight is rounded anew.
    """

    def __init__(self, layer: Any, activation: str, dtype: torch.dtype) -> None:
        def cast(tensor: Tensor) -> Tensor:
            return tensor.detach().to(dtype)

        attention, mlp = layer.self_attn, layer.mlp
        parts = [attention.q_proj, attention.k_proj, attention.v_proj]
        self.heads: int = attention.num_heads
        self.head_scale: float = attention.head_dim**-0.5
        self.qkv = cast(torch.cat([part.weight for part in parts])), cast(torch.cat([part.bias for part in parts]))
        self.out = cast(attention.out_proj.weight), cast(attention.out_proj.bias)
        self.activation = activation
        self.gain = QUICK if activation == "quick_gelu" else 1.0
        norm = layer.layer_norm2
        self.norm1 = cast(layer.layer_norm1.weight), cast(layer.layer_norm1.bias), layer.layer_norm1.eps
        self.norm2 = cast(norm.weight * self.gain), cast(norm.bias * self.gain), norm.eps
        self.up = cast(mlp.fc1.weight), cast(mlp.fc1.bias * self.gain)
        self.down = cast(mlp.fc2.weight), cast(mlp.fc2.bias * self.gain)

    def layer_norm1(self, hidden: Tensor) -> Tensor:
        """The block's first LayerNorm: (B, n, C) -> (B, n, C)."""
        return _layer_norm(hidden, self.norm1)

    def __call__(
        self,
        hidden: Tensor,
        *,
        with_weights: bool = False,
        only: int | None = None,
        shift: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens after the block.

        Args:
            hidden: (B, n, C).
            with_weights: whether the attention weights are wanted too.
            only: how many of the first tokens are wanted; all by default. The others serve as keys and values.
            shift: (B, 1, C), zeros added to the output of the first LayerNorm of all tokens but the first. Its gradient
                is the sum of theirs, at a fraction of the cost.

        Returns:
            Tokens (B, n or `only`, C) and the attention weights, averaged over heads, (B, n, n) float32, or None.
        """
        normed = self.layer_norm1(hidden)
        batch, _, width = hidden.shape
        if only is None:
            stacked = linear(normed, *self.qkv)
            if shift is not None:
                stacked = stacked + F.pad(linear(shift, self.qkv[0]).expand(-1, normed.shape[1] - 1, -1), (0, 0, 1, 0))
            query, key, value = self._heads(stacked, 3)
        else:
            weight, bias = self.qkv
            (query,) = self._heads(linear(normed[:, :only], weight[:width], bias[:width]), 1)
            key, value = self._heads(linear(normed, weight[width:], bias[width:]), 2)
            hidden = hidden[:, :only]
        mixed, weights = _attend(query, key, value, self.head_scale, with_weights)
        mixed = mixed.transpose(1, 2).reshape(batch, -1, width)
        return self.feed_forward(hidden + linear(mixed, *self.out)), weights

    def to_itself(self, hidden: Tensor) -> Tensor:
        """The block with every token attending to itself only (MaskCLIP): (B, n, C) -> (B, n, C)."""
        weight, bias = self.qkv
        width = hidden.shape[-1]
        value = linear(self.layer_norm1(hidden), weight[2 * width :], bias[2 * width :])
        return self.feed_forward(hidden + linear(value, *self.out))

    def to_like(self, hidden: Tensor, bias: Tensor) -> Tensor:
        """Attention by the likeness of keys only, without residual and feed-forward half (NACLIP).

        Args:
            hidden: (B, n, C).
            bias: (n, n), added to what the keys of two tokens give.

        Returns:
            (B, n, C).
        """
        weight, offset = self.qkv
        width = hidden.shape[-1]
        key, value = self._heads(linear(self.layer_norm1(hidden), weight[width:], offset[width:]), 2)
        mixed = F.scaled_dot_product_attention(key, key, value, attn_mask=bias, scale=self.head_scale)
        return linear(mixed.transpose(1, 2).reshape(hidden.shape), *self.out)

    def feed_forward(self, hidden: Tensor) -> Tensor:
        """The second half of the block: (B, n, C) -> (B, n, C)."""
        inner = self._activate(linear(_layer_norm(hidden, self.norm2), *self.up))
        return hidden.add(linear(inner, *self.down), alpha=1 / self.gain)

    def _activate(self, inner: Tensor) -> Tensor:
        if self.activation == "quick_gelu":
            return F.silu(inner, inplace=not inner.requires_grad)
        return F.gelu(inner, approximate="none" if self.activation == "gelu" else "tanh")

    def _heads(self, stacked: Tensor, parts: int) -> Tensor:
        """(B, n, parts * C) -> (parts, B, heads, n, C / heads)."""
        batch, count, width = stacked.shape
        return stacked.view(batch, count, parts, self.heads, width // parts // self.heads).permute(2, 0, 3, 1, 4)


class VisionTransformer:
    """The vision tower of a CLIP or SigLIP model of `transformers`.

    Attributes:
        patch: side of a patch in pixels.
        heads: attention heads of a block.
        blocks: all of them, in the dtype of the model.
        with_class_token: whether token 0 stands for the image (CLIP); else all tokens are patches (SigLIP).
    """

    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        self.model, self.vision, self.dtype = model, model.vision_model, dtype
        config = model.config.vision_config
        self.patch, self.heads = config.patch_size, config.num_attention_heads
        self.with_class_token = hasattr(self.vision.embeddings, "class_embedding")
        self.activation: str = config.hidden_act
        self.layers = list(self.vision.encoder.layers)
        self.blocks = [Block(layer, self.activation, dtype) for layer in self.layers]
        self._position_embeddings: dict[tuple[Any, ...], Tensor] = {}

    @staticmethod
    def fits(model: Any) -> bool:
        """Whether a model's vision tower has the parts and the activation known here."""
        vision = getattr(model, "vision_model", None)
        embeddings = getattr(vision, "embeddings", None)
        layers: Any = getattr(getattr(vision, "encoder", None), "layers", ())
        return (
            all(hasattr(embeddings, name) for name in EMBEDDINGS)
            and len(layers) > 0
            and all(hasattr(layers[0], name) for name in BLOCK)
            and hasattr(layers[0].self_attn, "q_proj")
            and hasattr(embeddings, "class_embedding") == hasattr(vision, "pre_layrnorm")  # OWL-ViT's is another
            and getattr(model.config.vision_config, "hidden_act", "") in ("quick_gelu", "gelu", "gelu_pytorch_tanh")
            and (hasattr(model, "visual_projection") or hasattr(vision, "head"))
        )

    def embed(self, pixels: Tensor, position: Position = "bicubic") -> Tensor:
        """Tokens before the first block.

        Args:
            pixels: (B, 3, H, W), normalised; sides are cut to whole patches.
            position: how position embeddings are resized to another grid than the model's own.

        Returns:
            (B, n, C), the class token first if there is one.
        """
        embeddings, side = self.vision.embeddings, self.patch
        batch, channels, height, width = pixels.shape
        rows, columns = height // side, width // side
        # A convolution without overlap is a matrix product, which is faster.
        cut = pixels[..., : rows * side, : columns * side].to(self.dtype)
        cut = cut.view(batch, channels, rows, side, columns, side).permute(0, 2, 4, 1, 3, 5)
        weight = embeddings.patch_embedding.weight
        tokens = linear(cut.reshape(batch, rows * columns, -1), weight.flatten(1), embeddings.patch_embedding.bias)
        tokens = tokens + self._positions(rows, columns, position)
        if self.with_class_token:
            first = embeddings.class_embedding + embeddings.position_embedding.weight[0]
            tokens = torch.cat([first.expand(batch, 1, -1), tokens], 1)
        norm = getattr(self.vision, "pre_layrnorm", None)  # that is how transformers spells it
        return tokens if norm is None else norm(tokens)

    @torch.inference_mode()
    def encode(self, pixels: Tensor, pool: Pool = "cls", position: Position = "bicubic") -> Tensor:
        """Features of images, (B, D), not normalised; see `Encoder.encode_images`."""
        return self._pooled(self.before_last(pixels, position)[0], pool)

    @torch.inference_mode()
    def encode_with_patches(
        self, pixels: Tensor, position: Position = "bicubic", local: bool = False
    ) -> tuple[Tensor, Tensor]:
        """What `encode` returns, and the patch tokens after the final LayerNorm and, if there is one, the projection.

        Args:
            pixels: see `encode`.
            position: see `encode`.
            local: whether each patch attends to itself only in the last block, see `Block.to_itself`: its token then
                says what is there, not what the image shows as a whole.

        Returns:
            Features (B, D) and tokens (B, n, D), not normalised.
        """
        hidden, _ = self.before_last(pixels, position)
        tokens = self.blocks[-1].to_itself(hidden) if local else self.blocks[-1](hidden)[0]
        patches = self.project(tokens[:, 1:]) if self.with_class_token else self.vision.post_layernorm(tokens)
        return self._pooled(hidden, "cls"), patches

    def before_last(
        self, pixels: Tensor, position: Position = "bicubic", attention_blocks: int = 0
    ) -> tuple[Tensor, Tensor | None]:
        """Run all blocks but the last.

        Args:
            pixels: (B, 3, H, W), normalised, whole patches.
            position: how position embeddings are resized to the image's grid.
            attention_blocks: how many of the blocks run here, counted from the end, have their attention added up.

        Returns:
            Tokens (B, n, C) in the encoder's dtype and the sum of the attention weights, averaged over heads,
            (B, n, n) float32; None for no blocks.
        """
        hidden, total = self.embed(pixels, position), None
        for index, block in enumerate(self.blocks[:-1]):
            hidden, weights = block(hidden, with_weights=index >= len(self.blocks) - 1 - attention_blocks)
            if weights is not None:
                total = weights if total is None else total.add_(weights)
        return hidden, total

    def _pooled(self, hidden: Tensor, pool: Pool) -> Tensor:
        only_first = pool == "cls" and self.with_class_token
        hidden, _ = self.blocks[-1](hidden, only=1 if only_first else None)
        if not self.with_class_token:
            features: Tensor = self.vision.head(self.vision.post_layernorm(hidden))
        elif only_first:
            features = self.project(hidden[:, 0])
        else:
            features = self.project(hidden[:, 1:]).mean(1)
        return features

    def project(self, tokens: Tensor) -> Tensor:
        """Tokens (..., C) of the last block into the space of the texts, (..., D) float32, not normalised."""
        norm, weight = self.vision.post_layernorm, self.model.visual_projection.weight
        tokens = F.layer_norm(tokens.float(), norm.weight.shape, norm.weight.float(), norm.bias.float(), norm.eps)
        return linear(tokens, weight.float())

    def _positions(self, rows: int, columns: int, position: Position) -> Tensor:
        """Position embeddings of the patches of a grid, (n, C); remembered, since most images have one size."""
        key = (rows, columns, position)
        if key not in self._position_embeddings:
            table = self.vision.embeddings.position_embedding.weight
            embeddings = table[1:] if self.with_class_token else table
            side = round(len(embeddings) ** 0.5)
            if (rows, columns) != (side, side):
                grid = embeddings.float().view(1, side, side, -1).permute(0, 3, 1, 2)
                grid = F.interpolate(grid, size=(rows, columns), mode=position, align_corners=False)
                embeddings = grid[0].flatten(1).T.to(table.dtype)
            self._position_embeddings = {key: embeddings, **dict(list(self._position_embeddings.items())[:15])}
        return self._position_embeddings[key]


def _layer_norm(hidden: Tensor, parameters: tuple[Tensor, Tensor, float]) -> Tensor:
    weight, bias, epsilon = parameters
    return F.layer_norm(hidden, weight.shape, weight, bias, epsilon)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, scale: float, with_weights: bool
) -> tuple[Tensor, Tensor | None]:
    """Attention of (B, heads, n, d); the weights averaged over heads, (B, n, n) float32, if wanted."""
    # In bf16 on a CPU two matrix products take half the time of the fused kernel.
    by_hand = query.device.type == "cpu" and query.dtype == torch.bfloat16
    if not with_weights and not by_hand:
        return F.scaled_dot_product_attention(query, key, value, scale=scale), None
    weights = (query * scale @ key.transpose(-1, -2)).softmax(-1)
    return weights @ value, weights.mean(1).float() if with_weights else None
