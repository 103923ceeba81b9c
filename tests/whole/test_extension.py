"""What other packages add by entry points: a score, a source, a rule and a format, as the examples show it."""

import ast
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from support.paths import ROOT

import sds_hf

EXAMPLES = {  # by group of entry points: name, and file
    "scores": ("coverage", ROOT / "examples" / "custom_score.py"),
    "sources": ("pairs", ROOT / "examples" / "custom_source.py"),
    "rules": ("crowded", ROOT / "examples" / "custom_rule.py"),
    "exports": ("arrays", ROOT / "examples" / "custom_format.py"),
}
JOB = """
import sys
from sds_hf.cli import main
raw, out = sys.argv[1:]
for command in (
    ["import", "auto", raw, "--labels", "voc", "--out", out + "/data"],
    ["score", out + "/data", "--scores", "coverage", "--out", out + "/scores"],
    ["select", out + "/scores", "--rule", "crowded: {most: 1}", "--out", out + "/selection"],
    ["export", out + "/data", "arrays", "--selection", out + "/selection", "--out", out + "/arrays"],
):
    if code := main(command):
        sys.exit(code)
"""


@pytest.mark.parametrize(("name", "file"), EXAMPLES.values(), ids=EXAMPLES)
def test_the_examples_are_short_and_import_public_names_only(name, file):
    text = file.read_text(encoding="utf-8")
    assert name in text
    assert len(text.splitlines()) < 40
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in imports if node.module.split(".")[0] == "sds_hf"]
    assert {node.module for node in ours} == {"sds_hf"}
    assert {alias.name for node in ours for alias in node.names} <= set(sds_hf.__all__)


def test_all_four_together(tmp_path):
    site, raw = tmp_path / "site-packages", tmp_path / "street"
    about = site / "more-1.0.dist-info"
    for folder in (about, raw):
        folder.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: more\nVersion: 1.0\n", encoding="utf-8")
    points = [f"[sds_hf.{group}]\n{name} = {file.stem}\n" for group, (name, file) in EXAMPLES.items()]
    (about / "entry_points.txt").write_text("".join(points), encoding="utf-8")
    for _, file in EXAMPLES.values():
        (site / file.name).write_bytes(file.read_bytes())
    for name, classes in (("one", [0, 1]), ("two", [1, 2])):
        mask = np.array(classes, np.uint8)[np.arange(8) // 4][None].repeat(8, 0)
        Image.fromarray(mask).save(raw / f"{name}_label.png")
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(raw / f"{name}_rgb.jpg")
    path = os.pathsep.join([str(site), str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    command = [sys.executable, "-c", JOB, str(raw), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "arrays").iterdir()} == {"one.jpg", "one.npz"}
    assert np.load(tmp_path / "arrays" / "one.npz")["mask"][0].tolist() == [0] * 4 + [1] * 4
    report = json.loads((tmp_path / "selection" / "report.json").read_text(encoding="utf-8"))
    assert report["reasons"] == {"dropped:crowded": 1, "kept:all_rules": 1}
