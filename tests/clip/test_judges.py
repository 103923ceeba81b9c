"""Judges beside CLIP-ES and MaskCLIP, scales and regions: each against a plain implementation of what it says."""

import math
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from support.models import make_clip
from support.segmenters import make_eomt, make_sam2, make_sam3

from sds_hf.clip.checkpoints import ModelNotFoundError
from sds_hf.clip.encoder import load
from sds_hf.clip.reference.masks import clip_judge, reference_maps, reference_masks, with_background
from sds_hf.clip.reference.regions import region_means, segmenter, superpixels
from sds_hf.clip.reference.sam3 import Sam3Judge
from sds_hf.clip.reference.settings import ReferenceSettings, judges_of
from sds_hf.clip.segmenters import complete, load_sam3, load_segmenter

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def encoder(tiny_clip):
    return load(tiny_clip, CPU, torch.float32)


@pytest.fixture(scope="module")
def sam3(tmp_path_factory):
    return load_sam3(str(make_sam3(tmp_path_factory.mktemp("sam3"))), CPU, torch.float32)


def picture(height=40, width=56, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height // 4, width // 4, 3), np.uint8).repeat(4, 0).repeat(4, 1)


def texts(count=8):
    return F.normalize(torch.randn(count, 16, generator=torch.Generator().manual_seed(0)), dim=-1)


def maps_of(judge, image, present, how):
    ((_, (maps,)),) = reference_maps(judge, [image], present[None], how)
    return maps


@torch.no_grad()
def plain_naclip(encoder, image, prompts, classes):
    """One head, one pair of patches at a time, from the weights of `transformers`."""
    vision = encoder.model.vision_model
    pixels = encoder.normalize(torch.from_numpy(image).permute(2, 0, 1)[None])
    hidden, _ = encoder.vit.before_last(pixels)
    layer = vision.encoder.layers[-1]
    tokens = layer.layer_norm1(hidden)[0, 1:]
    keys, values = layer.self_attn.k_proj(tokens), layer.self_attn.v_proj(tokens)
    rows, columns = pixels.shape[2] // 8, pixels.shape[3] // 8
    places = [(y, x) for y in range(rows) for x in range(columns)]
    size = layer.self_attn.head_dim
    mixed = torch.zeros_like(values)
    for head in range(layer.self_attn.num_heads):
        part = slice(head * size, (head + 1) * size)
        for i, here in enumerate(places):
            logits = torch.stack([
                keys[i, part] @ keys[j, part] / math.sqrt(size) + math.exp(-(math.dist(here, there) ** 2) / 50)
                for j, there in enumerate(places)
            ])  # fmt: skip
            mixed[i, part] = logits.softmax(0) @ values[:, part]
    projected = encoder.model.visual_projection(vision.post_layernorm(layer.self_attn.out_proj(mixed)))
    asked = torch.cat([prompts[list(classes)], prompts[3:]])
    probabilities = (encoder.scale * F.normalize(projected, dim=-1) @ asked.T).softmax(-1)
    return probabilities[:, : len(classes)].T.view(len(classes), rows, columns)


def test_naclip_equals_a_plain_implementation(encoder):
    image, prompts, how = picture(), texts(), ReferenceSettings(reference="naclip", refine="none")
    maps = maps_of(clip_judge("naclip", encoder, prompts, how), image, torch.tensor([True, False, True]), how)
    expected = with_background(plain_naclip(encoder, image, prompts, (0, 2)), image.shape[:2], exclusive=True)
    torch.testing.assert_close(maps, expected, atol=2e-4, rtol=0)


@pytest.mark.parametrize("kind", ["clip-es", "maskclip", "naclip"])
def test_maps_of_several_scales_are_averaged(encoder, kind):
    image, present = picture(), torch.tensor([True, True, False])

    def at(*scales):
        how = ReferenceSettings(reference=kind, refine="none", scales=scales)
        return maps_of(clip_judge(kind, encoder, texts(), how), image, present, how)

    assert not torch.allclose(at(1.0), at(2.0))
    torch.testing.assert_close(at(1.0, 2.0), (at(1.0) + at(2.0)) / 2)


def test_naclip_needs_no_backward_pass(encoder, monkeypatch):
    monkeypatch.setattr(torch.autograd, "grad", lambda *args, **kwargs: pytest.fail("a backward pass"))
    how = ReferenceSettings(reference="naclip", refine="none")
    judge = clip_judge("naclip", encoder, texts(), how)
    assert len(dict(reference_masks(judge, [picture()] * 2, torch.ones(2, 3).bool(), how))) == 2


# Regions


def plain_region_means(maps, regions):
    classes = maps[1:].double().clone()
    for one in classes:
        for number in np.unique(regions):
            inside = torch.from_numpy(regions == number)
            one[inside] = one[inside].mean()
        one -= one.min()
        one /= one.max() + 1e-6
    return torch.cat([1 - classes.amax(0, keepdim=True), classes]).float()


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 12), st.integers(1, 9), st.integers(1, 9))
def test_region_means_equal_a_plain_vote(seed, classes, count, height, width):
    rng = np.random.default_rng(seed)
    maps = torch.from_numpy(rng.random((1 + classes, height, width), np.float32))
    regions = np.unique(rng.integers(0, count, (height, width)), return_inverse=True)[1].reshape(height, width)
    snapped = region_means(maps, regions)
    torch.testing.assert_close(snapped, plain_region_means(maps, regions))
    assert ((snapped >= 0) & (snapped <= 1)).all()


