"""Scores that compare rows with a reference set: fitting one, the file of what a fit found, and scoring with it."""

import inspect
import json
import logging
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from datasets import Dataset
from pydantic import ConfigDict, ValidationError, validate_call

from sds_hf.clip.encoder import Encoder
from sds_hf.data.labels import VOC, LabelSpace, label_space, labels_of_features
from sds_hf.errors import one_line
from sds_hf.files import sha256_of
from sds_hf.scores.base.catalog import score_classes
from sds_hf.scores.base.rows import Rows, read_rows
from sds_hf.scores.base.score import ClipScore, settings

logger = logging.getLogger(__name__)
ROWS_AT_ONCE = 32
ABOUT = "about"  # the entry that says what the arrays are


@dataclass(frozen=True, eq=False)
class FittedModel:
    """What a score was fitted to.

    Attributes:
        kind: name of the score.
        about: settings of the fit and what it found, as JSON has them.
        arrays: by name.
        digest: SHA-256 of the file.
    """

    kind: str
    about: dict[str, Any]
    arrays: dict[str, np.ndarray]
    digest: str


def save_model(path: str | Path, kind: str, about: Mapping[str, Any], **arrays: np.ndarray) -> Path:
    """Write a fitted model; the same model is the same bytes.

    Raises:
        OSError: if the file cannot be written.
    """
    path = Path(path)
    path = path if path.suffix == ".npz" else path.with_name(f"{path.name}.npz")
    text = json.dumps({"kind": kind, **about}, sort_keys=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **{ABOUT: np.array(text)}, **arrays)
    except OSError as error:
        raise OSError(f"cannot write the fitted model {path}: {error.strerror}; choose another file") from error
    return path


def load_model(path: str | Path, kind: str) -> FittedModel:
    """Read what `save_model` wrote; remembered while the file is the same.

    Raises:
        ValueError: if there is no such file, it is damaged, or it was fitted for another score.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no fitted model {path}: give `fitted` the path of a file that `fit` of {kind!r} wrote")
    model = _read(path, sha256_of(path))
    if model.kind != kind:
        raise ValueError(f"{path} was fitted for the score {model.kind!r}; give `fitted` a file of {kind!r}")
    return model


@lru_cache(maxsize=8)
def _read(path: Path, digest: str) -> FittedModel:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        about = json.loads(str(arrays.pop(ABOUT)))
        return FittedModel(about.pop("kind"), about, arrays, digest)
    except (ValueError, KeyError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        with path.open("rb") as file:
            is_pickle = file.read(1) == b"\x80"
        if is_pickle or "Object arrays" in str(error):
            raise ValueError(
                f"{path} holds pickled objects, which can run code and are not opened; fit it again"
            ) from error
        raise ValueError(f"{path} is no fitted model of sds-hf or is damaged; fit it again") from error


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
        rows = read_rows({n: table[n].to_pylist() for n in table.column_names}, {*needs}, spaces)
        failed, example = failed + len(rows.errors), next(iter(rows.errors.values()), example)
        if len(rows):
            yield rows, [chosen[position] for position in rows.positions]
    if failed == len(places):
        raise ValueError(f"no row of the reference set can be read{f', e.g. {example}' if example else ''}")
    if failed:
        logger.warning("%d rows of the reference set cannot be read and are left out, e.g. %s", failed, example)


def _labels(dataset: Dataset, needs: Sequence[str], labels: str) -> LabelSpace:
    if labels != "auto":
        return label_space(labels)
    return labels_of_features(dataset.features) if "classes" in needs else VOC


def fit_score(
    name: str, references: Sequence[Dataset], out: str | Path, settings: Mapping[str, Any] | None = None
) -> FittedScore:
    """Fit a score to reference sets and write what was found to a file.

    Args:
        name: of the score, e.g. `gmm_sim`.
        references: the sets its `fit` takes: of real images, and for `real_prob` of synthetic ones after them.
        out: the file, `.npz`.
        settings: further arguments of its `fit`.

    Returns:
        The score with the file.

    Raises:
        ValueError: if the score is not fitted to a reference, or a set or setting is too many or makes no sense.
    """
    fitted = {key: score for key, score in score_classes().items() if issubclass(score, FittedScore)}
    if name not in fitted:
        raise ValueError(f"{name!r} is not fitted to a reference set; these are: {sorted(fitted)}")
    fit: Any = fitted[name].fit  # type: ignore[attr-defined]
    parameters = inspect.signature(fit).parameters
    sets = [key for key, parameter in parameters.items() if parameter.kind is not parameter.KEYWORD_ONLY][:-1]
    if len(references) > len(sets) or not references:
        raise ValueError(f"{name} is fitted to {' and '.join(sets)}, not to {len(references)} datasets")
    given: list[Dataset | None] = [*references, *[None] * (len(sets) - len(references))]
    try:
        score: FittedScore = validate_call(config=ConfigDict(arbitrary_types_allowed=True))(fit)(
            *given, out, **dict(settings or {})
        )
    except ValidationError as error:
        known = [key for key, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY]
        raise ValueError(f"{name}: {one_line(error, {(): known})}") from error
    return score
