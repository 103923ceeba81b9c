"""What this machine does: rows a second, its share of the matrix-product rate, and where the time goes."""

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset

from sds_hf.clip.device import default_batch_size, dtype_name
from sds_hf.clip.encoder import Encoder
from sds_hf.clip.stages import Stages
from sds_hf.clip.vit import linear
from sds_hf.data.folder import row_features
from sds_hf.data.images import encode_jpeg, encode_mask
from sds_hf.data.labels import VOC
from sds_hf.scores.base.catalog import score_named
from sds_hf.scores.base.score import ClipScore, Score, score_cells
from sds_hf.table.score_table import score_table

RANDOM = "random"  # stands for a model of random weights in the shapes of CLIP ViT-B/16
TOGETHER = ("pcs", "asf_miou")
REPEATS = 3


@dataclass(frozen=True)
class Speed:
    """What one kind of work achieves.

    Attributes:
        per_second: rows, or images for the encoder alone.
        flops: floating-point operations a second in matrix products and convolutions.
        share: of the measured rate of one large matrix product in the same dtype.
    """

    per_second: float
    flops: float
    share: float


@dataclass(frozen=True)
class Bench:
    """What a machine does.

    Attributes:
        device, dtype: where and in which precision.
        threads: of the CPU.
        model: what was run; `random` has the shapes of CLIP ViT-B/16.
        together: names of the scores that the shared pass is made of.
        batch_size: images or rows at a time.
        image_size: side of the square JPEGs, in pixels.
        matmul_flops: the best of three large matrix products, operations a second.
        encoder: the image encoder alone, at the model's own resolution.
        scores: each score by itself and `together`, the pass that shares everything, from JPEG bytes to score table.
        stages: share of the time of `together` by stage. Decoding runs beside the others, so the sum may exceed 1.
        memory_bytes: peak, of the process.
        gpu_memory_bytes: peak, None without a GPU.
        bytes_per_row: of the score table.
    """

    device: str
    dtype: str
    threads: int
    model: str
    together: tuple[str, ...]
    batch_size: int
    image_size: int
    matmul_flops: float
    encoder: Speed
    scores: dict[str, Speed]
    stages: dict[str, float]
    memory_bytes: int
    gpu_memory_bytes: int | None
    bytes_per_row: float

    def plan(self, rows: int) -> tuple[float, int]:
        """Seconds and bytes of the score table for so many rows."""
        return rows / self.scores["together"].per_second, round(rows * self.bytes_per_row)


