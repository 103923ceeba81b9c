"""What bf16 changes: scores of demo rows in fp32 and bf16, and the decisions made of them.

python tests/benchmarks/half_precision.py 1000 > tests/benchmarks/half_precision.json
"""

import json
import sys
from typing import Any

import numpy as np
from datasets import Dataset

from sds_hf import Recipe, add_scores, select
from sds_hf.demo.dataset import demo_features, demo_rows

COLUMNS = ["clip_sim", "clip_sim_mixed", "pcs", "asf_miou"]


def compare(rows: int) -> dict[str, Any]:
    """Rows kept in one precision only, and how far the scores are apart."""
    recipe = Recipe.load("demo")
    candidates = Dataset.from_list(list(demo_rows(rows)), features=demo_features())
    scored = {dtype: add_scores(candidates, *recipe.make_scores(dtype=dtype)) for dtype in ("fp32", "bf16")}
    kept = {dtype: set(select(data, recipe).kept_rows().tolist()) for dtype, data in scored.items()}
    changed = sorted(kept["fp32"] ^ kept["bf16"])
    apart = {
        name: np.abs(np.array(scored["fp32"][name], float) - np.array(scored["bf16"][name], float)) for name in COLUMNS
    }
    return {
        "rows": rows,
        "kept": {dtype: len(found) for dtype, found in kept.items()},
        "changed": len(changed),
        "share_changed": len(changed) / rows,
        "apart": {name: {"mean": float(gap.mean()), "max": float(gap.max())} for name, gap in apart.items()},
        "changed_rows": [
            {"row": row, **{name: [scored[dtype][name][row] for dtype in scored] for name in COLUMNS}}
            for row in changed
        ],
    }


if __name__ == "__main__":
    print(json.dumps(compare(int(sys.argv[1])), indent=2))
