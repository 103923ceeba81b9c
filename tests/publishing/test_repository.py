"""Publishing to a folder, and loading it back."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from huggingface_hub import DatasetCard
from support.jobs import load_elsewhere, make_job, sums
from support.rows import random_dataset

from sds_hf import Leakage, Recipe, Report, Threshold, load, render_card, score_table, select, verify
from sds_hf.data.folder import tables_of_dataset, write_shards
from sds_hf.data.images import decode_mask
from sds_hf.data.labels import VOC
from sds_hf.hub.layout import MANIFEST, read_manifest
from sds_hf.publishing.card.hub_rules import check_folder
from sds_hf.publishing.publish import PublishError, publish
from sds_hf.publishing.repository import build_repository
from sds_hf.selection.disclosure import public_name


@pytest.fixture
def copy(published, tmp_path):
    """A published folder to spoil."""
    return shutil.copytree(published, tmp_path / "copy")


# What is written


def test_the_files_and_their_manifest(published, job):
    manifest = json.loads((published / "manifest.json").read_text())
    listed = {entry["path"]: entry for entry in manifest["files"]}
    assert set(listed) == {
        "README.md", "recipe.yaml", "report.json", "data/train-00000.parquet", "scores/candidates.parquet",
        "assets/classes.png", "assets/samples.png", "assets/scores.png",
    }  # fmt: skip
    assert {path: entry["sha256"] for path, entry in listed.items()} == {
        path: digest for path, digest in sums(published).items() if path != "manifest.json"
    }
    rows = {path: entry["rows"] for path, entry in listed.items() if entry["rows"] is not None}
    assert rows == {"data/train-00000.parquet": job.selection.report.kept, "scores/candidates.parquet": 12}


def test_plain_load_dataset_in_another_process(published, job, tmp_path):
    seen = load_elsewhere(str(published), tmp_path)
    assert not seen["ours"]
    assert seen["rows"] == seen["streamed"] == job.expected()
    assert seen["names"] == list(VOC.names)
    assert seen["columns"] == [*job.dataset.column_names, "clip_sim", "clip_sim_mixed", "pcs"]
    assert seen["mode"] == "L"
    table, kept = job.table.to_arrow(), job.selection.kept_rows()
    assert seen["pcs"] == pytest.approx([table["pcs"][int(row)].as_py() for row in kept])
    assert seen["reasons"] == dict(
        zip(*(job.selection.table()[name].to_pylist() for name in ("id", "reason")), strict=True)
    )


def test_images_are_stored_as_they_are(published):
    metadata = pq.ParquetFile(published / "data" / "train-00000.parquet").metadata
    columns = [metadata.row_group(0).column(place) for place in range(metadata.num_columns)]
    stored = {column.path_in_schema: column.compression for column in columns}
    assert stored["image.bytes"] == stored["mask.bytes"] == "UNCOMPRESSED"
    paths = pq.read_table(published / "data" / "train-00000.parquet")["image"].combine_chunks().field("path")
    assert not [path for path in paths.to_pylist() if "/" in path]


def test_masks_carry_a_palette_if_it_is_asked_for(job, tmp_path):
    recipe = job.recipe.model_copy(update={"publish": job.recipe.publish.model_copy(update={"mask_palette": True})})
    publish(job.dataset, job.selection, recipe, scores=job.table, folder=tmp_path / "colours")
    rows = load_dataset(str(tmp_path / "colours"), "default", split="train", cache_dir=str(tmp_path / "cache"))
    masks = {row["id"]: decode_mask(row["mask"]) for row in job.selection.apply(job.dataset)}
    assert {row["mask"].mode for row in rows} == {"P"}
    assert all((np.asarray(row["mask"]) == masks[row["id"]]).all() for row in rows)
    assert "The masks carry a palette" in (tmp_path / "colours" / "README.md").read_text(encoding="utf-8")
    assert verify(tmp_path / "colours").failures == []


def test_row_groups_are_small_enough_for_the_viewer(tmp_path):
    write_shards(tables_of_dataset(random_dataset(205)), tmp_path)
    metadata = pq.ParquetFile(tmp_path / "data" / "train-00000.parquet").metadata
    assert [metadata.row_group(place).num_rows for place in range(metadata.num_row_groups)] == [100, 100, 5]


def test_no_folder_of_this_machine_is_published(tiny_clip, tmp_path):
    """Models, fitted files and sources are named, but not where they lie."""
    reference = Leakage.fit(random_dataset(3), tmp_path / "val.npz", model=tiny_clip, dtype="fp32")
    rules = [{"top_k": {"column": "leakage", "target": 3}}]
    recipe = Recipe.from_dict({"source": {"path": str(tmp_path / "raw"), "labels": "voc"}, "rules": rules})
    dataset = random_dataset()
    table = score_table(dataset, [reference], tmp_path / "scores", source=str(tmp_path / "raw"))
    recipe = recipe.computed_as(table.manifest["scores"])
    publish(dataset, select(table, recipe), recipe, scores=table, folder=tmp_path / "out")
    for path in (path for path in (tmp_path / "out").rglob("*") if path.suffix in (".yaml", ".json", ".md")):
        text = path.read_text().replace(str(tmp_path / "out"), "")
        assert str(tmp_path) not in text, path
        assert str(Path(tiny_clip).parent) not in text, path
    recipe = Recipe.load(tmp_path / "out" / "recipe.yaml")
    assert (recipe.source.path, recipe.scores["leakage"]["fitted"]) == ("raw", "val.npz")


def test_a_folder_is_called_by_its_last_part():
    places = ["/home/me/sets/voc", "~/sets/voc", "../sets/voc", "./sets/voc"]
    assert {public_name(place) for place in places} == {"voc"}
    assert public_name("user/voc") == "user/voc"


def test_card_and_report_tell_the_same_again(published):
    recipe, report = Recipe.load(published / "recipe.yaml"), Report.load(published / "report.json")
    assert render_card(recipe, report) == (published / "README.md").read_text()
    assert report.truth["none"][0] == 4
    assert sum(before for before, _ in report.truth.values()) == 12
    assert sum(after for _, after in report.truth.values()) == report.kept
    assert recipe.publish.folder == published.name


def test_building_twice_gives_the_same_bytes(job, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        build_repository(job.dataset, job.selection, job.recipe, tmp_path / name, scores=job.table)
    assert sums(tmp_path / "one") == sums(tmp_path / "two")


def test_a_selection_from_columns_of_a_dataset(job, tmp_path):
    scored = job.dataset.add_column("quality", [place / 12 for place in range(12)])
    rules = Recipe(name="own", rules=[Threshold(column="quality", above=0.5)])
    publish(scored, select(scored, rules), rules, folder=tmp_path / "out")
    loaded = load_dataset(str(tmp_path / "out"), split="train")
    assert loaded["id"] == scored["id"][7:]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "tvmonitor" in card
    assert "SDS" not in card
    assert not (tmp_path / "out" / "scores").exists()


# What is refused


def test_a_dataset_that_was_not_scored_is_refused(job, tmp_path):
    rows = job.dataset.with_format("arrow")[:].to_pylist()
    rows[3]["image"] = rows[4]["image"]
    other = type(job.dataset).from_list(rows, features=job.dataset.features)
    for dataset, said in (
        (other, "is not the one that was scored"),
        (other.select(range(5)), "was made of 12 rows; this dataset has 5"),
    ):
        with pytest.raises(ValueError, match=said):
            publish(dataset, job.selection, job.recipe, scores=job.table, folder=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_other_ids_are_refused_where_there_is_nothing_else_to_compare(job, tmp_path):
    rules = [Threshold(column="quality", above=3)]
    selection = select(job.dataset.add_column("quality", list(range(12))), rules)
    recipe = job.recipe.model_copy(update={"rules": rules})
    with pytest.raises(ValueError, match="made of other rows: row 4 was"):
        publish(job.dataset.select(range(11, -1, -1)), selection, recipe, folder=tmp_path / "out")
    rows = job.dataset.with_format("arrow")[:].to_pylist()
    rows[3]["image"] = rows[4]["image"]
    other = type(job.dataset).from_list(rows, features=job.dataset.features)
    with pytest.raises(ValueError, match="is not the one that was scored"):
        publish(other, selection, recipe, folder=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_scores_that_were_not_selected_from_are_refused(job, other_clip, tmp_path):
    other = make_job(other_clip, tmp_path)
    with pytest.raises(ValueError, match=r"not made from the scores in .*; run `sds-hf select`"):
        job.publish(scores=other.table, folder=tmp_path / "out")


def test_somebody_elses_folder_is_never_replaced(job, tmp_path):
    scores = shutil.copytree(job.table.folder, tmp_path / "scores")  # has a manifest.json too
    before = sums(scores)
    with pytest.raises(ValueError, match="is not empty"):
        job.publish(folder=scores, overwrite=True)
    with pytest.raises(ValueError, match="is not empty"):
        job.publish(folder=scores, overwrite=True, dry_run=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        job.publish(folder=tmp_path / "file", overwrite=True)
    assert sums(scores) == before


def test_our_own_folder_is_replaced_when_told_so(job, copy):
    (copy / "assets" / "mine.png").write_text("")
    with pytest.raises(PublishError, match="overwrite=True replaces it"):
        job.publish(folder=copy)
    done = job.selecting(1.0).publish(folder=copy, overwrite=True, scores=None)
    assert done.removed == ["scores/candidates.parquet"]
    assert {path.name for path in copy.iterdir()} == {
        "README.md", "assets", "data", "manifest.json", "recipe.yaml", "report.json",
    }  # fmt: skip
    assert (copy / "assets" / "mine.png").exists()
    assert load(copy).num_rows == done.report.kept > job.selection.report.kept
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


def test_what_was_written_into_the_card_by_hand_stays(job, copy):
    note = "<!-- sds-hf: keep start -->\nTrained on it: 61.2 mIoU.\n<!-- sds-hf: keep end -->"
    readme = copy / "README.md"
    written = readme.read_text().replace("---\n", "---\nviewer: false\n", 1)
    readme.write_text(written.replace("\n## Citation\n", f"\n{note}\n\n## Citation\n"))
    job.selecting(1.0).publish(folder=copy, overwrite=True)
    again = readme.read_text()
    assert again.index("## Licence") < again.index(note) < again.index("## Citation")
    assert DatasetCard(again).data["viewer"] is False
    (listed,) = [entry for entry in read_manifest(copy / MANIFEST)["files"] if entry["path"] == "README.md"]
    assert listed["sha256"] == sums(copy)["README.md"]
    assert not check_folder(copy).errors


@pytest.mark.parametrize("dry_run", [True, False])
def test_lines_by_hand_outside_of_the_marks_are_not_dropped_without_a_word(job, copy, dry_run):
    readme = copy / "README.md"
    text = readme.read_text()
    readme.write_text(text.replace("\n## Citation\n", "\nTrained on it: 61.2 mIoU.\n\n## Citation\n"))
    before = sums(copy)
    with pytest.raises(PublishError, match=r"lines written by hand .*, first 'Trained on it: 61\.2 mIoU\.': put them"):
        job.selecting(1.0).publish(folder=copy, overwrite=True, dry_run=dry_run)
    assert sums(copy) == before
    readme.write_text(text.replace("\n## Citation\n", "\n## Citation \n\n"))  # which takes nothing from anybody
    job.selecting(1.0).publish(folder=copy, overwrite=True, dry_run=dry_run)


def test_a_card_the_hub_would_refuse_is_not_published(job, tmp_path):
    recipe = job.recipe.model_copy(update={"publish": job.recipe.publish.model_copy(update={"license": "other"})})
    with pytest.raises(ValueError, match="license 'other' needs a license_name"):
        publish(job.dataset, job.selection, recipe, scores=job.table, folder=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_the_dataset_says_of_itself_is_carried_through(job, tmp_path):
    dataset = job.dataset.select(range(12))
    dataset.info.license, dataset.info.citation = "CC BY 4.0 | mine", "@misc{a, title={`}}"
    publish(dataset, job.selection, job.recipe, scores=job.table, folder=tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "- license: CC BY 4.0 \\| mine" in card
    assert "```bibtex\n@misc{a, title={`}}\n```" in card


def test_what_fails_leaves_the_folder_as_it_was(job, copy):
    before = sums(copy)
    with pytest.raises(ValueError, match="made of other rows: row 2 was"):
        publish(job.dataset.select(range(11, -1, -1)), job.selection, job.recipe, folder=copy, overwrite=True)
    assert sums(copy) == before
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


def test_a_dry_run_writes_nothing(job, copy, tmp_path):
    before = sums(copy)
    done = job.publish(folder=tmp_path / "new", dry_run=True)
    assert done.dry_run
    assert set(done.files) == set(before)
    assert done.report.kept == job.selection.report.kept
    assert job.publish(folder=copy, overwrite=True, dry_run=True).removed == []
    assert sums(copy) == before
    assert [path.name for path in tmp_path.iterdir()] == [copy.name]


def test_a_relative_folder(job, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job.publish(folder="out")
    assert 'load_dataset("out", split="train")' in (tmp_path / "out" / "README.md").read_text()
    assert load("out").num_rows == job.selection.report.kept


# load


def test_load_checks_what_it_loads(copy):
    assert load(copy)["id"] == load_dataset(str(copy), split="train")["id"]
    shard = copy / "data" / "train-00000.parquet"
    data = bytearray(shard.read_bytes())
    data[200] ^= 1
    shard.write_bytes(data)
    with pytest.raises(ValueError, match=r"data/train-00000.parquet is missing or differs from its checksum"):
        load(copy)
    shard.unlink()
    with pytest.raises(ValueError, match="is missing"):
        load(copy)


def test_load_wants_a_folder_of_ours(job, stored):
    for folder in (stored, job.table.folder):
        with pytest.raises(ValueError, match=r"was not published by it; load it with datasets.load_dataset"):
            load(folder)
