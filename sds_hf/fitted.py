"""Scores that compare rows with a model fitted to a reference set before."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from datasets import Dataset

from sds_hf.arrays import FittedModel, load_model, save_model
from sds_hf.clip.encoder import Encoder
from sds_hf.data.labels import VOC, LabelSpace, label_space, labels_of_features
from sds_hf.rows import Rows, read_rows
from sds_hf.score import ClipScore, settings

logger = logging.getLogger(__name__)
ROWS_AT_ONCE = 32


@settings
class FittedScore(ClipScore):
    """A score with a file of what `fit` found.

    Args:
        fitted: path of a file that `fit` wrote; its digest is part of the score's identity.
        model, dtype, labels: see `ClipScore`. The model must be the one of the fit.
    """

    fitted: str | None = None

    @property
    def compares(self) -> bool:
        """Whether these settings need the fitted model."""
        return True

    def identity(self) -> dict[str, Any]:
        """See `Score.identity`; the digest stands for the fitted model.

        Raises:
            ValueError: if there is none, or it was made with another model.
        """
        found = super().identity()
        return {**found, "fitted_digest": self.checked(found["model_digest"]).digest} if self.compares else found

    def statistics(self, encoder: Encoder) -> FittedModel:
        """The fitted model.

        Raises:
            ValueError: if there is none, or it was made with another model.
        """
        return self.checked(encoder.files.digest)

    def checked(self, model_digest: str) -> FittedModel:
        """The fitted model, if it goes with an encoder of this digest; see `statistics`."""
        if self.fitted is None:
            raise ValueError(
                f"{self.name} compares with a fitted model: write one with {type(self).__name__}.fit(dataset, "
                f"'{self.name}.npz') or `sds-hf fit {self.name}`, then say fitted='{self.name}.npz'"
            )
        model = load_model(self.fitted, self.name)
        if model.about["model_digest"] != model_digest:
            raise ValueError(
                f"{self.fitted} was fitted with other weights than those of the model {self.model!r}: score with the "
                "model of the fit or fit again"
            )
        return model

    def saved(self, out: str | Path, about: Mapping[str, Any], **arrays: Any) -> Self:
        """This score with what its fit found, written to a file."""
        made_with = {"model_digest": self.encoder().files.digest}
        path = save_model(out, self.name, {**made_with, **about}, **arrays)
        return type(self)(**{**self.values(), "fitted": str(path)})

    def fit_summary(self) -> dict[str, Any]:
        """What the manifest says of the fitted model."""
        model = self.statistics(self.encoder())
        return {"file": self.fitted, "sha256": model.digest, **model.about}


def reference_rows(
    dataset: Dataset, needs: Sequence[str], labels: str = "auto", places: Sequence[int] | None = None
) -> Iterator[tuple[Rows, list[int]]]:
    """The rows of a reference set in batches, with their places in it; rows that cannot be read are left out.

    Args:
        dataset: the reference set.
        needs: columns that are read, see `read_rows`.
        labels: label space; it matters only where classes are read.
        places: rows to read, all if None.

    Raises:
        ValueError: if a column is missing, or nothing can be read.
    """
    spaces = _labels(dataset, needs, labels)
    wanted = {*needs, "mask"} if "classes" in needs else {*needs}
    stored = dataset.select_columns([name for name in dataset.column_names if name in wanted]).with_format("arrow")
    places = range(len(dataset)) if places is None else places
    failed, example = 0, ""
    for start in range(0, len(places), ROWS_AT_ONCE):
        chosen = list(places[start : start + ROWS_AT_ONCE])
        table = stored[chosen]
        rows, found, errors = read_rows({n: table[n].to_pylist() for n in table.column_names}, {*needs}, spaces)
        failed, example = failed + len(errors), next(iter(errors.values()), example)
        if found:
            yield rows, [chosen[place] for place in found]
    if failed == len(places):
        raise ValueError(f"no row of the reference set can be read{f', e.g. {example}' if example else ''}")
    if failed:
        logger.warning("%d rows of the reference set cannot be read and are left out, e.g. %s", failed, example)


def _labels(dataset: Dataset, needs: Sequence[str], labels: str) -> LabelSpace:
    if labels != "auto":
        return label_space(labels)
    return labels_of_features(dataset.features) if "classes" in needs else VOC
