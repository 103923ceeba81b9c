"""How reference masks are made. Apart, so that settings are read without torch."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from sds_hf.clip.kinds import Position

CLIP_JUDGES = ("clip-es", "maskclip", "naclip")
SAM3 = "sam3"
COLUMN = "column:"  # before the name of a column
NO_MASKS = ("image", "mask", "classes", "caption", "id")
SUPERPIXELS = "superpixels"
RefineKind = Literal["affinity", "crf", "none", "regions", "regions-crf"]
REGION_KINDS: tuple[RefineKind, ...] = ("regions", "regions-crf")
CRF_KINDS: tuple[RefineKind, ...] = ("crf", "regions-crf")
CRFImage = Literal["rgb", "authors"]


def judges_of(reference: str) -> tuple[str, ...]:
    """The one or two judges that a setting names, e.g. `maskclip,column:teacher`.

    Raises:
        ValueError: if there are others, or one is no judge; says what was probably meant.
    """
    judges = tuple(name.strip() for name in reference.split(","))
    if not 1 <= len(judges) <= 2 or len(set(judges)) < len(judges):
        raise ValueError(f"one judge or two different ones, not {list(judges)}")
    for judge in judges:
        if judge not in (*CLIP_JUDGES, SAM3) and not column_of(judge):
            possible = [*CLIP_JUDGES, SAM3, f"{COLUMN}NAME"]
            close = difflib.get_close_matches(judge, possible, 1)
            meant = f"; did you mean {close[0]!r}" if close else ""
            raise ValueError(f"there is no judge {judge!r}{meant}; there are {', '.join(possible)}")
        if column_of(judge) in NO_MASKS:
            raise ValueError(f"{judge}: give a column of other masks than those in question")
    return judges


def column_of(judge: str) -> str:
    """The column of masks that a judge is; empty if it is a model."""
    return judge.removeprefix(COLUMN) if judge.startswith(COLUMN) else ""


def _joined(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _checked(value: str) -> str:
    return ",".join(judges_of(value))


Reference = Annotated[str, BeforeValidator(_joined), AfterValidator(_checked)]
Scale = Annotated[float, Field(gt=0, le=8)]


@dataclass(frozen=True, kw_only=True)
class ReferenceSettings:
    """Settings of a reference mask.

    Attributes:
        reference: who makes it. `clip-es`: softmax Grad-CAM of the last block (what the paper uses). `maskclip`: patch
            embeddings compared with the texts. `naclip`: the same with patches that attend to like ones nearby.
            `sam3`: SAM 3, asked for each class by its name. `column:NAME`: masks that the dataset has in a column, of
            another model, a teacher or a person; no model is loaded then. Two judges, `maskclip,column:NAME` or a list
            of two, judge each by itself.
        refine: what happens to the maps of a model. `crf` spreads Grad-CAM maps along the attention and then applies a
            dense CRF, as CLIP-ES and the authors do; `affinity` leaves out the CRF, which is most of the time on a CPU;
            `none` does neither. Only `clip-es` has an affinity step: for others `affinity` is the same as `none`.
            `regions` gives every region of the picture the mean of the maps in it and then scales each class to
            [0, 1]; `regions-crf` applies the CRF after that. Both spread Grad-CAM maps first. Masks of a column stay as
            they are.
        crf_image: what the CRF sees: `rgb`, the image, or `authors`, the BGR image of their code, with the mean
            subtracted and negative values wrapped around. For a `refine` with a CRF only, and so is the next one.
        crf_confidence: pixels whose largest posterior is lower have no label; None: all have one.
        affinity_blocks: how many of the last blocks' attention is averaged, 8 of the 12 of a ViT-B.
        cam_threshold: share of a map's maximum that bounds an object in the affinity step; None: 0.4, or what
            the label space says.
        exclusive_boxes: boxes of the affinity step leave out the map's last row and column, as in the authors' code.
        position: how position embeddings are resized to the image's grid: `bicubic`, as `transformers` does, or
            `bilinear`, as the authors' code does.
        scales: of the image that CLIP sees, in units of its own size; maps of several are averaged. Twice the size
            costs four times the patches. SAM 3 sees one size only.
        regions: where the regions come from: `superpixels` (Felzenszwalb and Huttenlocher, by scikit-image), or a model
            of `transformers` that segments without classes, a Hub id or a local folder: Mask2Former, MaskFormer, EoMT
            or SAM 2.
        sam3_model: the checkpoint of the judge `sam3`, a Hub id or a local folder.
    """

    reference: Reference = "clip-es"
    refine: RefineKind = "crf"
    crf_image: CRFImage = "rgb"
    crf_confidence: Annotated[float, Field(gt=0, lt=1)] | None = 0.95
    affinity_blocks: Annotated[int, Field(ge=1)] = 8
    cam_threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    exclusive_boxes: bool = False
    position: Position = "bicubic"
    scales: Annotated[tuple[Scale, ...], Field(min_length=1)] = (1.0,)
    regions: str = SUPERPIXELS
    sam3_model: str = "facebook/sam3"
