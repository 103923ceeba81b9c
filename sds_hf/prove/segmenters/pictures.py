"""Full training: pictures, cropped and flipped, and a whole segmenter."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sds_hf.clip.device import current_device
from sds_hf.data.cells import readable
from sds_hf.data.labels import IGNORE_INDEX, LabelSpace
from sds_hf.progress import Watch
from sds_hf.prove.segmenters.deeplab import DeepLabV3
from sds_hf.prove.segmenters.features import PICTURES, read_pictures
from sds_hf.prove.segmenters.iou import Overlap
from sds_hf.prove.segmenters.networks import Segmenter, UNet
from sds_hf.prove.segmenters.pretrained import (
    ON_BACKBONES,
    VisionFiles,
    resnet,
    segmenter_on,
    transformers_segmenter,
    vision_files,
)
from sds_hf.prove.segmenters.training import Training, TrainingData, Trial

if TYPE_CHECKING:
    from datasets import Dataset

UNET, DEEPLAB, WHOLE = "unet", "deeplabv3", "transformers"
SIDE = 160  # of the crops, in pixels, if none is asked for
SCALES = (0.5, 2.0)  # if none are asked for
BRIGHTNESS, TINT = 0.25, 0.15  # how much crops differ in light and colour
MULTIPLE = 32  # sides that every network can halve often enough


class Pictures(TrainingData):
    """Pictures of candidates and evaluation sets, decoded when they are needed.

    Args:
        dataset: the candidates.
        evaluation: sets to evaluate on, by name.
        labels: what masks mean.
        model: `unet`, what `vision_files` takes, or `deeplabv3`, `mask2former` or `upernet` with `:` and a backbone.
        side: of the crops in pixels; evaluation sees whole pictures whose shorter side is as long.
        scales: lowest and highest of a picture before it is cropped; at 1 its shorter side is that of the crop.
    """

    def __init__(
        self,
        dataset: "Dataset",
        evaluation: Mapping[str, "Dataset"],
        labels: LabelSpace,
        model: str,
        side: int | None = None,
        scales: tuple[float, float] | None = None,
    ) -> None:
        self._stored, self._labels = readable(dataset, PICTURES), labels
        self._evaluation = {name: readable(chosen, PICTURES) for name, chosen in evaluation.items()}
        self._side, self._scales, self._classes = side or SIDE, scales or SCALES, len(labels.names)
        kind, _, inner = model.partition(":")
        # A path may hold a colon, too: only what can stand on a backbone is taken apart.
        self._kind = kind if kind in (UNET, DEEPLAB) or (inner and kind in ON_BACKBONES) else WHOLE
        name = {UNET: None, WHOLE: model, DEEPLAB: inner or "resnet"}.get(self._kind, inner)
        self._files = vision_files(name) if name else None
        self._mean, self._std = (self._files or VisionFiles("", None, "", False)).normalization

    @property
    def identity(self) -> Mapping[str, Any]:
        """See `TrainingData.identity`."""
        weights = self._files.digest if self._files else ""
        return {"depth": "full", "kind": self._kind, "sha256": weights, "side": self._side, "scales": self._scales}

    def prepare(self, watch: Watch) -> None:
        """Nothing is done beforehand."""

    def network(self) -> Segmenter:
        """See `TrainingData.network`."""
        return self._network().to(current_device())

    def _network(self) -> Segmenter:
        if self._files is None:
            network: Segmenter = UNet(self._classes).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            return network  # a third faster than with channels first
        if self._kind == DEEPLAB:
            return DeepLabV3(*resnet(self._files), self._classes)
        if self._kind == WHOLE:
            return transformers_segmenter(self._files, self._classes)
        return segmenter_on(self._kind, self._files, self._classes)

    def batch(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[Any, Tensor]:
        """See `TrainingData.batch`: a crop of each row, scaled, flipped and coloured at random."""
        images, masks = read_pictures(self._stored, [int(row) for row in rows], self._labels)
        crops = [self._crop(image, mask, rng) for image, mask in zip(images, masks, strict=True)]
        pixels, labels = (torch.cat(part).to(current_device()) for part in zip(*crops, strict=True))
        return pixels, labels

    def _crop(self, image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Pixels (1, 3, S, S), normalised, and labels (1, S, S) int64; 255 beside the picture."""
        side, (height, width) = self._side, mask.shape
        scale = side / min(height, width) * float(np.exp(rng.uniform(*np.log(self._scales))))
        window = min(round(side / scale), 4 * max(height, width))
        top, left = (int(rng.integers(min(0, length - window), max(0, length - window) + 1)) for length in mask.shape)
        pixels, labels = (
            torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float(),
            torch.from_numpy(mask.copy())[None, None],
        )
        inside = slice(max(0, top), top + window), slice(max(0, left), left + window)
        pixels, labels = pixels[..., inside[0], inside[1]], labels[..., inside[0], inside[1]]
        before = max(0, -left), max(0, -top)
        after = window - before[0] - pixels.shape[-1], window - before[1] - pixels.shape[-2]
        pad = (before[0], after[0], before[1], after[1])
        mean = 255 * float(np.mean(self._mean))
        pixels = F.interpolate(F.pad(pixels, pad, value=mean), size=(side, side), mode="bilinear", antialias=True)
        labels = F.interpolate(F.pad(labels, pad, value=IGNORE_INDEX), size=(side, side), mode="nearest")[:, 0].long()
        if rng.random() < 0.5:
            pixels, labels = pixels.flip(-1), labels.flip(-1)
        light, tint = 1 + rng.uniform(-BRIGHTNESS, BRIGHTNESS), 255 * rng.uniform(-TINT, TINT, 3)
        tinted = pixels * light + torch.from_numpy(tint).float()[:, None, None]
        return self._normalized(tinted.clamp(0, 255)), labels

    def _normalized(self, pixels: Tensor) -> Tensor:
        mean, std = (torch.tensor(values, device=pixels.device)[:, None, None] for values in (self._mean, self._std))
        return (pixels / 255 - mean) / std

    @torch.inference_mode()
    def evaluate(self, network: Segmenter, training: Training) -> dict[str, Overlap]:
        """See `TrainingData.evaluate`: whole pictures, compared at the resolution of their masks."""
        overlaps = {}
        for name, stored in self._evaluation.items():
            overlap = Overlap.empty(self._classes)
            for start in range(0, len(stored), training.batch_size):
                rows = range(start, min(start + training.batch_size, len(stored)))
                images, masks = read_pictures(stored, rows, self._labels)
                for shape in dict.fromkeys(mask.shape for mask in masks):
                    alike = [index for index, mask in enumerate(masks) if mask.shape == shape]
                    predictions = self._predict(network, np.stack([images[index] for index in alike]), training)
                    overlap.add(np.stack([masks[index] for index in alike]), predictions)
            overlaps[name] = overlap
        return overlaps

    def _predict(self, network: Segmenter, images: np.ndarray, training: Training) -> np.ndarray:
        """Class indices (B, H, W) of pictures (B, H, W, 3) of one size."""
        height, width = images.shape[1:3]
        scale = self._side / min(height, width)
        size = [max(MULTIPLE, MULTIPLE * round(length * scale / MULTIPLE)) for length in (height, width)]
        pixels = torch.from_numpy(images).to(current_device()).permute(0, 3, 1, 2).float()
        pixels = F.interpolate(pixels, size=size, mode="bilinear", antialias=True)
        with training.precision():
            scores = network.scores(self._normalized(pixels))
        scores = F.interpolate(scores.float(), size=(height, width), mode="bilinear")
        predictions: np.ndarray = scores.argmax(1).cpu().numpy()
        return predictions

    def trial(self, count: int, training: Training) -> Trial:
        """See `TrainingData.trial`."""
        rows = np.arange(min(count, len(self._stored)))
        start = time.perf_counter()
        batch = self.batch(rows, np.random.default_rng(0))
        batch_seconds = (time.perf_counter() - start) / len(rows) * training.batch_size
        network, evaluation = self.network().eval(), 0.0
        for stored in self._evaluation.values():
            start = time.perf_counter()
            images, _ = read_pictures(stored, range(1), self._labels)
            self._predict(network, np.stack(images), training)
            evaluation += (time.perf_counter() - start) * len(stored)
        return Trial(batch, batch_seconds, evaluation, 0, 0.0)
