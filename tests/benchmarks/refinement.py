"""What `asf_miou` loses without the dense CRF: agreement with the paper's setting, and the time of each.

python tests/benchmarks/refinement.py 500 > tests/benchmarks/refinement.json

Demo scenes and the demo CLIP, whose maps are coarse; with a CLIP ViT-B/16 on photographs it may differ.
"""

import json
import sys
import time

import numpy as np
from datasets import Dataset, disable_progress_bars
from scipy.stats import spearmanr

from sds_hf import ASF, TopPerGroup, add_scores, select
from sds_hf.demo.dataset import demo_features, demo_rows

RULE = TopPerGroup(column="asf_miou", by=("num_classes_present", "classes_present"), fraction=0.6)


def main() -> None:
    """Score the same scenes in both ways."""
    count = int(sys.argv[1])
    disable_progress_bars()
    scenes = Dataset.from_list(list(demo_rows(count, seed=3)), features=demo_features())
    values, kept, seconds = {}, {}, {}
    for refine in ("crf", "affinity"):
        score = ASF(model="demo", dtype="fp32", refine=refine)
        add_scores(scenes.select(range(8)), score)  # loads the model
        started = time.perf_counter()
        scored = add_scores(scenes, score)
        seconds[refine] = round(time.perf_counter() - started, 1)
        values[refine] = np.array(scored["asf_miou"])
        kept[refine] = set(select(scored, RULE).kept_rows().tolist())
    both = kept["crf"] & kept["affinity"]
    result = {
        "scenes": count,
        "mean_absolute_difference": round(float(np.abs(values["crf"] - values["affinity"]).mean()), 4),
        "rank_correlation": round(float(spearmanr(values["crf"], values["affinity"]).statistic), 3),
        "rows_decided_alike": round(1 - (len(kept["crf"] | kept["affinity"]) - len(both)) / count, 3),
        "seconds": seconds,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
