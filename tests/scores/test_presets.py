"""Named modes: the specification's worked numbers through their settings and rules; the authors' way, step by step."""

import math
import warnings
from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import entropy
from support.models import make_clip
from support.rows import random_row
from transformers import CLIPModel

from sds_hf import ASF, PCS, ClassesPresent, ClassIoU, ClipSim, Recipe, Threshold, TopPerGroup, add_scores, select
from sds_hf.clip.encoder import load
from sds_hf.clip.kinds import SimilarityKind
from sds_hf.clip.similarity import similarity
from sds_hf.data.folder import row_features
from sds_hf.data.images import decode_image, encode_jpeg, encode_mask
from sds_hf.data.labels import VOC
from sds_hf.scores.base.catalog import score_classes
from sds_hf.scores.base.presets import preset, preset_names
from sds_hf.scores.base.rows import Rows
from sds_hf.scores.boundary import Boundary
from sds_hf.scores.functional.patches import channel_order, patch_order, perturbation_score

CPU = torch.device("cpu")
NAMES = ["authors", "authors-0515", "authors-meant", "clipscore", "cosine", "paper", "plus"]
# Cosines of two present classes and three background prompts, of an image and its shuffled version.
USUAL = [0.30, 0.28, 0.22, 0.20, 0.18], [0.25, 0.24, 0.23, 0.21, 0.20]
REVERSE = [0.24] * 5, [0.30, 0.24, 0.22, 0.22, 0.22]  # of which CLIP becomes more certain when it is shuffled


def mode(name: str, **scores) -> Recipe:
    return Recipe.from_dict({"preset": name, "scores": {"clip_sim": {}, "pcs": {}, "asf_miou": {}, **scores}})


# The data


def test_the_names():
    assert preset_names() == NAMES
    for name in NAMES:
        recipe = mode(name)
        assert recipe.make_scores() == [score.preset(name) for score in (ClipSim, PCS, ASF)]
        assert {column for rule in recipe.rules for column in rule.reads} <= {
            column for score in (ClipSim, PCS, ASF, Boundary, ClassesPresent) for column in score.columns
        }
        assert set(preset(name)["scores"]) <= set(score_classes())


def test_paper_is_the_default():
    assert [score.preset("paper") for score in (ClipSim, PCS, ASF)] == [ClipSim(), PCS(), ASF()]
    assert mode("paper").rules == Recipe.load("sds-paper").rules
    assert Recipe.load("sds-paper").make_scores() == [PCS(), ASF()]
    assert ASF().refine == ClassIoU.preset("paper").refine == "crf"
    assert ClassIoU.preset("authors").crf_image == "authors"


def test_settings_given_take_precedence():
    shared = {"similarity": "entropy", "class_list": "inner", "pool": "patch_mean", "resolution": 512}
    shared |= {"position": "bilinear", "difference": "abs", "orders": 1}
    assert PCS.preset("authors") == PCS.preset("authors-0515") == PCS(**shared, shuffle="channels")
    assert PCS.preset("authors-meant") == PCS(**shared, scales=(4,))
    assert PCS.preset("cosine", scales=(2,), model="demo") == PCS(similarity="cosine", scales=(2,), model="demo")
    assert PCS.preset("authors", class_list="all", resolution=None).resolution is None
    assert ClassesPresent.preset("authors", labels="voc") == ClassesPresent(labels="voc")


def test_an_unknown_name_is_told_in_one_line():
    with pytest.raises(
        ValueError, match=r"^no preset 'author'; there are authors, .*paper, plus; did you mean 'authors'\?$"
    ):
        PCS.preset("author")


# The specification's worked numbers


def worked(name: str, cosines: tuple[list[float], list[float]]) -> dict[str, float]:
    """Scores of an image with two present classes, in a mode."""
    pcs = PCS.preset(name)
    both = torch.tensor([True, True])
    intact, mixed = (
        similarity(torch.tensor(values, dtype=torch.float64), both, 100, pcs.similarity) for values in cosines
    )
    return {
        "clip_sim": intact.item(),
        "clip_sim_mixed": mixed.item(),
        "pcs": perturbation_score(intact, mixed, pcs.difference).item(),
    }


GOOD = {"clip_sim": 0.95, "clip_sim_mixed": 0.0, "pcs": 9.0}  # by the rules of every mode


