"""What scoring only as far as the demo's rules need saves, against all scores of all rows.

OMP_NUM_THREADS=1 python tests/benchmarks/cascade.py 2000 > tests/benchmarks/cascade.json

Both tables are made of the same demo scenes, one after the other in one process. CPU seconds are those of the process,
so that a busy machine does not show in them. The selections of both are compared, byte by byte.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets import disable_progress_bars

from sds_hf import Recipe, ScoreTable, score_for, score_table, select
from sds_hf.data.folder import write_data_folder
from sds_hf.data.opening import open_dataset
from sds_hf.demo.dataset import demo_features, demo_rows

disable_progress_bars()


def timed(make: Callable[[], ScoreTable]) -> tuple[ScoreTable, dict[str, float]]:
    """A table, and how long it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    table = make()
    seconds = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
    return table, {name: round(value, 1) for name, value in seconds.items()}


def measure(rows: int, folder: Path) -> dict[str, Any]:
    """Both tables of so many scenes."""
    recipe = Recipe.load("demo")
    write_data_folder(demo_rows(rows, seed=0), demo_features(), folder / "source")
    dataset, scores = open_dataset(str(folder / "source")), recipe.make_scores()
    score_table(dataset.select(range(32)), scores, folder / "warm")  # the model is loaded
    needed, needed_time = timed(lambda: score_for(dataset, recipe, folder / "needed"))
    everything, time_of_all = timed(lambda: score_table(dataset, scores, folder / "all"))
    selections = [select(table, recipe, out=table.folder / "sel").path.read_bytes() for table in (needed, everything)]
    return {
        "rows": rows,
        "all": time_of_all,
        "needed": needed_time,
        "times_as_fast": round(time_of_all["cpu_s"] / needed_time["cpu_s"], 2),
        "computed": {name: needed.manifest["needed"][name] for name in ("rows", "work")},
        "same_selection": selections[0] == selections[1],
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        print(json.dumps(measure(int(sys.argv[1]), Path(work)), indent=2))
