"""`pcs`: how much of the similarity is lost when the image's patches are shuffled."""

import logging
from functools import lru_cache
from typing import Annotated, ClassVar

import pyarrow as pa
import torch
from pydantic import Field
from torch import Tensor

from sds_hf import encoding
from sds_hf.clip import Encoder
from sds_hf.functional import SimilarityKind, patch_order, shuffle_patches, similarity
from sds_hf.rows import Rows
from sds_hf.score import ClipScore, Values, settings

logger = logging.getLogger(__name__)


@settings
class PCS(ClipScore):
    """Perturbation-based CLIP similarity: similarity of the image minus the mean over its patch-shuffled versions.

    Tang et al. (AAAI 2025), Eq. 3 to 7. A picture of the object loses similarity when its patches are shuffled; one
    that fits by texture or background alone does not. Each shuffle is drawn once from (seed, scale, order) and serves
    every row.

    Columns read:
        image: picture of any size; shuffled after preprocessing, at the model's own resolution.
        mask: class indices, for the classes present; or `classes`, a list of ids, if there is no mask.

    Columns written:
        clip_sim: as the score `clip_sim` writes it.
        clip_sim_mixed: float32, mean similarity of the shuffled images.
        pcs: float32, clip_sim minus clip_sim_mixed, higher is better; null if no class is present.

    Args:
        similarity: see `ClipSim`.
        scales: patches per side, one entry a scale.
        orders: shuffles per scale.
        seed: of the shuffles.
        model, dtype, labels: see `ClipScore`.

    Source:
        Tang et al., SDS, AAAI 2025, Eq. 3-7 (scales 8, 16, 32 with 3 orders each; rows above 0.1 are kept).
    """

    name: ClassVar[str] = "pcs"
    columns: ClassVar[dict[str, pa.DataType]] = {name: pa.float32() for name in ("clip_sim", "clip_sim_mixed", "pcs")}
    needs: ClassVar[frozenset[str]] = frozenset({"image", "classes"})
    source: ClassVar[str] = "SDS (Tang et al., AAAI 2025), Eq. 3-7"

    similarity: SimilarityKind = "prob"
    scales: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=1)] = (8, 16, 32)
    orders: Annotated[int, Field(ge=1)] = 3
    seed: int = 0

    def compute(self, rows: Rows) -> dict[str, Values]:
        """See `Score.compute`."""
        encoder = self.encoder()
        note_aligned_scales(encoder, self.scales)
        intact = self._similarity(encoding.cosines(rows, encoder), rows, encoder)
        pixels, texts = encoding.pixels(rows, encoder), encoding.texts(rows, encoder)
        mixed = torch.stack(
            [
                self._similarity(encoder.encode_images(shuffle_patches(pixels, order)) @ texts.T, rows, encoder)
                for order in self.shuffles()
            ]
        ).mean(0)
        values = {"clip_sim": intact, "clip_sim_mixed": mixed, "pcs": intact - mixed}
        return {name: value.tolist() for name, value in values.items()}

    def shuffles(self) -> list[Tensor]:
        """The orders of the tiles, one for each (scale, draw)."""
        return [patch_order(self.seed, scale, draw) for scale in self.scales for draw in range(self.orders)]

    def _similarity(self, cosines: Tensor, rows: Rows, encoder: Encoder) -> Tensor:
        return similarity(cosines, encoding.present(rows, encoder), encoder.scale, self.similarity, encoder.bias)


def aligned_scales(encoder: Encoder, scales: tuple[int, ...]) -> list[int]:
    """Scales whose tiles are whole patches of the ViT: shuffling these only permutes tokens."""
    side = encoder.preprocessing.size[0]
    return [scale for scale in scales if side % scale == 0 and (side // scale) % encoder.patch_size == 0]


@lru_cache
def note_aligned_scales(encoder: Encoder, scales: tuple[int, ...]) -> None:
    """Say once in the log which scales weaken the score."""
    if aligned := aligned_scales(encoder, scales):
        logger.warning(
            "pcs: at scales %s a tile is made of whole %d-pixel patches of %s: the shuffle only permutes tokens, which "
            "weakens the score",
            aligned,
            encoder.patch_size,
            encoder.files.name,
        )
