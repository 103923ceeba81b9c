"""The demo's CLIP on other pictures than the demo's scenes: told by every command and by the card, once each."""

import json
import shutil

import pytest
from support.paths import DEMO_CLIP
from support.rows import random_dataset

from sds_hf.cli import main
from sds_hf.data.folder import write_data_folder
from sds_hf.data.labels import VOC
from sds_hf.demo.dataset import demo_features, demo_rows

KEEP_HALF = "top_k: {column: clip_sim, fraction: 0.5}"
SAID = "the demo's tiny CLIP scored these pictures"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of rows that the demo did not draw."""
    data = random_dataset(8)
    out = tmp_path_factory.mktemp("other") / "pictures"
    write_data_folder(data.with_format("arrow")[:].to_pylist(), data.features, out, origin={"reader": "folder"})
    return out


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "scenes"
    write_data_folder(demo_rows(8, labels=VOC), demo_features(), out, origin={"reader": "demo", "seed": 0})
    return out


def told(dataset, out, model, capsys, scores="clip_sim") -> tuple[list[int], str, dict]:
    """How often each command says it, the card, and the report."""
    column = scores.split(",")[0]
    commands = [
        ["score", dataset, "--scores", scores, "--model", model, "--out", out / "scores"],
        ["select", out / "scores", "--rule", KEEP_HALF.replace("clip_sim", column), "--out", out / "selection"],
        ["publish", dataset, out / "selection", "--scores", out / "scores", "--folder", out / "published"],
    ]
    counts = []
    for command in commands:
        capsys.readouterr()
        assert main([*map(str, command), "--json"]) == 0
        warnings = json.loads(capsys.readouterr().out)["warnings"]
        counts.append(sum(SAID in warning for warning in warnings))
    card = (out / "published" / "README.md").read_text(encoding="utf-8")
    return counts, card, json.loads((out / "published" / "report.json").read_text(encoding="utf-8"))


def limits(card: str) -> str:
    return card.split("## Known limits")[1].split("\n## ")[0]


@pytest.mark.parametrize("copied", [False, True])
def test_it_is_told_of_other_pictures(pictures, copied, tmp_path, capsys):
    """Wherever its weights lie."""
    model = shutil.copytree(DEMO_CLIP, tmp_path / "clip") if copied else "demo"
    counts, card, report = told(pictures, tmp_path, model, capsys)
    assert counts == [1, 1, 1]
    assert "\n- The demo's tiny CLIP scored these pictures" in limits(card)
    assert card.count(SAID[4:]) == 1
    assert len(report["provenance"]["limits"]) == 1


def test_nothing_is_told_of_its_scenes(scenes, tmp_path, capsys):
    counts, card, report = told(scenes, tmp_path, "demo", capsys)
    assert counts == [0, 0, 0]
    assert "tiny CLIP" not in card
    assert "limits" not in report["provenance"]


def test_nothing_is_told_of_other_models_and_of_none(pictures, tiny_clip, tmp_path, capsys):
    assert told(pictures, tmp_path / "tiny", tiny_clip, capsys)[0] == [0, 0, 0]
    assert told(pictures, tmp_path / "none", "demo", capsys, "boundary")[0] == [0, 0, 0]


def test_a_joined_table_tells_it_too(pictures, tmp_path):
    """In whichever of the tables it was told; in none, if nothing of the model is left."""
    for scores in ("boundary", "clip_sim"):
        command = ["score", pictures, "--scores", scores, "--model", "demo", "--out", tmp_path / scores, "--quiet"]
        assert main([*map(str, command)]) == 0
    for first, second in (("boundary", "clip_sim"), ("clip_sim", "boundary")):
        out = tmp_path / f"{first}-first"
        assert main(["join", str(tmp_path / first), str(tmp_path / second), "--out", str(out)]) == 0
        assert len(json.loads((out / "manifest.json").read_text(encoding="utf-8"))["limits"]) == 1
