"""Which of several processes this one is, by the variables of torchrun, Slurm and arrays."""

import shlex
import subprocess
import sys

import pytest

from sds_hf.clip.launcher import Rank, current_rank, local_rank, rank_of_part, rank_together


@pytest.fixture
def variables(monkeypatch):
    """Set the variables of a launcher, and no other."""
    import os

    for name in list(os.environ):
        if name.startswith("SLURM_") or name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
            monkeypatch.delenv(name)
    monkeypatch.setattr("sds_hf.clip.launcher.has_terminal", lambda: False)

    def say(text: str) -> None:
        for pair in text.split():
            monkeypatch.setenv(*pair.split("="))

    return say


def array(number: int, first: int, last: int, step: int, count: int) -> str:
    """The variables of one job of an array."""
    values = {"ID": number, "MIN": first, "MAX": last, "STEP": step, "COUNT": count}
    return " ".join(f"SLURM_ARRAY_TASK_{name}={value}" for name, value in values.items())


SRUN = "SLURM_PROCID=2 SLURM_NTASKS=4 SLURM_STEP_NUM_TASKS=4 SLURM_LOCALID=1"


@pytest.mark.parametrize(
    ("text", "rank"),
    [
        ("", Rank()),
        ("RANK= WORLD_SIZE=", Rank()),
        ("RANK=2 WORLD_SIZE=3", Rank(2, 3)),
        (SRUN, Rank(2, 4)),
        (f"{SRUN} RANK=0 WORLD_SIZE=8", Rank(0, 8)),  # torchrun in a task of srun
        ("SLURM_PROCID=0 SLURM_NTASKS=8", Rank()),  # a batch script, or salloc: one process
        ("SLURM_PROCID=2 SLURM_STEP_NUM_TASKS=4 SLURM_PTY_PORT=6818", Rank(2, 4)),  # srun in a shell of srun --pty
        ("SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=1", Rank()),
        (array(0, 0, 7, 1, 8), Rank(0, 8, together=False)),
        (array(7, 1, 9, 2, 5), Rank(3, 5, together=False)),
        (array(3, 3, 3, 1, 1), Rank()),  # one job of an array, sent again
        (f"{array(1, 0, 2, 1, 3)} {SRUN}", Rank(6, 12, together=False)),
        (f"{array(1, 0, 2, 1, 3)} SLURM_PROCID=0 SLURM_NTASKS=4", Rank(1, 3, together=False)),
        (f"{array(1, 0, 2, 1, 3)} RANK=1 WORLD_SIZE=2", Rank(1, 2)),  # torchrun in a job of an array
    ],
)
def test_the_launcher_says_the_rank(variables, text, rank):
    variables(text)
    assert current_rank() == rank


def test_a_shell_with_a_terminal_is_one_process(variables, monkeypatch):
    """As `srun -n 4 --pty bash` and `salloc` start one; a task of another `srun` has none, whatever it inherits."""
    monkeypatch.setattr("sds_hf.clip.launcher.has_terminal", lambda: True)
    variables("SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=4 SLURM_PTY_PORT=6818")
    assert current_rank() == Rank()


def test_a_batch_script_is_one_process_whatever_it_inherits(variables, tmp_path):
    """A program that calls itself as Slurm's does starts a shell, which says what a process below it is."""
    code = "from sds_hf.clip.launcher import current_rank; print(current_rank())"
    script = f'SLURM_TASK_PID=$$ {sys.executable} -c "{code}"; true'
    for name, rank in (("slurmstepd: [7.batch]", "1 of 1"), ("slurmstepd: [7.0]", "1 of 4")):
        variables("SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=4")
        command = [
            "bash",
            "-c",
            f"exec -a {shlex.quote(name)} bash -c {shlex.quote(f'bash -c {shlex.quote(script)}; true')}",
        ]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == rank


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("RANK=2", "RANK=2 and WORLD_SIZE=1 are no rank; unset them or start with `torchrun`"),
        ("SLURM_PROCID=4 SLURM_STEP_NUM_TASKS=4", "SLURM_PROCID=4 and SLURM_STEP_NUM_TASKS=4 are no rank; for one"),
        (
            array(3, 1, 7, 1, 3),
            "an array needs evenly spaced ids, as in --array=0-7; for one process by itself set RANK",
        ),
        ("SLURM_ARRAY_TASK_ID=3", "SLURM_ARRAY_TASK_MIN= .*evenly spaced"),
        (array(8, 1, 9, 2, 5), "SLURM_ARRAY_TASK_ID=8 is none of 5 from 1 in steps of 2"),
    ],
)
def test_what_makes_no_sense_is_refused(variables, text, message):
    variables(text)
    with pytest.raises(ValueError, match=message):
        current_rank()


def test_every_shard_is_one_process_s(variables):
    ranks = []
    for job in range(3):
        for task in range(2):
            variables(f"{array(job, 0, 2, 1, 3)} SLURM_PROCID={task} SLURM_STEP_NUM_TASKS=2")
            ranks.append(current_rank())
    assert sorted(n for rank in ranks for n in range(20) if rank.owns(n)) == list(range(20))


def test_which_gpu_of_the_machine(variables):
    assert local_rank() == 0
    variables(SRUN)
    assert local_rank() == 1
    variables("LOCAL_RANK=3")
    assert local_rank() == 3


def test_a_part_by_name():
    assert rank_of_part("3/8") == Rank(2, 8, together=False)
    assert str(rank_of_part("3/8")) == "3 of 8"
    for text in ("0/8", "9/8", "3", "a/b", "-1/2", "1/0"):
        with pytest.raises(ValueError, match=f"part={text} is none; say 1/8 for the first of eight"):
            rank_of_part(text)


def test_work_that_waits_is_none_for_an_array(variables):
    assert rank_together("a run") == Rank()
    variables(array(1, 0, 2, 1, 3))
    with pytest.raises(
        ValueError, match="a run needs its processes at the same time: use srun or torchrun, not an array"
    ):
        rank_together("a run")
