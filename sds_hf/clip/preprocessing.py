"""What a checkpoint's own processor does to an image, read from its settings; resizing as Pillow does it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sds_hf.clip.checkpoints import WAY_OUT, ModelNotFoundError

RESAMPLE = {2: "bilinear", 3: "bicubic"}  # by Pillow's numbers
DEFAULTS: dict[str, dict[str, Any]] = {  # of the processor classes of transformers, for settings that a file leaves out
    "clip": {
        "do_center_crop": True,
        "image_mean": (0.48145466, 0.4578275, 0.40821073),
        "image_std": (0.26862954, 0.26130258, 0.27577711),
    },
    "siglip": {"do_center_crop": False, "image_mean": (0.5, 0.5, 0.5), "image_std": (0.5, 0.5, 0.5)},
}


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
            family: `clip` or `siglip`: whose settings stand for those that are missing.

        Raises:
            ModelNotFoundError: if the processor does what cannot be done here.
        """
        file_settings = {name: value for name, value in _settings(folder).items() if value is not None}
        settings = {"size": image_size, "crop_size": image_size, "resample": 3, **DEFAULTS[family], **file_settings}
        size, crop = settings["size"], _sides(settings["crop_size"])
        if isinstance(size, int):
            size = {"shortest_edge": size} if settings["do_center_crop"] else {"height": size, "width": size}
        edge, target = size.get("shortest_edge"), (crop if settings["do_center_crop"] else _sides(size))
        unit = 255 * settings.get("rescale_factor", 1 / 255) if settings.get("do_rescale", True) else 255
        strange = {
            "do_resize": not settings.get("do_resize", True),
            "do_pad": settings.get("do_pad", False),
            "resample": settings["resample"] not in RESAMPLE,
            "size": target is None or not (edge or _sides(size) == target),
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
            mean=tuple(value / unit for value in settings["image_mean"]) if normalizes else (0.0, 0.0, 0.0),
            std=tuple(value / unit for value in settings["image_std"]) if normalizes else (1 / unit,) * 3,
            resample=RESAMPLE[settings["resample"]],
        )


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


def _sides(size: Any) -> tuple[int, int] | None:
    """(height, width) of a size, None if it does not say."""
    if isinstance(size, int):
        return size, size
    return (size["height"], size["width"]) if "height" in size and "width" in size else None


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
