"""A real Slurm: what the guide sends to it makes the table of one process, byte by byte."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.paths import ROOT
from support.rows import random_dataset
from support.slurm import missing, slurm

from sds_hf import ScoreTable

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(missing()),
        reason=f"no real Slurm was tried: {', '.join(missing())} not installed (Debian: munge slurmctld slurmd "
        "slurm-client); other tests only set the variables that it would",
    ),
]
GUIDE = (ROOT / "examples" / "cluster.md").read_text(encoding="utf-8")
SBATCH = next(block for block in re.findall(r"^```bash\n(.*?)^```", GUIDE, re.M | re.S) if block.startswith("#!"))
SEND = next(block for block in re.findall(r"^```bash\n(.*?)^```", GUIDE, re.M | re.S) if block.startswith("array="))
OPTIONS = "--scores boundary --rows-per-shard 2"
# Ended is a job that the queue has no more.
ENDED = 'ended() { while squeue --noheader --job "$1" | grep -q .; do sleep 0.2; done; }; ended'
# Read by each Python at its start: a job that is to be killed waits after its first shard, whose journal knows of it,
# unless it is sent again by hand or by Slurm.
WAITING = """
import os, time
from pathlib import Path

if os.environ.get("SLURM_ARRAY_TASK_ID") in ("2", "3") and not (
    Path("again").exists() or "SLURM_RESTART_COUNT" in os.environ
):
    from sds_hf.table.shards import Shards

    write = Shards.write

    def write_and_wait(*arguments, **more):
        shard = write(*arguments, **more)
        time.sleep(120)
        return shard

    Shards.write = write_and_wait
