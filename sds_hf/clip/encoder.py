"""The one place that loads CLIP. Weights are read from safetensors only and no code of a checkpoint is run."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sds_hf.clip.checkpoints import WAY_OUT, ModelFiles, ModelNotFoundError, model_files, reason_of
from sds_hf.clip.device import dtype_name
from sds_hf.clip.kinds import Pool, Position
from sds_hf.clip.preprocessing import Preprocessing, normalize, resize, upload
from sds_hf.clip.stages import stage
from sds_hf.clip.vit import VisionTransformer

logger = logging.getLogger(__name__)
PARTS = ("vision_model", "logit_scale", "get_image_features", "get_text_features")
MAX_ATTENTION_BYTES = 256 << 20  # of one block's weights, where they are held in memory


@dataclass(frozen=True)
class VisionSettings:
    """How a checkpoint sees an image.

    Attributes:
        preprocessing: what its processor does to the image.
        patch_size: side of a patch of its ViT, in pixels.
    """

    preprocessing: Preprocessing
    patch_size: int


@lru_cache(maxsize=8)
def vision_settings(checkpoint: ModelFiles) -> VisionSettings:
    """How a checkpoint sees an image, from its settings alone: no weights are loaded.

    Raises:
        ModelNotFoundError: if its vision tower sees no fixed size, or its processor does what cannot be done here.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(str(checkpoint.folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # broken files and foreign architectures fail in many ways
        raise _not_loaded(checkpoint, error) from error
    vision: Any = getattr(config, "vision_config", None)
    if not all(isinstance(getattr(vision, name, None), int) for name in ("image_size", "patch_size")):
        raise ModelNotFoundError(
            f"model {checkpoint.name!r} is of the kind {config.model_type}, which has no ViT with a fixed image size "
            f"and patch size; of SigLIP 2, take a checkpoint of fixed resolution; {WAY_OUT}"
        )
    family = "siglip" if config.model_type.startswith("siglip") else "clip"
    return VisionSettings(Preprocessing.read(checkpoint.folder, vision.image_size, family), vision.patch_size)


def _not_loaded(checkpoint: ModelFiles, error: Exception) -> ModelNotFoundError:
    reason = reason_of(error)
    return ModelNotFoundError(f"cannot load model {checkpoint.name!r} from {checkpoint.folder} ({reason}); {WAY_OUT}")


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
        vit: its vision tower for fast and for native passes; None if only `transformers` knows it.
    """

    def __init__(self, checkpoint: ModelFiles, device: torch.device, dtype: torch.dtype) -> None:
        from transformers import AutoModel, AutoTokenizer

        self.files, self.device, self.dtype = checkpoint, device, dtype
        options = {"local_files_only": True, "trust_remote_code": False}
        weights = {"dtype": dtype, "use_safetensors": True, "output_loading_info": True}
        try:
            model, loaded = AutoModel.from_pretrained(str(checkpoint.folder), **weights, **options)
            self.tokenizer: Any = AutoTokenizer.from_pretrained(str(checkpoint.folder), **options)
        except Exception as error:  # broken files and foreign architectures fail in many ways
            raise _not_loaded(checkpoint, error) from error
        if missing := sorted(loaded["missing_keys"]):  # transformers would fill them with random numbers
            raise ModelNotFoundError(
                f"model {checkpoint.name!r} lacks {len(missing)} of its weights, e.g. {missing[0]}; {WAY_OUT}"
            )
        self.model: Any = model.to(device).eval()
        self.architecture = type(self.model).__name__
        if lacking := [name for name in PARTS if not hasattr(self.model, name)]:
            raise ModelNotFoundError(
                f"model {checkpoint.name!r} is of the class {self.architecture}, not a CLIP-like dual encoder with a "
                f"ViT (it has no {lacking[0]}); {WAY_OUT}"
            )
        self.model.requires_grad_(False)
        seen = vision_settings(checkpoint)
        self.preprocessing, self.patch_size = seen.preprocessing, seen.patch_size
        self.vit = VisionTransformer(self.model, dtype) if VisionTransformer.fits(self.model) else None
        self.scale = float(self.model.logit_scale.float().exp())
        self.bias = float(self.model.logit_bias.float()) if hasattr(self.model, "logit_bias") else None
        self._texts: dict[tuple[str, ...], Tensor] = {}

    def preprocess(self, images: Sequence[np.ndarray], resolution: int | None = None) -> Tensor:
        """Images as the encoder wants them.

        Args:
            images: (H, W, 3) uint8 each, of any sizes.
            resolution: side to resize to without a crop; None: what the checkpoint's own processor does.

        Returns:
            (B, 3, S, S) float32, normalised.
        """
        size = (resolution, resolution) if resolution else self.preprocessing.size
        out = torch.empty(len(images), 3, *size, dtype=torch.uint8, device=self.device)
        for shape in dict.fromkeys(image.shape for image in images):
            rows = [row for row, image in enumerate(images) if image.shape == shape]
            pixels = self.upload([images[row] for row in rows])
            with stage("preprocessing"):
                out[rows] = resize(pixels, size) if resolution else self.resize_and_crop(pixels)
        with stage("preprocessing"):
            return self.normalize(out)

    def upload(self, images: Sequence[np.ndarray]) -> Tensor:
        """Images of one size, (H, W, 3) uint8, on the device: (B, 3, H, W) uint8."""
        return upload(images, self.device)

    def normalize(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 -> float32, normalised as the checkpoint was trained."""
        return normalize(pixels, self.preprocessing.mean, self.preprocessing.std)

    def resize_and_crop(self, pixels: Tensor) -> Tensor:
        """The geometry of the processor."""
        height, width = self.preprocessing.size
        resized, (top, left) = self.preprocessing.frame((pixels.shape[-2], pixels.shape[-1]))
        pixels = resize(pixels, resized, self.preprocessing.resample)
        if top < 0 or left < 0:  # the crop is larger than the image
            pixels = F.pad(
                pixels,
                (max(0, -left), max(0, width - resized[1] + left), max(0, -top), max(0, height - resized[0] + top)),
            )
            top, left = max(0, top), max(0, left)
        return pixels[..., top : top + height, left : left + width]

    @torch.inference_mode()
    def encode_images(self, pixels: Tensor, pool: Pool = "cls", position: Position = "bicubic") -> Tensor:
        """Embeddings of images.

        Args:
            pixels: (B, 3, H, W), normalised; sides of whole patches.
            pool: `cls`, the model's own image feature, or `patch_mean`, the mean over the projected patch tokens, which
                CLIP-ES (Lin et al., CVPR 2023) and the code of SDS use.
            position: how position embeddings are resized to another grid than the model's own.

        Returns:
            (B, D) float32 of length 1.

        Raises:
            ValueError: if the model cannot pool so, or sees one size only.
        """
        if pool != "cls" and not (self.vit and self.vit.with_class_token):
            raise ValueError(
                f"pool={pool!r} needs a CLIP vision tower; {self.files.name!r} is a {self.architecture}: use pool='cls'"
            )
        if self.vit is None and tuple(pixels.shape[-2:]) != self.preprocessing.size:
            raise ValueError(
                f"another resolution needs a CLIP or SigLIP vision tower; {self.files.name!r} is a {self.architecture}"
            )
        with stage("image encoder"):
            parts = [self._encode(part, pool, position) for part in self.split(pixels)]
            return F.normalize(torch.cat(parts).float(), dim=-1)

    def _encode(self, pixels: Tensor, pool: Pool, position: Position) -> Tensor:
        if self.vit:
            return self.vit.encode(pixels, pool, position)
        output = self.model.get_image_features(pixel_values=pixels.to(self.dtype))
        features: Tensor = getattr(output, "pooler_output", output)
        return features

    def split(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Images in parts that keep a block's attention weights within bounds where they are held in memory."""
        if self.device.type != "cpu" or not self.vit:
            return (pixels,)
        tokens = 1 + (pixels.shape[2] // self.patch_size) * (pixels.shape[3] // self.patch_size)
        size: int = self.dtype.itemsize * self.vit.heads * tokens**2  # of one image's
        return torch.split(pixels, max(1, MAX_ATTENTION_BYTES // size))

    def encode_texts(self, sentences: Sequence[str]) -> Tensor:
        """Embeddings (N, D) of sentences, float32 of length 1; remembered, since every batch asks for the same."""
        key = tuple(sentences)
        if key not in self._texts:
            self._texts[key] = self.embed_texts(key)
        return self._texts[key]

    @torch.no_grad()  # no inference tensors: Grad-CAM differentiates through them
    def embed_texts(self, sentences: Sequence[str]) -> Tensor:
        """Embeddings (N, D) of sentences, float32 of length 1; those longer than the text encoder reads are cut."""
        # SigLIP is trained on lower-case texts, all padded to one length, of which it reads the padding too.
        siglip = self.bias is not None
        encoded = self.tokenizer(
            [sentence.lower() for sentence in sentences] if siglip else list(sentences),
            padding="max_length" if siglip else True,
            truncation=True,
            max_length=min(self.model.config.text_config.max_position_embeddings, self.tokenizer.model_max_length),
            return_tensors="pt",
        )
        names = ("input_ids",) if siglip else ("input_ids", "attention_mask")
        output = self.model.get_text_features(
            **{name: encoded[name].to(self.device) for name in names if name in encoded}
        )
        return F.normalize(getattr(output, "pooler_output", output).float(), dim=-1)

    def __repr__(self) -> str:
        return f"Encoder({self.files.name!r}, {self.device}, {dtype_name(self.dtype)})"


_loaded: dict[tuple[str, str, torch.dtype], Encoder] = {}
_lock = threading.Lock()


def load(model: str, device: torch.device, dtype: torch.dtype) -> Encoder:
    """The encoder, loaded once a process for each model, device and dtype.

    Raises:
        ModelNotFoundError: if it cannot be had or is no dual encoder.
    """
    checkpoint = model_files(model)
    key = (checkpoint.digest, str(device), dtype)
    with _lock:
        if key not in _loaded:
            logger.info("loading %s on %s in %s", model, device, dtype_name(dtype))
            _loaded[key] = Encoder(checkpoint, device, dtype)
        return _loaded[key]
