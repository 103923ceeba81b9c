"""Passes of the encoder over rows, each made once for all the scores that use it."""

import torch
from torch import Tensor

from sds_hf.clip import Encoder
from sds_hf.rows import Rows


def pixels(rows: Rows, encoder: Encoder) -> Tensor:
    """Preprocessed images, (B, 3, S, S) float32."""
    return rows.share(("pixels", encoder.files.digest), lambda: encoder.preprocess(rows.images))


def texts(rows: Rows, encoder: Encoder) -> Tensor:
    """Embeddings of the label space's classes and background prompts, (K + N, D)."""
    return encoder.encode_texts(rows.labels.texts())


def cosines(rows: Rows, encoder: Encoder) -> Tensor:
    """Cosines of each image with each text of the label space, (B, K + N)."""

    def compute() -> Tensor:
        return encoder.encode_images(pixels(rows, encoder)) @ texts(rows, encoder).T

    return rows.share(("cosines", encoder.files.digest, encoder.dtype), compute)


def present(rows: Rows, encoder: Encoder) -> Tensor:
    """Classes each row is annotated with, (B, K) bool on the encoder's device."""
    return torch.from_numpy(rows.present).to(encoder.device)
