"""Images that repeat others: within a prompt, and of a split that must not leak."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from support.rows import random_dataset, random_row

from sds_hf import add_scores, score_table
from sds_hf.clip.encoder import load
from sds_hf.data.images import decode_image, encode_jpeg
from sds_hf.scores.duplicates import Duplicates
from sds_hf.scores.functional.neighbors import pixel_hash, text_hash
from sds_hf.scores.leakage import Leakage


def dataset_of(images, captions) -> Dataset:
    """Rows that show the images of these random rows."""
    rows = [
        random_row(shown) | {"id": f"row{place:03d}", "caption": caption}
        for place, (shown, caption) in enumerate(zip(images, captions, strict=True))
    ]
    return Dataset.from_list(rows, features=random_dataset(1).features)


@pytest.fixture(scope="module")
def repeating() -> Dataset:
    """Rows 0, 2 and 4 are one image, of which 4 has another prompt; 6 has no prompt, 7 one of its own."""
    return dataset_of([0, 1, 0, 2, 0, 3, 0, 0], ["a", "a", "a", "a", "b", "b", None, "c"])


def columns(scored) -> dict:
    return {name: list(scored[name]) for name in Duplicates.columns}


def test_duplicates_are_counted_within_a_prompt(repeating, tiny_clip):
    score = Duplicates(model=tiny_clip, dtype="fp32", threshold=1.0)
    found = columns(add_scores(repeating, score))
    assert found["duplicates"] == [1, 0, 1, 0, 0, 0, None, 0]
    assert found["duplicate_rank"] == [0, 0, 1, 0, 0, 0, None, 0]
    assert [found["duplicate_of"][row] for row in (0, 2, 4, 5, 6, 7)] == [
        "row002",
        "row000",
        "row005",
        "row004",
        None,
        None,
    ]
    assert found["duplicate_sim"][0] == found["duplicate_sim"][2] == 1
    assert found["duplicate_sim"][6] is found["duplicate_sim"][7] is None


def test_all_rows_are_compared_if_wanted(repeating, tiny_clip):
    found = columns(add_scores(repeating, Duplicates(model=tiny_clip, dtype="fp32", threshold=1.0, within=None)))
    assert found["duplicates"] == [4, 0, 4, 0, 4, 0, 4, 4]
    assert found["duplicate_rank"] == [0, 0, 1, 0, 2, 0, 3, 4]


def test_any_column_can_say_what_is_compared(repeating, tiny_clip):
    data = repeating.add_column("seed", [1, 1, 2, 1, 2, 2, 2, 1])
    found = columns(add_scores(data, Duplicates(model=tiny_clip, dtype="fp32", threshold=1.0, within="seed")))
    assert found["duplicates"] == [1, 0, 2, 0, 2, 0, 2, 1]


def test_cosines_are_those_of_the_embeddings(tiny_clip):
    data = random_dataset(10)
    encoder = load(tiny_clip, torch.device("cpu"), torch.float32)
    vectors = torch.cat(
        [encoder.encode_images(encoder.preprocess([np.asarray(row["image"].convert("RGB"))])) for row in data]
    )
    cosines = (vectors @ vectors.T).fill_diagonal_(-1).numpy()
    threshold = float(np.median(cosines.max(1)))
    found = columns(add_scores(data, Duplicates(model=tiny_clip, dtype="fp32", threshold=threshold, within=None)))
    assert found["duplicate_sim"] == pytest.approx(cosines.max(1), abs=1e-3)
    clear = [row for row in range(10) if np.abs(cosines[row] - threshold).min() > 1e-3]
    assert len(clear) > 2
    for row in clear:
        assert found["duplicates"][row] == (cosines[row] >= threshold).sum()
        assert found["duplicate_rank"][row] == (cosines[row, :row] >= threshold).sum()


def test_tables_and_batches_agree(repeating, tiny_clip, tmp_path):
    score = Duplicates(model=tiny_clip, dtype="fp32", threshold=0.9)
    table = score_table(repeating, [score], tmp_path / "scores", rows_per_shard=3, batch_size=2)
    found = columns(add_scores(repeating, score))
    stored = {name: table.to_arrow()[name].to_pylist() for name in found}
    assert stored.pop("duplicate_sim") == pytest.approx(found.pop("duplicate_sim"), abs=5e-6)
    assert stored == found
    identity = table.manifest["scores"][1]
    assert identity["statistics"]["rows"] == 7
    assert len(identity["statistics"]["sha256"]) == 64


def test_new_rows_are_compared_with_the_set(repeating, tiny_clip):
    score = Duplicates(model=tiny_clip, dtype="fp32", threshold=1.0).fit(repeating)
    new = dataset_of([0], ["a"]).remove_columns("id").add_column("id", ["new"])
    found = columns(new.map(score, batched=True))
    assert (found["duplicates"], found["duplicate_rank"], found["duplicate_of"]) == ([2], [2], ["row000"])


def test_lost_embeddings_say_what_to_do(repeating, tiny_clip, tmp_path, monkeypatch):
    score = Duplicates(model=tiny_clip, dtype="fp32").fit(repeating)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ValueError, match=r"the embeddings of the set are no longer in .*; delete .* and score again"):
        repeating.map(score, batched=True)


def test_copies_and_close_images_leak(tiny_clip, tmp_path):
    reference = random_dataset(6)
    score = Leakage.fit(reference, tmp_path / "val.npz", model=tiny_clip, dtype="fp32")
    pixels = decode_image(random_row(2)["image"])
    close = pixels.copy()
    close[:2] = 0
    rows = [random_row(20), random_row(2), random_row(21) | {"image": {"bytes": _png(pixels), "path": None}}]
    rows.append(random_row(22) | {"image": {"bytes": encode_jpeg(close), "path": None}})
    scored = add_scores(Dataset.from_list(rows, features=reference.features), score)
    values = list(scored["leakage"])
    assert values[1] == values[2] == 1  # another file of the same pixels
    assert values[0] < 1
    assert values[3] < 1
    assert list(scored["leakage_of"])[1:3] == ["row002", "row002"]


def test_cosines_of_one_are_for_copies(tiny_clip, tmp_path):
    """Two crops that the model sees as one image are close, not equal."""
    grey = np.full((40, 40, 3), 90, np.uint8)
    rows = [random_row(0) | {"image": {"bytes": _png(image), "path": None}} for image in (grey, grey[:20, :20])]
    for row in rows:
        row["mask"] = None
    one, other = (Dataset.from_list([row], features=random_dataset(1).features).remove_columns("mask") for row in rows)
    score = Leakage.fit(one, tmp_path / "val.npz", model=tiny_clip, dtype="fp32")
    assert add_scores(one, score)["leakage"][0] == 1
    assert 0.999 < add_scores(other, score)["leakage"][0] < 1


def test_a_reference_without_ids_is_named_by_its_rows(tiny_clip, tmp_path):
    reference = random_dataset(4).select_columns(["image"])
    score = Leakage.fit(reference, tmp_path / "val.npz", model=tiny_clip, dtype="fp32")
    assert add_scores(random_dataset(4), score)["leakage_of"][3] == "3"


def test_hashes_are_the_same_everywhere():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert pixel_hash(image) == pixel_hash(image[:, ::-1][:, ::-1]) == pixel_hash(image.copy())
    assert pixel_hash(image) != pixel_hash(image.reshape(1, 4, 3))
    assert text_hash("a") == int.from_bytes(bytes.fromhex("ca978112ca1bbdca"), "big", signed=True)


def _png(pixels: np.ndarray) -> bytes:
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()
