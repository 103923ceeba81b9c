"""The paper's own setting as a file, on small drawn trees in the layouts of PASCAL VOC 2012 and COCO."""

import json
import runpy

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image
from support.paths import ROOT
from support.rows import random_row
from support.small_segmenters import tiny_resnet

from sds_hf.data.folder import row_features, write_data_folder
from sds_hf.data.images import encode_mask
from sds_hf.data.labels import COCO, VOC

SIDE = 64


def draw(folder, names, image_folder, mask_folder, first=1):
    """Pictures and masks of the same names, classes from the first on; a part of each mask is 255."""
    for index, name in enumerate(names):
        rng = np.random.default_rng(int(name.replace("_", "")))
        for part in (image_folder, mask_folder):
            (folder / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 52, 3), np.uint8)).save(folder / image_folder / f"{name}.jpg")
        mask = np.zeros((40, 52), np.uint8)
        mask[8:30, 10:30] = first + index
        mask[7] = 255
        (folder / mask_folder / f"{name}.png").write_bytes(encode_mask(mask))


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    root = tmp_path_factory.mktemp("voc") / "VOCdevkit" / "VOC2012"
    draw(root, [f"2007_{n:06d}" for n in range(3)], "JPEGImages", "SegmentationClass")
    draw(root, [f"2008_{n:06d}" for n in range(5)], "JPEGImages", "SegmentationClassAug")
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("".join(f"2007_{n:06d}\n" for n in range(3)), encoding="utf-8")
    # The list of SBD names images and masks by their paths.
    lines = [f"/JPEGImages/2008_{n:06d}.jpg /SegmentationClassAug/2008_{n:06d}.png\n" for n in range(5)]
    (lists / "train_aug.txt").write_text("".join(lines), encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    root = tmp_path_factory.mktemp("coco")
    # No category of COCO has the original id 12: these are ids from 1 to 80.
    draw(root, [f"{n:012d}" for n in range(1, 4)], "val2017", "masks/val2017", first=12)
    return root


def candidates(folder, labels):
    """Eight synthetic rows and their scores."""
    rows = [random_row(number) for number in range(8)]
    write_data_folder(rows, row_features(labels), folder / "candidates")
    scores = Dataset.from_dict({
        "id": [row["id"] for row in rows], "clip_sim": [0.9] * 8, "pcs": [0.2] * 8,
        "asf_miou": [number / 8 for number in range(8)], "num_classes_present": [1] * 8, "classes_present": [[1]] * 8,
    })  # fmt: skip
    scores.to_parquet(folder / "scores.parquet")
    return [str(folder / "candidates"), str(folder / "scores.parquet")]


def run(*arguments):
    runpy.run_path(str(ROOT / "examples" / "train_voc.py"))["main"]([str(argument) for argument in arguments])


def small(folder) -> list:
    return [
        "--segmenter",
        f"deeplabv3:{tiny_resnet(folder / 'resnet')}",
        "--steps",
        2,
        "--side",
        SIDE,
        "--batch-size",
        2,
    ]


def test_voc_with_real_images(voc, tmp_path, capsys):
    run(*candidates(tmp_path, VOC), voc, "--out", tmp_path / "out", "--with-real", *small(tmp_path))
    said = capsys.readouterr().out
    assert "val has 3 images here, 1,449 in the paper" in said
    assert "train_aug has 5 images here, 10,582 in the paper" in said
    table = (tmp_path / "out" / "table.md").read_text(encoding="utf-8").splitlines()
    rows = {line.split("|")[1].strip(): int(line.split("|")[2]) for line in table[4:]}
    assert rows == {"all synthetic images": 8, "sds-paper": 5, "random, as many": 5, "real images": 5}
    results = json.loads((tmp_path / "out" / "synthetic" / "results.json").read_text(encoding="utf-8"))
    assert len(results["classes"]) == 21
    assert {score["regime"] for score in results["scores"]} == {"steps"}
    training = results["settings"]["training"]
    assert (training["schedule"], training["learning_rate"], training["clip_norm"]) == ("poly", 1e-4, 0.01)
    # What is 255 counts for nothing: of 3 masks of 40 x 52, one line of 52 each.
    run_file = next((tmp_path / "out" / "synthetic" / "runs").glob("*.json"))
    counts = json.loads(run_file.read_text(encoding="utf-8"))["overlaps"]["evaluation"]
    assert sum(counts["labelled"]) == sum(counts["predicted"]) == 3 * (40 * 52 - 52)


def test_coco(coco, tmp_path, capsys):
    run(*candidates(tmp_path, COCO), coco, "--set", "coco", "--out", tmp_path / "out", *small(tmp_path))
    assert "val2017 has 3 images here, 5,000 in the paper" in capsys.readouterr().out
    table = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert "| all synthetic images | 8 |" in table
    results = json.loads((tmp_path / "out" / "synthetic" / "results.json").read_text(encoding="utf-8"))
    assert len(results["classes"]) == 81


def test_figures_of_the_paper_stand_beside():
    module = runpy.run_path(str(ROOT / "examples" / "train_voc.py"))
    assert module["PAPER"]["voc", "deeplabv3-r50"] == (58.1, 60.4, 77.4)
    assert module["STEPS"] == {"voc": 20_000, "coco": 40_000}
