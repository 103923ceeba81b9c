"""The commands of the guides to clusters: each is run here, run elsewhere, or cannot be, with the reason."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

from sds_hf import ScoreTable

# What is marked `bash` in the guide is run by test_docs.py.
KINDS = {"docs": "text", "examples": "bash"}
BLOCKS = [
    block
    for folder, kind in KINDS.items()
    for block in re.findall(
        rf"^```{kind}\n(.*?)^```", (ROOT / folder / "cluster.md").read_text(encoding="utf-8"), re.M | re.S
    )
]
SBATCH = next(block for block in BLOCKS if block.startswith("#!"))
AFTER = "test_an_array_of_jobs_with_two_tasks_each_and_a_selection_after_it"
# Beginnings of commands that this file does not run, and what does, or why nothing can.
ELSEWHERE = {
    "torchrun ": "tests/table/test_team.py::test_the_command_under_a_launcher",
    "accelerate launch ": "tests/table/test_team.py::test_the_command_under_a_launcher",
    "sds-hf score user/raw --engine jobs": "tests/hub_jobs/test_hub_jobs.py::test_the_command_scores",
    "sds-hf select hf://buckets/": "tests/hub_jobs/test_hub_jobs.py::test_the_command_scores",
    "RAY_ADDRESS=auto sds-hf score": "tests/table/test_ray.py::test_source_and_table_in_an_object_store",
    "ray start ": "needs several machines; the tests' cluster is of one",
    "pip install ": "needs a network",
    "array=$(sbatch ": f"tests/whole/test_slurm.py::{AFTER}",
    "sbatch ": f"tests/whole/test_slurm.py::{AFTER}",
}
SRUN = """#!/bin/bash
# What `srun` does, on this machine: so many processes, each with its variables.
while [[ $1 == --* ]]; do shift 2; done
export SLURM_STEP_NUM_TASKS=$SLURM_NTASKS
for ((task = 0; task < SLURM_NTASKS; task++)); do
  SLURM_PROCID=$task SLURM_LOCALID=$task "$@" &
  processes+=($!)
done
for process in "${processes[@]}"; do wait "$process" || exit 1; done
"""


def commands() -> list[str]:
    lines = [line.partition("  #")[0].strip() for block in BLOCKS if block != SBATCH for line in block.splitlines()]
    return [line for line in lines if line]


def test_every_command_is_run_or_has_a_reason():
    here = ("srun ", 'sds-hf score candidates --out scores --part "$((')
    unknown = [line for line in commands() if not line.startswith((*here, *ELSEWHERE))]
    assert not unknown
    assert all(any(line.startswith(start) for line in commands()) for start in ELSEWHERE)
    for where in ELSEWHERE.values():
        path, _, test = where.partition("::")
        assert not test or f"def {test}(" in (ROOT / path).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def home(stored, tmp_path_factory) -> Path:
    """A folder with `candidates`, the table that one process makes of them, and the programs that are called."""
    home = tmp_path_factory.mktemp("cluster")
    shutil.copytree(stored, home / "candidates")
    (home / "bin").mkdir()
    options = "--scores classes_present --rows-per-shard 1"
    for name, text in {"srun": SRUN, "sds-hf": f'#!/bin/sh\nexec {sys.executable} -m sds_hf "$@" {options}\n'}.items():
        (home / "bin" / name).write_text(text)
        (home / "bin" / name).chmod(0o755)
    run("sds-hf score candidates --out whole", home)
    return home


def run(script: str, home: Path, **variables: object) -> str:
    path = os.pathsep.join([str(home / "bin"), os.environ["PATH"]])
    env = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)} | {name: str(value) for name, value in variables.items()}
    done = subprocess.run(["bash", "-c", script], cwd=home, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def same_table(home: Path) -> bool:
    tables = [ScoreTable.load(home / name) for name in ("scores", "whole")]
    manifests = [json.dumps({**table.manifest, "created": None}) for table in tables]
    files = [{path.name: path.read_bytes() for path in table.paths} for table in tables]
    shutil.rmtree(home / "scores")
    return files[0] == files[1] and manifests[0] == manifests[1]


@pytest.mark.slow
def test_tasks_of_srun(home):
    for line in {line for line in commands() if line.startswith("srun ")}:
        said = run(line, home, SLURM_JOB_ID=1, SLURM_NTASKS=3)
        assert said.count("12 rows scored") == 1
        assert same_table(home)


@pytest.mark.slow
def test_the_file_for_sbatch_as_an_array(home):
    """Three jobs, one after the other, with what Slurm sets in them; `#SBATCH` lines are comments for a shell."""
    asked = dict(re.findall(r"^#SBATCH --(\S+) (\S+)$", SBATCH, re.M))
    assert asked["array"] == "0-7"
    for job in (2, 0, 1):
        array = {"ID": job, "COUNT": 3, "MIN": 0, "MAX": 2, "STEP": 1}
        array = {f"SLURM_ARRAY_TASK_{name}": value for name, value in array.items()}
        said = run(SBATCH, home, **array, SLURM_PROCID=0, SLURM_NTASKS=1, SLURM_JOB_ID=7 + job)
        assert (f"part {job + 1} of 3 is scored into scores" in said) == (job != 1)
    assert same_table(home)
    job = {"SLURM_PROCID": 0, "SLURM_NTASKS": 4}  # asked for in the file, but nothing starts them
    run(SBATCH, home, **job)
    assert same_table(home)


@pytest.mark.slow
def test_parts_of_other_schedulers(home):
    """The two commands in turn, so that each makes half of the parts."""
    lines = [line for line in commands() if "--part" in line and "$((" in line]
    assert len(lines) == 2
    for index in range(8):
        line = lines[index % 2]
        run(line, home, **{re.findall(r"\(\((\w+) ", line)[0]: index})
    assert same_table(home)
