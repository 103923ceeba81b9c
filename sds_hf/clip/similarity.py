"""Cosines of images and texts as similarities: in a softmax among present classes and background, or plain."""

import torch
from torch import Tensor

from sds_hf.clip.kinds import SimilarityKind


def similarity(
    cosines: Tensor, present: Tensor, scale: float, kind: SimilarityKind = "prob", bias: float | None = None
) -> Tensor:
    """How well images fit the classes they are said to show.

    `prob`: sum over the present classes of `softmax(scale * cosines)` among present classes and background prompts. For
    a model trained with a sigmoid (`bias` given): mean over the present classes of `sigmoid(scale * cosine + bias)`.
    `prob_mean`, `prob_min`: mean and minimum over the present classes c of the probability of c against the background
    prompts b alone, `exp(scale * cos_c) / (exp(scale * cos_c) + sum over b of exp(scale * cos_b))`. In the sum of
    `prob` one class that is there hides another that is not; here each counts. For a model with a sigmoid the
    probability of a class is its own sigmoid, so that `prob_mean` is `prob`.
    `cosine`: mean cosine of the present classes (Tang et al. 2025, Eq. 2, read literally). `clipscore`: mean of
    `2.5 * max(cosine, 0)` (Hessel et al. 2021). `entropy`: entropy in nats of the softmax of `prob`, as the authors'
    code computes it; lower is better.

    Args:
        cosines: (..., K + N) float, K foreground classes first, then N background prompts.
        present: (..., K) bool, classes the image is said to show.
        scale: factor of the cosines in the softmax, 100 for OpenAI's models.
        kind: which similarity.
        bias: added to the scaled cosines by models with a sigmoid.

    Returns:
        (...) float; NaN where no class is present. In [0, 1] for `prob`, [-1, 1] for `cosine`, [0, 2.5] for
        `clipscore`.
    """
    num_classes = present.shape[-1]
    foreground, background = cosines[..., :num_classes], cosines[..., num_classes:]
    count = present.sum(-1)
    if kind == "cosine":
        return (foreground * present).sum(-1) / count
    if kind == "clipscore":
        return (2.5 * foreground.clamp(min=0) * present).sum(-1) / count
    if kind in ("prob_mean", "prob_min") or (kind == "prob" and bias is not None):
        offset = -(scale * background).logsumexp(-1, keepdim=True) if bias is None else bias
        alone = (scale * foreground + offset).sigmoid()
        if kind == "prob_min":
            return torch.where(count > 0, alone.masked_fill(~present, torch.inf).amin(-1), torch.nan)
        return (alone * present).sum(-1) / count
    probabilities = present_softmax(cosines, present, scale)
    if kind == "prob":
        return torch.where(count > 0, probabilities[..., :num_classes].sum(-1), torch.nan)
    return torch.where(count > 0, torch.special.entr(probabilities).sum(-1), torch.nan)


def present_softmax(cosines: Tensor, present: Tensor, scale: float) -> Tensor:
    """Softmax of the scaled cosines (..., K + N) among the present of K classes and all N background prompts."""
    return present_log_softmax(cosines, present, scale).exp()


def present_log_softmax(cosines: Tensor, present: Tensor, scale: float) -> Tensor:
    """Logarithm of `present_softmax`; minus infinity for absent classes."""
    everything = torch.cat([present, present.new_ones(*present.shape[:-1], cosines.shape[-1] - present.shape[-1])], -1)
    return (scale * cosines).masked_fill(~everything, -torch.inf).log_softmax(-1)
