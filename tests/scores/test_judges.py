"""Agreement with masks of a column, and with two judges at once: worked numbers, the whole job, and what is refused."""

import json
import re
import shutil
import warnings

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Image
from hypothesis import given, settings
from hypothesis import strategies as st
from support.rows import MASK, REFERENCE
from support.segmenters import make_eomt, make_sam3

from sds_hf import ASF, ClassIoU, add_scores, publish, score_table, select, verify
from sds_hf.cli import main
from sds_hf.clip import encoder
from sds_hf.data.folder import row_features, write_data_folder
from sds_hf.data.images import encode_mask
from sds_hf.data.labels import VOC
from sds_hf.selection.recipe import Recipe

TEACHER = ASF(reference="column:teacher")


def with_column(dataset, masks, name="teacher"):
    """The dataset with further masks, (H, W) uint8 each or None."""
    cells = [None if mask is None else {"bytes": encode_mask(mask), "path": None} for mask in masks]
    return dataset.add_column(name, cells, feature=Image())


def pairs(*masks):
    """A dataset of masks and of a teacher's masks."""
    image = encode_mask(np.zeros(masks[0][0].shape, np.uint8))
    rows = [
        {"id": str(row), "image": {"bytes": image, "path": None}, "mask": {"bytes": encode_mask(mask), "path": None}}
        for row, (mask, _) in enumerate(masks)
    ]
    features = {name: row_features(VOC)[name] for name in ("id", "image", "mask", "classes")}
    dataset = Dataset.from_list([row | {"classes": []} for row in rows], features=type(row_features(VOC))(features))
    return with_column(dataset, [teacher for _, teacher in masks])


@pytest.fixture
def no_models(monkeypatch):
    """No model is loaded, nor looked for."""
    for name in ("load", "model_files", "vision_settings"):
        monkeypatch.setattr(encoder, name, lambda *args: pytest.fail("a model was asked for"))
    monkeypatch.setattr("sds_hf.scores.base.score.model_files", lambda *args: pytest.fail("a model was asked for"))


@pytest.fixture
def taught(dataset):
    """The usual rows; the teacher's masks are theirs, moved."""
    masks = [np.roll(np.array(row["mask"]), 3, 1) for row in dataset]
    return with_column(dataset, masks)


def plain_miou(mask, teacher, ignore):
    """Pixel by pixel."""
    counted = {
        "base": (mask != 255) & (teacher != 255),
        "either": (mask != 255) & (teacher != 255),
        "none": np.ones_like(mask, bool),
    }[ignore]
    values = []
    for class_id in set(mask.flat) - {0, 255}:
        here, there = (mask == class_id) & counted, (teacher == class_id) & counted
        if (here | there).any():
            values.append((here & there).sum() / (here | there).sum())
    return np.mean(values) if values else None


def test_worked_example(no_models):
    """255 of either is left out: the teacher's one such pixel lies in class 2."""
    scored = add_scores(pairs((MASK.numpy(), REFERENCE.numpy())), TEACHER)
    assert scored["asf_miou"][0] == pytest.approx((8 / 10 + 3 / 6) / 2)


@settings(max_examples=25)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["base", "either", "none"]),
    st.lists(st.sampled_from([0, 1, 2, 7, 20, 255])),
)
def test_any_mask_equals_a_plain_count(seed, ignore, values):
    """Void pixels, empty masks, classes that only one of the two has."""
    rng = np.random.default_rng(seed)
    mask, teacher = rng.choice(np.array(values or [0], np.uint8), (2, 5, 6))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score = ASF(reference="column:teacher", ignore=ignore)
        found = score_rows(score, mask, teacher)
    expected = plain_miou(mask, teacher, ignore)
    assert found == (None if expected is None else pytest.approx(expected))


def score_rows(score, mask, teacher):
    from sds_hf.scores.base.score import score_cells

    columns, errors = score_cells([score], {"mask": [mask], "teacher": [teacher]}, VOC)
    assert not errors
    return columns["asf_miou"][0]


