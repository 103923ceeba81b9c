"""`asf_miou`: how well the annotation agrees with a mask that CLIP makes by itself."""

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import pyarrow as pa

from sds_hf.clip.reference.settings import ReferenceSettings
from sds_hf.data.labels import IGNORE_INDEX
from sds_hf.scores.base import encoding
from sds_hf.scores.base.rows import ClassList, Rows
from sds_hf.scores.base.score import ClipScore, Cost, Values, settings
from sds_hf.scores.functional.overlap import IgnoreKind, class_overlap, mean_iou, pooled_iou

if TYPE_CHECKING:
    from torch import Tensor

    from sds_hf.clip.encoder import Encoder


@settings
class ASF(ReferenceSettings, ClipScore):
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
        reference, refine, crf_image, crf_confidence, affinity_blocks, cam_threshold, exclusive_boxes, position: see
            `ReferenceSettings`. Pixels that the CRF is not sure of are 255 in the reference.
        class_list: which classes CLIP is asked about: `all` that the mask shows, or `inner`, all but the lowest and the
            highest index of the mask, see `ImageTextScore`. The IoU is always of all.
        iou: `mean` over the classes, or `pooled`: sum of intersections over sum of unions, as in the authors' code.
        ignore: `base` leaves out pixels the mask ignores, `either` also those the reference ignores, `none` nothing: an
            ignored pixel then counts as another class, as in the authors' code.
        model, dtype, labels: see `ClipScore`. The model must be a CLIP with a ViT, as those of OpenAI, OpenCLIP and
            MetaCLIP are; SigLIP has no class token and no projection of patches, so it is refused.

    Source:
        Tang et al., SDS, AAAI 2025, section "ASF"; CLIP-ES (Lin et al., CVPR 2023); MaskCLIP (Zhou et al., ECCV 2022).
        Differs by default: affinity boxes may reach the last row and column of the map.
    """

    name: ClassVar[str] = "asf_miou"
    columns: ClassVar[dict[str, pa.DataType]] = {"asf_miou": pa.float32()}
    needs: ClassVar[frozenset[str]] = frozenset({"image", "mask"})
    cost: ClassVar[Cost] = "dense"
    source: ClassVar[str] = "SDS (Tang et al., AAAI 2025), ASF; CLIP-ES; MaskCLIP"

    class_list: ClassList = "all"
    iou: Literal["mean", "pooled"] = "mean"
    ignore: IgnoreKind = "base"

    def compute(self, rows: Rows) -> dict[str, Values]:
        """See `Score.compute`."""
        values: list[float | None] = [None] * len(rows)
        for row, overlap in self.overlaps(rows).items():
            values[row] = mean_iou(*overlap) if self.iou == "mean" else pooled_iou(*overlap)
        return {"asf_miou": values}

    def overlaps(self, rows: Rows) -> "dict[int, tuple[Tensor, Tensor]]":
        """Intersections and unions of each row's classes with its reference, found once for scores that share them."""
        import torch

        def compute() -> "dict[int, tuple[Tensor, Tensor]]":
            overlaps = {}
            for row, reference in self.references(rows, self.encoder()):
                mask = torch.from_numpy(rows.masks[row]).to(reference.device)
                class_ids = torch.tensor(rows.classes_of(row), device=reference.device)
                overlaps[row] = class_overlap(mask, reference, class_ids, self.ignore)
            return overlaps

        deciding = {**self.values(), "iou": None}  # which comes after
        return rows.share(("overlaps", *deciding.items()), compute)

    def references(self, rows: Rows, encoder: "Encoder") -> "list[tuple[int, Tensor]]":
        """Rows with a class to ask about and their reference masks, (H, W) int64: class ids, else background or 255."""
        import torch
        from torch import Tensor

        from sds_hf.clip.reference.masks import reference_masks

        present = rows.asked(self.class_list)
        annotated, features = np.flatnonzero(present.any(1)), dict[int, Tensor]()
        labelled = reference_masks(
            encoder,
            [rows.images[int(row)] for row in annotated],
            torch.from_numpy(present[annotated]),
            encoding.texts(rows, encoder),
            replace(self, cam_threshold=self.cam_threshold or rows.labels.cam_threshold),
            features,
        )
        nothing = 0 if rows.labels.has_background else IGNORE_INDEX
        # The last one is what -1, no label, refers to.
        ids = torch.tensor([nothing, *rows.labels.class_ids, IGNORE_INDEX], device=encoder.device)
        masks = [(int(annotated[index]), ids[labels]) for index, labels in labelled]
        if len(features) == len(rows):
            in_order = [features[row] for row in range(len(rows))]
            encoding.leave_native(rows, encoder, self.position, torch.stack(in_order))
        return masks


@settings
class ClassIoU(ASF):
    """Agreement of a mask with CLIP's reference mask, class by class.

    Beside `asf_miou` of the same settings it costs nothing: the reference is made once.

    Columns read:
        image: picture of any size.
        mask: class indices of the same size; 255 is ignored.

    Columns written:
        asf_class_iou: list of structs, one a class of the mask, ids ascending: `class_id` int32, and `iou` float32 in
            [0, 1], null if none of its pixels are counted; null if the mask has no class.

    Args:
        reference, refine, crf_image, crf_confidence, affinity_blocks, cam_threshold, exclusive_boxes, position,
            class_list, ignore: see `ASF`.
        iou: without meaning here.
        model, dtype, labels: see `ClipScore`.

    Source:
        As `asf_miou`; the classes apart are ours.
    """

    name: ClassVar[str] = "asf_class_iou"
    settings_of: ClassVar[str] = "asf_miou"
    columns: ClassVar[dict[str, pa.DataType]] = {
        "asf_class_iou": pa.list_(pa.struct({"class_id": pa.int32(), "iou": pa.float32()}))
    }

    def compute(self, rows: Rows) -> dict[str, Values]:
        """See `Score.compute`."""
        values: list[list[dict[str, float | None]] | None] = [None] * len(rows)
        for row, (intersections, unions) in self.overlaps(rows).items():
            pairs = zip(rows.classes_of(row), intersections.tolist(), unions.tolist(), strict=True)
            values[row] = [{"class_id": c, "iou": part / whole if whole else None} for c, part, whole in pairs]
        return {"asf_class_iou": values}
