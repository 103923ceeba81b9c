"""Seconds the dense CRF takes for one image with three labels (background and two classes).

    python tests/benchmarks/crf.py

A picture of blobs and grain, and pure noise, which occupies the most vertices.
"""

import io
import json
import time

import numpy as np
import torch
from PIL import Image

from sds_hf.bench import bench_rows
from sds_hf.clip.reference.crf import dense_crf

SIZE, REPEATS = 512, 3


def seconds(image: np.ndarray) -> float:
    scores = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0)) * 4
    maps = torch.nn.functional.interpolate(scores, size=(SIZE, SIZE), mode="bilinear")[0].softmax(0)
    times = []
    for _ in range(1 + REPEATS):
        start = time.perf_counter()
        dense_crf([maps], [torch.from_numpy(image)])
        times.append(time.perf_counter() - start)
    return min(times[1:])


def main() -> None:
    cell = bench_rows(1, SIZE).with_format("arrow")[:1]["image"].to_pylist()[0]
    picture = np.array(Image.open(io.BytesIO(cell["bytes"])))
    noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    print(json.dumps({"threads": torch.get_num_threads(), "picture": seconds(picture), "noise": seconds(noise)}))


if __name__ == "__main__":
    main()
