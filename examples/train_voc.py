"""The paper's own setting: Tables 1 and 2 of SDS (Tang et al., AAAI 2025) on PASCAL VOC 2012 or COCO.

    sds-hf score gen_voc --recipe sds-paper --out scores
    python examples/train_voc.py gen_voc scores VOCdevkit/VOC2012 --out table
    accelerate launch examples/train_voc.py gen_coco scores coco --set coco --out table_coco

Trains a segmenter on all synthetic images, on what `sds-paper` keeps, on as many random ones, and with `--with-real`
on the real training images, and writes `table.md`: mIoU on the real validation images beside the paper's figures. The
networks, crop and schedule are those of Dataset Diffusion (Nguyen et al., NeurIPS 2023), whose sets the paper scores
and whose configurations are public: crops of 512 pixels, 16 a step, AdamW at 1e-4 and a tenth of it for the backbone,
polynomial decay over 20,000 steps (COCO 40,000), gradients cut at a norm of 0.01. VOC has 21 classes and 1,449
validation images, pixels of 255 do not count; real training images are the 10,582 of the list `train_aug` with the
masks of SBD.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from datasets import Dataset

from sds_hf import Recipe, prove_subset
from sds_hf.cli.progress import watcher
from sds_hf.data.opening import open_dataset
from sds_hf.files import write_whole
from sds_hf.prove.results.proof import Proof
from sds_hf.prove.segmenters.training import Training
from sds_hf.table.team import current_rank

# By set and segmenter: what the paper reports for all images, its selection and real images.
PAPER = {
    ("voc", "deeplabv3-r50"): (58.1, 60.4, 77.4),
    ("voc", "deeplabv3-r101"): (56.9, 59.1, 79.9),
    ("voc", "mask2former-r50"): (57.8, 59.8, 77.3),
    ("coco", "deeplabv3-r50"): (28.7, 31.0, 48.9),
    ("coco", "deeplabv3-r101"): (29.2, 31.8, 54.9),
}
SEGMENTERS = {
    "deeplabv3-r50": "deeplabv3:microsoft/resnet-50",
    "deeplabv3-r101": "deeplabv3:microsoft/resnet-101",
    "mask2former-r50": "mask2former:microsoft/resnet-50",
}
STEPS = {"voc": 20_000, "coco": 40_000}
VALIDATION = {"voc": ("val", 1449), "coco": ("val2017", 5000)}
REAL = {"voc": ("train_aug", 10_582), "coco": ("train2017", 118_287)}
TRAINING = Training(learning_rate=1e-4, weight_decay=1e-4, schedule="poly", backbone_rate=0.1, clip_norm=0.01)


def real_images(folder: Path, name: str, split: str, count: int, masks: str | None = None) -> Dataset:
    """A split of the real images; says so if it is not as large as the paper's."""
    options: dict[str, Any] = {"masks": masks} if masks else {}
    rows = open_dataset(folder, split, labels=name, **options)
    if len(rows) != count:
        print(f"note: {split} has {len(rows):,} images here, {count:,} in the paper")
    return rows


def table(set_name: str, segmenter: str, proof: Proof, real: Proof | None, recipe: str) -> str:
    """The reader's results beside the paper's, in the format of its Tables 1 and 2."""
    chosen = next(arm for arm in proof.arms if arm.kind == "recipe")
    rows = [("all synthetic images", "full", 0, proof), (recipe, chosen.name, 1, proof)]
    rows += [("random, as many", f"random {chosen.size:,}", None, proof)] if chosen.size < proof.arms[0].size else []
    rows += [("real images", "full", 2, real)] if real else []
    paper = PAPER.get((set_name, segmenter), (None, None, None))
    lines = [
        f"mIoU in percent on {set_name}, {segmenter}, {proof.settings['steps']:,} steps, "
        f"{proof.settings['seeds']} seeds; the paper gives single runs.",
        "",
        "| trained on | images | mIoU here | mIoU in the paper |",
        "|---|---:|---:|---:|",
    ]
    for title, arm, column, source in rows:
        score, size = source.score(arm), next(one.size for one in source.arms if one.name == arm)
        published = "" if column is None or paper[column] is None else f"{paper[column]}"
        lines.append(f"| {title} | {size:,} | {score.miou.mean:.1f} ± {score.miou.deviation:.1f} | {published} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("candidates", help="synthetic images and masks: a folder, e.g. Dataset Diffusion's gen_voc")
    parser.add_argument("scores", help="their score table")
    parser.add_argument("real", type=Path, help="VOCdevkit/VOC2012, or COCO's folder with val2017 and masks")
    parser.add_argument("--set", dest="name", choices=STEPS, default="voc")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--segmenter", default="deeplabv3-r50", help=f"{', '.join(SEGMENTERS)}, or as for sds-hf prove")
    parser.add_argument("--recipe", default="sds-paper")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--side", type=int, default=512, help="of the crops in pixels")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--with-real", action="store_true", help="train on the real images too")
    parser.add_argument("--real-masks", help="folder of the masks of train_aug; default SegmentationClassAug for VOC")
    arguments = parser.parse_args(argv)
    validation = real_images(arguments.real, arguments.name, *VALIDATION[arguments.name])
    settings = {
        "depth": "full", "model": SEGMENTERS.get(arguments.segmenter, arguments.segmenter), "seeds": arguments.seeds,
        "steps": arguments.steps or STEPS[arguments.name], "regimes": ["steps"], "side": arguments.side, "truth": None,
        "training": Training(**{**vars(TRAINING), "batch_size": arguments.batch_size}),
        "watch": watcher(kind=None if current_rank().index == 0 else "none"),
    }  # fmt: skip
    candidates = open_dataset(arguments.candidates, labels=arguments.name)
    recipe = Recipe.load(arguments.recipe)
    proof = prove_subset(
        candidates, arguments.scores, validation, arguments.out / "synthetic", recipes=[recipe], **settings
    )
    real = None
    if arguments.with_real:
        masks = arguments.real_masks or ("SegmentationClassAug" if arguments.name == "voc" else None)
        rows = real_images(arguments.real, arguments.name, *REAL[arguments.name], masks)
        ids = Dataset.from_dict({"id": [str(name) for name in rows["id"]]})
        real = prove_subset(rows, ids, validation, arguments.out / "real", recipes=[], **settings)
    if current_rank().index == 0:
        text = table(arguments.name, arguments.segmenter, proof, real, recipe.name)
        write_whole(arguments.out / "table.md", text)
        print(text)
        print(json.dumps({"wrote": str(arguments.out / "table.md")}))


if __name__ == "__main__":
    main()
