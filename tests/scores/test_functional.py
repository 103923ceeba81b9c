"""Similarity, shuffling and overlap: the specification's worked numbers, and plain reference implementations."""

import math
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.rows import MASK, REFERENCE

from sds_hf.clip.kinds import SimilarityKind
from sds_hf.clip.similarity import similarity
from sds_hf.scores.functional.overlap import class_overlap, mean_iou, pooled_iou
from sds_hf.scores.functional.patches import patch_grid, patch_order, perturbation_score, shuffle_patches

# Cosines of two present classes and three background prompts, of an image and its shuffled version.
INTACT = torch.tensor([0.30, 0.28, 0.22, 0.20, 0.18], dtype=torch.float64)
MIXED = torch.tensor([0.25, 0.24, 0.23, 0.21, 0.20], dtype=torch.float64)
BOTH = torch.tensor([True, True])


@pytest.mark.parametrize(
    ("kind", "intact", "mixed"),
    [
        ("prob", 0.9996592417, 0.8950518911),
        ("prob_mean", 0.9983808411, 0.7790837782),
        ("prob_min", 0.9971485393, 0.6963874872),
        ("entropy", 0.3684210877, 0.9119437882),
        ("cosine", 0.29, 0.245),
        ("clipscore", 0.725, 0.6125),
    ],
)
def test_worked_similarities(kind, intact, mixed):
    assert similarity(INTACT, BOTH, 100, kind).item() == pytest.approx(intact, abs=1e-9)
    assert similarity(MIXED, BOTH, 100, kind).item() == pytest.approx(mixed, abs=1e-9)


def test_worked_pcs():
    pair = [similarity(cosines, BOTH, 100) for cosines in (INTACT, MIXED)]
    assert perturbation_score(*pair).item() == pytest.approx(0.1046073507, abs=1e-9)
    entropies = [similarity(cosines, BOTH, 100, "entropy") for cosines in (INTACT, MIXED)]
    assert perturbation_score(*entropies, "abs").item() == pytest.approx(0.5435227005, abs=1e-9)
    assert perturbation_score(*entropies).item() == pytest.approx(-0.5435227005, abs=1e-9)


def test_worked_average():
    """Similarities of nine shuffles are averaged before they are compared."""
    mixed = torch.tensor([0.25, 0.24, 0.26, 0.27, 0.25, 0.26, 0.29, 0.28, 0.30], dtype=torch.float64).mean()
    assert mixed.item() == pytest.approx(0.2666666667, abs=1e-9)
    assert perturbation_score(torch.tensor(0.31).double(), mixed).item() == pytest.approx(0.0433333333, abs=1e-8)


def test_worked_reverse_case():
    """Shuffling that makes CLIP more certain: the authors' code keeps such an image, the paper's formula does not."""
    even, mixed = torch.full((5,), 0.24, dtype=torch.float64), torch.tensor([0.30, 0.24, 0.22, 0.22, 0.22]).double()
    assert similarity(even, BOTH, 100, "entropy").item() == pytest.approx(1.6094379124, abs=1e-9)
    assert similarity(mixed, BOTH, 100, "entropy").item() == pytest.approx(0.0263230826, abs=1e-7)
    assert similarity(even, BOTH, 100).item() == pytest.approx(0.4, abs=1e-9)
    assert similarity(mixed, BOTH, 100).item() == pytest.approx(0.9989971073, abs=1e-7)


def test_sigmoid_models_average_their_own_probabilities():
    value = similarity(INTACT, BOTH, 10, bias=-2.0).item()
    assert value == pytest.approx(np.mean([1 / (1 + math.exp(-(10 * c - 2))) for c in (0.30, 0.28)]), abs=1e-9)


def test_a_strong_class_does_not_hide_a_missing_one():
    """A person is there, a bicycle is not: the sum is next to 1, as if both were."""
    cosines = torch.tensor([0.30, 0.15, 0.22], dtype=torch.float64)
    assert similarity(cosines, BOTH, 100).item() == pytest.approx(0.9997, abs=1e-4)
    assert similarity(cosines, BOTH, 100, "prob_mean").item() == pytest.approx(0.5003, abs=1e-4)
    assert similarity(cosines, BOTH, 100, "prob_min").item() == pytest.approx(0.0009, abs=1e-4)


