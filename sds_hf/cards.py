"""Dataset cards: a function of a recipe and a report. Everything that comes from data is escaped."""

import html
import inspect
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined

from sds_hf.labels import VOC
from sds_hf.recipe import Recipe
from sds_hf.report import Report
from sds_hf.score import REGISTRY, Score

SPECIAL = re.compile(r"([\\`*_\[\]|~$#])")
LINE_START = re.compile(r"^(\d{0,9})([-+=.)])")
URL = re.compile(r"(https?://[\w/.~:?#@&=%+,-]*[\w/=])", re.ASCII)
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f\x80-\x84\x86-\x9f]")
COLUMNS = {
    "id": "name of the row, unique",
    "image": "the picture, as the generator wrote it",
    "mask": "8-bit picture of class indices, see Classes",
    "caption": "text the image was generated from, if known",
    "classes": "classes that the mask shows",
    "class_prompt": "names of the classes that were asked for, if known",
    "defect": "what was made wrong on purpose, null if nothing; only where the truth is known",
}


def render_card(recipe: Recipe, report: Report) -> str:
    """The card of a published selection, YAML and Markdown.

    Args:
        recipe: what was asked, and where it is published.
        report: what was found; its `metadata` goes into the YAML.

    Returns:
        The text of `README.md`.
    """
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    environment.filters.update(
        md=escape, code=code, python=_python, number=_number, percent=_percent, dropped=_dropped, place=public_name,
        settings=_settings, versions=_versions, fenced=fenced,
    )  # fmt: skip
    template = environment.from_string((files("sds_hf") / "templates" / "dataset_card.md.jinja").read_text())
    publication = recipe.publish
    body = template.render(
        recipe=recipe,
        report=report,
        title=publication.title or recipe.name,
        address=publication.to or publication.folder or recipe.name,
        recipe_yaml=recipe.to_yaml(),
        columns=_columns(report),
        class_table=_class_table(report),
        has_quantiles=any(re.search(r"[<>] q[\d.]+", step.rule) for step in report.steps),
        has_groups=any(step.rule.startswith("top ") for step in report.steps),
        scores_published=any(config["config_name"] == "scores" for config in report.metadata.get("configs", [])),
        licence=_licence(recipe),
        is_sds=any("SDS" in score.source for name in report.scores if (score := _score_of(name))),
    )
    return f"---\n{_front_matter(recipe, report)}---\n\n{body.rstrip()}\n"


def escape(value: Any) -> str:
    """Text that stays text in Markdown, HTML and tables; only web addresses become links."""
    words = " ".join(CONTROL.sub("\ufffd", str(value)).split())
    parts = [
        f"<{part}>" if place % 2 else SPECIAL.sub(r"\\\1", html.escape(part, quote=False))
        for place, part in enumerate(URL.split(words))
    ]
    return LINE_START.sub(r"\1\\\2", "".join(parts))


def code(value: Any) -> str:
    """Text as code that stays in its cell of a table; as plain text where code could not hold it."""
    text = " ".join(CONTROL.sub("\ufffd", str(value)).split())
    return escape(text) if not text or re.search(r"[\\`|]", text) else f"`{text}`"


def fenced(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any run of backticks inside."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _front_matter(recipe: Recipe, report: Report) -> str:
    publication = recipe.publish
    data: dict[str, Any] = {
        "pretty_name": " ".join((publication.title or recipe.name).split()),
        "license": publication.license,
        "license_name": publication.license_name,
        "license_link": publication.license_link,
        "task_categories": ["image-segmentation"],
        "task_ids": ["semantic-segmentation"],
        "annotations_creators": ["machine-generated"],
        "size_categories": [_size_category(report.kept)],
        "tags": ["synthetic", "sds-hf", *publication.tags],
        **report.metadata,
    }
    text: str = yaml.safe_dump(
        {key: value for key, value in data.items() if value is not None}, sort_keys=False, allow_unicode=True, width=120
    )
    return text


def _size_category(rows: int) -> str:
    """As the Hub names it: n<1K, 1K<n<10K and so on to n>1T."""
    steps = ["1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T"]
    place = max(0, len(str(rows)) - 3)
    if place >= len(steps):
        return "n>1T"
    return f"{steps[place - 1]}<n<{steps[place]}" if place else "n<1K"


def _columns(report: Report) -> list[tuple[str, str]]:
    """Name and meaning of the published columns."""
    features = report.metadata.get("dataset_info", {}).get("features", [])
    names = [feature["name"] for feature in features]
    return [(name, COLUMNS.get(name) or _meaning(name) or "as in the source") for name in names]


def _score_of(column: str) -> type[Score] | None:
    """The score that writes a column, at best the one of that name."""
    writers = (score for score in REGISTRY.values() if column in score.columns)
    return REGISTRY.get(column) or next(writers, None)


def _meaning(column: str) -> str | None:
    """What the docstring of a score says of a column."""
    score = _score_of(column)
    if score is None:
        return None
    text = inspect.getdoc(score) or ""
    listed = re.search(rf"^ +{re.escape(column)}: (.+(?:\n {{8,}}.+)*)", text, re.MULTILINE)
    meaning = text.split("\n\n")[0] if column == score.name or not listed else listed[1]
    return " ".join(meaning.removeprefix("float32, ").split()).rstrip(".").replace("|", r"\|")


def _class_table(report: Report) -> list[dict[str, Any]]:
    """All classes of the label space; counts are of images, None for the background."""
    labels, counts = report.provenance.get("labels", {}), {count.id: count for count in report.classes}
    names = dict(enumerate(labels.get("names") or [])) or {count.id: count.name for count in report.classes}
    background = 0 if labels.get("has_background", True) else None
    rows = []
    for index, name in names.items():
        count = counts.get(index)
        before, after = (count.before, count.after) if count else (0, 0)
        color = "#{:02x}{:02x}{:02x}".format(*VOC.palette[index])
        rows.append({"id": index, "name": name, "before": before, "after": after, "color": color})
        if index == background:
            rows[-1].update(before=None, after=None, color="none")
    return rows


def _licence(recipe: Recipe) -> str:
    publication = recipe.publish
    if publication.license is None:
        return "The publisher gave no licence. Ask before you use it."
    named = publication.license == "other" and publication.license_name
    name = escape(publication.license_name if named else publication.license)
    link = publication.license_link
    if not link:
        return f"{name}."
    return f"{name}, see {escape(link)}." if URL.fullmatch(link) else f"{name}, see {code(link)}."


def _python(value: str) -> str:
    """A string as Python code; JSON's strings are Python's."""
    return json.dumps(value, ensure_ascii=False)


def _number(value: int) -> str:
    return f"{value:,}"


def _percent(part: float, whole: float = 1) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def _dropped(reasons: dict[str, int]) -> str:
    return ", ".join(f"{code(reason)} {_number(count)}" for reason, count in reasons.items()) or "none"


def public_name(name: str) -> str:
    """What to call a source or model elsewhere: a folder of the publisher's machine by its last part only."""
    return Path(name).name if Path(name).is_absolute() else name


def _settings(values: dict[str, Any], several_models: bool = False) -> str:
    """Settings of a score as one would write them; JSON, so that a report read back gives the same."""
    hidden = {"score", "model_digest", "labels", "statistics"} | (set() if several_models else {"model"})
    return ", ".join(
        f"{key}={json.dumps(public_name(value) if key == 'model' else value)}"
        for key, value in values.items()
        if key not in hidden and value is not None
    )


def _versions(values: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in values.items())
