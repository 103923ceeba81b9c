"""Scores made of the similarity of an image with what it is said to show."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from sds_hf.clip.kinds import Pool, Position, SimilarityKind
from sds_hf.schema import settings
from sds_hf.scores.base import encoding
from sds_hf.scores.base.rows import ClassList, Rows
from sds_hf.scores.base.score import ClipScore

if TYPE_CHECKING:
    from torch import Tensor

    from sds_hf.clip.encoder import Encoder

TextKind = Literal["classes", "caption"]


@settings
class ImageTextScore(ClipScore):
    """A score that compares images with texts.

    Args:
        similarity: `prob`, the paper's sum over the classes; `prob_mean` or `prob_min`, each class against the
            background prompts alone, then the mean or the minimum over classes, which sees that one of several classes
            is missing; `cosine`, `clipscore` or `entropy`. See `sds_hf.clip.similarity.similarity`.
        text: `classes`, the prompts of the classes in the mask, or `caption`, the row's own caption in their place: in
            `entropy` and the three of `prob` it competes with the background prompts of the label space; in the others
            it stands alone. A caption longer than the text encoder reads is cut; a row without one has no score.
        class_list: which classes are asked about: `all` that the mask shows, or `inner`, all but the lowest and the
            highest index of the mask, as the authors' script for VOC takes them. That is right where the mask has both
            background and 255; where 255 is missing the highest class is lost, and a row with one class has no score.
        pool: `cls`, the checkpoint's own image embedding, or `patch_mean`, the mean over the projected patch tokens,
            which CLIP-ES and the authors' code use; CLIP vision towers only.
        resolution: side in pixels that images are resized to, without a crop, a multiple of the patch; None: what the
            checkpoint's own processor does. The authors' code sees images of 512 x 512 as they are.
        position: how position embeddings are resized where the resolution is not the checkpoint's own: `bicubic`, as
            `transformers` does, or `bilinear`, as the authors' code does.
        model, dtype, labels: see `ClipScore`.
    """

    similarity: SimilarityKind = "prob"
    text: TextKind = "classes"
    class_list: ClassList = "all"
    pool: Pool = "cls"
    resolution: Annotated[int, Field(ge=1, le=8192)] | None = None
    position: Position = "bicubic"

    @property
    def reads(self) -> frozenset[str]:
        """See `Score.reads`."""
        if self.text == "caption":
            return self.needs - {"classes"} | {"caption"}
        return self.needs | {"mask"} if self.class_list == "inner" else self.needs

    @property
    def view(self) -> encoding.View:
        """How images are seen."""
        return encoding.View(resolution=self.resolution, pool=self.pool, position=self.position)

    def similarities(self, images: "Tensor", rows: Rows, encoder: "Encoder") -> "Tensor":
        """Similarity of images (B, D), one a row, with the row's texts: (B,) float32, NaN where it has none."""
        import torch

        from sds_hf.clip.similarity import similarity

        texts = encoding.texts(rows, encoder)
        if self.text == "caption":
            background = texts[len(rows.labels.class_ids) :]
            own = (images * encoding.captions(rows, encoder)).sum(-1, keepdim=True)
            cosines = torch.cat([own, images @ background.T], -1)
            present = torch.tensor([[caption is not None] for caption in rows.captions])
        else:
            cosines, present = images @ texts.T, torch.from_numpy(rows.asked(self.class_list))
        return similarity(cosines, present.to(encoder.device), encoder.scale, self.similarity, encoder.bias)
