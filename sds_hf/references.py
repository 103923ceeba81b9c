"""Fit a score to reference sets, by the score's name."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from pydantic import ConfigDict, ValidationError, validate_call

from sds_hf.errors import one_line
from sds_hf.fitted import FittedScore
from sds_hf.score import REGISTRY


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
    fitted = {key: score for key, score in REGISTRY.items() if issubclass(score, FittedScore)}
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
