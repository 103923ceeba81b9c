"""Checkpoints of every family, with random weights: loading, preprocessing and embeddings against `transformers`."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from PIL import Image
from support.paths import DEMO_CLIP, SHARED
from transformers import AutoTokenizer

from sds_hf import ASF, PCS, ClipSim, add_scores
from sds_hf.clip import encoder as clip_module
from sds_hf.clip.checkpoints import ModelNotFoundError, model_files
from sds_hf.clip.encoder import Encoder, load
from sds_hf.clip.preprocessing import Preprocessing, resize_in_steps

CPU = torch.device("cpu")
TEXTS = ["a clean origami dog.", "a clean origami diningtable.", "dog", "a much longer sentence about a dog " * 5]
TOKENS = {"vocab_size": 890, "bos_token_id": 888, "eos_token_id": 889, "pad_token_id": 889}
BLOCKS = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
NEAREST, LANCZOS, BILINEAR, BICUBIC = range(4)  # Pillow's numbers


def processor_of(family: str) -> type:
    """The class that works on Pillow's images, under its name in this version of transformers."""
    return getattr(transformers, f"{family}ImageProcessorPil", None) or getattr(transformers, f"{family}ImageProcessor")


@dataclass
class Family:
    """A model of random weights and the settings of its processor."""

    name: str
    text: dict[str, Any] = field(default_factory=dict)
    vision: dict[str, Any] = field(default_factory=dict)
    processor: str = "CLIP"
    settings: dict[str, Any] = field(default_factory=dict)

    def make(self, folder: Path) -> Path:
        config = getattr(transformers, f"{self.name}Config")
        text = {**TOKENS, **BLOCKS, "max_position_embeddings": 32, "projection_dim": 16, **self.text}
        vision = {**BLOCKS, "image_size": 48, "patch_size": 8, **self.vision}
        model = getattr(transformers, f"{self.name}Model")(
            config(text_config=text, vision_config=vision, projection_dim=16)
        )
        with torch.no_grad():  # the usual initialisation is so small that all images look alike
            torch.manual_seed(1)
            for _, parameter in sorted(model.named_parameters()):  # in an order that no version changes
                if parameter.ndim > 1:
                    parameter.normal_(std=0.2)
            if hasattr(model, "logit_bias"):
                model.logit_bias.fill_(-3.0)
                model.logit_scale.fill_(2.0)
        model.eval().save_pretrained(folder)
        processor_of(self.processor)(**self.settings).save_pretrained(folder)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(DEMO_CLIP / name, folder)
        return folder


CROPPED = {"size": {"shortest_edge": 48}, "crop_size": {"height": 48, "width": 48}}
SQUEEZED = {"size": {"height": 48, "width": 48}}
GELU = {"hidden_act": "gelu"}
SIGLIP = {"projection_size": 32}
FAMILIES = {
    "CLIP": Family("CLIP", settings=CROPPED),
    "OpenCLIP": Family("CLIP", text=GELU, vision=GELU, settings=CROPPED),
    "MetaCLIP 2": Family("MetaClip2", settings=CROPPED),
    "AltCLIP": Family("AltCLIP", text={"pad_token_id": 1, "max_position_embeddings": 40}, settings=CROPPED),
    "ChineseCLIP": Family("ChineseCLIP", settings=CROPPED),
    "SigLIP": Family("Siglip", SIGLIP, processor="Siglip", settings=SQUEEZED),
    "SigLIP 2": Family("Siglip", SIGLIP, processor="Siglip", settings=SQUEEZED | {"resample": BILINEAR}),
    "OWL-ViT": Family("OwlViT", settings=CROPPED),
    "BLIP": Family("Blip", text={"encoder_hidden_size": 32}, settings=CROPPED),
}
if transformers.__version__.startswith("4."):  # which cannot encode its texts
    del FAMILIES["ChineseCLIP"]
SEEN_AT_ANY_SIZE = [name for name in FAMILIES if name not in ("OWL-ViT", "BLIP")]


@pytest.fixture(scope="session")
def families(tmp_path_factory) -> dict[str, Path]:
    return {name: family.make(tmp_path_factory.mktemp("family")) for name, family in FAMILIES.items()}


def model_of(folder: Path) -> Any:
    return transformers.AutoModel.from_pretrained(folder).eval()


def unit(output: Any) -> torch.Tensor:
    return F.normalize(getattr(output, "pooler_output", output).detach(), dim=-1)


