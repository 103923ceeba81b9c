"""`pcs`: how much of the similarity is lost when the image's patches are shuffled."""

import logging
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from sds_hf.clip.checkpoints import model_files
from sds_hf.schema import settings
from sds_hf.scores.base import encoding
from sds_hf.scores.base.image_text import ImageTextScore
from sds_hf.scores.base.rows import Rows
from sds_hf.scores.base.score import Cost, IsOpen, Values
from sds_hf.scores.functional.patches import (
    DifferenceKind,
    PatchUnit,
    ShuffleKind,
    channel_order,
    patch_grid,
    patch_order,
    perturbation_score,
    shuffle_channels,
    shuffle_patches,
)

if TYPE_CHECKING:
    from torch import Tensor


logger = logging.getLogger(__name__)
RANGES = {  # what similarities lie in; how high an entropy can be depends on the classes
    **dict.fromkeys(("prob", "prob_mean", "prob_min"), (0.0, 1.0)),
    "cosine": (-1.0, 1.0),
    "clipscore": (0.0, 2.5),
    "entropy": (0.0, np.inf),
}
Scale = Annotated[int, Field(ge=2, le=4096)]


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
        id: name of the row, with `shuffle="channels"` only.

    Columns written:
        clip_sim: as the score `clip_sim` writes it.
        clip_sim_mixed: float32, mean similarity of the shuffled images.
        pcs: float32, clip_sim minus clip_sim_mixed, higher is better; null if no class is present or there is no
            caption.

    Args:
        shuffle: `tiles`, as the paper has it, or `channels`, as the authors' published code does: it means to move
            tiles, but permutes red, green and blue, in an order drawn for each row from (seed, id). One order in six
            changes nothing. `scales` and `patch_unit` have no meaning then, and that a row is above 0.1 by the one
            says nothing of the other.
        scales: patches per side, one entry a scale.
        patch_unit: what `scales` counts: `grid`, patches per side, or `pixels`, the side of a patch in pixels of what
            the model sees. The paper does not say which; at 224 pixels its 8, 16, 32 make grids of 8, 16, 32 or of 28,
            14, 7.
        orders: shuffles per scale, or of the channels.
        difference: `signed`, as the paper has it, or `abs`, as in the authors' code, which also keeps images that CLIP
            becomes more certain of when they are shuffled.
        seed: of the shuffles.
        similarity, text, class_list, pool, resolution, position: see `ImageTextScore`.
        model, dtype, labels: see `ClipScore`.

    Source:
        Tang et al., SDS, AAAI 2025, Eq. 3-7 (scales 8, 16, 32 with 3 orders each; rows above 0.1 are kept).

    Examples:
        >>> score = PCS(model="demo", scales=(8, 16), orders=1)
        >>> add_scores(candidates, score).column_names[-3:]
        ['clip_sim', 'clip_sim_mixed', 'pcs']
    """

    name: ClassVar[str] = "pcs"
    columns: ClassVar[dict[str, pa.DataType]] = {name: pa.float32() for name in ("clip_sim", "clip_sim_mixed", "pcs")}
    needs: ClassVar[frozenset[str]] = frozenset({"image", "classes"})
    partial_columns: ClassVar[dict[str, pa.DataType]] = {
        "pcs_low": pa.float32(),
        "pcs_high": pa.float32(),
        "pcs_shuffles": pa.int16(),
    }
    cost: ClassVar[Cost] = "forwards"
    source: ClassVar[str] = "SDS (Tang et al., AAAI 2025), Eq. 3-7"

    defining: ClassVar[tuple[str, ...]] = ("similarity", "difference", "shuffle")

    shuffle: ShuffleKind = "tiles"
    scales: Annotated[tuple[Annotated[int, Field(ge=2, le=4096)], ...], Field(min_length=1, max_length=64)] = (
        8,
        16,
        32,
    )
    patch_unit: PatchUnit = "grid"
    orders: Annotated[int, Field(ge=1, le=1000)] = 3
    difference: DifferenceKind = "signed"
    seed: int = 0

    @property
    def reads(self) -> frozenset[str]:
        """See `Score.reads`."""
        return super().reads | {"id"} if self.shuffle == "channels" else super().reads

    def compute(self, rows: Rows) -> dict[str, Values]:
        """See `Score.compute`."""
        import torch

        encoder = self.encoder()
        _log_notes(self)
        intact = self.similarities(encoding.images(rows, encoder, self.view), rows, encoder)
        pixels = encoding.pixels(rows, encoder, self.resolution)
        mixed = torch.stack([self._similarities_of(shuffle(pixels, rows), rows) for shuffle in self._all(pixels)])
        return self._columns(intact, mixed.mean(0))

    def compute_open(self, rows: Rows, column: str, is_open: IsOpen) -> tuple[dict[str, Values], dict[str, np.ndarray]]:
        """See `Score.compute_open`; similarities lie in a range, so after each shuffle `pcs` lies in an interval."""
        import torch

        encoder = self.encoder()
        _log_notes(self)
        intact = self.similarities(encoding.images(rows, encoder, self.view), rows, encoder)
        if column == "clip_sim":
            low, high = self._interval(intact, intact.new_empty(0, len(rows)))
            interval = {"pcs_low": low.tolist(), "pcs_high": high.tolist(), "pcs_shuffles": [0] * len(rows)}
            return {"clip_sim": intact.tolist(), **interval}, {}
        pixels = encoding.pixels(rows, encoder, self.resolution)
        shuffles = self._all(pixels)
        mixed = torch.full((len(shuffles), len(rows)), torch.nan, dtype=intact.dtype, device=intact.device)
        waiting = np.flatnonzero(~intact.isnan().cpu().numpy())  # the others have no score
        for number, shuffle in enumerate(shuffles):
            if column == "pcs":  # of which the interval is known
                waiting = waiting[is_open(*self._interval(intact, mixed))[waiting]]
            if not len(waiting):
                break
            part, chosen = rows.take(waiting), torch.as_tensor(waiting, device=pixels.device)
            mixed[number, chosen] = self._similarities_of(shuffle(pixels[chosen], part), part)
        low, high = self._interval(intact, mixed)
        counts = (~mixed.isnan()).sum(0).cpu().numpy()
        stopped = (counts < len(shuffles)) & ~intact.isnan().cpu().numpy()
        columns = self._columns(intact, mixed.mean(0))
        columns |= {"pcs_low": low.tolist(), "pcs_high": high.tolist(), "pcs_shuffles": counts.tolist()}
        return columns, {"clip_sim_mixed": stopped, "pcs": stopped}

    def work(self, table: pa.Table) -> dict[str, tuple[int, int]]:
        """See `Score.work`."""
        import pyarrow.compute as pc

        # Of a row of a table that was joined and skipped nothing, the shuffles are not counted.
        skipped = [cell is None or "pcs" in cell for cell in table["skipped_scores"].to_pylist()]
        seen = pc.or_(pc.is_valid(table["pcs_shuffles"]), pa.array([not one for one in skipped], pa.bool_()))
        made = pc.if_else(pc.is_valid(table["pcs"]), self._count, pc.fill_null(table["pcs_shuffles"], 0))
        done = (pc.sum(seen).as_py() or 0) + (pc.sum(made).as_py() or 0)
        return {"encoder passes of pcs": (done, (1 + self._count) * table.num_rows)}

    @property
    def _count(self) -> int:
        """How many shuffles there are."""
        return self.orders * (len(self.scales) if self.shuffle == "tiles" else 1)

    def _columns(self, intact: "Tensor", mixed: "Tensor") -> dict[str, Values]:
        values = {
            "clip_sim": intact,
            "clip_sim_mixed": mixed,
            "pcs": perturbation_score(intact, mixed, self.difference),
        }
        return {name: value.tolist() for name, value in values.items()}

    def _interval(self, intact: "Tensor", mixed: "Tensor") -> tuple[np.ndarray, np.ndarray]:
        """What the score lies in, (rows,) float32 each, when some shuffles are seen and the others can be anything.

        It is wider than that by more than sums are rounded.

        Args:
            intact: (rows,) similarities.
            mixed: (shuffles, rows) similarities; NaN, or not there, where a shuffle was not seen.
        """
        lowest, highest = RANGES[self.similarity]
        similarities, whole = mixed.double().cpu().numpy(), intact.double().cpu().numpy()
        left = self._count - (~np.isnan(similarities)).sum(0)
        seen, slack = np.nansum(similarities, 0), 1e-5 + 1e-7 * self._count
        most = seen + np.where(left, np.maximum(left, 1) * highest, 0)
        low, high = whole - most / self._count - slack, whole - (seen + left * lowest) / self._count + slack
        if self.difference == "abs":
            nearest = np.where((low < 0) & (high > 0), 0, np.minimum(abs(low), abs(high)))
            low, high = nearest, np.maximum(abs(low), abs(high))
        return low.astype(np.float32), high.astype(np.float32)

    def _similarities_of(self, images: "Tensor", rows: Rows) -> "Tensor":
        encoder = self.encoder()
        return self.similarities(encoder.encode_images(images, self.pool, self.position), rows, encoder)

    def notes(self) -> list[str]:
        """See `Score.notes`; tells of scales whose tiles are whole patches of the ViT: these only permute tokens."""
        from sds_hf.clip.encoder import vision_settings

        if self.shuffle == "channels":
            return ["pcs: colour channels are permuted, as the authors' published code does, and no tile is moved"]
        seen = vision_settings(model_files(self.model))
        side = self.resolution or seen.preprocessing.size[0]
        cuts = {scale: patch_grid(side, scale, self.patch_unit) for scale in self.scales}
        aligned = [scale for scale, (grid, tile) in cuts.items() if grid * tile == side and not tile % seen.patch_size]
        return [f"pcs: the tiles of scales {aligned} are whole ViT patches, which weakens the score"] if aligned else []

    def _all(self, pixels: "Tensor") -> "list[Callable[[Tensor, Rows], Tensor]]":
        """What makes of images, (B, 3, S, S), and their rows each of their shuffled versions."""
        import torch

        def tiles(images: "Tensor", rows: Rows, order: "Tensor", tile: int) -> "Tensor":
            return shuffle_patches(images, order, tile)

        def channels(images: "Tensor", rows: Rows, draw: int) -> "Tensor":
            names = [str(name) for name in rows.cells["id"]]
            return shuffle_channels(images, torch.stack([channel_order(self.seed, name, draw) for name in names]))

        if self.shuffle == "tiles":
            return [partial(tiles, order=order, tile=tile) for order, tile in self.shuffles(pixels.shape[-1])]
        return [partial(channels, draw=draw) for draw in range(self.orders)]

    def shuffles(self, side: int) -> "list[tuple[Tensor, int]]":
        """For an image of `side` pixels, the order of the tiles and their side in pixels, for each (scale, draw)."""
        cuts = [patch_grid(side, scale, self.patch_unit) for scale in self.scales]
        return [(patch_order(self.seed, grid, draw), tile) for grid, tile in cuts for draw in range(self.orders)]


@lru_cache
def _log_notes(score: PCS) -> None:
    """Say once in the log what weakens the score."""
    for note in score.notes():
        logger.warning(note)
