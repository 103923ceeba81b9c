"""`add_scores`: only new columns, one decode a row, shared encoder passes, and memory that runs out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import load_dataset

import sds_hf.scores.base.rows as rows_module
from sds_hf import ASF, PCS, ClassesPresent, ClipSim, add_scores, score_table
from sds_hf.clip.encoder import Encoder
from sds_hf.scores.base.batches import common_labels


@pytest.fixture
def pcs(tiny_clip):
    return PCS(model=tiny_clip, dtype="fp32", scales=(3, 4), orders=2)


@pytest.fixture
def asf(tiny_clip):
    return ASF(model=tiny_clip, dtype="fp32")


def test_it_writes_only_the_new_columns(stored, pcs, asf):
    loaded = load_dataset(str(stored), split="train")
    scored = add_scores(loaded, pcs, asf)
    assert scored.column_names == [*loaded.column_names, "clip_sim", "clip_sim_mixed", "pcs", "asf_miou"]
    written = [entry["filename"] for entry in scored.cache_files if entry not in loaded.cache_files]
    assert sum(Path(path).stat().st_size for path in written) < 5000  # the images alone take more


def test_it_gives_the_numbers_of_each_score_alone(dataset, pcs, asf):
    together = add_scores(dataset, pcs, asf, batch_size=5)
    for score in (pcs, asf):
        alone = dataset.map(score, batched=True)
        for name in score.columns:
            np.testing.assert_allclose(together[name], alone[name], atol=2e-5)


def test_each_row_is_decoded_once(dataset, pcs, asf, monkeypatch):
    decoded = []
    for name in ("decode_image", "decode_mask"):
        original = getattr(rows_module, name)

        def counting(*cells, original=original, name=name, **how):
            decoded.append(name)
            return original(*cells, **how)

        monkeypatch.setattr(rows_module, name, counting)
    add_scores(dataset, pcs, asf, ClassesPresent(), batch_size=4)
    assert decoded.count("decode_image") == decoded.count("decode_mask") == len(dataset)


def test_encoder_passes_are_shared(dataset, tiny_clip, pcs, monkeypatch):
    seen = []
    original = Encoder.encode_images

    def counting(self, pixels, *how):
        seen.append(len(pixels))
        return original(self, pixels, *how)

    monkeypatch.setattr(Encoder, "encode_images", counting)
    add_scores(dataset, ClipSim(model=tiny_clip, dtype="fp32"), pcs, batch_size=6)
    assert sum(seen) == len(dataset) * (1 + 4)  # once intact, for both scores, and four shuffles
    seen.clear()
    other = {"model": tiny_clip, "dtype": "fp32", "pool": "patch_mean"}
    add_scores(dataset, ClipSim(**other), PCS(**other, scales=(3,), orders=1), batch_size=6)
    assert sum(seen) == len(dataset) * (1 + 1)


def test_the_native_pass_serves_both_scores(dataset, tiny_clip, monkeypatch):
    """Mean patch tokens at the image's own size come out of the reference pass; only the shuffles are encoded."""
    square, seen, original = dataset.filter(lambda row: row["id"] > "row008"), [], Encoder.encode_images

    def encode(self, pixels, *how):
        seen.append(len(pixels))
        return original(self, pixels, *how)

    shared = {"model": tiny_clip, "dtype": "fp32"}
    pcs = PCS(**shared, pool="patch_mean", resolution=40, scales=(2,), orders=1)
    alone = add_scores(square, pcs)["clip_sim"]
    monkeypatch.setattr(Encoder, "encode_images", encode)
    monkeypatch.setattr(PCS, "version", 95)
    assert add_scores(square, pcs, ASF(**shared))["clip_sim"] == pytest.approx(alone, abs=1e-5)
    assert seen == [len(square)]


def test_columns_of_the_same_names_are_replaced(dataset, pcs, tiny_clip):
    first = add_scores(dataset, pcs)
    second = add_scores(first, PCS(model=tiny_clip, dtype="fp32", scales=(6,), orders=1))
    assert second.column_names == first.column_names
    assert second["pcs"] != first["pcs"]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), MemoryError()], ids=["gpu", "cpu"])
