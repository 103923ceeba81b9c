"""What recipes keep of the same scores, side by side, against sets in plain Python; and what is still to be made."""

import json

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Sequence, Value

from sds_hf import Recipe, Threshold, TopK, TopPerGroup, WorstRank, compare, forecast, select
from sds_hf.check.forecast import wilson
from sds_hf.cli import main
from sds_hf.selection.report import ClassCount, Report
from sds_hf.selection.select import EmptySelectionError

NAMES = ["background", "dog", "cat"]
FEATURES = Features(
    {
        "id": Value("string"),
        "classes": Sequence(ClassLabel(names=NAMES)),
        "u": Value("float32"),
        "v": Value("float32"),
        "defect": Value("string"),
    }
)
BEST_U = Recipe(name="best-u", rules=[TopK(column="u", fraction=0.5)])
WORST = Recipe(name="worst", rules=[WorstRank(columns=("u", "v"), fraction=0.25)])
NOTHING = Recipe(name="nothing", rules=[Threshold(column="u", above=2)])


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    generator = np.random.default_rng(0)
    return [
        {
            "id": f"r{row:02d}",
            "classes": [1 + row % 2],
            **dict(zip("uv", generator.permutation(40)[:2] / 40, strict=True)),
            "defect": None if row % 3 else "torn",
        }
        for row in range(40)
    ]


@pytest.fixture(scope="module")
def data(rows) -> Dataset:
    return Dataset.from_list(rows, features=FEATURES)


def kept_by(data, recipe) -> set[str]:
    table = select(data, recipe).table()
    return {name for name, kept in zip(table["id"].to_pylist(), table["kept"].to_pylist(), strict=True) if kept}


def test_recipes_side_by_side(data, rows):
    found = compare(data, [BEST_U, WORST])
    a, b = kept_by(data, BEST_U), kept_by(data, WORST)
    clean = {row["id"] for row in rows if row["defect"] is None}
    dogs = {row["id"] for row in rows if row["classes"] == [1]}
    assert (found.rows, found.truth, found.clean, found.classes) == (40, "defect", len(clean), {"dog": 20, "cat": 20})
    assert [choice.recipe for choice in found.recipes] == ["best-u", "worst"]
    assert [choice.kept for choice in found.recipes] == [len(a), len(b)] == [20, 10]
    assert [choice.clean for choice in found.recipes] == [len(a & clean), len(b & clean)]
    assert [choice.classes["dog"] for choice in found.recipes] == [len(a & dogs), len(b & dogs)]
    (overlap,) = found.overlaps
    assert (overlap.recipes, overlap.both, overlap.either) == (("best-u", "worst"), len(a & b), len(a | b))
    assert found.recipes[0].came is None
    came, went = found.recipes[1].came, found.recipes[1].went
    assert (came.rows, went.rows) == (len(b - a), len(a - b))
    assert came.examples == sorted(b - a)[:5]
    assert went.examples == sorted(a - b)[:5]
    assert came.reasons == ({"dropped:top_k": len(b - a)} if b - a else {})
    assert set(went.reasons) <= {"dropped:u is the weakest", "dropped:v is the weakest"}  # counted without ranks
    assert sum(went.reasons.values()) == len(a - b) > 1


def test_equal_sizes(data):
    assert [choice.kept for choice in compare(data, [BEST_U, WORST], target=7).recipes] == [7, 7]
    with pytest.raises(ValueError, match="a target of 7 rows needs a last rule that keeps a share"):
        compare(data, [BEST_U, NOTHING], target=7)


def test_a_recipe_that_keeps_nothing_is_part_of_it(data):
    for recipes in ([BEST_U, NOTHING], [NOTHING, BEST_U]):
        found = compare(data, recipes)
        nothing = found.recipes[recipes.index(NOTHING)]
        assert (nothing.kept, nothing.clean, nothing.classes) == (0, 0, {})
        assert nothing.notes[0].startswith("nothing is left after 'u > 2.0'")
        assert (found.overlaps[0].both, found.overlaps[0].either) == (0, 20)
        assert {found.recipes[1].came.rows, found.recipes[1].went.rows} == {0, 20}
    with pytest.raises(EmptySelectionError, match="no recipe keeps a row: nothing is left after"):
        compare(data, [NOTHING, NOTHING])
    with pytest.raises(ValueError, match="compare needs two recipes or more, not 1"):
        compare(data, [BEST_U])


