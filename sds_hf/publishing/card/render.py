"""Dataset cards: a function of a recipe and a report. Everything that comes from data is escaped."""

import inspect
import json
import re
from importlib.resources import files
from pathlib import PurePath
from typing import Any

from jinja2 import Environment, StrictUndefined, UndefinedError

from sds_hf.data.labels import UNUSED
from sds_hf.publishing.card.colors import class_color
from sds_hf.publishing.card.handwritten import join_card
from sds_hf.publishing.card.hub_rules import LICENSE_FILES
from sds_hf.publishing.card.markup import code, escape, fenced, link, linked
from sds_hf.publishing.card.metadata import size_category
from sds_hf.scores.base.catalog import score_classes
from sds_hf.scores.base.score import Score
from sds_hf.selection.disclosure import public_name
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.report import Report

COLUMNS = {
    "id": "name of the row, unique",
    "image": "the picture, as the generator wrote it",
    "mask": "8-bit picture of class indices, see Classes",
    "caption": "text the image was generated from, if known",
    "classes": "classes that the mask shows",
    "class_prompt": "names of the classes that were asked for, if known",
    "pcs_low": "the least that pcs can be where it was not computed further, as no rule needed it",
    "pcs_high": "the most it can be then",
    "pcs_shuffles": "number of shuffled versions that pcs, or what it lies between, is made of",
    "skipped_scores": "columns that were not computed for the row, as no rule needed them; their values are null",
    "defect": "what was made wrong on purpose, null if nothing; only where the truth is known",
}
GENERATORS = ("dataset-diffusion", "demo", "diffumask", "sds")  # readers of what is generated
DEMO = "demo"  # a model for the scenes of a reader of that name, and for nothing else

MODELS = ("model", "sam3_model", "regions")  # settings that name checkpoints, whose weights are listed


def render_card(recipe: Recipe, report: Report) -> str:
    """The card of a published selection, YAML and Markdown.

    Args:
        recipe: what was asked, and where it is published.
        report: what was found; its `metadata` goes into the YAML.

    Returns:
        The text of `README.md`.

    Raises:
        ValueError: if the report lacks something that the card says.

    Examples:
        >>> render_card(recipe, selection.report).splitlines()[0]
        '---'
    """
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    environment.filters.update(
        md=escape, linked=linked, code=code, fenced=fenced, link=link, python=_python, number=_number,
        percent=_percent, dropped=_dropped, public_name=public_name, settings=_settings, versions=_versions,
        sentence=_sentence,
    )  # fmt: skip
    template = environment.from_string((files(__package__) / "dataset_card.md.jinja").read_text(encoding="utf-8"))
    publication, terms = recipe.publish, report.provenance.get("terms", {})
    class_table = _class_table(report)
    unseen = [row for row in class_table if row["before"] == 0]
    counted = [row["after"] for row in class_table if row["after"] is not None]
    try:
        body = template.render(
            recipe=recipe,
            report=report,
            title=title_of(recipe),
            address=publication.to or publication.folder or recipe.name,
            recipe_yaml=recipe.to_yaml(),
            columns=_columns(report, is_generated(recipe, report)),
            class_table=[row for row in class_table if row["before"] != 0],
            unseen=unseen,
            has_background=bool(class_table) and class_table[0]["after"] is None and class_table[0]["name"] != UNUSED,
            foreground=len(counted),
            absent=counted.count(0),
            has_quantiles=any(re.search(r"[<>] q[\d.]+", step.rule) for step in report.steps),
            has_worst=any("worst rank in " in step.rule for step in report.steps),
            has_groups=any(re.search("^top .* of each ", step.rule) for step in report.steps),
            scores_published=any(config["config_name"] == "scores" for config in report.metadata.get("configs", [])),
            licence=_licence(recipe),
            terms={name: value for name, value in terms.items() if name != "citation"},
            citations=[text for text in (publication.citation, terms.get("citation")) if text],
            generated=is_generated(recipe, report),
            of_demo_model=knows_other_images(report),
            is_sds=any("SDS" in score.source for name in report.scores if (score := _score_of(name))),
        )
    except UndefinedError as error:
        raise ValueError(f"the report lacks what the card says: {error}; publish again") from error
    return join_card(front_matter(recipe, report), body)


def title_of(recipe: Recipe) -> str:
    """What a card is headed: the recipe's title, else the name of the repository or folder."""
    publication = recipe.publish
    return publication.title or PurePath(publication.to or publication.folder or recipe.name).name


