"""Reference masks made by a model alone, to compare given masks with.

A judge, one file a kind beside this one, says where each class of a picture is. What it says is made as large as the
picture, refined, and the strongest class of every pixel is taken.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sds_hf.clip.encoder import Encoder
from sds_hf.clip.preprocessing import upload
from sds_hf.clip.reference.clip_es import ClipES
from sds_hf.clip.reference.crf import crf_image, dense_crf
from sds_hf.clip.reference.maskclip import MaskCLIP
from sds_hf.clip.reference.naclip import NACLIP
from sds_hf.clip.reference.regions import region_means, segmenter
from sds_hf.clip.reference.settings import CRF_KINDS, REGION_KINDS, ReferenceSettings
from sds_hf.clip.stages import stage

UNSURE = -1
CLIP_KINDS = {"clip-es": ClipES, "maskclip": MaskCLIP, "naclip": NACLIP}


class Judge(Protocol):
    """A model that says where classes are.

    Attributes:
        device: where it computes.
        exclusive: the maps are probabilities of one distribution, so the background has what all classes leave; else
            each has a scale of its own and the background has what the strongest leaves.
        scales: how it looks at pictures, in units of their size.
    """

    device: torch.device
    exclusive: bool
    scales: tuple[float, ...]

    def rows_at_once(self, height: int, width: int) -> int:
        """How many pictures of a size fit into the memory together."""

    def maps(self, pixels: Tensor, present: Tensor, scale: float) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Where the classes of some pictures are.

        Args:
            pixels: (B, 3, H, W) uint8.
            present: (B, K) bool, the classes of each picture; at least one each.
            scale: one of `scales`.

        Yields:
            For each picture (classes, h, w) float32 in [0, 1], a map of each of its classes, and the image feature,
            (D,) float32 of length 1, where the pass makes it.
        """


def clip_judge(kind: str, encoder: Encoder, texts: Tensor, settings: ReferenceSettings) -> Judge:
    """The judge of a kind that asks CLIP.

    Args:
        kind: `clip-es`, `maskclip` or `naclip`.
        encoder: a CLIP with a vision transformer.
        texts: (K + N, D) unit embeddings of the classes and the background prompts.
        settings: how.
    """
    return CLIP_KINDS[kind](encoder, texts, settings)


def reference_masks(
    judge: Judge,
    images: Sequence[np.ndarray],
    present: Tensor,
    settings: ReferenceSettings,
    features: dict[int, Tensor] | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Label maps of images whose classes are known.

    Args:
        judge: who makes them.
        images: (H, W, 3) uint8 each, any sizes.
        present: (B, K) bool, the classes of each image; at least one each.
        settings: how they are refined.
        features: gets the image feature of each row, (D,) float32 of length 1, where the pass makes it (`clip-es`).

    Yields:
        Row of the image and its label map, (H, W) int64: 0 for the background, 1 + k for class k, -1 where the CRF is
        not confident; in no fixed order.
    """
    with_crf = settings.refine in CRF_KINDS
    for rows, maps in reference_maps(judge, images, present, settings, features):
        if settings.refine in REGION_KINDS:
            with stage("regions"):
                segment = segmenter(settings.regions, judge.device)
                maps = [region_means(one, segment(images[row])) for row, one in zip(rows, maps, strict=True)]
        if with_crf:
            guides = upload([images[row] for row in rows], judge.device).permute(0, 2, 3, 1)
            with stage("dense crf"):
                maps = dense_crf(maps, [crf_image(guide, settings.crf_image) for guide in guides])
        for row, one in zip(rows, maps, strict=True):
            yield row, label_map(one, present[row], settings.crf_confidence if with_crf else None)


def reference_maps(
    judge: Judge,
    images: Sequence[np.ndarray],
    present: Tensor,
    settings: ReferenceSettings,
    features: dict[int, Tensor] | None = None,
) -> Iterator[tuple[list[int], list[Tensor]]]:
    """What label maps are taken from, before regions and the CRF; arguments as for `reference_masks`.

    Yields:
        Rows of some images of one size and their maps, (1 + classes, H, W) float32 in [0, 1]: the background and the
        present classes; of several scales the mean.
    """
    for rows in _batches_of_one_size(images, judge):
        pixels = upload([images[row] for row in rows], judge.device)
        maps: list[Tensor] = []
        for scale in judge.scales:
            for index, (one, feature) in enumerate(judge.maps(pixels, present[rows].to(judge.device), scale)):
                large = with_background(one, pixels.shape[-2:], judge.exclusive)
                if index == len(maps):
                    maps.append(large)
                else:
                    maps[index] += large
                if features is not None and feature is not None and scale == 1:
                    features[rows[index]] = feature
        yield rows, [one / len(judge.scales) for one in maps] if len(judge.scales) > 1 else maps


def with_background(maps: Tensor, size: Sequence[int], exclusive: bool = False) -> Tensor:
    """Upsample the maps of classes and put the background's before them.

    Args:
        maps: (classes, h, w) in [0, 1].
        size: of the image, height and width.
        exclusive: see `Judge`.

    Returns:
        (1 + classes, H, W).
    """
    large = F.interpolate(maps[None], size=tuple(size), mode="bilinear", align_corners=False)[0]
    covered = large.sum(0, keepdim=True) if exclusive else large.amax(0, keepdim=True)
    return torch.cat([1 - covered, large])


def label_map(maps: Tensor, present: Tensor, confidence: float | None = None) -> Tensor:
    """The largest of the maps at each pixel.

    Args:
        maps: (1 + present classes, H, W), the background first.
        present: (K,) bool.
        confidence: what the largest must reach.

    Returns:
        (H, W) int64: 0 for the background, 1 + k for class k, -1 where nothing is large enough.
    """
    ids = F.pad(present.nonzero()[:, 0] + 1, (1, 0)).to(maps.device)
    largest, indices = maps.max(0)
    labels = ids[indices]
    return labels if confidence is None else labels.masked_fill(largest < confidence, UNSURE)


def _batches_of_one_size(images: Sequence[np.ndarray], judge: Judge) -> Iterator[list[int]]:
    """Rows of images of one size, as many together as the judge takes at once."""
    for height, width in dict.fromkeys(image.shape[:2] for image in images):
        rows = [row for row, image in enumerate(images) if image.shape[:2] == (height, width)]
        step = judge.rows_at_once(height, width)
        for start in range(0, len(rows), step):
            yield rows[start : start + step]
