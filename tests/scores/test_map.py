"""Scores through `Dataset.map`, called exactly as a user would."""

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from datasets import Dataset, Image, IterableDataset, Value, load_dataset, load_from_disk
from datasets.fingerprint import Hasher
from support.rows import random_dataset

from sds_hf import ASF, PCS, ClipSim, add_scores
from sds_hf.clip import encoder as clip_module

COLUMNS = ["clip_sim", "clip_sim_mixed", "pcs"]


@pytest.fixture
def pcs(tiny_clip) -> PCS:
    return PCS(model=tiny_clip, dtype="fp32", scales=(3, 4), orders=2)


def rows_of(dataset: Dataset) -> list[dict]:
    stored = dataset.cast_column("image", Image(decode=False)).cast_column("mask", Image(decode=False))
    table = stored.with_format("arrow")[:]
    return table.to_pylist()


@pytest.fixture
def reference(dataset, tiny_clip) -> list[float]:
    """The same, one row at a time, with the label space given."""
    score = PCS(model=tiny_clip, dtype="fp32", scales=(3, 4), orders=2, labels="voc")
    return [score({key: [value] for key, value in row.items()})["pcs"][0] for row in rows_of(dataset)]


def encoded(dataset: Dataset, column: str = "image") -> list[bytes]:
    return [cell and cell["bytes"] for cell in dataset.with_format("arrow")[:][column].to_pylist()]


def close(values, reference):
    np.testing.assert_allclose(values, reference, atol=2e-5)


def test_from_memory(dataset, pcs, reference):
    scored = dataset.map(pcs, batched=True)
    close(scored["pcs"], reference)
    assert [scored.features[name] for name in COLUMNS] == [Value("float32")] * 3
    assert scored.column_names == dataset.column_names + COLUMNS
    assert encoded(scored) == encoded(dataset)
    assert encoded(scored, "mask") == encoded(dataset, "mask")
    assert {key: scored.features[key] for key in dataset.features} == dict(dataset.features)


def test_from_disk(dataset, pcs, reference, tmp_path):
    dataset.save_to_disk(tmp_path / "saved")
    loaded = load_from_disk(tmp_path / "saved")
    scored = loaded.map(pcs, batched=True, batch_size=5)
    close(scored["pcs"], reference)
    assert encoded(scored) == encoded(dataset)


def test_from_parquet(stored, dataset, pcs, reference):
    scored = load_dataset(str(stored), split="train").map(pcs, batched=True, batch_size=7)
    close(scored["pcs"], reference)
    assert encoded(scored) == encoded(dataset)


def test_with_two_processes(stored, dataset, pcs, reference):
    loaded = load_dataset(str(stored), split="train")
    scored = loaded.map(pcs, batched=True, num_proc=2, with_rank=True)
    close(scored["pcs"], reference)
    assert encoded(scored) == encoded(dataset)


def test_with_indices_and_rank(dataset, pcs, reference):
    close(dataset.map(pcs, batched=True, with_indices=True, with_rank=True)["pcs"], reference)


def test_one_row_at_a_time(dataset, pcs, reference):
    scored = dataset.map(pcs)
    close(scored["pcs"], reference)
    assert encoded(scored) == encoded(dataset)


def test_a_stream(dataset, pcs, tiny_clip, reference):
    stream = dataset.to_iterable_dataset(num_shards=2)
    score = PCS(model=tiny_clip, dtype="fp32", scales=(3, 4), orders=2, labels="voc")
    close([row["pcs"] for row in stream.map(score, batched=True, batch_size=5)], reference)
    close([row["pcs"] for row in stream.map(score)], reference)
    close([row["pcs"] for row in stream.map(pcs, batched=True)], reference)
    with pytest.raises(ValueError, match="this stream does not tell what its columns are"):
        next(iter(stream.map(lambda row: row).map(pcs, batched=True)))


def test_a_stream_of_undecoded_images_keeps_their_bytes(dataset, tiny_clip, reference):
    stream = dataset.to_iterable_dataset()
    for column in ("image", "mask"):
        stream = stream.cast_column(column, Image(decode=False))
    score = PCS(model=tiny_clip, dtype="fp32", scales=(3, 4), orders=2, labels="voc")
    rows = list(stream.map(score, batched=True, batch_size=5))
    close([row["pcs"] for row in rows], reference)
    assert [row["image"]["bytes"] for row in rows] == encoded(dataset)


