"""Seconds an image of 512x512 costs in the `authors` mode, CRF aside, for one class and for three.

    python tests/benchmarks/authors_mode.py --rows 8

The work is that of the authors' pipeline: similarity of the image and of one 4x4 shuffle of it, Grad-CAM of every class
and affinity, at 512x512 with ViT-B/16. Their code took 4.0 s for one class and 6.1 s for three, in fp32 on 2 cores of
the same kind.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch

from sds_hf import ASF, PCS
from sds_hf.bench import bench_rows, random_checkpoint
from sds_hf.data.labels import VOC
from sds_hf.scores.base.score import score_cells

THEIRS = {1: 4.0, 3: 6.1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args()
    rows = bench_rows(3 * options.rows, options.size).with_format("arrow")
    result = {"threads": torch.get_num_threads(), "dtype": options.dtype, "rows": options.rows}
    with tempfile.TemporaryDirectory() as name:
        shared = {"model": str(random_checkpoint(Path(name))), "dtype": options.dtype, "class_list": "all"}
        scores = [PCS.preset("authors", **shared), ASF.preset("authors", **shared, refine="affinity")]
        for classes in THEIRS:
            batch = rows[range(classes - 1, 3 * options.rows, 3)]
            cells = {column: batch[column].to_pylist() for column in batch.column_names}
            score_cells(scores, {column: values[:1] for column, values in cells.items()}, VOC)
            start = time.perf_counter()
            score_cells(scores, cells, VOC)
            seconds = (time.perf_counter() - start) / options.rows
            result[f"seconds_{classes}_classes"] = seconds
            result[f"times_faster_{classes}_classes"] = THEIRS[classes] / seconds
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
