"""README's example on real output of Dataset Diffusion: 12 pairs, from the raw folder to a published one."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Image, load_dataset
from support.models import make_clip
from support.paths import DEMO_CLIP, ROOT, SHARED

from sds_hf.data.images import decode_mask
from sds_hf.data.labels import COCO

SAMPLES = SHARED / "samples" / "dataset_diffusion_coco"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not SAMPLES.is_dir(), reason="real samples are not at hand")]


def readme_commands() -> list[list[str]]:
    """The commands README shows for Dataset Diffusion, in words, without `sds-hf`."""
    text = (ROOT / "README.md").read_text().replace("\\\n", " ")
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    block = next(block for block in blocks if "sds-hf import dataset-diffusion" in block)
    return [shlex.split(line)[1:] for line in block.splitlines() if line.startswith("sds-hf ")]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """The packaged CLIP, or a random one while there is none."""
    if (DEMO_CLIP / "model.safetensors").exists():
        return "demo"
    return str(make_clip(tmp_path_factory.mktemp("clip"), image_size=64, patch=16))


@pytest.fixture(scope="module")
def work(model, tmp_path_factory) -> Path:
    """The folder in which README's commands ran, on samples of COCO and with a model that is at hand."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "gen_voc").symlink_to(SAMPLES)
    commands = readme_commands()
    assert [command[0] for command in commands] == ["import", "score", "select", "publish"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    for command in commands:
        if "--labels" in command:
            command[command.index("--labels") + 1] = "coco"
        if command[0] == "score":
            command += ["--model", model]
        ran = subprocess.run(
            [sys.executable, "-m", "sds_hf", *command],
            cwd=folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, f"{shlex.join(command)}\n{ran.stderr}"
    return folder


@pytest.fixture(scope="module")
def selection(work) -> list[dict]:
    """Rows of the selection with their scores."""
    tables = [pq.read_table(path).to_pylist() for path in sorted((work / "scores").glob("*.parquet"))]
    scores = {row["id"]: row for table in tables for row in table}
    chosen = pq.read_table(work / "selection" / "selection.parquet").to_pylist()
    assert [row["id"] for row in chosen] == list(scores)
    return [scores[row["id"]] | row for row in chosen]


def test_masks_are_read_in_the_ids_that_fit_the_prompts(work):
    rows = load_dataset(str(work / "candidates"), split="train")
    names = rows.features["classes"].feature
    assert {row["id"]: names.int2str(row["classes"]) for row in rows} == {
        "1": ["banana"], "2": ["boat"], "3": ["horse"], "4": ["mouse"], "5": ["keyboard"], "6": ["orange"],
        "8": ["remote"], "9": ["apple"], "10": ["person", "airplane"], "11": ["person", "suitcase"], "13": ["fork"],
        "000000058694": ["person", "donut"],
    }  # fmt: skip


def test_every_row_is_scored(selection):
    assert [row["status"] for row in selection] == ["ok"] * 12
    for name in ("clip_sim", "clip_sim_mixed", "asf_miou"):
        assert all(0 <= row[name] <= 1 for row in selection)
    for row in selection:
        assert row["pcs"] == pytest.approx(row["clip_sim"] - row["clip_sim_mixed"], abs=1e-5)
        assert row["num_classes_present"] == len(row["classes_present"])
    assert len({row["clip_sim"] for row in selection}) > 6


def test_quantiles_drop_the_lowest_scores(selection):
    low = [row for row in selection if row["reason"] == "dropped:clip_sim"]
    rest = [row for row in selection if row not in low]
    assert len(low) >= 3  # a fifth of 12, and the row on the bound
    assert max(row["clip_sim"] for row in low) < min(row["clip_sim"] for row in rest)
    assert 1 <= sum(row["kept"] for row in selection) <= 9
    assert all(row["reason"].startswith("kept:" if row["kept"] else "dropped:") for row in selection)


def test_the_published_folder_loads_without_us(work, selection):
    publish = readme_commands()[-1]
    folder = work / publish[publish.index("--folder") + 1]
    kept = [row["id"] for row in selection if row["kept"]]
    rows = load_dataset(str(folder), split="train")
    assert rows["id"] == kept
    assert rows.features["classes"].feature.names == list(COCO.names)
    undecoded = rows.cast_column("image", Image(decode=False))
    for row, cell in zip(rows, undecoded["image"], strict=True):
        assert cell["bytes"] == (SAMPLES / "image" / f"{row['id']}.jpg").read_bytes()
        raw, mask = decode_mask(SAMPLES / "mask" / f"{row['id']}.png"), np.asarray(row["mask"])
        np.testing.assert_array_equal(mask == 255, raw == 255)
        for index in row["classes"]:
            np.testing.assert_array_equal(mask == index, raw == COCO.original_ids[index])
    everything = load_dataset(str(folder), "scores", split="train")
    assert sorted(everything["id"]) == sorted(row["id"] for row in selection)
    card = (folder / "README.md").read_text()
    assert "load_dataset" in card
    assert "banana" in card