def test_a_row_that_the_teacher_left_out_is_null(no_models):
    scored = add_scores(pairs((MASK.numpy(), REFERENCE.numpy()), (MASK.numpy(), None)), TEACHER)
    assert scored["asf_miou"][0] is not None
    assert scored["asf_miou"][1] is None


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        (np.zeros((6, 7), np.uint8), r"teacher 1: 7x6 pixels, but the mask has 6x6"),
        (np.full((6, 6), 150, np.uint8), r"teacher 1: \[150\] stand for no class of the label space 'voc'"),
    ],
)
def test_a_mask_that_does_not_fit_is_an_error_of_its_row(no_models, tmp_path, teacher, said):
    rows = pairs((MASK.numpy(), REFERENCE.numpy()), (MASK.numpy(), teacher))
    with pytest.warns(UserWarning, match=rf"1 row could not be scored and got nulls; for example: {said}"):
        scored = add_scores(rows, TEACHER)
    assert scored["asf_miou"][0] is not None
    assert scored["asf_miou"][1] is None
    table = score_table(rows, [TEACHER], tmp_path).to_arrow()
    assert table["status"].to_pylist() == ["ok", "failed"]
    assert re.match(said, table["error"].to_pylist()[1])


def test_a_column_of_texts_is_said(no_models, tmp_path):
    rows = pairs((MASK.numpy(), REFERENCE.numpy())).remove_columns("teacher").add_column("teacher", ["a.png"])
    with pytest.raises(ValueError, match=r"teacher a.png: a text, not a mask; if it names a file, cast the column to"):
        score_table(rows, [TEACHER], tmp_path)


def test_a_missing_column_is_one_line(taught, tmp_path, no_models):
    said = r"\['techer'\] missing among .*; instead of 'techer', did you mean 'teacher'\?$"
    score = ASF(reference="column:techer")
    with pytest.raises(ValueError, match=said):
        add_scores(taught, score)
    with pytest.raises(ValueError, match=said):
        score_table(taught, [score], tmp_path)
    with pytest.raises(ValueError, match=said):
        score_table(taught.to_iterable_dataset(), [score], tmp_path)


def test_every_way_of_scoring_gives_the_same(taught, tmp_path, no_models):
    expected = list(add_scores(taught, TEACHER)["asf_miou"])
    assert None not in expected
    assert len(set(expected)) > 6
    assert list(taught.map(TEACHER, batched=True, batch_size=5)["asf_miou"]) == expected
    assert [row["asf_miou"] for row in add_scores(taught.to_iterable_dataset(), TEACHER)] == pytest.approx(expected)
    for name, rows in (("table", taught), ("stream", taught.to_iterable_dataset())):
        table = score_table(rows, [TEACHER], tmp_path / name, rows_per_shard=5)
        assert table.to_arrow()["asf_miou"].to_pylist() == expected


def test_other_masks_in_the_column_are_another_request(taught, dataset, tmp_path):
    score_table(taught, [TEACHER], tmp_path)
    score_table(taught, [TEACHER], tmp_path)  # nothing to do
    others = with_column(dataset, [np.array(row["mask"]) for row in dataset])
    with pytest.raises(ValueError, match="the dataset's rows have changed, or their order"):
        score_table(others, [TEACHER], tmp_path)


def test_class_by_class(no_models):
    scored = add_scores(pairs((MASK.numpy(), REFERENCE.numpy())), ClassIoU(reference="column:teacher"))
    assert [one["iou"] for one in scored["asf_class_iou"][0]] == pytest.approx([8 / 10, 3 / 6])
    with pytest.raises(ValueError, match="asf_class_iou has one judge, not 'naclip,column:teacher'; asf_"):
        ClassIoU(reference="naclip,column:teacher")


# Two judges


def test_two_columns_and_their_agreement(no_models):
    rows = with_column(pairs((MASK.numpy(), REFERENCE.numpy())), [MASK.numpy()], "person")
    (row,) = add_scores(rows, ASF(reference=["column:teacher", "column:person"])).remove_columns(["image", "mask"])
    first = (8 / 10 + 3 / 6) / 2
    assert row["asf_miou_first"] == pytest.approx(first)
    assert row["asf_miou_second"] == 1
    assert row["asf_miou"] == pytest.approx((first + 1) / 2)
    assert row["asf_agreement"] == pytest.approx(first)


def test_a_model_and_a_column(taught, tiny_clip, tmp_path):
    model = {"model": tiny_clip, "dtype": "fp32", "refine": "none"}
    both = ASF(reference="maskclip,column:teacher", **model)
    scored = add_scores(taught, both)
    alone = [list(add_scores(taught, ASF(reference=r, **model))["asf_miou"]) for r in ("maskclip", "column:teacher")]
    assert list(scored["asf_miou_first"]) == alone[0]
    assert list(scored["asf_miou_second"]) == alone[1]
    assert np.mean(alone, 0) == pytest.approx(scored["asf_miou"])
    turned = add_scores(taught, ASF(reference="column:teacher,maskclip", **model))
    assert list(turned["asf_agreement"]) == pytest.approx(list(scored["asf_agreement"]))
    table = score_table(taught, [both], tmp_path).to_arrow()
    assert table["asf_agreement"].to_pylist() == list(scored["asf_agreement"])