def test_of_one_class_all_probabilities_are_the_same():
    kinds = ("prob", "prob_mean", "prob_min")
    values = [similarity(INTACT, torch.tensor([True, False]), 100, kind).item() for kind in kinds]
    assert values[0] > 0.99
    assert values[1:] == pytest.approx(values[:1] * 2, abs=1e-12)


def test_a_sigmoid_model_says_the_probability_of_each_class_by_itself():
    alone = [1 / (1 + math.exp(-(10 * c - 2))) for c in (0.30, 0.28)]
    assert similarity(INTACT, BOTH, 10, "prob_min", -2.0).item() == pytest.approx(min(alone), abs=1e-9)
    assert similarity(INTACT, BOTH, 10, "prob_mean", -2.0) == similarity(INTACT, BOTH, 10, "prob", -2.0)


def plain_similarity(cosines, present, scale, kind):
    """One row at a time, in plain Python."""
    shown = [c for c, yes in zip(cosines, present, strict=False) if yes]
    if not shown:
        return math.nan
    if kind == "cosine":
        return sum(shown) / len(shown)
    if kind == "clipscore":
        return sum(2.5 * max(c, 0) for c in shown) / len(shown)
    if kind in ("prob_mean", "prob_min"):
        alone = [plain_similarity([c, *cosines[len(present) :]], [True], scale, "prob") for c in shown]
        return min(alone) if kind == "prob_min" else sum(alone) / len(alone)
    logits = [scale * c for c in (*shown, *cosines[len(present) :])]
    total = sum(math.exp(x - max(logits)) for x in logits)
    probabilities = [math.exp(x - max(logits)) / total for x in logits]
    if kind == "prob":
        return sum(probabilities[: len(shown)])
    return -sum(p * math.log(p) for p in probabilities if p > 0)


@given(
    cosines=st.lists(st.lists(st.floats(-1, 1), min_size=7, max_size=7), min_size=1, max_size=4),
    bits=st.integers(0, 2**16 - 1),
    kind=st.sampled_from(get_args(SimilarityKind)),
    scale=st.floats(1, 100),
)
def test_similarity_of_a_batch_equals_the_plain_one(cosines, bits, kind, scale):
    present = [[bool(bits >> (4 * row + column) & 1) for column in range(4)] for row in range(len(cosines))]
    values = similarity(torch.tensor(cosines, dtype=torch.float64), torch.tensor(present), scale, kind).tolist()
    expected = [plain_similarity(row, shown, scale, kind) for row, shown in zip(cosines, present, strict=True)]
    np.testing.assert_allclose(values, expected, atol=1e-9)


def test_worked_patch_order():
    """Equation 3: a 2x2 grid in the order (2, 1, 4, 3), counted from 1."""
    image = torch.arange(16).view(1, 1, 4, 4)
    expected = [[2, 3, 0, 1], [6, 7, 4, 5], [10, 11, 8, 9], [14, 15, 12, 13]]
    assert shuffle_patches(image, torch.tensor([1, 0, 3, 2]))[0, 0].tolist() == expected


@given(grid=st.integers(2, 5), tile=st.integers(1, 4), seed=st.integers(0, 50))
def test_shuffling_equals_cutting_by_hand(grid, tile, seed):
    side = grid * tile
    images = np.random.default_rng(seed).integers(0, 255, (2, 3, side, side))
    order = patch_order(seed, grid, 0)
    tiles = [images[:, :, y : y + tile, x : x + tile] for y in range(0, side, tile) for x in range(0, side, tile)]
    expected = np.zeros_like(images)
    for place, chosen in enumerate(order.tolist()):
        y, x = divmod(place, grid)
        expected[:, :, y * tile : (y + 1) * tile, x * tile : (x + 1) * tile] = tiles[chosen]
    np.testing.assert_array_equal(shuffle_patches(torch.from_numpy(images), order).numpy(), expected)


def test_a_side_that_does_not_divide_is_resized_there_and_back():
    images = torch.rand(2, 3, 50, 50)
    shuffled = shuffle_patches(images, patch_order(0, 8, 0))
    assert shuffled.shape == images.shape
    assert shuffled.mean().item() == pytest.approx(images.mean().item(), abs=0.01)


def test_tiles_of_a_given_size_fill_what_they_can():
    """50 pixels hold three tiles of 16: the image is made 48 pixels wide, cut, and made 50 again."""
    images = torch.rand(1, 3, 50, 50)
    small = torch.nn.functional.interpolate(images, size=(48, 48), mode="bilinear", antialias=True)
    order = patch_order(0, 3, 0)
    expected = torch.nn.functional.interpolate(shuffle_patches(small, order), size=(50, 50), mode="bilinear")
    torch.testing.assert_close(shuffle_patches(images, order, 16), expected)


