"""Gaussian mixtures of feature vectors: fitted with scikit-learn, evaluated with torch."""

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sds_hf.errors import extra_module

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)
Aggregate = Literal["mean", "sum", "median", "trimmed"]
CANDIDATES = (8, 16, 32, 64)  # numbers of components that "bic" tries
ELEMENTS_A_COMPONENT = 10
TRIMMED = 0.1  # share of the elements left out at either end


@dataclass(frozen=True, eq=False)
class Mixture:
    """A Gaussian mixture with diagonal covariances.

    Attributes:
        weights: (K,) float64, adding up to 1.
        means, variances: (K, d) float64.
    """

    weights: np.ndarray
    means: np.ndarray
    variances: np.ndarray

    def log_density(self, elements: "Tensor") -> "Tensor":
        """Logarithm of the density, in nats: (..., d) -> (...) float64."""
        import torch

        weights, means, variances = (
            torch.from_numpy(array).to(elements.device) for array in (self.weights, self.means, self.variances)
        )
        elements, precisions = elements.double(), 1 / variances
        distances = elements**2 @ precisions.T - 2 * elements @ (means * precisions).T + (means**2 * precisions).sum(1)
        constants = weights.log() - 0.5 * (2 * torch.pi * variances).log().sum(1)
        return (constants - 0.5 * distances).logsumexp(-1)


@dataclass(frozen=True, eq=False)
class ElementModel:
    """A mixture over feature vectors in a space of fewer dimensions.

    Attributes:
        normalize: whether vectors are brought to length 1 first.
        center: (D,) float64, subtracted from them.
        axes: (d, D) float64, principal axes they are projected onto.
        mixture: of the projections.
    """

    normalize: bool
    center: np.ndarray
    axes: np.ndarray
    mixture: Mixture

    def log_density(self, elements: "Tensor") -> "Tensor":
        """Logarithm of the density of vectors, (..., D) -> (...) float64; NaN where one is not finite."""
        import torch

        elements = unit_length(elements) if self.normalize else elements
        center, axes = (torch.from_numpy(array).to(elements.device) for array in (self.center, self.axes))
        return self.mixture.log_density((elements.double() - center) @ axes.T)

    def arrays(self) -> dict[str, np.ndarray]:
        """All there is, for a file."""
        return {"normalize": np.array(self.normalize), "center": self.center, "axes": self.axes, **vars(self.mixture)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "ElementModel":
        """The model that `arrays` describes."""
        mixture = Mixture(*(arrays[name] for name in ("weights", "means", "variances")))
        return cls(bool(arrays["normalize"]), arrays["center"], arrays["axes"], mixture)


def unit_length(elements: "Tensor") -> "Tensor":
    """Vectors (..., D) at length 1; zeros stay zeros."""
    import torch
    import torch.nn.functional as F

    return F.normalize(elements, dim=-1, eps=torch.finfo(elements.dtype).tiny)


def fit_elements(
    elements: np.ndarray,
    *,
    components: int | Literal["bic"] = 32,
    dimensions: int = 64,
    normalize: bool = True,
    seed: int = 0,
) -> tuple[ElementModel, dict[str, Any]]:
    """Fit principal axes, then a mixture by expectation maximisation.

    Args:
        elements: (n, D) float32; those that are not finite are left out.
        components: of the mixture; `"bic"` takes the number with the lowest Bayesian information criterion.
        dimensions: principal axes that are kept.
        normalize: whether vectors are brought to length 1 first.
        seed: of the k-means that EM starts from.

    Returns:
        The model, and what the fit found: `components`, `dimensions`, `elements`, `converged`, `bic` by components.

    Raises:
        ValueError: if there are fewer than two finite elements.
    """
    import torch

    elements = elements[np.isfinite(elements).all(1)]
    if len(elements) < 2:
        raise ValueError(f"a mixture needs at least 2 finite feature vectors, not {len(elements)}")
    if normalize:
        elements = unit_length(torch.from_numpy(elements)).numpy()
    pca = extra_module("sklearn.decomposition").PCA(min(dimensions, *elements.shape), random_state=seed)
    projected = pca.fit_transform(elements).astype(np.float64)
    tried = [_fit(projected, count, seed) for count in _counts(components, len(projected))]
    scores = {mixture.n_components: float(mixture.bic(projected)) for mixture in tried}
    best = min(tried, key=lambda mixture: scores[mixture.n_components])
    best_mixture = Mixture(best.weights_, best.means_, best.covariances_)
    model = ElementModel(normalize, pca.mean_.astype(np.float64), pca.components_.astype(np.float64), best_mixture)
    return model, {
        "components": best.n_components,
        "dimensions": len(model.axes),
        "elements": len(elements),
        "converged": bool(best.converged_),
        "bic": {str(count): score for count, score in scores.items()},
    }


def aggregate(values: np.ndarray, how: Aggregate) -> float:
    """One number of the log densities (n,) of an image's elements; those that are NaN are left out.

    Returns:
        Minus infinity if none is left.
    """
    values = np.sort(values[~np.isnan(values)])
    if not len(values):
        return -np.inf
    if how == "trimmed":
        cut = int(TRIMMED * len(values))
        return float(values[cut : len(values) - cut].mean())
    return float(np.median(values) if how == "median" else values.sum() if how == "sum" else values.mean())


def _counts(components: int | Literal["bic"], elements: int) -> list[int]:
    """Numbers of components to try: as many as the elements suffice for."""
    most = max(1, elements // ELEMENTS_A_COMPONENT)
    counts = CANDIDATES if components == "bic" else (components,)
    if max(counts) > most:
        warnings.warn(
            f"{elements} elements are too few for {max(counts)} components: at most {most} are fitted", stacklevel=2
        )
    return sorted({min(count, most) for count in counts})


def _fit(projected: np.ndarray, components: int, seed: int) -> Any:
    sklearn = extra_module("sklearn.mixture")
    mixture = sklearn.GaussianMixture(
        components, covariance_type="diag", tol=1e-3, reg_covar=1e-6, max_iter=100, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whether EM has converged is part of the result
        mixture.fit(projected)
    logger.info("mixture of %d components: %d iterations", components, mixture.n_iter_)
    return mixture
