"""The one place that loads CLIP. Weights are read from safetensors only and no code of a checkpoint is run."""

import json
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sds_hf.checkpoints import WAY_OUT, ModelFiles, ModelNotFoundError, model_files, reason_of
from sds_hf.device import dtype_name

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Preprocessing:
    """What a checkpoint's own processor does to an image.

    Attributes:
        size: (height, width) of the encoder's input.
        shortest_edge: the image's shorter side before the crop; None: it is resized to `size` as it is.
        mean, std: normalisation of RGB in [0, 1].
        resample: `"bicubic"` or `"bilinear"`.
    """

    size: tuple[int, int]
    shortest_edge: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resample: str

    @classmethod
    def read(cls, folder: Path, image_size: int) -> "Preprocessing":
        """Read `preprocessor_config.json` or `processor_config.json`; OpenAI's settings if there is neither."""
        settings: dict[str, Any] = {}
        for name in ("processor_config.json", "preprocessor_config.json"):
            if (folder / name).exists():
                loaded = json.loads((folder / name).read_text())
                settings = loaded.get("image_processor", loaded)
        size = settings.get("size", {"shortest_edge": image_size})
        size = {"shortest_edge": size} if isinstance(size, int) else size
        crop = settings.get("crop_size", image_size)
        crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
        edge = size.get("shortest_edge") if settings.get("do_center_crop", True) else None
        target = crop if edge else {"height": size.get("height", image_size), "width": size.get("width", image_size)}
        return cls(
            size=(target["height"], target["width"]),
            shortest_edge=edge,
            mean=tuple(settings.get("image_mean", (0.48145466, 0.4578275, 0.40821073))),
            std=tuple(settings.get("image_std", (0.26862954, 0.26130258, 0.27577711))),
            resample="bilinear" if settings.get("resample", 3) == 2 else "bicubic",
        )


