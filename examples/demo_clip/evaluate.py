"""Measure the demo CLIP on scenes it has not seen, with the scores of the package, and print the table of its card.

    python examples/demo_clip/evaluate.py

Zero-shot accuracy is over all classes of PASCAL VOC; AUROC says how well a score tells clean scenes from scenes with
one kind of defect (0.5: not at all, 1: always).
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, disable_progress_bars

from sds_hf import ASF, PCS, Score, add_scores
from sds_hf.clip.encoder import load
from sds_hf.data.labels import VOC
from sds_hf.demo.artwork import DEMO_SETS, HELD_OUT_SET, by_concept
from sds_hf.demo.dataset import SIDE, demo_features, scene_row
from sds_hf.demo.defects import DEFECTS, IMAGE_DEFECTS, MASK_DEFECTS
from sds_hf.demo.scenes import CLASSES, Scene, draw_scene

MODEL = Path(__file__).parents[2] / "sds_hf" / "demo" / "clip"
SEED = 30_000_000  # far from the seeds of demo and training scenes
KINDS = ("maskclip", "clip-es")
GOALS = {
    "zero-shot, artwork seen in training": 0.9,
    "zero-shot, artwork held out": 0.75,
    "mean clip_sim, one object": 0.8,
    "clip_sim: wrong_object": 0.95,
    "clip_sim: blank": 0.99,
    "asf_miou: swapped_mask": 0.98,
    "asf_miou: wrong_class": 0.95,
    "asf_miou: shifted_mask": 0.85,
}
CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: zero-shot-image-classification
---

# The demo CLIP of sds-hf

A CLIP of {parameters:.1f} M parameters ({side}x{side} pixels) that knows the emoji scenes of `sds-hf demo` and nothing
else: it lets the whole pipeline run in seconds, offline, on a CPU. It is no model for photographs.

Trained by `examples/demo_clip/train.py` on {samples:,} views of {scenes:,} scenes drawn from openly licensed artwork
(NOTICE of the package lists authors and licences), and measured by `examples/demo_clip/evaluate.py` on {count} new
scenes of each kind:

{table}

AUROC is against clean scenes; of `asf_miou` without a kind it is that of the better of the two. The similarity S is the
probability of the annotated classes against the background prompts of CLIP-ES, as in the default settings of the
package.
"""

Measures = dict[str, float]


def scenes(count: int, stream: int) -> list[Scene]:
    """Scenes as the demo draws them."""
    return [draw_scene(np.random.default_rng([SEED, stream, index]), SIDE, DEMO_SETS) for index in range(count)]


def single_objects(count: int, sets: tuple[str, ...]) -> list[Scene]:
    """Scenes of one object and nothing else, all classes the artwork has alike."""
    classes = [name for name in CLASSES if name in by_concept(sets)]
    return [
        draw_scene(
            np.random.default_rng([SEED, 0, index]), SIDE, sets, classes=[classes[index % len(classes)]], distractors=0
        )
        for index in range(count)
    ]


def dataset(found: list[Scene]) -> Dataset:
    rows = [scene_row(str(index), scene) for index, scene in enumerate(found)]
    return Dataset.from_list(rows, features=demo_features())


def auroc(good: np.ndarray, bad: np.ndarray) -> float:
    """Probability that a good row scores above a bad one; nulls are left out."""
    good, bad = good[~np.isnan(good)], bad[~np.isnan(bad)]
    above, equal = good[:, None] > bad, good[:, None] == bad
    return float(above.mean() + equal.mean() / 2)


def zero_shot(model: str, found: list[Scene]) -> float:
    """Share of one-object scenes whose class, of the 20, is the nearest text."""
    encoder = load(model, torch.device("cpu"), torch.float32)
    texts = encoder.encode_texts(VOC.texts()[: len(CLASSES)])
    images = encoder.encode_images(encoder.preprocess([scene.image for scene in found]))
    predicted = (images @ texts.T).argmax(1).tolist()
    return float(np.mean([VOC.names[1 + k] == scene.classes[0] for k, scene in zip(predicted, found, strict=True)]))


def measure(model: str, count: int) -> Measures:
    """Every number of the table; see `GOALS`."""
    seen, held_out = single_objects(count, DEMO_SETS), single_objects(count, (HELD_OUT_SET,))
    clean, others = scenes(count, 1), scenes(count, 2)

    def defective(name: str) -> list[Scene]:
        rngs = (np.random.default_rng([SEED, 3, index]) for index in range(count))
        return [DEFECTS[name](*each) for each in zip(rngs, clean, others, strict=True)]

    def scored(found: list[Scene], score: Score) -> dict[str, np.ndarray]:
        data = add_scores(dataset(found), score)
        return {name: np.array(data[name], float) for name in score.columns}

    pcs = PCS(model=model)
    good = scored(clean, pcs)
    measures = {
        "zero-shot, artwork seen in training": zero_shot(model, seen),
        "zero-shot, artwork held out": zero_shot(model, held_out),
        "mean clip_sim, one object": scored(seen, pcs)["clip_sim"].mean(),
        "mean clip_sim, one to four objects": good["clip_sim"].mean(),
        "clip_sim above 0.8, share of clean scenes": (good["clip_sim"] > 0.8).mean(),
        "pcs above 0.1, share of clean scenes": (good["pcs"] > 0.1).mean(),
    }
    for name in IMAGE_DEFECTS:
        bad = scored(defective(name), pcs)
        measures |= {f"{column}: {name}": auroc(good[column], bad[column]) for column in ("clip_sim", "pcs")}
    for kind in KINDS:
        asf = ASF(model=model, reference=kind)
        good = scored(clean, asf)
        measures[f"mean asf_miou ({kind}), clean scenes"] = float(np.nanmean(good["asf_miou"]))
        for name in MASK_DEFECTS:
            bad = scored(defective(name), asf)
            measures[f"asf_miou ({kind}): {name}"] = auroc(good["asf_miou"], bad["asf_miou"])
    best = {f"asf_miou: {name}": max(measures[f"asf_miou ({kind}): {name}"] for kind in KINDS) for name in MASK_DEFECTS}
    return measures | best


def table(measures: Measures) -> str:
    lines = ["| measure | value | goal |", "|---|---:|---:|"]
    for name, value in measures.items():
        goal = GOALS.get(name)
        verdict = "" if goal is None else f"{goal:g}" if value >= goal else f"{goal:g}, missed by {goal - value:.3f}"
        lines.append(f"| {name} | {value:.3f} | {verdict} |")
    return "\n".join(lines)


def report(model: Path, count: int, training: dict | None = None) -> str:
    """The table, also written into the model's card if it is known how the model was trained."""
    text = table(measure(str(model), count))
    if training is not None:
        parameters = sum(p.numel() for p in load(str(model), torch.device("cpu"), torch.float32).model.parameters())
        card = CARD.format(parameters=parameters / 1e6, side=SIDE, count=count, table=text, **training)
        (model / "README.md").write_text(card, encoding="utf-8")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--count", type=int, default=400, help="scenes of each kind")
    args = parser.parse_args()
    disable_progress_bars()
    started = time.time()
    print(report(args.model, args.count))
    print(f"{time.time() - started:.0f} s")


if __name__ == "__main__":
    main()
