"""What the similarities of `clip_sim` and the neighbours of `region_knn` see of the demo's defects.

OMP_NUM_THREADS=1 python seen_by_clip.py scenes --rows 2000 --seed 22 > seen_by_clip.json

Scenes are drawn into the folder if there is none. AUROC of rows without a defect against those with one kind, each with
a 95 % interval of 200 bootstrap draws, and the number of rows with that defect; of all rows, and of those whose mask
has two or more classes. A row without a score counts as the worst. One pass of the demo's CLIP in fp32.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from sds_hf.data.cells import readable, stored_cells
from sds_hf.data.folder import write_data_folder
from sds_hf.data.labels import VOC
from sds_hf.data.opening import open_dataset
from sds_hf.demo.dataset import demo_features, demo_rows
from sds_hf.scores.base.rows import read_rows
from sds_hf.scores.clip_sim import ClipSim
from sds_hf.scores.region_knn import RegionKNN

MODEL = {"model": "demo", "dtype": "fp32", "labels": "voc"}
SIMILARITIES = [ClipSim(similarity=kind, **MODEL) for kind in ("prob", "prob_mean", "prob_min", "cosine")]
NEIGHBORS = [RegionKNN(k=k, **MODEL) for k in (10, 20, 50)]
COLUMNS, ROWS_AT_ONCE, DRAWS = ("image", "mask"), 64, 200


def scored(dataset) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Every score of all rows, and how many classes each shows."""
    stored, parts, lists = readable(dataset, COLUMNS), [], {score: [] for score in SIMILARITIES}
    shown, batches = [], []
    for start in range(0, len(dataset), ROWS_AT_ONCE):
        cells = stored_cells(stored, range(start, min(start + ROWS_AT_ONCE, len(dataset))))
        rows = read_rows(cells, {"image", "mask"}, VOC)
        parts += NEIGHBORS[0].collect(rows)  # first: its pass serves the others
        for score, values in lists.items():
            values += score.compute(rows)["clip_sim"]
        shown += rows.present.sum(1).tolist()
        batches.append(rows)
    values = {score.similarity: np.array(column, float) for score, column in lists.items()}
    statistics = NEIGHBORS[0].freeze(parts)
    for score in NEIGHBORS:
        fitted = RegionKNN(**{**score.values(), "statistics": statistics})
        column = [value for rows in batches for value in fitted.compute(rows)["region_knn"]]
        values[f"region_knn, k={score.k}"] = np.array(column, float)
    return {name: np.nan_to_num(column, nan=-np.inf) for name, column in values.items()}, np.array(shown)


def area(clean: np.ndarray, ranks: np.ndarray) -> float:
    """AUROC of whole-numbered ranks."""
    good, bad = (np.bincount(ranks[rows], minlength=ranks.max() + 1) for rows in (clean, ~clean))
    above = good[::-1].cumsum()[::-1] - good
    return float((bad * (above + good / 2)).sum() / (good.sum() * bad.sum()))


def auroc(clean: np.ndarray, values: np.ndarray) -> str:
    """With its interval, and how many rows are not clean."""
    rng, ranks = np.random.default_rng(0), np.unique(values, return_inverse=True)[1]
    draws = [rng.integers(0, len(clean), len(clean)) for _ in range(DRAWS)]
    areas = [area(clean[draw], ranks[draw]) for draw in draws if 0 < clean[draw].sum() < len(draw)]
    low, high = np.quantile(areas, [0.025, 0.975])
    return f"{area(clean, ranks):.3f} ({low:.2f} to {high:.2f}, {(~clean).sum()} rows)"


def main() -> None:
    """A table a score: defects by number of classes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=22)
    options = parser.parse_args()
    if not options.folder.exists():
        origin = {"reader": "demo", "seed": options.seed}
        write_data_folder(demo_rows(options.rows, seed=options.seed), demo_features(), options.folder, origin=origin)
    dataset = open_dataset(options.folder)
    dataset = dataset.select(range(min(options.rows, len(dataset))))
    defects = np.array([defect or "clean" for defect in dataset["defect"]])
    values, shown = scored(dataset)
    results = {}
    for name, column in values.items():
        results[name] = {}
        for least in (1, 2):
            kinds = ["any", *sorted(set(defects) - {"clean"})]
            chosen = [(shown >= least) & ((defects == "clean") | (defects == kind) | (kind == "any")) for kind in kinds]
            results[name][f"{least} or more classes"] = {
                kind: auroc(defects[rows] == "clean", column[rows]) for kind, rows in zip(kinds, chosen, strict=True)
            }
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