def bench(
    scores: Sequence[str] = TOGETHER,
    *,
    model: str = RANDOM,
    dtype: str = "auto",
    rows: int | None = None,
    batch_size: int | None = None,
    image_size: int = 512,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> Bench:
    """Measure this machine.

    Args:
        scores: names of scores that `together` is made of.
        model: as for a score, or `random`: weights of random numbers, which cost what trained ones cost.
        dtype: as for a score.
        rows: how many are scored; 16 on a CPU and 512 on a GPU if None.
        batch_size: rows at a time, by default what suits the device.
        image_size: side of the JPEGs in pixels.
        settings: of the scores, by name.

    Raises:
        ValueError: if a score or a setting is not known, or a model cannot be had.
    """
    with _model(model) as checkpoint:
        score_of = {
            name: _make(name, checkpoint, dtype, settings or {}) for name in dict.fromkeys(["clip_sim", *scores])
        }
        encoder = next(score for score in score_of.values() if isinstance(score, ClipScore)).encoder()
        dataset = bench_rows(rows or (512 if encoder.device.type == "cuda" else 16), image_size)
        batch_size = batch_size or default_batch_size()
        rate = matmul_flops(encoder.device, encoder.dtype)
        runs = {name: [score] for name, score in score_of.items()} | {"together": [score_of[name] for name in scores]}
        speeds = {name: _score_speed(run, dataset, batch_size, rate) for name, run in runs.items()}
        if encoder.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        stages, size = _stages(runs["together"], dataset, batch_size)
        return Bench(
            device=_device_name(encoder.device),
            dtype=dtype_name(encoder.dtype),
            threads=torch.get_num_threads(),
            model=model,
            together=tuple(scores),
            batch_size=batch_size,
            image_size=image_size,
            matmul_flops=rate,
            encoder=encoder_speed(encoder, batch_size, rate),
            scores=speeds,
            stages=stages,
            memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            gpu_memory_bytes=torch.cuda.max_memory_allocated() if encoder.device.type == "cuda" else None,
            bytes_per_row=size / len(dataset),
        )


def matmul_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of one large matrix product, the best of a few."""
    side = 8192 if device.type == "cuda" else 4096
    left = torch.randn(side, side, device=device, dtype=dtype)
    # In fp32 on a CPU there are two libraries for it; the faster one counts.
    return 2 * side**3 / min(_best(lambda way=way: way(left, left)) for way in (F.linear, linear))  # type: ignore[misc]


def encoder_speed(encoder: Encoder, batch_size: int, rate: float) -> Speed:
    """The image encoder alone, from normalised pixels to embeddings."""
    pixels = torch.randn(batch_size, 3, *encoder.preprocessing.size, device=encoder.device)
    operations = count_flops(lambda: encoder.encode_images(pixels))
    seconds = _best(lambda: encoder.encode_images(pixels))
    return Speed(batch_size / seconds, operations / seconds, operations / seconds / rate)


def count_flops(run: Callable[[], object]) -> int:
    """Operations of all matrix products and convolutions of a call."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    # The counter knows matrix products, but not the CPU's fused attention.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def bench_rows(count: int, size: int, seed: int = 0) -> Dataset:
    """Rows with a square JPEG of coloured blobs and grain, and a mask of one to three classes of VOC."""
    rng = np.random.default_rng(seed)
    rows = []
    for index in range(count):
        coarse = torch.from_numpy(rng.integers(0, 256, (1, 3, 12, 12), np.uint8)).float()
        blobs = F.interpolate(coarse, size=(size, size), mode="bicubic")[0].permute(1, 2, 0).numpy()
        image = np.clip(blobs + rng.normal(0, 6, blobs.shape), 0, 255).astype(np.uint8)
        mask = np.zeros((size, size), np.uint8)
        chosen = rng.choice(np.arange(1, 21), 1 + index % 3, replace=False)
        for position, class_id in enumerate(chosen):
            left = size * position // len(chosen)
            mask[size // 8 : size * 3 // 4, left : left + size // 4] = class_id
        rows.append(
            {
                "id": f"{index:06d}",
                "image": {"bytes": encode_jpeg(image), "path": None},
                "mask": {"bytes": encode_mask(mask), "path": None},
                "caption": None,
                "classes": sorted(int(class_id) for class_id in chosen),
                "class_prompt": None,
            }
        )
    return Dataset.from_list(rows, features=row_features(VOC))


def random_checkpoint(folder: Path) -> Path:
    """Write a checkpoint with the image encoder of CLIP ViT-B/16, but random weights: it costs what a trained one does.

    Its text encoder is small.
    """
    from transformers import CLIPConfig, CLIPModel

    demo = files("sds_hf") / "demo" / "clip"
    text = json.loads((demo / "config.json").read_text(encoding="utf-8"))["text_config"]
    vision = {"patch_size": 16, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
    vision |= {"num_attention_heads": 12, "image_size": 224}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=512)).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((demo / name).read_bytes())
    return folder


@contextmanager
def _model(name: str) -> Iterator[str]:
    if name != RANDOM:
        yield name
        return
    with tempfile.TemporaryDirectory() as folder:
        yield str(random_checkpoint(Path(folder)))


def _make(name: str, model: str, dtype: str, settings: Mapping[str, Mapping[str, Any]]) -> Score:
    score = score_named(name)
    shared: dict[str, Any] = {"model": model, "dtype": dtype} if issubclass(score, ClipScore) else {}
    return score(**{**shared, **settings.get(name, {})})


def _score_speed(scores: Sequence[Score], dataset: Dataset, batch_size: int, rate: float) -> Speed:
    cells = dataset.with_format("arrow")[:3]
    sample = {name: cells[name].to_pylist() for name in cells.column_names}  # one, two and three classes
    score_cells(scores, sample, VOC)  # texts are encoded once
    operations = count_flops(lambda: score_cells(scores, sample, VOC)) / 3
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        score_table(dataset, scores, folder, batch_size=batch_size)
        pace = len(dataset) / (time.perf_counter() - start)
    return Speed(pace, pace * operations, pace * operations / rate)


def _stages(scores: Sequence[Score], dataset: Dataset, batch_size: int) -> tuple[dict[str, float], int]:
    """Shares of the time of a run by stage, and the size of its table."""
    with tempfile.TemporaryDirectory() as folder, Stages() as stages:
        start = time.perf_counter()
        table = score_table(dataset, scores, folder, batch_size=batch_size)
        total = time.perf_counter() - start
        size = sum(path.stat().st_size for path in table.paths)
    shares = {name: seconds / total for name, seconds in sorted(stages.seconds.items(), key=lambda item: -item[1])}
    return shares, size


def _best(run: Callable[[], object]) -> float:
    """Seconds of a call, the best of a few after a first one."""
    times = []
    for _ in range(1 + REPEATS):
        start = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
