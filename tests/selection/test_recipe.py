"""Recipes: YAML there and back, settings from outside, and one line for everything that makes no sense."""

import json
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sds_hf import ASF, PCS, ClassesPresent, ClipSim, Recipe, Threshold, TopPerGroup
from sds_hf.scores.base.catalog import score_classes
from sds_hf.selection.recipe import RecipeError, recipe_names
from sds_hf.selection.rules import RULES as KINDS

EVERYTHING = """
name: mine
source: {path: gen_voc, reader: dataset-diffusion, labels: voc}
model: openai/clip-vit-base-patch16
scores:
  pcs: {scales: [8, 16], orders: 2, seed: 3}
  asf_miou:
rules:
  - threshold: {column: clip_sim, above: 0.8}
  - threshold: {column: pcs, above: q0.15, below: 0.9}
  - top_per_group: {column: asf_miou, by: [num_classes_present, classes_present], fraction: 0.6}
publish: {to: user/sds-voc, license: other, tags: [a, b]}
"""
BOTH = ("num_classes_present", "classes_present")


# There and back


def test_everything_is_read():
    recipe = Recipe.from_yaml(EVERYTHING)
    assert (recipe.name, recipe.model) == ("mine", "openai/clip-vit-base-patch16")
    assert (recipe.source.path, recipe.source.reader, recipe.source.split) == ("gen_voc", "dataset-diffusion", None)
    assert recipe.scores == {"pcs": {"scales": [8, 16], "orders": 2, "seed": 3}, "asf_miou": {}}
    assert recipe.rules == [
        Threshold(column="clip_sim", above=0.8),
        Threshold(column="pcs", above="q0.15", below=0.9),
        TopPerGroup(column="asf_miou", by=BOTH, fraction=0.6),
    ]
    assert (recipe.publish.to, recipe.publish.tags) == ("user/sds-voc", ["a", "b"])


@pytest.mark.parametrize(
    "text", [EVERYTHING, "{}", "name: x\nrules:\nscores:", "rules: [threshold: {column: a, below: -1}]"]
)
def test_yaml_there_and_back(text, tmp_path):
    recipe = Recipe.from_yaml(text)
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    for path in (tmp_path / "recipe.yaml", str(tmp_path / "recipe.yaml")):
        assert Recipe.load(path) == recipe
    assert "null" not in recipe.to_yaml()


def test_a_recipe_made_in_python_is_written_too():
    recipe = Recipe(
        scores={"pcs": {"scales": (8, 16)}},
        rules=[Threshold(column="pcs", above=0.1), TopPerGroup(column="pcs", by="classes_present", fraction=0.5)],
    )
    assert yaml.safe_load(recipe.to_yaml()) == {
        "name": "recipe",
        "scores": {"pcs": {"scales": [8, 16]}},
        "rules": [
            {"threshold": {"column": "pcs", "above": 0.1}},
            {"top_per_group": {"column": "pcs", "by": ["classes_present"], "fraction": 0.5}},
        ],
    }
    again = Recipe.from_yaml(recipe.to_yaml())
    assert again.rules == recipe.rules
    assert again.make_scores() == recipe.make_scores()


name = st.text("abc_ é'\":#0", min_size=1, max_size=6)
bound = st.floats(allow_nan=False) | st.integers(-5, 5) | st.floats(0, 1).map(lambda q: f"q{q:.3f}")
rule = st.builds(Threshold, column=name, above=bound, below=st.none() | bound) | st.builds(
    TopPerGroup,
    column=name,
    by=st.lists(name, min_size=1, max_size=3).map(tuple),
    fraction=st.floats(0, 1, exclude_min=True),
)


@given(name, st.none() | name, st.lists(rule, max_size=4))
def test_any_recipe_survives_yaml(given_name, model, rules):
    recipe = Recipe(name=given_name, model=model, rules=rules)
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe


