"""`real_prob`: how likely an image is a photograph of the real set, not a synthetic one."""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field

from sds_hf.clip.checkpoints import DEFAULT_MODEL
from sds_hf.clip.kinds import DTypeName
from sds_hf.data.images import decode_image, encode_jpeg
from sds_hf.errors import extra_module
from sds_hf.schema import settings
from sds_hf.scores.base import encoding
from sds_hf.scores.base.fitted import FittedScore, Statistics, reference_rows
from sds_hf.scores.base.rows import Rows
from sds_hf.scores.base.score import Values
from sds_hf.scores.functional.neighbors import mean_cosine, text_hash
from sds_hf.scores.functional.probe import Probe, cross_fit, fold_of, shifted

if TYPE_CHECKING:
    import torch
    from datasets import Dataset

    from sds_hf.clip.encoder import Encoder

INSEPARABLE, SUSPICIOUS = 0.6, 0.99  # areas under the ROC curve that are worth a warning


@settings
class RealProb(FittedScore):
    """Probability that an image is real, by a probe on frozen CLIP embeddings.

    The probe is cross-fitted: `fit` makes one for each fold of the groups, and a row is scored by the probe that has
    seen no row of its fold. Otherwise a probe of 512 weights knows the rows of a small set by heart, and the column
    says nothing. Groups are known by the value of a column, so this holds whenever a row is scored.

    Columns read:
        image: picture of any size.
        id: names the row's group, or the column that `group_column` says.

    Columns written:
        real_prob: float32 in [0, 1], higher is more like the real set; null where the group is null or the embedding is
            not finite. With `knn` it is the rank among the real images, not a probability.

    Args:
        group_column: rows with the same value share a fold, e.g. `caption` for images of one prompt.
        prior: share of real images among those scored, for the probability; `fit` weighs both kinds alike.
        fitted, model, dtype, labels: see `FittedScore`.

    Source:
        Ours; the detector of RSMatch (Wang et al., arXiv 2405.16930) is the idea.

    Examples:
        >>> real, synthetic = candidates.select(range(12)), candidates.select(range(12, 24))
        >>> score = RealProb.fit(real, synthetic, "probe.npz", model="demo", folds=2)
        >>> add_scores(candidates, score).features["real_prob"]
        Value('float32')
    """

    name: ClassVar[str] = "real_prob"
    columns: ClassVar[dict[str, pa.DataType]] = {"real_prob": pa.float32()}
    needs: ClassVar[frozenset[str]] = frozenset({"image", "id"})
    source: ClassVar[str] = "ours, after RSMatch (Wang et al., arXiv 2405.16930)"
    reference_sets: ClassVar[tuple[str, ...]] = ("real", "synthetic")

    group_column: str = "id"
    prior: Annotated[float, Field(gt=0, lt=1)] = 0.5

    @property
    def reads(self) -> frozenset[str]:
        """See `Score.reads`."""
        return frozenset({"image", self.group_column})

    @classmethod
    def fit(
        cls,
        real: "Dataset",
        synthetic: "Dataset | None",
        out: str | Path,
        *,
        model: str = DEFAULT_MODEL,
        dtype: DTypeName = "auto",
        method: Literal["logreg", "lda", "knn"] | None = None,
        group_column: str = "id",
        group_pattern: str | None = None,
        folds: int = 5,
        neighbors: int = 10,
        reencode: int | None = None,
        prior: float = 0.5,
        seed: int = 0,
    ) -> Self:
        r"""Fit to real and synthetic images and write what was found to a file.

        Args:
            real: dataset of real images, with the columns `image` and `group_column`.
            synthetic: the same of images known to be synthetic; None if there are none.
            out: the file, `.npz`.
            model: see `ClipScore`.
            dtype: see `ClipScore`.
            method: `logreg`, `lda`, or `knn`, which needs no synthetic images: the rank of the mean cosine with the
                nearest real images; by default `logreg` if there are synthetic images.
            group_column: names the group of a row.
            group_pattern: regular expression whose first group is the name, e.g. `(.*)_\d+` where several ids are of
                one image; a value that does not match is its own name.
            folds: of the cross-fit.
            neighbors: of `knn`.
            reencode: JPEG quality at which images are encoded again, at the size the model sees, so that size and
                compression cannot tell the kinds apart; takes an encoder pass of its own.
            prior: see the class.
            seed: of the folds.

        Returns:
            The score. `fit_summary()` has the cross-fitted area under the ROC curve as `auroc`.

        Raises:
            ValueError: if images of one kind are missing, or cannot be read.
        """
        import torch

        method = method or ("knn" if synthetic is None else "logreg")
        if synthetic is None and method != "knn":
            raise ValueError(f"method {method!r} needs synthetic images beside the real ones; without, give 'knn'")
        if folds < 2:
            raise ValueError(f"folds must be at least 2, not {folds}: cross-fitting cannot be left out")
        score = cls(model=model, dtype=dtype, group_column=group_column, prior=prior)
        about: dict[str, Any] = {"method": method, "group_column": group_column, "group_pattern": group_pattern}
        about |= {"folds": folds, "neighbors": neighbors, "reencode": reencode, "seed": seed}
        encoder = score.encoder()
        features, keys = _read(real, encoder, about)
        about |= {"real": len(keys), "synthetic": 0}
        if method == "knn" or synthetic is None:
            hashes = np.array([text_hash(key) for key in keys])
            points = features.half()
            sims = _similarities(features, hashes, points, hashes, neighbors).double().numpy()
            return score.saved(out, about, points=points.numpy(), groups=hashes, similarities=np.sort(sims))
        others, other_keys = _read(synthetic, encoder, about)
        vectors = torch.cat([features, others]).double().numpy()
        is_real = np.arange(len(vectors)) < len(features)
        fold_numbers = np.array([fold_of(key, seed, folds) for key in [*keys, *other_keys]])
        probe = cross_fit(vectors, is_real, fold_numbers, folds, method)
        area = extra_module("sklearn.metrics").roc_auc_score(is_real, probe.logits(vectors, fold_numbers))
        about |= {"synthetic": len(others), "auroc": float(area)}
        _warn(about["auroc"])
        return score.saved(out, about, **vars(probe))

    def compute(self, rows: Rows) -> dict[str, Values]:
        """See `Score.compute`."""
        encoder = self.encoder()
        statistics = self.statistics(encoder)
        about = statistics.about
        self._check(about)
        features, keys = _features(rows, encoder, about["reencode"]).cpu(), _keys(rows, about)
        values = np.full(len(rows), np.nan)
        usable = np.flatnonzero(_usable(features).numpy() & np.array([key is not None for key in keys], bool))
        names = [str(keys[row]) for row in usable]
        if len(usable):
            score = _neighbor_ranks if about["method"] == "knn" else self._probabilities
            values[usable] = score(features[usable], names, statistics)
        return {"real_prob": values.tolist()}

    def _check(self, about: dict[str, Any]) -> None:
        if about["group_column"] != self.group_column:
            raise ValueError(
                f"{self.fitted} was fitted with group_column={about['group_column']!r}, not {self.group_column!r}: "
                "score with that one or fit again"
            )
        if about["method"] == "knn" and self.prior != 0.5:
            raise ValueError(f"prior={self.prior} needs a probability, and knn gives a rank: leave prior at 0.5")

    def _probabilities(self, features: "torch.Tensor", names: list[str], statistics: Statistics) -> np.ndarray:
        about, arrays = statistics.about, statistics.arrays
        folds = np.array([fold_of(name, about["seed"], about["folds"]) for name in names])
        probe = Probe(arrays["weights"], arrays["biases"])
        return shifted(probe.logits(features.double().numpy(), folds), self.prior)


