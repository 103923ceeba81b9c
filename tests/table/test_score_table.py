"""Score tables: columns, shards, going on after an interruption, and rows that fail."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from support.crashes import Crash, crash_at
from support.models import make_clip
from support.rows import random_dataset
from support.watching import Steps

from sds_hf import ASF, PCS, ClassesPresent, ScoreTable, score_table
from sds_hf.clip.encoder import Encoder
from sds_hf.data.content import content_digest
from sds_hf.data.images import encode_mask
from sds_hf.scores.base.batches import AllFailedError
from sds_hf.table.manifest import MANIFEST

SCORED = ["clip_sim", "clip_sim_mixed", "pcs", "asf_miou"]


@pytest.fixture(scope="module")
def pcs(tiny_clip) -> PCS:
    return PCS(model=tiny_clip, dtype="fp32", scales=(3,), orders=2)


@pytest.fixture(scope="module")
def scores(pcs, tiny_clip) -> list:
    return [pcs, ASF(model=tiny_clip, dtype="fp32")]


@pytest.fixture(scope="module")
def whole(dataset, scores, tmp_path_factory) -> ScoreTable:
    """The twelve rows in shards of five, made without interruption."""
    return score_table(dataset, scores, tmp_path_factory.mktemp("scores") / "whole", rows_per_shard=5, source="mine")


@pytest.fixture
def copy(whole, tmp_path) -> Path:
    """A copy of its folder to do harm to."""
    return Path(shutil.copytree(whole.folder, tmp_path / "copy"))


@pytest.fixture
def encoded(monkeypatch) -> list[int]:
    """Sizes of the batches that went through the encoder."""
    seen = []
    original = Encoder.encode_images
    monkeypatch.setattr(
        Encoder, "encode_images", lambda self, pixels, *how: (seen.append(len(pixels)), original(self, pixels, *how))[1]
    )
    return seen


def close(found: pa.Table, expected: pa.Table):
    assert found.schema == expected.schema
    for name in found.column_names:
        if name in SCORED:
            np.testing.assert_allclose(found[name].to_numpy(), expected[name].to_numpy(), atol=2e-5)
        else:
            assert found[name].to_pylist() == expected[name].to_pylist()


def manifest_of(folder: Path) -> dict:
    return json.loads((folder / MANIFEST).read_text())


# What is in it


def test_columns_and_types(whole, dataset):
    table = whole.to_arrow()
    assert {field.name: str(field.type) for field in table.schema} == {
        "id": "string", "row": "int64", "classes_present": "list<element: int32>", "num_classes_present": "int32",
        "clip_sim": "float", "clip_sim_mixed": "float", "pcs": "float", "asf_miou": "float",
        "status": "string", "error": "string",
    }  # fmt: skip
    assert table["id"].to_pylist() == dataset["id"]
    assert table["row"].to_pylist() == list(range(12))
    assert table["classes_present"].to_pylist() == dataset["classes"]
    assert table["num_classes_present"].to_pylist() == [len(classes) for classes in dataset["classes"]]
    assert set(table["status"].to_pylist()) == {"ok"}
    assert table["error"].null_count == 12


def test_shards_of_a_fixed_number_of_rows(whole):
    names = [f"scores-{place:05d}-of-00003.parquet" for place in range(3)]
    assert sorted(path.name for path in whole.folder.iterdir()) == [MANIFEST, *names]
    assert [path.name for path in whole.paths] == names
    assert [pq.read_metadata(path).num_rows for path in whole.paths] == [5, 5, 2]
    assert ScoreTable.load(str(whole.folder)).to_arrow() == whole.to_arrow()


def test_the_manifest_says_what_made_it(whole, scores, tiny_clip):
    manifest = manifest_of(whole.folder)
    assert manifest == whole.manifest
    assert manifest["source"] | {"sha256": None} == {"name": "mine", "rows": 12, "sha256": None}
    assert [score["score"] for score in manifest["scores"]] == ["classes_present", "pcs", "asf_miou"]
    assert manifest["scores"][1] == scores[0].identity() | {"labels": "voc", "scales": [3]}
    model = manifest["models"][tiny_clip]
    assert len(model["weights_sha256"]) == len(model["digest"]) == 64
    assert model["preprocessing"]["size"] == [48, 48]
    assert manifest["notes"] == ["pcs: the tiles of scales [3] are whole ViT patches, which weakens the score"]
    assert manifest["labels"]["names"][12] == "dog"
    assert {"sds-hf", "python", "torch", "transformers"} <= set(manifest["versions"])
    assert (manifest["complete"], manifest["failed"], manifest["device"]) == (True, 0, "cpu")
    assert set(whole.provenance()) - {"table_sha256"} < set(manifest)
    assert [shard["rows"] for shard in manifest["shards"]] == [5, 5, 2]


def test_the_numbers_of_map(whole, dataset, scores):
    for score in scores:
        mapped = dataset.map(score, batched=True)
        for name in score.columns:
            np.testing.assert_allclose(whole.to_arrow()[name].to_numpy(), mapped[name], atol=2e-5)


@pytest.mark.parametrize(("batch_size", "rows_per_shard"), [(1, 12), (5, 7), (100, 1)])
def test_neither_batches_nor_shards_change_the_numbers(whole, dataset, scores, tmp_path, batch_size, rows_per_shard):
    other = score_table(dataset, scores, tmp_path, batch_size=batch_size, rows_per_shard=rows_per_shard)
    assert len(other.paths) == -(-12 // rows_per_shard)
    close(other.to_arrow(), whole.to_arrow())


def test_rows_without_a_name_are_called_by_their_number(dataset, tmp_path):
    table = score_table(dataset.remove_columns("id"), [ClassesPresent()], tmp_path, rows_per_shard=7)
    assert table.to_arrow()["id"].to_pylist() == [str(row) for row in range(12)]


def test_classes_do_where_no_score_needs_the_mask(dataset, pcs, whole, tmp_path):
    table = score_table(dataset.remove_columns("mask"), [pcs], tmp_path)
    close(table.to_arrow(), whole.to_arrow().drop_columns("asf_miou"))


# Going on


@pytest.mark.parametrize("rows", [2, 5, 9])
def test_an_interrupted_run_goes_on_after_its_last_shard(whole, dataset, scores, tmp_path, encoded, rows):
    settings = {"rows_per_shard": 5, "batch_size": 2, "source": "mine"}
    with pytest.raises(Crash):
        score_table(dataset, scores, tmp_path, **settings, progress=crash_at(rows))
    done = len(list(tmp_path.glob("scores-*.parquet")))
    assert done == (rows - 1) // 5
    with pytest.raises(ValueError, match="is not finished; run the same `sds-hf score` again to go on"):
        ScoreTable.load(tmp_path)
    encoded.clear()
    table = score_table(dataset, scores, tmp_path, **settings)
    assert sum(encoded) == (12 - 5 * done) * 3  # intact and two shuffles
    close(table.to_arrow(), whole.to_arrow())
    close(ScoreTable.load(tmp_path).to_arrow(), whole.to_arrow())
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.slow
def test_a_killed_process_goes_on(whole, stored, tiny_clip, tmp_path, scores, dataset):
    code = f"""