def reason(rules: list, row: dict[str, float], *others: dict[str, float]) -> str:
    """What becomes of a row among others."""
    rows = [row, *(others or [GOOD])]
    table = {name: [each[name] for each in rows] for name in GOOD}
    table |= {"asf_miou": [0.5] * len(rows), "num_classes_present": [2] * len(rows)}
    candidates = Dataset.from_dict({**table, "classes_present": [[1, 2]] * len(rows)})
    return select(candidates, rules).table()["reason"][0].as_py()


@pytest.mark.parametrize(
    ("name", "cosines", "intact", "mixed", "score", "outcome"),
    [
        ("paper", USUAL, 0.9996592417, 0.8950518911, 0.1046073507, "kept:num_classes=2"),
        ("paper", REVERSE, 0.4, 0.9989971073, 0.4 - 0.9989971073, "dropped:clip_sim"),
        ("authors", USUAL, 0.3684210877, 0.9119437882, 0.5435227005, "kept:num_classes=2"),
        ("authors", REVERSE, 1.6094379124, 0.0263230826, 1.5831148298, "kept:num_classes=2"),
        ("authors-meant", USUAL, 0.3684210877, 0.9119437882, 0.5435227005, "kept:num_classes=2"),
        ("authors-0515", USUAL, 0.3684210877, 0.9119437882, 0.5435227005, "kept:num_classes=2"),
        ("authors-0515", REVERSE, 1.6094379124, 0.0263230826, 1.5831148298, "dropped:clip_sim"),
    ],
)
def test_worked_numbers(name, cosines, intact, mixed, score, outcome):
    row = worked(name, cosines)
    assert list(row.values()) == pytest.approx([intact, mixed, score], abs=1e-7)
    assert reason(mode(name).rules, row) == outcome


@pytest.mark.parametrize(
    ("name", "intact", "mixed", "score"), [("cosine", 0.29, 0.245, 0.045), ("clipscore", 0.725, 0.6125, 0.1125)]
)
def test_cosines_never_reach_the_papers_threshold(name, intact, mixed, score):
    row = worked(name, USUAL)
    assert list(row.values()) == pytest.approx([intact, mixed, score], abs=1e-9)
    assert reason(mode("paper").rules, row) == "dropped:clip_sim"
    worse, better = (
        [{column: value + sign * step / 100 for column, value in row.items()} for step in range(1, 10)]
        for sign in (-1, 1)
    )
    assert reason(mode(name).rules, row, *worse) == "kept:num_classes=2"  # among the best four fifths of its own
    assert reason(mode(name).rules, row, *better) == "dropped:clip_sim"


def test_the_rules():
    assert mode("authors").rules == [
        Threshold(column="pcs", above=0.1),
        TopPerGroup(column="asf_miou", by=("num_classes_present",), fraction=0.6),
    ]
    assert mode("authors-meant").rules == mode("authors").rules
    assert mode("authors-0515").rules == [Threshold(column="clip_sim", below=1), *mode("authors").rules]
    for name in ("cosine", "clipscore"):
        assert mode(name).rules[:2] == [Threshold(column=column, above="q0.2") for column in ("clip_sim", "pcs")]


# The authors' way, step by step


@pytest.fixture(scope="module")
def coarse_clip(tmp_path_factory) -> str:
    """Images of 64 pixels, patches of 32: 512 pixels are 16 x 16 patches."""
    return str(make_clip(tmp_path_factory.mktemp("clip"), image_size=64, patch=32))


def row(index: int, mask: np.ndarray, caption: str | None = None) -> dict:
    cell = {"bytes": encode_mask(mask), "path": f"{index}.png"}
    classes = [int(value) for value in np.unique(mask) if value not in (0, 255)]
    size = {"height": mask.shape[0], "width": mask.shape[1]}
    return random_row(index, **size) | {"mask": cell, "classes": classes, "caption": caption}