def test_add_scores_on_a_stream_knows_the_label_space(dataset, pcs, reference):
    stream = add_scores(dataset.to_iterable_dataset(), pcs)
    assert isinstance(stream, IterableDataset)
    assert stream.features["pcs"] == Value("float32")
    close([row["pcs"] for row in stream], reference)


@pytest.mark.parametrize("kind", ["numpy", "decode=False", "selected", "subset of columns"])
def test_other_forms_of_the_same_data(dataset, pcs, tiny_clip, reference, kind):
    data, order = dataset, list(range(len(dataset)))
    if kind == "numpy":
        data = dataset.with_format("numpy")
        pcs = PCS(model=tiny_clip, dtype="fp32", scales=(3, 4), orders=2, labels="voc")
    elif kind == "decode=False":
        data = dataset.cast_column("image", Image(decode=False)).cast_column("mask", Image(decode=False))
    elif kind == "selected":
        order = [7, 2, 9]
        data = dataset.select(order)
    else:
        data = dataset.select_columns(["image", "mask", "classes"])
    scored = data.map(pcs, batched=True, batch_size=4)
    close(scored.with_format(None)["pcs"], [reference[row] for row in order])


def test_classes_stand_in_for_a_missing_mask(dataset, pcs, reference):
    close(dataset.remove_columns("mask").map(pcs, batched=True)["pcs"], reference)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 12])
def test_numbers_do_not_depend_on_the_batch(dataset, pcs, reference, batch_size):
    close(dataset.map(pcs, batched=True, batch_size=batch_size)["pcs"], reference)


def test_numbers_do_not_depend_on_the_order(dataset, pcs, reference):
    turned = dataset.select(range(len(dataset) - 1, -1, -1))
    close(turned.map(pcs, batched=True, batch_size=5)["pcs"], reference[::-1])


# Fingerprints


def fingerprint_in_another_process(model: str, settings: str = "", extra: str = "") -> str:
    imports = "from datasets.fingerprint import Hasher\nfrom sds_hf import PCS"
    return ran(f"{extra}\n{imports}\nprint(Hasher.hash(PCS(model={model!r}{settings})))").strip()


def ran(code: str) -> str:
    """What another process prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_fingerprint_is_the_same_in_another_process(tiny_clip):
    assert fingerprint_in_another_process(tiny_clip) == Hasher.hash(PCS(model=tiny_clip))


def test_the_fingerprint_changes_with_settings_weights_and_version(tiny_clip, other_clip, monkeypatch):
    hashes = {
        Hasher.hash(score)
        for score in (
            PCS(model=tiny_clip),
            PCS(model=other_clip),
            PCS(model=tiny_clip, seed=1),
            PCS(model=tiny_clip, similarity="cosine"),
            PCS(model=tiny_clip, scales=(8,)),
            PCS(model=tiny_clip, labels="coco"),
            ClipSim(model=tiny_clip),
            ASF(model=tiny_clip),
            ASF(model=tiny_clip, reference="maskclip"),
        )
    }
    monkeypatch.setattr(PCS, "version", PCS.version + 1)
    assert len(hashes | {Hasher.hash(PCS(model=tiny_clip))}) == 10


def test_the_dtype_is_resolved_before_hashing(tiny_clip):
    from sds_hf.clip.device import current_device, dtype_name, resolve_dtype

    named = dtype_name(resolve_dtype("auto", current_device()))
    assert Hasher.hash(PCS(model=tiny_clip)) == Hasher.hash(PCS(model=tiny_clip, dtype=named))
    other = "fp32" if named == "bf16" else "bf16"
    assert Hasher.hash(PCS(model=tiny_clip)) != Hasher.hash(PCS(model=tiny_clip, dtype=other))


def test_a_second_process_hits_the_cache(stored, tiny_clip):
    code = f"""
