"""Tiny models with random weights, and what `transformers` computes with them."""

import inspect
import shutil
from pathlib import Path

import numpy as np
import torch

from support.paths import DEMO_CLIP


def make_clip(folder: Path, seed: int = 0, image_size: int = 48, patch: int = 8, **vision) -> Path:
    """A CLIP of random weights with the demo's tokenizer, saved in a folder."""
    from transformers import CLIPConfig, CLIPModel

    ids = {"bos_token_id": 888, "eos_token_id": 889, "pad_token_id": 889}
    text = {"vocab_size": 890, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 2, "max_position_embeddings": 32, **ids}  # fmt: skip
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2,
              "image_size": image_size, "patch_size": patch, **vision}  # fmt: skip
    torch.manual_seed(seed)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).eval()
    with torch.no_grad():  # the usual initialisation is so small that all images look alike
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
        model.logit_scale.fill_(np.log(20))
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DEMO_CLIP / name, folder / name)
    return folder


def block_and_tokens(layer, hidden):
    """What a block of `transformers` makes of tokens, and the output of its first LayerNorm, to take a gradient at."""
    seen = {}

    def keep(module, inputs, output):
        seen["tokens"] = output.detach().requires_grad_(True)
        return seen["tokens"]

    known = inspect.signature(layer.forward).parameters
    masks = {name: None for name in ("attention_mask", "causal_attention_mask") if name in known}  # of old and new
    with layer.layer_norm1.register_forward_hook(keep):
        output = layer(hidden, **masks)
    return (output[0] if isinstance(output, tuple) else output), seen["tokens"]
