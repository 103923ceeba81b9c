"""What makes the best reference masks: for each judge its mIoU to the true mask, and its cost.

OMP_NUM_THREADS=1 python tests/benchmarks/judges.py 100 > tests/benchmarks/judges.json

Clean demo scenes and the demo CLIP, so `asf_miou` is the mIoU to the true mask, which no judge but the column sees.
Settings of regions and scales were chosen on the scenes of seed 5; `chosen_on` has these, `reported_on` others.
"""

import json
import sys
import time

import numpy as np
import torch
from datasets import Dataset, disable_progress_bars

from sds_hf import ASF, add_scores
from sds_hf.demo.dataset import demo_features, demo_rows

KINDS = {
    "maskclip, regions, two scales": {"reference": "maskclip", "refine": "regions", "scales": (1, 2)},
    "maskclip, regions": {"reference": "maskclip", "refine": "regions"},
    "maskclip": {"reference": "maskclip", "refine": "none"},
    "maskclip, two scales": {"reference": "maskclip", "refine": "none", "scales": (1, 2)},
    "naclip": {"reference": "naclip", "refine": "none"},
    "naclip, regions, two scales": {"reference": "naclip", "refine": "regions", "scales": (1, 2)},
    "clip-es, affinity": {"refine": "affinity"},
    "clip-es, regions": {"refine": "regions"},
    "column of true masks": {"reference": "column:truth"},
    "maskclip, regions and crf, two scales": {"reference": "maskclip", "refine": "regions-crf", "scales": (1, 2)},
    "maskclip, crf": {"reference": "maskclip"},
    "clip-es, crf (the paper)": {},
}
SEEDS = {"chosen_on": 5, "reported_on": 21}


def clean_scenes(count: int, seed: int) -> Dataset:
    """Scenes without a defect, their mask also as the column `truth`."""
    rows = list(demo_rows(count, seed=seed, defective=0))
    scenes = Dataset.from_list(rows, features=demo_features())
    return scenes.add_column("truth", scenes.with_format("arrow")["mask"].to_pylist(), feature=scenes.features["mask"])


def main() -> None:
    """Every judge on the same scenes."""
    torch.set_num_threads(1)
    disable_progress_bars()
    scenes = {name: clean_scenes(int(sys.argv[1]), seed) for name, seed in SEEDS.items()}
    results = []
    for kind, settings in KINDS.items():
        score = ASF(model="demo", dtype="fp32", **settings)
        result: dict[str, object] = {"judge": kind, "settings": settings}
        for name, rows in scenes.items():
            add_scores(rows.select(range(2)), score)  # loads the model
            started = time.process_time()
            values = np.array(add_scores(rows, score)["asf_miou"], float)
            result["ms_a_row"] = round(1000 * (time.process_time() - started) / len(rows), 1)
            result[name] = round(float(np.nanmean(values)), 3)
        print(json.dumps(result), file=sys.stderr, flush=True)
        results.append(result)
    print(json.dumps({"scenes": int(sys.argv[1]), "seeds": SEEDS, "judges": results}, indent=2))


if __name__ == "__main__":
    main()