from datasets import load_dataset
from sds_hf import PCS, add_scores
from sds_hf.clip import encoder as clip
loaded = load_dataset({str(stored)!r}, split="train")
score = PCS(model={tiny_clip!r}, scales=(3,), orders=1)
by_map = loaded.map(score, batched=True)
by_add = add_scores(loaded, score, batch_size=BATCH)
print(len(clip._loaded), by_map["pcs"][0] == by_add["pcs"][0])
"""
    outputs = [ran(code.replace("BATCH", batch)) for batch in ("32", "4")]
    assert outputs[0].split() == ["1", "True"]
    assert outputs[1].split() == ["0", "True"]  # the batch size of add_scores does not matter


def test_a_model_that_cannot_be_had_is_an_error_not_a_random_fingerprint(dataset, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="use model='demo'"):
            dataset.map(PCS(model=str(tmp_path / "gone")), batched=True)


# Models


def test_the_model_is_loaded_once_and_never_pickled(dataset, pcs, monkeypatch):
    monkeypatch.setattr(clip_module, "_loaded", {})
    loads = []
    original = clip_module.Encoder.__init__

    def counting(self, *args):
        loads.append(1)
        original(self, *args)

    monkeypatch.setattr(clip_module.Encoder, "__init__", counting)
    dataset.map(pcs, batched=True, batch_size=3)
    dataset.map(ASF(model=pcs.model, dtype="fp32"), batched=True, batch_size=3)
    assert len(loads) == 1
    assert len(pickle.dumps(pcs)) < 800
    again = pickle.loads(pickle.dumps(pcs))
    assert again == pcs


# Failures


@pytest.fixture
def broken() -> Dataset:
    """Eight rows; a broken image, a mask of another size, an unknown class and an empty cell among them."""
    rows = random_dataset(8).with_format("arrow")[:].to_pylist()
    rows[0]["image"]["bytes"] = b"broken"
    rows[3]["mask"] = rows[4]["mask"]  # of another size
    rows[5]["mask"] = random_dataset_mask(99)
    rows[6]["image"] = None
    return Dataset.from_list(rows, features=random_dataset(1).features)


def random_dataset_mask(value: int) -> dict:
    from sds_hf.data.images import encode_mask

    return {"bytes": encode_mask(np.full((40, 40), value, np.uint8)), "path": "unknown.png"}


def test_rows_that_fail_get_nulls_and_one_warning(broken, pcs):
    with pytest.warns(UserWarning, match="could not be scored") as caught:
        scored = broken.map(pcs, batched=True, batch_size=2)
    assert len(caught) == 1
    message = str(caught[0].message)
    assert message.startswith("4 rows could not be scored and got nulls; for example: image row000.jpg: 6 bytes")
    assert [value is None for value in scored["pcs"]] == [True, False, False, True, False, True, True, False]
    assert encoded(scored) == encoded(broken)


def test_a_first_batch_of_nulls_does_no_harm(broken, pcs):
    first = broken.select([0, 6, 1, 2])
    with pytest.warns(UserWarning, match="2 rows"):
        scored = first.map(pcs, batched=True, batch_size=2)
    assert scored.features["pcs"] == Value("float32")
    assert [value is None for value in scored["pcs"]] == [True, True, False, False]


def test_a_row_without_a_class_has_no_score_and_is_no_failure(dataset, pcs, tiny_clip):
    rows = dataset.with_format("arrow")[:].to_pylist()[1:3]
    rows[0] |= {"mask": random_dataset_mask(0), "classes": []}
    data = Dataset.from_list(rows, features=dataset.features)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scored = add_scores(data, pcs, ASF(model=tiny_clip))
    assert scored["pcs"][0] is None
    assert scored["asf_miou"][0] is None
    assert scored["pcs"][1] is not None


def test_what_a_score_needs_is_named(dataset, pcs, tiny_clip):
    with pytest.raises(ValueError, match=r"need the columns \['image', 'mask'\]; \['mask'\] missing"):
        dataset.remove_columns("mask").map(ASF(model=tiny_clip), batched=True)
    with pytest.raises(ValueError, match='labels="auto" needs a column `classes`'):
        dataset.remove_columns("classes").map(pcs, batched=True)
    with pytest.raises(TypeError, match="without input_columns"):
        dataset.map(pcs, batched=True, input_columns=["image", "mask"])
    with pytest.raises(
        ValueError,
        match=r"^PCS: similarity: should be 'prob', 'prob_mean', 'prob_min', 'cosine', 'clipscore' or",
    ):
        PCS(similarity="foo")