def test_recipes_of_the_package():
    paper, demo, authors = (Recipe.load(name) for name in ("sds-paper", "demo", "sds-authors"))
    assert (paper.name, demo.name, authors.name) == ("sds-paper", "demo", "sds-authors")
    assert paper.rules == demo.rules == [
        Threshold(column="clip_sim", above=0.8),
        Threshold(column="pcs", above=0.1),
        TopPerGroup(column="asf_miou", by=BOTH, fraction=0.6),
    ]  # fmt: skip
    assert paper.make_scores() == [
        PCS(model="openai/clip-vit-base-patch16", scales=(8, 16, 32), orders=3, seed=0),
        ASF(model="openai/clip-vit-base-patch16", refine="crf"),
    ]
    assert [getattr(score, "model", None) for score in demo.make_scores()] == ["demo", "demo", None]
    assert authors.make_scores() == [score.preset("authors", model=paper.model) for score in (PCS, ASF)]
    for recipe in (paper, demo, authors):
        assert Recipe.from_yaml(recipe.to_yaml()) == recipe
        written = {column for score in recipe.make_scores() for column in score.columns}
        read = {column for rule in recipe.rules for column in rule.reads}
        assert read <= written | set(ClassesPresent.columns)


# Scores


def test_scores_share_the_model_unless_they_say_otherwise():
    recipe = Recipe.from_yaml(
        "{model: demo, scores: {pcs: {}, clip_sim: {model: other, dtype: bf16}, classes_present: {}}}"
    )
    assert recipe.make_scores() == [PCS(model="demo"), ClipSim(model="other", dtype="bf16"), ClassesPresent()]
    assert recipe.make_scores(labels="coco", dtype="fp32", model=None) == [
        PCS(model="demo", labels="coco", dtype="fp32"),
        ClipSim(model="other", labels="coco", dtype="bf16"),
        ClassesPresent(labels="coco"),
    ]
    assert recipe.make_scores(model="third")[0] == PCS(model="third")
    assert Recipe.from_yaml("scores: {pcs: {}}").make_scores() == [PCS()]


# Presets

AUTHORS = "{name: x, model: demo, preset: authors, scores: {pcs: {seed: 3}, clip_sim: {resolution: 256}}}"


def test_a_preset_gives_settings_to_the_scores_asked_for_and_rules():
    recipe = Recipe.from_yaml(AUTHORS)
    assert recipe.make_scores() == [
        PCS.preset("authors", model="demo", seed=3),
        ClipSim.preset("authors", model="demo", resolution=256),
    ]
    assert recipe.rules == [
        Threshold(column="pcs", above=0.1),
        TopPerGroup(column="asf_miou", by=("num_classes_present",), fraction=0.6),
    ]
    assert recipe.make_scores(dtype="fp32", model="other")[0] == PCS.preset(
        "authors", model="other", dtype="fp32", seed=3
    )


def test_a_preset_made_in_python():
    recipe = Recipe(preset="cosine", scores={"pcs": {}})
    assert recipe.make_scores() == [PCS(similarity="cosine")]
    assert recipe.rules[0] == Threshold(column="clip_sim", above="q0.2")
    with pytest.raises(ValueError, match="no preset 'x'"):
        Recipe(preset="x")


def test_rules_given_are_kept_even_if_there_are_none():
    mine = Recipe.from_yaml("{preset: authors, rules: [threshold: {column: pcs, above: 0.3}]}")
    assert mine.rules == [Threshold(column="pcs", above=0.3)]
    assert Recipe.from_yaml("{preset: authors, rules: []}").rules == []
    assert len(Recipe.from_yaml("{preset: authors, rules: }").rules) == 2
    assert Recipe.load("demo", ["preset=authors"]).rules == Recipe.load("demo").rules


