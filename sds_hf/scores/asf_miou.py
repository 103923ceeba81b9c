"""`asf_miou`: how well the annotation agrees with a mask that somebody else makes: CLIP, another model, or a person."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import field_validator

from sds_hf.clip.checkpoints import OTHER_WAY_OUT, ModelFiles, model_files
from sds_hf.clip.reference.settings import (
    CLIP_JUDGES,
    REGION_KINDS,
    SAM3,
    SUPERPIXELS,
    ReferenceSettings,
    column_of,
    judges_of,
)
from sds_hf.data.labels import IGNORE_INDEX
from sds_hf.schema import settings
from sds_hf.scores.base import encoding
from sds_hf.scores.base.rows import ClassList, Rows
from sds_hf.scores.base.score import ClipScore, Cost, Values
from sds_hf.scores.functional.overlap import IgnoreKind, class_overlap, mean_iou, pooled_iou

if TYPE_CHECKING:
    from torch import Tensor

    from sds_hf.clip.reference.masks import Judge

    Overlap = tuple[Tensor, Tensor]  # intersections and unions of the classes of a row, (K,) int64 each


@dataclass(frozen=True)
class Verdict:
    """What is found of a row: its mask against each judge's, and with two judges the one's against the other's."""

    overlaps: "list[Overlap]"
    between: "Overlap | None"


