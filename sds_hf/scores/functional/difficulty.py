"""How sure class probabilities are of the classes that an image is said to show. Pure tensor functions."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor


Form = Literal["confidence", "margin", "entropy", "el2n"]


def difficulty(probabilities: "Tensor", present: "Tensor", form: Form = "confidence") -> "Tensor":
    """How far probabilities are from the classes present: the mean over these.

    Each present class competes with the absent ones only, so that two objects in one image are no confusion.

    `confidence`: 1 - p of the class. `margin`: 1 - (largest - second largest). `entropy`: as a share of that of equal
    probabilities. `el2n`: Euclidean distance from certainty (Paul et al., NeurIPS 2021).

    Args:
        probabilities: (B, K) float, not negative; they need not add up to 1.
        present: (B, K) bool.
        form: which.

    Returns:
        (B,) float64, 0 is easiest; in [0, 1], up to the root of 2 for `el2n`; NaN where no class is present.
    """
    import torch

    values = probabilities.new_full((len(present),), torch.nan, dtype=torch.float64)
    for row, (weights, here) in enumerate(zip(probabilities.double(), present, strict=True)):
        if here.any():
            rivals = weights[~here].expand(int(here.sum()), -1)
            rated = torch.cat([weights[here][:, None], rivals], 1)  # the class first, then the absent ones
            values[row] = _FORMS[form](rated / rated.sum(1, keepdim=True)).mean()
    return values


def _margin(p: "Tensor") -> "Tensor":
    first, *second = p.topk(min(2, p.shape[1])).values.T
    margin: Tensor = 1 - first + sum(second)
    return margin


def _entropy(p: "Tensor") -> "Tensor":
    import torch

    share: Tensor = torch.special.entr(p).sum(1) / math.log(max(2, p.shape[1]))
    return share


def _el2n(p: "Tensor") -> "Tensor":
    import torch

    certain = torch.eye(1, p.shape[1], dtype=p.dtype, device=p.device)
    distance: Tensor = (p - certain).norm(dim=1)
    return distance


_FORMS: "dict[str, Callable[[Tensor], Tensor]]" = {
    "confidence": lambda p: 1 - p[:, 0],
    "margin": _margin,
    "entropy": _entropy,
    "el2n": _el2n,
}
