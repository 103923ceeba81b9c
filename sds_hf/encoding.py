"""Passes of the encoder over rows, each made once for all the scores that use it."""

from dataclasses import dataclass

from torch import Tensor

from sds_hf.clip import Encoder
from sds_hf.rows import Rows
from sds_hf.vit import Pool, Position


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


def pixels(rows: Rows, encoder: Encoder, resolution: int | None = None) -> Tensor:
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


def images(rows: Rows, encoder: Encoder, view: View) -> Tensor:
    """Embeddings of the images, (B, D) float32 of length 1."""

    def compute() -> Tensor:
        return encoder.encode_images(pixels(rows, encoder, view.resolution), view.pool, view.position)

    return rows.share(("images", encoder.files.digest, encoder.dtype, view), compute)


def texts(rows: Rows, encoder: Encoder) -> Tensor:
    """Embeddings of the label space's classes and background prompts, (K + N, D)."""
    return encoder.encode_texts(rows.labels.texts())


def captions(rows: Rows, encoder: Encoder) -> Tensor:
    """Embeddings of the captions, (B, D) float32 of length 1; without meaning where a row has none."""

    def compute() -> Tensor:
        return encoder.embed_texts([caption or "" for caption in rows.captions])

    return rows.share(("captions", encoder.files.digest, encoder.dtype), compute)