def _neighbor_ranks(features: "torch.Tensor", names: list[str], statistics: Statistics) -> np.ndarray:
    """Share of the real images that are less like the others than a row is, ties counting half."""
    import torch

    arrays = statistics.arrays
    hashes = np.array([text_hash(name) for name in names])
    points = torch.from_numpy(arrays["points"])
    sims = _similarities(features, hashes, points, arrays["groups"], statistics.about["neighbors"]).double().numpy()
    real_sims = arrays["similarities"]
    return (np.searchsorted(real_sims, sims, "left") + np.searchsorted(real_sims, sims, "right")) / (2 * len(real_sims))


def _similarities(
    queries: "torch.Tensor", groups: np.ndarray, points: "torch.Tensor", point_groups: np.ndarray, k: int
) -> "torch.Tensor":
    """Mean cosine (m,) with the nearest points of other groups."""
    import torch

    mine, theirs = torch.from_numpy(groups), torch.from_numpy(point_groups)
    return mean_cosine(queries, points, k, lambda start, stop: mine[:, None] != theirs[start:stop])


def _read(dataset: "Dataset", encoder: "Encoder", about: dict[str, Any]) -> "tuple[torch.Tensor, list[str]]":
    """Embeddings (n, D) float32 and groups of the rows that have both."""
    import torch

    features, names = [], []
    for rows, _ in reference_rows(dataset, ["image", about["group_column"]]):
        vectors, keys = _features(rows, encoder, about["reencode"]).cpu(), _keys(rows, about)
        for vector, key, usable in zip(vectors, keys, _usable(vectors), strict=True):
            if usable and key is not None:
                features.append(vector)
                names.append(key)
    if not names:
        raise ValueError(f"no image has an embedding and a value of {about['group_column']!r}, which cross-fits need")
    return torch.stack(features), names


def _features(rows: Rows, encoder: "Encoder", reencode: int | None) -> "torch.Tensor":
    """Embeddings, (B, D) float32 of length 1."""
    if reencode is None:
        return encoding.images(rows, encoder, encoding.View())
    seen = [encoder.resize_and_crop(encoder.upload([image]))[0].permute(1, 2, 0) for image in rows.images]
    images = [decode_image({"bytes": encode_jpeg(image.cpu().numpy(), reencode), "path": None}) for image in seen]
    return encoder.encode_images(encoder.preprocess(images))


def _usable(features: "torch.Tensor") -> "torch.Tensor":
    usable: torch.Tensor = features.isfinite().all(1) & (features.norm(dim=1) > 0.5)
    return usable


def _keys(rows: Rows, about: dict[str, Any]) -> list[str | None]:
    """The group of each row, None where it has none."""
    column, pattern = about["group_column"], about["group_pattern"]
    values: Sequence[Any] = rows.captions if column == "caption" else rows.cells[column]
    names = [None if value is None else str(value) for value in values]
    if pattern is None:
        return names
    matches = [None if name is None else re.match(pattern, name) for name in names]
    return [match[1] if match else name for match, name in zip(matches, names, strict=True)]


def _warn(area: float) -> None:
    """Say what an area under the ROC curve may mean."""
    if area < INSEPARABLE:
        warnings.warn(
            f"real_prob: the cross-fitted AUROC is {area:.3f}: real and synthetic images cannot be told apart, so the "
            "column says little",
            stacklevel=3,
        )
    if area > SUSPICIOUS:
        warnings.warn(
            f"real_prob: the cross-fitted AUROC is {area:.3f}: size, compression or resolution may be what is told "
            "apart; fit with reencode=90, or with images of one source and size",
            stacklevel=3,
        )
