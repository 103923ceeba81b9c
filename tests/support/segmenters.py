"""Tiny models that segment, with random weights."""

import json
import shutil
from pathlib import Path

import torch

from support.paths import DEMO_CLIP


def make_sam3(folder: Path) -> Path:
    """A SAM 3 that sees 56 pixels in patches of 14, with the demo's tokenizer."""
    from transformers import Sam3Config, Sam3Model

    small = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    backbone = {**small, "num_hidden_layers": 2, "image_size": 56, "patch_size": 14, "window_size": 2,
                "global_attn_indexes": [1], "pretrain_image_size": 28}  # fmt: skip
    ids = {"bos_token_id": 888, "eos_token_id": 889, "pad_token_id": 889}
    detr = {**small, "num_layers": 1}
    config = Sam3Config(
        vision_config={"backbone_config": {"model_type": "sam3_vit_model", **backbone}, "fpn_hidden_size": 32,
                       "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]]},
        text_config={"model_type": "clip_text_model", "vocab_size": 890, **small, "num_hidden_layers": 1,
                     "projection_dim": 16, "max_position_embeddings": 32, **ids},
        geometry_encoder_config=detr,
        detr_encoder_config=detr,
        detr_decoder_config={**detr, "num_queries": 5},
        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2},
    )  # fmt: skip
    torch.manual_seed(0)
    model = Sam3Model(config).eval()
    with torch.no_grad():  # the usual initialisation is so small that all pictures and names look alike
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
        model.detr_decoder.presence_head.layer3.bias.fill_(20)  # all classes are there
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DEMO_CLIP / name, folder / name)
    return folder


def make_eomt(folder: Path) -> Path:
    """An EoMT that is sure of all of its queries."""
    from transformers import EomtConfig, EomtForUniversalSegmentation

    config = EomtConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_blocks=1, image_size=32,
                        patch_size=8, num_queries=6, num_labels=3, num_upscale_blocks=1)  # fmt: skip
    torch.manual_seed(0)
    model = EomtForUniversalSegmentation(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
        model.class_predictor.bias[0] = 50
    model.save_pretrained(folder)
    settings = {"image_processor_type": "EomtImageProcessor", "size": {"shortest_edge": 32, "longest_edge": 32},
                "do_pad": True, "do_resize": True, "do_split_image": False}  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def make_sam2(folder: Path) -> Path:
    """A SAM 2 that sees 128 pixels."""
    from transformers import Sam2Config, Sam2Model

    backbone = {"model_type": "sam2_hiera_det_model", "hidden_size": 8, "num_attention_heads": 1,
                "image_size": [128, 128], "blocks_per_stage": [1, 1, 2, 1], "embed_dim_per_stage": [8, 16, 32, 64],
                "num_attention_heads_per_stage": [1, 1, 1, 1], "window_size_per_stage": [8, 4, 8, 4],
                "global_attention_blocks": [3], "window_positional_embedding_background_size": [4, 4]}  # fmt: skip
    config = Sam2Config(
        vision_config={"backbone_config": backbone, "backbone_channel_list": [64, 32, 16, 8], "fpn_hidden_size": 32,
                       "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]]},
        prompt_encoder_config={"hidden_size": 32, "image_size": 128, "patch_size": 16},
        mask_decoder_config={"hidden_size": 32, "mlp_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                             "iou_head_hidden_dim": 32},
    )  # fmt: skip
    torch.manual_seed(0)
    model = Sam2Model(config).eval()
    model.save_pretrained(folder)
    return folder
