"""What the page is told of a set: names, colours, recipes, and what each column means."""

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any

from sds_hf.data.labels import LabelSpace
from sds_hf.publishing.card.colors import class_colors
from sds_hf.scores.base.catalog import score_classes
from sds_hf.selection.recipe import Recipe

WRITTEN = re.compile(r"Columns written:\n(.*?)(?:\n\S|\Z)", re.S)


def page_config(
    title: str,
    *,
    tables: Sequence[dict[str, str]],
    labels: LabelSpace | None,
    recipes: Iterable[Recipe],
    scores: str,
    **more: Any,
) -> dict[str, Any]:
    """What the page reads first.

    Args:
        title: of the page.
        tables: where the score table lies: `{"url": ...}` or `{"base64": ...}` each.
        labels: names of the classes; None if they are not known.
        recipes: to begin with; the first one is applied.
        scores: what `sds-hf select` is to call the table.
        **more: `pictures`, `captions`, `pixels`, `marks`, `halves`, `sections`: see `page/src/session.js`.
    """
    return {
        "title": title,
        "tables": list(tables),
        "classNames": list(labels.names) if labels else [],
        "hasBackground": labels.has_background if labels else True,
        "palette": class_colors().tolist(),
        "recipes": [plain_recipe(recipe) for recipe in recipes],
        "definitions": definitions(),
        "scores": scores,
        "pictures": None,
        "captions": None,
        "pixels": None,
        "marks": None,
        "halves": [],
        **more,
    }


def plain_recipe(recipe: Recipe) -> dict[str, Any]:
    """Name and rules as the page has them."""
    return {"name": recipe.name, "rules": [{rule.kind: rule.settings()} for rule in recipe.rules]}


def definitions() -> dict[str, str]:
    """By column: type, range, which way is better, and who published it; as the score of its name says it, if any."""
    texts: dict[str, str] = {}
    for score in score_classes().values():
        written = WRITTEN.search(inspect.cleandoc(score.__doc__ or ""))
        for name, text in _entries(written.group(1) if written else "").items():
            if name in score.columns and (name not in texts or name == score.name):
                texts[name] = f"{text}\n{score.source}"
        for name in score.columns:
            texts.setdefault(name, score.source)
    return texts


def _entries(section: str) -> dict[str, str]:
    """`name: text` of a section of a docstring, lines of a text joined."""
    entries: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        head = re.match(r" {4}([\w, ]+?)(?: \([^)]*\))?: (.*)", line)
        if head:
            name = head.group(1)
            entries |= {one.strip(): head.group(2) for one in name.split(",")}
        elif name:
            entries |= {one.strip(): f"{entries[one.strip()]} {line.strip()}" for one in name.split(",")}
    return entries
