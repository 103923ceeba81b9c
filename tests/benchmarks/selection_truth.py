"""What every score and recipe of the package sees of known defects: the benchmark of selectors.

python tests/benchmarks/selection_truth.py --rows 5000 --held-out 1000 --few 500 --photos FOLDER \
    --out tests/benchmarks/selection_truth.json --picture docs/pictures/selection_truth.png

(a) demo scenes, (b) demo scenes of artwork that no model was trained on and no recipe chosen with, (c) the photographs
of FOLDER (`image/*.jpg`, `mask/*.png` with COCO's panoptic ids; things count) with spoilt masks, left out where there
is no such folder. Settings that need passes of their own are computed for the first FEW rows of (a). Tables are kept in
WORK and used again. Nothing in the result depends on the time or the machine's load: two runs write the same bytes.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, disable_progress_bars
from PIL import Image

from sds_hf import Recipe, select
from sds_hf.data.folder import row_features, write_data_folder
from sds_hf.data.images import encode_mask
from sds_hf.data.labels import COCO
from sds_hf.data.opening import open_dataset
from sds_hf.demo.artwork import DEMO_SETS, HELD_OUT_SET
from sds_hf.demo.dataset import demo_features, demo_rows
from sds_hf.prove.defects import MASK_DEFECTS
from sds_hf.prove.defects_copy import inject_defects
from sds_hf.prove.judge import Judgement, judge
from sds_hf.prove.judge_keeps import keeps_of
from sds_hf.prove.judge_orders import kept_by
from sds_hf.prove.judge_texts import draw
from sds_hf.scores.base.catalog import score_classes
from sds_hf.scores.base.presets import field_names
from sds_hf.scores.base.score import Score
from sds_hf.selection.rules import make_rule
from sds_hf.table.score_table import ScoreTable, score_table

SEEDS = {"seen": 11, "held_out": 32}
DRAWS = 200
BY = ["num_classes_present", "classes_present"]
MAIN = {"pcs": {}, "asf_miou": {"reference": "maskclip", "refine": "affinity"}, "boundary": {}}
LIGHT = {"difficulty": {}, "diversity": {}, "tfdp": {}, "prompt_mismatch": {}, "duplicates": {}}
# What SDS keeps where bounds are quantiles: the paper's numbers are for another CLIP.
QUANTILES = [
    {"threshold": {"column": "clip_sim", "above": "q0.2"}},
    {"threshold": {"column": "pcs", "above": "q0.1"}},
    {"top_per_group": {"column": "asf_miou", "by": BY, "fraction": 0.6}},
]
FEW_RECIPES = ("sds-paper", "sds-cosine", "sds-clipscore", "sds-authors", "difficulty-medium", "tfdp")


def scenes(kind: str, rows: int, work: Path) -> Dataset:
    """Demo scenes in a folder, drawn once."""
    folder = work / f"{kind}-{rows}"
    if not folder.exists():
        artwork = DEMO_SETS if kind == "seen" else (HELD_OUT_SET,)
        write_data_folder(demo_rows(rows, seed=SEEDS[kind], artwork=artwork), demo_features(), folder)
    return open_dataset(folder)


def photos(folder: Path, work: Path) -> Dataset:
    """Photographs and copies with every kind of spoilt mask."""
    out = work / "photos"
    if not out.exists():
        index = np.zeros(256, np.uint8)
        index[list(COCO.original_ids)] = np.arange(len(COCO.names))
        index[0] = 0
        rows = []
        for path in sorted((folder / "image").glob("*.jpg")):
            mask = index[np.asarray(Image.open(folder / "mask" / f"{path.stem}.png"))]
            cells = {
                "image": {"bytes": path.read_bytes(), "path": None},
                "mask": {"bytes": encode_mask(mask), "path": None},
            }
            classes = [int(value) for value in np.unique(mask) if value]
            rows.append({"id": path.stem, **cells, "caption": None, "classes": classes, "class_prompt": None})
        trusted = Dataset.from_list(rows, features=row_features(COCO))
        inject_defects(trusted, out, copies=len(MASK_DEFECTS), kinds=list(MASK_DEFECTS))
    return open_dataset(out)


def scores_of(settings: dict[str, dict[str, Any]]) -> list[Score]:
    """Scores of the demo CLIP, where they ask one."""
    classes = score_classes()
    return [
        classes[name](**{**({"model": "demo"} if "model" in field_names(classes[name]) else {}), **own})
        for name, own in settings.items()
    ]


def scored(dataset: Dataset, scores: Sequence[Score], folder: Path) -> ScoreTable:
    """The table of scores, made once."""
    return score_table(dataset, scores, folder, rows_per_shard=100 if len(dataset) <= 1000 else 500)


def quantile_recipe(folder: Path) -> Path:
    """The paper's rules with quantiles as bounds, as a recipe file."""
    path = folder / "sds-quantiles.yaml"
    path.write_text(json.dumps({"name": "sds-quantiles", "rules": QUANTILES}), encoding="utf-8")
    return path


