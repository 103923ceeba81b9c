"""One file with the rows that matter."""

import base64
import hashlib
import io
import json
import re

import pyarrow.parquet as pq
import pytest

from sds_hf.explore.look import look
from sds_hf.explore.rows_that_matter import changed_rows, rows_that_matter
from sds_hf.publishing.card.borderline import borderline_rows
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.select import select


@pytest.fixture
def selection(job, tmp_path):
    return select(job.table, job.recipe, out=tmp_path / "selection")


def told(page: str) -> dict:
    return json.loads(re.search(r'id="explore-data">(.*?)</script>', page, re.S).group(1))


def test_the_rows_nearest_to_what_decided(job, selection):
    decisions, cells = selection.table(), job.table.to_arrow()
    sections = {s.heading: s.rows for s in rows_that_matter(decisions, cells, job.recipe, selection.report)}
    scores, kept = cells["clip_sim"].to_pylist(), decisions["kept"].to_pylist()
    bound = selection.report.steps[0].bounds["above"]
    inside, outside = (next(rows for name, rows in sections.items() if side in name) for side in ("inside", "outside"))
    assert [line.row for line in inside] == sorted(
        (row for row in range(12) if kept[row]), key=lambda row: scores[row] - bound
    )[:8]
    assert all(scores[line.row] <= bound for line in outside)
    assert outside[0].row == max((row for row in range(12) if scores[row] <= bound), key=lambda row: scores[row])
    last, first = (next(rows for name, rows in sections.items() if side in name) for side in ("last in", "first out"))
    ranks, cutoffs = (decisions[f"num_classes_{part}"].to_pylist() for part in ("rank", "cutoff"))
    assert {line.row for line in last} == {row for row in range(12) if kept[row] and ranks[row] == cutoffs[row]}
    assert {line.row for line in first} == {row for row in range(12) if ranks[row] and ranks[row] == cutoffs[row] + 1}


def test_a_card_shows_the_nearest_of_these_rows(job, selection, tmp_path):
    decisions, cells = selection.table(), job.table.to_arrow()
    sections = rows_that_matter(decisions, cells, job.recipe, selection.report)
    pq.write_table(decisions.append_column("clip_sim", cells["clip_sim"]), tmp_path / "scored.parquet")
    shown = borderline_rows(tmp_path / "scored.parquet", job.recipe.rules, selection.report.steps)
    assert list(shown) == [section.rows[0].row for section in sections]


def test_rows_whose_group_is_full(job, tmp_path):
    rule = {"at_most_per_group": {"column": "pcs", "by": ["num_classes_present"], "rows": 1}}
    recipe = Recipe.from_dict(
        {"rules": [{"top_per_group": {"column": "pcs", "by": "num_classes_present", "fraction": 1}}, rule]}
    )
    selection = select(job.table, recipe, out=tmp_path / "full")
    decisions, cells = selection.table(), job.table.to_arrow()
    (section,) = [s for s in rows_that_matter(decisions, cells, recipe, selection.report) if "Rule 2" in s.heading]
    full = [row for row, reason in enumerate(decisions["reason"].to_pylist()) if reason.endswith("is full")]
    assert [line.row for line in section.rows] == sorted(full, key=lambda row: -cells["pcs"][row].as_py())
    assert section.rows[0].note.startswith("num_classes ")


def test_what_came_and_what_went(job, selection, tmp_path):
    fewer = select(job.table, job.selecting(0.2).recipe, out=tmp_path / "fewer")
    then, now = set(selection.kept_rows().tolist()), set(fewer.kept_rows().tolist())
    came, went = changed_rows(selection.table(), fewer.table())
    assert {line.row for line in came.rows} == now - then
    assert {line.row for line in went.rows} == then - now


def test_the_file_holds_everything_and_runs_nothing_else(job, selection, tmp_path):
    page = look(selection, job.dataset, scores=job.table, against=selection, out=tmp_path / "look.html").page
    assert (tmp_path / "look.html").read_text(encoding="utf-8") == page
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page).group(1)
    script = re.search(r'<script type="module">(.*)</script>', page, re.S).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "connect-src data:" in policy
    assert "</script" not in script
    config = told(page)
    table = pq.read_table(io.BytesIO(base64.b64decode(config["tables"][0]["base64"])))
    assert table["pcs"].to_pylist() == job.table.to_arrow()["pcs"].to_pylist()
    shown = {line["row"] for section in config["sections"] for line in section["rows"]}
    assert {int(row) for row in config["pictures"]["rows"]} == shown
    assert "srcdoc=" in look(selection, job.dataset, scores=job.table)._repr_html_()


def test_texts_of_others_stay_inside_the_data(job, tmp_path):
    name = "</script><script>alert(1)</script>"
    selection = select(job.table, job.recipe.model_copy(update={"name": name}), out=tmp_path / "selection")
    page = look(selection, scores=job.table).page
    assert name not in page
    assert told(page)["recipes"][0]["name"] == name


@pytest.mark.parametrize("name", ["{}/private", "private", "./private", "../{0.name}/private", "a/../private"])
def test_scores_of_a_stranger_bring_no_pictures_of_mine_into_the_page(job, selection, tmp_path, monkeypatch, name):
    """A report may name any folder; only what lies here and has the rows that were scored is looked at."""
    private = job.dataset.map(lambda row: {"id": f"mine {row['id']}"}) if name == "private" else job.dataset
    private.save_to_disk(tmp_path / "private")
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    selection.report.provenance["source"]["name"] = name.format(tmp_path)
    assert told(look(selection, scores=job.table).page)["pictures"] is None


def test_another_dataset_of_as_many_rows_is_refused(job, selection):
    """Its pictures would stand beside scores of others."""
    other = job.dataset.map(lambda row: {"id": f"other {row['id']}"})
    with pytest.raises(ValueError, match="are of other rows"):
        look(selection, other, scores=job.table)


def test_scores_of_another_selection_are_refused(job, selection, tmp_path):
    with pytest.raises(ValueError, match="no score table beside"):
        look(selection)
    selection.report.provenance["table_sha256"] = "0"
    with pytest.raises(ValueError, match="was not made from the scores in"):
        look(selection, scores=job.table)