import os
from datasets import load_dataset
from sds_hf import ASF, PCS, score_table
rows = load_dataset({str(stored)!r}, split="train")
scores = [PCS(model={tiny_clip!r}, dtype="fp32", scales=(3,), orders=2), ASF(model={tiny_clip!r}, dtype="fp32")]
score_table(rows, scores, {str(tmp_path)!r}, rows_per_shard=5, batch_size=3,
            progress=lambda done, failed: done > 8 and os._exit(9))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    first = tmp_path / "scores-00000-of-00003.parquet"
    written = first.stat().st_mtime_ns
    assert len(list(tmp_path.glob("scores-*.parquet"))) == 1
    table = score_table(dataset, scores, tmp_path, rows_per_shard=5)  # the same rows, from elsewhere
    assert first.stat().st_mtime_ns == written
    close(table.to_arrow(), whole.to_arrow())


def test_a_finished_table_is_not_made_again(whole, dataset, scores, copy, encoded):
    calls = []
    table = score_table(
        dataset, scores, copy, rows_per_shard=5, source="elsewhere", progress=lambda *done: calls.append(done)
    )
    assert encoded == []
    assert calls == [(12, 0)]
    assert table.to_arrow() == whole.to_arrow()
    assert manifest_of(copy) == whole.manifest


