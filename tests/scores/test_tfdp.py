"""TFDP: the specification's worked numbers, geometry against a count of pixels, instances given in all forms."""

import subprocess
import sys

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image as PILImage
from scipy import ndimage
from support.rows import given_rows, masks_as_rows

from sds_hf import TFDP, add_scores
from sds_hf.data.images import encode_mask
from sds_hf.data.instances import decode_rle
from sds_hf.scores.functional.outlines import component_outlines, largest_outline, polygon_outline

EVERYWHERE = np.ones((3, 3), bool)  # 8-connected
BLOBS = hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def drawn(*boxes: tuple[int, int, int, int], value: int = 1) -> np.ndarray:
    """Rectangles, rows and columns half-open, on 64 x 64 pixels."""
    mask = np.zeros((64, 64), np.uint8)
    for top, bottom, left, right in boxes:
        mask[top:bottom, left:right] = value
    return mask


RECT, SQUARE, BIG = drawn((5, 15, 5, 25)), drawn((5, 15, 5, 15)), drawn((2, 42, 2, 42))
ELL, PLUS = drawn((5, 25, 5, 10), (20, 25, 5, 25)), drawn((10, 20, 13, 17), (13, 17, 10, 20))
LINE = drawn((5, 6, 5, 25))


@pytest.fixture(scope="module")
def worked() -> Dataset:
    """Four images: a rectangle and an L of another class; two squares; a plus; a line."""
    squares = np.zeros((64, 128), np.uint8)
    squares[:, :64], squares[:, 64:] = SQUARE, BIG
    both = np.zeros((64, 128), np.uint8)
    both[:, :64], both[:, 64:] = RECT, 2 * ELL
    return masks_as_rows(both, squares, 2 * PLUS, LINE)


# Geometry


@pytest.mark.parametrize(
    ("mask", "area", "perimeter"),
    [
        (RECT, 171, 56), (SQUARE, 81, 36), (BIG, 1521, 156), (ELL, 136.5, 75.4142135382),
        (PLUS, 47, 33.6568541527), (LINE, 0, 38), (drawn((5, 6, 5, 6)), 0, 0), (drawn(), 0, 0),
        (drawn((2, 10, 2, 10), (10, 18, 10, 18)), 98, 58.8284270763),
    ],
)  # fmt: skip
def test_worked_outlines(mask, area, perimeter):
    assert largest_outline(mask) == pytest.approx((area, perimeter), abs=1e-5)


def test_holes_are_filled():
    ring = drawn((5, 25, 5, 25))
    ring[10:20, 10:20] = 0
    assert ring.sum() == 300
    assert largest_outline(ring) == pytest.approx((361, 76))


def test_the_largest_part_counts_and_the_first_of_equals():
    tall, wide = (2, 12, 2, 6), (40, 44, 2, 12)
    assert largest_outline(drawn(tall, (20, 23, 20, 23))) == largest_outline(drawn(tall))
    assert largest_outline(drawn(tall, wide)) == largest_outline(drawn(tall)) == largest_outline(drawn(wide))


@given(BLOBS)
@hypothesis_settings(max_examples=300)
def test_components_are_those_of_scipy_also_inside_holes(mask):
    parts, count = ndimage.label(mask, EVERYWHERE)
    alone = sorted(largest_outline(parts == part) for part in range(1, count + 1))
    np.testing.assert_allclose(sorted(component_outlines(mask)), alone, rtol=1e-6)
    sizes = np.bincount(parts.ravel(), minlength=1)[1:]
    for least in (2, 5):
        assert len(component_outlines(mask, least)) == (sizes >= least).sum()


def test_a_part_in_the_hole_of_another_is_a_component():
    ring = drawn((5, 25, 5, 25))
    ring[10:20, 10:20] = 0
    ring[13:17, 13:16] = 1
    assert sorted(component_outlines(ring)) == [(6, 10), (361, 76)]
    assert largest_outline(ring) == (361, 76)


@given(BLOBS, st.integers(0, 5), st.integers(0, 5))
def test_moving_and_padding_change_nothing_and_no_shape_beats_the_circle(mask, down, right):
    moved = np.pad(mask, ((down, 3), (right, 2)))
    area, perimeter = largest_outline(mask)
    assert largest_outline(moved) == pytest.approx((area, perimeter))
    assert area == 0 or perimeter / (2 * np.sqrt(np.pi * area)) >= 1 - 1e-6


@given(st.integers(2, 40), st.integers(2, 40))
def test_picks_formula_for_rectangles(height, width):
    border = 2 * (height + width) - 4
    area, perimeter = largest_outline(np.ones((height, width), np.uint8))
    assert (area, perimeter) == (height * width - border / 2 - 1, border)


