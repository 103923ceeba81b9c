"""`verify`: sound sets pass, on the Hub and in folders; whatever is wrong with one is found and named."""

import hashlib
import itertools
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from huggingface_hub import HfApi, hf_hub_download
from hypothesis import given
from hypothesis import strategies as st
from support.jobs import Job, make_recipe
from support.rows import random_dataset
from support.watching import Steps

from sds_hf import PCS, Leakage, score_table, select, verify
from sds_hf.check.rescore import OTHER_HARDWARE, SAME_HARDWARE, _compared
from sds_hf.check.verify import verify_published
from sds_hf.cli import main
from sds_hf.data.images import encode_mask
from sds_hf.hub.layout import MANIFEST

SHARD, CANDIDATES = "data/train-00000.parquet", "scores/candidates.parquet"
NUMBERS = itertools.count()


@pytest.fixture
def copy(published, tmp_path) -> Path:
    """A published folder to spoil."""
    return shutil.copytree(published, tmp_path / "copy")


@pytest.fixture
def pushed(published, hub) -> str:
    """The same on the Hub, tagged."""
    name = f"user/verified-{next(NUMBERS)}"
    push(published, name, "v1")
    return name


def push(folder: Path, name: str, tag: str) -> None:
    api = HfApi()
    api.create_repo(name, repo_type="dataset", exist_ok=True)
    api.upload_folder(repo_id=name, folder_path=folder, repo_type="dataset")
    api.create_tag(name, tag=tag, repo_type="dataset")


def outcome(found) -> dict[str, str | None]:
    """What failed, with the detail."""
    return {check.name: check.detail for check in found.checks if check.ok is False}


def sign(folder: Path) -> None:
    """Make the manifest say what is there, as somebody who falsifies a set would."""
    manifest = json.loads((folder / MANIFEST).read_text())
    for entry in manifest["files"]:
        path = folder / entry["path"]
        data = path.read_bytes()
        rows = pq.read_metadata(path).num_rows if path.suffix == ".parquet" else None
        entry |= {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "rows": rows}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def inside_an_image(path: Path) -> int:
    """Where in a shard the data of a JPEG are."""
    cell = pq.read_table(path)["image"][2].as_py()["bytes"]
    return path.read_bytes().index(cell) + len(cell) - 40


def rewrite(folder: Path, change, path: str = SHARD) -> None:
    """Change the rows of a table, with everything else that tells of it made to fit."""
    table = pq.read_table(folder / path)
    rows = table.to_pylist()
    pq.write_table(pa.Table.from_pylist(change(rows) or rows, schema=table.schema), folder / path)
    card = (folder / "README.md").read_text()
    size = sum(file.stat().st_size for file in (folder / "data").iterdir())
    start = card.index("download_size: ")
    card = f"{card[:start]}download_size: {size}{card[card.index(chr(10), start) :]}"
    (folder / "README.md").write_text(card)
    sign(folder)


def set_mask(mask: np.ndarray):
    def change(rows):
        rows[1]["mask"]["bytes"] = encode_mask(mask)

    return change


def mask_of(folder: Path) -> np.ndarray:
    return np.array(load_dataset(str(folder), split="train")[1]["mask"])


# Sound sets


def test_a_folder(published):
    found = verify(published)
    assert found.ok, found.failures
    assert [check.name for check in found.checks] == [
        "manifest", "files", "stored checksums", "checksums", "counts", "features", "load_dataset", "streaming", "ids",
        "scores", "masks",
    ]  # fmt: skip
    said = {check.name: check.detail for check in found.checks}
    assert said["counts"] == "6 rows of 12 candidates"
    assert said["load_dataset"] == "rows: default 6, scores 12"
    assert said["scores"] == "6 kept rows agree in id, clip_sim, clip_sim_mixed, pcs"
    assert said["masks"] == "6 masks decoded, with the classes that were scored"


