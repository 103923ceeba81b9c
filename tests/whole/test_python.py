"""The package as its users meet it in Python: help, names in place of objects, errors for people."""

import ast
import doctest
import inspect
import logging
import os
import re
import warnings
from dataclasses import fields
from pathlib import Path

import datasets
import pytest
from datasets import Dataset, DatasetDict
from support.paths import ROOT
from support.registries import forgotten

import sds_hf
from sds_hf import (
    ASF,
    PCS,
    Boundary,
    ClassesPresent,
    Random,
    Recipe,
    Report,
    Threshold,
    TopK,
    TopPerGroup,
    add_scores,
    add_to_table,
    asf_miou,
    clip_sim,
    compare,
    export,
    load,
    look,
    pcs_score,
    publish,
    score_table,
    select,
    verify,
    why,
)
from sds_hf.demo.dataset import demo_features, demo_rows
from sds_hf.schema import arguments
from sds_hf.scores.base.catalog import score_classes
from sds_hf.selection.rules import RULES

SETUP = re.search(
    r"^```python\n(.*?)^```", (ROOT / "docs/reference/python.md").read_text(encoding="utf-8"), re.M | re.S
)
OBJECTS = {name: getattr(sds_hf, name) for name in sds_hf.__all__ if name != "__version__"}
READY_MADE = ("clip_sim", "pcs_score", "asf_miou")  # their classes have the examples
CLASSES = {**score_classes(), **RULES}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder to be in; what is registered there is forgotten."""
    home, before = tmp_path_factory.mktemp("python"), os.getcwd()
    os.chdir(home)
    with forgotten():
        yield home
    os.chdir(before)


@pytest.fixture(scope="module")
def names(home):
    """What the examples suppose."""
    names = {"__name__": "examples"}
    datasets.disable_progress_bars()
    exec(compile(SETUP[1], "docs/reference/python.md", "exec"), names)
    return names


@pytest.mark.parametrize("name", [name for name in OBJECTS if name not in READY_MADE])
def test_every_public_name_has_an_example_that_runs(name, names, home):
    (test,) = [
        test
        for test in doctest.DocTestFinder(recurse=False).find(OBJECTS[name], name, module=False, globs=dict(names))
        if test.examples
    ]
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    said: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)


# Help


def test_dir_is_what_is_public():
    assert dir(sds_hf) == sorted(sds_hf.__all__)


@pytest.mark.parametrize("name", CLASSES)
def test_signatures_are_short_and_help_has_every_setting(name):
    cls = CLASSES[name]
    signature = inspect.signature(cls)
    assert len(str(signature)) <= 200
    settings = {field.name for field in fields(cls)}
    described = {name for names in arguments(cls.__doc__) for name in names.split(", ")}
    assert settings <= described
    defaults = {p.name: p.default for p in signature.parameters.values() if p.default is not p.empty}
    assert all(getattr(cls, name, value) == value for name, value in defaults.items())


def test_help_of_a_score_has_the_settings_of_its_bases():
    text = inspect.getdoc(PCS)
    assert "pool: `cls`, the checkpoint's own image embedding" in text
    assert "model: a Hub id" in text
    assert "see `ImageTextScore`" not in text
    assert "The model must be a CLIP with a ViT" in inspect.getdoc(ASF)


# Names, classes and lists in place of objects


@pytest.fixture(scope="module")
def rows():
    return Dataset.from_list(list(demo_rows(12)), features=demo_features())


@pytest.fixture(scope="module")
def scored(rows):
    return add_scores(rows, PCS(model="demo", orders=1), ASF(model="demo", refine="affinity"), Boundary())


@pytest.mark.parametrize(
    "named",
    [
        ("boundary", "classes_present"),
        (["boundary", "classes_present"],),
        (Boundary, ClassesPresent),
        ([Boundary, ClassesPresent()],),
        ((Boundary(), ["classes_present"]),),
    ],
)
def test_scores_by_name_class_and_list(rows, named):
    expected = add_scores(rows, Boundary(), ClassesPresent())
    assert add_scores(rows, *named).to_dict() == expected.to_dict()


def test_every_split_of_a_dict_is_scored(rows):
    splits = DatasetDict(train=rows.select(range(8)), test=rows.select(range(8, 12)))
    scored = add_scores(splits, "boundary")
    assert type(scored) is DatasetDict
    assert scored["test"]["boundary"] == add_scores(splits["test"], Boundary())["boundary"][:]


def test_tables_take_names_too(rows, tmp_path):
    table = score_table(rows, "boundary", tmp_path)
    assert "prompt_mismatch" in add_to_table(rows, ["prompt_mismatch"], tmp_path).to_arrow().column_names
    assert table.to_arrow()["boundary"].to_pylist() == add_scores(rows, Boundary())["boundary"][:]


def test_a_ready_made_score_with_another_setting():
    assert pcs_score(model="demo", orders=1) == PCS(model="demo", orders=1)
    assert asf_miou() == asf_miou == ASF()
    with pytest.raises(ValueError, match=r"^ClipSim: modle: there is no such setting, .*; did you mean 'model'\?$"):
        clip_sim(modle="demo")


def test_rules_take_what_they_are_about_by_position():
    assert Threshold("clip_sim", 0.2) == Threshold(column="clip_sim", above=0.2)
    assert Threshold("clip_sim", None, "q0.9") == Threshold(column="clip_sim", below="q0.9")
    assert TopK("pcs", target=3) == TopK(column="pcs", target=3)
    assert TopPerGroup("pcs", by="classes", fraction=0.5) == TopPerGroup(column="pcs", by=("classes",), fraction=0.5)
    with pytest.raises(ValueError, match=r"^Random: settings are given by name, not as 5$"):
        Random(5)


def test_recipes_by_name_path_and_rule(scored, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(Recipe(name="mine", rules=[Threshold("pcs", "q0.5")]).to_yaml(), encoding="utf-8")
    of_rule = select(scored, Threshold("pcs", "q0.5"))
    assert select(scored, path).table() == select(scored, str(path)).table() == of_rule.table()
    assert select(scored, [{"threshold": {"column": "pcs", "above": "q0.5"}}]).table() == of_rule.table()
    assert select(scored, "random").table() == select(scored, Recipe.load("random")).table()


@pytest.mark.slow
def test_publish_says_how_the_scores_of_a_dataset_were_made(rows, scored, tmp_path):
    """As `sds-hf score`, `select` and `publish` do with a table."""
    recipe = Recipe(name="mine", rules=[Threshold("pcs", "q0.5")])
    table = score_table(rows, [PCS(model="demo", orders=1), ASF(model="demo", refine="affinity"), Boundary()], tmp_path)
    reports, recipes = [], []
    for name, scores in (("dataset", scored), ("table", table)):
        publish(rows, select(scores, recipe), recipe, scores=scores, folder=tmp_path / name)
        reports.append(Report.load(tmp_path / name / "report.json"))
        recipes.append((tmp_path / name / "recipe.yaml").read_text(encoding="utf-8"))
        assert verify(tmp_path / name).ok
        assert {"pcs", "asf_miou", "boundary", "kept"} <= set(load(tmp_path / name, "scores").column_names)
    first, second = (report.provenance for report in reports)
    assert recipes[0].replace("folder: dataset", "folder: table") == recipes[1]
    by_name = [{score["score"]: score for score in each["scores"]} for each in (first, second)]
    assert by_name[0] == {name: score for name, score in by_name[1].items() if name != "classes_present"}
    assert (first["models"], first["versions"]) == (second["models"], second["versions"])


# Errors


NOWHERE = "/nowhere/model"
BAD = {
    "no such score": lambda rows, scored: add_scores(rows, "psc"),
    "a number as score": lambda rows, scored: add_scores(rows, 3),
    "no score": lambda rows, scored: add_scores(rows),
    "an abstract score": lambda rows, scored: add_scores(rows, sds_hf.Score),
    "a name as dataset": lambda rows, scored: add_scores("user/raw", "pcs"),
    "scores first": lambda rows, scored: add_scores(PCS(), rows),
    "a list as dataset": lambda rows, scored: score_table([1, 2], "pcs", "out"),
    "several splits": lambda rows, scored: score_table(DatasetDict(train=rows), "boundary", "out"),
    "no such label space": lambda rows, scored: add_scores(rows, Boundary(labels="pascal")),
    "no label space": lambda rows, scored: add_scores(rows.remove_columns("classes"), Boundary()),
    "no model": lambda rows, scored: add_scores(rows, PCS(model=NOWHERE)),
    "no model in map": lambda rows, scored: rows.map(PCS(model=NOWHERE), batched=True),
    "a class in map": lambda rows, scored: rows.map(PCS, batched=True),
    "a call of a score": lambda rows, scored: pcs_score(rows),
    "settings in map": lambda rows, scored: rows.map(pcs_score, batched=True, fn_kwargs={"model": "demo"}),
    "no such setting": lambda rows, scored: PCS(order=3),
    "a bad number": lambda rows, scored: PCS(orders=-3),
    "a bad word": lambda rows, scored: PCS(similarity="cos"),
    "a position": lambda rows, scored: PCS("demo"),
    "no column": lambda rows, scored: Threshold(above=3),
    "no bound": lambda rows, scored: Threshold("pcs"),
    "a bad quantile": lambda rows, scored: Threshold("pcs", "q2"),
    "no group": lambda rows, scored: TopPerGroup("pcs", fraction=0.5),
    "no such recipe": lambda rows, scored: select(scored, "sds-papr"),
    "a rule's class": lambda rows, scored: select(scored, Threshold),
    "a number as rule": lambda rows, scored: select(scored, 3),
    "no such column": lambda rows, scored: select(scored, Threshold("psc", 0)),
    "a column of text": lambda rows, scored: select(scored, Threshold("caption", 0)),
    "nothing left": lambda rows, scored: select(scored, Threshold("pcs", 1e6)),
    "splits to select of": lambda rows, scored: select(DatasetDict(train=scored), "sds-paper"),
    "no such file": lambda rows, scored: select("nothing.parquet", "sds-paper"),
    "no such part of a recipe": lambda rows, scored: Recipe(nam="mine"),
    "no such score in a recipe": lambda rows, scored: Recipe(scores={"psc": {}}),
    "no rule in a recipe": lambda rows, scored: Recipe(rules=["pcs > 1"]),
    "a position in a recipe": lambda rows, scored: Recipe("sds-paper"),
    "a bad override": lambda rows, scored: Recipe.load("sds-paper", ["rules.9.threshold.above=1"]),
    "no target": lambda rows, scored: publish(rows, select(scored, Random(fraction=0.5)), Recipe()),
    "two targets": lambda rows, scored: publish(
        rows, select(scored, Random(fraction=0.5)), Recipe(), to="a/b", folder="b"
    ),
    "no Hub id": lambda rows, scored: publish(rows, select(scored, Random(fraction=0.5)), Recipe(), to="voc"),
    "one recipe to compare": lambda rows, scored: compare(scored, ["sds-paper"]),
    "no published folder": lambda rows, scored: load("./nothing"),
    "nothing to verify": lambda rows, scored: verify("./nothing"),
    "no such row": lambda rows, scored: why(select(scored, Random(fraction=0.5)), "nobody"),
    "no such format": lambda rows, scored: export(rows, "vok", "out"),
    "a page without its scores": lambda rows, scored: look(select(scored, Random(fraction=0.5))),
}


@pytest.mark.parametrize("case", BAD)
def test_errors_are_one_line_for_people(case, rows, scored, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.WARNING), pytest.raises((ValueError, TypeError, OSError)) as error:
        BAD[case](rows, scored)
    sentence = str(error.value)
    assert len(sentence.splitlines()) == 1, sentence
    assert "pydantic" not in sentence
    assert not re.search(r"--[a-z]", sentence)
    assert "couldn't be hashed" not in caplog.text
    assert not list(Path().iterdir())


def test_no_error_in_the_library_names_a_flag():
    """The command line puts its flags where a message names an argument."""
    flag = re.compile(r"(^|[\s`(])--[a-z]")
    others = re.compile(r"oxipng --np|--array=0-7")  # of other programs
    for path in (ROOT / "sds_hf").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        errors = [node for node in ast.walk(tree) if isinstance(node, ast.Raise)] if "cli" not in path.parts else []
        for text in (part.value for error in errors for part in ast.walk(error) if isinstance(part, ast.Constant)):
            assert not flag.search(others.sub("", str(text))), (path, text)