@pytest.mark.parametrize(
    ("side", "scale", "unit", "cut"),
    [(224, 8, "grid", (8, 28)), (224, 8, "pixels", (28, 8)), (224, 32, "pixels", (7, 32)), (50, 16, "pixels", (3, 16)),
     (512, 4, "grid", (4, 128)), (512, 128, "pixels", (4, 128)), (50, 8, "grid", (8, 6))],
)  # fmt: skip
def test_grids_and_tiles(side, scale, unit, cut):
    assert patch_grid(side, scale, unit) == cut


@pytest.mark.parametrize(("scale", "unit"), [(1, "grid"), (33, "grid"), (17, "pixels"), (33, "pixels")])
def test_cuts_that_leave_nothing_to_shuffle(scale, unit):
    with pytest.raises(
        ValueError, match=rf"^scale {scale} in patch_unit '{unit}' cannot cut an image of 32 pixels .*$"
    ):
        patch_grid(32, scale, unit)


def test_a_constant_image_is_the_same_after_any_shuffle():
    images = torch.full((1, 3, 32, 32), 0.7)
    torch.testing.assert_close(shuffle_patches(images, patch_order(3, 16, 2)), images)


def test_more_tiles_than_pixels_are_refused():
    with pytest.raises(ValueError, match="16 pixels into 32 tiles"):
        shuffle_patches(torch.rand(1, 3, 16, 16), patch_order(0, 32, 0))


@given(seed=st.integers(0, 1000), grid=st.integers(2, 6), draw=st.integers(0, 5))
def test_orders_are_permutations_that_move_something(seed, grid, draw):
    order = patch_order(seed, grid, draw)
    assert sorted(order.tolist()) == list(range(grid * grid))
    assert order.tolist() != list(range(grid * grid))
    assert torch.equal(order, patch_order(seed, grid, draw))


def test_orders_depend_on_seed_scale_and_draw():
    orders = [patch_order(seed, 4, draw).tolist() for seed in range(3) for draw in range(3)]
    assert len({tuple(order) for order in orders}) == 9
    # A number stored in a manifest must mean the same in every version.
    assert patch_order(0, 2, 0).tolist() == [0, 3, 1, 2]


# The specification's worked label maps.


@pytest.mark.parametrize(
    ("ignore", "intersection", "union", "mean", "pooled"),
    [
        ("none", [8, 3], [11, 7], 0.5779220779, 0.6111111111),
        ("base", [8, 3], [10, 7], 0.6142857143, 0.6470588235),
        ("either", [8, 3], [10, 6], 0.65, 0.6875),
    ],
)
def test_worked_overlap(ignore, intersection, union, mean, pooled):
    overlap = class_overlap(MASK, REFERENCE, torch.tensor([1, 2]), ignore)
    assert [values.tolist() for values in overlap] == [intersection, union]
    assert mean_iou(*overlap) == pytest.approx(mean, abs=1e-9)
    assert pooled_iou(*overlap) == pytest.approx(pooled, abs=1e-9)


def test_overlap_without_pixels_is_no_number():
    nothing = torch.full((4, 4), 255, dtype=torch.uint8)
    overlap = class_overlap(nothing, nothing, torch.tensor([1]), "either")
    assert math.isnan(mean_iou(*overlap))
    assert math.isnan(pooled_iou(*overlap))


@given(seed=st.integers(0, 10_000), ignore=st.sampled_from(["base", "none", "either"]))
def test_overlap_equals_counting_pixels(seed, ignore):
    rng = np.random.default_rng(seed)
    mask, reference = (rng.choice([0, 1, 2, 3, 255], size=(5, 6)).astype(np.uint8) for _ in range(2))
    counted = np.ones_like(mask, bool)
    counted &= (mask != 255) if ignore != "none" else True
    counted &= (reference != 255) if ignore == "either" else True
    overlap = class_overlap(torch.from_numpy(mask), torch.from_numpy(reference), torch.tensor([1, 2, 3]), ignore)
    for place, class_id in enumerate((1, 2, 3)):
        here, there = (mask == class_id) & counted, (reference == class_id) & counted
        assert overlap[0][place] == (here & there).sum()
        assert overlap[1][place] == (here | there).sum()
