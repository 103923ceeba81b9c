"""The scores there are, as a person chooses among them."""

import inspect
import re
from dataclasses import dataclass

import sds_hf.scores  # noqa: F401  (fills the registry)
from sds_hf.fitting import WholeSetScore
from sds_hf.score import REGISTRY, Cost, Score


@dataclass(frozen=True)
class Entry:
    """One score.

    Attributes:
        name: in recipes and on the command line.
        columns: what it writes, type by name.
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
    needs: list[str]
    cost: Cost
    whole_set: bool
    meaning: str
    source: str
    module: str


def catalog() -> list[Entry]:
    """All scores that are registered, those of other packages too, by name."""
    return [_entry(score) for _, score in sorted(REGISTRY.items())]


def _entry(score: type[Score]) -> Entry:
    return Entry(
        name=score.name,
        columns={name: str(dtype) for name, dtype in score.columns.items()},
        needs=sorted(score.needs),
        cost=score.cost,
        whole_set=issubclass(score, WholeSetScore),
        meaning=_first_sentence(inspect.getdoc(score) or ""),
        source=score.source,
        module=score.__module__,
    )


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=\.)\s", " ".join(text.split()), maxsplit=1)[0]