def test_rules_of_a_preset_can_be_changed_from_outside():
    recipe = Recipe.from_yaml(AUTHORS, ["rules.0.threshold.above=0.2", "rules.1.top_per_group.fraction=0.5"])
    assert (recipe.rules[0].above, recipe.rules[1].fraction) == (0.2, 0.5)
    assert Recipe.from_yaml(AUTHORS).rules[0].above == 0.1  # the preset itself has not changed
    other = Recipe.from_yaml(AUTHORS, ["preset=authors-0515"])
    assert other.rules[0] == Threshold(column="clip_sim", below=1)


@pytest.mark.parametrize("rules", ["", ", rules: []", ", rules: [threshold: {column: a, below: 1}]"])
@pytest.mark.parametrize("name", ["paper", "cosine", "authors-0515"])
def test_a_recipe_with_a_preset_says_so_when_it_is_written(name, rules):
    recipe = Recipe.from_yaml(f"{{preset: {name}, scores: {{pcs: {{}}}}{rules}}}")
    written = yaml.safe_load(recipe.to_yaml())
    assert written["preset"] == name
    assert len(written["rules"]) == len(recipe.rules)  # in full, whatever the preset may be in a later version
    again = Recipe.from_yaml(recipe.to_yaml())
    assert again == recipe
    assert again.make_scores() == recipe.make_scores()


def test_a_preset_that_was_not_what_was_computed_is_dropped():
    recipe = Recipe.from_yaml(AUTHORS)
    same = [{**score.values(), "score": score.name} for score in recipe.make_scores()]
    assert recipe.computed_as(json.loads(json.dumps(same))) is recipe
    other = [{**score.values(), "score": score.name} for score in (PCS.preset("authors", seed=5, model="demo"),)]
    computed = Recipe.from_yaml(recipe.computed_as(json.loads(json.dumps(other))).to_yaml())
    assert (computed.preset, computed.model, computed.rules) == (None, "demo", recipe.rules)
    assert computed.make_scores() == [PCS.preset("authors", seed=5, model="demo")]


def test_settings_that_did_not_exist_when_scores_were_computed_had_their_defaults():
    recipe = Recipe.load("demo")
    old = [{**score.values(), "score": score.name} for score in recipe.make_scores()]
    for identity in old:
        identity.pop("position", None)
    assert recipe.computed_as(json.loads(json.dumps(old))) is recipe


# Settings from outside


@pytest.mark.parametrize(
    ("override", "value", "found"),
    [
        ("model=demo", "demo", lambda recipe: recipe.model),
        ("name=", None, None),
        ("rules.0.threshold.above=0.7", 0.7, lambda recipe: recipe.rules[0].above),
        ("rules.0.threshold.above=1e-3", 0.001, lambda recipe: recipe.rules[0].above),
        ("rules.-1.top_per_group.fraction=1", 1.0, lambda recipe: recipe.rules[2].fraction),
        ("rules.1.threshold.above=q0.2", "q0.2", lambda recipe: recipe.rules[1].above),
        ("rules=[]", [], lambda recipe: recipe.rules),
        ("scores.pcs.scales=[4, 8]", (4, 8), lambda recipe: recipe.make_scores()[0].scales),
        ("scores.clip_sim.similarity=cosine", "cosine", lambda recipe: recipe.make_scores()[-1].similarity),
        ("source.dataset=user/raw=x", "user/raw=x", lambda recipe: recipe.source.dataset),
        ("publish.private=true", True, lambda recipe: recipe.publish.private),
    ],
)
def test_overrides(override, value, found):
    if found is None:
        with pytest.raises(RecipeError, match="name: must be a text, not None"):
            Recipe.load("sds-paper", [override])
    else:
        assert found(Recipe.load("sds-paper", [override])) == value


def test_overrides_apply_in_order():
    recipe = Recipe.load("demo", ["rules=[]", "scores={}", "scores.clip_sim.model=x", "name=mine"])
    assert (recipe.rules, recipe.scores, recipe.name) == ([], {"clip_sim": {"model": "x"}}, "mine")
    assert len(Recipe.load("demo").rules) == 3


