"""IoU with the reference mask, class by class."""

import numpy as np
import pytest
from support.rows import MASK, REFERENCE

from sds_hf import ASF, ClassIoU, add_scores, score_table
from sds_hf.clip.reference import masks
from sds_hf.data.labels import VOC
from sds_hf.scores.base.rows import Rows


@pytest.fixture
def references(monkeypatch) -> list[int]:
    """How many reference masks were made."""
    made, original = [], masks.reference_masks

    def counted(*args):
        for found in original(*args):
            made.append(found[0])
            yield found

    monkeypatch.setattr(masks, "reference_masks", counted)
    return made


@pytest.mark.parametrize(
    ("ignore", "expected"), [("none", (8 / 11, 3 / 7)), ("base", (8 / 10, 3 / 7)), ("either", (8 / 10, 3 / 6))]
)
def test_worked_example(monkeypatch, tiny_clip, ignore, expected):
    score = ClassIoU(model=tiny_clip, dtype="fp32", ignore=ignore)
    monkeypatch.setattr(ASF, "references", lambda self, rows, judge: [(0, REFERENCE)])
    present = np.isin(np.arange(1, 21), MASK.unique())[None]
    (found,) = score.compute(Rows(VOC, (), [MASK.numpy()], present))["asf_class_iou"]
    assert [one["class_id"] for one in found] == [1, 2]
    assert [one["iou"] for one in found] == pytest.approx(expected)


def test_their_mean_is_asf_miou_from_one_reference(dataset, tiny_clip, references, tmp_path):
    given = {"model": tiny_clip, "dtype": "fp32"}
    scored = add_scores(dataset, ASF(**given), ClassIoU(**given))
    assert len(references) == len(dataset)
    for row in scored.remove_columns(["image", "mask"]):
        assert [one["class_id"] for one in row["asf_class_iou"]] == row["classes"]
        assert np.mean([one["iou"] for one in row["asf_class_iou"]]) == pytest.approx(row["asf_miou"], abs=1e-6)
    table = score_table(dataset, [ClassIoU(**given)], tmp_path).to_arrow()
    assert table["asf_class_iou"].to_pylist() == scored.with_format("arrow")["asf_class_iou"].to_pylist()


def test_other_settings_have_a_reference_of_their_own(dataset, tiny_clip, references):
    given = {"model": tiny_clip, "dtype": "fp32"}
    add_scores(dataset.select(range(2)), ASF(**given, iou="pooled"), ClassIoU(**given))
    assert len(references) == 2
    add_scores(dataset.select(range(2)), ASF(**given, refine="none"), ClassIoU(**given))
    assert len(references) == 6
