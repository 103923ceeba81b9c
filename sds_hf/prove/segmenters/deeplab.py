"""DeepLabV3 on a ResNet: what the paper trains (Chen et al., "Rethinking Atrous Convolution", 2017)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sds_hf.prove.segmenters.networks import Segmenter, pixel_loss

RATES = (12, 24, 36)  # of the dilated convolutions, for features at stride 8
WIDTH = 512
AUXILIARY = 0.4  # weight of the loss on the features before the last stage


class DeepLabV3(Segmenter):
    """Parallel dilated convolutions and the mean of the picture on features at stride 8, and an auxiliary head.

    Args:
        backbone: pixels (B, 3, H, W) -> the maps of its last two stages; made dense by `dilate`.
        channels: of these two maps.
        classes: number of classes.
        width: of the head.
    """

    def __init__(self, backbone: nn.Module, channels: Sequence[int], classes: int, width: int = WIDTH) -> None:
        super().__init__()
        self.backbone = backbone
        before, last = channels
        self.branches = nn.ModuleList([_layer(last, width, 1), *(_layer(last, width, 3, rate) for rate in RATES)])
        self.pooled = _layer(last, width, 1)
        self.mix = _layer((len(RATES) + 2) * width, width, 3)
        self.head = nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(width, classes, 1))
        self.auxiliary = nn.Sequential(
            _layer(before, width // 2, 3), nn.Dropout2d(0.1), nn.Conv2d(width // 2, classes, 1)
        )

    def scores(self, inputs: Tensor) -> Tensor:
        """See `Segmenter.scores`; inputs are pixels, normalised."""
        return self._scores(self.backbone(inputs)[1])

    def loss(self, inputs: Tensor, masks: Tensor) -> Tensor:
        """See `Segmenter.loss`; with that of the auxiliary head."""
        before, last = self.backbone(inputs)
        return pixel_loss(self._scores(last), masks) + AUXILIARY * pixel_loss(self.auxiliary(before), masks)

    def backbone_parameters(self) -> list[nn.Parameter]:
        """See `Segmenter.backbone_parameters`."""
        return list(self.backbone.parameters())

    def _scores(self, features: Tensor) -> Tensor:
        whole = self.pooled(features.mean((2, 3), keepdim=True)).expand(-1, -1, *features.shape[-2:])
        scores: Tensor = self.head(self.mix(torch.cat([*(branch(features) for branch in self.branches), whole], 1)))
        return scores


def dilate(stages: Sequence[nn.Module]) -> None:
    """Let the last two stages of a ResNet keep the resolution: no stride, but dilated convolutions."""
    for stage, dilation in zip(stages[-2:], (2, 4), strict=True):
        for layer in stage.modules():
            if isinstance(layer, nn.Conv2d):
                layer.stride = (1, 1)
                if layer.kernel_size == (3, 3):
                    layer.dilation, layer.padding = (dilation, dilation), (dilation, dilation)


class _Normalization(nn.BatchNorm2d):
    """Batch normalisation that leaves a map of one pixel, whose variance in a batch of one is 0, to its statistics."""

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training and inputs.numel() == inputs.shape[1]:
            return F.batch_norm(inputs, self.running_mean, self.running_var, self.weight, self.bias, False)
        return super().forward(inputs)


def _layer(before: int, after: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(before, after, kernel, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(convolution, _Normalization(after), nn.ReLU(inplace=True))
