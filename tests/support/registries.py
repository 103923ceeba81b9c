"""What examples and guides register is forgotten after them."""

from collections.abc import Iterator
from contextlib import contextmanager

from sds_hf.data.sources.reader import READERS
from sds_hf.exports.base import FORMATS
from sds_hf.scores.base.score import REGISTRY
from sds_hf.selection.rules import RULES


@contextmanager
def forgotten() -> Iterator[None]:
    """Inside, scores, rules, sources and formats may be added; they are gone after it."""
    entries = [(registry, dict(registry)) for registry in (REGISTRY, RULES, READERS, FORMATS)]
    yield
    for registry, before in entries:
        registry.clear()
        registry.update(before)
