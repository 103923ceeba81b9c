"""Reference masks made by CLIP alone, to compare given masks with.

Two published kinds: `clip-es` (softmax Grad-CAM with class-aware affinity, Lin et al., CVPR 2023) and `maskclip` (patch
embeddings compared with the texts, Zhou et al., ECCV 2022). Both see the image at its own resolution.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sds_hf.clip.checkpoints import ModelNotFoundError
from sds_hf.clip.encoder import Encoder
from sds_hf.clip.preprocessing import resize
from sds_hf.clip.reference.cam import affinity, grad_cam, min_max, object_boxes, refine
from sds_hf.clip.reference.crf import crf_image, dense_crf
from sds_hf.clip.reference.settings import ReferenceSettings
from sds_hf.clip.similarity import present_log_softmax, present_softmax
from sds_hf.clip.stages import stage
from sds_hf.clip.vit import VisionTransformer

CAM_THRESHOLD = 0.4  # of CLIP-ES on VOC
UNSURE = -1
MAX_ATTENTION_BYTES = 256 << 20  # of one block's weights in a batch


def reference_masks(
    encoder: Encoder,
    images: Sequence[np.ndarray],
    present: Tensor,
    texts: Tensor,
    settings: ReferenceSettings,
    features: dict[int, Tensor] | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Label maps of images whose classes are known.

    Args:
        encoder: a CLIP with a vision transformer.
        images: (H, W, 3) uint8 each, any sizes.
        present: (B, K) bool, the classes of each image; at least one each.
        texts: (K + N, D) unit embeddings of the classes and the background prompts.
        settings: how.
        features: gets the image feature of each row, (D,) float32 of length 1, where the pass makes it (`clip-es`).

    Yields:
        Row of the image and its label map, (H, W) int64: 0 for the background, 1 + k for class k, -1 where the CRF is
        not confident; in no fixed order.
    """
    with_crf = settings.refine == "crf"
    for rows, maps in reference_maps(encoder, images, present, texts, settings, features):
        if with_crf:
            guides = encoder.upload([images[row] for row in rows]).permute(0, 2, 3, 1)
            with stage("dense crf"):
                maps = dense_crf(maps, [crf_image(guide, settings.crf_image) for guide in guides])
        for row, one in zip(rows, maps, strict=True):
            yield row, label_map(one, present[row], settings.crf_confidence if with_crf else None)


def reference_maps(
    encoder: Encoder,
    images: Sequence[np.ndarray],
    present: Tensor,
    texts: Tensor,
    settings: ReferenceSettings,
    features: dict[int, Tensor] | None = None,
) -> Iterator[tuple[list[int], list[Tensor]]]:
    """What label maps are taken from, before the CRF; arguments as for `reference_masks`.

    Yields:
        Rows of some images of one size and their maps, (1 + classes, H, W) float32 in [0, 1]: the background and the
        present classes.
    """
    exclusive = settings.reference == "maskclip"
    patch = clip_tower(encoder).patch
    for rows in _batches_of_one_size(images, encoder):
        pixels = encoder.upload([images[row] for row in rows])
        size = pixels.shape[-2:]
        pixels = to_whole_patches(encoder, pixels)
        grid = pixels.shape[-2] // patch, pixels.shape[-1] // patch
        maps, means = [], []
        for one, feature in (_dense_maps if exclusive else _cam_maps)(
            encoder, pixels, present[rows].to(texts.device), texts, settings
        ):
            maps.append(with_background(one.view(-1, *grid), size, exclusive))
            means.append(feature)
        if features is not None:
            features.update({row: mean for row, mean in zip(rows, means, strict=True) if mean is not None})
        yield rows, maps


def clip_tower(encoder: Encoder) -> VisionTransformer:
    """The vision transformer of an encoder, if it has a class token and a projection of patches.

    Raises:
        ModelNotFoundError: if it has none.
    """
    if encoder.vit is None or not encoder.vit.with_class_token:
        raise ModelNotFoundError(
            f"reference masks need a CLIP vision tower; model {encoder.files.name!r} has a {encoder.architecture}'s"
            "; give asf_miou a CLIP such as openai/clip-vit-base-patch16"
        )
    return encoder.vit


