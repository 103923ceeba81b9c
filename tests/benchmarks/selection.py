"""How long a selection takes and how much memory it needs, by the number of rows, with a limit of 3 GB.

python tests/benchmarks/selection.py 1000000 10000000 100000000 > tests/benchmarks/selection.json

Rows are synthetic, of up to 4 classes of 20, and the rules the paper's. Other work on the machine changes the seconds
but hardly the seconds of CPU.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb

from sds_hf import Threshold, TopPerGroup, select

LIMIT, SHARD = "3GB", 1_000_000
RULES = [
    Threshold(column="clip_sim", above="q0.2"),
    Threshold(column="pcs", above=0.0),
    TopPerGroup(column="asf_miou", by=("num_classes_present", "classes_present"), fraction=0.6),
]


def make_scores(rows: int, folder: Path) -> None:
    """Parquet shards of a score table, at about a million rows a second and core."""
    uniform = "hash(i * {0} + {0}) / 18446744073709551616.0"
    present = [f"CASE WHEN {place} <= n THEN CAST(1 + (start + {place} * 7) % 20 AS INTEGER) END" for place in range(4)]
    connection = duckdb.connect(config={"temp_directory": str(folder / "spill")})
    for shard, first in enumerate(range(0, rows, SHARD)):
        connection.execute(
            f"""COPY (SELECT printf('image-%010d', i) AS id, i AS "row",
                    list_filter([{", ".join(present)}], lambda c: c IS NOT NULL) AS classes_present,
                    CAST(n + 1 AS INTEGER) AS num_classes_present,
                    CAST({uniform.format(3)} AS FLOAT) AS clip_sim,
                    CAST({uniform.format(5)} * 0.6 - 0.1 AS FLOAT) AS pcs,
                    CAST({uniform.format(7)} AS FLOAT) AS asf_miou, 'ok' AS status, CAST(NULL AS VARCHAR) AS error
                FROM (SELECT i, hash(i * 11) % 4 AS n, hash(i * 13) % 20 AS start
                      FROM range({first}, {min(rows, first + SHARD)}) numbers(i))
                ORDER BY i) TO '{folder}/shard-{shard:05d}.parquet' (FORMAT PARQUET)"""
        )


def measure(rows: int) -> dict[str, Any]:
    """Seconds and peak memory of a selection, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="sds-hf-benchmark-") as name:
        folder = Path(name)
        (folder / "scores").mkdir()
        make_scores(rows, folder / "scores")
        command = [sys.executable, __file__, "--one", str(folder)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    print(rows, done.stdout.strip(), file=sys.stderr, flush=True)  # kept if a larger run is stopped
    return {"rows": rows, **json.loads(done.stdout)}


def one(folder: Path) -> dict[str, Any]:
    """What `measure` runs apart."""
    started = time.perf_counter()
    selection = select(
        f"{folder}/scores/*.parquet", RULES, out=folder / "selection", memory_limit=LIMIT, scratch=folder
    )
    seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "kept": selection.report.kept,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_gb": round(used.ru_maxrss / 1e6, 2),
    }


def grown(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results with the factor by which time grew since the one before."""
    for before, now in pairwise(results):
        for name in ("seconds", "cpu_seconds"):
            now[f"{name}_growth"] = round(now[name] / before[name], 1)
    return results


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        print(json.dumps(one(Path(sys.argv[2]))))
    else:
        print(
            json.dumps({"memory_limit": LIMIT, "runs": grown([measure(int(rows)) for rows in sys.argv[1:]])}, indent=2)
        )
