"""Reference masks: step by step against a plain implementation, and against golden values where they are at hand."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import SHARED, make_clip
from PIL import Image

from sds_hf import ASF
from sds_hf.cam import affinity, min_max, object_boxes, refine
from sds_hf.clip import Encoder, load
from sds_hf.functional import present_softmax
from sds_hf.labels import LabelSpace
from sds_hf.reference import ReferenceSettings, class_cams, label_map, reference_masks
from sds_hf.rows import Rows
from sds_hf.tower import Tower

GOLDEN = SHARED / "golden" / "clip_es_random_vit"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def encoder(tiny_clip) -> Encoder:
    return load(tiny_clip, CPU, torch.float32)


@pytest.fixture(scope="module")
def tower(encoder) -> Tower:
    return Tower(encoder)


def random_images(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes]


def random_texts(count, seed=0):
    return F.normalize(torch.randn(count, 16, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_the_tower_computes_what_transformers_computes(encoder, tower):
    pixels = torch.randn(2, 3, 48, 48)
    hidden, _ = tower.before_last(pixels, "bicubic", 0)
    output, _ = tower.block(tower.last, hidden, with_weights=True)
    expected = encoder.model.vision_model(pixel_values=pixels).last_hidden_state
    torch.testing.assert_close(output, expected, atol=2e-5, rtol=1e-5)
    feature = tower.project(output[:, 0])
    torch.testing.assert_close(F.normalize(feature, dim=-1), encoder.encode_images(pixels), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [(64, 40), (24, 48)])
def test_the_tower_computes_what_transformers_computes_at_other_sizes(encoder, tower, size):
    pixels = torch.randn(1, 3, *size)
    hidden, _ = tower.before_last(pixels, "bicubic", 0)
    output, _ = tower.block(tower.last, hidden, with_weights=True)
    expected = encoder.model.vision_model(pixel_values=pixels, interpolate_pos_encoding=True).last_hidden_state
    torch.testing.assert_close(output, expected, atol=2e-5, rtol=1e-5)


def test_attention_weights_are_those_of_transformers(tiny_clip, tower):
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(tiny_clip, attn_implementation="eager").eval()
    pixels = torch.randn(1, 3, 48, 48)
    with torch.no_grad():
        attentions = model.vision_model(pixel_values=pixels, output_attentions=True).attentions
    _, total = tower.before_last(pixels, "bicubic", 2)
    torch.testing.assert_close(total, (attentions[0] + attentions[1]).mean(1), atol=1e-5, rtol=1e-4)


def plain_cams(tower, hidden, classes, texts):
    """One class at a time: a forward, a backward, and the formulas as they are written."""
    maps = []
    for chosen in classes:
        tokens = tower.last.layer_norm1(hidden).detach().requires_grad_(True)
        output, _ = tower.block(tower.last, hidden, tokens, with_weights=True)
        feature = F.normalize(tower.project(output[:, 1:]).mean(1), dim=-1)
        rows = torch.tensor([*classes, *range(3, len(texts))])
        probability = (tower.encoder.scale * feature @ texts[rows].T).softmax(-1)[0, classes.index(chosen)]
        (gradient,) = torch.autograd.grad(probability, tokens)
        weights = gradient[0, 1:].mean(0)
        cam = torch.clamp((tokens[0, 1:] * weights).sum(-1), min=0).detach()
        for _ in range(2):
            cam = (cam - cam.min()) / (1e-7 + (cam - cam.min()).max())
        maps.append(cam)
    return torch.stack(maps)


@pytest.mark.parametrize("size", [(48, 48), (56, 32)])
def test_grad_cam_of_many_classes_at_once_equals_one_at_a_time(tower, size):
    texts = random_texts(3 + 5)
    present = torch.tensor([[True, False, True], [True, True, True], [False, True, False]])
    pixels = torch.randn(3, 3, *size)
    hidden, _ = tower.before_last(pixels, "bicubic", 0)
    cams, _, probabilities = class_cams(tower, hidden, present, texts)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(3))
    for row in range(3):
        classes = present[row].nonzero()[:, 0].tolist()
        expected = plain_cams(tower, hidden[row : row + 1], classes, texts)
        torch.testing.assert_close(cams[: len(classes), row], expected, atol=2e-4, rtol=1e-3)


def plain_reference(tower, image, classes, texts, settings):
    """One image, one step after the other."""
    pixels = tower.resize(torch.from_numpy(image).permute(2, 0, 1)[None].float())
    grid = [side // tower.patch for side in pixels.shape[-2:]]
    with torch.no_grad():
        hidden, total = tower.before_last(pixels, "bicubic", settings.affinity_blocks - 1)
    rows = [*classes, *range(3, len(texts))]
    if settings.kind == "maskclip":
        with torch.no_grad():
            features = F.normalize(tower.project(tower.attend_to_self(hidden[0, 1:])), dim=-1)
            probabilities = (tower.encoder.scale * features @ texts[rows].T).softmax(-1)
        large = upsampled(probabilities.T, grid, image)
        maps = torch.cat([large[len(classes) :].sum(0, keepdim=True), large[: len(classes)]])
    else:
        cams = plain_cams(tower, hidden, classes, texts)
        if settings.refinement == "affinity":
            with torch.no_grad():
                _, last = tower.block(tower.last, hidden, with_weights=True)
                transition = affinity(
                    ((total if total is not None else 0) + last)[0, 1:, 1:] / settings.affinity_blocks
                )
            boxes = torch.stack([object_boxes(cam.view(grid), settings.cam_threshold).flatten() for cam in cams])
            cams = min_max(refine(cams, boxes, transition))
        large = upsampled(cams, grid, image)
        maps = torch.cat([1 - large.amax(0, keepdim=True), large])
    return torch.tensor([0, *[chosen + 1 for chosen in classes]])[maps.argmax(0)]


def upsampled(maps, grid, image):
    return F.interpolate(maps.view(1, -1, *grid), size=image.shape[:2], mode="bilinear", align_corners=False)[0]


@pytest.mark.parametrize("size", [(48, 48), (41, 50), (31, 77)])
def test_images_are_resized_to_whole_patches_as_pillow_does(tower, size):
    (image,) = random_images([(size[0] // 4, size[1] // 4)])
    image = np.array(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC))
    target = [-(-side // tower.patch) * tower.patch for side in size]
    resized = np.array(Image.fromarray(image).resize(target[::-1], Image.Resampling.BICUBIC))
    expected = tower.encoder.normalize(torch.from_numpy(resized).permute(2, 0, 1)[None].float())
    found = tower.resize(torch.from_numpy(image).permute(2, 0, 1)[None].float())
    assert (found - expected).abs().max() < 2.5 / 255 / 0.26  # Pillow rounds between its two passes
    assert (found - expected).abs().mean() < 0.5 / 255 / 0.26


@pytest.mark.parametrize(
    "settings",
    [
        ReferenceSettings(affinity_blocks=3),
        ReferenceSettings(affinity_blocks=1),
        ReferenceSettings(refinement="none"),
        ReferenceSettings(kind="maskclip"),
    ],
    ids=["affinity of 3 blocks", "affinity of 1 block", "no affinity", "maskclip"],
)
def test_masks_of_mixed_sizes_and_counts_equal_one_at_a_time(tower, settings):
    images = random_images([(48, 48), (40, 64), (48, 48), (41, 50), (48, 48)])
    present = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 1, 1], [1, 1, 0], [0, 0, 1]]).bool()
    texts = random_texts(3 + 5)
    found = dict(reference_masks(tower, images, present, texts, settings))
    assert sorted(found) == [0, 1, 2, 3, 4]
    for row, image in enumerate(images):
        expected = plain_reference(tower, image, present[row].nonzero()[:, 0].tolist(), texts, settings)
        assert found[row].shape == image.shape[:2]
        assert (found[row] == expected).float().mean() > 0.995


def test_batches_are_kept_within_bounds(tower, monkeypatch):
    images, texts = random_images([(48, 48)] * 6), random_texts(3 + 5)
    present = torch.ones(6, 3, dtype=torch.bool)
    settings = ReferenceSettings(affinity_blocks=2)
    whole = dict(reference_masks(tower, images, present, texts, settings))
    monkeypatch.setattr("sds_hf.reference.MAX_ATTENTION_BYTES", 1)
    single = dict(reference_masks(tower, images, present, texts, settings))
    assert all((whole[row] == single[row]).float().mean() > 0.995 for row in range(6))


def test_label_maps_take_the_largest():
    maps = torch.tensor([[[0.4, 0.1, 0.4]], [[0.1, 0.7, 0.35]]])
    present = torch.tensor([False, True, False, True])
    assert label_map(maps, present, (1, 3)).tolist() == [[0, 4, 0]]
    assert label_map(maps, present, (1, 3), exclusive=True).tolist() == [[0, 4, 2]]


def test_a_label_space_without_background_starts_at_zero(tiny_clip):
    """Class 0 is a class there; what no class covers is 255, which no class of the mask matches."""
    labels = LabelSpace.from_names(["road", "building", "sky"])
    images = random_images([(48, 48)])
    rows = Rows(labels, images, [np.zeros((48, 48), np.uint8)], np.array([[True, False, True]]))
    score = ASF(model=tiny_clip, dtype="fp32", reference="maskclip")
    ((_, reference),) = score.references(rows, score.encoder())
    assert set(reference.unique().tolist()) <= {0, 2, 255}


def test_settings_of_the_score_reach_the_masks(dataset, tiny_clip):
    variants = [
        ASF(model=tiny_clip, dtype="fp32", **settings)
        for settings in (
            {},
            {"refine": "none"},
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
        Tower(load(str(tmp_path / "siglip"), CPU, torch.float32))


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="golden values are not at hand")
@pytest.mark.parametrize("case", range(4))
def test_golden_values_of_the_authors_code(tmp_path, case):
    """A vision tower of random weights; only the steps before the dense CRF."""
    values = np.load(GOLDEN / "golden.npz")
    tower = Tower(load(str(golden_clip(tmp_path)), CPU, torch.float32))

    def get(name):
        return torch.from_numpy(values[f"case{case}_{name}"])

    texts, classes = get("text_features"), int(get("grad_cam").shape[0])
    present = torch.ones(1, classes, dtype=torch.bool)
    pixels = get("pixel_values")[None]
    hidden, total = tower.before_last(pixels, "bilinear", 7)
    cams, last, probabilities = class_cams(tower, hidden, present, texts)
    grid = get("grad_cam").shape[1:]
    assert (probabilities[0] - get("softmax_scores")).abs().max() < 5e-5
    assert (cams[:, 0].view(-1, *grid) - get("grad_cam")).abs().max() < 5e-4
    attention = (total + last)[0, 1:, 1:] / 8
    assert (attention - get("affinity")).abs().max() < 2e-5
    boxes = torch.stack([object_boxes(cam.view(*grid), 0.4, exclusive=True).flatten() for cam in cams[:, 0]])
    refined = refine(cams[:, 0], boxes, affinity(attention)).view(-1, *grid)
    assert (refined - get("refined_cam")).abs().max() < 1e-4
    refined = min_max(refined.flatten(1)).view(-1, *grid)
    labels = label_map(refined, present[0], get("image").shape[:2])
    assert (labels == get("label_argmax_nocrf")).float().mean() > 0.999


def golden_clip(tmp_path):
    """The golden vision tower with an untrained text tower beside it."""
    from safetensors.torch import load_file, save_file

    vision = json.loads((GOLDEN / "config.json").read_text())
    folder = make_clip(tmp_path / "golden")
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
    return folder


def test_present_softmax_leaves_out_absent_classes():
    probabilities = present_softmax(torch.zeros(1, 5), torch.tensor([[True, False, True]]), 10)
    np.testing.assert_allclose(probabilities[0], [0.25, 0, 0.25, 0.25, 0.25])
