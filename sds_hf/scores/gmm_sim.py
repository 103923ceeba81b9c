"""`gmm_sim`: how much the parts of an image look like those of a reference set."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa

from sds_hf.clip.checkpoints import DEFAULT_MODEL
from sds_hf.clip.kinds import DTypeName
from sds_hf.schema import settings
from sds_hf.scores.base import encoding
from sds_hf.scores.base.fitted import FittedScore, Statistics, reference_rows
from sds_hf.scores.base.rows import Rows
from sds_hf.scores.base.score import Values
from sds_hf.scores.functional.mixture import Aggregate, ElementModel, aggregate, fit_elements

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

    from sds_hf.clip.encoder import Encoder

Elements = Literal["patches", "image"]


@settings
class GMMSim(FittedScore):
    """Log-likelihood of an image's patches under a Gaussian mixture fitted to those of a reference set.

    Meletis et al. (ITSC 2019) choose, from a large set of another domain, the images that look most like the target
    domain. The paper does not say which layer, how many components and which aggregate it used; those here are ours.

    Columns read:
        image: picture of any size.

    Columns written:
        gmm_sim: float32, nats, higher is more like the reference; minus infinity if no patch has finite features.

    Args:
        agg: what an image's log densities become: their `mean`, `sum`, `median`, or `trimmed`, the mean without the
            lowest and the highest tenth.
        fitted, model, dtype, labels: see `FittedScore`.

    Source:
        Meletis, Romijnders and Dubbelman, ITSC 2019 ("sim_citys"); the features are CLIP's instead of a ResNet's.

    Examples:
        >>> reference = candidates.filter(lambda defect: defect is None, input_columns="defect")
        >>> score = GMMSim.fit(reference, "gmm.npz", model="demo", components=2)
        >>> add_scores(candidates, score).features["gmm_sim"]
        Value('float32')
    """

    name: ClassVar[str] = "gmm_sim"
    columns: ClassVar[dict[str, pa.DataType]] = {"gmm_sim": pa.float32()}
    needs: ClassVar[frozenset[str]] = frozenset({"image"})
    leads: ClassVar[bool] = True
    source: ClassVar[str] = "Meletis et al., ITSC 2019"
    reference_sets: ClassVar[tuple[str, ...]] = ("reference",)

    agg: Aggregate = "mean"

    @classmethod
    def fit(
        cls,
        reference: "Dataset",
        out: str | Path,
        *,
        model: str = DEFAULT_MODEL,
        dtype: DTypeName = "auto",
        components: int | Literal["bic"] = 32,
        dimensions: int = 64,
        elements: Elements = "patches",
        normalize: bool = True,
        resolution: int | None = None,
        max_elements: int = 200_000,
        seed: int = 0,
        agg: Aggregate = "mean",
    ) -> Self:
        """Fit the mixture to a reference set and write it to a file.

        Args:
            reference: dataset of the target domain with the column `image`.
            out: the file, `.npz`.
            model: see `ClipScore`.
            dtype: see `ClipScore`.
            components: of the mixture; `"bic"` tries 8, 16, 32 and 64.
            dimensions: principal axes the features are projected onto.
            elements: what is described: the `patches` of an image, or the `image` as a whole.
            normalize: whether features are brought to length 1 first.
            resolution: side in pixels that images are resized to; None: what the checkpoint's own processor does.
            max_elements: feature vectors that are used at most, the same number of each image.
            seed: of their choice and of the fit.
            agg: of the score that is returned.

        Returns:
            The score.

        Raises:
            ValueError: if no image can be read or the model has no patches.
        """
        score = cls(model=model, dtype=dtype, agg=agg)
        encoder = score.encoder()
        count = min(len(reference), max_elements)
        chosen = np.sort(np.random.default_rng(seed).choice(len(reference), count, replace=False))
        vectors_per_image = max(1, max_elements // max(1, count))
        samples = [
            _sample(vectors.numpy(), vectors_per_image, seed, row_number)
            for rows, row_numbers in reference_rows(reference, ["image"], row_numbers=chosen.tolist())
            for row_number, vectors in zip(
                row_numbers, _elements(rows, encoder, elements, resolution).cpu(), strict=True
            )
        ]
        fitted, about = fit_elements(
            np.concatenate(samples), components=components, dimensions=dimensions, normalize=normalize, seed=seed
        )
        about |= {"what": elements, "resolution": resolution, "images": len(samples), "seed": seed}
        return score.saved(out, about, **fitted.arrays())

    def compute(self, rows: Rows) -> dict[str, Values]:
        """See `Score.compute`."""
        encoder = self.encoder()
        statistics = self.statistics(encoder)
        about = statistics.about
        vectors = _elements(rows, encoder, about["what"], about["resolution"])
        densities = _model(statistics).log_density(vectors).cpu().numpy()
        return {"gmm_sim": [aggregate(row, self.agg) for row in densities]}


def _elements(rows: Rows, encoder: "Encoder", what: Elements, resolution: int | None) -> "Tensor":
    """Feature vectors of each image, (B, n, D) float32."""
    if what == "patches":
        return encoding.patches(rows, encoder, resolution)
    return encoding.images(rows, encoder, encoding.View(resolution=resolution))[:, None]


def _sample(vectors: np.ndarray, count: int, seed: int, row_number: int) -> np.ndarray:
    """At most `count` of an image's vectors (n, D), the same whatever the other images are."""
    if len(vectors) <= count:
        return vectors
    digest = hashlib.sha256(f"{seed}|{row_number}|elements".encode()).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "big")))
    return vectors[np.sort(generator.choice(len(vectors), count, replace=False))]


@lru_cache(maxsize=4)
def _model(statistics: Statistics) -> ElementModel:
    return ElementModel.from_arrays(statistics.arrays)
