"""`pcs`: how much of the similarity is lost when the image's patches are shuffled."""

import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, ClassVar

import pyarrow as pa
from pydantic import Field

from sds_hf.clip.checkpoints import model_files
from sds_hf.scores.base import encoding
from sds_hf.scores.base.image_text import ImageTextScore
from sds_hf.scores.base.rows import Rows
from sds_hf.scores.base.score import Cost, Values, settings
from sds_hf.scores.functional.patches import (
    DifferenceKind,
    PatchUnit,
    patch_grid,
    patch_order,
    perturbation_score,
    shuffle_patches,
)

if TYPE_CHECKING:
    from torch import Tensor


logger = logging.getLogger(__name__)


@settings
class PCS(ImageTextScore):
    """Perturbation-based CLIP similarity: similarity of the image minus the mean over its patch-shuffled versions.

    Tang et al. (AAAI 2025), Eq. 3 to 7. A picture of the object loses similarity when its patches are shuffled; one
    that fits by texture or background alone does not. Each shuffle is drawn once from (seed, scale, order) and serves
    every row.

    Columns read:
        image: picture of any size; shuffled after preprocessing, at the resolution the model sees.
        mask: class indices, for the classes present; or `classes`, a list of ids, if there is no mask.
        caption: text, in place of the mask with `text="caption"`.

    Columns written:
        clip_sim: as the score `clip_sim` writes it.
        clip_sim_mixed: float32, mean similarity of the shuffled images.
        pcs: float32, clip_sim minus clip_sim_mixed, higher is better; null if no class is present or there is no
            caption.

    Args:
        scales: patches per side, one entry a scale.
        patch_unit: what `scales` counts: `grid`, patches per side, or `pixels`, the side of a patch in pixels of what
            the model sees. The paper does not say which; at 224 pixels its 8, 16, 32 make grids of 8, 16, 32 or of 28,
            14, 7.
        orders: shuffles per scale.
        difference: `signed`, as the paper has it, or `abs`, as in the authors' code, which also keeps images that CLIP
            becomes more certain of when they are shuffled.
        seed: of the shuffles.
        similarity, text, class_list, pool, resolution, position: see `ImageTextScore`.
        model, dtype, labels: see `ClipScore`.

    Source:
        Tang et al., SDS, AAAI 2025, Eq. 3-7 (scales 8, 16, 32 with 3 orders each; rows above 0.1 are kept).
    """

    name: ClassVar[str] = "pcs"
    columns: ClassVar[dict[str, pa.DataType]] = {name: pa.float32() for name in ("clip_sim", "clip_sim_mixed", "pcs")}
    needs: ClassVar[frozenset[str]] = frozenset({"image", "classes"})
    cost: ClassVar[Cost] = "forwards"
    source: ClassVar[str] = "SDS (Tang et al., AAAI 2025), Eq. 3-7"

    scales: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=1)] = (8, 16, 32)
    patch_unit: PatchUnit = "grid"
    orders: Annotated[int, Field(ge=1)] = 3
    difference: DifferenceKind = "signed"
    seed: int = 0

    def compute(self, rows: Rows) -> dict[str, Values]:
        """See `Score.compute`."""
        import torch

        encoder = self.encoder()
        _log_notes(self)
        intact = self.similarities(encoding.images(rows, encoder, self.view), rows, encoder)
        pixels = encoding.pixels(rows, encoder, self.resolution)
        mixed = torch.stack(
            [
                self.similarities(
                    encoder.encode_images(shuffle_patches(pixels, order, tile), self.pool, self.position), rows, encoder
                )
                for order, tile in self.shuffles(pixels.shape[-1])
            ]
        ).mean(0)
        values = {
            "clip_sim": intact,
            "clip_sim_mixed": mixed,
            "pcs": perturbation_score(intact, mixed, self.difference),
        }
        return {name: value.tolist() for name, value in values.items()}

    def notes(self) -> list[str]:
        """See `Score.notes`; tells of scales whose tiles are whole patches of the ViT: these only permute tokens."""
        from sds_hf.clip.encoder import vision_settings

        seen = vision_settings(model_files(self.model))
        side = self.resolution or seen.preprocessing.size[0]
        cuts = {scale: patch_grid(side, scale, self.patch_unit) for scale in self.scales}
        aligned = [scale for scale, (grid, tile) in cuts.items() if grid * tile == side and not tile % seen.patch_size]
        return [f"pcs: the tiles of scales {aligned} are whole ViT patches, which weakens the score"] if aligned else []

    def shuffles(self, side: int) -> "list[tuple[Tensor, int]]":
        """For an image of `side` pixels, the order of the tiles and their side in pixels, for each (scale, draw)."""
        cuts = [patch_grid(side, scale, self.patch_unit) for scale in self.scales]
        return [(patch_order(self.seed, grid, draw), tile) for grid, tile in cuts for draw in range(self.orders)]


@lru_cache
def _log_notes(score: PCS) -> None:
    """Say once in the log what weakens the score."""
    for note in score.notes():
        logger.warning(note)
