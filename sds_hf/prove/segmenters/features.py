"""Features of a frozen backbone, computed once a row and kept on this machine."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from filelock import FileLock
from PIL import Image
from torch import Tensor

from sds_hf.clip.device import current_device
from sds_hf.data.cells import readable, stored_cells
from sds_hf.data.content import content_digest
from sds_hf.data.labels import LabelSpace
from sds_hf.files import cache_folder, whole_file, write_whole
from sds_hf.prove.segmenters import efficientnet, pretrained
from sds_hf.scores.base.rows import read_rows

if TYPE_CHECKING:
    from datasets import Dataset

FORMAT = 1
SIDE = 192  # of the square that a network without a resolution of its own sees
MASK_SHARE = 2  # the masks of a probe have half the side of its pictures
ROWS_PER_SHARD = 500  # what a run that is killed can lose
BATCH = 32
PICTURES = ("image", "mask", "id")


class Backbone:
    """A frozen network that turns pictures into levels of features.

    Args:
        name: `efficientnet-lite0`, `demo`, or a vision model of `transformers`: a folder or a Hub id.
        side: of the squares it sees, in pixels; its own, or 192, if None.

    Attributes:
        identity: everything that decides the features.
        side: of the squares it sees.

    Raises:
        ValueError: if it cannot be had.
        ModuleNotFoundError: if the package with its weights is not installed.
    """

    def __init__(self, name: str, side: int | None = None) -> None:
        self.name, own = name, None
        if name == efficientnet.NAME:
            self._network: torch.nn.Module = efficientnet.EfficientNetLite0()
            self._mean, self._std, identity = efficientnet.MEAN, efficientnet.STD, efficientnet.identity()
        else:
            checkpoint = pretrained.vision_files(name)
            network = pretrained.Backbone(checkpoint)
            self._network, own = network, network.side
            self._mean, self._std = checkpoint.mean, checkpoint.std
            identity = {"backbone": "transformers", "sha256": checkpoint.digest}
        self.side = side or own or SIDE
        self.identity = {**identity, "side": self.side, "format": FORMAT}
        self.device = current_device()
        self._network.to(self.device).eval().requires_grad_(False)

    @torch.inference_mode()
    def features(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Levels of features of pictures, finest first, each position of the same length in the mean.

        Args:
            images: (H, W, 3) uint8 each.

        Returns:
            (B, C, h, w) float16 a level.
        """
        squares = torch.cat([self._square(image) for image in images]).to(self.device)
        mean, std = (torch.tensor(values, device=self.device)[:, None, None] for values in (self._mean, self._std))
        levels = self._network((squares / 255 - mean) / std)
        return [(F.normalize(level, dim=1) * level.shape[1] ** 0.5).half().cpu().numpy() for level in levels]

    def _square(self, image: np.ndarray) -> Tensor:
        pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
        return pretrained.resized(pixels, self.side)


@dataclass(frozen=True)
class Features:
    """The features and masks of a dataset.

    Attributes:
        levels: (rows, C, h, w) float16 a level, finest first; on disk, read as needed.
        masks: (rows, S, S) uint8, class indices.
    """

    levels: list["Parts"]
    masks: "Parts"

    def batch(self, rows: np.ndarray, device: torch.device, levels: Sequence[int]) -> tuple[list[Tensor], Tensor]:
        """Some levels and the masks of some rows, as a `Decoder` takes them."""
        stored = [torch.from_numpy(self.levels[number].take(rows)).to(device) for number in levels]
        masks = torch.from_numpy(self.masks.take(rows)).to(device).long()
        return [level.to(torch.float32, memory_format=torch.channels_last) for level in stored], masks


class Parts:
    """An array in several files, one after another."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._arrays = [np.load(path, mmap_mode="r") for path in paths]
        self._ends = np.cumsum([len(array) for array in self._arrays])
        self.shape = (int(self._ends[-1]), *self._arrays[0].shape[1:])

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Some rows, in memory."""
        files = np.searchsorted(self._ends, rows, side="right")
        out = np.empty((len(rows), *self.shape[1:]), self._arrays[0].dtype)
        for file in np.unique(files):
            chosen = files == file
            out[chosen] = self._arrays[file][rows[chosen] - (self._ends[file] - len(self._arrays[file]))]
        return out


