"""Scores that join a table: only new columns are computed, and tables made apart become one."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from support.crashes import Crash, crash_at
from support.rows import random_dataset, random_row, row_features

from sds_hf import (
    ASF,
    PCS,
    Boundary,
    ClassesPresent,
    ClipSim,
    PromptMismatch,
    ScoreTable,
    add_to_table,
    join_tables,
    score_table,
    select,
)
from sds_hf.cli import main
from sds_hf.clip.encoder import Encoder
from sds_hf.data.labels import VOC
from sds_hf.publishing.repository import check_candidates
from sds_hf.table.add import ADDED, replacements
from sds_hf.table.manifest import MANIFEST


@pytest.fixture(scope="module")
def clip(tiny_clip) -> ClipSim:
    return ClipSim(model=tiny_clip, dtype="fp32")


@pytest.fixture(scope="module")
def asf(tiny_clip) -> ASF:
    return ASF(model=tiny_clip, dtype="fp32", reference="maskclip", refine="none")


@pytest.fixture
def table(dataset, clip, tmp_path) -> ScoreTable:
    return score_table(dataset, [clip], tmp_path / "scores", rows_per_shard=5, source="mine")


def other_rows(count: int) -> Dataset:
    return Dataset.from_list([random_row(50 + index) for index in range(count)], features=row_features(VOC))


def files_of(table: ScoreTable) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in table.paths}


def without_dates(table: ScoreTable) -> dict:
    later = ("created", "scored", "joined")
    return {name: value for name, value in table.manifest.items() if name not in later}


def test_a_table_that_was_added_to_is_the_one_made_at_once(dataset, clip, table, tmp_path):
    added = add_to_table(dataset, [Boundary()], table.folder, source="mine")
    at_once = score_table(dataset, [clip, Boundary()], tmp_path / "whole", rows_per_shard=5, source="mine")
    assert files_of(added) == files_of(at_once)
    assert without_dates(added) == without_dates(at_once)
    again = score_table(dataset, [clip, Boundary()], table.folder, rows_per_shard=5, source="mine")  # nothing is left
    assert files_of(again) == files_of(at_once)
    assert not (table.folder / ADDED).exists()


def test_what_was_decoded_is_told_of_tables_of_the_same_content(dataset, clip, table, tmp_path):
    classes = score_table(dataset, [ClassesPresent()], tmp_path / "classes", rows_per_shard=5)
    assert (table.pictures_decoded, classes.pictures_decoded) == ({"image", "mask"}, {"mask"})
    assert join_tables([classes, table], tmp_path / "joined").pictures_decoded == {"image", "mask"}
    classes.manifest["source"] |= {"columns": ["image", "other"], "sha256": "of other columns"}
    assert join_tables([classes, table], tmp_path / "unknown").pictures_decoded == set()


def test_each_score_has_its_own_date(dataset, table):
    manifest = table.manifest | {"created": "2026-01-01T00:00:00Z"}
    (table.folder / MANIFEST).write_text(json.dumps(manifest))
    scored = add_to_table(dataset, [Boundary()], table.folder).manifest["scored"]
    assert scored["clip_sim"] == "2026-01-01T00:00:00Z" < scored["boundary"]


def test_only_new_scores_are_computed(dataset, clip, table, monkeypatch):
    passes = []
    monkeypatch.setattr(Encoder, "encode_images", lambda *args: passes.append(1))
    joined = add_to_table(dataset, [clip, Boundary()], table.folder)
    assert not passes
    assert {"clip_sim", "boundary"} <= set(joined.to_arrow().column_names)
    assert add_to_table(dataset, [Boundary()], table.folder).sha256 == joined.sha256


def test_a_changed_setting_replaces_its_column(dataset, clip, table):
    before = table.to_arrow()["clip_sim"].to_pylist()
    other = ClipSim(model=clip.model, dtype="fp32", similarity="cosine")
    assert replacements([other], table) == {"clip_sim": ["similarity was 'prob', is 'cosine'"]}
    joined = add_to_table(dataset, [other], table.folder)
    assert joined.to_arrow()["clip_sim"].to_pylist() != before
    assert [entry["similarity"] for entry in joined.manifest["scores"] if entry["score"] == "clip_sim"] == ["cosine"]
    assert not joined.holds(table.sha256)  # a selection from the old scores is not one from these


def test_a_replaced_column_ends_what_was_joined_before(dataset, clip, table):
    added = add_to_table(dataset, [Boundary()], table.folder)
    assert added.holds(table.sha256)
    replaced = add_to_table(dataset, [ClipSim(model=clip.model, dtype="fp32", similarity="cosine")], table.folder)
    assert not replaced.holds(added.sha256)
    assert not replaced.holds(table.sha256)


@pytest.mark.parametrize("stopped", [False, True])
def test_a_damaged_shard_takes_nothing_from_what_a_manifest_says(dataset, clip, table, monkeypatch, stopped):
    added = add_to_table(dataset, [Boundary()], table.folder)
    before = (table.folder / MANIFEST).read_bytes()
    added.paths[1].write_bytes(b"PAR1 half of it")
    arguments = dataset, [clip, Boundary()], table.folder
    if stopped:
        with pytest.raises(Crash):
            score_table(*arguments, rows_per_shard=5, source="mine", progress=crash_at(8))
    again = score_table(*arguments, rows_per_shard=5, source="mine")
    assert again.holds(table.sha256)
    assert json.loads(before)["scored"] == again.manifest["scored"]
    assert json.loads(before) == again.manifest

    again.paths[1].write_bytes(b"PAR1 half of it")  # and where its numbers become others, as on another machine
    compute = Boundary.compute
    monkeypatch.setattr(Boundary, "compute", lambda self, rows: compute(self, rows) | {"boundary": [0.5] * len(rows)})
    other = score_table(*arguments, rows_per_shard=5, source="mine")
    assert not other.holds(table.sha256)
    assert "was" not in other.manifest


def test_two_scores_write_the_same_column(dataset, clip, tiny_clip, tmp_path):
    shuffled = PCS(model=tiny_clip, dtype="fp32", scales=(3,), orders=1)
    table = score_table(dataset, [shuffled], tmp_path / "pcs")
    cosine = ClipSim(model=tiny_clip, dtype="fp32", similarity="cosine")
    other = score_table(dataset, [cosine], tmp_path / "cosine")
    with pytest.raises(ValueError, match=r"pcs and clip_sim both write .* with different similarity"):
        add_to_table(dataset, [cosine], table.folder)
    with pytest.raises(ValueError, match="both write the column 'clip_sim'"):
        join_tables([table, other], tmp_path / "both")
    assert not (tmp_path / "both").exists()
    before = table.to_arrow()["clip_sim"].to_pylist()
    assert add_to_table(dataset, [clip], table.folder).to_arrow()["clip_sim"].to_pylist() == before


def test_a_replaced_score_leaves_no_column_that_it_does_not_write_now(dataset, tiny_clip, tmp_path):
    two = ASF(model=tiny_clip, dtype="fp32", reference="maskclip,naclip", refine="none")
    table = score_table(dataset, [two, Boundary()], tmp_path / "scores")
    one = ASF(model=tiny_clip, dtype="fp32", reference="maskclip", refine="none")
    assert "asf_agreement" in table.to_arrow().column_names
    names = add_to_table(dataset, [one], table.folder).to_arrow().column_names
    assert "asf_agreement" not in names
    assert {"asf_miou", "boundary"} < set(names)


def test_rows_of_another_dataset_are_refused(table):
    with pytest.raises(ValueError, match="was made of 12 rows that are not those of this dataset"):
        add_to_table(other_rows(12), [Boundary()], table.folder)
    with pytest.raises(ValueError, match=r"of the label space"):
        add_to_table(random_dataset(12), [Boundary(labels="coco")], table.folder)


def test_an_interrupted_addition_goes_on(dataset, table, monkeypatch):
    before = files_of(table)
    computed, compute = [], Boundary.compute

    def stops(self, rows):
        computed.append(len(rows))
        if len(computed) == 2:
            raise KeyboardInterrupt
        return compute(self, rows)

    monkeypatch.setattr(Boundary, "compute", stops)
    with pytest.raises(KeyboardInterrupt):
        add_to_table(dataset, [Boundary()], table.folder, batch_size=5)
    assert files_of(ScoreTable.load(table.folder)) == before
    joined = add_to_table(dataset, [Boundary()], table.folder, batch_size=5)
    assert sum(computed) - computed[1] == 12  # the first shard was not computed again
    assert joined.to_arrow()["boundary"].null_count < 12


@pytest.mark.parametrize("after", [0, 5])
def test_an_addition_after_one_of_other_scores_that_was_stopped(dataset, clip, table, monkeypatch, after):
    """Before a row was scored nothing is lost; then it has to be finished, or given up."""
    compute = Boundary.compute
    monkeypatch.setattr(Boundary, "compute", stopping(compute, after))
    with pytest.raises(KeyboardInterrupt):
        add_to_table(dataset, [Boundary()], table.folder, batch_size=5)
    monkeypatch.setattr(Boundary, "compute", compute)
    aside = table.folder / ADDED
    assert (aside / MANIFEST).exists()
    if after:
        with pytest.raises(ValueError, match=r"^an addition of boundary to .*scores was stopped, and this is") as error:
            add_to_table(dataset, [PromptMismatch()], table.folder)
        assert "boundary is in it and not asked for" in str(error.value)
        assert str(error.value).endswith(f"add that again to finish it first, or delete {aside} to give it up")
        add_to_table(dataset, [Boundary()], table.folder)
    names = {entry["score"] for entry in add_to_table(dataset, [PromptMismatch()], table.folder).manifest["scores"]}
    assert names == {"classes_present", "clip_sim", "prompt_mismatch", *(["boundary"] if after else [])}
    assert not aside.exists()


def stopping(compute, after: int):
    """A score's method that Ctrl-C stops after so many rows."""
    computed = []

    def stops(self, rows):
        if sum(computed) >= after:
            raise KeyboardInterrupt
        computed.append(len(rows))
        return compute(self, rows)

    return stops


