"""Limits that stop a publication: how they are written, when they are broken, and that nothing changes then."""

import re
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from hypothesis import given
from hypothesis import strategies as st
from support.jobs import commits, sums, writes
from support.rows import random_dataset

from sds_hf import Recipe, Report, publish, select
from sds_hf.check.verify import verify_published
from sds_hf.cli import main
from sds_hf.hub.push import PublishError
from sds_hf.publishing.publish import Published
from sds_hf.selection.changes import ClassChange, Counts, Diff, ScoreShift, Side
from sds_hf.selection.gate import EXAMPLES, Gate
from sds_hf.selection.recipe import RecipeError
from sds_hf.selection.report import ClassCount

LABELS = {"names": ["background", "cat", "dog"], "has_background": True}


def report(kept: int = 100, **classes: int) -> Report:
    counts = [ClassCount(id=i, name=name, before=200, after=rows) for i, (name, rows) in enumerate(classes.items())]
    return Report(rows=200, kept=kept, classes=counts, provenance={"labels": LABELS})


def changes(dropped: int = 0, shift: float = 0.0, **classes: tuple[int, int]) -> Diff:
    counts = Counts(before=200, after=200 - dropped, added=0, dropped=dropped)
    return Diff(
        before=Side(name="user/x", kind="published", tags=["v3"]),
        after=Side(name="user/x", kind="published"),
        rows=counts,
        candidates=counts,
        scores={"pcs": ScoreShift(rows=200, mean_absolute=shift)},
        classes=[ClassChange(name=name, before=before, after=after) for name, (before, after) in classes.items()],
    )


# How limits are written


def test_the_examples_are_all_limits_there_are():
    gate = Gate.parse(EXAMPLES.split(", "))
    assert set(gate.limits) == set(Gate.model_fields)
    assert (gate.max_class_loss, gate.max_rows_dropped, gate.min_rows) == (0.2, 0.1, 500)


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("min_rows", r"a gate is NAME=VALUE, not 'min_rows'; there are min_rows=500, .*max_class_loss=20%"),
        ("min_row=3", r"gate min_row: there is no such setting, only \['min_rows', 'min_rows_per_class', "),
        ("max_class_loss=20", "gate max_class_loss: write 20% for a percentage, or a share such as 0.2"),
        ("max_class_loss=120%", "gate max_class_loss: should be less than or equal to 1"),
        ("max_class_loss=-1%", "gate max_class_loss: should be a valid number.*, not '-1%'"),
        ("max_rows_dropped=nan", "gate max_rows_dropped: should be"),
        ("min_rows=1.5", "gate min_rows: should be a valid integer"),
        ("min_rows=-1", "gate min_rows: should be greater than or equal to 0"),
        ("max_score_shift=inf", "gate max_score_shift: should be a finite number"),
        ("max_score_shift=", "gate max_score_shift: should be a valid number"),
    ],
)
def test_a_limit_that_makes_no_sense(limit, said):
    with pytest.raises(ValueError, match=said) as caught:
        Gate.parse([limit])
    assert "\n" not in str(caught.value)


def test_a_recipe_has_limits_and_the_command_line_comes_before_them():
    recipe = Recipe.from_yaml("publish: {gate: {max_class_loss: 20%, min_rows: 5}}")
    assert recipe.publish.gate == Gate(max_class_loss=0.2, min_rows=5)
    assert recipe.gated(["min_rows=7"]).publish.gate == Gate(max_class_loss=0.2, min_rows=7)
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert "gate" not in Recipe(name="x").to_yaml()
    with pytest.raises(RecipeError, match=r"publish.gate.min_row: there is no such setting, only \['min_rows', "):
        Recipe.from_yaml("publish: {gate: {min_row: 5}}")


# When they are broken


@pytest.mark.parametrize(
    ("limit", "found", "new", "said"),
    [
        ("min_rows=101", report(100), None, "min_rows=101, but 100 rows are kept"),
        ("min_rows=100", report(100), None, None),
        ("min_rows_per_class=9", report(cat=8, dog=9, background=0), None,
         "min_rows_per_class=9, but too few show cat 8"),
        ("min_rows_per_class=1", report(cat=8), changes(bus=(3, 0)), "too few show bus 0"),
        ("max_class_loss=20%", report(), changes(cat=(100, 79), dog=(100, 80)),
         "max_class_loss=20%, but against user/x (v3) these lost rows: cat 21.0% (100 to 79)"),
        ("max_class_loss=14.5%", report(), changes(cat=(1000, 855)), None),
        ("max_class_loss=20%", report(cat=1), None, None),
        ("max_rows_dropped=0%", report(), changes(dropped=1), "1 of 200 rows of user/x (v3) are gone, 0.5%"),
        ("max_rows_dropped=10%", report(), changes(dropped=20), None),
        ("max_score_shift=0.05", report(), changes(shift=0.06), "max_score_shift=0.05, but since user/x (v3) these "
         "moved on average: pcs 0.06"),
        ("max_score_shift=0.05", report(), changes(shift=0.05), None),
    ],
)  # fmt: skip
def test_limits(limit, found, new, said):
    broken = Gate.parse([limit]).broken(found, new)
    assert len(broken) == (said is not None)
    assert said is None or said in broken[0]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=4), st.integers(0, 100))
