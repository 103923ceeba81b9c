"""Memory and time of publishing a thousand rows, by the number of candidates they were chosen from.

python tests/benchmarks/publish.py 100000 2000000 > tests/benchmarks/publish.json

Candidates have pictures of 8 x 8 pixels and synthetic scores. Memory is what the process itself holds: pages of mapped
files, which the system takes back when it needs them, do not count. `loaded_mb` is what it holds when the dataset is
open, which `datasets` needs whatever is done with it; `added_mb` is what publishing adds at its peak.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, disable_progress_bars

from sds_hf import Random, Recipe, ScoreTable, Selection, publish, select
from sds_hf.data.content import content_digest
from sds_hf.data.folder import row_features
from sds_hf.data.images import encode_jpeg, encode_mask
from sds_hf.data.labels import VOC
from sds_hf.files import read_sha256

disable_progress_bars()
KEPT, SHARD = 1000, 100_000
VERSIONS = {"sds-hf": "0", "python": "0"}


def make_candidates(count: int, folder: Path) -> None:
    """A dataset of as many rows, and a score table of it."""
    image, mask = encode_jpeg(np.zeros((8, 8, 3), np.uint8)), encode_mask(np.ones((8, 8), np.uint8))

    def rows() -> Any:
        for index in range(count):
            pictures = {"image": {"bytes": image, "path": None}, "mask": {"bytes": mask, "path": None}}
            yield {"id": f"r{index:08d}", **pictures, "caption": None, "classes": [1], "class_prompt": None}

    dataset = Dataset.from_generator(rows, features=row_features(VOC), cache_dir=str(folder / "cache"))
    dataset.save_to_disk(folder / "dataset")
    (folder / "scores").mkdir()
    shards, generator = [], np.random.default_rng(0)
    for start in range(0, count, SHARD):
        size = min(SHARD, count - start)
        columns = {
            "id": pa.array([f"r{index:08d}" for index in range(start, start + size)]),
            "row": pa.array(np.arange(start, start + size)),
            "classes_present": pa.array([[1]] * size, pa.list_(pa.int32())),
            "num_classes_present": pa.array(np.ones(size, np.int32)),
            **{name: pa.array(generator.random(size, np.float32)) for name in ("clip_sim", "pcs", "asf_miou")},
            "status": pa.array(["ok"] * size),
            "error": pa.array([None] * size, pa.string()),
        }
        path = folder / "scores" / f"scores-{start // SHARD:05d}.parquet"
        pq.write_table(pa.table(columns), path)
        shards.append({"path": path.name, "rows": size, "failed": 0, "sha256": read_sha256(path), "content_sha256": ""})
    source = {"name": "made", "rows": count, "sha256": content_digest(Dataset.load_from_disk(folder / "dataset"))}
    manifest = {
        "format": 2, "source": source,
        "scores": [], "labels": asdict(VOC), "rows_per_shard": SHARD, "models": {}, "fitted": {}, "notes": [],
        "device": "cpu", "versions": VERSIONS, "created": "", "complete": True, "failed": 0, "shards": shards,
    }  # fmt: skip
    (folder / "scores" / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


class Peak:
    """The largest memory of this process's own, in MB, looked at a hundred times a second."""

    def __enter__(self) -> "Peak":
        self.largest, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self.largest = max(self.largest, own_memory())


def own_memory() -> int:
    """Memory of this process that is backed by no file, in MB."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1]) // 1024


def choose(folder: Path) -> None:
    """Select in a process of its own."""
    recipe = Recipe(name="some", rules=[Random(target=KEPT)], publish={"license": "mit"})
    select(ScoreTable.load(folder / "scores"), recipe, out=folder / "selection")


def measure(folder: Path) -> None:
    """Publish, and print what it took."""
    dataset, table = Dataset.load_from_disk(folder / "dataset"), ScoreTable.load(folder / "scores")
    selection, recipe = Selection.load(folder / "selection"), Recipe.load(folder / "selection" / "recipe.yaml")
    loaded, started = own_memory(), time.perf_counter()
    with Peak() as peak:
        publish(dataset, selection, recipe, folder=folder / "published", scores=table)
    seconds = round(time.perf_counter() - started, 1)
    print(
        json.dumps(
            {"kept": selection.report.kept, "seconds": seconds, "loaded_mb": loaded, "added_mb": peak.largest - loaded}
        )
    )


def main() -> None:
    """Processes of its own for each number of candidates."""
    results = []
    for count in map(int, sys.argv[1:]):
        with tempfile.TemporaryDirectory(prefix="sds-hf-benchmark-") as name:
            make_candidates(count, Path(name))
            subprocess.run([sys.executable, __file__, "--choose", name], check=True)
            command = [sys.executable, __file__, "--measure", name]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        results.append({"candidates": count, **json.loads(done.stdout.splitlines()[-1])})
        print(results[-1], file=sys.stderr, flush=True)
    print(json.dumps(results, indent=2))


STEPS = {"--choose": choose, "--measure": measure}
if __name__ == "__main__":
    STEPS[sys.argv[1]](Path(sys.argv[2])) if sys.argv[1] in STEPS else main()