def test_tables_of_other_shards_are_joined(dataset, clip, asf, table, tmp_path):
    other = score_table(dataset, [asf], tmp_path / "asf", rows_per_shard=7)
    joined = join_tables([table, other], tmp_path / "joined").to_arrow()
    assert joined["id"].equals(table.to_arrow()["id"])
    assert joined["asf_miou"].equals(other.to_arrow()["asf_miou"])
    assert joined["clip_sim"].equals(table.to_arrow()["clip_sim"])
    whole = score_table(dataset, [clip, asf], tmp_path / "whole", rows_per_shard=5, source="mine")
    assert files_of(join_tables([table, other], tmp_path / "again")) == files_of(whole)


def test_what_failed_anywhere_has_failed(dataset, table, tmp_path):
    other = score_table(dataset, [Boundary()], tmp_path / "other", rows_per_shard=12)
    rows = other.to_arrow().to_pylist()
    rows[3] |= {"status": "failed", "error": "torn", "boundary": None}
    pq.write_table(pa.Table.from_pylist(rows, other.to_arrow().schema), other.paths[0])
    joined = join_tables([table, other], tmp_path / "joined")
    row = joined.to_arrow().to_pylist()[3]
    assert (row["status"], row["error"], row["clip_sim"], row["boundary"]) == ("failed", "torn", None, None)
    assert joined.manifest["failed"] == 1
    assert not joined.holds(table.sha256)