def test_each_check_that_reads_all_rows_says_how_far_it_is(published):
    steps = Steps()
    verify(published, watch=steps)
    kept, candidates = (pq.read_metadata(published / name).num_rows for name in (SHARD, CANDIDATES))
    rows = {"checksums": kept + candidates, "load_dataset": kept + candidates, "streaming": kept}
    assert steps.totals == steps.last == {**rows, "ids": kept, "scores": kept}


def test_the_hub_at_a_version(pushed, copy, tiny_clip):
    first = verify(f"{pushed}@v1", rescore=3, places={"model": tiny_clip})
    rewrite(copy, lambda rows: rows[:-1])
    push(copy, pushed, "v2")
    again, second = verify(pushed, revision="v1"), verify(pushed)
    assert (first.failures, again.failures) == ([], [])
    assert first.revision == again.revision != second.revision
    assert {check.name for check in first.checks if check.name.startswith("rescore")} == {
        "rescore clip_sim", "rescore clip_sim_mixed", "rescore pcs",
    }  # fmt: skip
    assert set(outcome(second)) == {"counts", "load_dataset", "scores"}


def test_without_a_download_large_files_stay_where_they_are(pushed, hub):
    hub.faults.log.clear()
    found = verify(pushed, download=False)
    assert found.ok, found.failures
    assert "load_dataset" not in {check.name for check in found.checks}
    whole = [entry["line"] for entry in hub.faults.log if entry["line"].startswith("GET") and not entry["range"]]
    assert not [line for line in whole if ".parquet" in line or "/lfs/" in line]


def test_a_selection_without_a_score_table(copy):
    (copy / CANDIDATES).unlink()
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["files"] = [entry for entry in manifest["files"] if entry["path"] != CANDIDATES]
    (copy / MANIFEST).write_text(json.dumps(manifest))
    found = verify(copy)
    assert found.ok, found.failures
    assert {check.name for check in found.checks if check.ok is None} == {"stored checksums", "scores"}


# What is wrong with a folder


def test_a_flipped_byte_inside_an_image(copy):
    flip(copy / SHARD, inside_an_image(copy / SHARD))
    found = verify(copy)
    assert outcome(found) == {"checksums": f"not what {MANIFEST} says: {SHARD}"}
    assert len(load_dataset(str(copy), split="train")) == 6  # which nobody notices otherwise


@pytest.mark.parametrize("name", [SHARD, CANDIDATES, "recipe.yaml", "assets/samples.png"])
def test_a_missing_file(copy, name):
    (copy / name).unlink()
    assert outcome(verify(copy))["files"] == f"missing: {name}"


def test_a_file_that_load_dataset_would_take_for_data(copy):
    shutil.copy(copy / SHARD, copy / "data" / "train-00001.parquet")
    failed = outcome(verify(copy))
    assert failed["files"].endswith("would take notice of it: data/train-00001.parquet")
    assert "NonMatchingSplitsSizesError" in failed["load_dataset"]
    assert failed["streaming"] == "12 rows are streamed, manifest.json says 6"


def test_an_edited_card(copy):
    card = (copy / "README.md").read_text()
    (copy / "README.md").write_text(card.replace("num_examples: 6", "num_examples: 7"))
    assert set(outcome(verify(copy))) == {"checksums", "counts", "load_dataset"}
    sign(copy)
    failed = outcome(verify(copy))
    assert failed.pop("counts") == "the data has 6 rows; the card says 7"
    assert set(failed) == {"load_dataset"}


def test_a_row_too_few(copy):
    rewrite(copy, lambda rows: rows[:-1])
    failed = outcome(verify(copy))
    assert failed["counts"] == "the data has 5 rows; report.json says 6, the card says 6"
    assert failed["scores"] == "the score table keeps 6 rows, the data has 5"


def test_a_row_too_many(copy):
    rewrite(copy, lambda rows: [*rows, rows[0]])
    failed = outcome(verify(copy))
    assert failed["ids"].startswith("more than once, or null: 'r|")
    assert failed["scores"] == "the score table keeps 6 rows; the data has more"


