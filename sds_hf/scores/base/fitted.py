"""Scores that compare rows with a reference set: fitting one, the file of what a fit found, and scoring with it."""

import inspect
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import ConfigDict, ValidationError, create_model

from sds_hf.clip.checkpoints import model_files
from sds_hf.data.cells import stored_cells
from sds_hf.data.labels import VOC, labels_of
from sds_hf.errors import one_line
from sds_hf.files import check_own, named_folder, sha256_of, whole_file
from sds_hf.limits import LimitError, read_arrays, read_json
from sds_hf.schema import settings
from sds_hf.scores.base.catalog import score_classes
from sds_hf.scores.base.rows import Rows, cells_of, read_parts, read_rows
from sds_hf.scores.base.score import ClipScore

if TYPE_CHECKING:
    from datasets import Dataset

    from sds_hf.clip.encoder import Encoder

logger = logging.getLogger(__name__)
ROWS_AT_ONCE = 32
ABOUT = "about"  # the entry that says what the arrays are


@dataclass(frozen=True, eq=False)
class Statistics:
    """What a fit to a reference set found, as a file holds it.

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


def save_statistics(path: str | Path, kind: str, about: Mapping[str, Any], **arrays: np.ndarray) -> Path:
    """Write a fitted model; the same model is the same bytes.

    Raises:
        OSError: if the file cannot be written.
        ValueError: see `statistics_file`.
    """
    path = statistics_file(path, kind)
    text = json.dumps({"kind": kind, **about}, sort_keys=True)
    try:
        target = named_folder(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(target) as file:
            np.savez(file, allow_pickle=False, **{ABOUT: np.array(text)}, **arrays)
    except OSError as error:
        why = getattr(error.__cause__, "strerror", None) or error.strerror or error
        raise OSError(f"cannot write the fitted model {path}: {why}; choose another file") from error
    return path


def statistics_file(path: str | Path, kind: str) -> Path:
    """The file that a fitted model goes to; what is there is replaced if it is one of the same score.

    Raises:
        ValueError: if there is something else than a fitted model of the same score.
    """

    def is_own(file: Path) -> bool:
        try:
            return load_statistics(file, kind).kind == kind
        except ValueError:
            return False

    path = Path(path)
    path = path if path.suffix == ".npz" else path.with_name(f"{path.name}.npz")
    target = named_folder(path)  # where a link leads
    check_own(target.parent, [target.name], is_own)
    return path


def load_statistics(path: str | Path, kind: str) -> Statistics:
    """Read what `save_statistics` wrote; remembered while the file is the same.

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


class _Parts(dict[str, Any]):
    """What a file holds, by name."""

    def __init__(self, path: Path, parts: Mapping[str, Any]) -> None:
        super().__init__(parts)
        self._path = path

    def __missing__(self, name: str) -> Any:
        raise ValueError(f"{self._path} has no {name!r}: it is no fitted model of this version; fit it again")


@lru_cache(maxsize=8)
def _read(path: Path, digest: str) -> Statistics:
    try:
        arrays = dict(read_arrays(path))
        about = read_json(str(arrays.pop(ABOUT)), f"{path}: {ABOUT}")
        return Statistics(about.pop("kind"), _Parts(path, about), _Parts(path, arrays), digest)
    except LimitError:
        raise
    except (ValueError, KeyError, OSError, TypeError, AttributeError) as error:
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
        identity = super().identity()
        if not self.compares:
            return identity
        return {**identity, "fitted_digest": self.statistics_for(identity["model_digest"]).digest}

    def statistics(self, encoder: "Encoder") -> Statistics:
        """The fitted model.

        Raises:
            ValueError: if there is none, or it was made with another model.
        """
        return self.statistics_for(encoder.files.digest)

    def statistics_for(self, model_digest: str) -> Statistics:
        """The same, if it goes with an encoder of this digest."""
        if self.fitted is None:
            raise ValueError(
                f"{self.name} compares with a fitted model: write one with {type(self).__name__}.fit(dataset, "
                f"'{self.name}.npz') or `sds-hf fit {self.name} ...`, then say "
                f"fitted='{self.name}.npz'"
            )
        model = load_statistics(self.fitted, self.name)
        if model.about["model_digest"] != model_digest:
            raise ValueError(
                f"{self.fitted} was fitted with other weights than those of the model {self.model!r}: score with the "
                "model of the fit or fit again"
            )
        return model

    def saved(self, out: str | Path, about: Mapping[str, Any], **arrays: Any) -> Self:
        """This score with what its fit found, written to a file."""
        made_with = {"model_digest": self.encoder().files.digest}
        path = save_statistics(out, self.name, {**made_with, **about}, **arrays)
        return type(self)(**{**self.values(), "fitted": str(path)})

    def fit_summary(self) -> dict[str, Any] | None:
        """See `Score.fit_summary`."""
        if not self.compares:
            return None
        statistics = self.statistics_for(model_files(self.model).digest)
        return {"file": self.fitted, "sha256": statistics.digest, **statistics.about}