class FeatureCache:
    """Where the features of a dataset lie, and how many of them there are.

    Args:
        dataset: with `image` and `mask`.
        backbone: what looks at them.
        labels: what the masks mean.
    """

    def __init__(self, dataset: "Dataset", backbone: Backbone, labels: LabelSpace) -> None:
        self._stored, self._backbone, self._labels = readable(dataset, PICTURES), backbone, labels
        identity = {**backbone.identity, "content": content_digest(dataset, ("image", "mask"))}
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        self.folder = cache_folder("features") / key
        self._identity = identity
        self._starts = range(0, len(dataset), ROWS_PER_SHARD)

    @property
    def rows_left(self) -> int:
        """Rows that have no features yet."""
        return sum(len(self._rows(start)) for start in self._starts if not self._is_done(start))

    def open(self, tell: Callable[[int], None] | None = None) -> Features:
        """The features, computed where there are none yet; several processes may do so together.

        Args:
            tell: called with rows done, those of earlier runs first.

        Raises:
            ValueError: if a row cannot be read; names it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / "identity.json", json.dumps(self._identity, indent=2))
        for start in self._starts:
            if not self._is_done(start):
                with FileLock(self.folder / f"{start}.lock"):
                    if not self._is_done(start):
                        self._make(start, tell)
                        continue
            if tell:
                tell(len(self._rows(start)))
        count = json.loads(self._note(0).read_text(encoding="utf-8"))["levels"]
        levels = [Parts([self.folder / f"{start}-{level}.npy" for start in self._starts]) for level in range(count)]
        return Features(levels, Parts([self.folder / f"{start}-masks.npy" for start in self._starts]))

    def compute(self, rows: range) -> tuple[list[np.ndarray], np.ndarray]:
        """Features and masks of some rows, computed now.

        Raises:
            ValueError: if a row cannot be read; names it.
        """
        images, masks = read_pictures(self._stored, rows, self._labels)
        return self._backbone.features(images), np.stack([self._small(mask) for mask in masks])

    def _make(self, start: int, tell: Callable[[int], None] | None) -> None:
        """Compute a shard; the note that it is done comes last."""
        rows, parts = self._rows(start), []
        for first in range(rows.start, rows.stop, BATCH):
            part = range(first, min(first + BATCH, rows.stop))
            parts.append(self.compute(part))
            if tell:
                tell(len(part))
        levels = [np.concatenate(level) for level in zip(*(levels for levels, _ in parts), strict=True)]
        for number, level in enumerate(levels):
            _save(self.folder / f"{start}-{number}.npy", level)
        _save(self.folder / f"{start}-masks.npy", np.concatenate([masks for _, masks in parts]))
        write_whole(self._note(start), json.dumps({"levels": len(levels)}))

    def _small(self, mask: np.ndarray) -> np.ndarray:
        side = self._backbone.side // MASK_SHARE
        return np.asarray(Image.fromarray(mask).resize((side, side), Image.Resampling.NEAREST))

    def _rows(self, start: int) -> range:
        return range(start, min(start + ROWS_PER_SHARD, len(self._stored)))

    def _note(self, start: int) -> Path:
        return self.folder / f"{start}.json"

    def _is_done(self, start: int) -> bool:
        return self._note(start).exists()


def read_pictures(
    stored: "Dataset", rows: Sequence[int], labels: LabelSpace
) -> tuple[Sequence[np.ndarray], Sequence[np.ndarray]]:
    """Images (H, W, 3) uint8 and masks (H, W) uint8 of rows of what `readable` returns.

    Raises:
        ValueError: if one cannot be read, or its mask holds an index that means nothing; names the row.
    """
    pictures = read_rows(stored_cells(stored, rows), {"image", "mask"}, labels)
    for position, error in pictures.errors.items():
        raise ValueError(f"row {rows[position]} cannot be trained on or evaluated: {error}")
    return pictures.images, pictures.masks


def _save(path: Path, array: np.ndarray) -> None:
    with whole_file(path) as file:
        np.save(file, array)