def is_generated(recipe: Recipe, report: Report) -> bool:
    """Whether the images are known to be synthetic: the recipe has the tag, or the source is a generator's.

    Reports of versions that did not record the reader are of cards that said so of every set.
    """
    source = report.provenance.get("source", {})
    readers = {source.get("reader"), recipe.source and recipe.source.reader}
    return "synthetic" in recipe.publish.tags or "reader" not in source or bool(readers & {*GENERATORS})


def knows_other_images(report: Report) -> bool:
    """Whether a model scored that knows nothing but the scenes of the demo, and these are others."""
    reader = report.provenance.get("source", {}).get("reader", DEMO)
    return DEMO in report.provenance.get("models", {}) and reader != DEMO


def front_matter(recipe: Recipe, report: Report) -> dict[str, Any]:
    """The YAML of a card."""
    publication, generated = recipe.publish, is_generated(recipe, report)
    data: dict[str, Any] = {
        "pretty_name": " ".join(title_of(recipe).split()),
        "language": publication.language or None,
        "license": publication.license,
        "license_name": publication.license_name,
        "license_link": publication.license_link,
        "task_categories": ["image-segmentation"],
        "task_ids": ["semantic-segmentation"],
        "annotations_creators": ["machine-generated"] if generated else None,
        "size_categories": [size_category(report.kept)],
        "tags": list(dict.fromkeys([*(["synthetic"] if generated else []), "sds-hf", *publication.tags])),
        **report.metadata,
    }
    return {key: value for key, value in data.items() if value is not None}


def _columns(report: Report, generated: bool) -> list[tuple[str, str]]:
    """Name and meaning of the published columns."""
    meanings = COLUMNS if generated else {**COLUMNS, "image": "the picture, as in the source", "caption": "its caption"}
    features = report.metadata.get("dataset_info", {}).get("features", [])
    names = [feature["name"] for feature in features]
    return [(name, meanings.get(name) or _meaning(name) or "as in the source") for name in names]


def _score_of(column: str) -> type[Score] | None:
    """The score that writes a column, at best the one of that name."""
    writers = (score for score in score_classes().values() if column in {**score.columns, **score.optional_columns})
    return score_classes().get(column) or next(writers, None)


def _meaning(column: str) -> str | None:
    """What the docstring of a score says of a column."""
    score = _score_of(column)
    if score is None:
        return None
    text = inspect.getdoc(score) or ""
    listed = re.search(rf"^ +{re.escape(column)}: (.+(?:\n {{8,}}.+)*)", text, re.MULTILINE)
    meaning = text.split("\n\n")[0] if column == score.name or not listed else listed[1]
    return " ".join(meaning.removeprefix("float32, ").replace("`", "").split()).rstrip(".")


def _class_table(report: Report) -> list[dict[str, Any]]:
    """All classes of the label space; counts are of images, None for the background and for an index not used."""
    labels, counts = report.provenance.get("labels", {}), {count.id: count for count in report.classes}
    names = dict(enumerate(labels.get("names") or [])) or {count.id: count.name for count in report.classes}
    classless = 0 if labels.get("has_background", True) or names.get(0) == UNUSED else None
    rows = []
    for index, name in names.items():
        count = counts.get(index)
        before, after = (count.before, count.after) if count else (0, 0)
        color = "#{:02x}{:02x}{:02x}".format(*class_color(index % 255))
        rows.append({"id": index, "name": name, "before": before, "after": after, "color": color})
        if index == classless:
            rows[-1].update(before=None, after=None, color="none")
    return rows


def _licence(recipe: Recipe) -> str:
    publication = recipe.publish
    if publication.license is None:
        return "The publisher gave no licence. Ask before you use it."
    named = publication.license == "other" and publication.license_name
    name = str(publication.license_name if named else publication.license)
    address = publication.license_link
    return f"{escape(name)}, see {code(address)}." if address in LICENSE_FILES else f"{link(name, address)}."


def _python(value: str) -> str:
    """A string as Python code; JSON's strings are Python's."""
    return json.dumps(value, ensure_ascii=False)


def _number(value: int) -> str:
    return f"{value:,}"


def _percent(part: float, whole: float = 1) -> str:
    return f"{100 * part / whole:.1f}\u00a0%" if whole else "–"


def _dropped(reasons: dict[str, int]) -> str:
    return ", ".join(f"{code(reason)} {_number(count)}" for reason, count in reasons.items()) or "none"


def _settings(values: dict[str, Any], several_models: bool = False) -> str:
    """Settings of a score as one would write them; JSON, so that a report read back gives the same."""
    hidden = {"score", "labels", "statistics", *(f"{name}_digest" for name in MODELS)}
    hidden |= set() if several_models else {"model"}
    return ", ".join(
        f"{key}={json.dumps(public_name(value) if key in MODELS else value)}"
        for key, value in values.items()
        if key not in hidden and value is not None
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _versions(values: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in values.items())