def test_a_disc():
    y, x = np.mgrid[-12:13, -12:13]
    area, perimeter = largest_outline(x**2 + y**2 <= 100)
    assert perimeter / (2 * np.sqrt(np.pi * area)) == pytest.approx(1.0961, abs=5e-5)


# The scores


def test_worked_example(worked):
    scored = add_scores(worked, TFDP())
    assert scored["num_instances"][:] == [2, 2, 1, 1]
    assert scored["scs"][:] == pytest.approx([0.8799704610, 0.5470085470, 0.7161032798, 0], abs=1e-7)
    assert scored["si_scs"][:] == pytest.approx([3.0289329735, 2.2567583342, 1.3849039687, 0], abs=1e-7)
    assert scored["cb_scs"][:] == pytest.approx([0.9166616334, 0.6513370671, 0.4320012995, 0], abs=1e-7)
    best = [np.argsort(scored[name])[::-1][:2].tolist() for name in ("cb_scs", "scs")]
    assert best == [[0, 1], [0, 2]]  # the order differs


def test_worked_statistics(worked):
    statistics = TFDP().fit(worked).statistics
    assert statistics["sum"] == pytest.approx({1: 3.4648086961, 2: 3.2057865802}, abs=1e-7)
    assert statistics["count"] == {1: 4, 2: 2}


def test_class_norm_and_base(worked):
    def cb(**settings):
        return add_scores(worked, TFDP(**settings))["cb_scs"][:]

    assert cb(class_norm="count") == pytest.approx([1.2124538964, 0.5641895835, 0.6924519843, 0], abs=1e-7)
    assert cb(class_norm="none") == add_scores(worked, TFDP())["si_scs"][:]
    assert cb(class_norm="none", base="scs") == add_scores(worked, TFDP())["scs"][:]
    assert sum(cb(base="scs")) == pytest.approx(2)


@given(st.lists(hnp.arrays(np.uint8, (9, 9), elements=st.sampled_from([0, 0, 1, 2, 255])), min_size=1, max_size=6))
@hypothesis_settings(max_examples=25)
def test_each_class_adds_up_to_one(masks):
    score = TFDP().fit(masks_as_rows(*masks))
    scored = add_scores(masks_as_rows(*masks), score)
    with_shape = sum(total > 0 for total in score.statistics["sum"].values())
    assert sum(scored["cb_scs"]) == pytest.approx(with_shape, abs=1e-9 * max(1, with_shape))


def test_min_area_and_class_regions():
    fragments = drawn((5, 15, 5, 25), (40, 42, 40, 42), (50, 51, 50, 51))
    fragments[0, 0] = 255
    dataset = masks_as_rows(fragments)
    counts = [
        add_scores(dataset, TFDP(min_area=least, class_norm="none"))["num_instances"][0] for least in (1, 2, 5, 999)
    ]
    assert counts == [3, 2, 1, 0]
    of_class = add_scores(dataset, TFDP(instances="class", class_norm="none"))[0]
    assert (of_class["num_instances"], of_class["scs"]) == (1, pytest.approx(56 / 171))


def test_a_class_the_set_lacks_adds_nothing(worked):
    fitted = TFDP().fit(worked)
    scored = add_scores(masks_as_rows(3 * SQUARE, SQUARE), fitted)
    assert scored["cb_scs"][:] == [0, pytest.approx(1.1283791671 / 3.4648086961)]


# Given instances


def compressed(mask: np.ndarray) -> str:
    """COCO's text of run lengths, written here as its definition says."""
    flat = np.concatenate([[0], mask.T.ravel(), [2]]).astype(int)
    runs = np.diff(np.concatenate([[0], np.flatnonzero(np.diff(flat))])).tolist()
    text = ""
    for place, run in enumerate(runs):
        value, more = run - runs[place - 2] if place > 2 else run, True
        while more:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)
            text += chr(48 + group + 32 * more)
    return text


@given(hnp.arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 90))))
def test_run_lengths_are_read_back(mask):
    assert (decode_rle(compressed(mask), mask.shape) == mask).all()


def test_run_lengths_by_hand():
    """COCO's own example of a list: runs go down the columns and begin with zeros."""
    assert decode_rle([1, 2, 1], (2, 2)).tolist() == [[False, True], [True, False]]


RECT_POLYGON = [5.2, 5.9, 24.9, 5.0, 24.0, 14.3, 5.0, 14.0]


