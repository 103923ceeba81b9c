"""TFDP over a set of the size of COCO: 117,266 images with 860,000 polygons, from the dataset to the ranking.

    python tests/benchmarks/tfdp.py --processes 2

The polygons are synthetic: blobs of 8 to 60 corners whose sizes are much like those of COCO (median side about 50
pixels, a tenth above 200). Dai et al. (ICLR 2025) report 0.014 hours, 50 seconds, for ranking COCO.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, disable_progress_bars

from sds_hf import TFDP, add_scores
from sds_hf.data.labels import COCO
from sds_hf.scores.base.whole_set import fit_scores

HEIGHT, WIDTH, IMAGES, INSTANCES, PAPER_SECONDS = 480, 640, 117_266, 860_000, 0.014 * 3600
ENTRY = pa.struct({"class": pa.int32(), "polygons": pa.list_(pa.list_(pa.float64())), "size": pa.list_(pa.int32())})
SCHEMA = pa.schema({"id": pa.string(), "instances": pa.list_(ENTRY)})


def blob(rng: np.random.Generator) -> list[float]:
    count = int(rng.integers(8, 61))
    side = min(float(rng.lognormal(np.log(50), 1.1)), 400.0)
    angles = np.sort(rng.uniform(0, 2 * np.pi, count))
    radii = side / 2 * rng.uniform(0.6, 1.1, count)
    center = rng.uniform((0, 0), (WIDTH, HEIGHT))
    points = center + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    return [round(v, 2) for v in points.clip(0, (WIDTH, HEIGHT)).ravel().tolist()]


def tables(images: int, instances: int) -> Iterator[pa.Table]:
    rng = np.random.default_rng(0)
    counts = rng.multinomial(instances - images, np.full(images, 1 / images)) + 1
    classes = rng.zipf(1.3, instances) % 80 + 1  # some common, most rare
    made = 0
    for start in range(0, images, 2000):
        rows = []
        for image in range(start, min(start + 2000, images)):
            entries = [
                {"class": int(classes[made + i]), "polygons": [blob(rng)], "size": [HEIGHT, WIDTH]}
                for i in range(counts[image])
            ]
            made += counts[image]
            rows.append({"id": f"{image:012d}", "instances": entries})
        yield pa.Table.from_pylist(rows, schema=SCHEMA)


def cpu_seconds() -> float:
    """Of this process and of those it has waited for; what a busy machine disturbs least."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--instances", type=int, default=INSTANCES)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instances.parquet"
        with pq.ParquetWriter(path, SCHEMA) as writer:
            for table in tables(given.images, given.instances):
                writer.write_table(table)
        dataset = Dataset.from_parquet(str(path), cache_dir=folder)
        started, cpu = time.perf_counter(), cpu_seconds()
        (score,) = fit_scores([TFDP(instances="column", labels="coco")], dataset, COCO, num_proc=given.processes)
        fitted = time.perf_counter()
        scored = add_scores(dataset, score, batch_size=256, num_proc=given.processes)
        scores = scored.with_format("numpy")["cb_scs"][:]
        ranking = np.argsort(-scores, kind="stable")
        seconds, cpu = time.perf_counter() - started, cpu_seconds() - cpu
    classes = len([total for total in score.statistics["sum"].values() if total > 0])
    assert abs(scores.sum() - classes) < 1e-6
    assert len(ranking) == given.images
    found = {
        "images": given.images, "instances": given.instances, "processes": given.processes,
        "seconds_fit": round(fitted - started, 1), "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "instances_per_second": round(given.instances / seconds), "paper_seconds": PAPER_SECONDS,
        "classes": len(COCO.names) - 1,
    }  # fmt: skip
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
