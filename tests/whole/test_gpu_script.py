"""The script for a GPU, dry: each of its parts runs here, at tiny size, so that none is tried first on a GPU."""

import json
import os
import re
import subprocess

import pytest
from support.paths import ROOT

PARTS = {"machine", "tests", "fused", "crf_boundary", "authors", "plain_loop", "end_to_end", "training"}


@pytest.mark.slow
def test_every_part_runs_on_a_cpu(tmp_path):
    command = ["bash", str(ROOT / "tests" / "benchmarks" / "gpu.sh"), str(tmp_path / "out")]
    env = os.environ | {"DEVICE": "cpu", "SIZE": "tiny"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert {name: run["exit"] for name, run in result["runs"].items()} == dict.fromkeys(PARTS, 0), done.stdout[-5000:]
    assert result["machine"]["device"] == "cpu"
    assert not any(re.search(r"\b[1-9]\d* (skipped|failed)", line) for line in result["tests"])
    assert result["fused"]["scores"].keys() == {"clip_sim", "pcs", "asf_miou", "together"}
    assert {"asf_miou", "boundary"} <= result["crf_boundary"]["scores"].keys()
    assert result["end_to_end"]["rows"] == 8
    assert result["plain_loop"]["fp32_times_faster"] > 0
    assert any("samples seen" in line for line in result["training"])
    assert {target["reached"] for target in result["targets"].values()} <= {True, False}
    assert {name: target["target"] for name, target in result["targets"].items()} == {
        "encoder_share_of_matmul_rate": 0.5, "pcs_rows_per_second_from_bytes": 800,
        "times_the_authors_code_one_class": 20, "times_the_authors_code_three_classes": 20,
    }  # fmt: skip
    assert (tmp_path / "out" / "demo_clip.tar").stat().st_size > 1e6
    assert "== training" in (tmp_path / "out" / "gpu.log").read_text()


def test_a_part_that_fails_is_null_and_the_others_stay(tmp_path):
    import runpy

    summary = runpy.run_path(str(ROOT / "tests" / "benchmarks" / "gpu_summary.py"))["summary"]
    (tmp_path / "fused.out").write_text('{"result": {"encoder": {"share": 0.6}}}')
    (tmp_path / "fused.exit").write_text('{"exit": 0, "seconds": 3}')
    (tmp_path / "authors.out").write_text('{"times_fas')
    (tmp_path / "authors.exit").write_text('{"exit": 124, "seconds": 40}')
    result = summary(tmp_path)
    assert result["authors"] is None
    assert result["runs"]["authors"] == {"exit": 124, "seconds": 40}
    assert result["runs"]["crf_boundary"] is None
    assert result["targets"]["encoder_share_of_matmul_rate"] == {"target": 0.5, "figure": 0.6, "reached": True}
    assert result["targets"]["times_the_authors_code_one_class"] == {"target": 20, "figure": None, "reached": None}