"""


class Cluster:
    """Commands on the cluster, in a folder with `candidates`; `sds-hf` scores them with one light score."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self.home = home
        path = os.pathsep.join([str(home / "bin"), environment["PATH"]])
        python = os.pathsep.join([str(home / "site"), str(ROOT)])
        self._environment = environment | {"PATH": path, "PYTHONPATH": python, "OMP_NUM_THREADS": "1"}

    def run(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.home, env=self._environment, capture_output=True, text=True, check=False,
            timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def send(self, words: str) -> None:
        """Send a batch job, and wait until it has ended; `sbatch --wait` looks at it seldom."""
        self.run(f"job=$(sbatch --parsable {words}) && {ENDED} $job")

    def wait_for(self, pattern: str, count: int) -> None:
        end = time.monotonic() + 120
        while len(list(self.home.glob(pattern))) < count:
            assert time.monotonic() < end, f"{pattern}: {self.run('tail -n 5 *.log; squeue')}"
            time.sleep(0.1)

    def check(self, name: str) -> None:
        """A table is that of one process: its shards byte by byte, its manifest but for the date, and nothing else."""
        tables = [ScoreTable.load(self.home / folder) for folder in (name, "one")]
        files = [{path.name: path.read_bytes() for path in table.paths} for table in tables]
        assert files[0] == files[1]
        manifests = [json.dumps({**table.manifest, "created": None}) for table in tables]
        assert manifests[0] == manifests[1]
        assert {path.name for path in (self.home / name).iterdir()} == {*files[0], "manifest.json"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    home = tmp_path_factory.mktemp("slurm")
    random_dataset(27).save_to_disk(home / "candidates")
    (home / "bin").mkdir()
    (home / "site").mkdir()
    (home / "site" / "sitecustomize.py").write_text(WAITING)
    (home / "bin" / "sds-hf").write_text(
        f'#!/bin/sh\n[ "$1" = score ] && set -- "$@" {OPTIONS}\nexec {sys.executable} -m sds_hf "$@"\n'
    )
    (home / "recipe.yaml").write_text("rules:\n  - threshold: {column: boundary, above: 0}\n")
    (home / "bin" / "sds-hf").chmod(0o755)
    (home / "score.sbatch").write_text(SBATCH)
    with ExitStack() as stack:
        try:
            environment = stack.enter_context(slurm())
        except TimeoutError as error:  # as in a container that forbids what its programs need
            pytest.skip(f"no real Slurm was tried: its programs do not start here: {error}")
        cluster = Cluster(home, environment)
        cluster.run("sds-hf score candidates --out one")
        yield cluster


def test_an_array_of_which_two_jobs_are_killed(cluster):
    """The guide's file; one job gets SIGTERM and one SIGKILL, and one that is sent again does what both left."""
    job = cluster.run("sbatch --parsable --array 0-3 score.sbatch").strip()
    cluster.wait_for("scores/scores-0000[23]-*", 2)
    cluster.run(f"scancel {job}_2; scancel --full --signal=KILL {job}_3")
    cluster.wait_for("scores/scores-*", 10)  # of 14: four of each of the first two, and one of each that was killed
    cluster.run(f"{ENDED} {job}")
    logs = [(cluster.home / f"sds-score-{number}.log").read_text() for number in range(4)]
    assert all(f"part {number + 1} of 4 is scored into scores" in logs[number] for number in (0, 1))
    assert "CANCELLED" in logs[2]
    assert not any("is scored into" in log for log in logs[2:])
    (cluster.home / "again").touch()
    cluster.send("--array 2 score.sbatch")
    assert "8 rows scored" in (log := (cluster.home / "sds-score-2.log").read_text()), log
    cluster.check("scores")


def test_jobs_that_slurm_itself_sends_again(cluster):
    """As it does after a node has failed, since the guide's file says `--requeue`; two of four, with a shard each."""
    (cluster.home / "again").unlink(missing_ok=True)
    (cluster.home / "requeued.sbatch").write_text(SBATCH.replace("--out scores", "--out requeued"))
    job = cluster.run("sbatch --parsable --array 0-3 --output requeued-%a.log requeued.sbatch").strip()
    cluster.wait_for("requeued/scores-0000[23]-*", 2)
    numbers = f"{job}_2,{job}_3"
    cluster.run(f"scontrol requeue {numbers}")
    cluster.run(f"while squeue --noheader --states R --job {numbers} | grep -q .; do sleep 0.2; done")
    for number in (2, 3):  # by itself it waits some two minutes before it starts them again
        cluster.run(f"scontrol update JobId={job}_{number} StartTime=now")
    cluster.run(f"{ENDED} {job}")
    for number in (2, 3):  # each goes on after the shard that it had made
        log = (cluster.home / f"requeued-{number}.log").read_text()
        assert '"done": 2, "total": 6' in log
    cluster.check("requeued")


def test_tasks_of_srun_at_once(cluster):
    said = cluster.run("srun --ntasks 3 --gpus-per-task 1 sds-hf score candidates --out by-srun")
    assert said.count("27 rows scored") == 1
    cluster.check("by-srun")


def test_an_array_of_jobs_with_two_tasks_each_and_a_selection_after_it(cluster):
    """The tasks are parts of their own, four in all; the job that depends on them finds the table whole."""
    text = SBATCH.replace("sds-hf score candidates --out scores", "srun sds-hf score candidates --out twice")
    (cluster.home / "two.sbatch").write_text(text.replace("--cpus-per-task 8", "--cpus-per-task 1"))
    first, then = SEND.replace("sbatch --parsable score", "sbatch --parsable $options two").splitlines()
    then = then.replace("sbatch", "sbatch --parsable").replace(
        "select scores --recipe sds-paper", "select twice --recipe recipe.yaml"
    )
    cluster.run(f"options='--array 0-1 --ntasks 2 --output two-%a.log'\n{first}\njob=$({then})\n{ENDED} $job")
    assert (cluster.home / "selection" / "selection.parquet").exists()
    said = "".join((cluster.home / f"two-{number}.log").read_text() for number in (0, 1))
    assert {*re.findall(r"part (\d) of 4 is scored", said)} < {"1", "2", "3", "4"}
    cluster.check("twice")


def test_a_shell_of_srun_and_what_is_started_in_it(cluster):
    """A shell is one process, and so is a batch script that is sent from it, though both inherit variables of tasks.

    The tasks of an `srun` in it are tasks again, though they inherit the shell's. Slurm itself makes the difference.
    """
    score = "sds-hf score candidates --quiet --out"
    (cluster.home / "shell.sh").write_text(
        f"""set -e
        [ "$SLURM_PROCID" = 0 ] || exit 0
        {score} in-a-shell
        srun --overlap --ntasks 2 sds-hf score candidates --out in-a-step-of-a-shell
        job=$(sbatch --parsable --ntasks 2 --output sent.log --wrap "{score} sent-from-a-shell")
        {ENDED} "$job"
        """
    )
    said = cluster.run(f"script -qec {shlex.quote('srun --ntasks 2 --pty bash shell.sh')} /dev/null < /dev/null")
    assert said.count("27 rows scored") == 1
    assert "nothing to do" not in said  # as a second process says that takes itself for the only one
    for name in ("in-a-shell", "in-a-step-of-a-shell", "sent-from-a-shell"):
        cluster.check(name)
