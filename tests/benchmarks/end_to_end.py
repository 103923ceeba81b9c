"""Rows from JPEG bytes in a dataset folder to a score table on the disk, and where the time goes.

    python tests/benchmarks/end_to_end.py --rows 4000

Of the rows 500 differ, the others are copies under other ids; a first table of a few rows warms up.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch

from sds_hf import ASF, PCS, score_table
from sds_hf.bench import bench_rows, random_checkpoint
from sds_hf.clip.device import current_device
from sds_hf.clip.stages import Stages
from sds_hf.data.folder import row_features, write_data_folder
from sds_hf.data.labels import VOC
from sds_hf.data.opening import open_dataset

DIFFERENT = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--model", default="random", help="`random` has the shapes of CLIP ViT-B/16")
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = str(random_checkpoint(folder / "clip")) if options.model == "random" else options.model
        cells = bench_rows(min(options.rows, DIFFERENT), options.size).with_format("arrow")[:].to_pylist()
        rows = (cells[number % len(cells)] | {"id": f"{number:06d}"} for number in range(options.rows))
        write_data_folder(rows, row_features(VOC), folder / "rows")
        shared = {"model": model, "dtype": options.dtype}
        jobs = {"pcs": [PCS(**shared)]}
        jobs["pcs+asf_miou"] = [PCS(**shared), ASF(**shared, refine="affinity")]
        result = {"device": str(current_device()), "threads": torch.get_num_threads(), "rows": options.rows, "jobs": {}}
        for job, scores in jobs.items():
            dataset = open_dataset(folder / "rows")
            score_table(dataset.select(range(min(64, options.rows))), scores, folder / f"{job}-warm")
            start = time.perf_counter()
            table = score_table(dataset, scores, folder / job)
            seconds = time.perf_counter() - start
            assert table.manifest["failed"] == 0
            with Stages() as stages:  # again, since listening slows it down
                score_table(dataset, scores, folder / f"{job}-stages")
            result["jobs"][job] = {
                "rows_per_second": options.rows / seconds,
                "seconds": seconds,
                "stage_seconds": dict(sorted(stages.seconds.items(), key=lambda item: -item[1])),
            }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
