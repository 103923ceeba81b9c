"""Reference masks made by CLIP alone, to compare given masks with.

Two published kinds: `clip-es` (softmax Grad-CAM with class-aware affinity, Lin et al., CVPR 2023) and `maskclip` (patch
embeddings compared with the texts, Zhou et al., ECCV 2022). Both see the image at its own resolution.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sds_hf.cam import affinity, grad_cam, min_max, object_boxes, refine
from sds_hf.functional import present_softmax
from sds_hf.tower import Position, Tower

ReferenceKind = Literal["clip-es", "maskclip"]
RefineKind = Literal["affinity", "none"]
MAX_ATTENTION_BYTES = 256 << 20  # of one block's weights in a batch


@dataclass(frozen=True, kw_only=True)
class ReferenceSettings:
    """How reference masks are made.

    Attributes:
        kind: `clip-es` or `maskclip`.
        refinement: whether Grad-CAM maps are spread along the attention's affinity.
        cam_threshold: share of a map's maximum that bounds an object in the affinity step.
        affinity_blocks: how many of the last blocks' attention weights are averaged.
        exclusive_boxes: boxes never reach the map's last row and column, as in the authors' code.
        position: how position embeddings are resized to the image's grid.
    """

    kind: ReferenceKind = "clip-es"
    refinement: RefineKind = "affinity"
    cam_threshold: float = 0.4
    affinity_blocks: int = 8
    exclusive_boxes: bool = False
    position: Position = "bicubic"


def reference_masks(
    tower: Tower, images: Sequence[np.ndarray], present: Tensor, texts: Tensor, settings: ReferenceSettings
) -> Iterator[tuple[int, Tensor]]:
    """Label maps of images whose classes are known.

    Args:
        tower: a CLIP vision tower.
        images: (H, W, 3) uint8 each, any sizes.
        present: (B, K) bool, the classes of each image; at least one each.
        texts: (K + N, D) unit embeddings of the classes and the background prompts.
        settings: how.

    Yields:
        Row of the image and its label map, (H, W) int64: 0 for the background, 1 + k for class k; in no fixed order.
    """
    present = present.to(texts.device)
    for rows in _batches_of_one_size(images, tower):
        pixels = torch.from_numpy(np.stack([images[row] for row in rows])).to(texts.device)
        size = pixels.shape[1:3]
        pixels = tower.resize(pixels.permute(0, 3, 1, 2).float())
        grid = pixels.shape[-2] // tower.patch, pixels.shape[-1] // tower.patch
        maps = _dense_maps if settings.kind == "maskclip" else _cam_maps
        for row, one in zip(rows, maps(tower, pixels, present[rows], texts, settings), strict=True):
            yield row, label_map(one.view(-1, *grid), present[row], size, exclusive=settings.kind == "maskclip")


def label_map(maps: Tensor, present: Tensor, size: Sequence[int], exclusive: bool = False) -> Tensor:
    """Upsample the maps of the present classes, find the background, and take the largest at each pixel.

    Args:
        maps: (present classes, h, w) in [0, 1].
        present: (K,) bool.
        size: of the image, height and width.
        exclusive: the maps are probabilities of one distribution, so the background has what all classes leave; else
            each has a scale of its own and the background has what the strongest leaves.

    Returns:
        (H, W) int64: 0 for the background, 1 + k for class k.
    """
    large = F.interpolate(maps[None], size=tuple(size), mode="bilinear", align_corners=False)[0]
    covered = large.sum(0) if exclusive else large.amax(0)
    ids = F.pad(present.nonzero()[:, 0] + 1, (1, 0))
    return ids[torch.cat([1 - covered[None], large]).argmax(0)]


def class_cams(tower: Tower, hidden: Tensor, present: Tensor, texts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Softmax Grad-CAM of every present class at the last block's first LayerNorm, in one batched backward.

    Args:
        tower: the vision tower.
        hidden: (B, 1 + n, C) float32, input of the last block.
        present: (B, K) bool.
        texts: (K + N, D).

    Returns:
        Maps (J, B, n) in [0, 1], the j-th for the j-th present class of an image (unused where it has fewer); the last
        block's mean attention weights (B, 1 + n, 1 + n); the class probabilities (B, K + N).
    """
    with torch.enable_grad():
        tokens = tower.last.layer_norm1(hidden).detach().requires_grad_(True)
        output, weights = tower.block(tower.last, hidden, tokens, with_weights=True)
        # The image feature of CLIP-ES is the mean over the patch tokens, the class token left out.
        feature = F.normalize(tower.project(output[:, 1:]).mean(1), dim=-1)
        probabilities = present_softmax(feature @ texts.T, present, tower.encoder.scale)
        ranks = present.cumsum(1) * present  # 1 for an image's first present class, 2 for the second, ...
        wanted = torch.stack([(ranks == 1 + rank).float() for rank in range(int(ranks.max()))])
        wanted = F.pad(wanted, (0, probabilities.shape[1] - present.shape[1]))
        (gradients,) = torch.autograd.grad(probabilities, tokens, wanted, is_grads_batched=True)
    assert weights is not None
    return grad_cam(tokens.detach()[:, 1:], gradients[:, :, 1:]), weights.detach(), probabilities.detach()


def _cam_maps(
    tower: Tower, pixels: Tensor, present: Tensor, texts: Tensor, settings: ReferenceSettings
) -> Iterator[Tensor]:
    """For each image (classes, n): the Grad-CAM of each present class."""
    spread = settings.refinement == "affinity"
    blocks = min(settings.affinity_blocks, tower.depth) if spread else 0
    hidden, attention = tower.before_last(pixels, settings.position, max(blocks - 1, 0))
    cams, last_attention, _ = class_cams(tower, hidden, present, texts)
    if spread:
        attention = last_attention if attention is None else attention + last_attention
        transition = affinity(attention[:, 1:, 1:] / blocks)
    grid = pixels.shape[-2] // tower.patch, pixels.shape[-1] // tower.patch
    for row, chosen in enumerate(present):
        cam = cams[: int(chosen.sum()), row]
        if spread:
            boxes = [object_boxes(one.view(grid), settings.cam_threshold, settings.exclusive_boxes) for one in cam]
            cam = min_max(refine(cam, torch.stack(boxes).flatten(1), transition[row]))
        yield cam


@torch.no_grad()
def _dense_maps(
    tower: Tower, pixels: Tensor, present: Tensor, texts: Tensor, settings: ReferenceSettings
) -> Iterator[Tensor]:
    """For each image (classes, n): probability of each present class among these and the background prompts."""
    hidden, _ = tower.before_last(pixels, settings.position, 0)
    features = F.normalize(tower.project(tower.attend_to_self(hidden[:, 1:])), dim=-1)
    probabilities = present_softmax(
        features @ texts.T, present[:, None].expand(-1, features.shape[1], -1), tower.encoder.scale
    )
    for row, chosen in enumerate(present):
        yield probabilities[row, :, : len(chosen)][:, chosen].T


def _batches_of_one_size(images: Sequence[np.ndarray], tower: Tower) -> Iterator[list[int]]:
    """Rows of images of one size, as many together as keep the attention weights of a block within bounds."""
    heads = tower.encoder.model.config.vision_config.num_attention_heads
    for shape in dict.fromkeys(image.shape for image in images):
        rows = [row for row, image in enumerate(images) if image.shape == shape]
        tokens = 1 + (-(-shape[0] // tower.patch)) * (-(-shape[1] // tower.patch))
        step = max(1, MAX_ATTENTION_BYTES // (4 * heads * tokens**2))
        for start in range(0, len(rows), step):
            yield rows[start : start + step]
