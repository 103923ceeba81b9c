"""Networks that are small enough to train many times: a decoder on frozen features, and a U-Net from scratch."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sds_hf.data.labels import IGNORE_INDEX


class Segmenter(nn.Module, ABC):
    """What the training loop trains: inputs and masks in, a loss or the scores of classes out."""

    @abstractmethod
    def scores(self, inputs: Any) -> Tensor:
        """Scores (B, classes, h, w) of the classes at each place, at a resolution of the network's own."""

    def loss(self, inputs: Any, masks: Tensor) -> Tensor:
        """Mean cross-entropy over the pixels that are not ignored.

        Args:
            inputs: as for `scores`.
            masks: (B, H, W) int64, 255 where ignored.
        """
        return pixel_loss(self.scores(inputs), masks)

    def backbone_parameters(self) -> list[nn.Parameter]:
        """Weights that were learnt elsewhere and may get a smaller learning rate."""
        return []


def pixel_loss(scores: Tensor, masks: Tensor) -> Tensor:
    """Mean cross-entropy of scores, resized to the masks; 0 where all is ignored."""
    if scores.shape[-2:] != masks.shape[-2:]:
        scores = F.interpolate(scores.float(), size=masks.shape[-2:], mode="bilinear")
    # A row a pixel: several times as fast on a CPU as a loss over four dimensions.
    rows = scores.permute(0, 2, 3, 1).reshape(-1, scores.shape[1]).float()
    loss = F.cross_entropy(rows, masks.reshape(-1), ignore_index=IGNORE_INDEX, reduction="sum")
    return loss / (masks != IGNORE_INDEX).sum().clamp(min=1)


class Decoder(Segmenter):
    """A convolution a level of features, their sum at the finest level, and two convolutions more.

    Args:
        channels: of the levels, finest first.
        classes: number of classes.
        width: channels of the sum and of what follows.
    """

    def __init__(self, channels: Sequence[int], classes: int, width: int = 48) -> None:
        super().__init__()
        # Convolutions of one pixel before the resize: the same numbers as after it, at a fraction of the cost.
        self.levels = nn.ModuleList(nn.Conv2d(count, width, 1) for count in channels)
        self.mix = nn.Conv2d(width, width, 3, padding=1)
        self.head = nn.Conv2d(width, classes, 1)

    def scores(self, inputs: Sequence[Tensor]) -> Tensor:
        """See `Segmenter.scores`.

        Args:
            inputs: (B, C, h, w) a level, finest first.
        """
        total: Tensor = self.levels[0](inputs[0])
        for level, features in zip(self.levels[1:], inputs[1:], strict=True):
            total = total + F.interpolate(level(features), size=total.shape[-2:], mode="bilinear")
        scores: Tensor = self.head(F.relu(self.mix(F.relu(total))))
        return scores


class UNet(Segmenter):
    """A small U-Net: four levels of two convolutions each, half the resolution at the entrance.

    Args:
        classes: number of classes.
        widths: channels of the entrance and of the levels.
    """

    def __init__(self, classes: int, widths: Sequence[int] = (32, 48, 64, 96, 128)) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 5, stride=2, padding=2)
        self.down = nn.ModuleList(_convolutions(before, after) for before, after in pairwise(widths))
        self.up = nn.ModuleList(
            _convolutions(below + beside, beside) for below, beside in zip(widths[:1:-1], widths[-2:0:-1], strict=False)
        )
        self.head = nn.Conv2d(widths[1], classes, 1)

    def scores(self, inputs: Tensor) -> Tensor:
        """See `Segmenter.scores`; half the resolution of the pixels.

        Args:
            inputs: (B, 3, H, W) pixels, normalised.
        """
        hidden, sides = F.relu(self.stem(inputs)), []
        for number, level in enumerate(self.down):
            hidden = level(F.max_pool2d(hidden, 2) if number else hidden)
            sides.append(hidden)
        for level, side in zip(self.up, sides[-2::-1], strict=True):
            hidden = level(torch.cat([F.interpolate(hidden, size=side.shape[-2:]), side], 1))
        scores: Tensor = self.head(hidden)
        return scores


def _convolutions(before: int, after: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [nn.Conv2d(channels, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
