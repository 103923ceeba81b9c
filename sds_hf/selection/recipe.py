"""A selection written down: source, scores, rules and publication in one YAML file."""

import copy
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer, field_validator, model_validator

from sds_hf.errors import SettingsError, no_such, one_line, short
from sds_hf.limits import MOST_TEXT, read_yaml
from sds_hf.scores.base.catalog import default_settings, recipe_settings, score_classes
from sds_hf.scores.base.presets import field_names, preset, preset_names
from sds_hf.scores.base.score import ClipScore, Score
from sds_hf.selection.disclosure import disclosed, public_name
from sds_hf.selection.gate import Gate
from sds_hf.selection.rules import RULES, Rule, make_rule
from sds_hf.selection.yaml_text import apply_override, to_yaml


class Origin(BaseModel):
    """Something the images or masks come from: a generator, a dataset, artwork.

    Attributes:
        name: what it is called.
        role: what it was for, e.g. `generator`, `prompts`, `artwork`.
        license: its licence.
        link: where it is found.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    role: str = "source"
    license: str | None = None
    link: str | None = None


class Publication(BaseModel):
    """Where the selection goes and what its card says of it.

    Attributes:
        to: Hub id, `user/name`.
        folder: a folder instead.
        title: of the card; the name of the repository or folder if None.
        license: id of the Hub; `other` needs the name and a link (`LICENSE`, `LICENSE.md` or a web address).
        license_name: of a licence the Hub has no id for.
        license_link: its text.
        language: of the captions, ISO 639 codes.
        description: a paragraph below the first.
        attribution: who made what the set is made from; a paragraph.
        origins: the same as a table, with licences.
        citation: BibTeX of what users are to cite besides the method.
        tags: further tags of the card.
        private: whether a new repository on the Hub is private; the account's default if None.
        tag: of the version on the Hub; `v1`, `v2`, ... if None.
        gate: limits that a new version has to keep to be published.
        truth: column that tells what was made wrong on purpose, null if nothing.
        mask_palette: whether masks carry the palette of their classes, so that the Hub's viewer shows colours. Many
            programs then read colours and not indices, among them OpenCV, imageio, scikit-image and matplotlib.
    """

    model_config = ConfigDict(extra="forbid")

    to: str | None = None
    folder: str | None = None
    title: str | None = None
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    language: list[str] = Field(default_factory=list)
    description: str | None = None
    attribution: str | None = None
    origins: list[Origin] = Field(default_factory=list)
    citation: str | None = None
    tags: list[str] = Field(default_factory=list)
    private: bool | None = None
    tag: str | None = None
    gate: Gate = Field(default_factory=Gate)
    truth: str | None = None
    mask_palette: bool = False


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
    mask_end: str | None = None
    table: str | None = None
    columns: str | None = None
    ignore: int | None = None
    classes: str | None = None
    crowd: str | None = None
    instances: bool | None = None
    on_missing: str | None = None
    on_error: str | None = None
    dataset: str | None = None
    config: str | None = None
    revision: str | None = None
    split: str | None = None

    def reader_options(self) -> dict[str, Any]:
        """What a reader is told."""
        return self.model_dump(exclude={"path", "reader", "dataset", "config", "revision"}, exclude_none=True)


class Recipe(BaseModel):
    """Scores and rules in order. `Recipe.load("sds-paper")` is the paper's.

    Attributes:
        name: of the recipe.
        source: where candidates come from, if `run` is to know.
        model: CLIP of all scores that do not name another.
        preset: named mode whose settings the scores have where they do not say otherwise, and whose rules the recipe
            has if it gives none (an empty list is some); see `Score.preset`.
        scores: settings by score name, in order.
        rules: what keeps rows, in order.
        publish: where the selection goes.

    Examples:
        >>> Recipe(name="mine", rules=[Threshold("pcs", 0.1)]).rules[0].label
        'pcs > 0.1'
        >>> Recipe.load("sds-paper", ["model=demo"]).model
        'demo'
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    name: str = "recipe"
    source: Source | None = None
    model: str | None = None
    preset: str | None = None
    scores: dict[str, dict[str, Any]] = Field(default_factory=dict)
    rules: list[Any] = Field(default_factory=list)
    publish: Publication = Field(default_factory=Publication)

    def __init__(self, *names: str, **data: Any) -> None:
        if names:
            raise RecipeError(f"settings are given by name; a recipe file or a name: Recipe.load({names[0]!r})")
        try:
            super().__init__(**data)
        except ValidationError as error:
            own = [name for name in data if name in score_classes()]
            hint = f"; settings of a score stand below `scores`: scores.{own[0]}" if own else ""
            raise RecipeError(one_line(error, _possible()) + hint) from None

    @model_validator(mode="before")
    @classmethod
    def _rules_of_preset(cls, data: Any) -> Any:
        return _with_rules(data) if isinstance(data, dict) else data

    @field_validator("preset")
    @classmethod
    def _known_preset(cls, value: str | None) -> str | None:
        if value is not None:
            preset(value)
        return value

    @field_validator("scores", mode="before")
    @classmethod
    def _known_scores(cls, value: Any) -> Any:
        classes = score_classes()
        if not isinstance(value or {}, dict):
            raise ValueError(f"must be a mapping of names to settings, not {value!r}; there are {sorted(classes)}")
        if unknown := [name for name in value or {} if name not in classes]:
            raise ValueError(no_such("score", unknown[0], classes))
        return {name: settings or {} for name, settings in (value or {}).items()}

    @field_validator("rules", mode="before")
    @classmethod
    def _known_rules(cls, value: Any) -> list[Rule]:
        if not isinstance(value or [], list):
            raise ValueError(f"must be a list, each entry one of {sorted(RULES)} with its settings, not {value!r}")
        return [rule if isinstance(rule, Rule) else make_rule(index, rule) for index, rule in enumerate(value or [])]

    @field_serializer("rules")
    def _plain_rules(self, rules: list[Rule]) -> list[dict[str, Any]]:
        return [{rule.kind: rule.settings()} for rule in rules]

    @classmethod
    def load(cls, name: str | Path, overrides: Iterable[str] = ()) -> "Recipe":
        """A recipe file, or a recipe of the package by its name.

        Args:
            name: path of a YAML file or a name from `recipe_names()`.
            overrides: settings such as `rules.0.threshold.above=0.7` or `model=demo`.

        Raises:
            RecipeError: if there is none or it makes no sense.
        """
        if Path(name).is_file():
            with Path(name).open("rb") as file:
                text = file.read(MOST_TEXT + 1)
        elif name in recipe_names():
            text = (files("sds_hf") / "selection" / "recipes" / f"{name}.yaml").read_bytes()
        else:
            raise RecipeError(f"no recipe file {str(name)!r}, and {no_such('recipe', str(name), recipe_names())}")
        return cls.from_yaml(text, overrides)

    @classmethod
    def from_yaml(cls, text: str | bytes, overrides: Iterable[str] = ()) -> "Recipe":
        """See `load`."""
        try:
            data = read_yaml(text, "the recipe")
        except ValueError as error:
            raise RecipeError(str(error)) from error
        if not isinstance(data, dict):
            what = "it is empty" if data is None else f"not {short(data)}"
            raise RecipeError(f"a recipe is a mapping with name, scores and rules; {what}")
        return cls.from_dict(data, overrides)

    @classmethod
    def from_dict(cls, data: dict[str, Any], overrides: Iterable[str] = ()) -> "Recipe":
        """See `load`; `data` is changed by the overrides."""
        try:
            for override in overrides:
                data = _with_rules(data) if override.startswith("rules.") else data
                apply_override(data, override)
        except ValueError as error:
            raise RecipeError(str(error)) from error
        recipe = cls(**{str(name): value for name, value in data.items()})
        recipe.make_scores()
        return recipe

    @classmethod
    def of(cls, rules: "Recipe | Rule | Iterable[Rule] | str | Path") -> "Recipe":
        """What a person names a recipe by: itself, a rule or rules in order, a name as in `load`, or a path.

        Raises:
            RecipeError: if it is none of these.
        """
        if isinstance(rules, Recipe):
            return rules
        if isinstance(rules, (str, Path)):
            return cls.load(rules)
        several = isinstance(rules, Iterable) and not isinstance(rules, (Rule, dict)) and not hasattr(rules, "features")
        entries: list[Any] = list(cast(Iterable[Any], rules)) if several else [rules]
        if strange := [entry for entry in entries if not isinstance(entry, (Rule, dict))]:
            what = short(strange[0])
            raise RecipeError(f'rules are a Recipe, its name or path, or such as Threshold("pcs", 0.1), not {what}')
        return cls(rules=entries)

    def to_yaml(self) -> str:
        """The recipe as YAML; reading it gives the same recipe."""
        data = self.model_dump(exclude_none=True, exclude_defaults=True)
        if self.preset:  # without a list of rules it would stand for the preset's
            data.setdefault("rules", [])
        return to_yaml({"name": self.name, **data})

    def gated(self, limits: Iterable[str]) -> "Recipe":
        """This recipe with further limits for publishing, e.g. `max_class_loss=20%`.

        Raises:
            ValueError: if there is no such limit or it makes no sense.
        """
        gate = self.publish.gate.merged(Gate.parse(limits))
        return self.model_copy(update={"publish": self.publish.model_copy(update={"gate": gate})})

    def make_scores(self, **defaults: Any) -> list[Score]:
        """The scores; `defaults`, the recipe's model and its preset apply where a score does not say otherwise.

        Raises:
            RecipeError: names the score and the setting.
        """
        scores, common = [], {key: value for key, value in defaults.items() if value is not None}
        for name, own_settings in self.scores.items():
            score = score_classes()[name]
            names = field_names(score)
            named = score.preset_settings(self.preset) if self.preset else {}
            shared = {"model": self.model, **common} if issubclass(score, ClipScore) else common
            settings = {key: value for key, value in shared.items() if value is not None and key in names}
            try:
                scores.append(score(**{**settings, **named, **own_settings}))
            except SettingsError as error:
                raise RecipeError(f"score {name}: {error.problem}") from error
        return scores

    def computed_as(self, identities: Iterable[Mapping[str, Any]]) -> "Recipe":
        """This recipe, saying how the scores were computed that its rules are applied to.

        Args:
            identities: `Score.identity()` of each score, as the manifest of a score table has them.
        """
        settings_by_score = {
            identity["score"]: default_settings(identity["score"]) | recipe_settings(identity)
            for identity in identities
            if identity["score"] in score_classes()
        }
        settings_by_score.pop("classes_present", None)  # comes by itself
        if settings_by_score == {
            score.name: recipe_settings({"score": score.name, **score.values()}) for score in self.make_scores()
        }:
            return self
        models = {settings["model"] for settings in settings_by_score.values() if "model" in settings}
        model = models.pop() if len(models) == 1 else None
        common = {"model": model} if model else {}
        scores = {
            name: {key: value for key, value in settings.items() if (common | default_settings(name)).get(key) != value}
            for name, settings in settings_by_score.items()
        }
        return self.model_copy(update={"scores": scores, "model": model, "preset": None})

    def disclosed(self) -> "Recipe":
        """As it may be published: without the folders of this machine."""
        return self.model_copy(
            update={
                "source": self.source and Source.model_validate(disclosed(self.source.model_dump())),
                "model": self.model and public_name(self.model),
                "scores": disclosed(self.scores),
            }
        )


def _possible() -> dict[tuple[str, ...], list[str]]:
    """Settings of a recipe and its parts."""
    parts: dict[tuple[str, ...], type[BaseModel]] = {(): Recipe, ("source",): Source, ("publish",): Publication}
    parts[("publish", "gate")] = Gate
    return {path: list(part.model_fields) for path, part in parts.items()}


def recipe_names() -> list[str]:
    """Recipes of the package."""
    return sorted(
        path.name.removesuffix(".yaml")
        for path in (files("sds_hf") / "selection" / "recipes").iterdir()
        if path.name.endswith(".yaml")
    )


def _with_rules(data: dict[str, Any]) -> dict[str, Any]:
    """A recipe that names a preset and gives no rules, with the preset's."""
    name = data.get("preset")
    if data.get("rules") is not None or not isinstance(name, str) or name not in preset_names():
        return data
    return {**data, "rules": copy.deepcopy(preset(name)["rules"])}
