"""`clip_sim`: how well the image fits its classes."""

from typing import ClassVar

import pyarrow as pa

from sds_hf.schema import settings
from sds_hf.scores.base import encoding
from sds_hf.scores.base.image_text import ImageTextScore
from sds_hf.scores.base.rows import Rows
from sds_hf.scores.base.score import Values


@settings
class ClipSim(ImageTextScore):
    """CLIP's similarity of an image with the classes of its annotation.

    S_x of Tang et al. (AAAI 2025), Eq. 2. The paper calls it a cosine in [0, 1] and keeps rows above 0.8, which no
    cosine of CLIP reaches; the default is the probability of the present classes in a softmax among these and
    background prompts.

    Columns read:
        image: picture of any size.
        mask: class indices, for the classes present; or `classes`, a list of ids, if there is no mask.
        caption: text, in place of the mask with `text="caption"`.

    Columns written:
        clip_sim: float32, higher is better, in [0, 1] for `prob`, `prob_mean` and `prob_min`, [-1, 1] for `cosine`,
            [0, 2.5] for `clipscore`; for `entropy` nats, lower is better; null if no class is present or there is no
            caption.

    Args:
        similarity, text, class_list, pool, resolution, position: see `ImageTextScore`.
        model, dtype, labels: see `ClipScore`.

    Source:
        Tang et al., SDS, AAAI 2025, Eq. 2; prompts of CLIP-ES (Lin et al., CVPR 2023).

    Examples:
        >>> add_scores(candidates, ClipSim(model="demo", similarity="cosine")).features["clip_sim"]
        Value('float32')
    """

    name: ClassVar[str] = "clip_sim"
    columns: ClassVar[dict[str, pa.DataType]] = {"clip_sim": pa.float32()}
    needs: ClassVar[frozenset[str]] = frozenset({"image", "classes"})
    settings_of: ClassVar[str] = "pcs"
    defining: ClassVar[tuple[str, ...]] = ("similarity",)
    source: ClassVar[str] = "SDS (Tang et al., AAAI 2025), Eq. 2"

    def compute(self, rows: Rows) -> dict[str, Values]:
        """See `Score.compute`."""
        encoder = self.encoder()
        values = self.similarities(encoding.images(rows, encoder, self.view), rows, encoder)
        return {"clip_sim": values.tolist()}
