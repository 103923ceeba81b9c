"""Dataset cards: a function of a recipe and a report. Everything that comes from data is escaped."""

import html
import re
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from sds_hf.labels import VOC
from sds_hf.recipe import Recipe
from sds_hf.report import Report

SIZES = (
    (1e3, "n<1K"),
    (1e4, "1K<n<10K"),
    (1e5, "10K<n<100K"),
    (1e6, "100K<n<1M"),
    (1e7, "1M<n<10M"),
    (1e8, "10M<n<100M"),
)
MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~-])")


def render_card(recipe: Recipe, report: Report, address: str | None = None) -> str:
    """The card of a published selection, YAML and Markdown.

    Args:
        recipe: what was asked.
        report: what was found; its `metadata` goes into the YAML.
        address: what `load_dataset` is to be called with; the recipe's target if None.

    Returns:
        The text of `README.md`.
    """
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    environment.filters.update(
        md=escape, code=code, number=_number, dropped=_dropped, settings=_settings, fenced=fenced
    )
    template = environment.from_string((files("sds_hf") / "templates" / "dataset_card.md.jinja").read_text())
    body = template.render(
        recipe=recipe,
        report=report,
        title=recipe.publish.title or recipe.name,
        address=address or recipe.publish.to or recipe.publish.folder or recipe.name,
        recipe_yaml=recipe.to_yaml(),
        class_table=_class_table(report),
        licence_text=_licence_text(recipe),
        shows_samples="assets/samples.png" in report.assets,
    )
    return f"---\n{_front_matter(recipe, report)}---\n\n{body.rstrip()}\n"


def escape(value: Any) -> str:
    """Text that stays text in Markdown, HTML and tables."""
    text = " ".join(str(value).split())
    text = MARKDOWN.sub(r"\\\1", html.escape(text, quote=False))
    return re.sub(r"^(\d+)([.)])", r"\1\\\2", text)


def code(value: Any) -> str:
    """Text for inside backticks or a quoted string of a code block."""
    return " ".join(str(value).split()).replace("`", "'").replace('"', "'")


def fenced(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any run of backticks inside."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _front_matter(recipe: Recipe, report: Report) -> str:
    import yaml

    publication = recipe.publish
    data: dict[str, Any] = {
        "pretty_name": publication.title or recipe.name,
        "license": publication.license,
        "license_name": publication.license_name,
        "license_link": publication.license_link,
        "task_categories": ["image-segmentation"],
        "task_ids": ["semantic-segmentation"],
        "annotations_creators": ["machine-generated"],
        "size_categories": [next((name for limit, name in SIZES if report.kept < limit), "n>100M")],
        "tags": ["synthetic", "sds-hf", *publication.tags],
        **report.metadata,
    }
    text: str = yaml.safe_dump(
        {key: value for key, value in data.items() if value is not None}, sort_keys=False, allow_unicode=True, width=120
    )
    return text


def _class_table(report: Report) -> list[dict[str, Any]]:
    palette = VOC.palette
    return [
        {**count.model_dump(), "color": "#{:02x}{:02x}{:02x}".format(*palette[count.id])} for count in report.classes
    ]


def _licence_text(recipe: Recipe) -> str:
    publication = recipe.publish
    if publication.license is None:
        return "No licence was given by the publisher. Ask before you use it."
    name = (
        publication.license_name if publication.license == "other" and publication.license_name else publication.license
    )
    return f"{name}, see {publication.license_link}." if publication.license_link else f"{name}."


def _number(value: int) -> str:
    return f"{value:,}"


def _dropped(reasons: dict[str, int]) -> str:
    return (
        ", ".join(f"{reason.removeprefix('dropped:')}: {_number(count)}" for reason, count in reasons.items()) or "none"
    )


def _settings(values: dict[str, Any]) -> str:
    return ", ".join(
        f"{key} {value}" for key, value in values.items() if key not in ("score", "model_digest") and value is not None
    )
