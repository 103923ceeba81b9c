"""What a checkpoint's own processor does to an image, read from its settings; resizing as Pillow does it."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sds_hf.clip.checkpoints import WAY_OUT, ModelNotFoundError
from sds_hf.clip.stages import stage

RESAMPLE = {2: "bilinear", 3: "bicubic"}  # by Pillow's numbers
CLIP = {
    "do_center_crop": True,
    "resample": 3,
    "image_mean": (0.48145466, 0.4578275, 0.40821073),
    "image_std": (0.26862954, 0.26130258, 0.27577711),
    "square": False,  # what a size of one number means: of a square, or of the shorter side
}
SIGLIP = {**CLIP, "do_center_crop": False, "image_mean": (0.5, 0.5, 0.5), "image_std": (0.5, 0.5, 0.5)}
SAM = {"resample": 2, "square": True}
DEFAULTS: dict[str, dict[str, Any]] = {  # of the image processors of transformers, for settings that a file leaves out
    "CLIP": CLIP,
    "ChineseCLIP": CLIP,
    "Bit": CLIP,
    "Siglip": SIGLIP,
    "Sam2": {**SIGLIP, "image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225), **SAM},
    "Sam3": {**SIGLIP, **SAM},
    "ViT": {**SIGLIP, "resample": 2, "square": True},
    "Blip": {**CLIP, "do_center_crop": False, "square": True},
}
FAMILIES = {"clip": "CLIP", "siglip": "Siglip", "sam2": "Sam2", "sam3": "Sam3"}  # where no file names the processor
STEPS = ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb")  # all others are refused


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
    def read(cls, folder: Path, image_size: int, family: str = "clip") -> "Preprocessing":
        """Read `processor_config.json` or `preprocessor_config.json`.

        Args:
            folder: of the checkpoint.
            image_size: of the encoder's input, where the files do not say.
            family: `clip`, `siglip`, `sam2` or `sam3`: whose settings stand for those that are missing.

        Raises:
            ModelNotFoundError: if the processor does what cannot be done here.
        """
        file_settings = {name: value for name, value in _settings(folder).items() if value is not None}
        settings = {**_defaults(folder, family, file_settings), **file_settings}
        crops = settings["do_center_crop"]
        square = settings["square"] or ("size" not in settings and not crops)
        settings = {"size": image_size, "crop_size": image_size, **settings}
        size = _size(settings, square)
        edge = size.get("shortest_edge")
        target = _sides(_size({"size": settings["crop_size"]}, square=True) if crops else size)
        unit = 255 * settings.get("rescale_factor", 1 / 255) if settings.get("do_rescale", True) else 255
        strange = {
            "do_resize": not settings.get("do_resize", True),
            "resample": settings["resample"] not in RESAMPLE,
            "size": target is None or not (edge or _sides(size) == target) or len(size) > (1 if edge else 2),
            "use_square_size": settings.get("use_square_size") and size != {"height": 224, "width": 224},
            **{name: bool(value) for name, value in settings.items() if name.startswith("do_") and name not in STEPS},
        }
        if target is None or any(strange.values()):
            what = {name: settings.get(name) for name, is_so in strange.items() if is_so}
            raise ModelNotFoundError(
                f"the image processor in {folder} has {what}; it must resize, bilinearly or bicubically, to one size "
                f"for all images; {WAY_OUT}"
            )
        normalizes = settings.get("do_normalize", True)
        return cls(
            size=target,
            shortest_edge=edge,
            mean=tuple(value / unit for value in _channels(settings["image_mean"])) if normalizes else (0.0, 0.0, 0.0),
            std=tuple(value / unit for value in _channels(settings["image_std"])) if normalizes else (1 / unit,) * 3,
            resample=RESAMPLE[settings["resample"]],
        )

    def frame(self, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """What of an image the encoder sees.

        Args:
            size: (height, width) of the image.

        Returns:
            (height, width) that the image is resized to, and (top, left) of the crop in it, negative where the crop is
            larger than that.
        """
        height, width = self.size
        if self.shortest_edge is None:
            return self.size, (0, 0)
        # transformers truncates the longer side
        longer = int(self.shortest_edge * max(size) / min(size))
        resized = (self.shortest_edge, longer) if size[0] <= size[1] else (longer, self.shortest_edge)
        return resized, ((resized[0] - height) // 2, (resized[1] - width) // 2)


def _settings(folder: Path) -> dict[str, Any]:
    """The settings of an image processor, in either of the files that transformers keeps them in."""
    for name in ("processor_config.json", "preprocessor_config.json"):
        if (folder / name).exists():
            try:
                loaded: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
            except ValueError as error:
                raise ModelNotFoundError(f"{folder / name} is no JSON ({error}); {WAY_OUT}") from error
            nested = loaded.get("image_processor")
            if nested or name == "preprocessor_config.json":
                return nested or loaded
    return {}


def _defaults(folder: Path, family: str, settings: dict[str, Any]) -> dict[str, Any]:
    """What the class of an image processor does where its file does not say.

    Raises:
        ModelNotFoundError: if the class is not known.
    """
    kind = str(settings.get("image_processor_type") or settings.get("feature_extractor_type") or FAMILIES[family])
    name = re.sub(r"(ImageProcessor(Fast|Pil)?|FeatureExtractor)$", "", kind)
    if name not in DEFAULTS:
        raise ModelNotFoundError(
            f"the image processor in {folder} is a {kind}; known are those of {', '.join(DEFAULTS)}; {WAY_OUT}"
        )
    return DEFAULTS[name]


def _size(settings: dict[str, Any], square: bool) -> dict[str, Any]:
    """A size as transformers reads it: by height and width, or by the shorter side."""
    size = settings["size"]
    if settings.get("use_square_size") or (isinstance(size, int) and square):
        side = size.get("shortest_edge") if isinstance(size, dict) else size
        return {"height": side, "width": side}
    if isinstance(size, int):
        return {"shortest_edge": size}
    if isinstance(size, (list, tuple)):
        return dict(zip(("height", "width"), size, strict=False))
    return {name: side for name, side in size.items() if side is not None}


def _channels(value: Any) -> tuple[float, ...]:
    """A value for each channel, of one for all."""
    return (float(value),) * 3 if isinstance(value, (int, float)) else tuple(value)


def _sides(size: dict[str, Any]) -> tuple[int, int] | None:
    """(height, width) of a size, None if it does not say."""
    return (size["height"], size["width"]) if set(size) == {"height", "width"} else None


def upload(images: Sequence[np.ndarray], device: torch.device) -> Tensor:
    """Images of one size, (H, W, 3) uint8, on a device: (B, 3, H, W) uint8."""
    with stage("transfer"):
        pixels = torch.from_numpy(np.stack(images))
        if device.type == "cuda":
            pixels = pixels.pin_memory().to(device, non_blocking=True)
        return pixels.to(device).permute(0, 3, 1, 2)


def normalize(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(B, 3, H, W) uint8 -> float32, with RGB in [0, 1] shifted and scaled."""
    shift, unit = (torch.tensor(values, device=pixels.device)[:, None, None] for values in (mean, std))
    return (pixels / 255 - shift) / unit


def resize(pixels: Tensor, size: tuple[int, int], mode: str = "bicubic") -> Tensor:
    """(B, 3, H, W) uint8, resized as Pillow does."""
    if tuple(pixels.shape[-2:]) == tuple(size):
        return pixels
    if pixels.device.type == "cpu":  # torch has Pillow's own arithmetic for bytes, on CPUs only
        return F.interpolate(pixels, size=size, mode=mode, antialias=True)
    return resize_in_steps(pixels.float(), size, mode).to(torch.uint8)


def resize_in_steps(levels: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """(B, 3, H, W) float in 0 to 255: the width, then the height, each to whole grey levels, as Pillow has them."""
    for step in ((levels.shape[-2], size[1]), size):
        if tuple(levels.shape[-2:]) != step:
            levels = (F.interpolate(levels, size=step, mode=mode, antialias=True) + 0.5).floor().clamp(0, 255)
    return levels