def plain(judgement: Judgement) -> dict[str, Any]:
    """A judgement as the result has it: rounded, an entry a score or recipe."""
    return {
        "rows": judgement.rows, "clean": judgement.clean, "defects": judgement.defects, "size": judgement.size,
        "size_of": judgement.size_of, "not_judged": judgement.not_judged,
        "sights": {
            one.name: {
                "kind": one.kind, "auroc": {kind: value[0] for kind, value in one.auroc.items()},
                "any_95": one.auroc["any"][1:], "kept": one.kept, "clean_of_kept": one.precision[0],
                "clean_95": one.precision[1:], "own_kept": one.own_kept, "own_clean": one.own_precision,
                "least_class": min(one.classes.values(), default=None), "classes": one.classes,
                **({"by_strength": one.by_strength} if one.by_strength else {}),
            }
            for one in judgement.sights
        },
    }  # fmt: skip


def judged_scenes(dataset: Dataset, table: ScoreTable, scratch: Path) -> tuple[Judgement, dict[str, float]]:
    """Scores and recipes at the size of SDS with quantiles; and clean shares at the size of the paper's own bounds."""
    recipes = ["demo", quantile_recipe(scratch), "sds-plus"]
    ranks = ["clip_sim", "asf_miou", "boundary"]
    rules = [make_rule(0, {kind: {"columns": ranks, "fraction": 0.5}}) for kind in ("worst_rank", "rank_mean")]
    size = kept_by(table.folder, Recipe.load(recipes[1]).rules, len(dataset)).sum()
    judgement = judge(table, dataset=dataset, recipes=recipes, rules=rules, size=int(size), draws=DRAWS)
    truth = dataset.with_format(None)["defect"]
    smaller = keeps_of(table, truth, {name: Recipe.load(name).rules for name in ("demo", "sds-plus")})
    return judgement, {"kept": smaller.size, **smaller.clean}


def ablations(table: ScoreTable, defects: np.ndarray) -> dict[str, dict[str, float]]:
    """The paper's ablations: what is kept, and its clean share, without a module, with other groups and fractions."""
    sim, pcs, asf = QUANTILES
    worst = {"worst_rank": ["clip_sim", "asf_miou", "boundary"]}
    rules: dict[str, list[Any]] = {
        "similarity alone": [sim], "perturbation alone": [pcs], "masks alone": [asf],
        "similarity and perturbation": [sim, pcs], "similarity and masks": [sim, asf],
        "perturbation and masks": [pcs, asf], "all three": QUANTILES,
        "groups: none": [sim, pcs, {"top_k": {"column": "asf_miou", "fraction": 0.6}}],
        "groups: number of classes": [sim, pcs, _grouped(["num_classes_present"], 0.6)],
        "groups: classes": [sim, pcs, _grouped(["classes_present"], 0.6)],
        **{f"fraction {share}": [sim, pcs, _grouped(BY, share)] for share in (0.3, 0.4, 0.5, 0.7, 0.8)},
        **{f"sds-plus, fraction {share}": [{"top_per_group": {**worst, "by": BY, "fraction": share}}]
           for share in (0.2, 0.3, 0.4, 0.5, 0.6)},
    }  # fmt: skip
    shares = {}
    for name, entries in rules.items():
        kept = select(table, [make_rule(index, entry) for index, entry in enumerate(entries)]).kept_rows()
        shares[name] = {"kept": len(kept), "clean": round(float((defects[kept] == "none").mean()), 4)}
    return shares