def test_progress_counts_rows_and_failures(dataset, tmp_path):
    rows = dataset.with_format("arrow")[:].to_pylist()
    for place in (1, 2, 6):
        rows[place]["mask"] = None
    calls = []
    broken = Dataset.from_list(rows, features=dataset.features)
    score_table(
        broken, [ClassesPresent()], tmp_path, rows_per_shard=5, batch_size=2,
        progress=lambda *done: calls.append(done),
    )  # fmt: skip
    assert calls == [(0, 0), (2, 1), (4, 2), (5, 2), (7, 3), (9, 3), (10, 3), (12, 3)]


@pytest.mark.parametrize("harm", ["gone", "cut", "changed"])
def test_a_damaged_shard_is_found_and_made_anew(whole, dataset, scores, copy, encoded, harm):
    path = copy / "scores-00001-of-00003.parquet"
    if harm == "gone":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    else:  # still Parquet, but another's numbers
        pq.write_table(whole.to_arrow().slice(0, 5), path)
    with pytest.raises(ValueError, match=r"scores-00001-of-00003\.parquet is missing or not what manifest\.json says"):
        ScoreTable.load(copy)
    score_table(dataset, scores, copy, rows_per_shard=5)
    assert sum(encoded) == 5 * 3
    close(ScoreTable.load(copy).to_arrow(), whole.to_arrow())


def test_a_shard_that_cannot_be_read_is_made_anew_even_if_nothing_is_known_of_it(whole, dataset, scores, copy):
    (copy / "scores-00001-of-00003.parquet").write_bytes(b"PAR1 half of it")
    (copy / MANIFEST).write_text(json.dumps(manifest_of(copy) | {"shards": [], "complete": False}))
    close(score_table(dataset, scores, copy, rows_per_shard=5).to_arrow(), whole.to_arrow())


# Another request


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"seed": 1}, r"scores\.pcs\.seed is 0, now 1"),
        ({"scales": (3, 4)}, r"scores\.pcs\.scales is \[3\], now \[3, 4\]"),
        ({"similarity": "cosine"}, r'scores\.pcs\.similarity is "prob", now "cosine"'),
        ({"dtype": "bf16"}, r'scores\.pcs\.dtype is "fp32", now "bf16"'),
    ],
)
def test_another_setting_is_refused(dataset, pcs, scores, copy, change, difference):
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    changed = PCS(**(pcs.values() | change))
    with pytest.raises(
        ValueError, match=rf"copy holds scores of another request \({difference}\); choose another out="
    ):
        score_table(dataset, [changed, scores[1]], copy, rows_per_shard=5)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


