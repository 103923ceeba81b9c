"""The fast vision transformer against `transformers`, for every architecture it takes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.models import block_and_tokens, make_clip
from transformers import CLIPModel, SiglipConfig, SiglipModel

from sds_hf.clip import encoder as clip
from sds_hf.clip.encoder import load
from sds_hf.clip.vit import VisionTransformer, linear

CPU = torch.device("cpu")
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}


def siglip(**vision) -> SiglipModel:
    torch.manual_seed(0)
    text = {**SMALL, "vocab_size": 50, "projection_size": 32}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config={**SMALL, "image_size": 32, "patch_size": 8}))
    return model.eval().requires_grad_(False)


@pytest.fixture(params=["quick_gelu", "gelu", "siglip"])
def model(request, tmp_path):
    if request.param == "siglip":
        return siglip()
    folder = make_clip(tmp_path / "clip", image_size=32, hidden_act=request.param)
    return CLIPModel.from_pretrained(folder).eval().requires_grad_(False)


def features(model, pixels, **options):
    output = model.get_image_features(pixel_values=pixels, **options)
    return getattr(output, "pooler_output", output)


def cosine(one, other):
    return F.cosine_similarity(one.float(), other.float()).min().item()


def test_image_features_are_those_of_transformers(model):
    pixels = torch.randn(5, 3, 32, 32)
    found = VisionTransformer(model, torch.float32).encode(pixels)
    assert cosine(found, features(model, pixels)) > 1 - 1e-5
    torch.testing.assert_close(found, features(model, pixels), rtol=1e-3, atol=1e-3)


def test_image_features_at_another_size(model):
    pixels = torch.randn(2, 3, 48, 24)
    found = VisionTransformer(model, torch.float32).encode(pixels)
    assert cosine(found, features(model, pixels, interpolate_pos_encoding=True)) > 1 - 1e-5


def test_half_precision_is_as_close_as_that_of_transformers(model):
    pixels = torch.randn(8, 3, 32, 32)
    exact = features(model, pixels)
    theirs = cosine(features(model.to(torch.bfloat16), pixels.to(torch.bfloat16)), exact)
    ours = cosine(VisionTransformer(model, torch.bfloat16).encode(pixels), exact)
    assert 1 - ours < 2 * (1 - theirs) + 1e-4


def test_mean_of_the_patch_tokens(model):
    vit, pixels = VisionTransformer(model, torch.float32), torch.randn(3, 3, 32, 32)
    if not vit.with_class_token:
        pytest.skip("SigLIP has no projection")
    hidden = model.vision_model(pixel_values=pixels).last_hidden_state[:, 1:]
    expected = model.visual_projection(model.vision_model.post_layernorm(hidden)).mean(1)
    torch.testing.assert_close(vit.encode(pixels, "patch_mean"), expected, rtol=1e-3, atol=1e-3)


def test_the_class_token_alone_is_what_all_tokens_give(model):
    vit = VisionTransformer(model, torch.float32)
    hidden = vit.embed(torch.randn(2, 3, 32, 32))
    every, _ = vit.blocks[0](hidden)
    first, _ = vit.blocks[0](hidden, only=1)
    torch.testing.assert_close(first, every[:, :1], rtol=1e-4, atol=1e-5)


def test_the_gradient_of_the_shift_is_the_sum_of_those_of_the_tokens(model):
    """Compared with the block of `transformers`, the gradient taken at the output of its first LayerNorm."""
    vit = VisionTransformer(model, torch.float32)
    hidden, weights = torch.randn(2, 17, 32), torch.randn(2, 17, 32)

    output, tokens = block_and_tokens(vit.layers[-1], hidden)
    (expected,) = torch.autograd.grad((output * weights).sum(), tokens)
    shift = torch.zeros(2, 1, 32, requires_grad=True)
    ours, _ = vit.blocks[-1](hidden, shift=shift)
    (found,) = torch.autograd.grad((ours * weights).sum(), shift)
    torch.testing.assert_close(ours, output, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[:, 0], expected[:, 1:].sum(1), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(7,), (3, 7), (2, 3, 7)])
def test_linear_and_its_gradient(shape):
    inputs = torch.randn(*shape, requires_grad=True)
    weight, bias = torch.randn(5, 7), torch.randn(5)
    torch.testing.assert_close(linear(inputs, weight, bias), F.linear(inputs, weight, bias))
    slopes = [torch.autograd.grad(run(inputs, weight, bias).square().sum(), inputs)[0] for run in (linear, F.linear)]
    torch.testing.assert_close(*slopes)


def test_images_are_encoded_in_parts_that_fit(tiny_clip, monkeypatch):
    encoder, pixels = load(tiny_clip, CPU, torch.float32), torch.randn(5, 3, 48, 48)
    whole = encoder.encode_images(pixels)
    monkeypatch.setattr(clip, "MAX_ATTENTION_BYTES", 1)
    np.testing.assert_allclose(encoder.encode_images(pixels), whole, atol=1e-6)


def test_other_architectures_are_left_to_transformers(model):
    model.config.vision_config.hidden_act = "relu"
    assert not VisionTransformer.fits(model)
