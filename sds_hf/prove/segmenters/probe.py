"""The probe: a small decoder on features of a frozen backbone, seconds an arm."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sds_hf.clip.device import current_device
from sds_hf.data.labels import LabelSpace
from sds_hf.progress import Watch
from sds_hf.prove.segmenters.features import Backbone, FeatureCache, Features
from sds_hf.prove.segmenters.iou import Overlap
from sds_hf.prove.segmenters.networks import Decoder, Segmenter
from sds_hf.prove.segmenters.training import Training, TrainingData

if TYPE_CHECKING:
    from datasets import Dataset

ROWS_AT_ONCE = 64
LOSS_STEP = 4  # the loss looks at every fourth pixel of the cached masks each way, the stride of the finest features


class Probe(TrainingData):
    """Cached features of candidates and evaluation sets.

    Args:
        dataset: the candidates.
        evaluation: sets to evaluate on, by name.
        labels: what masks mean.
        backbone: see `Backbone`.
        side: of the squares the backbone sees.
    """

    def __init__(
        self,
        dataset: "Dataset",
        evaluation: Mapping[str, "Dataset"],
        labels: LabelSpace,
        backbone: str,
        side: int | None = None,
    ) -> None:
        self._backbone, self._classes = Backbone(backbone, side), len(labels.names)
        self._cache = FeatureCache(dataset, self._backbone, labels)
        self._evaluation_caches = {
            name: FeatureCache(chosen, self._backbone, labels) for name, chosen in evaluation.items()
        }
        self._rows = [len(dataset), *(len(chosen) for chosen in evaluation.values())]
        self._features: Features | None = None
        self._evaluation: dict[str, Features] = {}
        self._channels: list[int] = []

    @property
    def identity(self) -> Mapping[str, Any]:
        """See `TrainingData.identity`."""
        return {"depth": "probe", **self._backbone.identity}

    def prepare(self, watch: Watch) -> None:
        """Compute the features that are not there yet."""
        total = 0
        with watch("features", sum(self._rows), str(current_device())) as tell:

            def add(rows: int) -> None:
                nonlocal total
                total += rows
                tell(total, 0)

            self._features = self._cache.open(add)
            self._evaluation = {name: cache.open(add) for name, cache in self._evaluation_caches.items()}
        self._channels = [level.shape[1] for level in self._features.levels]

    def network(self) -> Segmenter:
        """See `TrainingData.network`."""
        network: Segmenter = Decoder(self._channels, self._classes).to(
            current_device(), memory_format=torch.channels_last
        )
        return network

    def batch(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[Any, Tensor]:
        """See `TrainingData.batch`."""
        assert self._features is not None
        inputs, masks = self._features.batch(rows, current_device())
        return inputs, masks[:, ::LOSS_STEP, ::LOSS_STEP].contiguous()

    @torch.inference_mode()
    def evaluate(self, network: Segmenter, training: Training) -> dict[str, Overlap]:
        """See `TrainingData.evaluate`; at the resolution of the cached masks, half that of the squares."""
        overlaps = {}
        for name, features in self._evaluation.items():
            overlap, count = Overlap.empty(self._classes), features.masks.shape[0]
            for start in range(0, count, ROWS_AT_ONCE):
                inputs, masks = features.batch(np.arange(start, min(start + ROWS_AT_ONCE, count)), current_device())
                with training.precision():
                    scores = network.scores(inputs)
                scores = F.interpolate(scores.float(), size=masks.shape[-2:], mode="bilinear")
                overlap.add(masks.cpu().numpy(), scores.argmax(1).cpu().numpy())
            overlaps[name] = overlap
        return overlaps

    def trial(self, count: int) -> tuple[tuple[Any, Tensor], float, int]:
        """See `TrainingData.trial`."""
        left = sum(cache.rows_left for cache in (self._cache, *self._evaluation_caches.values()))
        rows = range(min(count, self._rows[0]))
        start = time.perf_counter()
        levels, masks = self._cache.compute(rows)
        seconds = (time.perf_counter() - start) / len(rows)
        self._channels = [level.shape[1] for level in levels]
        inputs = [
            torch.from_numpy(level).float().to(current_device(), memory_format=torch.channels_last) for level in levels
        ]
        small = torch.from_numpy(masks)[:, ::LOSS_STEP, ::LOSS_STEP].contiguous()
        return (inputs, small.to(current_device()).long()), seconds, left