def bands(*indices: int, height: int = 40, width: int = 40) -> np.ndarray:
    """A mask of one band an index."""
    return np.array(indices, np.uint8)[np.arange(width) * len(indices) // width][None].repeat(height, 0)


def rows_of(*masks: np.ndarray) -> Dataset:
    return Dataset.from_list([row(index, mask) for index, mask in enumerate(masks)], features=row_features(VOC))


def tiles_shuffled(pixels: np.ndarray, seed: int) -> np.ndarray:
    """An image of 512 pixels with its 4 x 4 tiles in another order: what the authors mean."""
    tiles = [pixels[y : y + 128, x : x + 128] for y in range(0, 512, 128) for x in range(0, 512, 128)]
    order = patch_order(seed, 4, 0).tolist()
    return np.block([[[tiles[order[4 * y + x]]] for x in range(4)] for y in range(4)])


def channels_shuffled(pixels: np.ndarray, name: str, seed: int) -> np.ndarray:
    """What the authors' script does to an image of 512 pixels: it cuts tiles, and permutes the axis before them."""
    cut = pixels.transpose(2, 0, 1).reshape(3, 4, 128, 4, 128).transpose(0, 1, 3, 2, 4).reshape(3, 16, 128 * 128)
    mixed = cut[channel_order(seed, name, 0).numpy()]  # their `num_patches` is `shape[1]` with the batch before: 3
    whole = mixed.reshape(3, 4, 4, 128, 128).transpose(0, 1, 3, 2, 4).reshape(3, 512, 512)
    return whole.transpose(1, 2, 0)


def authors_entropies(model: str, image: np.ndarray, classes: list[int], shuffled) -> tuple[float, float]:
    """Entropies of an image and of it shuffled, in plain numpy and `transformers`."""
    clip = CLIPModel.from_pretrained(model).eval()
    vision = clip.vision_model
    small = np.asarray(Image.fromarray(image).resize((512, 512), Image.Resampling.BICUBIC), np.float32) / 255
    pixels = (small - [0.48145466, 0.4578275, 0.40821073]) / [0.26862954, 0.26130258, 0.27577711]
    mixed = shuffled(pixels)
    table = vision.embeddings.position_embedding.weight.detach()
    grid = F.interpolate(table[1:].T.view(1, -1, 2, 2), (16, 16), mode="bilinear", align_corners=False)
    table = torch.cat([table[:1], grid[0].flatten(1).T])
    names = [f"a clean origami {VOC.prompts[index - 1]}." for index in classes]
    names += [f"a clean origami {prompt}." for prompt in VOC.background_prompts]
    texts = load(model, CPU, torch.float32).encode_texts(names).numpy()
    found = []
    with torch.no_grad():
        for each in (pixels, mixed):
            patches = vision.embeddings.patch_embedding(torch.tensor(each).float().permute(2, 0, 1)[None])
            tokens = torch.cat([vision.embeddings.class_embedding[None], patches[0].flatten(1).T]) + table
            hidden = vision.encoder(inputs_embeds=vision.pre_layrnorm(tokens)[None]).last_hidden_state
            feature = clip.visual_projection(vision.post_layernorm(hidden[0, 1:])).mean(0).numpy()
            logits = clip.logit_scale.exp().item() * texts @ (feature / np.linalg.norm(feature))
            found.append(float(entropy(np.exp(logits - logits.max()))))
    return found[0], found[1]


@pytest.mark.parametrize("name", ["authors", "authors-meant"])
def test_the_authors_pcs(coarse_clip, name):
    """Of any size to 512 x 512, mean of the patches, bilinear positions, entropy, one shuffle."""
    data = rows_of(bands(0, 3, 7, 255, height=512, width=512), bands(0, 15, 255, height=200, width=600))
    pcs = PCS.preset(name, model=coarse_clip, dtype="fp32", seed=2)
    scored = add_scores(data, pcs, ClipSim.preset(name, model=coarse_clip, dtype="fp32"))
    cells = data.with_format("arrow")[:]["image"].to_pylist()
    for index, (classes, tolerance) in enumerate([([3, 7], 1e-5), ([15], 2e-3)]):  # Pillow rounds a little differently
        row_id = data["id"][index]
        ways = {
            "authors": lambda pixels, row_id=row_id: channels_shuffled(pixels, row_id, 2),
            "authors-meant": lambda pixels: tiles_shuffled(pixels, 2),
        }
        intact, mixed = authors_entropies(coarse_clip, decode_image(cells[index]), classes, ways[name])
        found = [scored[column][index] for column in ("clip_sim", "clip_sim_mixed", "pcs")]
        assert found == pytest.approx([intact, mixed, abs(intact - mixed)], abs=tolerance)
        assert abs(intact - mixed) > 3 * tolerance
    if name == "authors-meant":
        in_pixels = PCS.preset(name, model=coarse_clip, dtype="fp32", seed=2, scales=(128,), patch_unit="pixels")
        assert add_scores(data, in_pixels)["pcs"] == pytest.approx(list(scored["pcs"]), abs=1e-6)


def test_channel_orders_are_a_rows_own(coarse_clip):
    """Drawn from seed and id, whatever the company; the identity is one of six, and such a row's score is 0."""
    images = [random_row(7)["image"]] * 24
    names = [f"r{index}" for index in range(24)]
    data = Dataset.from_list(
        [row(7, bands(0, 3, 255)) | {"id": name, "image": image} for name, image in zip(names, images, strict=True)],
        features=row_features(VOC),
    )
    score = PCS.preset("authors", model=coarse_clip, dtype="fp32", resolution=64)
    pcs = np.array(add_scores(data, score)["pcs"])
    orders = [tuple(channel_order(0, name, 0).tolist()) for name in names]
    assert len(set(orders)) == 6
    by_order = {order: pcs[[other == order for other in orders]] for order in set(orders)}
    for values in by_order.values():
        np.testing.assert_allclose(values, values[0], atol=5e-6)
    assert by_order[0, 1, 2] == pytest.approx(0, abs=5e-6)
    assert len({round(float(values[0]), 4) for values in by_order.values()}) == 6
    backwards = add_scores(data.select(range(23, -1, -1)), score, batch_size=5)["pcs"]
    np.testing.assert_allclose(backwards[::-1], pcs, atol=5e-6)
    np.testing.assert_allclose(data.map(score, batched=True, batch_size=7)["pcs"], pcs, atol=5e-6)
    other_seed = np.array(
        add_scores(data, PCS.preset("authors", model=coarse_clip, dtype="fp32", resolution=64, seed=1))["pcs"]
    )
    assert not np.allclose(other_seed, pcs)
    with pytest.raises(ValueError, match=r"need the columns \['classes', 'id', 'image', 'mask'\]; \['id'\] missing"):
        add_scores(data.remove_columns("id"), score)
    assert score.notes() == [
        "pcs: colour channels are permuted, as the authors' published code does, and no tile is moved"
    ]


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_authors_scores_are_the_same_together_and_alone(coarse_clip, dtype):
    """Both see images of 512 pixels in the same way, so one pass may serve both."""
    sizes = [(512, 512), (512, 512), (96, 64), (500, 520)]
    data = rows_of(*(bands(0, index + 1, 9, 255, height=h, width=w) for index, (h, w) in enumerate(sizes)))
    scores = [
        score.preset("authors", model=coarse_clip, dtype=dtype, **extra)
        for score, extra in ((PCS, {}), (ASF, {"refine": "affinity"}))
    ]
    together = add_scores(data, *scores)
    for score in scores:
        alone = add_scores(data, score, batch_size=3)
        for name in score.columns:
            tolerance = {"fp32": 5e-6, "bf16": 5e-3}[dtype]
            np.testing.assert_allclose(together[name], alone[name], rtol=0, atol=tolerance)


@given(st.sets(st.sampled_from([0, 1, 5, 20, 255]), min_size=1))
def test_the_inner_classes_are_the_authors_slice(indices):
    mask = bands(*sorted(indices))
    rows = Rows(VOC, [], [mask], np.array([[index in indices for index in VOC.class_ids]]))
    left = set(np.unique(mask)[1:-1].tolist())
    assert {index for index, asked in zip(VOC.class_ids, rows.asked("inner")[0], strict=True) if asked} == left
    assert rows.asked("all")[0].sum() == len(indices - {0, 255})


def test_a_row_whose_only_class_is_sliced_away_has_no_score(tiny_clip):
    data = rows_of(bands(0, 3, 255), bands(0, 3), bands(3, 255), bands(0, 3, 7))
    settings = {"model": tiny_clip, "dtype": "fp32", "class_list": "inner"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is no failure
        scored = add_scores(data, PCS(scales=(3,), orders=1, **settings), ASF(**settings))
        whole = add_scores(data, ASF(model=tiny_clip, dtype="fp32"))
    for column in ("clip_sim", "clip_sim_mixed", "pcs", "asf_miou"):
        assert [value is None for value in scored[column]] == [False, True, True, False]
    assert scored["asf_miou"][0] == whole["asf_miou"][0]
    without_mask = data.remove_columns("mask")
    with pytest.raises(ValueError, match=r"need the columns \['classes', 'image', 'mask'\]; \['mask'\] missing"):
        add_scores(without_mask, ClipSim(**settings))


def test_the_iou_is_of_all_classes_whatever_clip_was_asked(tiny_clip):
    data = rows_of(bands(0, 3, 7))  # without 255, class 7 is sliced away
    inner, whole = (
        add_scores(data, ASF(model=tiny_clip, dtype="fp32", class_list=kind))["asf_miou"][0]
        for kind in ("inner", "all")
    )
    only_three = add_scores(rows_of(bands(0, 3, 0)), ASF(model=tiny_clip, dtype="fp32"))["asf_miou"][0]
    assert inner != whole
    assert inner == pytest.approx(only_three / 2, abs=1e-6)  # the reference has no class 7, which counts as 0


@pytest.mark.parametrize(
    "change", [{"iou": "pooled"}, {"ignore": "none"}, {"exclusive_boxes": True}, {"position": "bilinear"}], ids=str
)
def test_each_setting_of_the_authors_asf_counts(tiny_clip, change):
    data = rows_of(bands(0, 3, 7, 255), bands(0, 15, 255, height=56), bands(0, 1, 2, 255))
    ours, theirs = (
        np.array(add_scores(data, ASF(model=tiny_clip, dtype="fp32", **each))["asf_miou"]) for each in ({}, change)
    )
    assert not np.allclose(ours, theirs)


# Patches in pixels, differences


@pytest.mark.parametrize(("pixels", "grid"), [(12, 4), (24, 2), (6, 8)])
def test_pixels_and_grids_agree_where_they_divide(dataset, tiny_clip, pixels, grid):
    settings = {"model": tiny_clip, "dtype": "fp32", "orders": 2}
    found = add_scores(dataset, PCS(scales=(pixels,), patch_unit="pixels", **settings))
    assert list(found["pcs"]) == list(add_scores(dataset, PCS(scales=(grid,), **settings))["pcs"])


@pytest.mark.parametrize(
    ("scale", "unit", "message"),
    [
        (25, "pixels", "scale 25 in patch_unit 'pixels' cannot cut an image of 48 pixels a side into tiles to shuffle"),
        (49, "grid", "scale 49 in patch_unit 'grid' .* give 2 to 48 tiles a side, or tiles of 1 to 24 pixels"),
    ],
)
def test_a_scale_that_leaves_nothing_to_shuffle(dataset, tiny_clip, scale, unit, message):
    with pytest.raises(ValueError, match=message):
        add_scores(dataset, PCS(model=tiny_clip, dtype="fp32", scales=(scale,), patch_unit=unit))


def test_a_resolution_of_broken_patches(dataset, tiny_clip):
    with pytest.raises(ValueError, match=r"resolution 60 is no multiple of the 8-pixel patches of .*; use 56 or 64"):
        add_scores(dataset, ClipSim(model=tiny_clip, dtype="fp32", resolution=60))


def test_absolute_differences(dataset, tiny_clip):
    settings = {"model": tiny_clip, "dtype": "fp32", "scales": (3,), "orders": 2}
    signed, absolute = (np.array(add_scores(dataset, PCS(difference=d, **settings))["pcs"]) for d in ("signed", "abs"))
    assert (signed < 0).any()
    np.testing.assert_allclose(absolute, np.abs(signed), atol=1e-6)


# Captions


def captioned(*captions: str | None) -> Dataset:
    return Dataset.from_list(
        [row(index, bands(0, 3, 255), caption) for index, caption in enumerate(captions)], features=row_features(VOC)
    )


@pytest.mark.parametrize("kind", get_args(SimilarityKind))
def test_a_caption_stands_in_for_the_classes(tiny_clip, kind):
    captions = ["a dog on a sofa", "two sheep", "a very long caption of a dog " * 20]
    data = captioned(*captions)
    score = ClipSim(model=tiny_clip, dtype="fp32", text="caption", similarity=kind)
    encoder = load(tiny_clip, CPU, torch.float32)
    background = encoder.encode_texts([f"a clean origami {prompt}." for prompt in VOC.background_prompts])
    images = encoder.encode_images(
        encoder.preprocess([decode_image(cell) for cell in data.with_format("arrow")[:]["image"].to_pylist()])
    )
    for index, (caption, found) in enumerate(zip(captions, add_scores(data, score)["clip_sim"], strict=True)):
        own = (encoder.embed_texts([caption])[0] @ images[index]).item()
        logits = encoder.scale * np.array([own, *(background @ images[index]).tolist()])
        chances = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        expected = dict.fromkeys(("prob", "prob_mean", "prob_min"), chances[0])
        expected |= {"cosine": own, "clipscore": 2.5 * max(own, 0), "entropy": entropy(chances)}
        assert found == pytest.approx(float(expected[kind]), abs=1e-5)


@pytest.mark.parametrize("kind", ["prob_mean", "prob_min"])
def test_each_class_alone_in_both_scores(tiny_clip, kind):
    """The similarity of several classes is the mean or the minimum of what each has alone; PCS follows it."""
    classes = [1, 9, 15]
    data = Dataset.from_list([row(0, bands(0, *classes))], features=row_features(VOC))
    alone = [Dataset.from_list([row(0, bands(0, one))], features=row_features(VOC)) for one in classes]
    single = [add_scores(one, ClipSim(model=tiny_clip, dtype="fp32"))["clip_sim"][0] for one in alone]
    settings = {"model": tiny_clip, "dtype": "fp32", "similarity": kind}
    together = add_scores(data, ClipSim(**settings), PCS(**settings))
    expected = min(single) if kind == "prob_min" else np.mean(single)
    assert max(single) - min(single) > 1e-4
    assert together["clip_sim"][0] == pytest.approx(expected, abs=1e-5)
    assert together["pcs"][0] == pytest.approx(together["clip_sim"][0] - together["clip_sim_mixed"][0], abs=1e-6)


def test_a_row_without_a_caption_has_no_score_and_is_no_failure(tiny_clip):
    data = captioned(None, "a dog", "", " \n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scored = add_scores(data, PCS(model=tiny_clip, dtype="fp32", text="caption", scales=(3,), orders=1))
    for name in PCS.columns:
        assert [value is None for value in scored[name]] == [True, False, True, True]


def test_captions_need_no_mask_and_are_not_remembered(tiny_clip):
    data = captioned("a dog", "a cat").select_columns(["image", "caption"])
    score = ClipSim(model=tiny_clip, dtype="fp32", text="caption", labels="voc")
    remembered = load(tiny_clip, CPU, torch.float32)._texts
    add_scores(data, score)
    before = len(remembered)
    assert None not in add_scores(captioned("a bird", "a boat"), score)["clip_sim"]
    assert len(remembered) == before
    with pytest.raises(ValueError, match=r"need the columns \['caption', 'image'\]; \['caption'\] missing"):
        add_scores(data.remove_columns("caption"), score)


def test_a_caption_that_is_no_text_fails_its_row(tiny_clip):
    score = ClipSim(model=tiny_clip, dtype="fp32", text="caption", labels="voc")
    image = {"bytes": encode_jpeg(np.zeros((40, 40, 3), np.uint8)), "path": None}
    with pytest.warns(UserWarning, match=r"caption: \['a', 'b'\] is no text"):
        found = score({"image": [image, image], "caption": [["a", "b"], "a"]})
    assert found["clip_sim"][0] is None
    assert 0 <= found["clip_sim"][1] <= 1


@hypothesis_settings(max_examples=10)
@given(st.lists(st.sampled_from(["a dog", "a cat on a sofa", "x " * 60, None, ""]), min_size=1, max_size=5))
def test_a_caption_scores_the_same_in_any_company(tiny_clip, captions):
    score = ClipSim(model=tiny_clip, dtype="fp32", text="caption", labels="voc")
    image = {"bytes": encode_jpeg(np.full((40, 40, 3), 77, np.uint8)), "path": None}
    together = score({"image": [image] * len(captions), "caption": captions})["clip_sim"]
    alone = [score({"image": [image], "caption": [caption]})["clip_sim"][0] for caption in captions]
    for one, other in zip(together, alone, strict=True):
        assert (one is None) == (other is None)
        assert one is None or math.isclose(one, other, abs_tol=2e-6)
