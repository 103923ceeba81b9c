"""Make the cards of this folder from the demo: `python cards/make.py [NAME ...]`. Takes half a minute a card."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from sds_hf.pipeline import run_demo
from sds_hf.selection.recipe import Recipe

HERE = Path(__file__).resolve().parent
ROWS = 200
PARTS = ("README.md", "recipe.yaml", "report.json", "assets")
LABELS = {"sds-demo": "voc", "sds-voc": "voc", "sds-coco": "coco"}
# The real sets are made from generated images; these cards are made from demo scenes, and say so.
ABOUT = (
    "Not the real {title}: a reference for its card, made from the demo of sds-hf with the labels of {labels}. The "
    "images are scenes of emoji, about half of them with a known defect of the image or of the mask, scored by a tiny "
    "CLIP that knows such scenes only."
)
COCO_ABOUT = (
    " Of the classes of COCO they show the 20 that PASCAL VOC has too; whatever else is in them is background in the "
    "masks."
)
TEXTS = {
    "sds-voc": ("SDS-VOC", ABOUT.format(title="SDS-VOC", labels="PASCAL VOC")),
    "sds-coco": ("SDS-COCO", ABOUT.format(title="SDS-COCO", labels="COCO") + COCO_ABOUT),
}


def recipe_of(name: str) -> Recipe:
    """The demo's recipe with the title, text and folder of a card."""
    recipe = Recipe.load("demo")
    told: dict[str, str] = {"folder": name}
    if name in TEXTS:
        title, text = TEXTS[name]
        told |= {"title": f"{title}, reference card made from the demo", "description": text}
    return recipe.model_copy(update={"publish": recipe.publish.model_copy(update=told)})


def make(name: str, out: Path) -> None:
    """Run the demo for a card in the current folder and copy its parts, without the data, to `out`."""
    done = run_demo(ROWS, f"demo-{LABELS[name]}", labels=LABELS[name], recipe=recipe_of(name))
    out.mkdir(exist_ok=True)
    for part in PARTS:
        made, kept = Path(done.published.target) / part, out / part
        if made.is_dir():
            shutil.copytree(made, kept, dirs_exist_ok=True)
        else:
            shutil.copy(made, kept)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)  # so that the cards name folders by short paths
        for chosen in sys.argv[1:] or LABELS:
            make(chosen, HERE / chosen)