def test_other_rows_weights_and_scores_are_refused(dataset, pcs, scores, copy, tmp_path):
    with pytest.raises(
        ValueError, match=r"\(the dataset had 12 rows, now 11\); choose another out=\.\.\. or delete it$"
    ):
        score_table(dataset.select(range(11)), scores, copy, rows_per_shard=5)
    with pytest.raises(
        ValueError,
        match=r"\(the dataset's rows have changed, or their order\); choose another out=\.\.\. or delete it$",
    ):
        score_table(dataset.select([1, 0, *range(2, 12)]), scores, copy, rows_per_shard=5)
    with pytest.raises(ValueError, match=r"\(rows_per_shard is 5, now 6\); .*, or go on with rows_per_shard=5$"):
        score_table(dataset, scores, copy, rows_per_shard=6)
    with pytest.raises(
        ValueError, match=r"\(asf_miou is in it and not asked for\); choose another out=\.\.\. or delete it$"
    ):
        score_table(dataset, [pcs], copy, rows_per_shard=5)
    with pytest.raises(
        ValueError, match=r"\(boundary is not in it\); choose .*; `sds-hf score` with its option `add` adds"
    ):
        score_table(dataset, [*scores, "boundary"], copy, rows_per_shard=5)
    with pytest.raises(ValueError, match=r'labels\.name is "voc", now "coco"|scores\.\w+\.labels is "voc", now "coco"'):
        score_table(dataset, [PCS(**pcs.values() | {"labels": "coco"})], copy, rows_per_shard=5)
    other = PCS(**pcs.values() | {"model": str(make_clip(tmp_path / "other", seed=3))})
    with pytest.raises(ValueError, match=r"scores\.pcs\.model is .*scores\.pcs\.model_digest is "):
        score_table(dataset, [other, scores[1]], copy, rows_per_shard=5)


def test_a_folder_of_something_else_is_refused(dataset, scores, copy, tmp_path):
    (copy / MANIFEST).unlink()
    with pytest.raises(ValueError, match=r"holds scores without manifest\.json; choose another out="):
        score_table(dataset, scores, copy, rows_per_shard=5)
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / MANIFEST).write_text(json.dumps({"format": 1, "files": []}))
    with pytest.raises(ValueError, match=r"manifest\.json is no manifest of a score table: choose another folder"):
        score_table(dataset, scores, tmp_path / "published")
    with pytest.raises(ValueError, match="holds no score table; `sds-hf score` makes one"):
        ScoreTable.load(tmp_path / "gone")
    with pytest.raises(ValueError, match=r"manifest\.json is no manifest of a score table"):
        ScoreTable.load(tmp_path / "published")


def test_the_digest_of_the_rows_is_of_what_they_hold(dataset, stored, tmp_path):
    from datasets import load_dataset

    digest = content_digest(dataset)
    assert content_digest(load_dataset(str(stored), split="train")) == digest
    assert content_digest(dataset.add_column("note", ["x"] * 12)) == digest
    assert content_digest(dataset.select(range(12))) == digest
    rows = dataset.with_format("arrow")[:].to_pylist()
    for change in ({"id": "other"}, {"mask": rows[2]["mask"]}, {"image": None}, {"classes": [1, 2, 3]}):
        changed = Dataset.from_list([{**rows[0], **change}, *rows[1:]], features=dataset.features)
        assert content_digest(changed) != digest


def test_what_goes_over_the_dataset_before_its_rows_says_how_far_it_is(dataset, tmp_path):
    dataset.save_to_disk(tmp_path / "saved")
    on_disk = Dataset.load_from_disk(tmp_path / "saved")  # whose content is read once in a process
    steps = Steps()
    score_table(on_disk, "tfdp", tmp_path / "scores", watch=steps)
    assert steps.totals == steps.last == {"fitting": 12, "reading": 12}
    steps = Steps()
    score_table(on_disk, "boundary", tmp_path / "others", watch=steps)
    assert steps.totals == {}  # nothing is fitted, and the content is known


# Failures


