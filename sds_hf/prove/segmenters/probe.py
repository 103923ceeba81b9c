"""The probe: a small decoder on features of a frozen backbone, seconds an arm."""

import time
from collections.abc import Mapping, Sequence
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
from sds_hf.prove.segmenters.training import Training, TrainingData, Trial

if TYPE_CHECKING:
    from datasets import Dataset

ROWS_AT_ONCE = 64
STRIDE = 8  # of the finest features, if none is asked for
FINER = 4  # predictions are compared at four times the resolution of the finest features, the loss at that of them


class Probe(TrainingData):
    """Cached features of candidates and evaluation sets.

    Args:
        dataset: the candidates.
        evaluation: sets to evaluate on, by name.
        labels: what masks mean.
        backbone: see `Backbone`.
        side: of the squares the backbone sees.
        stride: of the finest features the decoder looks at, 8 if None; twice the stride costs a quarter of the time.
    """

    def __init__(
        self,
        dataset: "Dataset",
        evaluation: Mapping[str, "Dataset"],
        labels: LabelSpace,
        backbone: str,
        side: int | None = None,
        stride: int | None = None,
    ) -> None:
        self._stride = stride or STRIDE
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
        return {"depth": "probe", **self._backbone.identity, "stride": self._stride}

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
        self._channels = [self._features.levels[number].shape[1] for number in self._chosen(self._features.levels)]

    def network(self) -> Segmenter:
        """See `TrainingData.network`."""
        network: Segmenter = Decoder(self._channels, self._classes).to(
            current_device(), memory_format=torch.channels_last
        )
        return network

    def batch(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[Any, Tensor]:
        """See `TrainingData.batch`."""
        assert self._features is not None
        return self._at_features(*self._batch(self._features, rows))

    @torch.inference_mode()
    def evaluate(self, network: Segmenter, training: Training) -> dict[str, Overlap]:
        """See `TrainingData.evaluate`; at four times the resolution of the finest features."""
        overlaps = {}
        for name, features in self._evaluation.items():
            overlap, count = Overlap.empty(self._classes), features.masks.shape[0]
            for start in range(0, count, ROWS_AT_ONCE):
                inputs, masks = self._batch(features, np.arange(start, min(start + ROWS_AT_ONCE, count)))
                masks = _thinned(masks, FINER * inputs[0].shape[-1])
                predictions = self._predict(network, inputs, masks.shape[-1], training)
                overlap.add(masks.cpu().numpy(), predictions.cpu().numpy())
            overlaps[name] = overlap
        return overlaps

    def trial(self, count: int, training: Training) -> Trial:
        """See `TrainingData.trial`."""
        left = sum(cache.rows_left for cache in (self._cache, *self._evaluation_caches.values()))
        rows = range(min(count, self._rows[0]))
        start = time.perf_counter()
        levels, masks = self._cache.compute(rows)
        seconds = (time.perf_counter() - start) / len(rows)
        chosen = self._chosen(levels)
        self._channels = [levels[number].shape[1] for number in chosen]
        inputs = [torch.from_numpy(levels[number]).to(current_device()).float() for number in chosen]
        inputs = [level.contiguous(memory_format=torch.channels_last) for level in inputs]
        labels = torch.from_numpy(masks).to(current_device()).long()
        network, side = self.network().eval(), FINER * inputs[0].shape[-1]
        start = time.perf_counter()
        self._predict(network, inputs, side, training).cpu()
        evaluation = (time.perf_counter() - start) / len(rows) * sum(self._rows[1:])
        return Trial(self._at_features(inputs, labels), 0.0, evaluation, left, seconds)

    @torch.inference_mode()
    def _predict(self, network: Segmenter, inputs: list[Tensor], side: int, training: Training) -> Tensor:
        """Class indices (B, side, side)."""
        with training.precision():
            scores = network.scores(inputs)
        scores = F.interpolate(scores.float(), size=(side, side), mode="bilinear")
        return scores.permute(0, 2, 3, 1).argmax(-1)  # side by side in memory: faster than `argmax(1)`

    def _batch(self, features: Features, rows: np.ndarray) -> tuple[list[Tensor], Tensor]:
        return features.batch(rows, current_device(), self._chosen(features.levels))

    def _chosen(self, levels: Sequence[Any]) -> list[int]:
        """Numbers of the levels that are not finer than the stride; the coarsest if all are."""
        strides = [self._backbone.side // level.shape[-1] for level in levels]
        return [number for number, stride in enumerate(strides) if stride >= self._stride] or [len(levels) - 1]

    def _at_features(self, inputs: list[Tensor], masks: Tensor) -> tuple[list[Tensor], Tensor]:
        return inputs, _thinned(masks, inputs[0].shape[-1])


def _thinned(masks: Tensor, side: int) -> Tensor:
    """Every n-th pixel of masks, so that about this many a side are left; all if there are no more."""
    step = max(1, masks.shape[-1] // side)
    return masks[:, ::step, ::step].contiguous()