@pytest.mark.parametrize("path", [SHARD, CANDIDATES])
def test_a_swapped_score(copy, path):
    def swap(rows):
        kept = [row for row in rows if row.get("kept", True)]
        kept[0]["pcs"], kept[1]["pcs"] = kept[1]["pcs"], kept[0]["pcs"]

    rewrite(copy, swap, path)
    failed = outcome(verify(copy))
    assert set(failed) == {"scores"}
    assert failed["scores"].startswith("pcs of row 0 is ")


def test_two_scores_that_are_no_number_agree(copy):
    def spoil(rows):
        next(row for row in rows if row.get("kept", True))["pcs"] = math.nan

    rewrite(copy, spoil)
    assert set(outcome(verify(copy))) == {"scores"}
    rewrite(copy, spoil, CANDIDATES)
    assert outcome(verify(copy)) == {}


def test_swapped_rows(copy):
    rewrite(copy, lambda rows: rows[::-1])
    assert set(outcome(verify(copy))) == {"scores"}


def test_changed_masks(copy):
    mask = mask_of(copy)
    shown = sorted({*np.unique(mask).tolist()} - {0, 255})
    other = next(index for index in range(1, 21) if index not in shown)
    for spoilt, said in (
        (np.where(mask == shown[0], other, mask).astype(np.uint8), "shows the classes"),
        (np.where(mask == 0, 77, mask).astype(np.uint8), r"[77] stand for no class of the label space 'voc'"),
        (mask[:-4], "pixels, its image has"),
        (np.dstack([mask] * 3), "mode RGB; masks are 8-bit pictures of indices"),
    ):
        rewrite(copy, set_mask(spoilt))
        failed = outcome(verify(copy))
        assert set(failed) == {"masks"}
        assert said in failed["masks"]


def test_an_image_that_is_not_there_is_no_mask(copy):
    def empty(rows):
        rows[1]["image"] = None

    rewrite(copy, empty)
    assert "image beside the mask of 'r|" in str(outcome(verify(copy))["masks"])


def test_other_features(copy):
    table = pq.read_table(copy / SHARD)
    pq.write_table(table.drop_columns(["caption"]), copy / SHARD)
    sign(copy)
    assert outcome(verify(copy))["features"] == f"{SHARD} has other columns than the card says: caption"


def test_a_manifest_that_makes_no_sense(copy):
    text = (copy / MANIFEST).read_text()
    for spoilt, said in (
        (text.replace(SHARD, "../" + SHARD), "files: 4.path: leads out"),
        (text.replace('"size"', '"bytes"'), "is damaged: "),
        ('{"made_by": "others"}', "has no manifest.json of sds-hf"),
    ):
        (copy / MANIFEST).write_text(spoilt)
        found = verify(copy)
        assert [check.name for check in found.checks] == ["manifest"]
        assert said.removeprefix("files: 4.path: ") in found.checks[0].detail


# What is wrong on the Hub


def test_a_byte_flipped_in_the_store_or_on_the_way(pushed, hub):
    (file,) = HfApi().get_paths_info(pushed, SHARD, repo_type="dataset")
    stored = Path(hub.store.path("lfs", file.lfs.sha256))
    place = inside_an_image(stored)
    flip(stored, place)
    try:
        assert verify(pushed, download=False).ok  # the checksum that the Hub keeps is as it was
        assert outcome(verify(pushed)) == {"checksums": f"not what {MANIFEST} says: {SHARD}"}
    finally:
        flip(stored, place)
    assert verify(pushed).ok  # the bad copy in the cache is not taken


def test_a_file_that_somebody_replaced(pushed, tmp_path):
    shard = tmp_path / "shard"
    shutil.copy(hf_hub_download(pushed, SHARD, repo_type="dataset"), shard)
    flip(shard, inside_an_image(shard))
    HfApi().upload_file(path_or_fileobj=shard, path_in_repo=SHARD, repo_id=pushed, repo_type="dataset")
    failed = outcome(verify(pushed, download=False))
    assert failed == {"stored checksums": f"the Hub's checksums are not those of {MANIFEST}: {SHARD}"}
    assert set(outcome(verify(pushed))) == {"stored checksums", "checksums"}
    assert verify(pushed, revision="v1").ok
    assert not verify_published(pushed, HfApi().dataset_info(pushed).sha).ok