def test_polygons_are_cut_to_whole_pixels_and_drawn():
    whole = [np.array(RECT_POLYGON).reshape(-1, 2)]
    assert polygon_outline(whole) == largest_outline(RECT)
    assert polygon_outline(whole, (64, 20)) == largest_outline(RECT[:, :20])
    assert polygon_outline(whole, (64, 3)) == (0, 0)
    apart = [*whole, np.array([[40.0, 40], [60, 40], [60, 60], [40, 60]])]
    assert polygon_outline(apart) == (400, 80)


@given(st.lists(st.tuples(st.integers(-20, 70), st.integers(-20, 70)), min_size=3, max_size=8))
@hypothesis_settings(max_examples=200)
def test_polygons_in_their_box_are_those_on_the_whole_picture(polygon):
    import cv2

    inside = [(min(max(x, 0), 49), min(max(y, 0), 59)) for x, y in polygon]
    canvas = np.zeros((60, 50), np.uint8)
    cv2.fillPoly(canvas, [np.array(inside, np.int32)], 1)
    assert polygon_outline([np.array(inside, float)], (60, 50)) == largest_outline(canvas)
    assert polygon_outline([np.array(inside, float)]) == largest_outline(canvas)


def test_all_forms_of_instances_agree(worked):
    expected = add_scores(masks_as_rows(RECT, 2 * SQUARE), TFDP(class_norm="none"))
    polygon, runs = {"class": 1, "polygons": [RECT_POLYGON]}, {"counts": compressed(SQUARE), "size": [64, 64]}
    rows = given_rows([polygon, {**polygon, "iscrowd": 1}], [{"class": 2, **runs}], [])
    scored = add_scores(rows, TFDP(instances="column", labels="voc", class_norm="none"))
    for name in ("scs", "si_scs", "num_instances"):
        assert scored[name][:] == [*expected[name][:], 0]


def test_pictures_of_ids(tmp_path):
    """Two objects that touch and share a class, one of another class, the border that VOC ignores."""
    mask, ids = drawn((5, 15, 5, 25), (15, 25, 5, 15)), drawn((5, 15, 5, 25))
    ids[15:25, 5:15] = 2
    mask[40:50, 40:50], ids[40:50, 40:50] = 2, 7
    ids[60:, :] = 255
    PILImage.fromarray(ids.astype(np.uint16) * (ids != 255) * 1000).save(tmp_path / "ids.png")  # as Cityscapes has them
    dataset = masks_as_rows(mask, mask)
    cells = [{"bytes": encode_mask(ids), "path": None}, {"bytes": (tmp_path / "ids.png").read_bytes(), "path": None}]
    dataset = dataset.add_column("instances", cells)
    scored = add_scores(dataset, TFDP(instances="column"))
    assert scored["num_instances"][:] == [3, 3]
    assert scored["scs"][:] == pytest.approx([56 / 171 + 2 * 36 / 81] * 2)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"class": 21, "polygons": [RECT_POLYGON]}, "21 is no class of 'voc', whose ids are 1 to 20"),
        ({"polygons": [RECT_POLYGON]}, "None is no class"),
        ({"class": 1}, "has neither polygons nor run lengths with a size"),
        ({"class": 1, "polygons": [[1.0, 2.0, 3.0]]}, "has neither polygons"),
        ({"class": 1, "polygons": [[1.0, float("nan")]]}, "has neither polygons"),
        ({"class": 1, "counts": "abc"}, "has neither polygons nor run lengths with a size"),
        ({"class": 1, "counts": "abc", "size": [4, 4]}, "pixels in a picture of 4x4"),
    ],
)
def test_a_bad_instance_fails_its_row_only(entry, message):
    score = TFDP(instances="column", labels="voc")
    good = {"class": 1, "polygons": [RECT_POLYGON]}
    with pytest.warns(UserWarning, match=message):
        scored = add_scores(given_rows([entry], [good]), score)
    assert scored["cb_scs"][:] == [None, 1]


def test_ids_of_another_size_fail_their_row():
    cell = {"bytes": encode_mask(RECT[:20]), "path": None}
    dataset = masks_as_rows(RECT).add_column("instances", [cell])
    with pytest.raises(ValueError, match="instances: 64x20 pixels, but the mask has 64x64"):
        add_scores(dataset, TFDP(instances="column", class_norm="none"))


def test_without_opencv_one_line_says_what_to_install(worked):
    code = """
import sys
sys.modules["cv2"] = None
from sds_hf.scores.functional.outlines import largest_outline
import numpy as np
try:
    largest_outline(np.ones((2, 2)))
except ModuleNotFoundError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == 'this needs OpenCV: pip install "sds-hf[selectors]"\n'
