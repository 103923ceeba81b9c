"""`clip-es`: softmax Grad-CAM with class-aware affinity (Lin et al., CVPR 2023)."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from sds_hf.clip.encoder import Encoder
from sds_hf.clip.reference.cam import affinity, grad_cam, min_max, object_boxes, refine
from sds_hf.clip.reference.tower import ClipJudge, clip_tower, to_whole_patches
from sds_hf.clip.similarity import present_log_softmax
from sds_hf.clip.stages import stage

CAM_THRESHOLD = 0.4  # of CLIP-ES on VOC


class ClipES(ClipJudge):
    """What of the patches moves the probability of a class. One forward pass a scale, one block backward a class."""

    exclusive = False

    def maps(self, pixels: Tensor, present: Tensor, scale: float) -> Iterator[tuple[Tensor, Tensor]]:
        """For each image the Grad-CAM of each of its classes, spread along the attention, and its feature."""
        vit, settings, spread = self.vit, self.settings, self.settings.refine != "none"
        pixels = to_whole_patches(self.encoder, pixels, scale)
        threshold = settings.cam_threshold or CAM_THRESHOLD
        blocks = min(settings.affinity_blocks, len(vit.blocks)) if spread else 0
        with stage("native encoder"), torch.no_grad():
            hidden, attention = vit.before_last(pixels, settings.position, max(blocks - 1, 0))
        grid = pixels.shape[-2] // vit.patch, pixels.shape[-1] // vit.patch
        # One image fills a CPU, and only its own classes cost anything then.
        for part in torch.split(torch.arange(len(hidden)), 1 if hidden.device.type == "cpu" else len(hidden)):
            with stage("class activation"):
                cams, last_attention, _, features = class_cams(self.encoder, hidden[part], present[part], self.texts)
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
                yield cam.view(-1, *grid), features[row]


def class_cams(encoder: Encoder, hidden: Tensor, present: Tensor, texts: Tensor) -> tuple[Tensor, ...]:
    """Softmax Grad-CAM of every present class at the last block's first LayerNorm: one forward, a backward a class.

    Args:
        encoder: a CLIP with a vision transformer.
        hidden: (B, 1 + n, C), input of the last block.
        present: (B, K) bool.
        texts: (K + N, D) unit embeddings of the classes and the background prompts.

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