def test_superpixels_end_where_the_picture_changes():
    image = np.full((90, 120, 3), 40, np.uint8)
    image[20:70, 30:90] = (220, 60, 60)
    regions = superpixels(image)
    assert regions.shape == (90, 120)
    inside, outside = np.unique(regions[24:66, 34:86]), np.unique(regions[:14])
    assert len(inside) == len(outside) == 1
    assert inside != outside


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (37, 500), (640, 330), (700, 400)])
def test_superpixels_cover_pictures_of_any_size(shape):
    regions = superpixels(np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8))
    assert regions.shape == shape
    assert regions.min() == 0
    assert regions.dtype == np.int64


def test_a_coarse_map_is_snapped_to_the_object(encoder):
    image = np.full((48, 48, 3), 40, np.uint8)
    image[12:36, 12:36] = (230, 200, 40)
    blurred = torch.zeros(1, 6, 6)
    blurred[0, 1:5, 2:6] = 1
    maps = with_background(blurred, (48, 48))
    labels = region_means(maps, superpixels(image)).argmax(0)
    truth = torch.zeros(48, 48)
    truth[12:36, 12:36] = 1
    assert (labels == truth).float().mean() > 0.95 > 0.9 > (maps.argmax(0) == truth).float().mean()


def test_without_scikit_image_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(ModuleNotFoundError, match=r'this needs scikit-image: pip install "sds-hf\[selectors\]"'):
        superpixels(picture())


@pytest.mark.parametrize("refine", ["regions", "regions-crf"])
def test_regions_refine_every_kind(encoder, refine):
    image, present = picture(), torch.tensor([[True, True, False]])
    for kind in ("clip-es", "maskclip", "naclip"):
        how = ReferenceSettings(reference=kind, refine=refine)
        ((row, labels),) = reference_masks(clip_judge(kind, encoder, texts(), how), [image], present, how)
        assert row == 0
        assert set(labels.unique().tolist()) <= {-1, 0, 1, 2}
        if refine == "regions":  # every region has one label
            regions = torch.from_numpy(superpixels(image))
            assert all(len(labels[regions == number].unique()) == 1 for number in regions.unique())


# Models that segment


def test_masks_become_regions_that_cover_the_picture():
    large, small = np.zeros((6, 8), bool), np.zeros((6, 8), bool)
    large[1:5, 1:6], small[2:4, 2:4] = True, True
    regions = complete([small, large], (6, 8))
    assert len(np.unique(regions)) == 3
    assert len(np.unique(regions[small])) == len(np.unique(regions[large & ~small])) == 1
    assert len(np.unique(regions[~large])) == 1
    halves = complete([np.arange(8)[None].repeat(6, 0) == 4], (6, 8))  # what is left and right of it is no one thing
    assert len(np.unique(halves)) == 3


