"""What every score and recipe of the package sees of known defects: the benchmark of selectors.

python tests/benchmarks/selection_truth.py --rows 5000 --held-out 1000 --photos FOLDER --out tests/benchmarks/selection_truth.json

(a) demo scenes, (b) demo scenes of artwork that the demo CLIP was not trained on and no recipe was chosen with, (c) the
photographs of FOLDER (`image/*.jpg`, `mask/*.png` with COCO's ids) with spoilt masks; left out where there are none.
Every score has a table of its own in WORK, which a later run uses again. Nothing that is measured depends on the time
or the number of processes: two runs write the same bytes.
"""

import sys
from pathlib import Path
from typing import Any

from datasets import Dataset, disable_progress_bars

from sds_hf.data.folder import write_data_folder
from sds_hf.data.opening import open_dataset
from sds_hf.demo.artwork import DEMO_SETS, HELD_OUT_SET
from sds_hf.demo.dataset import demo_features, demo_rows
from sds_hf.scores.base.catalog import score_classes
from sds_hf.scores.base.score import Score, field_names
from sds_hf.table.score_table import ScoreTable, score_table

SEEDS = {"seen": 31, "held_out": 32}
# Of a score's columns those of another setting are called NAME@SETTING.
MAIN: dict[str, dict[str, Any]] = {
    "pcs": {},
    "asf_miou": {"reference": "maskclip", "refine": "affinity"},
    "boundary": {},
}


def scenes(kind: str, rows: int, work: Path) -> Dataset:
    """Demo scenes in a folder, drawn once."""
    folder = work / f"{kind}-{rows}"
    if not folder.exists():
        artwork = DEMO_SETS if kind == "seen" else (HELD_OUT_SET,)
        write_data_folder(demo_rows(rows, seed=SEEDS[kind], artwork=artwork), demo_features(), folder)
    return open_dataset(folder)


def make_score(name: str, settings: dict[str, Any]) -> Score:
    """A score of the demo CLIP, if it asks one."""
    cls = score_classes()[name]
    return cls(**{**({"model": "demo"} if "model" in field_names(cls) else {}), **settings})


def scored(dataset: Dataset, name: str, settings: dict[str, Any], folder: Path) -> ScoreTable:
    """The table of one score, made once."""
    return score_table(dataset, [make_score(name, settings)], folder, rows_per_shard=250)


if __name__ == "__main__":
    disable_progress_bars()
    kind, rows, work = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    data = scenes(kind, rows, work)
    for name, settings in MAIN.items():
        scored(data, name, settings, work / f"{kind}-{rows}-{name}")
        print(name, flush=True)
