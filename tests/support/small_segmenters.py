"""Tiny segmenters and backbones of `transformers`, as folders with a configuration and random weights or none."""

from pathlib import Path

CLASSES = 5


def tiny_configs() -> dict:
    """A configuration a segmenter, of a few thousand weights."""
    from transformers import (
        Mask2FormerConfig,
        MobileNetV2Config,
        ResNetConfig,
        SegformerConfig,
        SwinConfig,
        UperNetConfig,
    )

    four = {"depths": [1, 1, 1, 1], "out_features": ["stage1", "stage2", "stage3", "stage4"]}
    resnet = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 16, 16], layer_type="basic", **four)
    swin = SwinConfig(image_size=64, embed_dim=8, num_heads=[1, 1, 1, 1], window_size=2, **four)
    heads = {"num_attention_heads": [1, 1, 2, 2], "decoder_hidden_size": 16}
    small = {"feature_size": 32, "mask_feature_size": 32, "hidden_dim": 32, "encoder_feedforward_dim": 16}
    small |= {"dim_feedforward": 16, "encoder_layers": 1, "decoder_layers": 2, "num_attention_heads": 2}
    return {
        "segformer": SegformerConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], **heads),
        "deeplabv3+": MobileNetV2Config(depth_multiplier=0.35, image_size=64),
        "upernet": UperNetConfig(
            backbone_config=resnet, hidden_size=16, auxiliary_in_channels=16, auxiliary_channels=8
        ),
        "mask2former": Mask2FormerConfig(backbone_config=swin, num_queries=8, train_num_points=64, **small),
    }


def tiny_resnet(folder: Path) -> str:
    """The folder, with the configuration of a ResNet whose last stages have 16 channels."""
    from transformers import ResNetConfig

    ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1]).save_pretrained(folder)
    return str(folder)


def tiny_backbone(folder: Path) -> str:
    """The folder, with such a ResNet of random weights."""
    import torch
    from transformers import AutoConfig, ResNetModel

    torch.manual_seed(0)
    ResNetModel(AutoConfig.from_pretrained(tiny_resnet(folder))).save_pretrained(folder)
    return str(folder)
