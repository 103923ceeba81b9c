"""Whether selections train a better segmenter, on demo scenes: every arm, two evaluation sets, ten seeds.

    python prove.py WORK [--rows 4000] [--steps 200] [--stride 16] [--seeds 10] [--alone-seeds 5] [--size-seeds 3]

Draws the scenes and scores them in the folder WORK, trains the probe of `sds-hf prove` on each arm, and writes here a
report, JSON and a picture of each: `prove.*` (equal steps and equal epochs), `prove_alone.*` (each score alone),
`prove_sizes.*` (sizes as in the paper's Table 6); and `prove_curve.json`, the full set by number of steps. Run again,
it goes on; run twice at once, the trainings are shared. `seen` are clean scenes of the artwork the candidates are
drawn from, `unseen` of artwork that neither the demo CLIP nor the candidates have.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from sds_hf import ASF, PCS, Recipe, ScoreTable, TopK, TopPerGroup, score_table, select
from sds_hf.cli.progress import watcher
from sds_hf.data.folder import write_data_folder
from sds_hf.data.opening import open_dataset
from sds_hf.demo.artwork import DEMO_SETS, HELD_OUT_SET
from sds_hf.demo.dataset import demo_features, demo_rows
from sds_hf.files import write_whole
from sds_hf.prove.experiment import Experiment, write_proof
from sds_hf.prove.segmenters.training import Training
from sds_hf.scores.boundary import Boundary

EVALUATION = {"seen": DEMO_SETS, "unseen": (HELD_OUT_SET,)}
EVALUATION_ROWS = 400
RANKED = ("clip_sim", "asf_miou", "boundary")
GROUPS = ("num_classes_present", "classes_present")
CURVE, CURVE_SEEDS = (100, 200, 400, 800), 1  # steps of the full set, to see where it stops to gain
SIZES = (0.15, 0.375, 0.5, 0.75)  # of the candidates; the paper has 15, 26, 30 and 40 of 40 thousand
RATE = 1.2e-2  # of few steps: three times that of the default of 600
QUANTILES = ["rules.0.threshold.above=q0.2", "rules.1.threshold.above=q0.1"]


def make_sets(work: Path, rows: int) -> None:
    """Candidates, half of them with a defect, and clean evaluation sets, as dataset folders."""
    for name, artwork in EVALUATION.items():
        if not (work / name).exists():
            clean = demo_rows(EVALUATION_ROWS, seed=99, artwork=artwork, defective=0.0)
            write_data_folder(clean, demo_features(), work / name)
    if not (work / "pool").exists():
        write_data_folder(demo_rows(rows, seed=11), demo_features(), work / "pool")


def with_worst_rank(table: ScoreTable, path: Path) -> Path:
    """The scores and the lowest of three ranks, each in [0, 1], 1 the best; 0 where a score is null."""
    scores = table.to_arrow()
    worst = np.ones(len(scores))
    for name in RANKED:
        values = np.nan_to_num(scores[name].to_numpy(), nan=-np.inf)
        worst = np.minimum(worst, np.argsort(np.argsort(values, kind="stable"), kind="stable") / (len(values) - 1))
    pq.write_table(scores.append_column("worst_rank", pa.array(worst, pa.float32())), path)
    return path


def recipes(size: int) -> list[Recipe]:
    """The paper's rules with quantiles as bounds, the worst rank, and each score alone, all of one size."""
    paper = Recipe.load("sds-paper", QUANTILES)
    plus = Recipe(name="sds-plus", rules=[TopPerGroup(column="worst_rank", by=GROUPS, target=size)])
    alone = [
        Recipe(name=column, rules=[TopK(column=column, target=size)])
        for column in ("clip_sim", "pcs", "asf_miou", "boundary")
    ]
    return [paper, plus, *alone]


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--stride", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--alone-seeds", type=int, default=5)
    parser.add_argument("--size-seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    work, here = arguments.work, Path(__file__).parent
    work.mkdir(exist_ok=True)
    make_sets(work, arguments.rows)
    pool, evaluation = open_dataset(work / "pool"), {name: open_dataset(work / name) for name in EVALUATION}
    scores = [PCS(model="demo"), ASF(model="demo", reference="maskclip", refine="affinity"), Boundary()]
    table = score_table(pool, scores, work / "scores", rows_per_shard=500, source=str(work / "pool"))
    ranked = with_worst_rank(table, work / "ranked.parquet")

    size = len(select(ranked, Recipe.load("sds-paper", QUANTILES)).kept_rows())
    training = Training(learning_rate=RATE)
    settings = {
        "steps": arguments.steps,
        "stride": arguments.stride,
        "training": training,
        "source": "demo scenes, seed 11",
    }
    paper_and_plus, alone = recipes(size)[:2], recipes(size)
    for name, chosen, shares, seeds, regimes in (
        ("prove", paper_and_plus, (), arguments.seeds, ("steps", "epochs")),
        ("prove_alone", alone, (), arguments.alone_seeds, ("steps",)),
        ("prove_sizes", paper_and_plus, SIZES, arguments.size_seeds, ("steps",)),
    ):
        experiment = Experiment(
            pool, str(ranked), evaluation, work / "proof", recipes=chosen, sizes=shares, seeds=seeds, regimes=regimes,
            **settings,
        )  # fmt: skip
        write_proof(experiment.run(watcher(kind="json")), work / name)
        for source, suffix in (("results.json", "json"), ("report.md", "md"), ("proof.png", "png")):
            shutil.copyfile(work / name / source, here / f"{name}.{suffix}")
        print(json.dumps({"wrote": name}), flush=True)
    settings.pop("steps")
    curve = learning_curve(pool, str(ranked), evaluation, work / "proof", **settings)
    write_whole(here / "prove_curve.json", json.dumps(curve, indent=1) + "\n")


def learning_curve(*sets: Any, **settings: Any) -> dict[str, Any]:
    """mIoU of the full set by number of steps, each a training of its own: whether it is under-trained."""
    curve = {}
    for steps in CURVE:
        experiment = Experiment(
            *sets, recipes=[], truth=None, seeds=CURVE_SEEDS, steps=steps, regimes=["steps"], **settings
        )
        proof = experiment.run(watcher(kind="json"))
        curve[str(steps)] = {
            score.evaluation: [round(value, 2) for value in score.miou.values] for score in proof.scores
        }
    return curve


if __name__ == "__main__":
    main()
