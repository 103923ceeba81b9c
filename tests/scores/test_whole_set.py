"""Scores that need the whole set: what is found depends on the rows only, and is part of fingerprint and manifest."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from datasets.fingerprint import Hasher
from support.rows import random_dataset

from sds_hf import TFDP, Diversity, Recipe, ScoreTable, add_scores, render_card, score_table, select
from sds_hf.cli import main
from sds_hf.data.images import encode_mask
from sds_hf.data.labels import VOC
from sds_hf.scores.base import whole_set as fitting
from sds_hf.scores.base.rows import Rows
from sds_hf.scores.base.whole_set import fit_scores
from sds_hf.table.plan import plan_table

IDF = Diversity(weights="idf")


@pytest.fixture
def passes(monkeypatch) -> list[tuple[str, ...]]:
    """The scores that each pass over a dataset fitted."""
    seen, original = [], fitting._statistics
    monkeypatch.setattr(
        fitting,
        "_statistics",
        lambda scores, *args: (seen.append(tuple(s.name for s in scores)), original(scores, *args))[1],
    )
    return seen


def values(dataset: Dataset | ScoreTable, name: str = "cb_scs") -> list[float]:
    return (
        dataset.to_arrow()[name] if isinstance(dataset, ScoreTable) else dataset.with_format("arrow")[name]
    ).to_pylist()


def test_add_scores_fits_what_is_not_fitted_in_one_pass(dataset, passes):
    fitted = TFDP(min_area=3).fit(dataset)
    assert passes == [("tfdp",)]
    scored = add_scores(dataset, TFDP(), IDF)
    assert passes[1:] == [("tfdp", "diversity")]
    assert sum(values(scored)) == pytest.approx(len(TFDP().fit(dataset).statistics["sum"]))
    before = len(passes)
    add_scores(dataset, fitted, Diversity())
    assert len(passes) == before


def test_the_statistics_depend_on_the_rows_only(dataset, monkeypatch):
    """Not on their order, their parts, or the processes that score them."""
    expected = TFDP().fit(dataset).statistics
    order = np.random.default_rng(0).permutation(len(dataset))
    assert TFDP().fit(dataset.select(order)).statistics == expected
    assert TFDP().fit(dataset.to_iterable_dataset()).statistics == expected
    (in_three,) = fit_scores([TFDP()], dataset, VOC, num_proc=3)
    assert in_three.statistics == expected
    for size in (1, 5):
        monkeypatch.setattr(fitting, "ROWS_AT_ONCE", size)
        assert TFDP().fit(dataset).statistics == expected
    whole = values(add_scores(dataset, TFDP(), batch_size=5))
    assert values(add_scores(dataset, TFDP(), num_proc=2)) == whole
    assert values(add_scores(dataset.select(order), TFDP())) == [whole[place] for place in order]


def test_streams(dataset):
    stream = add_scores(dataset.to_iterable_dataset(), TFDP())
    assert [row["cb_scs"] for row in stream] == values(add_scores(dataset, TFDP()))


def test_map_takes_a_fitted_score_and_refuses_another(dataset):
    mapped = dataset.map(TFDP().fit(dataset), batched=True, batch_size=5)
    assert values(mapped) == values(add_scores(dataset, TFDP()))
    with pytest.raises(ValueError, match=r"tfdp needs statistics of the whole set: use add_scores\(dataset, score\)"):
        dataset.map(TFDP(), batched=True)


def test_pickle_and_fingerprint_know_the_statistics(dataset):
    fitted = TFDP().fit(dataset)
    again = pickle.loads(pickle.dumps(fitted))
    assert again == fitted
    assert Hasher.hash(again) == Hasher.hash(fitted)
    others = [TFDP(), TFDP().fit(dataset.select(range(5))), IDF.fit(dataset)]
    assert len({Hasher.hash(score) for score in [fitted, *others]}) == 4
    assert fitted.identity()["statistics"] == fitted.statistics
    assert fitted.fit(dataset.select(range(5))) == others[1]  # fitted anew


def test_the_cache_follows_the_set(dataset, tmp_path, passes):
    """The same rows in the same files are scored once; another set gives other numbers for the same rows."""
    dataset.save_to_disk(str(tmp_path / "saved"))
    saved = Dataset.load_from_disk(str(tmp_path / "saved"))
    first = add_scores(saved, TFDP())
    second = add_scores(Dataset.load_from_disk(str(tmp_path / "saved")), TFDP())
    assert len(passes) == 1
    assert [file["filename"] for file in second.cache_files] == [file["filename"] for file in first.cache_files]
    half = add_scores(saved.select(range(6)), TFDP())
    assert len(passes) == 2
    assert values(half) != values(first)[:6]
    assert values(half, "si_scs") == values(first, "si_scs")[:6]


def test_rows_that_cannot_be_read_take_no_part(dataset):
    broken = [{**row, "mask": {"bytes": b"x", "path": None}} for row in dataset.with_format("arrow")[:2].to_pylist()]
    rows = broken + dataset.with_format("arrow")[2:].to_pylist()
    mixed = Dataset.from_list(rows, features=dataset.features)
    assert TFDP().fit(mixed).statistics == TFDP().fit(dataset.select(range(2, 12))).statistics
    with pytest.warns(UserWarning, match="2 rows could not be scored"):
        assert values(add_scores(mixed, TFDP()))[:2] == [None, None]


def test_a_set_without_objects():
    mask = {"bytes": encode_mask(np.zeros((8, 8), np.uint8)), "path": None}
    dataset = random_dataset(1).map(lambda row: row | {"mask": mask, "classes": []})
    assert TFDP().fit(dataset).statistics == {"sum": {}, "count": {}}
    assert values(add_scores(dataset, TFDP())) == [0]
    fitted = fit_scores([TFDP(), IDF], dataset.select([]), VOC)
    assert [score.statistics for score in fitted] == [{"sum": {}, "count": {}}, {"rows": {}}]


def test_a_score_in_parts_adds_up():
    """What `merge` promises: the order of the parts does not matter."""
    masks = np.random.default_rng(0).integers(0, 4, (9, 30, 30)).astype(np.uint8)
    rows = Rows(VOC, (), masks, np.array([[c + 1 in np.unique(m) for c in range(20)] for m in masks]))
    score = TFDP()
    parts = [score.collect(rows.part(start, start + 3)) for start in (0, 3, 6)]
    whole = score.freeze(score.collect(rows))
    for order in ((0, 1, 2), (2, 0, 1)):
        first, second, third = (tuple(map(type(parts[0][0]), parts[place])) for place in order)
        assert score.freeze(score.merge(score.merge(first, second), third)) == whole


# Score tables


def test_the_manifest_has_the_statistics_and_the_recipe_has_not(dataset, tmp_path):
    table = score_table(dataset, [TFDP(min_area=2), IDF], tmp_path / "scores", rows_per_shard=5)
    _, tfdp, diversity = json.loads((tmp_path / "scores" / "manifest.json").read_text())["scores"]
    fitted = TFDP(min_area=2).fit(dataset)
    assert tfdp["statistics"]["sum"] == {str(c): total for c, total in fitted.statistics["sum"].items()}
    assert diversity["statistics"]["rows"]["-1"] == 12
    assert values(table) == values(add_scores(dataset, TFDP(min_area=2)))
    recipe = Recipe.from_dict(
        {"scores": {"tfdp": {"min_area": 2}}, "rules": [{"threshold": {"column": "cb_scs", "above": "q0.5"}}]}
    )
    selection = select(table, recipe, out=tmp_path / "selection")
    assert selection.report.kept == 6
    assert Recipe.load(tmp_path / "selection" / "recipe.yaml").scores["tfdp"] == {"min_area": 2}
    card = render_card(recipe, selection.report)
    assert "min_area=2" in card
    assert "statistics=" not in card  # the manifest and the report have them


def test_an_interrupted_table_goes_on_with_the_same_numbers(dataset, tmp_path):
    class Interrupted(Exception):
        pass

    def stop(done: int, failed: int) -> None:
        if done >= 7:
            raise Interrupted

    with pytest.raises(Interrupted):
        score_table(dataset, [TFDP()], tmp_path / "a", rows_per_shard=3, batch_size=2, progress=stop)
    assert len(list((tmp_path / "a").glob("scores-*.parquet"))) == 2
    table = score_table(dataset, [TFDP()], tmp_path / "a", rows_per_shard=3, batch_size=5)
    assert table.sha256 == score_table(dataset, [TFDP()], tmp_path / "b", rows_per_shard=3).sha256


def test_a_table_of_another_set_is_refused(dataset, tmp_path):
    fitted = TFDP().fit(dataset.select(range(6)))
    score_table(dataset, [fitted], tmp_path, rows_per_shard=5)
    with pytest.raises(ValueError, match=r"holds scores of another request \(scores.tfdp.statistics.sum"):
        score_table(dataset, [TFDP()], tmp_path, rows_per_shard=5)
    with pytest.raises(ValueError, match=r"scores.tfdp.min_area is 1, now 2"):
        score_table(dataset, [TFDP(min_area=2)], tmp_path, rows_per_shard=5)


def test_further_columns_are_part_of_the_content(dataset, tmp_path):
    """A column that only some score reads decides numbers, so a table knows it; other columns do not matter."""
    boxes = [[{"class": 1 + row % 3}] * (1 + row % 2) for row in range(len(dataset))]
    score = Diversity(objects="boxes")
    table = score_table(dataset.add_column("boxes", boxes), [score], tmp_path / "scores", rows_per_shard=5)
    again = score_table(
        dataset.add_column("boxes", boxes).add_column("note", boxes), [score], tmp_path / "scores", rows_per_shard=5
    )
    assert again.manifest == table.manifest
    changed = dataset.add_column("boxes", boxes[::-1])
    with pytest.raises(ValueError, match="the dataset's rows have changed"):
        score_table(changed, [score], tmp_path / "scores", rows_per_shard=5)


def test_a_plan_reads_a_sample_only(dataset, tmp_path, passes):
    many = Dataset.from_list(dataset.with_format("arrow")[:].to_pylist() * 20, features=dataset.features)
    many = many.remove_columns("id")
    plan = plan_table(many, [TFDP()], tmp_path / "none")
    assert (plan.rows_left, plan.problems) == (240, [])
    assert plan.rows_per_second > 0
    assert not (tmp_path / "none").exists()
    table = score_table(many, [TFDP()], tmp_path / "scores", rows_per_shard=100)
    shutil.copytree(table.folder, tmp_path / "copy")
    (tmp_path / "copy" / "scores-00001-of-00003.parquet").unlink()
    assert plan_table(many, [TFDP()], tmp_path / "copy", rows_per_shard=100).rows_left == 100


def test_on_the_command_line(stored, tmp_path, capsys):
    assert main(["score", str(stored), "--scores", "tfdp,diversity", "--out", str(tmp_path / "scores"), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["result"]["scores"]) == {
        "scs",
        "si_scs",
        "cb_scs",
        "diversity",
        "effective",
    }
    assert Path(tmp_path / "scores" / "manifest.json").exists()
