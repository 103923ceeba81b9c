"""Scores of other packages: an entry point makes them known to the command line, recipes, cards and the contract."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

EXAMPLE = ROOT / "examples" / "custom_score.py"
RECIPE = """
name: well-covered
source: {dataset: SOURCE}
scores:
  coverage: {border: 4}
rules:
  - threshold: {column: coverage, above: q0.5}
"""


def installed(folder: Path, name: str, value: str) -> Path:
    """A folder of `site-packages` with a distribution that has an entry point."""
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[sds_hf.scores]\n{name} = {value}\n")
    return folder


def python(*args: object, plugins: Path) -> subprocess.CompletedProcess:
    paths = os.pathsep.join([str(ROOT), str(plugins), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    env = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run(
        [sys.executable, *map(str, args)], capture_output=True, text=True, env=env, cwd=ROOT, check=False
    )


@pytest.fixture(scope="module")
def plugins(tmp_path_factory) -> Path:
    """The example, installed."""
    folder = installed(tmp_path_factory.mktemp("site-packages"), "coverage", "custom_score")
    (folder / EXAMPLE.name).write_text(EXAMPLE.read_text())
    return folder


def test_the_example_is_short():
    assert len(EXAMPLE.read_text().splitlines()) < 30


@pytest.mark.slow
def test_command_line_recipe_and_card_know_it(plugins, stored, tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("SOURCE", str(stored)))
    code = """
import sys
from sds_hf.cli import main
sys.exit(main(["scores", "--json"]) or main(["run", sys.argv[1], "--out", sys.argv[2], "--quiet"]))
"""
    done = python("-c", code, tmp_path / "recipe.yaml", tmp_path / "out", plugins=plugins)
    assert done.returncode == 0, done.stderr
    (listed,) = (entry for entry in json.loads(done.stdout)["result"]["scores"] if entry["name"] == "coverage")
    assert listed == {
        "name": "coverage", "columns": {"coverage": "float"}, "optional_columns": {},
        "needs": ["mask"], "cost": "light", "whole_set": False,
        "meaning": "Share of the picture that shows a class.", "source": "an example", "module": "custom_score",
    }  # fmt: skip
    card = (tmp_path / "out" / "published" / "README.md").read_text()
    assert "Share of the picture that shows a class" in card
    assert "coverage > q0.5" in card
    manifest = json.loads((tmp_path / "out" / "scores" / "manifest.json").read_text())
    assert manifest["scores"][1] == {"score": "coverage", "version": 1, "labels": "voc", "border": 4}


@pytest.mark.slow
def test_it_passes_the_contract_of_ours(plugins):
    contract = ("tests/scores/test_score_contract.py", "-k", "coverage", "-o", "addopts=")
    done = python("-m", "pytest", *contract, plugins=plugins)
    assert done.returncode == 0, done.stdout
    assert "11 passed" in done.stdout


def test_a_broken_one_takes_nothing_else_away(tmp_path):
    done = python(
        "-c", "from sds_hf.scores.base.catalog import score_classes; print(*score_classes())",
        plugins=installed(tmp_path, "broken", "no_such_module:Score"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "pcs" in done.stdout.split()
    warning = "sds_hf.scores: 'broken' cannot be loaded from 'no_such_module:Score' of broken: No module named"
    assert warning in done.stderr