# Scoring again


def test_numbers_that_cannot_be_reproduced(copy, tiny_clip):
    for path in (SHARD, CANDIDATES):

        def change(rows):
            for row in rows:
                row["pcs"] += 0.01

        rewrite(copy, change, path)
    assert verify(copy).ok  # everything agrees, only not with the model
    failed = outcome(verify(copy, rescore=4, places={"model": tiny_clip}))
    assert set(failed) == {"rescore pcs"}
    assert "4 rows, fp32 on cpu: largest difference 0.01" in failed["rescore pcs"]
    assert "tolerance 5e-06" in failed["rescore pcs"]


def test_other_hardware_is_said(copy, tiny_clip):
    report = json.loads((copy / "report.json").read_text())
    report["provenance"]["device"] = "cuda:0"
    (copy / "report.json").write_text(json.dumps(report))
    sign(copy)
    found = verify(copy, rescore=2, places={"model": tiny_clip})
    assert found.ok
    assert "2 rows, fp32 on cpu, published from cuda:0" in found.checks[-1].detail
    assert found.checks[-1].detail.endswith("tolerance 0.001 for the mean")


def test_another_model_under_the_same_name(copy, other_clip):
    found = outcome(verify(copy, rescore=2, places={"pcs": {"model": other_clip}}))
    assert set(found) == {"rescore clip_sim", "rescore clip_sim_mixed", "rescore pcs"}
    assert "not scored again: model_digest is " in found["rescore pcs"]


def test_a_model_that_is_not_here(copy):
    """What is published names the publisher's folder, but not where it lies."""
    assert "cannot" in outcome(verify(copy, rescore=2))["rescore pcs"]


@pytest.mark.slow
def test_columns_of_a_fitted_set_are_named(tiny_clip, tmp_path):
    dataset = random_dataset()
    leakage = Leakage.fit(random_dataset(3), tmp_path / "val.npz", model=tiny_clip, dtype="fp32")
    scores = [PCS(model=tiny_clip, dtype="fp32", scales=(3,), orders=1), leakage]
    table, recipe = score_table(dataset, scores, tmp_path / "scores"), make_recipe()
    job = Job(dataset, table, recipe, select(table, recipe))
    job.publish(folder=tmp_path / "out")
    places = {"model": tiny_clip, "leakage": {"fitted": str(tmp_path / "val.npz")}}
    again = {check.name: check for check in verify(tmp_path / "out", rescore=2, places=places).checks}
    assert again["rescore leakage"].ok
    (tmp_path / "val.npz").unlink()
    again = {check.name: check for check in verify(tmp_path / "out", rescore=2, places=places).checks}
    assert again["rescore pcs"].ok
    for column in ("leakage", "leakage_of"):
        assert again[f"rescore {column}"].ok is None
        assert again[f"rescore {column}"].detail.startswith("not scored again: ")
        assert "val.npz" in again[f"rescore {column}"].detail


@given(
    st.lists(st.one_of(st.none(), st.floats(-3, 3)), min_size=1),
    st.sampled_from(["fp32", "bf16"]),
    st.booleans(),
    st.floats(0.1, 0.9),
    st.data(),
)
def test_tolerances(values, dtype, same, share, data):
    limit = (SAME_HARDWARE if same else OTHER_HARDWARE)[dtype]
    near = [None if value is None else value + share * limit for value in values]
    assert f"tolerance {limit:g}" in _compared(near, values, dtype, same, "here")
    place = data.draw(st.sampled_from(range(len(values))))
    far = list(near)
    far[place] = 0.5 if values[place] is None else None
    with pytest.raises(ValueError, match="largest difference inf"):
        _compared(far, values, dtype, same, "here")


