"""Whether selections train a better segmenter, on demo scenes: every arm, two evaluation sets, ten seeds.

    python prove.py WORK [--rows 4000] [--steps 2000] [--seeds 10] [--size-seeds 5] [--parts prove alone]

Draws the scenes and scores them in the folder WORK, trains the probe of `sds-hf prove` on each arm, and writes here a
report, JSON and a picture of each part: `prove.*` (equal steps and equal epochs), `prove_alone.*` (each score alone),
`prove_sizes.*` (sizes as in the paper's Table 6), `prove_full.*` (a U-Net from scratch), and the full set by number of
steps, `prove_curve.json` and `prove_full_curve.json`. Run again, it goes on; run twice at once, the trainings are
shared. `seen` are clean scenes of the artwork the candidates are drawn from, `unseen` of artwork that neither the demo
CLIP nor the candidates have.
"""

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from sds_hf import ASF, PCS, Recipe, ScoreTable, TopK, score_table, select
from sds_hf.cli.progress import watcher
from sds_hf.data.folder import write_data_folder
from sds_hf.data.opening import open_dataset
from sds_hf.demo.artwork import DEMO_SETS, HELD_OUT_SET
from sds_hf.demo.dataset import demo_features, demo_rows
from sds_hf.files import write_whole
from sds_hf.prove.experiment import Experiment, write_proof
from sds_hf.prove.segmenters.training import Training
from sds_hf.scores.boundary import Boundary
from sds_hf.selection.rules import resized

EVALUATION = {"seen": DEMO_SETS, "unseen": (HELD_OUT_SET,)}
EVALUATION_ROWS = 400
ALONE = ("clip_sim", "pcs", "asf_miou", "boundary")
SIZES = (0.15, 0.375, 0.5, 0.75)  # of the candidates; the paper has 15, 26, 30 and 40 of 40 thousand
QUANTILES = ["rules.0.threshold.above=q0.2", "rules.1.threshold.above=q0.1"]
CURVE, CURVE_SEEDS = (250, 500, 1000, 2000, 4000, 8000), 3  # steps of the full set, to see where it stops to gain
# From scratch on two cores: small pictures, hardly scaled.
SCRATCH = {
    "depth": "full",
    "model": "unet",
    "side": 64,
    "scales": (0.9, 1.3),
    "training": Training(learning_rate=3e-3, weight_decay=1e-2),
}
SCRATCH_CURVE, SCRATCH_STEPS, SCRATCH_SEEDS = (1250, 2500, 5000, 10000), 5000, 3
CURVES: dict[str, tuple[Sequence[int], int, dict[str, Any]]] = {
    "curve": (CURVE, CURVE_SEEDS, {}),
    "full_curve": (SCRATCH_CURVE, 1, SCRATCH),
}
PARTS = ("prove", "alone", "sizes", "curve", "full_curve", "full")


def make_sets(work: Path, rows: int) -> None:
    """Candidates, half of them with a defect, and clean evaluation sets, as dataset folders."""
    for name, artwork in EVALUATION.items():
        if not (work / name).exists():
            clean = demo_rows(EVALUATION_ROWS, seed=99, artwork=artwork, defective=0.0)
            write_data_folder(clean, demo_features(), work / name)
    if not (work / "pool").exists():
        write_data_folder(demo_rows(rows, seed=11), demo_features(), work / "pool")


def recipes() -> list[Recipe]:
    """The paper's rules with quantiles as bounds, and ours with as many rows."""
    return [Recipe.load("sds-paper", QUANTILES), Recipe.load("sds-plus")]


def of_size(recipe: Recipe, size: int) -> Recipe:
    """A recipe that keeps so many rows."""
    return Recipe(name=recipe.name, rules=resized(recipe.rules, size))


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--size-seeds", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    work, here = arguments.work, Path(__file__).parent
    work.mkdir(exist_ok=True)
    make_sets(work, arguments.rows)
    pool, evaluation = open_dataset(work / "pool"), {name: open_dataset(work / name) for name in EVALUATION}
    scores = [PCS(model="demo"), ASF(model="demo", reference="maskclip", refine="affinity"), Boundary()]
    table = score_table(pool, scores, work / "scores", rows_per_shard=500, source=str(work / "pool"))

    paper, plus = recipes()
    size = len(select(table, paper).kept_rows())
    pair = [paper, of_size(plus, size)]
    alone = [Recipe(name=column, rules=[TopK(column=column, target=size)]) for column in ALONE]
    sets = (pool, table, evaluation, work / "proof")
    both, probe = ("steps", "epochs"), {"steps": arguments.steps, "source": "demo scenes, seed 11"}
    settings = {
        "prove": {**probe, "recipes": pair, "seeds": arguments.seeds, "regimes": both},
        "alone": {**probe, "recipes": [*pair, *alone], "seeds": arguments.seeds, "regimes": both},
        "sizes": {**probe, "recipes": pair, "seeds": arguments.size_seeds, "regimes": both, "sizes": SIZES},
        "full": {
            **probe,
            **SCRATCH,
            "steps": SCRATCH_STEPS,
            "recipes": pair,
            "truth": None,
            "seeds": SCRATCH_SEEDS,
            "regimes": both[:1],
        },
    }
    for part in arguments.parts:
        if part in CURVES:
            lengths, seeds, training = CURVES[part]
            curve = learning_curve(*sets, lengths, seeds, **training)
            write_whole(here / f"prove_{part}.json", json.dumps(curve, indent=1) + "\n")
            continue
        name = part if part == "prove" else f"prove_{part}"
        write_proof(Experiment(*sets, **settings[part]).run(watcher(kind="json")), work / name)
        for source, suffix in (("results.json", "json"), ("report.md", "md"), ("proof.png", "png")):
            shutil.copyfile(work / name / source, here / f"{name}.{suffix}")
        print(json.dumps({"wrote": name}), flush=True)


def learning_curve(
    pool: Dataset,
    table: ScoreTable,
    evaluation: Mapping[str, Dataset],
    out: Path,
    lengths: Sequence[int],
    seeds: int,
    **settings: Any,
) -> dict[str, dict[str, list[float]]]:
    """mIoU of the full set by number of steps and evaluation set, each a training of its own, by seed."""
    curve = {}
    settings |= {"recipes": [], "truth": None, "seeds": seeds, "regimes": ["steps"]}
    for steps in lengths:
        experiment = Experiment(pool, table, evaluation, out, steps=steps, **settings)
        proof = experiment.run(watcher(kind="json"))
        curve[str(steps)] = {one.evaluation: [round(value, 2) for value in one.miou.values] for one in proof.scores}
    return curve


if __name__ == "__main__":
    main()