@settings
class ASF(ReferenceSettings, ClipScore):
    """Agreement of a mask with the reference mask that a judge makes for the same classes.

    Tang et al. (AAAI 2025) rank annotations by it (annotation similarity filter), with CLIP as the judge. CLIP sees the
    image at its own resolution and knows the classes of the mask, but nothing of its shape.

    Columns read:
        image: picture of any size; not with columns as judges only.
        mask: class indices of the same size; 255 is ignored.
        NAME: only with `reference="column:NAME"`: masks of the same size and classes; a row without one has no score.

    Columns written:
        asf_miou: float32 in [0, 1], higher is better: IoU of the mask's own classes, background left out; null if the
            mask has no class. With two judges the mean of what follows.
        asf_miou_first: float32 in [0, 1], with two judges only: the same against the first.
        asf_miou_second: float32 in [0, 1], with two judges only: the same against the second.
        asf_agreement: float32 in [0, 1], with two judges only: IoU of the two reference masks, over the mask's classes;
            where it is low, one of the judges is wrong.

    Args:
        reference, refine, crf_image, crf_confidence, affinity_blocks, cam_threshold, exclusive_boxes, position, scales,
            regions, sam3_model: see `ReferenceSettings`. Pixels that the CRF is not sure of are 255 in the reference.
        class_list: which classes a model is asked about: `all` that the mask shows, or `inner`, all but the lowest and
            the highest index of the mask, see `ImageTextScore`. The IoU is always of all.
        iou: `mean` over the classes, or `pooled`: sum of intersections over sum of unions, as in the authors' code.
        ignore: `base` leaves out pixels the mask ignores and those a column of masks ignores, `either` also those that
            the reference of a model ignores, `none` nothing: an ignored pixel then counts as another class, as in the
            authors' code. Two judges are compared where neither ignores.
        model, dtype, labels: see `ClipScore`. The model must be a CLIP with a ViT, as those of OpenAI, OpenCLIP and
            MetaCLIP are; SigLIP has no class token and no projection of patches, so it is refused.

    Source:
        Tang et al., SDS, AAAI 2025, section "ASF"; CLIP-ES (Lin et al., CVPR 2023); MaskCLIP (Zhou et al., ECCV 2022);
        NACLIP (Hajimiri et al., WACV 2025). Columns, SAM 3, regions and two judges are ours. Differs by default:
        affinity boxes may reach the last row and column of the map.

    Examples:
        >>> score = ASF(model="demo", refine="affinity")
        >>> add_scores(candidates, score).features["asf_miou"]
        Value('float32')
    """

    name: ClassVar[str] = "asf_miou"
    columns: ClassVar[dict[str, pa.DataType]] = {"asf_miou": pa.float32()}
    optional_columns: ClassVar[dict[str, pa.DataType]] = dict.fromkeys(
        ("asf_miou_first", "asf_miou_second", "asf_agreement"), pa.float32()
    )
    needs: ClassVar[frozenset[str]] = frozenset({"image", "mask"})
    cost: ClassVar[Cost] = "dense"
    source: ClassVar[str] = "SDS (Tang et al., AAAI 2025), ASF; CLIP-ES; MaskCLIP; NACLIP"
    later_settings: ClassVar[frozenset[str]] = frozenset({"scales", "regions", "sam3_model"})

    class_list: ClassList = "all"
    iou: Literal["mean", "pooled"] = "mean"
    ignore: IgnoreKind = "base"

    @property
    def judges(self) -> tuple[str, ...]:
        """One or two, see `judges_of`."""
        return tuple(self.reference.split(","))

    @property
    def mask_columns(self) -> frozenset[str]:
        """See `Score.mask_columns`."""
        return frozenset(filter(None, map(column_of, self.judges)))

    @property
    def reads(self) -> frozenset[str]:
        """See `Score.reads`."""
        return (self.needs if self.asks_model else self.needs - {"image"}) | self.mask_columns

    @property
    def writes(self) -> dict[str, pa.DataType]:
        """See `Score.writes`."""
        return {**self.columns, **self.optional_columns} if len(self.judges) > 1 else self.columns

    @property
    def asks_clip(self) -> bool:
        """See `ClipScore.asks_clip`."""
        return any(judge in CLIP_JUDGES for judge in self.judges)

    @property
    def asks_model(self) -> bool:
        """See `ClipScore.asks_model`."""
        return not all(map(column_of, self.judges))

    def _other_files(self) -> dict[str, ModelFiles]:
        """Checkpoints besides CLIP, by the setting that names them."""
        files = {}
        if SAM3 in self.judges:
            files["sam3_model"] = model_files(self.sam3_model, OTHER_WAY_OUT)
        if self.asks_model and self.refine in REGION_KINDS and self.regions != SUPERPIXELS:
            files["regions"] = model_files(self.regions, OTHER_WAY_OUT, with_texts=False)
        return files

    def identity(self) -> dict[str, Any]:
        """See `ClipScore.identity`; digests stand for all models."""
        digests = {f"{name}_digest": files.digest for name, files in self._other_files().items()}
        return {**super().identity(), **digests}

    def models(self) -> dict[str, Any]:
        """See `Score.models`."""
        others = self._other_files().values()
        about = {files.name: {"weights_sha256": files.weights_sha256, "digest": files.digest} for files in others}
        return {**super().models(), **about}

    def notes(self) -> list[str]:
        """See `Score.notes`; says who judges where it is not CLIP alone."""
        if self.judges[0] in CLIP_JUDGES and len(self.judges) == 1:
            return []
        return [f"{self.name}: masks are judged by {' and by '.join(map(_described, self.judges))}"]

    def compute(self, rows: Rows) -> dict[str, Values]:
        """See `Score.compute`."""
        values: dict[str, list[float | None]] = {name: [None] * len(rows) for name in self.writes}
        iou = mean_iou if self.iou == "mean" else pooled_iou
        for row, verdict in self.verdicts(rows).items():
            against = [iou(*overlap) for overlap in verdict.overlaps]
            values["asf_miou"][row] = sum(against) / len(against)
            if verdict.between is not None:
                numbers = (*against, iou(*verdict.between))
                for name, number in zip(self.optional_columns, numbers, strict=True):
                    values[name][row] = number
        return dict(values)

    def verdicts(self, rows: Rows) -> dict[int, Verdict]:
        """What is found of each row that all judges judge, made once for scores that share it."""
        import torch

        def compute() -> dict[int, Verdict]:
            references = [dict(self.references(rows, judge)) for judge in self.judges]
            verdicts = {}
            for row in references[0]:
                if all(row in masks for masks in references):
                    masks = [masks[row] for masks in references]
                    mask = torch.from_numpy(rows.masks[row]).to(masks[0].device)
                    class_ids = torch.tensor(rows.classes_of(row), device=mask.device)
                    verdicts[row] = self._verdict(mask, masks, class_ids)
            return verdicts

        deciding = {**self.values(), "iou": None}  # which comes after
        return rows.share(("verdicts", *deciding.items()), compute)

    def _verdict(self, mask: "Tensor", references: "list[Tensor]", class_ids: "Tensor") -> Verdict:
        overlaps = []
        for judge, reference in zip(self.judges, references, strict=True):
            ignore: IgnoreKind = "either" if column_of(judge) and self.ignore == "base" else self.ignore
            overlaps.append(class_overlap(mask, reference.to(mask.device), class_ids, ignore))
        if len(references) == 1:
            return Verdict(overlaps, None)
        first, second = (reference.to(mask.device) for reference in references)
        return Verdict(overlaps, class_overlap(first, second, class_ids, "either"))

    def references(self, rows: Rows, judge: str) -> "list[tuple[int, Tensor]]":
        """Rows with a class to ask about and their reference masks, (H, W) uint8: class ids, else background or 255."""
        import torch
        from torch import Tensor

        if column := column_of(judge):
            columns = enumerate(rows.cells[column])
            return [(row, torch.from_numpy(m)) for row, m in columns if m is not None and rows.present[row].any()]

        from sds_hf.clip.reference.masks import reference_masks

        present = rows.asked(self.class_list)
        annotated, features = np.flatnonzero(present.any(1)), dict[int, Tensor]()
        model = self._judge(rows, judge)
        labelled = reference_masks(
            model, [rows.images[int(row)] for row in annotated], torch.from_numpy(present[annotated]), self, features
        )
        nothing = 0 if rows.labels.has_background else IGNORE_INDEX
        # The last one is what -1, no label, refers to.
        ids = torch.tensor([nothing, *rows.labels.class_ids, IGNORE_INDEX], dtype=torch.uint8, device=model.device)
        masks = [(int(annotated[index]), ids[labels]) for index, labels in labelled]
        if len(features) == len(rows):
            in_order = [features[row] for row in range(len(rows))]
            encoding.leave_native(rows, self.encoder(), self.position, torch.stack(in_order))
        return masks

    def _judge(self, rows: Rows, judge: str) -> "Judge":
        """The model that a judge is, loaded once."""
        from sds_hf.clip.reference.masks import clip_judge

        if judge == SAM3:
            from sds_hf.clip.device import current_device, resolve_dtype
            from sds_hf.clip.reference.sam3 import Sam3Judge
            from sds_hf.clip.segmenters import load_sam3

            device = current_device()
            model = load_sam3(self.sam3_model, device, resolve_dtype(self.dtype, device))
            return Sam3Judge(model, rows.labels.prompts)
        encoder = self.encoder()
        how = replace(self, cam_threshold=self.cam_threshold or rows.labels.cam_threshold)
        return clip_judge(judge, encoder, encoding.texts(rows, encoder), how)


