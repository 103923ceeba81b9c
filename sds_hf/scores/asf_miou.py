"""`asf_miou`: how well the annotation agrees with a mask that CLIP makes by itself."""

from typing import Annotated, ClassVar, Literal

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field
from torch import Tensor

from sds_hf import encoding
from sds_hf.clip import Encoder
from sds_hf.functional import IgnoreKind, class_overlap, mean_iou, pooled_iou
from sds_hf.labels import IGNORE_INDEX
from sds_hf.reference import ReferenceKind, ReferenceSettings, RefineKind, reference_masks
from sds_hf.rows import Rows
from sds_hf.score import ClipScore, Values, settings
from sds_hf.tower import tower_of


@settings
class ASF(ClipScore):
    """Agreement of a mask with the reference mask that CLIP makes for the same classes.

    Tang et al. (AAAI 2025) rank annotations by it (annotation similarity filter). The reference sees the image at its
    own resolution and knows the classes of the mask, but nothing of its shape.

    Columns read:
        image: picture of any size.
        mask: class indices of the same size; 255 is ignored.

    Columns written:
        asf_miou: float32 in [0, 1], higher is better: IoU of the mask's own classes, background left out; null if the
            mask has no class.

    Args:
        reference: `clip-es`, softmax Grad-CAM of the last block (what the paper uses), or `maskclip`, patch embeddings
            compared with the texts.
        refine: `affinity` spreads Grad-CAM maps along the attention, `none` leaves them; `maskclip` is never refined.
        affinity_blocks: how many of the last blocks' attention is averaged, 8 of the 12 of a ViT-B.
        cam_threshold: share of a map's maximum that bounds an object; the label space's own if None.
        iou: `mean` over the classes, or `pooled`: sum of intersections over sum of unions, as in the authors' code.
        ignore: `base` leaves out pixels the mask ignores, `either` also those the reference ignores, `none` nothing.
        model, dtype, labels: see `ClipScore`; the model must have a CLIP vision tower.

    Source:
        Tang et al., SDS, AAAI 2025, section "ASF"; CLIP-ES (Lin et al., CVPR 2023); MaskCLIP (Zhou et al., ECCV 2022).
        Differs: affinity boxes may reach the last row and column of the map; no dense CRF yet.
    """

    name: ClassVar[str] = "asf_miou"
    columns: ClassVar[dict[str, pa.DataType]] = {"asf_miou": pa.float32()}
    needs: ClassVar[frozenset[str]] = frozenset({"image", "mask"})
    source: ClassVar[str] = "SDS (Tang et al., AAAI 2025), ASF; CLIP-ES; MaskCLIP"

    reference: ReferenceKind = "clip-es"
    refine: RefineKind = "affinity"
    affinity_blocks: Annotated[int, Field(ge=1)] = 8
    cam_threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    iou: Literal["mean", "pooled"] = "mean"
    ignore: IgnoreKind = "base"

    def compute(self, rows: Rows) -> dict[str, Values]:
        """See `Score.compute`."""
        values: list[float | None] = [None] * len(rows)
        for row, reference in self.references(rows, self.encoder()):
            mask = torch.from_numpy(rows.masks[row]).to(reference.device)
            class_ids = torch.tensor(rows.classes_of(row), device=reference.device)
            overlap = class_overlap(mask, reference, class_ids, self.ignore)
            values[row] = mean_iou(*overlap) if self.iou == "mean" else pooled_iou(*overlap)
        return {"asf_miou": values}

    def references(self, rows: Rows, encoder: Encoder) -> list[tuple[int, Tensor]]:
        """Rows that have a class and their reference masks, (H, W) int64: class ids, elsewhere background (or 255)."""
        annotated = np.flatnonzero(rows.present.any(1))
        how = ReferenceSettings(
            kind=self.reference,
            refinement=self.refine,
            cam_threshold=self.cam_threshold or rows.labels.cam_threshold,
            affinity_blocks=self.affinity_blocks,
        )
        found = reference_masks(
            tower_of(encoder),
            [rows.images[int(row)] for row in annotated],
            torch.from_numpy(rows.present[annotated]),
            encoding.texts(rows, encoder),
            how,
        )
        nothing = 0 if rows.labels.has_background else IGNORE_INDEX
        ids = torch.tensor([nothing, *rows.labels.class_ids], device=encoder.device)
        return [(int(annotated[place]), ids[labels]) for place, labels in found]
