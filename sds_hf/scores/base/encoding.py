"""Passes of the encoder over rows, each made once for all the scores that use it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sds_hf.clip.kinds import Pool, Position
from sds_hf.clip.stages import stage
from sds_hf.scores.base.rows import Rows

if TYPE_CHECKING:
    from torch import Tensor

    from sds_hf.clip.encoder import Encoder


@dataclass(frozen=True, kw_only=True)
class View:
    """How an encoder looks at images.

    Attributes:
        resolution: side in pixels that images are resized to, without a crop; None: what the checkpoint's own processor
            does.
        pool: `cls`, the checkpoint's own image embedding, or `patch_mean`, the mean over the patch tokens, projected.
        position: how position embeddings are resized to another resolution than the checkpoint's.
    """

    resolution: int | None = None
    pool: Pool = "cls"
    position: Position = "bicubic"


def pixels(rows: Rows, encoder: "Encoder", resolution: int | None = None) -> "Tensor":
    """Preprocessed images, (B, 3, S, S) float32.

    Raises:
        ValueError: if the resolution is not made of whole patches.
    """
    patch = encoder.patch_size
    if resolution and resolution % patch:
        below = resolution // patch * patch
        raise ValueError(
            f"resolution {resolution} is no multiple of the {patch}-pixel patches of {encoder.files.name!r}; "
            f"use {below or patch} or {below + patch}"
        )
    key = ("pixels", encoder.files.digest, resolution)
    return rows.share(key, lambda: encoder.preprocess(rows.images, resolution))


def images(rows: Rows, encoder: "Encoder", view: View) -> "Tensor":
    """Embeddings of the images, (B, D) float32 of length 1."""

    def compute() -> "Tensor":
        return encoder.encode_images(pixels(rows, encoder, view.resolution), view.pool, view.position)

    return rows.share(("images", encoder.files.digest, encoder.dtype, view), compute)


def patches(rows: Rows, encoder: "Encoder", resolution: int | None = None, local: bool = False) -> "Tensor":
    """Patch tokens of the images, in the space of the texts, (B, n, D) float32, not normalised.

    The same pass gives the embeddings that `images` returns for this resolution.

    Args:
        rows: the rows.
        encoder: that sees them.
        resolution: see `View`.
        local: see `VisionTransformer.encode_with_patches`.

    Raises:
        ValueError: if only `transformers` knows the model's vision tower.
    """
    import torch
    import torch.nn.functional as F

    vit, view = encoder.vit, View(resolution=resolution)
    if vit is None:
        raise ValueError(
            f"patch tokens need a CLIP or SigLIP tower; {encoder.files.name!r} is a {encoder.architecture}"
        )

    def compute() -> "Tensor":
        inputs = encoder.split(pixels(rows, encoder, resolution))
        with stage("image encoder"):
            outputs = [vit.encode_with_patches(part, local=local) for part in inputs]
            features, tokens = (torch.cat(both).float() for both in zip(*outputs, strict=True))
        rows.share(("images", encoder.files.digest, encoder.dtype, view), lambda: F.normalize(features, dim=-1))
        return tokens

    return rows.share(("patches", encoder.files.digest, encoder.dtype, view, local), compute)


def leave_native(rows: Rows, encoder: "Encoder", position: Position, features: "Tensor") -> None:
    """Leave the mean patch tokens of a native pass, (B, D) of length 1, to scores that would make the same pass."""
    sides = {side for image in rows.images for side in image.shape[:2]}
    if len(sides) == 1 and (side := sides.pop()) % encoder.patch_size == 0:
        view = View(resolution=side, pool="patch_mean", position=position)
        rows.share(("images", encoder.files.digest, encoder.dtype, view), lambda: features)


def texts(rows: Rows, encoder: "Encoder") -> "Tensor":
    """Embeddings of the label space's classes and background prompts, (K + N, D)."""
    return encoder.encode_texts(rows.labels.texts())


def captions(rows: Rows, encoder: "Encoder") -> "Tensor":
    """Embeddings of the captions, (B, D) float32 of length 1; without meaning where a row has none."""

    def compute() -> "Tensor":
        return encoder.embed_texts([caption or "" for caption in rows.captions])

    return rows.share(("captions", encoder.files.digest, encoder.dtype), compute)
