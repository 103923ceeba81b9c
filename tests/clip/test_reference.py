"""Reference masks: step by step against a plain implementation, and against golden values of the authors' code."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from support.models import block_and_tokens, make_clip
from support.paths import TESTS

from sds_hf import ASF
from sds_hf.clip.encoder import Encoder, load
from sds_hf.clip.reference.cam import affinity, min_max, object_boxes, refine
from sds_hf.clip.reference.clip_es import class_cams
from sds_hf.clip.reference.crf import crf_image, dense_crf
from sds_hf.clip.reference.masks import clip_judge, label_map, reference_maps, reference_masks, with_background
from sds_hf.clip.reference.settings import ReferenceSettings
from sds_hf.clip.reference.tower import clip_tower, to_whole_patches
from sds_hf.clip.similarity import present_softmax
from sds_hf.data.labels import LabelSpace
from sds_hf.scores.base.rows import Rows

GOLDEN = TESTS / "golden" / "clip_es_random_vit"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def encoder(tiny_clip) -> Encoder:
    return load(tiny_clip, CPU, torch.float32)


def random_images(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes]


def random_texts(count, seed=0):
    return F.normalize(torch.randn(count, 16, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_the_tower_computes_what_transformers_computes(encoder):
    pixels = torch.randn(2, 3, 48, 48)
    hidden, _ = encoder.vit.before_last(pixels, "bicubic", 0)
    output, _ = encoder.vit.blocks[-1](hidden, with_weights=True)
    expected = encoder.model.vision_model(pixel_values=pixels).last_hidden_state
    torch.testing.assert_close(output, expected, atol=5e-5, rtol=1e-4)
    feature = encoder.vit.project(output[:, 0])
    torch.testing.assert_close(F.normalize(feature, dim=-1), encoder.encode_images(pixels), atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [(64, 40), (24, 48)])
def test_the_tower_computes_what_transformers_computes_at_other_sizes(encoder, size):
    pixels = torch.randn(1, 3, *size)
    hidden, _ = encoder.vit.before_last(pixels, "bicubic", 0)
    output, _ = encoder.vit.blocks[-1](hidden, with_weights=True)
    expected = encoder.model.vision_model(pixel_values=pixels, interpolate_pos_encoding=True).last_hidden_state
    torch.testing.assert_close(output, expected, atol=5e-5, rtol=1e-4)


def test_attention_weights_are_those_of_transformers(tiny_clip, encoder):
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(tiny_clip, attn_implementation="eager").eval()
    pixels = torch.randn(1, 3, 48, 48)
    with torch.no_grad():
        attentions = model.vision_model(pixel_values=pixels, output_attentions=True).attentions
    _, total = encoder.vit.before_last(pixels, "bicubic", 2)
    torch.testing.assert_close(total, (attentions[0] + attentions[1]).mean(1), atol=1e-5, rtol=1e-4)


def plain_cams(encoder, hidden, classes, texts):
    """One class at a time: a forward, a backward, and the formulas as they are written."""
    maps = []
    for chosen in classes:
        output, tokens = block_and_tokens(encoder.model.vision_model.encoder.layers[-1], hidden)
        feature = F.normalize(encoder.vit.project(output[:, 1:]).mean(1), dim=-1)
        rows = torch.tensor([*classes, *range(3, len(texts))])
        probability = (encoder.scale * feature @ texts[rows].T).softmax(-1)[0, classes.index(chosen)]
        (gradient,) = torch.autograd.grad(probability, tokens)
        weights = gradient[0, 1:].mean(0)
        cam = torch.clamp((tokens[0, 1:] * weights).sum(-1), min=0).detach()
        for _ in range(2):
            cam = (cam - cam.min()) / (1e-7 + (cam - cam.min()).max())
        maps.append(cam)
    return torch.stack(maps)


@pytest.mark.parametrize("size", [(48, 48), (56, 32)])
def test_grad_cam_of_many_classes_at_once_equals_one_at_a_time(encoder, size):
    texts = random_texts(3 + 5)
    present = torch.tensor([[True, False, True], [True, True, True], [False, True, False]])
    pixels = torch.randn(3, 3, *size)
    hidden, _ = encoder.vit.before_last(pixels, "bicubic", 0)
    cams, _, probabilities, _ = class_cams(encoder, hidden, present, texts)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(3))
    for row in range(3):
        classes = present[row].nonzero()[:, 0].tolist()
        expected = plain_cams(encoder, hidden[row : row + 1], classes, texts)
        torch.testing.assert_close(cams[: len(classes), row], expected, atol=2e-4, rtol=1e-3)


def plain_maps(encoder, image, classes, texts, settings):
    """One image, one step after the other, up to the CRF."""
    pixels = to_whole_patches(encoder, torch.from_numpy(image).permute(2, 0, 1)[None])
    grid = [side // encoder.patch_size for side in pixels.shape[-2:]]
    with torch.no_grad():
        hidden, total = encoder.vit.before_last(pixels, "bicubic", settings.affinity_blocks - 1)
    rows = [*classes, *range(3, len(texts))]
    if settings.reference == "maskclip":
        with torch.no_grad():
            features = F.normalize(encoder.vit.project(encoder.vit.blocks[-1].to_itself(hidden[0, 1:])), dim=-1)
            probabilities = (encoder.scale * features @ texts[rows].T).softmax(-1)
        large = upsampled(probabilities.T, grid, image)
        return torch.cat([large[len(classes) :].sum(0, keepdim=True), large[: len(classes)]])
    cams = plain_cams(encoder, hidden, classes, texts)
    if settings.refine != "none":
        with torch.no_grad():
            _, last = encoder.vit.blocks[-1](hidden, with_weights=True)
        total = last if total is None else total + last
        transition = affinity(total[0, 1:, 1:] / settings.affinity_blocks)
        boxes = torch.stack([object_boxes(cam.view(grid), 0.4).flatten() for cam in cams])
        cams = min_max(refine(cams, boxes, transition))
    large = upsampled(cams, grid, image)
    return torch.cat([1 - large.amax(0, keepdim=True), large])


def plain_mask(maps, image, present, settings):
    """The label map of one image."""
    if settings.refine == "crf":
        (maps,) = dense_crf([maps], [crf_image(torch.from_numpy(image), settings.crf_image)])
    labels = torch.tensor([0, *(1 + present.nonzero()[:, 0]).tolist()])[maps.argmax(0)]
    if settings.refine == "crf" and settings.crf_confidence:
        labels[maps.amax(0) < settings.crf_confidence] = -1
    return labels


def upsampled(maps, grid, image):
    return F.interpolate(maps.view(1, -1, *grid), size=image.shape[:2], mode="bilinear", align_corners=False)[0]


@pytest.mark.parametrize("size", [(48, 48), (41, 50), (31, 77)])
def test_images_are_resized_to_whole_patches_as_pillow_does(encoder, size):
    (image,) = random_images([(size[0] // 4, size[1] // 4)])
    image = np.array(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC))
    target = [-(-side // encoder.patch_size) * encoder.patch_size for side in size]
    resized = np.array(Image.fromarray(image).resize(target[::-1], Image.Resampling.BICUBIC))
    expected = encoder.normalize(torch.from_numpy(resized).permute(2, 0, 1)[None].float())
    found = to_whole_patches(encoder, torch.from_numpy(image).permute(2, 0, 1)[None])
    assert (found - expected).abs().max() < 2.5 / 255 / 0.26  # Pillow rounds between its two passes
    assert (found - expected).abs().mean() < 0.5 / 255 / 0.26


@pytest.mark.parametrize(
    "settings",
    [
        ReferenceSettings(affinity_blocks=3),
        ReferenceSettings(affinity_blocks=1),
        ReferenceSettings(refine="none"),
        ReferenceSettings(refine="crf", affinity_blocks=3),
        ReferenceSettings(refine="crf", affinity_blocks=3, crf_image="authors", crf_confidence=None),
        ReferenceSettings(reference="maskclip"),
        ReferenceSettings(reference="maskclip", refine="crf"),
    ],
    ids=["affinity of 3 blocks", "affinity of 1 block", "no affinity", "crf", "authors' crf", "maskclip", "its crf"],
)
def test_masks_of_mixed_sizes_and_counts_equal_one_at_a_time(encoder, settings):
    images = random_images([(48, 48), (40, 64), (48, 48), (41, 50), (48, 48)])
    present = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 1, 1], [1, 1, 0], [0, 0, 1]]).bool()
    texts = random_texts(3 + 5)
    maps = maps_of(encoder, images, present, texts, settings)
    judge = clip_judge(settings.reference, encoder, texts, settings)
    masks = dict(reference_masks(judge, images, present, settings))
    assert sorted(maps) == sorted(masks) == [0, 1, 2, 3, 4]
    for row, image in enumerate(images):
        expected = plain_maps(encoder, image, present[row].nonzero()[:, 0].tolist(), texts, settings)
        torch.testing.assert_close(maps[row], expected, atol=5e-4, rtol=0)
        mask = plain_mask(maps[row], image, present[row], settings)
        assert masks[row].shape == image.shape[:2]
        assert (masks[row] == mask).float().mean() > 0.999


def maps_of(encoder, images, present, texts, settings):
    judge = clip_judge(settings.reference, encoder, texts, settings)
    found = reference_maps(judge, images, present, settings)
    return {row: one for rows, maps in found for row, one in zip(rows, maps, strict=True)}


def test_batches_are_kept_within_bounds(encoder, monkeypatch):
    images, texts = random_images([(48, 48)] * 6), random_texts(3 + 5)
    present = torch.ones(6, 3, dtype=torch.bool)
    settings = ReferenceSettings(affinity_blocks=2)
    whole = maps_of(encoder, images, present, texts, settings)
    monkeypatch.setattr("sds_hf.clip.reference.tower.MAX_ATTENTION_BYTES", 1)
    single = maps_of(encoder, images, present, texts, settings)
    for row in range(6):
        torch.testing.assert_close(whole[row], single[row], atol=5e-4, rtol=0)


def test_label_maps_take_the_largest():
    maps = torch.tensor([[[0.4, 0.1, 0.4]], [[0.1, 0.7, 0.35]]])
    present = torch.tensor([False, True, False, True])
    independent, exclusive = with_background(maps, (1, 3)), with_background(maps, (1, 3), exclusive=True)
    torch.testing.assert_close(independent[0], torch.tensor([[0.6, 0.3, 0.6]]))
    torch.testing.assert_close(exclusive[0], torch.tensor([[0.5, 0.2, 0.25]]))
    assert label_map(independent, present).tolist() == [[0, 4, 0]]
    assert label_map(exclusive, present).tolist() == [[0, 4, 2]]
    assert label_map(exclusive, present, confidence=0.5).tolist() == [[0, 4, -1]]


def test_a_label_space_without_background_starts_at_zero(tiny_clip):
    """Class 0 is a class there; what no class covers is 255, which no class of the mask matches."""
    labels = LabelSpace.from_names(["road", "building", "sky"])
    images = random_images([(48, 48)])
    rows = Rows(labels, images, [np.zeros((48, 48), np.uint8)], np.array([[True, False, True]]))
    score = ASF(model=tiny_clip, dtype="fp32", reference="maskclip")
    ((_, reference),) = score.references(rows, score.reference)
    assert set(reference.unique().tolist()) <= {0, 2, 255}


def test_pixels_the_crf_is_not_confident_of_are_ignored(tiny_clip):
    labels = LabelSpace.from_names(["background", "cat", "dog"])
    rows = Rows(labels, random_images([(48, 48)]), [np.zeros((48, 48), np.uint8)], np.array([[True, True]]))
    ignored = []
    for confidence in (None, 0.9, 0.9999999):
        score = ASF(model=tiny_clip, dtype="fp32", refine="crf", crf_confidence=confidence)
        ((_, reference),) = score.references(rows, score.reference)
        ignored.append(int((reference == 255).sum()))
    assert ignored[0] == 0
    assert ignored[1] <= ignored[2]
    assert ignored[2] > 0


def test_settings_of_the_score_reach_the_masks(dataset, tiny_clip):
    variants = [
        ASF(model=tiny_clip, dtype="fp32", **settings)
        for settings in (
            {},
            {"refine": "none"},
            {"refine": "affinity"},
            {"refine": "crf", "crf_image": "authors"},
            {"refine": "crf", "crf_confidence": None},
            {"reference": "maskclip"},
            {"affinity_blocks": 1},
            {"cam_threshold": 0.9},
            {"iou": "pooled"},
            {"ignore": "none"},
        )
    ]
    values = [tuple(np.round(dataset.map(score, batched=True)["asf_miou"], 6)) for score in variants]
    assert len(set(values)) == len(variants)


def test_models_without_a_clip_tower_are_named(tmp_path):
    from transformers import SiglipConfig, SiglipModel

    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
              "image_size": 16, "patch_size": 8}  # fmt: skip
    text = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
            "vocab_size": 890, "projection_size": 16}  # fmt: skip
    make_clip(tmp_path / "clip")
    SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(tmp_path / "siglip")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "siglip" / name).write_bytes((tmp_path / "clip" / name).read_bytes())
    with pytest.raises(ValueError, match=r"reference masks need a CLIP vision tower; model .* has a Siglip"):
        clip_tower(load(str(tmp_path / "siglip"), CPU, torch.float32))


@pytest.fixture(scope="module")
def golden_encoder(tmp_path_factory) -> Encoder:
    """The golden vision tower, of random weights, with an untrained text tower beside it."""
    from safetensors.torch import load_file, save_file

    vision = json.loads((GOLDEN / "config.json").read_text())
    folder = make_clip(tmp_path_factory.mktemp("golden"))
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"] |= vision
    config["projection_dim"] = vision["projection_dim"]
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(folder / "model.safetensors")
    weights = {name: value for name, value in weights.items() if name.startswith("text_model")}
    weights |= load_file(GOLDEN / "vision.safetensors")
    weights["text_projection.weight"] = torch.zeros(vision["projection_dim"], 32)
    weights["logit_scale"] = torch.tensor(np.log(8.0), dtype=torch.float32)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return load(str(folder), CPU, torch.float32)


@pytest.fixture(params=range(4))
def golden(request):
    """The golden values of one image, by name."""
    values, prefix = np.load(GOLDEN / "golden.npz"), f"case{request.param}_"
    return {name.removeprefix(prefix): torch.from_numpy(values[name]) for name in values if name.startswith(prefix)}


def test_each_step_equals_the_authors_code(golden_encoder, golden):
    classes, grid = golden["grad_cam"].shape[0], golden["grad_cam"].shape[1:]
    present = torch.ones(1, classes, dtype=torch.bool)
    hidden, total = golden_encoder.vit.before_last(golden["pixel_values"][None], "bilinear", 7)
    cams, last, probabilities, _ = class_cams(golden_encoder, hidden, present, golden["text_features"])
    assert (probabilities[0] - golden["softmax_scores"]).abs().max() < 5e-5
    assert (cams[:, 0].view(-1, *grid) - golden["grad_cam"]).abs().max() < 5e-4
    attention = (total + last)[0, 1:, 1:] / 8
    assert (attention - golden["affinity"]).abs().max() < 2e-5
    boxes = torch.stack([object_boxes(cam.view(*grid), 0.4, exclusive=True).flatten() for cam in cams[:, 0]])
    refined = refine(cams[:, 0], boxes, affinity(attention))
    assert (refined.view(-1, *grid) - golden["refined_cam"]).abs().max() < 1e-4
    maps = with_background(min_max(refined).view(-1, *grid), golden["image"].shape[:2])
    assert (maps[1:] - golden["refined_cam_fullres"]).abs().max() < 2e-3  # they keep it in float16
    labels = label_map(maps, present[0])
    assert (labels == golden["label_argmax_nocrf"]).float().mean() > 0.999


@pytest.mark.parametrize(
    ("changes", "expected", "share"),
    [
        ({"refine": "affinity"}, "label_argmax_nocrf", 0.999),
        ({"crf_confidence": None}, "label_crf", 0.99),
        ({}, "label_crf_conf95", 0.98),
    ],
)
def test_masks_equal_those_of_the_authors_code(golden_encoder, golden, changes, expected, share):
    """From the image, not from its preprocessed pixels."""
    settings = {"refine": "crf", "crf_image": "authors", "exclusive_boxes": True, "position": "bilinear"}
    settings = ReferenceSettings(**settings | changes)
    present = torch.ones(1, golden["grad_cam"].shape[0], dtype=torch.bool)
    judge = clip_judge("clip-es", golden_encoder, golden["text_features"], settings)
    ((_, mask),) = reference_masks(judge, [golden["image"].numpy()], present, settings)
    agreement = (mask.masked_fill(mask < 0, 255) == golden[expected]).float().mean()
    assert agreement > share


def test_present_softmax_leaves_out_absent_classes():
    probabilities = present_softmax(torch.zeros(1, 5), torch.tensor([[True, False, True]]), 10)
    np.testing.assert_allclose(probabilities[0], [0.25, 0, 0.25, 0.25, 0.25])