@pytest.mark.parametrize(
    ("rows", "words"), [(11, "12 and 11 rows"), (12, "other has no row 'row000', so the tables are not of the same")]
)
def test_tables_of_other_rows(dataset, table, tmp_path, rows, words):
    other = score_table(other_rows(rows), [Boundary()], tmp_path / "other")
    with pytest.raises(ValueError, match=words):
        join_tables([table, other], tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_ids_that_are_not_there(dataset, table, tmp_path):
    other = score_table(dataset, [Boundary()], tmp_path / "other")
    rows = other.to_arrow().to_pylist()
    rows[0]["id"] = "stranger"
    pq.write_table(pa.Table.from_pylist(rows, other.to_arrow().schema), other.paths[0])
    with pytest.raises(ValueError, match="has no row"):
        join_tables([table, other], tmp_path / "joined")


def test_a_selection_from_before_is_published_with_the_scores_since(dataset, table):
    selection = select(table, [])
    joined = add_to_table(dataset, [Boundary()], table.folder)
    check_candidates(dataset, selection, joined)  # refuses scores that were not selected from
    assert joined.holds(table.sha256)


def test_from_the_command_line(dataset, table, tmp_path, capsys):
    dataset.to_parquet(tmp_path / "data.parquet")
    data, scores = str(tmp_path / "data.parquet"), str(table.folder)
    assert main(["score", data, "--out", scores, "--add", "boundary", "--json"]) == 0
    assert "boundary" in json.loads(capsys.readouterr().out)["result"]["scores"]
    other = score_table(dataset, [ClassesPresent()], tmp_path / "other")
    assert main(["join", scores, str(other.folder), "--out", str(tmp_path / "both"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"]["scores"] == ["classes_present", "clip_sim", "boundary"]
    assert main(["score", data, "--out", scores, "--add", "boundary", "--scores", "pcs"]) == 2
    assert "one of --scores, --recipe, --for and --add" in " ".join(capsys.readouterr().err.split())