# What makes no sense

RULES = re.escape(str(sorted(KINDS)))
SCORES = ", ".join(sorted(score_classes()))
QUANTILE = 'above: must be a number or a quantile from "q0" to "q1" such as "q0.15", not '


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1", "the recipe is no YAML: .*expected ',' or ']'"),
        (b"PAR1\x00\xff\xfe", "the recipe is no YAML: "),
        ("- a", r"a recipe is a mapping with name, scores and rules; not \['a'\]"),
        ("", "a recipe is a mapping with name, scores and rules; it is empty$"),
        (
            "rule: []",
            r"rule: there is no such setting, only \['name', 'source', 'model', 'preset', 'scores', 'rules', 'pub",
        ),
        ("name: 5", "name: must be a text, not 5"),
        ("source: gen_voc", r"source: must be a mapping, not 'gen_voc'; its settings are \['path', 'reader', "),
        ("source: {dir: x}", r"source\.dir: there is no such setting, only \['path', 'reader', 'labels', "),
        ("preset: author", r"preset: no preset 'author'; there are authors, authors-0515, authors-meant, "),
        ("preset: [authors]", r"preset: must be a text, not \['authors'\]"),
        ("{preset: authors, scores: {pcs: {scale: 8}}}", "score pcs: scale: there is no such setting"),
        ("{preset: authors, rules: [5]}", rf"rules: rule 0 must be one of {RULES}"),
        ("publish: {licence: x}", r"publish\.licence: there is no such setting, only \['to', .*'license', "),
        ("publish: {private: 5}", r"publish\.private: should be a valid boolean.*, not 5"),
        (
            "scores: [pcs]",
            r"scores: must be a mapping of names to settings, not \['pcs'\]; there are \['asf_class_iou', ",
        ),
        ("scores: {psc: {}}", rf"scores: no score 'psc'; there are {SCORES}"),
        ("scores: {1: {}}", rf"scores: no score 1; there are {SCORES}"),
        ("scores: {pcs: 3}", r"scores\.pcs: must be a mapping, not 3"),
        ("scores: {pcs: {scale: 8}}", r"score pcs: scale: there is no such setting, only \['labels', .*'scales'"),
        ("scores: {pcs: {orders: 0}}", "score pcs: orders: should be greater than or equal to 1, not 0"),
        (
            "scores: {clip_sim: {similarity: dot}}",
            "clip_sim: similarity: should be 'prob', 'prob_mean', 'prob_min', 'cosine', 'clipscore' or 'entropy', "
            "not 'dot'$",
        ),
        ("scores: {pcs: {similarity: prob-mean}}", r"score pcs: similarity: .*; did you mean 'prob_mean'\?$"),
        ("scores: {clip_sim: {simularity: prob}}", r"score clip_sim: simularity: .*; did you mean 'similarity'\?$"),
        ("scores: {clipsim: {}}", rf"no score 'clipsim'; there are {SCORES}; did you mean 'clip_sim'\?$"),
        ("publish: {licence: x}", r"publish\.licence: .*; did you mean 'license'\?$"),
        ("rules: {threshold: {}}", rf"rules: must be a list, each entry one of {RULES} with its settings, not "),
        ("rules: [5]", rf"rules: rule 0 must be one of {RULES} with its settings, not 5; it is written as `thresh"),
        (
            "pcs: {orders: 1}",
            r"pcs: there is no such .*; settings of a score stand below `scores`: scores\.pcs$",
        ),
        ("rules:\n\t- a", "the recipe is no YAML: line 2, column 1: .*; indent with spaces, not with tabs$"),
        ("rules: [{threshold: {}, top_per_group: {}}]", rf"rules: rule 0 must be one of {RULES}"),
        (
            "rules: [{best: {}}]",
            rf"rule 0: no rule 'best'; there are {', '.join(sorted(KINDS))}; a rule is written as ",
        ),
        ("rules: [{threshold: 5}]", r"rule 0, threshold: takes the settings \['column', 'above', 'below'\], not 5"),
        ("rules: [{threshold: }]", "rule 0, threshold: column: must be given"),
        ("rules: [{threshold: {column: pcs}}]", "rule 0, threshold: threshold on 'pcs' needs `above` or `below`"),
        ("rules: [{threshold: {column: pcs, over: 1}}]", r"over: there is no such setting, only \['column', 'above'"),
        ("rules: [{threshold: {column: pcs, 1: 1}}]", r"1: there is no such setting, only \['column', 'above'"),
        ("rules: [{threshold: {column: pcs, above: high}}]", QUANTILE + "'high'"),
        ("rules: [{threshold: {column: pcs, above: q1.5}}]", QUANTILE + "'q1.5'"),
        ("rules: [{threshold: {column: pcs, above: .nan}}]", QUANTILE + "nan"),
        (
            "rules: [{top_per_group: {column: a, by: b, fraction: 60}}]",
            "fraction: should be less than or equal to 1, not 60",
        ),
        ("rules: [{top_per_group: {column: a, by: b, fraction: 0}}]", "fraction: should be greater than 0, not 0"),
        ("rules: [{top_per_group: {column: a, by: [], fraction: 1}}]", "by: should have at least 1 item"),
    ],
)
def test_wrong_recipes_are_told_in_one_line(text, message):
    with pytest.raises(RecipeError, match=message) as caught:
        Recipe.from_yaml(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model", "a setting is changed by key=value, e.g. rules.0.threshold.above=0.7, not 'model'"),
        ("model=[", r"^model=\[: the value is no YAML"),
        (
            "rules.7.threshold.above=1",
            "^rules.7.thresh.*: the recipe has no '7' there, whose numbers go from 0 to 2$",
        ),
        ("rules.first.threshold.above=1", "the recipe has no 'first' there"),
        ("rules.9=1", "the recipe has no '9' there"),
        ("name.x.y=1", "the recipe has no 'x' there"),
        ("name.x=1", "the recipe has no 'x' there"),
        ("rules.0.threshold.over=1", "rule 0, threshold: over: there is no such setting"),
        ("scores.pcs.seed=x", "score pcs: seed: should be a valid integer"),
        ("scores.pcs.similarity=prob_minimum", r"score pcs: similarity: .*; did you mean 'prob_min'\?$"),
    ],
)
def test_wrong_overrides_are_told_in_one_line(override, message):
    with pytest.raises(RecipeError, match=message) as caught:
        Recipe.load("demo", [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["sds", "demo.yaml", "../recipes/demo", "."])
def test_a_recipe_that_is_not_there(missing, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        RecipeError, match="no recipe file '.*', and no recipe '.*'; there are " + ", ".join(recipe_names())
    ):
        Recipe.load(missing)


def test_a_recipe_says_how_the_scores_it_is_applied_to_were_computed():
    asked = Recipe.load("sds-paper")
    identities = [
        {"score": "classes_present", "version": 1, "labels": "voc"},
        {**PCS(model="demo", orders=1, dtype="fp32").values(), "score": "pcs", "labels": "voc", "model_digest": "..."},
    ]
    computed = Recipe.from_yaml(asked.computed_as(json.loads(json.dumps(identities))).to_yaml())
    assert computed.model == "demo"
    assert computed.scores == {"pcs": {"orders": 1}}
    assert computed.rules == asked.rules
    same = [{**score.values(), "score": score.name} for score in asked.make_scores(labels="voc")]
    assert asked.computed_as(json.loads(json.dumps(same))) is asked


def test_line_breaks_of_unicode_survive():
    """YAML takes them for ends of lines and would fold them away."""
    recipe = Recipe(name="a\x85b\u2028c\u2029d")
    assert Recipe.from_yaml(recipe.to_yaml().encode()).name == recipe.name
