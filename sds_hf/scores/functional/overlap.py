"""Overlap of two label maps."""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor


IgnoreKind = Literal["base", "none", "either"]


def class_overlap(
    mask: "Tensor", reference: "Tensor", class_ids: "Tensor", ignore: IgnoreKind = "base", ignore_index: int = 255
) -> "tuple[Tensor, Tensor]":
    """Intersection and union of two label maps, class by class.

    Args:
        mask: (H, W) uint8, the label map in question.
        reference: (H, W) uint8, what it is compared with.
        class_ids: (K,) int64, classes to compare.
        ignore: `base` leaves out pixels that `mask` ignores, `either` those that one of the two ignores, `none` nothing
            (an ignored pixel then counts as another class, as in the authors' code).
        ignore_index: the index of ignored pixels.

    Returns:
        Intersections (K,) and unions (K,), int64, in pixels.
    """
    import torch

    counted = torch.ones_like(mask, dtype=torch.bool)
    if ignore in ("base", "either"):
        counted &= mask != ignore_index
    if ignore == "either":
        counted &= reference != ignore_index
    pairs = mask[counted].long() * 256 + reference[counted].long()
    table = torch.bincount(pairs, minlength=256 * 256).view(256, 256)
    intersection = table.diagonal()[class_ids]
    return intersection, table.sum(1)[class_ids] + table.sum(0)[class_ids] - intersection


def mean_iou(intersection: "Tensor", union: "Tensor") -> float:
    """Mean over classes of intersection over union; classes without pixels are left out, NaN if none is left."""
    counted = union > 0
    return float((intersection[counted].double() / union[counted]).mean()) if counted.any() else float("nan")


def pooled_iou(intersection: "Tensor", union: "Tensor") -> float:
    """Sum of intersections over sum of unions (what the authors' code calls mIoU), NaN if there are no pixels."""
    total = int(union.sum())
    return int(intersection.sum()) / total if total else float("nan")