def test_rows_that_fail_are_recorded_and_the_run_goes_on(dataset, scores, whole, tmp_path):
    rows = dataset.with_format("arrow")[:].to_pylist()
    rows[0]["image"]["bytes"] = b"broken"
    rows[3]["mask"] = rows[4]["mask"]  # of another size
    rows[5]["mask"] = {"bytes": encode_mask(np.full((40, 40), 99, np.uint8)), "path": "unknown.png"}
    rows[6]["image"] = None
    rows[7]["image"] = {"bytes": None, "path": str(tmp_path / "gone.jpg")}
    broken = Dataset.from_list(rows, features=dataset.features)
    score_table(broken, scores, tmp_path / "scores", rows_per_shard=4, batch_size=3)
    table = ScoreTable.load(tmp_path / "scores")
    found = table.to_arrow()
    failed = [0, 3, 5, 6, 7]
    assert table.manifest["failed"] == len(failed)
    assert [place for place, status in enumerate(found["status"].to_pylist()) if status == "failed"] == failed
    for name in ("classes_present", "num_classes_present", *SCORED):
        assert [place for place, value in enumerate(found[name].to_pylist()) if value is None] == failed
    assert [found["error"][place].as_py() for place in failed] == [
        "image row000.jpg: 6 bytes that are no image",
        "mask row004.png: 56x40 pixels, but the image has 40x40",
        "mask unknown.png: [99] stand for no class of the label space 'voc' (1 to 20, 255 is ignored)",
        "image row006: the cell is empty",
        "image gone.jpg: cannot read gone.jpg: No such file or directory",
    ]
    good = [place for place in range(12) if place not in failed]
    close(found.take(good), whole.to_arrow().take(good))


def test_a_table_of_nothing_but_failures_keeps_its_types(dataset, pcs, whole, tmp_path):
    rows = [row | {"image": None} for row in dataset.with_format("arrow")[:].to_pylist()]
    with pytest.raises(AllFailedError, match="all 12 rows failed, the first with: image row000: the cell is empty"):
        score_table(Dataset.from_list(rows, features=dataset.features), [pcs], tmp_path)
    table = ScoreTable.load(tmp_path).to_arrow()
    assert table.schema == whole.to_arrow().drop_columns("asf_miou").schema
    assert table["pcs"].null_count == 12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.select([]), "the dataset mine has no rows"),
        (
            lambda rows: rows.remove_columns("image"),
            r"need the columns .*; \['image'\] missing among \['caption',",
        ),
        (lambda rows: rows.remove_columns("mask"), r"\['mask'\] missing"),
        (lambda rows: rows.remove_columns("classes"), 'labels="auto" needs a column `classes`'),
        (lambda rows: rows.select([0, 1, 2, 1]), "the id 'row001' occurs more than once, in rows 1 and 3"),
        (
            lambda rows: rows.remove_columns("id").add_column("id", ["a", None, *"bcdefghijk"]),
            "row 1 has no id; scores are joined by id",
        ),
    ],
)
def test_a_dataset_that_does_not_fit_stops_before_anything_is_written(dataset, scores, tmp_path, change, message):
    with pytest.raises(ValueError, match=message) as caught:
        score_table(change(dataset), scores, tmp_path / "out", source="mine")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["rows_per_shard", "batch_size"])
def test_numbers_that_make_no_sense(dataset, scores, tmp_path, name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, not 0"):
        score_table(dataset, scores, tmp_path / "out", **{name: 0})


def test_scores_that_do_not_go_together(dataset, pcs, tmp_path):
    with pytest.raises(ValueError, match="scores computed together need one label space"):
        score_table(dataset, [pcs, ClassesPresent(labels="coco")], tmp_path / "out")
    with pytest.raises(ValueError, match="use model='demo'"):
        score_table(dataset, [PCS(model=str(tmp_path / "gone"))], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_stored_dataset_is_scored_like_one_in_memory(stored, scores, whole, tmp_path):
    from datasets import load_dataset

    loaded = load_dataset(str(stored), split="train")
    close(score_table(loaded.select(range(6)), scores, tmp_path).to_arrow(), whole.to_arrow().slice(0, 6))
    assert random_dataset(6)["id"] == loaded.select(range(6))["id"]
