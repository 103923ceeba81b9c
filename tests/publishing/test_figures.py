"""Pictures: that they show what they claim and cannot be broken by data."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure
from PIL import Image
from support.rows import random_row

import sds_hf.plot
from sds_hf import Band, Threshold, TopK, TopPerGroup, select
from sds_hf.data.images import encode_jpeg, encode_mask
from sds_hf.data.labels import VOC, LabelSpace
from sds_hf.publishing.card.borderline import borderline_rows
from sds_hf.publishing.card.colors import COLORS, class_color, class_colors
from sds_hf.publishing.card.figures import BLUE, VERMILION, class_bars, draw_histogram, score_histograms
from sds_hf.publishing.card.fonts import width
from sds_hf.publishing.card.illustrations import _spread
from sds_hf.publishing.card.tiles import GAP, TEXT, TILE, Section, Tile, _in_two, overlay, sample_grid
from sds_hf.selection.report import ClassCount, ScoreSummary, Step
from sds_hf.selection.summary import bin_edges

STREET = LabelSpace(
    name="street", names=("road", "sky"), prompts=("road", "sky"), background_prompts=(), has_background=False
)


def summary(kept: int = 3) -> ScoreSummary:
    return ScoreSummary(nulls=0, edges=[0, 0.5, 1], all=[9, 3], kept=[0, kept])


def steps(**cutoffs: float) -> list[Step]:
    return [Step(rule="r", before=9, after=3, cutoffs={"a": cutoffs})]


def pixels(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def hexadecimal(index: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*class_color(index))


def share(picture: np.ndarray, color: str) -> float:
    rgb = [int(color[place : place + 2], 16) for place in (1, 3, 5)]
    return float((picture == rgb).all(-1).mean())


def test_histograms_show_the_kept_and_do_not_change_from_run_to_run(tmp_path):
    for name in ("one", "two"):
        score_histograms({"a": summary(), "b": summary()}, tmp_path / f"{name}.png", steps(above=0.4))
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    score_histograms({"a": summary(kept=1), "b": summary(kept=1)}, tmp_path / "fewer.png", steps(above=0.4))
    assert share(pixels(tmp_path / "one.png"), BLUE) > 1.5 * share(pixels(tmp_path / "fewer.png"), BLUE) > 0


@pytest.mark.parametrize(
    "cutoffs", [{"above": 0.4}, {"below": 0.4}, {"low": 0.2, "high": 0.8}, {"": 0.3},
                {f"class {n}": n / 20 for n in range(20)}, {"漢字 $|": 0.5}]
)  # fmt: skip
def test_cut_offs_of_every_kind_are_drawn(tmp_path, cutoffs):
    score_histograms({"a": summary()}, tmp_path / "with.png", steps(**cutoffs))
    score_histograms({"a": summary()}, tmp_path / "without.png")
    assert share(pixels(tmp_path / "with.png"), VERMILION) > 0 == share(pixels(tmp_path / "without.png"), VERMILION)


def test_bins_of_other_widths_have_their_area(tmp_path):
    wide = ScoreSummary(nulls=0, edges=[0, 0.25, 1], all=[10, 10], kept=[0, 10])
    score_histograms({"a": wide}, tmp_path / "a.png")
    columns = (pixels(tmp_path / "a.png") == [0, 0x72, 0xB2]).all(-1)[:250].sum(0)
    greys = (pixels(tmp_path / "a.png") == [0xC4, 0xCA, 0xD3]).all(-1)[:250].sum(0)
    assert greys.max() == pytest.approx(3 * columns.max(), rel=0.05)  # a third of the width


@pytest.mark.parametrize("bounds", [[], [0.5], [0.8, 0.31], [0.1, 0.100001], [-3, 2], [0.0, 1.0]])
@pytest.mark.parametrize("rows", [1, 8, 1000, 10**9])
def test_bins_end_at_bounds_and_are_fewer_for_few_rows(bounds, rows):
    edges = bin_edges(0.0, 1.0, rows, bounds)
    assert (edges[0], edges[-1], edges == sorted(set(edges))) == (0, 1, True)
    assert {bound for bound in bounds if 0 < bound < 1} <= set(edges)
    assert len(edges) <= {1: 5, 8: 5, 1000: 21, 10**9: 31}[rows] + 2


@pytest.mark.parametrize(("low", "high"), [(3.0, 3.0), (-1.7e308, 1.7e308), (0.0, 5e-324), (-1e300, -1e300)])
def test_any_range_has_bins(low, high):
    edges = bin_edges(low, high, 100, [3.5])
    assert np.isfinite(edges).all()
    assert edges == sorted(edges)


@pytest.mark.parametrize("count", [0, 1, 4, 5, 9])
def test_any_number_of_histograms(tmp_path, count):
    scores = {f"score {place}": summary() for place in range(count)} | {"empty": ScoreSummary(nulls=12)}
    score_histograms(scores, tmp_path / "scores.png")
    height, width, _ = pixels(tmp_path / "scores.png").shape
    assert width == round(3.9 * 110 * max(1, min(count, 2)))
    assert height == round(2.9 * 110 * max(1, -(-count // 2)))


def test_colours_of_classes_are_seen_on_grey_and_differ():
    colors = class_colors()[1 : len(COLORS) + 1].astype(int)
    assert np.ptp(colors, axis=1).min() >= 60  # none is grey
    assert colors.max(1).min() >= 100  # or dark
    distances = np.abs(colors[:, None] - colors[None]).sum(-1) + 1000 * np.eye(len(colors), dtype=int)
    assert distances.min() > 20
    assert distances[:20, :20].min() >= 60
    assert (class_colors()[81] == class_colors()[1]).all()


def test_bars_show_the_kept_and_the_colours_of_the_classes(tmp_path):
    def draw(name: str, kept: int) -> np.ndarray:
        counts = [ClassCount(id=8, name="cat", before=9, after=kept), ClassCount(id=15, name="$|", before=4, after=0)]
        class_bars([*counts, ClassCount(id=3, name="bird", before=0, after=0)], tmp_path / name)
        return pixels(tmp_path / name)

    many, few = draw("many.png", 9), draw("few.png", 3)
    assert share(many, BLUE) > 2 * share(few, BLUE) > 0
    for index, shown in ((8, True), (15, True), (3, False)):
        assert (share(many, hexadecimal(index)) > 0) is shown


def test_an_overlay_colours_classes_and_leaves_the_background():
    image, mask = np.full((8, 12, 3), 100, np.uint8), np.zeros((8, 12), np.uint8)
    mask[:, 4:8], mask[:, 8:] = 15, 255
    painted = overlay(image, mask, VOC).astype(int)
    assert (painted[:, 0] == 115).all()  # the grey of the image
    person, ignored = painted[0, 5], painted[0, 10]
    assert np.abs(person - (0.4 * 115 + 0.6 * np.array(class_color(15)))).max() <= 1
    assert ignored.min() > 160
    for left in (3, 7):  # an outline, seen on light and on dark
        assert (painted[:, left] == 255).all()
        assert (painted[:, left + 1] == 20).all()


def test_a_class_of_index_0_is_coloured_where_there_is_no_background():
    image, mask = np.full((4, 4, 3), 100, np.uint8), np.zeros((4, 4), np.uint8)
    assert (overlay(image, mask, VOC) == 115).all()
    assert not (overlay(image, mask, STREET) == 115).all()


def sample(index: int = 0, **changes) -> Tile:
    row = random_row(index)
    values = {"image": row["image"], "mask": row["mask"], "lines": ["kept: among the best", "pcs 0.10"], "note": "id a"}
    return Tile(**(values | changes))


def picture(height: int, width: int, **changes) -> Tile:
    image, mask = np.full((height, width, 3), 90, np.uint8), np.full((height, width), 3, np.uint8)
    cells = {"bytes": encode_jpeg(image), "path": None}, {"bytes": encode_mask(mask), "path": None}
    return Tile(*cells, **changes)


def test_a_grid_has_room_for_all_samples_and_a_key_of_their_colours(tmp_path):
    sections = [Section("Kept", [sample(index) for index in range(5)]), Section("Dropped", [sample(5)])]
    sample_grid(sections, VOC, tmp_path / "a.png")
    sample_grid([Section("Kept", [sample(0)])], VOC, tmp_path / "b.png")
    large, small = pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png")
    assert large.shape[1] == small.shape[1]
    assert large.shape[0] > 2.5 * small.shape[0]
    key = small[-45:]  # below the samples
    classes = random_row(0)["classes"]
    assert all((key == class_color(index)).all(-1).sum() > 100 for index in classes)


@pytest.mark.parametrize(("height", "width"), [(50, 100), (100, 100), (100, 70), (30, 300)])
def test_pictures_fill_their_column_and_text_stands_right_below(tmp_path, height, width):
    sample_grid([Section("", [picture(height, width, lines=["text"])])], VOC, tmp_path / "a.png")
    shown = pixels(tmp_path / "a.png")
    image = (np.abs(shown[:, GAP : GAP + TILE].astype(int) - 90).max(-1) < 4).all(1)
    assert image.sum() == round(TILE * height / width)
    below = shown[np.flatnonzero(image)[-1] + 1 :][:25, GAP : GAP + 2 * TILE]
    assert (below < 120).any()


def test_what_cannot_be_drawn_leaves_a_grey_place(tmp_path):
    odd = [
        sample(image={"bytes": b"broken", "path": None}),
        sample(mask=None),
        sample(mask={"bytes": encode_mask(np.full((4, 9), 15, np.uint8)), "path": None}),  # of another size
        sample(mask={"bytes": encode_mask(np.full((4, 4), 200, np.uint8)), "path": None}),  # of no class
        sample(image={"bytes": encode_jpeg(np.zeros((1, 900, 3), np.uint8)), "path": None}),
        sample(image={"bytes": encode_jpeg(np.zeros((900, 1, 3), np.uint8)), "path": None}),
        sample(lines=["漢字 🐕 \n" * 50, "<b>|"]),
        sample(lines=[], note=""),
    ]
    sample_grid([Section("Odd", odd), Section("None", [])], VOC, tmp_path / "odd.png")
    assert share(pixels(tmp_path / "odd.png"), "#e6e6e6") > 0.05


def test_long_lines_of_a_tile_go_on_in_a_second_one():
    text = "dropped: clip_sim 0.003475 is not above 0.0063146"
    first, second = _in_two(text, 2 * TILE)
    assert f"{first} {second}" == text
    assert width(first, TEXT) <= 2 * TILE < width(text, TEXT)
    assert _in_two("kept", 2 * TILE) == ["kept"]


def test_bins_of_several_widths_say_what_their_height_is(tmp_path):
    axis = Figure().subplots()
    draw_histogram(axis, "a", ScoreSummary(nulls=0, edges=[0.0, 0.1, 1.0], all=[1, 9], kept=[0, 9]), ())
    assert axis.get_ylabel() == "rows per 0.5"
    draw_histogram(axis, "a", ScoreSummary(nulls=0, edges=[0.0, 0.5, 1.0], all=[1, 9], kept=[0, 9]), ())
    assert axis.get_ylabel() == "rows"


# Which rows


def test_samples_are_as_frequent_as_their_reason():
    spread = {kind: len(positions) for kind, positions in _spread({"a": 70, "b": 25, "c": 5}).items()}
    assert spread == {"a": 4, "b": 2, "c": 0}
    assert _spread({"a": 1, "b": 2}) == {"a": [0], "b": [0, 1]}
    assert _spread({"a": 7}) == {"a": [0, 1, 2, 3, 4, 6]}


def test_rows_next_to_a_cut_off_are_looked_for(tmp_path):
    values = np.arange(100, dtype=np.float32) / 100
    table = pa.table(
        {"id": [f"r{row}" for row in range(100)], "{u}": values, "v": values[::-1], "g": ["x"] * 30 + ["y"] * 70}
    )
    pq.write_table(table, tmp_path / "t.parquet")
    rules = [
        Threshold(column="{u}", above=0.1),
        Threshold(column="v", above=-1.0),  # drops nothing
        Band(column="v", low=0.05, high="q0.9"),
        TopPerGroup(column="v", by="g", fraction=0.5),
        TopK(column="{u}", target=5),
    ]
    selection = select(str(tmp_path / "t.parquet"), rules, out=tmp_path / "s")
    joined = selection.table().append_column("{u}", table["{u}"]).append_column("v", table["v"])
    pq.write_table(joined, tmp_path / "joined.parquet")
    rows = borderline_rows(tmp_path / "joined.parquet", rules, selection.report.steps)
    reasons = dict(zip(joined["row"].to_pylist(), joined["reason"].to_pylist(), strict=True))
    assert len(rows) == 6
    kept = min(row for row, reason in reasons.items() if reason.startswith("kept"))
    assert list(rows.items())[:2] == [(kept, f"kept: {{u}} {values[kept]:.4g}, the cut-off is 0.1"), (10, "")]
    assert {reasons[row] for row in rows} >= {"dropped:{u}", "dropped:v"}
    assert borderline_rows(selection.path, rules[:1], selection.report.steps[:1]) == {}  # no scores


# For notebooks


def test_plots_are_axes_on_the_users_own_figure(tmp_path):
    from matplotlib.figure import Figure

    pq.write_table(pa.table({"u": np.arange(30.0), "classes_present": [[1]] * 30}), tmp_path / "t.parquet")
    selection = select(str(tmp_path / "t.parquet"), Threshold(column="u", above=4.5), out=tmp_path / "s")
    axes = Figure().subplots(3)
    assert sds_hf.plot.scores(selection, ax=axes[0]) is axes[0]
    assert sds_hf.plot.classes(selection.report, ax=axes[1]) is axes[1]
    assert sds_hf.plot.funnel(selection, ax=axes[2]) is axes[2]
    assert axes[0].get_xlabel() == "u"
    assert [text.get_text() for text in axes[2].texts] == [" 30", " 25"]
    with pytest.raises(ValueError, match=r"there is no score 'w' to draw; there are \['u'\]"):
        sds_hf.plot.scores(selection, "w")
