"""A selection written down: source, scores, rules and publication in one YAML file."""

from collections.abc import Iterable
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer, field_validator

import sds_hf.scores  # noqa: F401  (fills the registry)
from sds_hf.rules import RULES, Rule
from sds_hf.score import REGISTRY, ClipScore, Score, field_names


class RecipeError(ValueError):
    """A recipe that makes no sense; the message names the field, what was given and what is possible."""


class Source(BaseModel):
    """Where the candidates come from: a raw folder with its reader, or a dataset."""

    model_config = ConfigDict(extra="forbid")

    path: str | None = None
    reader: str = "auto"
    labels: str | None = None
    ids: str | None = None
    prompts: str | None = None
    images: str | None = None
    masks: str | None = None
    table: str | None = None
    dataset: str | None = None
    split: str | None = None

    def reader_options(self) -> dict[str, Any]:
        """What a reader is told."""
        names = ("labels", "ids", "prompts", "images", "masks", "table", "split")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class Publication(BaseModel):
    """Where the selection goes and what its card says of it."""

    model_config = ConfigDict(extra="forbid")

    to: str | None = None
    folder: str | None = None
    title: str | None = None
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    description: str | None = None
    attribution: str | None = None
    tags: list[str] = Field(default_factory=list)
    private: bool | None = None
    tag: str | None = None


class Recipe(BaseModel):
    """Scores and rules in order. `Recipe.load("sds-paper")` is the paper's.

    Attributes:
        name: of the recipe.
        source: where candidates come from, if `run` is to know.
        model: CLIP of all scores that do not name another.
        scores: settings by score name, in order.
        rules: what keeps rows, in order.
        publish: where the selection goes.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    name: str = "recipe"
    source: Source | None = None
    model: str | None = None
    scores: dict[str, dict[str, Any]] = Field(default_factory=dict)
    rules: list[Any] = Field(default_factory=list)
    publish: Publication = Field(default_factory=Publication)

    @field_validator("scores", mode="before")
    @classmethod
    def _known_scores(cls, value: Any) -> Any:
        value = {name: settings or {} for name, settings in (value or {}).items()}
        if unknown := set(value) - set(REGISTRY):
            raise ValueError(f"no score {sorted(unknown)}; there are {sorted(REGISTRY)}")
        return value

    @field_validator("rules", mode="before")
    @classmethod
    def _known_rules(cls, value: Any) -> list[Rule]:
        return [rule if isinstance(rule, Rule) else _make_rule(place, rule) for place, rule in enumerate(value or [])]

    @field_serializer("rules")
    def _plain_rules(self, rules: list[Rule]) -> list[dict[str, Any]]:
        return [{rule.kind: _settings(rule)} for rule in rules]

    @classmethod
    def load(cls, name: str | Path, overrides: Iterable[str] = ()) -> "Recipe":
        """A recipe file, or a recipe of the package by its name.

        Args:
            name: path of a YAML file or a name from `recipe_names()`.
            overrides: settings such as `rules.0.threshold.above=0.7` or `model=demo`.

        Raises:
            RecipeError: if there is none or it makes no sense.
        """
        path = Path(name)
        packaged = files("sds_hf") / "recipes" / f"{name}.yaml"
        if path.is_file():
            text = path.read_text()
        elif packaged.is_file():
            text = packaged.read_text()
        else:
            raise RecipeError(f"no recipe {str(name)!r}: neither a file nor one of {recipe_names()}")
        return cls.from_yaml(text, overrides)

    @classmethod
    def from_yaml(cls, text: str, overrides: Iterable[str] = ()) -> "Recipe":
        """See `load`."""
        try:
            data = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise RecipeError(f"the recipe is no YAML: {' '.join(str(error).split())}") from error
        if not isinstance(data, dict):
            raise RecipeError("a recipe is a mapping with name, scores and rules")
        for override in overrides:
            _set(data, override)
        try:
            recipe = cls.model_validate(data)
            recipe.make_scores()
        except ValidationError as error:
            raise RecipeError(one_line(error)) from error
        return recipe

    def to_yaml(self) -> str:
        """The recipe as YAML; reading it gives the same recipe."""
        data = self.model_dump(exclude_none=True, exclude_defaults=True)
        text: str = yaml.safe_dump({"name": self.name, **data}, sort_keys=False, allow_unicode=True, width=120)
        return text

    def make_scores(self, **defaults: Any) -> list[Score]:
        """The scores; `defaults` and the recipe's model apply where a score does not say otherwise.

        Raises:
            RecipeError: names the score and the setting.
        """
        made = []
        for name, given in self.scores.items():
            score = REGISTRY[name]
            known = field_names(score)
            shared = {"model": self.model, **defaults} if issubclass(score, ClipScore) else defaults
            settings = {key: value for key, value in shared.items() if value is not None and key in known}
            try:
                made.append(score(**{**settings, **given}))
            except ValidationError as error:
                raise RecipeError(f"score {name}: {one_line(error)}") from error
        return made


def recipe_names() -> list[str]:
    """Recipes of the package."""
    return sorted(
        path.name.removesuffix(".yaml")
        for path in (files("sds_hf") / "recipes").iterdir()
        if path.name.endswith(".yaml")
    )


def one_line(error: ValidationError) -> str:
    """What is wrong with which field, what was given, what is possible."""
    parts = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"]) or "recipe"
        given = "" if problem["type"] in ("value_error", "missing") else f", not {problem['input']!r}"
        if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            parts.append(f"{where}: there is no such setting")
        else:
            parts.append(f"{where}: {problem['msg'].removeprefix('Value error, ').removeprefix('Input ')}{given}")
    return "; ".join(parts)


def _settings(rule: Rule) -> dict[str, Any]:
    values = {field.name: getattr(rule, field.name) for field in fields(rule)}
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in values.items() if value is not None
    }


def _make_rule(place: int, given: Any) -> Rule:
    if not isinstance(given, dict) or len(given) != 1:
        raise ValueError(f"rule {place} must be one of {sorted(RULES)} with its settings, not {given!r}")
    ((kind, settings),) = given.items()
    if kind not in RULES:
        raise ValueError(f"rule {place}: no rule {kind!r}; there are {sorted(RULES)}")
    try:
        return RULES[kind](**(settings or {}))
    except ValidationError as error:
        raise ValueError(f"rule {place}, {kind}: {one_line(error)}") from error


def _set(data: Any, override: str) -> None:
    """Apply `a.b.0.c=value` to nested dicts and lists; the value is read as YAML."""
    key, equals, text = override.partition("=")
    if not equals:
        raise RecipeError(f"--set takes key=value, e.g. rules.0.threshold.above=0.7, not {override!r}")
    *parents, last = key.split(".")
    for part in parents:
        try:
            data = data[int(part)] if isinstance(data, list) else data.setdefault(part, {})
        except (IndexError, ValueError, AttributeError) as error:
            raise RecipeError(f"--set {override}: the recipe has no {part!r} there") from error
    value = yaml.safe_load(text)
    try:
        data[int(last) if isinstance(data, list) else last] = value
    except (IndexError, ValueError, TypeError) as error:
        raise RecipeError(f"--set {override}: the recipe has no {last!r} there") from error