def test_the_judges_are_named_in_manifest_and_card(taught, tmp_path, no_models):
    table = score_table(taught, [TEACHER], tmp_path / "scores")
    manifest = json.loads((tmp_path / "scores" / "manifest.json").read_text())
    (asf,) = (score for score in manifest["scores"] if score["score"] == "asf_miou")
    assert asf["reference"] == "column:teacher"
    assert "model" not in asf
    assert manifest["models"] == {}
    assert manifest["notes"] == ["asf_miou: masks are judged by the column 'teacher'"]
    assert manifest["source"]["columns"][-1] == "teacher"
    recipe = Recipe.from_dict({
        "name": "judged", "scores": {"asf_miou": {"reference": "column:teacher"}},
        "rules": [{"top_k": {"column": "asf_miou", "target": 6}}], "publish": {"license": "cc0-1.0"},
    })  # fmt: skip
    publish(taught, select(table, recipe), recipe, folder=tmp_path / "out", scores=table)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert 'reference="column:teacher"' in card
    assert "masks are judged by the column 'teacher'" in card
    found = {check.name: check for check in verify(tmp_path / "out", rescore=3).checks}
    assert found["rescore asf_miou"].ok, found["rescore asf_miou"].detail


def test_defaults_leave_no_trace_in_the_identity(tiny_clip):
    """Tables that were made before there were these settings go on."""
    names = {"scales", "regions", "sam3_model"}
    assert not names & ASF(model=tiny_clip).identity().keys()
    changed = ASF(model=tiny_clip, scales=(1, 2), regions="superpixel", sam3_model="elsewhere").identity()
    assert names <= changed.keys()


def test_the_command_line_takes_a_column(taught, tmp_path, no_models):
    write_data_folder(taught.with_format("arrow")[:].to_pylist(), taught.features, tmp_path / "rows")
    given = ["--scores", "asf_miou", "--set", "scores.asf_miou.reference=column:teacher", "--quiet"]
    assert main(["score", str(tmp_path / "rows"), "--out", str(tmp_path / "scores"), *given]) == 0
    (shard,) = (tmp_path / "scores").glob("*.parquet")
    assert pq.read_table(shard)["asf_miou"].to_pylist() == pytest.approx(list(add_scores(taught, TEACHER)["asf_miou"]))


def test_models_besides_clip_are_in_the_manifest_by_their_weights(dataset, tmp_path):
    sam3, eomt = make_sam3(tmp_path / "sam3"), make_eomt(tmp_path / "eomt")
    settings = {"reference": "sam3", "dtype": "fp32", "refine": "regions"}
    rows = dataset.select(range(3))
    score_table(rows, [ASF(**settings, sam3_model=str(sam3), regions=str(eomt))], tmp_path / "scores")
    manifest = json.loads((tmp_path / "scores" / "manifest.json").read_text())
    (asf,) = (score for score in manifest["scores"] if score["score"] == "asf_miou")
    assert "model" not in asf
    assert asf["dtype"] == "fp32"
    assert {len(asf["sam3_model_digest"]), len(asf["regions_digest"])} == {64}
    assert set(manifest["models"]) == {str(sam3), str(eomt)}
    # The same weights elsewhere are the same request, others are not.
    moved = ASF(**settings, sam3_model=str(shutil.copytree(sam3, tmp_path / "moved")), regions=str(eomt))
    score_table(rows, [moved], tmp_path / "scores")
    config = json.loads((tmp_path / "moved" / "config.json").read_text())
    (tmp_path / "moved" / "config.json").write_text(json.dumps(config | {"initializer_range": 0.5}))
    with pytest.raises(ValueError, match=r"sam3_model is .*sam3_model_digest is "):
        score_table(rows, [moved], tmp_path / "scores")


def test_a_checkpoint_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"model '.*' needs config.json, .*; give the path of a local folder"):
        ASF(reference="sam3", sam3_model=str(tmp_path)).identity()


def test_presets_take_another_judge(no_models, taught):
    score = ASF.preset("paper", reference="column:teacher")
    assert score.refine == "crf"
    assert list(add_scores(taught, score)["asf_miou"]) == list(add_scores(taught, TEACHER)["asf_miou"])


@pytest.mark.parametrize("reference", ["maskclip,column:teacher", ["maskclip", "column:teacher"]])
def test_recipes_take_one_text_or_a_list(reference):
    (score,) = Recipe.from_dict({"scores": {"asf_miou": {"reference": reference}}}).make_scores()
    assert score.judges == ("maskclip", "column:teacher")
