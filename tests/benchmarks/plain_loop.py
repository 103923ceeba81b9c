"""PCS as a user would write it with `transformers` and Pillow, beside PCS of this package, from JPEG bytes to scores.

    python tests/benchmarks/plain_loop.py --rows 32

Both use random weights in the shapes of CLIP ViT-B/16, the same rows and as many threads.
"""

import argparse
import io
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoTokenizer, CLIPModel

try:
    from transformers import CLIPImageProcessorPil as Processor
except ImportError:  # version 4
    from transformers import CLIPImageProcessor as Processor

from sds_hf import PCS
from sds_hf.bench import bench_rows, random_checkpoint
from sds_hf.data.labels import VOC

SCALES, ORDERS, BATCH = (8, 16, 32), 3, 32


def shuffled(image: Image.Image, grid: int, rng: np.random.Generator) -> Image.Image:
    pixels = np.asarray(image)
    side = pixels.shape[0] // grid
    tiles = [
        pixels[y : y + side, x : x + side] for y in range(0, grid * side, side) for x in range(0, grid * side, side)
    ]
    tiles = [tiles[place] for place in rng.permutation(len(tiles))]
    return Image.fromarray(np.vstack([np.hstack(tiles[row * grid : (row + 1) * grid]) for row in range(grid)]))


@torch.inference_mode()
def plain_loop(dataset, model: CLIPModel, folder: Path) -> list[float]:
    device = model.device
    processor = Processor()
    texts = AutoTokenizer.from_pretrained(folder)(VOC.texts(), padding=True, return_tensors="pt").to(device)
    texts = features(model.get_text_features(**texts))
    rng, scores = np.random.default_rng(0), []
    for start in range(0, len(dataset), BATCH):
        batch = dataset[start : start + BATCH]
        images = [Image.open(io.BytesIO(cell["bytes"])).convert("RGB") for cell in batch["image"]]

        def similarity(images, classes=batch["classes"]):
            pixels = processor(images=images, return_tensors="pt")["pixel_values"].to(device)
            logits = 100 * features(model.get_image_features(pixel_values=pixels)) @ texts.T
            columns = [[c - 1 for c in row] + list(range(20, len(texts))) for row in classes]
            return [
                float(one[chosen].softmax(-1)[: len(row)].sum())
                for one, chosen, row in zip(logits, columns, classes, strict=True)
            ]

        intact = similarity(images)
        mixed = [
            similarity([shuffled(image, scale, rng) for image in images]) for scale in SCALES for _ in range(ORDERS)
        ]
        scores += (np.array(intact) - np.mean(mixed, 0)).tolist()
    return scores


def features(output):
    return torch.nn.functional.normalize(getattr(output, "pooler_output", output), dim=-1)


def seconds(run, rows: int) -> float:
    start = time.perf_counter()
    assert len(run()) == rows
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--size", type=int, default=512)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    from datasets import Image as ImageFeature

    dataset = bench_rows(options.rows, options.size)
    dataset = dataset.cast_column("image", ImageFeature(decode=False)).cast_column("mask", ImageFeature(decode=False))
    with tempfile.TemporaryDirectory() as name:
        folder = random_checkpoint(Path(name))
        result = {"device": device, "threads": torch.get_num_threads(), "rows": options.rows}
        model = CLIPModel.from_pretrained(folder).eval().to(device)
        result["plain_rows_per_second"] = options.rows / seconds(
            lambda: plain_loop(dataset, model, folder), options.rows
        )
        for dtype in ("fp32", "bf16"):
            score = PCS(model=str(folder), dtype=dtype, labels="voc")
            score(dataset[:1])  # loads the model
            rate = options.rows / seconds(lambda score=score: batches(score, dataset), options.rows)
            result[f"{dtype}_rows_per_second"] = rate
            result[f"{dtype}_times_faster"] = rate / result["plain_rows_per_second"]
    print(json.dumps(result, indent=2))


def batches(score: PCS, dataset) -> list[float]:
    return [value for start in range(0, len(dataset), BATCH) for value in score(dataset[start : start + BATCH])["pcs"]]


if __name__ == "__main__":
    main()
