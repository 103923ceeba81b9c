"""The scores there are: those of this package, one file each, and those of others.

Other packages add theirs by an entry point in the group `sds_hf.scores` that names a module or a class.
"""

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import sds_hf.scores
from sds_hf.errors import import_kinds, no_such
from sds_hf.scores.base.score import REGISTRY, Cost, Score


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