@pytest.mark.parametrize("make", [make_eomt, make_sam2])
def test_regions_by_a_model(make, tmp_path):
    segment = segmenter(str(make(tmp_path)), CPU)
    assert segment is load_segmenter(str(tmp_path), CPU)  # loaded once
    image = picture(30, 52)
    regions = segment(image)
    assert regions.shape == (28, 52)
    assert len(np.unique(regions)) == regions.max() + 1 > 1
    np.testing.assert_array_equal(regions, segment(image))


def test_a_model_of_another_kind_gives_no_regions(tmp_path):
    make_clip(tmp_path)
    with pytest.raises(ModelNotFoundError, match=r"is of the kind clip; regions come from a model of the kinds mask2f"):
        segmenter(str(tmp_path), CPU)
    with pytest.raises(ModelNotFoundError, match=r"needs config.json, \*.safetensors weights \(nothing else"):
        segmenter(str(tmp_path.parent), CPU)


def test_sam3_sees_a_picture_once_for_all_classes(sam3):
    passes = {"vision": 0, "classes": 0}

    def count(name):
        return lambda *args: passes.__setitem__(name, passes[name] + 1)

    hooks = [
        sam3.model.vision_encoder.register_forward_hook(count("vision")),
        sam3.model.mask_decoder.register_forward_hook(count("classes")),
    ]
    present = torch.tensor([[True, True, True], [False, True, False]])
    how = ReferenceSettings(reference="sam3", refine="none")
    judge = Sam3Judge(sam3, ["cat", "sheep", "bus"])
    masks = dict(reference_masks(judge, [picture(), picture(48, 48)], present, how))
    for hook in hooks:
        hook.remove()
    assert passes == {"vision": 2, "classes": 4}
    assert {row: mask.shape for row, mask in masks.items()} == {0: (40, 56), 1: (48, 48)}


def test_sam3_says_what_transformers_says(sam3):
    image = picture()
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    inputs = F.interpolate(pixels, size=(56, 56), mode="bilinear", antialias=True) / 127.5 - 1
    seen = sam3.look(pixels)
    found = {name: sam3.find(seen, name) for name in ("cat", "bus")}
    for name, probabilities in found.items():
        encoded = sam3.tokenizer(name, padding="max_length", max_length=32, return_tensors="pt")
        with torch.inference_mode():
            output = sam3.model(pixel_values=inputs, **encoded)
        torch.testing.assert_close(probabilities, output.semantic_seg[0, 0].sigmoid(), atol=1e-5, rtol=0)
    assert not torch.equal(found["cat"], found["bus"])


def test_a_class_that_sam3_does_not_see_has_no_pixel(sam3, monkeypatch):
    bias = sam3.model.detr_decoder.presence_head.layer3.bias
    monkeypatch.setattr(bias, "data", torch.full_like(bias.data, -50.0))
    assert not sam3.find(sam3.look(torch.from_numpy(picture()).permute(2, 0, 1)[None]), "cat").any()


# Names


@pytest.mark.parametrize(
    ("reference", "judges"),
    [
        ("naclip", ("naclip",)),
        ("maskclip, column:teacher", ("maskclip", "column:teacher")),
        ("column:a b", ("column:a b",)),
    ],
)
def test_judges(reference, judges):
    assert judges_of(reference) == judges


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        (
            "masclip",
            r"there is no judge 'masclip'; did you mean 'maskclip'; there are clip-es, maskclip, naclip",
        ),
        ("colum:x", r"no judge 'colum:x'"),
        ("column:", r"no judge 'column:'"),
        ("", r"no judge ''"),
        ("sam3,naclip,maskclip", r"one judge or two different ones, not \['sam3', 'naclip', 'maskclip'\]"),
        ("sam3,sam3", r"one judge or two different ones"),
        ("column:mask", r"column:mask: give a column of other masks than those in question"),
    ],
)
def test_what_is_no_judge_is_said(reference, said):
    with pytest.raises(ValueError, match=said):
        judges_of(reference)
