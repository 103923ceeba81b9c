"""Pictures: that they show what they claim and cannot be broken by data."""

import numpy as np
import pytest
from PIL import Image
from support.rows import random_row

from sds_hf.data.images import encode_jpeg, encode_mask
from sds_hf.data.labels import VOC, LabelSpace
from sds_hf.publishing.card.figures import BLUE, class_bars, overlay, sample_grid, score_histograms
from sds_hf.selection.report import ClassCount, ScoreSummary

STREET = LabelSpace(
    name="street", names=("road", "sky"), prompts=("road", "sky"), background_prompts=(), has_background=False
)


def summary(kept: int = 3) -> ScoreSummary:
    return ScoreSummary(nulls=0, edges=[0, 0.5, 1], all=[9, 3], kept=[0, kept])


def pixels(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def share(picture: np.ndarray, color: str) -> float:
    rgb = [int(color[place : place + 2], 16) for place in (1, 3, 5)]
    return float((picture == rgb).all(-1).mean())


def test_histograms_show_the_kept_and_do_not_change_from_run_to_run(tmp_path):
    for name in ("one", "two"):
        score_histograms({"a": summary(), "b": summary()}, tmp_path / f"{name}.png", {"a": 0.4})
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    score_histograms({"a": summary(kept=1), "b": summary(kept=1)}, tmp_path / "fewer.png", {"a": 0.4})
    assert share(pixels(tmp_path / "one.png"), BLUE) > 1.5 * share(pixels(tmp_path / "fewer.png"), BLUE) > 0


@pytest.mark.parametrize("count", [0, 1, 4, 5, 9])
def test_any_number_of_histograms(tmp_path, count):
    scores = {f"score {place}": summary() for place in range(count)} | {"empty": ScoreSummary(nulls=12)}
    score_histograms(scores, tmp_path / "scores.png")
    height, width, _ = pixels(tmp_path / "scores.png").shape
    assert width == round(3.9 * 110 * max(1, min(count, 2)))
    assert height == round(2.9 * 110 * max(1, -(-count // 2)))


def test_bars_show_the_kept_and_the_colours_of_the_classes(tmp_path):
    def draw(name: str, kept: int) -> np.ndarray:
        counts = [ClassCount(id=8, name="cat", before=9, after=kept), ClassCount(id=15, name="$|", before=4, after=0)]
        class_bars([*counts, ClassCount(id=3, name="bird", before=0, after=0)], tmp_path / name)
        return pixels(tmp_path / name)

    many, few = draw("many.png", 9), draw("few.png", 3)
    assert share(many, BLUE) > 2 * share(few, BLUE) > 0
    for index, shown in ((8, True), (15, True), (3, False)):
        assert (share(many, "#{:02x}{:02x}{:02x}".format(*VOC.palette[index])) > 0) is shown


def test_an_overlay_colours_classes_and_leaves_the_background():
    image, mask = np.full((8, 12, 3), 100, np.uint8), np.zeros((8, 12), np.uint8)
    mask[:, 4:8], mask[:, 8:] = 15, 255
    painted = overlay(image, mask, VOC).astype(int)
    assert (painted[:, 0] == 115).all()  # the grey of the image
    person, ignored = painted[0, 5], painted[0, 10]
    assert np.abs(person - (0.4 * 115 + 0.6 * np.array(VOC.palette[15]))).max() <= 1
    assert ignored.min() > 160
    for left in (3, 7):  # an outline, seen on light and on dark
        assert (painted[:, left] == 255).all()
        assert (painted[:, left + 1] == 20).all()


def test_a_class_of_index_0_is_coloured_where_there_is_no_background():
    image, mask = np.full((4, 4, 3), 100, np.uint8), np.zeros((4, 4), np.uint8)
    assert (overlay(image, mask, VOC) == 115).all()
    assert not (overlay(image, mask, STREET) == 115).all()


def sample(index: int = 0, **changes) -> dict:
    row = random_row(index)
    return {"image": row["image"], "mask": row["mask"], "lines": ["kept:class=dog", "pcs 0.10"]} | changes


def test_a_grid_has_room_for_all_samples_and_a_key_of_their_colours(tmp_path):
    sample_grid([("Kept", [sample(index) for index in range(5)]), ("Dropped", [sample(5)])], VOC, tmp_path / "a.png")
    sample_grid([("Kept", [sample(0)])], VOC, tmp_path / "b.png")
    large, small = pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png")
    assert large.shape[1] == small.shape[1]
    assert large.shape[0] > 2.5 * small.shape[0]
    key = small[-45:]  # below the samples
    classes = random_row(0)["classes"]
    assert all((key == VOC.palette[index]).all(-1).sum() > 100 for index in classes)


def test_what_cannot_be_drawn_leaves_a_grey_place(tmp_path):
    odd = [
        sample(image={"bytes": b"broken", "path": None}),
        sample(mask=None),
        sample(mask={"bytes": encode_mask(np.full((4, 9), 15, np.uint8)), "path": None}),  # of another size
        sample(mask={"bytes": encode_mask(np.full((4, 4), 200, np.uint8)), "path": None}),  # of no class
        sample(image={"bytes": encode_jpeg(np.zeros((1, 900, 3), np.uint8)), "path": None}),
        sample(lines=["漢字 🐕 \n" * 50, "<b>|"]),
        sample(lines=[]),
    ]
    sample_grid([("Odd", odd), ("None", [])], VOC, tmp_path / "odd.png")
    assert share(pixels(tmp_path / "odd.png"), "#e6e6e6") > 0.05