def _described(judge: str) -> str:
    return f"the column {column_of(judge)!r}" if column_of(judge) else judge


@settings
class ClassIoU(ASF):
    """Agreement of a mask with the reference mask of one judge, class by class.

    Beside `asf_miou` of the same settings it costs nothing: the reference is made once.

    Columns read:
        image, mask, NAME: see `ASF`.

    Columns written:
        asf_class_iou: list of structs, one a class of the mask, ids ascending: `class_id` int32, and `iou` float32 in
            [0, 1], null if none of its pixels are counted; null if the mask has no class.

    Args:
        reference, refine, crf_image, crf_confidence, affinity_blocks, cam_threshold, exclusive_boxes, position, scales,
            regions, sam3_model, class_list, ignore: see `ASF`. Here it is one judge only.
        iou: without meaning here.
        model, dtype, labels: see `ClipScore`.

    Source:
        As `asf_miou`; the classes apart are ours.

    Examples:
        >>> score = ClassIoU(model="demo", refine="affinity")
        >>> classes = add_scores(candidates, score)[0]["asf_class_iou"]
        >>> sorted(classes[0])
        ['class_id', 'iou']
    """

    name: ClassVar[str] = "asf_class_iou"
    settings_of: ClassVar[str] = "asf_miou"
    optional_columns: ClassVar[dict[str, pa.DataType]] = {}
    columns: ClassVar[dict[str, pa.DataType]] = {
        "asf_class_iou": pa.list_(pa.struct({"class_id": pa.int32(), "iou": pa.float32()}))
    }

    @field_validator("reference")
    @classmethod
    def _one_judge(cls, value: str) -> str:
        if len(judges_of(value)) > 1:
            raise ValueError(f"{cls.name} has one judge, not {value!r}; asf_miou takes two")
        return value

    def compute(self, rows: Rows) -> dict[str, Values]:
        """See `Score.compute`."""
        values: list[list[dict[str, float | None]] | None] = [None] * len(rows)
        for row, verdict in self.verdicts(rows).items():
            ((intersections, unions),) = verdict.overlaps
            pairs = zip(rows.classes_of(row), intersections.tolist(), unions.tolist(), strict=True)
            values[row] = [{"class_id": c, "iou": part / whole if whole else None} for c, part, whole in pairs]
        return {"asf_class_iou": values}
