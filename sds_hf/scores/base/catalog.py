"""The scores there are: those of this package, one file each, and those of others.

Other packages add theirs by an entry point in the group `sds_hf.scores` that names a module or a class.
"""

import inspect
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, cast

import sds_hf.scores
from sds_hf.errors import did_you_mean, import_kinds, no_such, short
from sds_hf.scores.base.presets import field_names
from sds_hf.scores.base.score import REGISTRY, Cost, Score

ScoreLike = Score | str | type[Score] | Iterable[Any]  # the last: of these


@dataclass(frozen=True)
class Entry:
    """One score.

    Attributes:
        name: in recipes and on the command line.
        columns: what it writes, type by name.
        optional_columns: what it writes with some settings only, likewise.
        needs: what it reads with its default settings.
        cost: `light`, no model; `forward`, one pass of the image encoder a row; `forwards`, several; `dense`, a pass at
            the image's own resolution.
        whole_set: whether it is fitted to the whole set first, some scores with some settings only.
        meaning: in a sentence.
        source: who published it.
        module: where it is defined.
    """

    name: str
    columns: dict[str, str]
    optional_columns: dict[str, str]
    needs: list[str]
    cost: Cost
    whole_set: bool
    meaning: str
    source: str
    module: str


def score_classes() -> Mapping[str, type[Score]]:
    """All scores, those of other packages too, by name."""
    _import_all()
    return REGISTRY


def score_named(name: str) -> type[Score]:
    """A score by its name.

    Raises:
        ValueError: if there is none; says which there are.
    """
    if name not in score_classes():
        raise ValueError(no_such("score", name, score_classes()))
    return score_classes()[name]


@cache
def _import_all() -> None:
    import_kinds(sds_hf.scores.__name__, sds_hf.scores.__path__, "sds_hf.scores")


def scores_of(scores: Iterable[ScoreLike]) -> list[Score]:
    """Scores as a person names them: ready-made, by name or by class, which then have their default settings.

    Raises:
        ValueError: names what is no score; says which scores there are.
    """
    chosen: list[Score] = []
    for score in scores:
        if isinstance(score, Score):
            chosen.append(score)
        elif isinstance(score, str) and score in score_classes():
            chosen.append(score_classes()[score]())
        elif isinstance(score, type) and issubclass(score, Score) and not inspect.isabstract(score):
            chosen.append(score())
        elif isinstance(score, Iterable) and not isinstance(score, (str, Mapping)):
            chosen += scores_of(score)
        else:
            names = sorted(score_classes())
            raise ValueError(f"{short(score)} is no score; there are {names}{did_you_mean(score, names)}")
    return chosen


def recipe_settings(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a score's identity that a recipe decides; the rest follows from the data and the machine."""
    names = field_names(score_classes()[identity["score"]]) - {"labels", "dtype", "statistics"}
    plain: dict[str, Any] = json.loads(json.dumps({name: identity[name] for name in sorted(names) if name in identity}))
    return plain


def default_settings(score: str) -> dict[str, Any]:
    """Default settings of a score but its model, as JSON has them."""
    names = field_names(score_classes()[score]) - {"labels", "dtype", "model", "statistics"}
    values = {field.name: field.default for field in fields(cast(Any, score_classes()[score])) if field.name in names}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def catalog() -> list[Entry]:
    """All scores as a person chooses among them, by name."""
    return [_entry(score) for _, score in sorted(score_classes().items())]


def _entry(score: type[Score]) -> Entry:
    return Entry(
        name=score.name,
        columns={name: str(dtype) for name, dtype in score.columns.items()},
        optional_columns={name: str(dtype) for name, dtype in score.optional_columns.items()},
        needs=sorted(score.needs),
        cost=score.cost,
        whole_set=score.whole_set,
        meaning=_first_sentence(inspect.getdoc(score) or ""),
        source=score.source,
        module=score.__module__,
    )


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=\.)\s", " ".join(text.split()), maxsplit=1)[0]
