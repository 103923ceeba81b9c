"""Linear probes that tell two kinds of feature vectors apart, and how well they do."""

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sds_hf.errors import extra_module

Method = Literal["logreg", "lda"]
REGULARISATION = 1.0  # C of the logistic regression
RIDGE = 0.1  # of LDA's covariance, as a share of its mean variance


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear probe for each fold of the rows, fitted on all the others.

    Attributes:
        weights: (folds, D) float64.
        biases: (folds,) float64.
    """

    weights: np.ndarray
    biases: np.ndarray

    def logits(self, features: np.ndarray, folds: np.ndarray) -> np.ndarray:
        """Log-odds of being real, (n,) float64, of features (n, D) of the given folds (n,), at even odds before."""
        odds: np.ndarray = np.einsum("nd,nd->n", features, self.weights[folds]) + self.biases[folds]
        return odds


def fold_of(key: str, seed: int, folds: int) -> int:
    """The fold of all rows with this key, whatever else is in the dataset."""
    return int(hashlib.sha256(f"{seed}|{key}".encode(errors="surrogateescape")).hexdigest(), 16) % folds


def fit_probe(features: np.ndarray, real: np.ndarray, method: Method = "logreg") -> tuple[np.ndarray, float]:
    """A linear probe, both kinds with the same weight.

    `logreg`: minimises half the squared norm of the weights plus the balanced logistic loss. `lda`: Gaussians with one
    covariance, to which a ridge is added.

    Args:
        features: (n, D) float64.
        real: (n,) bool.
        method: which.

    Returns:
        Weights (D,) float64 and bias.
    """
    if method == "lda":
        return _lda(features, real)
    regression = extra_module("sklearn.linear_model").LogisticRegression(
        C=REGULARISATION, class_weight="balanced", solver="newton-cholesky", tol=1e-12, max_iter=100
    )
    regression.fit(features, real)
    return regression.coef_[0].astype(np.float64), float(regression.intercept_[0])


def cross_fit(
    features: np.ndarray, real: np.ndarray, folds: np.ndarray, count: int, method: Method = "logreg"
) -> Probe:
    """Probes that have not seen the rows they are for.

    Args:
        features: (n, D) float64.
        real: (n,) bool.
        folds: (n,) int, the fold of each row.
        count: how many folds there are.
        method: see `fit_probe`.

    Raises:
        ValueError: if without some fold one of the kinds is missing.
    """
    fitted = []
    for fold in range(count):
        others = folds != fold
        if len(set(real[others].tolist())) < 2:
            kind = "synthetic" if real[others].any() else "real"
            raise ValueError(
                f"without fold {fold} of {count} there are no {kind} images to fit on: give more, of more groups"
            )
        fitted.append(fit_probe(features[others], real[others], method))
    weights, biases = zip(*fitted, strict=True)
    return Probe(np.stack(weights), np.array(biases))


def shifted(logits: np.ndarray, prior: float) -> np.ndarray:
    """Probabilities for log-odds at even odds, if a share `prior` of all images is real."""
    from scipy.special import expit, logit

    probabilities: np.ndarray = expit(logits + logit(prior))
    return probabilities


def _lda(features: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, float]:
    means = [features[real == kind].mean(0) for kind in (False, True)]
    centered = features - np.where(real[:, None], means[1], means[0])
    covariance = centered.T @ centered / len(features)
    size = len(covariance)
    covariance[np.diag_indices(size)] += max(RIDGE * np.trace(covariance) / size, np.finfo(np.float64).tiny)
    weights = np.linalg.solve(covariance, means[1] - means[0])
    return weights, float(-weights @ (means[0] + means[1]) / 2)