def natural(height: int, width: int, seed: int) -> np.ndarray:
    """A picture with the spectrum of photographs, amplitudes falling as 1/f."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]) + 1 / max(height, width)
    phases = np.exp(2j * np.pi * rng.random((3, height, width)))
    pixels = np.fft.ifft2(phases / frequency).real
    pixels = (pixels - pixels.mean()) / pixels.std()
    return (127 + 60 * pixels).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """Noise as in photographs, scenes of the demo, and real pictures where there are some."""
    found = [natural(*size, seed) for seed, size in enumerate([(375, 500), (512, 512), (130, 90), (40, 60)])]
    try:
        from sds_hf.demo.artwork import DEMO_SETS
        from sds_hf.demo.scenes import draw_scene

        found += [draw_scene(np.random.default_rng(seed), 224, DEMO_SETS).image for seed in range(3)]
    except ImportError:  # the extra `demo` is not installed
        pass
    for path in sorted((SHARED / "samples").glob("*/*/*.[jp][pn]g")):
        if path.parent.name in ("image", "val"):
            found.append(np.asarray(Image.open(path).convert("RGB")))
    return found


# Embeddings


@pytest.mark.parametrize("name", FAMILIES)
def test_embeddings_are_those_of_transformers(families, name):
    encoder, model = load(str(families[name]), CPU, torch.float32), model_of(families[name])
    tokenizer = AutoTokenizer.from_pretrained(families[name])
    pixels = encoder.preprocess([natural(60, 50, seed) for seed in range(3)])
    assert torch.allclose(encoder.encode_images(pixels), unit(model.get_image_features(pixels)), atol=1e-5)
    assert encoder.encode_images(pixels).std(0).max() > 0.01  # they differ from one another
    siglip = FAMILIES[name].name == "Siglip"
    for place, text in enumerate(TEXTS):
        padding = {"padding": "max_length"} if siglip else {}
        inputs = tokenizer([text], truncation=True, max_length=32, return_tensors="pt", **padding)
        mask = {} if siglip else {"attention_mask": inputs["attention_mask"]}  # SigLIP reads the padding
        expected = unit(model.get_text_features(input_ids=inputs["input_ids"], **mask))[0]
        assert torch.allclose(encoder.encode_texts(TEXTS)[place], expected, atol=1e-5), text
    assert (encoder.bias is not None) == siglip
    assert (encoder.vit is not None) == (name in SEEN_AT_ANY_SIZE)


def test_siglip_reads_lower_case(families):
    encoder = load(str(families["SigLIP"]), CPU, torch.float32)
    assert torch.equal(encoder.embed_texts(["A Dog"]), encoder.embed_texts(["a dog"]))
    assert encoder.bias == pytest.approx(-3.0)
    assert encoder.scale == pytest.approx(np.e**2)


@pytest.mark.parametrize("name", SEEN_AT_ANY_SIZE)
def test_another_resolution_is_that_of_transformers(families, name):
    encoder, model = load(str(families[name]), CPU, torch.float32), model_of(families[name])
    pixels = encoder.preprocess([natural(90, 70, seed) for seed in range(2)], 80)
    assert pixels.shape == (2, 3, 80, 80)
    expected = unit(model.get_image_features(pixels, interpolate_pos_encoding=True))
    assert torch.allclose(encoder.encode_images(pixels), expected, atol=1e-5)
    assert not torch.allclose(encoder.encode_images(pixels, "cls", "bilinear"), expected, atol=1e-3)


@pytest.mark.parametrize("position", ["bicubic", "bilinear"])
def test_the_mean_of_the_patches(families, position):
    encoder, model = load(str(families["CLIP"]), CPU, torch.float32), model_of(families["CLIP"])
    vision, pixels = model.vision_model, encoder.preprocess([natural(90, 70, seed) for seed in range(2)], 80)
    table = vision.embeddings.position_embedding.weight.detach()
    grid = F.interpolate(table[1:].T.view(1, -1, 6, 6), (10, 10), mode=position, align_corners=False)
    patches = vision.embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2)
    tokens = torch.cat([vision.embeddings.class_embedding.expand(2, 1, -1), patches], 1)
    tokens = tokens + torch.cat([table[:1], grid[0].flatten(1).T])
    hidden = vision.encoder(inputs_embeds=vision.pre_layrnorm(tokens)).last_hidden_state
    expected = F.normalize(model.visual_projection(vision.post_layernorm(hidden[:, 1:])).mean(1), dim=-1)
    assert torch.allclose(encoder.encode_images(pixels, "patch_mean", position), expected, atol=1e-5)


def test_what_a_tower_cannot_do_is_told_in_one_line(families, dataset):
    siglip, owl = ({"model": str(families[name]), "dtype": "fp32"} for name in ("SigLIP", "OWL-ViT"))
    for score, message in (
        (ClipSim(**siglip, pool="patch_mean"), "pool='patch_mean' needs a CLIP vision tower; .* is a SiglipModel"),
        (ClipSim(**owl, pool="patch_mean"), "pool='patch_mean' needs a CLIP vision tower; .* is a OwlViTModel"),
        (ClipSim(**owl, resolution=64), "another resolution needs a CLIP or SigLIP vision tower; .* is a OwlViTModel"),
        (ASF(**siglip), "reference masks need a CLIP vision tower; .*Siglip"),
        (ASF(**owl), "reference masks need a CLIP vision tower; .*OwlViT"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            add_scores(dataset, score)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("resolution", [None, 64])
def test_siglip_scores_are_means_of_its_own_sigmoids(families, dataset, resolution):
    settings = {"model": str(families["SigLIP 2"]), "dtype": "fp32", "resolution": resolution}
    scored = add_scores(dataset, PCS(**settings, scales=(3, 6), orders=2))
    assert all(0 <= value <= 1 for name in ("clip_sim", "clip_sim_mixed") for value in scored[name])
    assert np.std(scored["pcs"]) > 1e-3
    encoder, model = load(settings["model"], CPU, torch.float32), model_of(families["SigLIP 2"])
    texts = encoder.encode_texts([f"a clean origami {prompt}." for prompt in clip_prompts()])
    for row in range(3):
        pixels = encoder.preprocess([np.asarray(dataset[row]["image"].convert("RGB"))], resolution)
        image = unit(model.get_image_features(pixels, interpolate_pos_encoding=True))[0]
        chances = [torch.sigmoid(texts[index - 1] @ image * np.e**2 - 3.0).item() for index in dataset[row]["classes"]]
        assert scored["clip_sim"][row] == pytest.approx(np.mean(chances), abs=1e-5)


def clip_prompts() -> tuple[str, ...]:
    from sds_hf.data.labels import VOC

    return VOC.prompts


# Preprocessing


def as_on_other_devices(pixels: torch.Tensor, size: tuple[int, int], mode: str = "bicubic") -> torch.Tensor:
    return resize_in_steps(pixels.float(), size, mode).to(torch.uint8)


@pytest.mark.parametrize("device", ["cpu", "others"])
@pytest.mark.parametrize("name", ["CLIP", "OpenCLIP", "SigLIP", "SigLIP 2", "demo"])
def test_natural_images_are_seen_as_through_pillow(families, pictures, name, device, monkeypatch):
    folder = DEMO_CLIP if name == "demo" else families[name]
    family = "CLIP" if name == "demo" else FAMILIES[name].processor
    if device == "others":
        monkeypatch.setattr(clip_module, "resize", as_on_other_devices)
    encoder, model = load(str(folder), CPU, torch.float32), model_of(folder).float()
    processor = processor_of(family).from_pretrained(folder)
    expected = processor(pictures, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        cosines = (unit(model.get_image_features(expected)) * encoder.encode_images(encoder.preprocess(pictures))).sum(
            -1
        )
    assert cosines.min() >= 0.9999


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("CLIP", {**CROPPED, "do_normalize": False}),
        ("CLIP", {**CROPPED, "do_rescale": False, "image_mean": [100.0] * 3, "image_std": [50.0] * 3}),
        ("CLIP", {**CROPPED, "rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [1.0] * 3}),
        ("CLIP", {**CROPPED, "do_rescale": False, "do_normalize": False}),
        ("CLIP", {"size": {"height": 48, "width": 48}, "crop_size": {"height": 48, "width": 48}}),
        ("CLIP", {"size": {"height": 32, "width": 48}, "do_center_crop": False}),
        ("Siglip", {**SQUEEZED, "image_mean": [0.1, 0.2, 0.3]}),
        ("ChineseCLIP", CROPPED),
        ("Bit", CROPPED),
        ("ViT", {"size": {"height": 48, "width": 48}}),
        ("ViT", {"size": 48}),
        ("ViT", {"size": 48, "do_rescale": False, "image_mean": 100.0, "image_std": 50.0}),
        ("Blip", {"size": [32, 48]}),
        ("CLIP", {"size": 60, "crop_size": 48}),
        ("CLIP", {"size": 60, "crop_size": [48, 32]}),
        ("CLIP", {"use_square_size": True, "size": 224, "do_center_crop": False}),
    ],
)
def test_unusual_settings_are_kept(families, tmp_path, pictures, family, settings):
    folder = Path(shutil.copytree(families["CLIP"], tmp_path / "model"))
    # As files of any age have them: only what was given, not what the class of today makes of it.
    (folder / "processor_config.json").unlink(missing_ok=True)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": f"{family}ImageProcessor", **settings})
    )
    expected = processor_of(family).from_pretrained(folder)(pictures[3:5], return_tensors="np")["pixel_values"]
    found = Encoder(model_files(str(folder)), CPU, torch.float32).preprocess(pictures[3:5]).numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=0.01 * np.ptp(expected))


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"do_resize": False}, r"\{'do_resize': False\}"),
        ({"resample": LANCZOS}, r"\{'resample': 1\}"),
        ({"resample": NEAREST}, r"\{'resample': 0\}"),
        ({"do_center_crop": False, "size": {"shortest_edge": 48}}, r"\{'size': \{'shortest_edge': 48\}\}"),
        ({"size": {"height": 60, "width": 60}, "crop_size": 48}, r"\{'size': \{'height': 60, 'width': 60\}\}"),
        ({"size": {"longest_edge": 60}, "do_center_crop": False}, r"\{'size': \{'longest_edge': 60\}\}"),
        ({"do_pad": True}, r"\{'do_pad': True\}"),
        ({"do_flip_channel_order": True}, r"\{'do_flip_channel_order': True\}"),
        ({"use_square_size": True, "size": 64, "do_center_crop": False}, r"\{'use_square_size': True\}"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(tmp_path, settings, found):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelNotFoundError, match=f"the image processor in .* has {found}; it must resize") as caught:
        Preprocessing.read(tmp_path, 48)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "kind", ["EfficientNetImageProcessor", "ConvNextFeatureExtractor", "BridgeTowerImageProcessorPil"]
)
def test_a_processor_that_is_not_known_is_refused(tmp_path, kind):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": kind, "size": 48}))
    with pytest.raises(ModelNotFoundError, match=f"is a {kind}; known are those of CLIP, ChineseCLIP"):
        Preprocessing.read(tmp_path, 48)


def test_settings_that_are_missing_are_those_of_the_family(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "SiglipImageProcessor"}))
    default = processor_of("Siglip")()
    assert Preprocessing.read(tmp_path, 384, "siglip") == Preprocessing(
        (384, 384), None, tuple(default.image_mean), tuple(default.image_std), "bicubic"
    )
    nested = {"image_processor": {"size": {"height": 96, "width": 96}, "resample": BILINEAR}}
    (tmp_path / "processor_config.json").write_text(json.dumps(nested))
    found = Preprocessing.read(tmp_path, 384, "siglip")
    assert (found.size, found.resample) == ((96, 96), "bilinear")  # as transformers looks them up
    (tmp_path / "processor_config.json").write_text("{")
    with pytest.raises(ModelNotFoundError, match=r"processor_config\.json is no JSON \(.*\); use model='demo'"):
        Preprocessing.read(tmp_path, 384)


# What is refused


def of_any_resolution() -> Any:
    config = transformers.Siglip2Config(
        text_config={**TOKENS, **BLOCKS, "max_position_embeddings": 32, "projection_size": 32},
        vision_config={**BLOCKS, "num_patches": 36, "patch_size": 8},
    )
    return transformers.Siglip2Model(config)


def convolutional() -> Any:
    vision = {"image_size": 64, "width_coefficient": 0.1, "depth_coefficient": 0.1}
    return transformers.AlignModel(
        transformers.AlignConfig(text_config={"vocab_size": 890, **BLOCKS}, vision_config=vision, projection_dim=32)
    )


def of_videos() -> Any:
    vision = {**BLOCKS, "image_size": 48, "patch_size": 8}
    config = transformers.XCLIPConfig(text_config={**TOKENS, **BLOCKS}, vision_config=vision, projection_dim=16)
    return transformers.XCLIPModel(config)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            of_any_resolution,
            "of the kind siglip2, which has no ViT with a fixed image size .* SigLIP 2, take",
        ),
        (convolutional, "of the class AlignModel, not a CLIP-like dual encoder with a ViT"),
        (of_videos, r"of the class XCLIPModel, not a CLIP-like .* \(it has no get_image_features\)"),
    ],
    ids=["SigLIP 2 NaFlex", "ALIGN", "X-CLIP"],
)
def test_other_architectures_are_refused_in_one_line(tmp_path, make, message):
    make().save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DEMO_CLIP / name, tmp_path)
    with pytest.raises(ModelNotFoundError, match=message) as caught:
        load(str(tmp_path), CPU, torch.float32)
    assert "\n" not in str(caught.value)
    caught.match("use model='demo', which ships with sds-hf, or the path of a local folder")
