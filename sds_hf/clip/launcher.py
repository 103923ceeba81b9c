"""What started this process, and which of several it is: torchrun, Accelerate, Slurm, or a job of an array."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ARRAY = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP", "SLURM_ARRAY_TASK_COUNT")
ALONE = "for one process by itself set RANK=0 WORLD_SIZE=1"


@dataclass(frozen=True)
class Rank:
    """One of several processes that share a piece of work.

    Attributes:
        index: from 0.
        count: how many there are.
        together: whether they all run at the same time and wait for each other, as `torchrun`, `accelerate launch` and
            `srun` start them. The jobs of an array do not: each may run on another day.
    """

    index: int = 0
    count: int = 1
    together: bool = True

    def owns(self, number: int) -> bool:
        """Whether the piece of this number is this process's."""
        return number % self.count == self.index

    def __str__(self) -> str:
        return f"{self.index + 1} of {self.count}"


def current_rank() -> Rank:
    """The rank of this process; 0 of 1 if no launcher started it.

    `RANK` and `WORLD_SIZE` (torchrun, Accelerate, a person) say it alone if they are there. Else the tasks of an `srun`
    are ranks, and so are the jobs of a Slurm array; of an array of jobs with several tasks each task is one. A shell,
    and a batch script outside `srun`, is one process, however many tasks were asked for.

    The launcher's variables are read, not a process group: nothing waits for a process that is gone.

    Raises:
        ValueError: if the variables make no sense, or the ids of an array are not evenly spaced.
    """
    if os.environ.get("RANK") or os.environ.get("WORLD_SIZE"):
        index, count = (os.environ.get(name) or default for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
        if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
            raise ValueError(f"RANK={index} and WORLD_SIZE={count} are no rank; unset them or start with `torchrun`")
        return Rank(int(index), int(count))
    task, tasks = _slurm_task(os.environ)
    job, jobs = _array_job(os.environ)
    return Rank(job * tasks + task, jobs * tasks, together=jobs == 1)


def local_rank() -> int:
    """Which of the processes on this machine this one is, from 0."""
    name = "LOCAL_RANK" if os.environ.get("LOCAL_RANK") else "SLURM_LOCALID"
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else 0


def _slurm_task(environment: Mapping[str, str]) -> tuple[int, int]:
    """Index and number of the tasks of this `srun`.

    Slurm says `SLURM_PROCID` and `SLURM_NTASKS` in a batch script too, where nothing but the script runs; only `srun`
    says how many tasks its step has. What is sent from a step inherits its variables, so these are not believed in a
    batch script, nor in the shell of `srun --pty`, or of `salloc`, where only the first task has the terminal.

    Raises:
        ValueError: if they make no sense.
    """
    index, count = environment.get("SLURM_PROCID", ""), environment.get("SLURM_STEP_NUM_TASKS", "")
    if not count or _is_batch(environment) or ("SLURM_PTY_PORT" in environment and has_terminal()):
        return 0, 1
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise ValueError(f"SLURM_PROCID={index} and SLURM_STEP_NUM_TASKS={count} are no rank; {ALONE}")
    return int(index), int(count)


def _is_batch(environment: Mapping[str, str]) -> bool:
    """Whether Slurm started a batch script here and no `srun`: what started it calls itself `slurmstepd: [7.batch]`."""
    with suppress(OSError, LookupError, ValueError):
        script = Path("/proc", str(int(environment["SLURM_TASK_PID"])), "stat")
        parent = script.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1]
        return b".batch]" in Path("/proc", parent, "cmdline").read_bytes()
    return False


def has_terminal() -> bool:
    """Whether a person's terminal controls this process, wherever its output goes; tasks of `srun` have none."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _array_job(environment: Mapping[str, str]) -> tuple[int, int]:
    """Index and number of the jobs of this Slurm array.

    Raises:
        ValueError: if they make no sense, or the ids are not evenly spaced, so that nobody knows which is which.
    """
    if "SLURM_ARRAY_TASK_ID" not in environment:
        return 0, 1
    values = [environment.get(name, "") for name in ARRAY]
    numbers = [int(value) if value.isdecimal() else -1 for value in values]
    number, first, step, count = numbers
    last = environment.get("SLURM_ARRAY_TASK_MAX", "")
    if min(numbers) < 0 or not step or not count or (last and last != str(first + (count - 1) * step)):
        said = " ".join(f"{name}={value}" for name, value in zip(ARRAY, values, strict=True))
        raise ValueError(f"{said}: an array needs evenly spaced ids, as in --array=0-7; {ALONE}")
    index, rest = divmod(number - first, step)
    if rest or not 0 <= index < count:
        raise ValueError(f"SLURM_ARRAY_TASK_ID={number} is none of {count} from {first} in steps of {step}; {ALONE}")
    return index, count


def rank_of_part(part: str) -> Rank:
    """The rank of a process that makes one part of several by itself, by a text such as `3/8`.

    Raises:
        ValueError: if it is none.
    """
    number, slash, count = part.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise ValueError(f"part={part} is none; say 1/8 for the first of eight")
    return Rank(int(number) - 1, int(count), together=False)


def rank_together(what: str) -> Rank:
    """The rank of this process in work whose processes wait for each other.

    Raises:
        ValueError: if it is a job of an array.
    """
    rank = current_rank()
    if not rank.together:
        raise ValueError(f"{what} needs its processes at the same time: use srun or torchrun, not an array; {ALONE}")
    return rank
