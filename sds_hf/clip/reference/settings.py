"""How reference masks are made. Apart, so that settings are read without torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from sds_hf.clip.kinds import Position

ReferenceKind = Literal["clip-es", "maskclip"]
RefineKind = Literal["affinity", "crf", "none"]
CRFImage = Literal["rgb", "authors"]


@dataclass(frozen=True, kw_only=True)
class ReferenceSettings:
    """Settings of a reference mask.

    Attributes:
        reference: `clip-es`, softmax Grad-CAM of the last block (what the paper uses), or `maskclip`, patch embeddings
            compared with the texts.
        refine: `crf` spreads Grad-CAM maps along the attention and then applies a dense CRF, as CLIP-ES and the
            authors do; `affinity` leaves out the CRF, which is most of the time on a CPU; `none` does neither.
            `maskclip` has no affinity step: `crf` refines its probabilities, and `affinity` is the same as `none`.
        crf_image: what the CRF sees: `rgb`, the image, or `authors`, the BGR image of their code, with the mean
            subtracted and negative values wrapped around. For `refine="crf"` only, and so is the next one.
        crf_confidence: pixels whose largest posterior is lower have no label; None: all have one.
        affinity_blocks: how many of the last blocks' attention is averaged, 8 of the 12 of a ViT-B.
        cam_threshold: share of a map's maximum that bounds an object in the affinity step; None: 0.4, or what
            the label space says.
        exclusive_boxes: boxes of the affinity step leave out the map's last row and column, as in the authors' code.
        position: how position embeddings are resized to the image's grid: `bicubic`, as `transformers` does, or
            `bilinear`, as the authors' code does.
    """

    reference: ReferenceKind = "clip-es"
    refine: RefineKind = "crf"
    crf_image: CRFImage = "rgb"
    crf_confidence: Annotated[float, Field(gt=0, lt=1)] | None = 0.95
    affinity_blocks: Annotated[int, Field(ge=1)] = 8
    cam_threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    exclusive_boxes: bool = False
    position: Position = "bicubic"