def to_whole_patches(encoder: Encoder, pixels: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 -> normalised, both sides rounded up to whole patches, as Pillow resizes."""
    height, width = (-(-side // encoder.patch_size) * encoder.patch_size for side in pixels.shape[-2:])
    return encoder.normalize(resize(pixels, (height, width)))


def with_background(maps: Tensor, size: Sequence[int], exclusive: bool = False) -> Tensor:
    """Upsample the maps of classes and put the background's before them.

    Args:
        maps: (classes, h, w) in [0, 1].
        size: of the image, height and width.
        exclusive: the maps are probabilities of one distribution, so the background has what all classes leave; else
            each has a scale of its own and the background has what the strongest leaves.

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


def class_cams(encoder: Encoder, hidden: Tensor, present: Tensor, texts: Tensor) -> tuple[Tensor, ...]:
    """Softmax Grad-CAM of every present class at the last block's first LayerNorm: one forward, a backward a class.

    Args:
        encoder: see `reference_masks`.
        hidden: (B, 1 + n, C), input of the last block.
        present: (B, K) bool.
        texts: (K + N, D).

    Returns:
        Maps (J, B, n) in [0, 1], the j-th for the j-th present class of an image (unused where it has fewer); the last
        block's mean attention weights (B, 1 + n, 1 + n); the class probabilities (B, K + N); the image features (B, D),
        of length 1.
    """
    vit = clip_tower(encoder)
    with torch.enable_grad():
        # Only the mean gradient over the patches counts: that of a vector added to all of them.
        shift = torch.zeros_like(hidden[:, :1], requires_grad=True)
        output, weights = vit.blocks[-1](hidden, shift=shift, with_weights=True)
        # The image feature of CLIP-ES is the mean over the patch tokens, the class token left out.
        feature = F.normalize(vit.project(output[:, 1:]).mean(1), dim=-1)
        logarithms = present_log_softmax(feature @ texts.T, present, encoder.scale)
        class_indices = _present_indices(present)
        # Gradients of logarithms: those of a tiny probability would vanish in half precision.
        slopes = [
            torch.autograd.grad(logarithms.gather(1, indices[:, None]).sum(), shift, retain_graph=True)[0][:, 0]
            for indices in class_indices
        ]
    probabilities = logarithms.detach().exp()
    chosen = probabilities.gather(1, class_indices.T).T
    means = torch.stack(slopes).float() * chosen[..., None] / (hidden.shape[1] - 1)
    tokens = vit.blocks[-1].layer_norm1(hidden)[:, 1:].float()
    assert weights is not None
    return grad_cam(tokens, means), weights.detach(), probabilities, feature.detach()


def _present_indices(present: Tensor) -> Tensor:
    """(B, K) bool -> (J, B) int64: the first present class of each image, the second ...; the last one repeated."""
    order = present.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
    counts = present.sum(1)
    ranks = torch.arange(int(counts.max()), device=present.device)[:, None].minimum(counts - 1)
    return order.gather(1, ranks.T).T


def _cam_maps(
    encoder: Encoder, pixels: Tensor, present: Tensor, texts: Tensor, settings: ReferenceSettings
) -> Iterator[tuple[Tensor, Tensor]]:
    """For each image (classes, n), the Grad-CAM of each present class, and its feature (D,), of length 1."""
    vit, spread = clip_tower(encoder), settings.refine != "none"
    threshold = settings.cam_threshold or CAM_THRESHOLD
    blocks = min(settings.affinity_blocks, len(vit.blocks)) if spread else 0
    with stage("native encoder"), torch.no_grad():
        hidden, attention = vit.before_last(pixels, settings.position, max(blocks - 1, 0))
    grid = pixels.shape[-2] // vit.patch, pixels.shape[-1] // vit.patch
    # One image fills a CPU, and only its own classes cost anything then.
    for part in torch.split(torch.arange(len(hidden)), 1 if hidden.device.type == "cpu" else len(hidden)):
        with stage("class activation"):
            cams, last_attention, _, features = class_cams(encoder, hidden[part], present[part], texts)
        if spread:
            with stage("affinity"):
                total = last_attention if attention is None else attention[part] + last_attention
                transition = affinity(total[:, 1:, 1:] / blocks)
        for row, chosen in enumerate(present[part]):
            cam = cams[: int(chosen.sum()), row]
            if spread:
                with stage("affinity"):
                    boxes = [object_boxes(one.view(grid), threshold, settings.exclusive_boxes) for one in cam]
                    cam = min_max(refine(cam, torch.stack(boxes).flatten(1), transition[row]))
            yield cam, features[row]


@torch.no_grad()
def _dense_maps(
    encoder: Encoder, pixels: Tensor, present: Tensor, texts: Tensor, settings: ReferenceSettings
) -> Iterator[tuple[Tensor, None]]:
    """For each image (classes, n), the probability of each present class among these and the background prompts."""
    vit = clip_tower(encoder)
    with stage("native encoder"):
        hidden, _ = vit.before_last(pixels, settings.position)
    features = F.normalize(vit.project(vit.blocks[-1].to_itself(hidden[:, 1:])), dim=-1)
    probabilities = present_softmax(
        features @ texts.T, present[:, None].expand(-1, features.shape[1], -1), encoder.scale
    )
    for row, chosen in enumerate(present):
        yield probabilities[row, :, : len(chosen)][:, chosen].T, None


def _batches_of_one_size(images: Sequence[np.ndarray], encoder: Encoder) -> Iterator[list[int]]:
    """Rows of images of one size, as many together as keep the attention weights of a block within bounds."""
    vit = clip_tower(encoder)
    for shape in dict.fromkeys(image.shape for image in images):
        rows = [row for row, image in enumerate(images) if image.shape == shape]
        tokens = 1 + (-(-shape[0] // vit.patch)) * (-(-shape[1] // vit.patch))
        step = max(1, MAX_ATTENTION_BYTES // (4 * vit.heads * tokens**2))
        for start in range(0, len(rows), step):
            yield rows[start : start + step]
