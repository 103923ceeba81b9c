"""Files, names and output are UTF-8 whatever the locale says."""

import os
import subprocess
import sys

import pytest

LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
# Writes and reads all of the files that a person sees, in the encoding of the locale where none is named.
LIBRARY = """
import sys
from pathlib import Path
from datasets import load_from_disk
from sds_hf import PCS, Recipe, Threshold, load, publish, score_table, select, verify
from sds_hf.publishing.repository import renew_card
rows, clip, out = load_from_disk(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
title = "K\\u00fche \\U0001f404"
recipe = Recipe(name="x", rules=[Threshold(column="pcs", above="q0.2")], publish={"license": "mit", "title": title})
table = score_table(rows, [PCS(model=clip, dtype="fp32", scales=(3,), orders=1)], out / "scores")
publish(rows, select(table, recipe, out=out / "selection"), recipe, scores=table, folder=out / "published")
assert not renew_card(out / "published", check=True).changed
assert verify(out / "published").ok
print(len(load(out / "published")))
"""


@pytest.mark.slow
def test_the_library(dataset, tiny_clip, tmp_path):
    dataset.save_to_disk(tmp_path / "rows")
    command = [sys.executable, "-c", LIBRARY, str(tmp_path / "rows"), tiny_clip, str(tmp_path)]
    done = subprocess.run(command, env=os.environ | LOCALE, capture_output=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, b"9"), done.stderr.decode()
    assert "K\u00fche \U0001f404" in (tmp_path / "published" / "README.md").read_text(encoding="utf-8")


def test_the_command_line(stored, tmp_path):
    """Scores need no model here: only the mask is read."""
    name = tmp_path / "K\u00fche \U0001f404"
    for command in (
        ["score", str(stored), "--scores", "classes_present", "--out", str(name)],
        ["select", str(name), "--rule", "random: {fraction: 0.5}", "--out", f"{name}2"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "sds_hf", *command], env=os.environ | LOCALE, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        assert "K\u00fche \U0001f404" in done.stdout.decode()
