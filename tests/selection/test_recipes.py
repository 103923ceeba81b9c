"""Recipes of the package: each is named, explained, has a source, and selects."""

import json

import numpy as np
import pytest
from datasets import Dataset

from sds_hf import Band, Random, RankMean, Recipe, Threshold, TopK, select
from sds_hf.cli import main
from sds_hf.cli.recipes import described
from sds_hf.scores.base.catalog import score_classes
from sds_hf.scores.base.presets import preset_names
from sds_hf.selection.recipe import recipe_names

RULES = {
    "difficulty-medium": [Band(column="difficulty", low=0.3, high=0.7)],
    "gmm-diversity": [
        Threshold(column="num_objects", above=0),
        RankMean(columns=("gmm_sim", "diversity"), fraction=0.1),
    ],
    "random": [Random(fraction=0.65)],
    "tfdp": [Threshold(column="cb_scs", above=0), TopK(column="cb_scs", fraction=0.5)],
}


@pytest.fixture
def table() -> Dataset:
    """A column of numbers for everything that a score writes."""
    generator = np.random.default_rng(0)
    columns = {column: generator.random(200) for score in score_classes().values() for column in score.columns}
    classes = [[1], [1, 2], [2], [1, 2, 3]] * 50
    columns |= {"classes_present": classes, "num_classes_present": [len(each) for each in classes]}
    return Dataset.from_dict({**columns, "id": [f"r{place:03d}" for place in range(200)]})


def test_all_are_listed_with_a_line_and_a_source(capsys):
    assert main(["recipes", "--json"]) == 0
    found = {each["recipe"]: each for each in json.loads(capsys.readouterr().out)["result"]["recipes"]}
    assert list(found) == recipe_names()
    assert set(RULES) | {"demo", *(f"sds-{name}" for name in preset_names())} == set(found)
    for name, each in found.items():
        assert len(each["about"]) > 30, name
        assert each["source"], name
        assert each["scores"], name
        assert each["rules"] == [rule.label for rule in Recipe.load(name).rules]
    assert main(["recipes"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in found)


def test_the_comment_at_the_top_is_what_is_listed():
    assert described("# One\n# line.\n# Source: me,\n# myself.\nname: x\n") == ("One line.", "me, myself.")


@pytest.mark.parametrize("name", RULES)
def test_rules_of_other_papers(name):
    recipe = Recipe.load(name)
    assert recipe.name == name
    assert recipe.rules == RULES[name]
    written = {column for score in recipe.scores for column in score_classes()[score].columns}
    assert {column for rule in recipe.rules for column in rule.reads} <= written
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe


@pytest.mark.parametrize("name", recipe_names())
def test_each_selects(name, table):
    quantiles = (
        ["rules.0.threshold.above=q0.2", "rules.1.threshold.above=q0.1"] if name in ("demo", "sds-paper") else []
    )
    report = select(table, Recipe.load(name, quantiles)).report
    assert 0 < report.kept < 200
    assert sum(report.reasons.values()) == 200


# On the command line


def kept(capsys) -> dict:
    return json.loads(capsys.readouterr().out)


def test_rules_and_targets_on_the_command_line(table, tmp_path, capsys):
    scores, out = str(tmp_path / "rows.parquet"), ["--out", str(tmp_path / "out"), "--json"]
    table.to_parquet(scores)
    capsys.readouterr()
    assert main(["select", scores, *out, "--recipe", "tfdp", "--target", "17", "--memory-limit", "1GB",
                 "--scratch", str(tmp_path)]) == 0  # fmt: skip
    assert kept(capsys)["result"]["reasons"] == {"dropped:top_k": 183, "kept:top_k": 17}
    assert Recipe.load(tmp_path / "out" / "recipe.yaml").rules[1] == TopK(column="cb_scs", target=17)
    rules = ["--rule", "band: {column: pcs, low: q0.25, high: q0.75}", "--rule", "random: {fraction: 0.5, seed: 1}"]
    assert main(["select", scores, *out, *rules]) == 0
    assert kept(capsys)["result"]["reasons"] == {"dropped:pcs": 100, "dropped:random": 50, "kept:random": 50}
    assert main(["select", scores, *out, "--recipe", "sds-paper", "--target", "30",
                 "--set", "rules.0.threshold.above=q0.2", "--set", "rules.1.threshold.above=q0.1"]) == 0  # fmt: skip
    assert kept(capsys)["counts"]["kept"] == 30


def test_a_target_needs_a_rule_that_takes_one(table, tmp_path, capsys):
    table.to_parquet(tmp_path / "rows.parquet")
    command = ["select", str(tmp_path / "rows.parquet"), "--out", str(tmp_path / "out"), "--target", "5"]
    assert main([*command, "--recipe", "difficulty-medium"]) == 2
    assert "a target of 5 rows needs a last rule that keeps a share" in " ".join(capsys.readouterr().err.split())
    assert main([*command, "--rule", "topk: {column: pcs}"]) == 2
    assert "no rule 'topk'; there are at_most_per_group, band, random" in " ".join(capsys.readouterr().err.split())