def _grouped(by: list[str], fraction: float) -> dict[str, Any]:
    return {"top_per_group": {"column": "asf_miou", "by": by, "fraction": fraction}}


def few(dataset: Dataset, work: Path) -> dict[str, Any]:
    """Recipes with settings of their own, and scores that read little, on the first rows of the scenes."""
    shares = {}
    for name in FEW_RECIPES:
        recipe = Recipe.load(name, ["model=demo"] if Recipe.load(name).model else [])
        table = scored(dataset, recipe.make_scores(), work / f"few-{len(dataset)}-{name}")
        shares[name] = plain(judge(table, dataset=dataset, recipes=[name], draws=DRAWS))
    for scale in (8, 16, 32):
        table = scored(dataset, scores_of({"pcs": {"scales": [scale]}}), work / f"few-{len(dataset)}-scale-{scale}")
        shares[f"pcs, scale {scale}"] = plain(judge(table, dataset=dataset, recipes=(), draws=DRAWS))
    for name, own in {**LIGHT, "asf_miou": {"refine": "affinity"}}.items():
        table = scored(dataset, scores_of({name: own}), work / f"few-{len(dataset)}-{name}")
        shares[name] = plain(judge(table, dataset=dataset, recipes=(), draws=DRAWS))
    return shares


def distribution(table: ScoreTable, defects: np.ndarray) -> dict[str, list[float]]:
    """Quantiles (5, 25, 50, 75, 95 %) of PCS of good images and of each kind of bad one.

    The paper's Figure 6 compares real images with synthetic ones; that needs a CLIP that knows photographs.
    """
    values, shares = table.to_arrow()["pcs"].to_numpy(), (0.05, 0.25, 0.5, 0.75, 0.95)
    kinds = {kind: np.nan_to_num(values[defects == kind], nan=0.0) for kind in sorted(set(defects.tolist()))}
    return {kind: [round(float(value), 4) for value in np.quantile(part, shares)] for kind, part in kinds.items()}


def main() -> None:
    """Draw, score, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--held-out", type=int, default=1000)
    parser.add_argument("--few", type=int, default=500)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    disable_progress_bars()
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        result: dict[str, Any] = {}
        for kind, rows in (("seen", options.rows), ("held_out", options.held_out)):
            dataset = scenes(kind, rows, work)
            table = scored(dataset, scores_of(MAIN), work / f"{kind}-{rows}-main")
            judgement, smaller = judged_scenes(dataset, table, Path(scratch))
            result[kind] = plain(judgement)
            result[f"{kind}, clean share at the size of demo"] = smaller
            if kind == "seen":
                defects = np.array([defect or "none" for defect in dataset.with_format(None)["defect"]])
                result["ablations"] = ablations(table, defects)
                result["pcs by defect"] = distribution(table, defects)
                if options.few:
                    result["few"] = few(dataset.select(range(options.few)), work)
                if options.picture:
                    draw(judgement, options.picture)
        if options.photos and options.photos.is_dir():
            dataset = photos(options.photos, work)
            table = scored(dataset, scores_of({"boundary": {}, "tfdp": {}, "diversity": {}}), work / "photos-scores")
            result["photos"] = plain(judge(table, dataset=dataset, recipes=["random", "tfdp"], size=0.2, draws=DRAWS))
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
