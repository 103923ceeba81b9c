"""Time and memory of the search of `region_knn`, on one core, for sets of so many regions in 512 dimensions.

OMP_NUM_THREADS=1 python tests/benchmarks/region_knn.py 100000 400000 > tests/benchmarks/region_knn.json
OMP_NUM_THREADS=1 python tests/benchmarks/region_knn.py --faiss 50000 > tests/benchmarks/region_knn_faiss.json

A batch has 32 rows with 51 regions, 1.6 a row, as the demo has them. Only a few batches are searched; `hours_all` is
the time of one batch times the number of batches, an extrapolation. Vectors lie around centres, as regions do around
classes. Seconds are of CPU time, so that a busy machine says the same.
"""

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from sds_hf.scores.functional import votes
from sds_hf.scores.region_knn import _kind, _write_regions

DIMENSIONS, CENTRES, SPREAD = 512, 200, 0.04
ROWS, REGIONS_PER_ROW, BATCHES, K = 32, 1.6, 2, 20


class Peak:
    """The largest private memory of this process while it lives, in MB: files that are mapped do not count."""

    def __init__(self) -> None:
        self.megabytes, self._stop = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            status = Path("/proc/self/status").read_text(encoding="utf-8")
            kilobytes = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))
            self.megabytes = max(self.megabytes, kilobytes / 1000)


def parts_of(count: int) -> list[np.ndarray]:
    """Regions as a fit collects them, one to a picture."""
    rng, parts = np.random.default_rng(0), []
    centres = rng.standard_normal((CENTRES, DIMENSIONS), np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    for start in range(0, count, 10_000):
        part = np.empty(min(10_000, count - start), _kind(DIMENSIONS))
        chosen = rng.integers(0, CENTRES, len(part))
        vectors = centres[chosen] + SPREAD * rng.standard_normal((len(part), DIMENSIONS), np.float32)
        part["vector"] = votes.whole_numbers(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
        part["picture"] = part["row"] = rng.integers(-(2**62), 2**62, len(part))
        part["class_id"] = chosen % 80
        parts.append(part)
    return parts


def measured(count: int, faiss: bool) -> dict[str, float]:
    """Figures of a set of `count` regions."""
    with tempfile.TemporaryDirectory() as folder:
        path, parts = Path(folder) / "regions.npy", parts_of(count)
        started = time.process_time()
        with path.open("wb") as file:
            _write_regions(file, parts)
        figures = {"regions": count, "write_s": time.process_time() - started, "file_mb": path.stat().st_size / 1e6}
        del parts
        stored = np.load(path, mmap_mode="r")
        points = votes.Points(stored["vector"], np.ascontiguousarray(stored["picture"]))
        index = None
        if faiss:
            started = time.process_time()
            index = votes.build_index(points.vectors)
            figures["index_s"] = time.process_time() - started
        size = round(ROWS * REGIONS_PER_ROW)
        batches = np.random.default_rng(1).choice(count, (BATCHES, size), replace=False)
        seconds, shared = [], []
        with Peak() as peak:
            for batch in batches:
                queries, groups = points.vectors[batch], points.groups[batch]
                started = time.process_time()
                found = votes.nearest_others(queries, groups, votes.Points(points.vectors, points.groups, index), K)
                seconds.append(time.process_time() - started)
                if index is not None:
                    exact = votes.nearest_others(queries, groups, points, K)
                    shared += [len(set(a) & set(b)) / K for a, b in zip(found.tolist(), exact.tolist(), strict=True)]
        best = min(seconds)
        figures |= {"ms_a_row": 1000 * best / ROWS, "hours_all": best * count / size / 3600, "peak_mb": peak.megabytes}
        return {
            name: round(value, 2) for name, value in (figures | ({"recall": np.mean(shared)} if shared else {})).items()
        }


def main() -> None:
    """One line a size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("counts", nargs="+", type=int)
    parser.add_argument("--faiss", action="store_true", help="The approximate index too.")
    options = parser.parse_args()
    print(json.dumps([measured(count, options.faiss) for count in options.counts], indent=2))


if __name__ == "__main__":
    main()