def test_no_number_is_far_from_any():
    same = [math.nan, math.inf, -math.inf]
    assert "largest difference 0," in _compared(same, same, "fp32", True, "here")
    for here, there in itertools.permutations([*same, 0.5], 2):
        with pytest.raises(ValueError, match="largest difference inf"):
            _compared([0.1, here], [0.1, there], "fp32", True, "here")


# The command


def said(capsys) -> str:
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


def test_the_command(copy, capsys, tiny_clip):
    assert main(["verify", str(copy), "--rescore", "2", "--set", f"model={tiny_clip}"]) == 0
    text = said(capsys)
    assert "ok counts 6 rows of 12 candidates" in text
    assert f"verified: {copy}" in text
    flip(copy / SHARD, inside_an_image(copy / SHARD))
    assert main(["verify", str(copy)]) == 1
    text = said(capsys)
    assert f"failed checksums not what manifest.json says: {SHARD}" in text
    assert "1 of 11 checks failed" in text
    assert main(["verify", str(copy), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["result"]
    assert (found["ok"], found["target"], found["revision"]) == (False, str(copy), None)
    assert [check["name"] for check in found["checks"] if check["ok"] is False] == ["checksums"]


@pytest.mark.parametrize(
    ("target", "said_of_it"),
    [
        ("user/nothing", "no dataset on the Hub that this login may see"),
        ("a/b/c", "neither a published folder nor a Hub id"),
        ("nowhere", "neither a published folder nor a Hub id"),
    ],
)
def test_what_is_not_there(target, said_of_it, capsys):
    assert main(["verify", target]) == 2
    assert said_of_it in said(capsys)


def test_a_version_that_is_not_there(pushed, copy, capsys):
    assert main(["verify", f"{pushed}@v9"]) == 2
    assert f"{pushed} has no version 'v9' on the Hub" in said(capsys)
    with pytest.raises(ValueError, match="is a folder, which has no versions"):
        verify(copy, revision="v1")
    with pytest.raises(ValueError, match="two versions are given, 'v1' in"):
        verify(f"{pushed}@v1", revision="v2")


@pytest.fixture
def publish_command(job, stored, tmp_path, tiny_clip):
    """A dataset, its scores and a selection, as `sds-hf publish` takes them."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(make_recipe().to_yaml() + "scores: {pcs: {scales: [3], orders: 1, dtype: fp32}}\n")
    options = ["--recipe", str(recipe), "--json"]
    scores, selection = str(tmp_path / "scores"), str(tmp_path / "selection")
    assert main(["score", str(stored), "--out", scores, "--model", tiny_clip, *options]) == 0
    assert main(["select", scores, "--out", selection, *options]) == 0
    return ["publish", str(stored), selection, "--scores", scores, "--to", f"user/verified-{next(NUMBERS)}"]


@pytest.mark.slow
def test_a_push_is_verified(publish_command, hub, capsys):
    assert main(publish_command) == 0
    assert "verified: user/verified-" in said(capsys)
    assert main([*publish_command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"]["verified"]["ok"]
    hub.faults.add("GET .*/resolve/.*/recipe.yaml", "corrupt", times=-1)
    assert (
        main(publish_command) == 1
    )  # the last version, to compare with, is whole in the cache; what is verified is not
    assert "failed checksums not what manifest.json says: recipe.yaml" in said(capsys)


@pytest.mark.parametrize("target", ["user/nothing", "nobody/nothing", "user/nothing@v1"])
def test_what_is_not_there_is_asked_for_once(hub, target, capsys):
    assert main(["verify", target]) == 2
    assert "is no folder here and no dataset on the Hub that this login may see" in capsys.readouterr().err
    assert len(hub.faults.log) == 1


def test_a_login_that_is_refused_is_asked_for_once(hub, capsys):
    hub.faults.add(".*", "status", code=401, times=-1)
    assert main(["verify", "user/private"]) == 2
    assert "log in with `hf auth login`" in capsys.readouterr().err
    assert len(hub.faults.log) == 1
