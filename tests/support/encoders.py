"""An encoder whose numbers are exact, so that they depend on the picture alone and on no batch."""

from types import SimpleNamespace

import numpy as np
import torch

from sds_hf.clip.checkpoints import model_files
from sds_hf.clip.similarity import similarity

SIDE, LENGTH = 8, 8


class ExactEncoder:
    """Embeddings are multiples of 1/64, made of sums of whole numbers; cosines lie in [-1, 1]."""

    device, dtype, scale, bias = torch.device("cpu"), torch.float32, 60.0, None
    patch_size, architecture, vit = 4, "", None

    def __init__(self) -> None:
        self.files = SimpleNamespace(digest=model_files("demo").digest, name="exact")
        random = np.random.default_rng(5)
        self._weights = torch.from_numpy(random.integers(-50, 50, (3 * SIDE * SIDE, LENGTH)))
        self.passes = 0  # pictures seen

    def preprocess(self, images, resolution=None) -> torch.Tensor:
        pixels = torch.stack([torch.from_numpy(image[:SIDE, :SIDE].copy()) for image in images])
        return pixels.permute(0, 3, 1, 2).float()

    def encode_images(self, pixels, pool="cls", position="bicubic") -> torch.Tensor:
        self.passes += len(pixels)
        sums = pixels.long().flatten(1) @ self._weights
        return (sums % 17 - 8).float() / 8

    def encode_texts(self, texts) -> torch.Tensor:
        random = np.random.default_rng(6)
        embeddings = torch.from_numpy(random.integers(-8, 9, (len(texts), LENGTH)))
        embeddings[20:] //= 4  # those of the background: with as strong ones hardly anything is like its classes
        return embeddings.float() / 64


def exact_similarity(cosines, present, *settings) -> torch.Tensor:
    """`similarity` row by row, as multiples of 1/4096, so that neither batches nor sums show in the last digits."""
    rows = [similarity(*row, *settings) for row in zip(cosines.split(1), present.split(1), strict=True)]
    return (torch.cat(rows) * 4096).round() / 4096