def reference_rows(
    dataset: "Dataset", needs: Sequence[str], labels: str = "auto", row_numbers: Sequence[int] | None = None
) -> Iterator[tuple[Rows, list[int]]]:
    """The rows of a reference set in batches, with their numbers in it; rows that cannot be read are left out.

    Args:
        dataset: the reference set.
        needs: columns that are read, see `read_rows`.
        labels: label space; it matters only where classes are read.
        row_numbers: rows to read, all if None.

    Raises:
        ValueError: if a column is missing, or nothing can be read.
    """
    space = VOC if labels == "auto" and "classes" not in needs else labels_of(dataset.features, labels)
    columns = {*needs, "mask"} if "classes" in needs else {*needs}
    stored = dataset.select_columns([name for name in dataset.column_names if name in columns]).with_format("arrow")
    row_numbers = range(len(dataset)) if row_numbers is None else row_numbers
    failed, example = 0, ""
    for start in range(0, len(row_numbers), ROWS_AT_ONCE):
        chosen = list(row_numbers[start : start + ROWS_AT_ONCE])
        cells = stored_cells(stored, chosen)
        for part in read_parts(cells):
            rows = read_rows(cells_of(cells, part), {*needs}, space)
            failed, example = failed + len(rows.errors), next(iter(rows.errors.values()), example)
            if len(rows):
                yield rows, [chosen[part.start + position] for position in rows.positions]
    if failed == len(row_numbers):
        raise ValueError(f"no row of the reference set can be read{f', e.g. {example}' if example else ''}")
    if failed:
        logger.warning("%d rows of the reference set cannot be read and are left out, e.g. %s", failed, example)


def fit_score(
    name: str, references: "Sequence[Dataset]", out: str | Path, settings: Mapping[str, Any] | None = None
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
    fittable = {key: score for key, score in score_classes().items() if score.reference_sets}
    if name not in fittable:
        raise ValueError(f"{name!r} is not fitted to a reference set; these are: {sorted(fittable)}")
    statistics_file(out, name)  # before anything takes long
    score: Any = fittable[name]
    sets = score.reference_sets
    if len(references) > len(sets) or not references:
        raise ValueError(f"{name} is fitted to {' and '.join(sets)}, not to {len(references)} datasets")
    padded: list[Dataset | None] = [*references, *[None] * (len(sets) - len(references))]
    fitted: FittedScore = score.fit(*padded, out, **_checked_settings(name, score.fit, settings or {}))
    return fitted


def _checked_settings(name: str, fit: Callable[..., Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a fit, converted as a score's settings are.

    Raises:
        ValueError: names the one that makes no sense.
    """
    parameters = inspect.signature(fit, eval_str=True, locals={"Dataset": Any}).parameters.values()
    keywords = {
        parameter.name: (parameter.annotation, parameter.default)
        for parameter in parameters
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    model = create_model(name, __config__=ConfigDict(extra="forbid", protected_namespaces=()), **keywords)  # type: ignore[call-overload]
    try:
        return {key: getattr(model(**settings), key) for key in settings}
    except ValidationError as error:
        raise ValueError(f"{name}: {one_line(error, {(): list(keywords)})}") from error