def test_the_truth_of_the_dataset_that_was_scored(data, rows):
    scores = data.remove_columns("defect")
    assert compare(scores, [BEST_U, WORST]).truth is None
    expected = compare(data, [BEST_U, WORST])
    assert compare(scores, [BEST_U, WORST], truth="defect", dataset=data) == expected
    with pytest.raises(ValueError, match="the scores have no column 'defect', nor say which dataset they are of"):
        compare(scores, [BEST_U, WORST], truth="defect")
    with pytest.raises(ValueError, match="neither the scores nor their dataset have a column 'flaw'"):
        compare(scores, [BEST_U, WORST], truth="flaw", dataset=data)
    for other in (data.select(range(39)), data.select(range(39, -1, -1)), Dataset.from_list([*rows, rows[0]])):
        with pytest.raises(ValueError, match=f"the dataset of {len(other)} rows that is to tell the truth is not what"):
            compare(scores, [BEST_U, WORST], truth="defect", dataset=other)


def test_the_command(data, tmp_path, capsys):
    data.to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "a.yaml").write_text(BEST_U.to_yaml(), encoding="utf-8")
    (tmp_path / "b.yaml").write_text(WORST.to_yaml(), encoding="utf-8")
    arguments = ["compare", *(str(tmp_path / name) for name in ("rows.parquet", "a.yaml", "b.yaml"))]
    assert main([*arguments, "--json"]) == 0
    recipes = [BEST_U.model_copy(update={"name": "a.yaml"}), WORST.model_copy(update={"name": "b.yaml"})]
    assert json.loads(capsys.readouterr().out)["result"] == json.loads(compare(data, recipes).model_dump_json())
    assert main(arguments) == 0
    said = capsys.readouterr().out
    for words in ("40 candidates, 26 of them clean (65%)", "b.yaml against a.yaml", "dropped by b.yaml: "):
        assert words in said
    assert main(arguments[:3]) == 2
    assert "compare needs two recipes or more, not 1" in capsys.readouterr().err


# What is still to be made


@pytest.mark.parametrize(
    ("kept", "rows", "low", "high"),
    [
        (5, 10, 0.2366, 0.7634),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (1, 1, 0.2065, 1.0),
        (81, 263, 0.2553, 0.3662),
    ],
)
def test_intervals_of_a_share(kept, rows, low, high):
    assert wilson(kept, rows) == pytest.approx((low, high), abs=1e-4)


def counted(*counts: tuple[int, int]) -> Report:
    classes = [
        ClassCount(id=place, name=NAMES[place], before=before, after=after)
        for place, (before, after) in enumerate(counts, start=1)
    ]
    return Report(rows=100, kept=50, classes=classes, provenance={"labels": {"names": [*NAMES, "cow"]}})


def test_candidates_that_are_to_come():
    dog, cat, cow = forecast(counted((10, 5), (10, 0)), 1000)
    assert (dog.missing, dog.more) == (995, 1990)
    assert (dog.at_least, dog.at_most) == (1304, 4206)  # 995 / .7634, 995 / .2366
    assert (cat.missing, cat.more, cat.at_least, cat.at_most) == (1000, None, 3604, None)  # none kept: no upper end
    assert (cow.name, cow.candidates, cow.share, cow.more, cow.at_least) == ("cow", 0, None, None, None)
    assert [entry.more for entry in forecast(counted((10, 5)), 5)[:1]] == [0]


def test_rules_that_keep_a_number_allow_no_forecast(data):
    report = select(data, BEST_U).report
    missing = [entry.missing for entry in forecast(report, 15, BEST_U.rules)]
    assert missing == [max(0, 15 - count.after) for count in report.classes]
    for rule in (TopK(column="u", target=5), TopPerGroup(column="u", by="classes_present", target=5)):
        with pytest.raises(ValueError, match="keeps no more rows however many candidates there are"):
            forecast(report, 30, [rule])
    with pytest.raises(ValueError, match="a goal of at least 1 row a class, not 0"):
        forecast(report, 0)


def test_select_forecasts(data, tmp_path, capsys):
    data.to_parquet(tmp_path / "rows.parquet")
    arguments = ["select", str(tmp_path / "rows.parquet"), "--out", str(tmp_path / "out"), "--recipe", "random"]
    rule = ["--rule", "threshold: {column: u, above: 0.5}"]
    assert main([*arguments, *rule, "--forecast", "100", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)["result"]["forecast"]
    report = select(data, Threshold(column="u", above=0.5)).report
    assert entries == [entry.model_dump() for entry in forecast(report, 100)]
    assert [entry["missing"] for entry in entries] == [100 - count.after for count in report.classes]
    assert main([*arguments, *rule, "--forecast", "100"]) == 0
    said = capsys.readouterr().out
    assert "Candidates to make for 100 kept of each class" in said
    assert "read by no rule, so they drop nothing: v" in said
    assert main([*arguments, "--rule", "top_k: {column: u, target: 3}", "--forecast", "9"]) == 2
    assert "no forecast: 'top 3 of u' keeps no more rows" in capsys.readouterr().err