class Encoder:
    """A CLIP-like dual encoder on one device. Made by `load`, shared by everything in the process.

    Attributes:
        model: the `transformers` model, in evaluation mode.
        files: where it came from.
        device, dtype: where and how it computes.
        preprocessing: what its processor does to an image.
        scale: factor of cosines in its softmax (its own logit scale).
        bias: bias of its sigmoid, None for a softmax model.
        patch_size: side of a patch of its ViT, in pixels.
    """

    def __init__(self, found: ModelFiles, device: torch.device, dtype: torch.dtype) -> None:
        from transformers import AutoModel, AutoTokenizer

        self.files, self.device, self.dtype = found, device, dtype
        options = {"local_files_only": True, "trust_remote_code": False}
        weights = {"dtype": dtype, "use_safetensors": True, "output_loading_info": True}
        try:
            model, loaded = AutoModel.from_pretrained(str(found.folder), **weights, **options)
            self.tokenizer: Any = AutoTokenizer.from_pretrained(str(found.folder), **options)
        except Exception as error:  # broken files and foreign architectures fail in many ways
            raise ModelNotFoundError(
                f"cannot load model {found.name!r} from {found.folder} ({reason_of(error)}); {WAY_OUT}"
            ) from error
        if missing := sorted(loaded["missing_keys"]):  # transformers would fill them with random numbers
            raise ModelNotFoundError(
                f"model {found.name!r} lacks {len(missing)} of its weights, e.g. {missing[0]}; {WAY_OUT}"
            )
        self.model: Any = model.to(device).eval()
        for name in ("vision_model", "logit_scale", "get_image_features", "get_text_features"):
            if not hasattr(self.model, name):
                raise ModelNotFoundError(
                    f"model {found.name!r} is a {type(self.model).__name__}, not a CLIP-like dual encoder with a ViT"
                )
        self.model.requires_grad_(False)
        vision = self.model.config.vision_config
        self.patch_size: int = vision.patch_size
        self.preprocessing = Preprocessing.read(found.folder, vision.image_size)
        self.scale = float(self.model.logit_scale.float().exp())
        self.bias = float(self.model.logit_bias.float()) if hasattr(self.model, "logit_bias") else None
        self._texts: dict[tuple[str, ...], Tensor] = {}

    def preprocess(self, images: Sequence[np.ndarray]) -> Tensor:
        """Images (H, W, 3) uint8 of any sizes, as the encoder wants them: (B, 3, S, S) float32, normalised."""
        height, width = self.preprocessing.size
        out = torch.empty(len(images), 3, height, width, device=self.device)
        for shape in {image.shape for image in images}:
            rows = [row for row, image in enumerate(images) if image.shape == shape]
            pixels = torch.from_numpy(np.stack([images[row] for row in rows])).to(self.device)
            out[rows] = self._resize_and_crop(pixels.permute(0, 3, 1, 2).float())
        return self.normalize(out)

    def normalize(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in 0 to 255, normalised as the checkpoint was trained."""
        mean, std = (
            torch.tensor(values, device=pixels.device)[:, None, None]
            for values in (self.preprocessing.mean, self.preprocessing.std)
        )
        return (pixels / 255 - mean) / std

    def _resize_and_crop(self, pixels: Tensor) -> Tensor:
        """The geometry of the processor."""
        (height, width), edge = self.preprocessing.size, self.preprocessing.shortest_edge
        before = pixels.shape[-2:]
        if edge is None:
            resized = height, width
        else:  # transformers truncates the longer side
            short, long = min(before), max(before)
            sides = (edge, int(edge * long / short))
            resized = sides if before[0] <= before[1] else sides[::-1]
        pixels = resize(pixels, resized, self.preprocessing.resample)
        top, left = (resized[0] - height) // 2, (resized[1] - width) // 2
        if top < 0 or left < 0:  # the crop is larger than the image
            pixels = F.pad(
                pixels,
                (max(0, -left), max(0, width - resized[1] + left), max(0, -top), max(0, height - resized[0] + top)),
            )
            top, left = max(0, top), max(0, left)
        return pixels[..., top : top + height, left : left + width]

    @torch.inference_mode()
    def encode_images(self, pixels: Tensor) -> Tensor:
        """Embeddings (B, D) of normalised pixels (B, 3, S, S), float32 of length 1."""
        output = self.model.get_image_features(pixel_values=pixels.to(self.dtype))
        return F.normalize(getattr(output, "pooler_output", output).float(), dim=-1)

    @torch.no_grad()  # no inference tensors: Grad-CAM differentiates through them
    def encode_texts(self, sentences: Sequence[str]) -> Tensor:
        """Embeddings (N, D) of sentences, float32 of length 1; remembered, since every batch asks for the same."""
        key = tuple(sentences)
        if key not in self._texts:
            length = self.model.config.text_config.max_position_embeddings
            padding = "max_length" if self.bias is not None else True  # SigLIP is trained on padded texts
            encoded = self.tokenizer(
                list(key), padding=padding, truncation=True, max_length=length, return_tensors="pt"
            )
            inputs = {
                name: encoded[name].to(self.device) for name in ("input_ids", "attention_mask") if name in encoded
            }
            output = self.model.get_text_features(**inputs)
            self._texts[key] = F.normalize(getattr(output, "pooler_output", output).float(), dim=-1)
        return self._texts[key]

    def __repr__(self) -> str:
        return f"Encoder({self.files.name!r}, {self.device}, {dtype_name(self.dtype)})"


def resize(pixels: Tensor, size: tuple[int, int], mode: str = "bicubic") -> Tensor:
    """(B, 3, H, W) in 0 to 255, resized as Pillow does: the width, then the height, each to whole grey levels."""
    for step in ((pixels.shape[-2], size[1]), size):
        if tuple(pixels.shape[-2:]) != step:
            pixels = (F.interpolate(pixels, size=step, mode=mode, antialias=True) + 0.5).floor().clamp(0, 255)
    return pixels


_loaded: dict[tuple[str, str, torch.dtype], Encoder] = {}
_lock = threading.Lock()


def load(model: str, device: torch.device, dtype: torch.dtype) -> Encoder:
    """The encoder, loaded once a process for each model, device and dtype.

    Raises:
        ModelNotFoundError: if it cannot be had or is no dual encoder.
    """
    found = model_files(model)
    key = (found.digest, str(device), dtype)
    with _lock:
        if key not in _loaded:
            logger.info("loading %s on %s in %s", model, device, dtype_name(dtype))
            _loaded[key] = Encoder(found, device, dtype)
        return _loaded[key]