def test_the_loss_of_classes_is_what_plain_counting_finds(counts, percent):
    new = changes(**{f"c{place}": pair for place, pair in enumerate(counts)})
    lost = [pair for pair in counts if pair[0] and 100 * (pair[0] - pair[1]) > percent * pair[0]]
    broken = Gate.parse([f"max_class_loss={percent}%"]).broken(report(), new)
    assert bool(broken) == bool(lost)


# That they stop a publication


def published(fraction: float, gate: list[str], **target) -> Published:
    """Publish the best of twelve rows by a column of their own."""
    dataset = random_dataset().add_column("quality", [place / 12 for place in range(12)])
    rule = {"top_k": {"column": "quality", "fraction": fraction}}
    recipe = Recipe.from_dict({"name": "own", "rules": [rule], "publish": {"license": "cc-by-4.0"}}).gated(gate)
    return publish(dataset, select(dataset, recipe), recipe, **target)


def test_a_hub_repository_stays_as_it_is(hub):
    name, api = "user/gated", HfApi()
    with pytest.raises(PublishError, match="min_rows=13, but 12 rows are kept"):
        published(1.0, ["min_rows=13"], to=name)
    assert not api.repo_exists(name, repo_type="dataset")
    first = published(1.0, ["max_rows_dropped=0%", "min_rows_per_class=1"], to=name)  # nothing to lose yet
    hub.faults.log.clear()
    for options in ({}, {"dry_run": True}):
        with pytest.raises(PublishError) as caught:
            published(0.5, ["max_rows_dropped=40%"], to=name, **options)
    assert re.fullmatch(
        rf"{name} stays as it is, for the gate max_rows_dropped=40%, but 6 of 12 rows of {name} \(v1, commit "
        rf"{first.revision[:10]}\) are gone, 50.0%. Select other rows, or give another limit with gate=\.\.\.",
        str(caught.value),
    )
    assert writes(hub) == []
    assert published(0.5, ["max_rows_dropped=50%"], to=name).tag == "v2"
    assert commits(api, name) == 2


def test_a_folder_named_like_the_repository_does_not_matter(hub, tmp_path, monkeypatch):
    name = "user/shadowed"
    published(1.0, [], folder=tmp_path / name)
    monkeypatch.chdir(tmp_path)
    published(1.0, [], to=name)
    with pytest.raises(PublishError, match="6 of 12 rows"):
        published(0.5, ["max_rows_dropped=40%"], to=name)
    done = published(0.5, ["max_rows_dropped=50%"], to=name)
    found = verify_published(name, str(done.revision))
    assert found.ok, found.failures
    assert found.revision == done.revision


def test_a_last_version_that_cannot_be_read_closes_the_gate(tmp_path):
    folder = tmp_path / "out"
    published(1.0, [], folder=folder)
    (folder / "report.json").write_text("{")
    before = sums(folder)
    with pytest.raises(PublishError, match=r"the last version of .*out cannot be compared with"):
        published(1.0, ["min_rows=1"], folder=folder, overwrite=True)
    assert sums(folder) == before


def test_the_command_refuses_in_one_line(tmp_path, capsys, stored):

    scores, selection, folder = (str(tmp_path / name) for name in ("scores", "selection", "out"))
    assert main(["score", str(stored), "--out", scores, "--scores", "classes_present", "--quiet"]) == 0
    rule = "random: {fraction: 0.5, seed: 0}"
    assert main(["select", scores, "--rule", rule, "--out", selection, "--json"]) == 0
    capsys.readouterr()
    command = ["publish", str(stored), selection, "--scores", scores, "--folder", folder, "--gate"]
    assert main([*command, "min_rows=7"]) == 2
    error = capsys.readouterr().err.strip()
    assert "out stays as it is, for the gate min_rows=7, but 6 rows are kept. Select other rows" in error
    assert len([line for line in error.splitlines() if line.startswith("error")]) == 1
    assert not Path(folder).exists()
    assert main([*command, "min_rows=6", "--json"]) == 0
    assert Recipe.load(f"{folder}/recipe.yaml").publish.gate.min_rows == 6
