"""Milliseconds of CPU that `boundary` takes for a picture of 512 x 512, on one core.

OMP_NUM_THREADS=1 python tests/benchmarks/boundary.py > tests/benchmarks/boundary.json

Pictures and masks are those of `sds-hf bench`, with one to three classes; `band` has 255 along all outlines, as in VOC.
"""

import json
import time

import numpy as np

from sds_hf.bench import bench_rows
from sds_hf.data.images import decode_image, decode_mask
from sds_hf.scores.functional.boundary import _grown, boundary_fit, outlines

REPEATS = 50


def milliseconds(image: np.ndarray, mask: np.ndarray, class_ids: list[int]) -> float:
    """Of one call, the best of many."""
    times = []
    for _ in range(REPEATS):
        started = time.process_time()
        boundary_fit(image, mask, class_ids)
        times.append(time.process_time() - started)
    return round(1000 * min(times), 2)


def main() -> None:
    """One picture a number of classes."""
    results = []
    for row in bench_rows(3, 512).with_format("arrow")[:].to_pylist():
        image, mask = decode_image(row["image"]), decode_mask(row["mask"])
        banded = np.where(_grown(outlines(mask), 3), 255, mask).astype(np.uint8)
        plain, band = (milliseconds(image, labels, row["classes"]) for labels in (mask, banded))
        results.append({"classes": len(row["classes"]), "plain_ms": plain, "band_ms": band})
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
