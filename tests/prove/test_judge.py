"""What scores, rules and recipes see of a known truth."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from PIL import Image as Pillow

from sds_hf import Recipe, Score, TopK, score_table, settings
from sds_hf.cli import main, show_truth
from sds_hf.demo.dataset import demo_features, demo_rows
from sds_hf.prove.judge import judge
from sds_hf.prove.judge_auroc import Bootstrap, aurocs, best, weighted_share
from sds_hf.prove.judge_keeps import keeps_of
from sds_hf.prove.judge_orders import kept_by, misfit, order_of
from sds_hf.prove.judge_texts import section
from sds_hf.scores.base.score import REGISTRY

ROWS = 240


def plain_auroc(clean: np.ndarray, spoilt: np.ndarray) -> float:
    pairs = [(one > other) + 0.5 * (one == other) for one in clean for other in spoilt]
    return float(np.mean(pairs))


def test_auroc_is_the_share_of_pairs_in_the_right_order():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 12, 60).astype(float)  # many are equal
    values[::9] = np.nan
    clean, kinds = rng.random(60) < 0.5, {"a": np.arange(60) % 3 == 0, "b": np.arange(60) % 3 == 1}
    kinds = {name: members & ~clean for name, members in kinds.items()}
    found = aurocs(values, clean, kinds, Bootstrap(np.arange(60), 200, 0))
    filled = np.nan_to_num(values, nan=-1)
    for name, members in kinds.items():
        value, low, high = found[name]
        assert value == pytest.approx(plain_auroc(filled[clean], filled[members]), abs=1e-4)
        assert low < value < high
    perfect = aurocs(clean.astype(float), clean, {"any": ~clean}, Bootstrap(np.arange(60), 50, 0))
    assert perfect == {"any": (1, 1, 1)}


def test_the_interval_is_that_of_samples_drawn_with_replacement():
    """Each sample rated by itself, with rows of one original drawn together."""
    rng = np.random.default_rng(1)
    originals = np.repeat(np.arange(30), 2)
    clean = np.arange(60) % 2 == 0
    values = rng.normal(size=60) + clean
    bootstrap = Bootstrap(originals, 40, 7)
    samples = []
    for weights in bootstrap.weights():
        for row in weights.astype(int):
            drawn = np.repeat(np.arange(60), row)
            assert (row[::2] == row[1::2]).all()
            samples.append(plain_auroc(values[drawn][clean[drawn]], values[drawn][~clean[drawn]]))
    assert len(samples) == 41
    expected = (samples[0], *np.quantile(samples[1:], (0.025, 0.975)))
    found = aurocs(values, clean, {"any": ~clean}, bootstrap)["any"]
    assert found == pytest.approx(expected, abs=1e-4)


def test_equal_scores_share_what_is_left():
    np.testing.assert_allclose(best(np.array([3.0, 1, 1, 1, 0]), 3), [1, 2 / 3, 2 / 3, 2 / 3, 0])
    np.testing.assert_allclose(best(np.array([np.nan, 1, 2]), 2), [0, 1, 1])
    clean = np.array([True, False, True])
    assert weighted_share(np.array([1, 0.5, 0.5]), clean, Bootstrap(np.arange(3), 9, 0))[0] == 0.75


@pytest.fixture
def scores(tmp_path) -> str:
    """A column that sees all, one that sees one of two defects, one that sees nothing, and one that is the reverse."""
    rng = np.random.default_rng(5)
    defect = np.array(["", "torn", "", "blank"] * (ROWS // 4))
    noise = rng.normal(size=(3, ROWS))
    columns = {
        "id": [f"r{n:03d}" for n in range(ROWS)],
        "row": np.arange(ROWS),
        "all": 9.0 * (defect == "") + noise[0],
        "torn_only": 9.0 * (defect != "torn") + noise[1],
        "nothing": noise[2],
        "reverse": -9.0 * (defect == "") + noise[0],
        "flag": defect == "",
        "name": ["x"] * ROWS,
        "classes_present": [[1], [1, 2], [2], [2]] * (ROWS // 4),
        "defect": [value or None for value in defect],
    }
    pq.write_table(pa.table(columns), tmp_path / "scores.parquet")
    return str(tmp_path / "scores.parquet")


def test_what_each_column_sees(scores):
    found = judge(scores, recipes=(), draws=60)
    assert (found.rows, found.clean, found.defects) == (ROWS, ROWS // 2, {"blank": ROWS // 4, "torn": ROWS // 4})
    assert (found.size, found.size_of) == (ROWS // 2, "half of the rows")
    assert [sight.name for sight in found.sights] == ["chance", "all", "torn_only", "nothing", "reverse", "flag"]
    assert found.sight("all").auroc["any"][0] > 0.999
    assert found.sight("all").precision[0] == found.sight("flag").precision[0] == 1
    torn_only = found.sight("torn_only").auroc
    assert torn_only["torn"][0] > 0.999
    assert torn_only["blank"][1] < 0.5 < torn_only["blank"][2]
    assert abs(found.sight("nothing").auroc["any"][0] - 0.5) < 0.1
    assert found.sight("reverse").auroc["any"][0] < 0.001
    assert found.sight("chance").auroc["any"] == (0.5, 0.5, 0.5)
    assert found.sight("chance").precision[0] == 0.5
    # Class 1 is in half of the clean rows and of the torn ones; of the spoilt ones none is kept.
    assert found.sight("all").classes == {"1": 0.5, "2": pytest.approx(1 / 3, abs=1e-4)}
    assert judge(scores, recipes=(), draws=60) == found  # the same twice


def test_rules_and_recipes_are_judged_as_select_applies_them(scores, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nrules:\n  - threshold: {column: torn_only, above: 4}\n"
        "  - top_per_group: {column: all, by: classes_present, fraction: 0.5}\n"
    )
    bound = "threshold: {column: torn_only, above: 4}"
    rule = TopK(column="all", fraction=0.25)
    found = judge(scores, recipes=[tmp_path / "mine.yaml"], rules=[rule], size=60, draws=20)
    mine, alone = found.sight("mine"), found.sight(rule.label)
    assert (mine.kept, mine.kind, alone.kind) == (60, "recipe", "rule")
    assert mine.precision[0] == alone.precision[0] == 1
    own = kept_by(scores, Recipe.load(tmp_path / "mine.yaml").rules, ROWS)
    assert mine.own_kept == own.sum()
    assert alone.own_kept == 60
    assert mine.auroc["any"][0] > 0.9
    (tmp_path / "bound.yaml").write_text(f"name: bound\nrules:\n  - {bound}\n")
    only = judge(scores, recipes=[tmp_path / "bound.yaml"], size=0.1, draws=20).sight("bound")
    assert only.kept == only.own_kept == 180  # it keeps no other number
    assert only.auroc["torn"][0] == 1
    assert only.auroc["blank"][0] == 0.5


def test_the_order_of_rules_is_how_long_rows_stay(scores):
    order = order_of(scores, [TopK(column="all", fraction=0.5)], ROWS)
    values = pq.read_table(scores)["all"].to_numpy()
    assert (np.diff(order[np.argsort(values)]) >= 0).all()
    assert order.min() == 1
    assert len(np.unique(order)) == 12


def test_recipes_that_mean_something_else_are_not_judged():
    identities = [{"score": "pcs", **Recipe.load("sds-paper").make_scores()[0].values()}]
    columns = ["clip_sim", "pcs", "asf_miou", "num_classes_present", "classes_present"]
    paper, cosine = Recipe.load("sds-paper"), Recipe.load("sds-cosine")
    assert misfit(paper, columns, identities) is None
    assert misfit(cosine, columns, identities) == "pcs was computed with similarity prob, not cosine"
    assert misfit(paper, ["clip_sim"], identities) == (
        "there is no pcs or asf_miou or num_classes_present or classes_present"
    )
    assert misfit(paper, columns, None).startswith("nothing says how")


def test_a_score_of_somebody_else_is_judged_like_ours(tmp_path):
    """It is registered as an entry point registers it; the truth is in the dataset, not in the table."""

    @settings
    class Brightness(Score):
        """Mean of the image.

        Columns read:
            image: any.
        """

        name = "brightness_of_others"
        columns = {"brightness_of_others": pa.float32()}  # noqa: RUF012
        needs = frozenset({"image"})
        source = "somebody else"

        def compute(self, rows):
            return {"brightness_of_others": [float(image.mean()) for image in rows.images]}

    try:
        dataset = Dataset.from_list(list(demo_rows(24, side=48)), features=demo_features())
        table = score_table(dataset, [Brightness()], tmp_path / "scores")
        found = judge(table, dataset=dataset, draws=20, timed_rows=4)
        sight = found.sight("brightness_of_others")
        assert sight.seconds > 0
        assert found.clean == sum(row["defect"] is None for row in demo_rows(24, side=48))
        assert "random" in {sight.name for sight in found.sights if sight.kind == "recipe"}
        assert "pcs" in found.not_judged["sds-paper"]
        with pytest.raises(ValueError, match="recipe sds-paper: there is no clip_sim"):
            judge(table, dataset=dataset, recipes=["sds-paper"])
        with pytest.raises(ValueError, match="their ids differ"):
            judge(table, dataset=dataset.select(range(23, -1, -1)))
    finally:
        del REGISTRY["brightness_of_others"]


def test_what_cannot_be_judged_is_said(scores, tmp_path):
    with pytest.raises(ValueError, match="the scores do not say which dataset they are of: name it with dataset="):
        judge(scores, truth="torn")
    with pytest.raises(ValueError, match="a size is a number of rows from 1 to 240"):
        judge(scores, recipes=(), size=241)
    with pytest.raises(ValueError, match="recipe sds-paper: there is no clip_sim or pcs or asf_miou"):
        judge(scores, recipes=["sds-paper"])
    with pytest.raises(ValueError, match="no score table and no Parquet file"):
        judge(str(tmp_path / "none.parquet"))
    table = pq.read_table(scores)
    for values, words in ((["x"] * ROWS, "null in no row"), ([None] * ROWS, "null in every row")):
        column = pa.array(values, pa.string())
        pq.write_table(table.drop_columns("defect").append_column("defect", column), tmp_path / "one.parquet")
        with pytest.raises(ValueError, match=words):
            judge(str(tmp_path / "one.parquet"))
    pq.write_table(table.select(["id", "row", "defect"]), tmp_path / "none.parquet")
    with pytest.raises(ValueError, match="there is no score to judge"):
        judge(str(tmp_path / "none.parquet"))


def test_from_trusted_pairs_to_a_section_of_the_card(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Dataset.from_list(list(demo_rows(12, side=64)), features=demo_features()).save_to_disk("trusted")
    assert main(["defects", "trusted", "--out", "spoilt", "--copies", "2"]) == 0
    assert "rows that have a defect already" in capsys.readouterr().out
    assert main(["score", "spoilt", "--out", "scores", "--scores", "boundary"]) == 0
    capsys.readouterr()
    assert (
        main(
            [
                "judge",
                "scores",
                "--out",
                "judged",
                "--draws",
                "20",
                "--rule",
                "top_k: {column: boundary, fraction: 0.3}",
            ]
        )
        == 0
    )
    shown = capsys.readouterr().out
    assert "What each sees" in shown
    assert "not judged" in shown
    found = json.loads((tmp_path / "judged" / "judgement.json").read_text())
    assert {sight["name"] for sight in found["sights"]} >= {"chance", "boundary", "top 30% of boundary"}
    boundary = next(sight for sight in found["sights"] if sight["name"] == "boundary")
    assert boundary["auroc"]["any"][0] > 0.6
    assert any(name.endswith("/strong") for name in boundary["by_strength"])
    text = (tmp_path / "judged" / "section.md").read_text()
    assert text.startswith("<!-- sds-hf: keep start -->\n## What the scores see")
    assert "| `boundary` |" in text
    assert Pillow.open(tmp_path / "judged" / "judgement.png").width > 400
    first = (tmp_path / "judged" / "judgement.png").read_bytes()
    assert (
        main(
            ["judge", "scores", "--out", "again", "--draws", "20", "--rule", "top_k: {column: boundary, fraction: 0.3}"]
        )
        == 0
    )
    assert (tmp_path / "again" / "judgement.png").read_bytes() == first
    assert main(["judge", "scores", "--size", "some"]) == 2


def test_the_section_names_rows_where_a_recipe_keeps_another_number(scores, tmp_path):
    (tmp_path / "bound.yaml").write_text("name: bound\nrules:\n  - threshold: {column: torn_only, above: 4}\n")
    text = section(judge(scores, recipes=[tmp_path / "bound.yaml"], size=60, draws=20))
    assert ", of 180" in text
    assert "| bound (recipe) |" in text


def test_what_several_ways_keep_at_equal_size(tmp_path):
    """A table of a score that sees everything and one that sees nothing; the truth chooses the best single one."""

    @settings
    class Telling(Score):
        """Whether the caption is that of a clean row.

        Columns read:
            caption: any.
        """

        name = "telling"
        columns = {"telling": pa.float32(), "blind": pa.float32()}  # noqa: RUF012
        needs = frozenset({"caption"})
        source = "test"

        def compute(self, rows):
            captions = rows.captions
            return {"telling": [float(text == "clean") for text in captions], "blind": [0.5] * len(captions)}

    defects = [None, "torn", None, "blank", None, None, "torn", None]
    try:
        dataset = Dataset.from_list(
            [{"id": str(n), "caption": defect or "clean", "classes": [1]} for n, defect in enumerate(defects)]
        )
        table = score_table(dataset, [Telling(labels="voc")], tmp_path / "scores")
        ways = {"half": [TopK(column="blind", fraction=0.5)], "wise": [TopK(column="telling", fraction=1.0)]}
        found = keeps_of(table, defects, ways)
    finally:
        del REGISTRY["telling"]
    assert (found.size, found.rows) == (4, {"none": 5, "blank": 1, "torn": 2})
    assert list(found.shares) == ["random", "only telling", "half", "wise"]
    assert found.clean["random"] == 0.625
    assert found.clean["only telling"] == found.clean["wise"] == 1
    assert found.clean["half"] == 0.5  # the first four rows
    assert found.shares["wise"] == {"none": 0.8, "blank": 0, "torn": 0}
    show_truth.keeps(found)