def test_a_batch_that_does_not_fit_is_halved(dataset, pcs, monkeypatch, error):
    expected = add_scores(dataset, pcs)["pcs"]
    sizes, original = [], PCS.compute

    def compute(self, rows):
        sizes.append(len(rows))
        if len(rows) > 3:
            raise error
        return original(self, rows)

    monkeypatch.setattr(PCS, "compute", compute)
    monkeypatch.setattr(PCS, "version", 99)
    monkeypatch.setattr("sds_hf.scores.base.rows._fitting", {})
    np.testing.assert_allclose(add_scores(dataset, pcs)["pcs"], expected, atol=2e-5)
    assert sizes == [12, 6, 3, 3, 6, 3, 3]
    sizes.clear()
    monkeypatch.setattr(PCS, "version", 96)
    np.testing.assert_allclose(add_scores(dataset, pcs, batch_size=8)["pcs"], expected, atol=2e-5)
    assert sizes == [3, 3, 2, 3, 1]  # what fitted is remembered


def test_a_row_that_alone_does_not_fit_fails_alone(dataset, pcs, monkeypatch, tmp_path):
    expected, original = add_scores(dataset, pcs)["pcs"], PCS.compute

    def compute(self, rows):
        if any(image.shape[1] > 40 for image in rows.images):
            raise MemoryError
        return original(self, rows)

    monkeypatch.setattr(PCS, "compute", compute)
    monkeypatch.setattr(PCS, "version", 98)
    with pytest.warns(UserWarning, match="3 rows could not be scored.*image: 56x40 pixels do not fit into the memory"):
        found = add_scores(dataset, pcs)["pcs"]
    assert [value is None for value in found] == [place % 4 == 0 for place in range(12)]
    table = score_table(dataset, [pcs], tmp_path / "scores", batch_size=5).to_arrow()
    assert table["pcs"].to_pylist() == pytest.approx(
        [None if p % 4 == 0 else v for p, v in enumerate(expected)], abs=2e-5
    )
    assert table["error"].to_pylist()[4] == "image: 56x40 pixels do not fit into the memory that is free"


def test_other_errors_are_not_swallowed(dataset, pcs, monkeypatch):
    monkeypatch.setattr(PCS, "compute", lambda self, rows: 1 / 0)
    monkeypatch.setattr(PCS, "version", 97)
    with pytest.raises(ZeroDivisionError):
        add_scores(dataset, pcs)


def test_a_dtype_and_the_one_that_auto_stands_for_are_the_same(tiny_clip):
    """A table names the dtype, so that a recipe with `auto` has one score of it and the table the others."""
    one = ClipSim(model=tiny_clip)
    other = {"bf16": "fp32", "fp32": "bf16"}[one.identity()["dtype"]]
    assert common_labels([one, PCS(model=tiny_clip, dtype=one.identity()["dtype"])]) == "auto"
    with pytest.raises(ValueError, match=r"two scores write the column 'clip_sim', with different \['dtype'\]"):
        common_labels([one, PCS(model=tiny_clip, dtype=other)])


def test_what_makes_no_sense_is_refused(dataset, pcs, tiny_clip):
    with pytest.raises(ValueError, match="add_scores needs at least one score"):
        add_scores(dataset)
    with pytest.raises(ValueError, match=r"need one label space, not \['auto', 'coco'\]"):
        add_scores(dataset, pcs, ASF(model=tiny_clip, labels="coco"))
    with pytest.raises(ValueError, match=r"two scores write the column 'clip_sim', with different \['similarity'\]"):
        add_scores(dataset, pcs, ClipSim(model=tiny_clip, dtype="fp32", similarity="cosine"))
    with pytest.raises(ValueError, match="two scores write the column 'clip_sim', with different pcs"):
        add_scores(dataset, pcs, pcs.__class__(model=tiny_clip, dtype="fp32", scales=(3, 4), orders=2))


def test_masks_of_another_label_space_fail_row_by_row(dataset, pcs):
    rows = dataset.with_format("arrow")[:].to_pylist()
    coco = dataset.remove_columns("classes")
    with pytest.warns(UserWarning, match="stand for no class of the label space 'voc'"):
        scored = add_scores(_with_value(coco, rows, 57), PCS(model=pcs.model, labels="voc", scales=(3,), orders=1))
    assert scored["pcs"][0] is None
    assert scored["pcs"][1] is not None


def _with_value(data, rows, value):
    from sds_hf.data.images import encode_mask

    cells = [{name: row[name] for name in data.column_names} for row in rows]
    cells[0]["mask"] = {"bytes": encode_mask(np.full((40, 56), value, np.uint8)), "path": "x.png"}
    return data.from_list(cells, features=data.features)
