"""`difficulty`: how hard an image is for a model of the real classes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from sds_hf.clip.checkpoints import DEFAULT_MODEL
from sds_hf.clip.kinds import DTypeName
from sds_hf.schema import settings
from sds_hf.scores.base import encoding
from sds_hf.scores.base.catalog import score_classes
from sds_hf.scores.base.fitted import FittedScore, Statistics, reference_rows
from sds_hf.scores.base.rows import Rows
from sds_hf.scores.base.score import Values
from sds_hf.scores.functional.difficulty import Form, difficulty
from sds_hf.scores.functional.neighbors import mean_cosine

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

Definition = Literal["cls", "column", "mask", "atypical"]
BANDS = ("easy", "medium", "hard")


@settings
class Difficulty(FittedScore):
    """How hard an image is: unsure classes, a doubtful mask, or unlike the real images of its classes.

    Wang et al. (AAAI 2026) find that synthetic images of medium difficulty help most, and that very hard ones hurt.

    Columns read:
        image: picture of any size.
        mask: class indices, for the classes present; or `classes`, a list of ids, if there is no mask.
        class_probabilities: only with `definition="column"`, one number for each foreground class.

    Columns written:
        difficulty: float32, 0 is easiest, in [0, 1] (up to 1.41 for `form="el2n"`, up to 2 for `atypical`); null if no
            class is present.
        difficulty_band: `easy`, `medium` or `hard`, by `bands`; null where `difficulty` is.

    Args:
        definition: `cls`: 1 - p of the present classes in a softmax of CLIP's cosines over all classes, other present
            classes left out. `column`: the same with the probabilities in the column `probabilities`, of a classifier
            trained on real data. `mask`: 1 - `asf_miou` as that score is by default. `atypical`: 1 - mean cosine with
            the nearest real images that show the same class, which needs `fit`.
        form: for `cls` and `column`: `confidence` is 1 - p; `margin`, `entropy` and `el2n` see
            `sds_hf.scores.functional.difficulty.difficulty`.
        probabilities: name of the column of class probabilities.
        neighbors: nearest images of `atypical`.
        bands: where `medium` begins and where `hard` does.
        fitted, model, dtype, labels: see `FittedScore`.

    Source:
        Wang et al., Difficulty Controlled Diffusion Model, AAAI 2026; the formulas are ours.

    Examples:
        >>> score = Difficulty(model="demo", bands=(0.2, 0.6))
        >>> sorted(set(add_scores(candidates, score)["difficulty_band"]))
        ['easy', 'hard', 'medium']
    """

    name: ClassVar[str] = "difficulty"
    columns: ClassVar[dict[str, pa.DataType]] = {"difficulty": pa.float32(), "difficulty_band": pa.string()}
    needs: ClassVar[frozenset[str]] = frozenset({"image", "classes"})
    source: ClassVar[str] = "ours, after Wang et al., AAAI 2026"
    reference_sets: ClassVar[tuple[str, ...]] = ("reference",)

    definition: Definition = "cls"
    form: Form = "confidence"
    probabilities: str = "class_probabilities"
    neighbors: Annotated[int, Field(ge=1)] = 10
    bands: tuple[float, float] = (0.3, 0.7)

    @field_validator("bands")
    @classmethod
    def _ascending(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] > value[1]:
            raise ValueError(f"must be ascending, where medium begins and where hard does, not {value}")
        return value

    @property
    def reads(self) -> frozenset[str]:
        """See `Score.reads`."""
        extra_columns = {"column": {self.probabilities}, "mask": {"mask"}}
        return (self.needs - {"image"} if self.definition == "column" else self.needs) | extra_columns.get(
            self.definition, set()
        )

    @property
    def asks_clip(self) -> bool:
        """See `ClipScore.asks_clip`."""
        return self.definition != "column"

    @property
    def compares(self) -> bool:
        """See `FittedScore.compares`."""
        return self.definition == "atypical"

    @classmethod
    def fit(
        cls,
        reference: "Dataset",
        out: str | Path,
        *,
        model: str = DEFAULT_MODEL,
        dtype: DTypeName = "auto",
        labels: str = "auto",
        neighbors: int = 10,
        bands: tuple[float, float] = (0.3, 0.7),
    ) -> Self:
        """Remember the real images of each class, for `definition="atypical"`, in a file.

        Args:
            reference: dataset of real images with the column `image`, and `mask` or `classes`.
            out: the file, `.npz`.
            model: see the class.
            dtype: see the class.
            labels: see the class.
            neighbors: see the class.
            bands: see the class.

        Returns:
            The score.

        Raises:
            ValueError: if no image can be read or the label space is not known.
        """
        import torch

        score = cls(model=model, dtype=dtype, labels=labels, neighbors=neighbors, bands=bands, definition="atypical")
        encoder, points, present = score.encoder(), [], []
        names: list[str] = []
        for rows, _ in reference_rows(reference, ["image", "classes"], labels):
            points.append(encoding.images(rows, encoder, encoding.View()).cpu())
            present.append(rows.present)
            names = list(rows.labels.names)
        arrays = {"points": torch.cat(points).numpy().astype(np.float16), "present": np.concatenate(present)}
        return score.saved(out, {"images": len(arrays["points"]), "names": names}, **arrays)

    def compute(self, rows: Rows) -> dict[str, Values]:
        """See `Score.compute`."""
        values = getattr(self, f"_{self.definition}")(rows)
        # The column is float32, and a band has to go with what it shows.
        stored = [None if np.isnan(value) else float(np.float32(value)) for value in values]
        return {"difficulty": stored, "difficulty_band": [self.band(value) for value in stored]}

    def band(self, value: float | None) -> str | None:
        """`easy`, `medium` or `hard`."""
        return None if value is None else BANDS[sum(bool(value >= np.float32(bound)) for bound in self.bands)]

    def _cls(self, rows: Rows) -> list[float]:
        encoder = self.encoder()
        texts = encoding.texts(rows, encoder)[: len(rows.labels.class_ids)]
        cosines = encoding.images(rows, encoder, encoding.View()) @ texts.T
        probabilities = (encoder.scale * cosines.double()).softmax(-1)
        return self._rated(probabilities.cpu(), rows)

    def _column(self, rows: Rows) -> list[float]:
        import torch

        probabilities = [_probabilities(cell, len(rows.labels.class_ids)) for cell in rows.cells[self.probabilities]]
        return self._rated(torch.tensor(probabilities, dtype=torch.float64).reshape(len(rows), -1), rows)

    def _rated(self, probabilities: "Tensor", rows: Rows) -> list[float]:
        import torch

        rated: list[float] = difficulty(probabilities, torch.from_numpy(rows.present), self.form).tolist()
        return rated

    def _mask(self, rows: Rows) -> list[float]:
        shared: dict[str, Any] = {"model": self.model, "dtype": self.dtype, "labels": self.labels}
        agreement = score_classes()["asf_miou"](**shared)
        ious = rows.share(agreement, lambda: agreement.compute(rows))["asf_miou"]
        return [np.nan if value is None else 1 - value for value in ious]

    def _atypical(self, rows: Rows) -> list[float]:
        import torch

        encoder = self.encoder()
        statistics = self.statistics(encoder)
        self._check(statistics, rows)
        queries = encoding.images(rows, encoder, encoding.View())
        values = np.full(rows.present.shape, np.nan)
        for index in np.flatnonzero(rows.present.any(0)):
            members, mine = statistics.arrays["present"][:, index], np.flatnonzero(rows.present[:, index])
            points = torch.from_numpy(statistics.arrays["points"][members]).to(queries.device)
            values[mine, index] = 1 - mean_cosine(queries[mine], points, self.neighbors).cpu().numpy()
        counted = ~np.isnan(values)
        with np.errstate(invalid="ignore"):
            means: list[float] = (np.where(counted, values, 0).sum(1) / counted.sum(1)).tolist()
        return means

    def _check(self, statistics: Statistics, rows: Rows) -> None:
        if statistics.about["names"] != list(rows.labels.names):
            raise ValueError(
                f"{self.fitted} was fitted with {len(statistics.about['names'])} other classes than the "
                f"{len(rows.labels.names)} of the label space {rows.labels.name!r}; fit again with this one"
            )


def _probabilities(cell: Any, classes: int) -> Sequence[float]:
    """The class probabilities of a row; NaN if there are none."""
    if cell is None:
        return [np.nan] * classes
    if len(cell) != classes:
        raise ValueError(f"class probabilities must be {classes} a row, one for each foreground class, not {len(cell)}")
    values: Sequence[float] = cell
    return values
