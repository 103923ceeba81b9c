"""Several processes that make one table."""

import json
import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from support.rows import random_dataset, random_row

from sds_hf import ClassesPresent, ScoreTable, score_table
from sds_hf.clip.device import current_device
from sds_hf.clip.launcher import Rank
from sds_hf.table import team as ranks
from sds_hf.table.team import Team

ENV = os.environ | {"OMP_NUM_THREADS": "1"}
# Forks on demand, so that torch is imported once. A child may die by SIGKILL before its n-th batch.
FORKS = """
import json, os, signal, sys, time
from datasets import load_from_disk
from transformers import AutoTokenizer, CLIPModel
from sds_hf import PCS, score_table
from sds_hf.table import job
from sds_hf.table.team import PartScored

rows = load_from_disk(sys.argv[1])
scores = [PCS(model=sys.argv[2], dtype="fp32", scales=(3,), orders=1)]
score_rows, batches = job.score_rows, 0

def scoring(*args):
    global batches
    batches += 1
    if batches == dies:
        os.kill(os.getpid(), signal.SIGKILL)
    return score_rows(*args)

for line in sys.stdin:
    out, rank, count, dies, environment, more = json.loads(line)
    child = os.fork()
    if child == 0:
        os.environ.update(environment)
        if rank == more.pop("late", None):
            time.sleep(2)
        rows = load_from_disk(more.pop("rows")) if "rows" in more else rows
        job.score_rows, told = scoring, []
        try:
            table = score_table(
                rows, scores, out, rows_per_shard=4, batch_size=2, progress=lambda *done: told.append(done[0]), **more
            )
            said = f"{rank} scored {batches} {told} {table.manifest['complete']}"
        except PartScored:
            said = f"{rank} scored {batches} {told} of a part"
        except OSError as error:
            said = f"{rank} failed: {error}"
        os.write(1, said.encode() + b"\\n")
        os._exit(0)
    os.write(1, b"started\\n")
    last = rank + 1 == count
    if last:
        for _ in range(count):
            os.wait()
        os.write(1, b"ended\\n")
"""


def torchrun(rank: int, count: int) -> dict[str, str]:
    return {"RANK": str(rank), "WORLD_SIZE": str(count)}


def srun(rank: int, count: int) -> dict[str, str]:
    return {"SLURM_PROCID": str(rank), "SLURM_NTASKS": str(count), "SLURM_STEP_NUM_TASKS": str(count)}


def array(rank: int, count: int) -> dict[str, str]:
    """A job of `--array=2-N:3`, in which the script runs by itself."""
    numbers = {"ID": 2 + 3 * rank, "COUNT": count, "MIN": 2, "MAX": 2 + 3 * (count - 1), "STEP": 3}
    task = {f"SLURM_ARRAY_TASK_{name}": str(number) for name, number in numbers.items()}
    return task | {"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}


def array_of_two(rank: int, count: int) -> dict[str, str]:
    """A task of a job of an array, each with two of them."""
    return array(rank // 2, count // 2) | srun(rank % 2, 2)


@pytest.fixture(scope="module")
def run(tiny_clip, tmp_path_factory):
    """What the processes of one run say, in the order of their ranks; `dies` says before which batch one is killed."""
    rows = tmp_path_factory.mktemp("ranks") / "rows"
    random_dataset(27).save_to_disk(rows)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1, "env": ENV}
    with subprocess.Popen([sys.executable, "-c", FORKS, str(rows), tiny_clip], **pipes) as process:

        def go(out: Path, count: int, dies: dict[int, int] | None = None, environment=torchrun, **more) -> list[str]:
            for rank in range(count):
                line = [str(out), rank, count, (dies or {}).get(rank, 0), environment(rank, count), more]
                process.stdin.write(json.dumps(line) + "\n")
            said = []
            while (line := process.stdout.readline().strip()) != "ended":
                said += [line] if line != "started" else []
            return sorted(said)

        yield go
        process.stdin.close()


def contents(folder: Path) -> dict[str, bytes]:
    """All files; when it was made is no part of the manifest here."""
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    found["manifest.json"] = json.dumps(json.loads(found["manifest.json"]) | {"created": None}).encode()
    return found


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory) -> Path:
    """The table of one process: seven shards of two batches each, but for the last."""
    out = tmp_path_factory.mktemp("ranks") / "whole"
    (said,) = run(out, 1)
    assert said == f"0 scored 14 {[*range(0, 27, 2), 27]} True"
    return out


@pytest.mark.parametrize(("count", "batches"), [(2, [8, 6]), (3, [6, 4, 4])])
def test_any_number_of_processes_makes_the_same_table(run, whole, tmp_path, count, batches):
    said = [line.split(maxsplit=3) for line in run(tmp_path / "scores", count)]
    assert [int(words[2]) for words in said] == batches
    assert contents(tmp_path / "scores") == contents(whole)
    told = json.loads(said[0][3].removesuffix(" True"))
    assert told[0] == 0
    assert told[-1] == 27
    assert [words[3] for words in said[1:]] == ["[] True"] * (count - 1)  # only the first one tells, of all rows


@pytest.mark.slow
@pytest.mark.parametrize("late", [0, 1])
def test_rows_are_scored_again_whichever_process_comes_late(run, tmp_path, late):
    """The second process has failed rows too, of which one stays so: it may not be through before the first looks."""
    rows = [random_row(index) for index in range(27)]
    repaired = [row["image"] for row in rows]
    for number in (1, 5, 6, 13):
        rows[number]["image"] = {"bytes": b"no picture", "path": None}
    features = random_dataset(1).features
    Dataset.from_list(rows, features=features).save_to_disk(tmp_path / "broken")
    for number in (1, 5):
        rows[number]["image"] = repaired[number]
    Dataset.from_list(rows, features=features).save_to_disk(tmp_path / "repaired")
    run(tmp_path / "scores", 2, rows=str(tmp_path / "broken"))
    assert ScoreTable.load(tmp_path / "scores").manifest["failed"] == 4
    again = {"rows": str(tmp_path / "repaired"), "retry": "failed"}
    said = run(tmp_path / "scores", 2, late=late, **again)
    assert all(line.endswith("True") for line in said)
    statuses = ScoreTable.load(tmp_path / "scores").to_arrow()["status"].to_pylist()
    assert [row for row, status in enumerate(statuses) if status == "failed"] == [6, 13]
    assert not list((tmp_path / "scores").glob("rank-*"))


def test_tasks_of_srun_make_the_same_table(run, whole, tmp_path):
    said = [line.split(maxsplit=3) for line in run(tmp_path / "scores", 3, environment=srun)]
    assert [int(words[2]) for words in said] == [6, 4, 4]
    assert all(words[3].endswith("True") for words in said)
    assert contents(tmp_path / "scores") == contents(whole)


@pytest.mark.parametrize(("environment", "batches"), [(array, [4, 4, 4, 2]), (array_of_two, [4, 4, 4, 2])])
def test_jobs_of_an_array_make_the_same_table(run, whole, tmp_path, environment, batches):
    """All at once: each counts its own rows, and at least the last one to end has a finished table."""
    said = [line.split(maxsplit=3) for line in run(tmp_path / "scores", 4, environment=environment)]
    assert [int(words[2]) for words in said] == batches
    assert {words[3].split("] ")[1] for words in said} <= {"True", "of a part"}
    assert "True" in {words[3].split("] ")[1] for words in said}
    assert json.loads(said[0][3].rsplit("]", 1)[0] + "]")[-1] == 8
    assert contents(tmp_path / "scores") == contents(whole)


def test_jobs_of_an_array_need_not_run_at_the_same_time(run, whole, tmp_path):
    """One after the other, the last first, one killed and begun again: nobody waits, and the last ends the table."""
    out = tmp_path / "scores"

    def job(index: int, dies: int = 0) -> str:
        return run(out, 1, {0: dies}, lambda rank, count: array(index, 3))[0]

    assert job(2).endswith("of a part")
    assert run(out, 1, {0: 3}, lambda rank, count: array(1, 3)) == []  # killed in its second shard
    assert job(0).endswith("of a part")
    assert json.loads((out / "manifest.json").read_text())["complete"] is False
    with pytest.raises(ValueError, match="is not finished"):
        ScoreTable.load(out)
    assert job(1) == "0 scored 2 [4, 6, 8] True"
    assert contents(out) == contents(whole)
    assert job(0) == "0 scored 0 [11] True"


@pytest.mark.parametrize(("victim", "left"), [(0, "1"), (1, "0")])
def test_another_run_does_what_a_dead_process_left(run, whole, tmp_path, victim, left):
    out = tmp_path / "scores"
    (said,) = run(out, 2, {victim: 4})  # in its second shard
    assert said == (
        f"{left} failed: process {victim} of 2 stopped before its shards were done; what is finished stays, run the "
        "same command again to go on"
    )
    assert not json.loads((out / "manifest.json").read_text())["complete"]
    done = len(list(out.glob("scores-*.parquet")))
    assert done == (4 if victim == 0 else 5)
    again = run(out, 3)
    assert sum(int(line.split()[2]) for line in again) == 14 - 2 * done
    assert contents(out) == contents(whole)
    assert [line.split()[2] for line in run(out, 2)] == ["0", "0"]


def test_a_job_that_is_sent_again_while_another_is_at_work(dataset, tmp_path):
    """It does all that is left, also what the other has in hand: who comes last leaves a table and nothing else."""
    out, one = tmp_path / "scores", tmp_path / "one"
    score_table(dataset, [ClassesPresent()], one, rows_per_shard=2)
    told = []

    def meanwhile(rows: int, failed: int) -> None:
        told.append(rows)
        if len(told) == 2:  # the first batch is done
            score_table(dataset, [ClassesPresent()], out, rows_per_shard=2, rank=Rank())

    table = score_table(
        dataset, [ClassesPresent()], out, rows_per_shard=2, rank=Rank(1, 4, together=False), progress=meanwhile
    )
    assert table.manifest["complete"]
    assert contents(out) == contents(one)


def test_a_process_that_never_comes_is_not_waited_for(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(ranks, "PATIENCE", 0.0)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        OSError, match=r"process 1 of 2 stopped before its shards were done.*\(for one process by itself set"
    ):
        score_table(dataset, [ClassesPresent()], tmp_path / "scores", rows_per_shard=5)
    monkeypatch.delenv("RANK")
    monkeypatch.delenv("WORLD_SIZE")
    calls = []
    score_table(dataset, [ClassesPresent()], tmp_path / "scores", rows_per_shard=5, progress=lambda *d: calls.append(d))
    assert calls[0] == (7, 0)


HOLDS = """
import sys, time
from pathlib import Path
from sds_hf.clip.launcher import Rank
from sds_hf.table.team import Team

with Team(Path(sys.argv[1]), Rank(1, 2)):
    print("at work", flush=True)
    time.sleep(60)
"""


def killed_in(folder: Path, before=lambda: None) -> None:
    """A process of a team is at work in a folder and is killed, before which something is done."""
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(folder)], stdout=subprocess.PIPE, env=ENV) as process:
        assert process.stdout.readline() == b"at work\n"
        before()
        process.kill()


def waited(team: Team) -> float:
    """Seconds until a process is missed that was to do something."""
    started = time.monotonic()
    with pytest.raises(OSError, match="process 1 of 2 stopped before its shards were done"):
        team.wait(lambda: False, lambda: [1])
    return time.monotonic() - started


def test_a_process_that_was_killed_before_anybody_looked_is_soon_missed(tmp_path):
    with Team(tmp_path, Rank(0, 2)) as team:
        killed_in(tmp_path)
        assert ranks.MOMENT < waited(team) < ranks.PATIENCE / 4


def test_a_process_that_was_seen_is_missed_at_once(tmp_path):
    """Also where an earlier run that was killed has left the same lock."""
    killed_in(tmp_path)
    with Team(tmp_path, Rank(0, 2)) as team:
        killed_in(tmp_path, team.look)
        assert waited(team) < ranks.MOMENT


def test_a_lock_that_an_earlier_run_has_left_does_not_make_a_slow_process_look_dead(tmp_path, monkeypatch):
    monkeypatch.setattr(ranks, "MOMENT", 0.0)
    killed_in(tmp_path)
    with Team(tmp_path, Rank(0, 2)) as team:
        started = time.monotonic()
        team.wait(lambda: time.monotonic() > started + 2, lambda: [1])  # it has not started yet


def test_a_process_that_takes_its_lock_now_is_not_dead(tmp_path, monkeypatch):
    """The file is there a moment before the lock is."""
    monkeypatch.setattr(ranks, "MOMENT", 2.0)
    with Team(tmp_path, Rank(0, 2)) as team, ExitStack() as stack:
        (tmp_path / "rank-1.lock").touch()
        started = time.monotonic()

        def is_done() -> bool:
            if time.monotonic() > started + 1 and not taken:
                taken.append(stack.enter_context(Team(tmp_path, Rank(1, 2))))
            return time.monotonic() > started + 4

        taken: list[Team] = []
        team.wait(is_done, lambda: [1])
        assert taken


def test_two_runs_do_not_write_the_same_table(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(ranks, "MOMENT", 0.0)
    with (
        Team(tmp_path, Rank()),
        pytest.raises(OSError, match=r"another run is writing the scores in .*; wait for it or choose another out="),
    ):
        score_table(dataset, [ClassesPresent()], tmp_path)
    assert score_table(dataset, [ClassesPresent()], tmp_path).manifest["complete"]


def test_rows_that_failed_are_not_scored_again_by_an_array(dataset, tmp_path):
    part = Rank(0, 2, together=False)
    with pytest.raises(
        ValueError, match="scored again by processes that wait for each other; for one process by itself"
    ):
        score_table(dataset, [ClassesPresent()], tmp_path / "scores", retry="failed", rank=part)


# A user's own script


@pytest.fixture
def state(monkeypatch):
    """What Accelerate knows of this process, to be changed."""
    from accelerate import PartialState

    monkeypatch.setattr(PartialState, "_shared_state", dict(PartialState()._shared_state))
    return PartialState._shared_state


def test_each_process_has_its_own_device(state, monkeypatch):
    state.update(device=torch.device("cuda", 1), num_processes=2, process_index=1)
    assert current_device() == torch.device("cuda", 1)
    monkeypatch.setattr("sds_hf.clip.device._rank", 3)  # of `map` in a process that has a device already
    assert current_device() == torch.device("cuda", 1)
    state.update(device=torch.device("cuda", 0), num_processes=1, process_index=0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert current_device() == torch.device("cuda", 1)


def test_asking_for_the_device_opens_no_process_group(monkeypatch):
    """Of two processes one may ask alone; before, it waited for the other one in a group of Accelerate's."""
    from accelerate import PartialState

    monkeypatch.setattr(PartialState, "_shared_state", {})
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *a, **k: pytest.fail("a group was opened"))
    assert current_device() == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert current_device() == torch.device("cuda", 1)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert current_device() == torch.device("cpu")


def test_a_gpu_score_in_a_forked_worker_says_what_to_do(dataset, monkeypatch):
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    assert current_device().type == "cpu"  # CUDA was tried where there is none
    monkeypatch.setattr(torch.cuda, "_initialized", True)
    with pytest.raises(RuntimeError, match="cannot run in a forked worker: drop num_proc, start"):
        current_device()


SPAWN = """
import multiprocess, sys
from datasets import load_from_disk
from sds_hf import ClipSim

if __name__ == "__main__":
    multiprocess.set_start_method("spawn")
    rows = load_from_disk(sys.argv[1])
    score = ClipSim(model=sys.argv[2], dtype="fp32")
    two = rows.map(score, batched=True, num_proc=2, with_rank=True)
    print(two["clip_sim"][:])
"""


@pytest.mark.slow
def test_map_in_spawned_workers(dataset, tiny_clip, tmp_path):
    from sds_hf import ClipSim

    dataset.save_to_disk(tmp_path / "rows")
    (tmp_path / "script.py").write_text(SPAWN)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "rows"), tiny_clip]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=ENV)
    one = dataset.map(ClipSim(model=tiny_clip, dtype="fp32"), batched=True)["clip_sim"][:]
    assert json.loads(done.stdout.splitlines()[-1]) == pytest.approx(one, abs=2e-5)


# Scores that join a table. In each round two processes add them, of which one comes late; one may die by SIGKILL.
ADDS = """
import os, shutil, signal, sys, time
from datasets import load_from_disk
from sds_hf import Boundary, ClassesPresent, ScoreTable, add_to_table, score_table
from sds_hf.table import add, job

rows, folder = load_from_disk(sys.argv[1]), sys.argv[2]
join_tables = add.join_tables

def slow_join(*args):
    time.sleep(0.3)
    return join_tables(*args)

def dying(*args):
    os.kill(os.getpid(), signal.SIGKILL)

def run(out, late, dies):
    for rank in (0, 1):
        if os.fork() == 0:
            os.environ.update(RANK=str(rank), WORLD_SIZE="2")
            add.join_tables = dying if dies == "joining" else slow_join
            if dies == "scoring" and rank == 0:
                job.score_rows = dying
            time.sleep(late.get(rank, 0))
            code = 1
            try:
                table = add_to_table(rows, [Boundary()], out)
                code = 0 if "boundary" in table.to_arrow().column_names else 2
            except OSError as error:
                print(rank, error, file=sys.stderr)
            finally:
                os._exit(code)
    return sorted(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(2))

os.environ["RANK"] = "0"
score_table(rows, [ClassesPresent()], folder + "/plain", rows_per_shard=4)
score_table(rows, [ClassesPresent(), Boundary()], folder + "/whole", rows_per_shard=4)
for number, round in enumerate(sys.argv[3:]):
    words = round.split(":")
    out = shutil.copytree(folder + "/plain", f"{folder}/{number}")
    print(run(out, {int(words[0]): float(words[1])}, words[2]), flush=True)
    if words[2]:
        print(run(out, {}, ""), flush=True)
"""


@pytest.mark.slow
def test_two_processes_add_to_a_table(tmp_path):
    random_dataset(27).save_to_disk(tmp_path / "rows")
    rounds = ["0:0:", "1:0.2:", "0:0.2:", "1:0.5:", "1:0.7:", "1:0:scoring", "1:0:joining"]
    command = [sys.executable, "-c", ADDS, str(tmp_path / "rows"), str(tmp_path), *rounds]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENV, timeout=300)
    died, added = str([-9, 1]), str([0, 0])
    assert done.stdout.splitlines() == [*[added] * 5, died, added, died, added], done.stderr
    assert done.stderr.count("process 0 of 2 stopped before its shards were done") == 2
    whole = contents(tmp_path / "whole")
    for number in range(len(rounds)):
        table = contents(tmp_path / str(number))
        assert {name for name in table if not name.endswith(".lock")} == set(whole)
        assert all(table[name] == whole[name] for name in whole if name.endswith(".parquet"))


# As typed


def launched(launcher: list[str], *words: str) -> subprocess.CompletedProcess:
    env = ENV | {"ACCELERATE_USE_CPU": "true"}
    return subprocess.run([*launcher, "-m", "sds_hf", *words], capture_output=True, text=True, check=False, env=env)


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        ["torch.distributed.run", "--nproc_per_node", "3"],
        ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"],
    ],
    ids=["torchrun", "accelerate"],
)
def test_the_command_under_a_launcher(stored, tiny_clip, tmp_path, launcher):
    words = ["score", str(stored), "--scores", "pcs", "--model", tiny_clip, "--dtype", "fp32", "--rows-per-shard", "2"]
    words += ["--set", "scores.pcs.scales=[3]", "--set", "scores.pcs.orders=1", "--progress", "json"]
    one = launched([sys.executable], *words, "--out", str(tmp_path / "one"))
    assert one.returncode == 0, one.stderr
    many = launched([sys.executable, "-m", *launcher], *words, "--out", str(tmp_path / "many"))
    assert many.returncode == 0, many.stderr
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    assert many.stdout.count("12 rows scored") == 1
    lines = [json.loads(line) for line in many.stderr.splitlines() if line.startswith('{"step": "scoring"')]
    assert [line["done"] for line in lines].count(12) == 1
    assert ScoreTable.load(tmp_path / "many").manifest["complete"]


RECIPE = """
name: ranks
model: {model}
source: {{path: {raw}, reader: folder, labels: voc}}
scores: {{clip_sim: {{dtype: fp32}}}}
rules:
  - threshold: {{column: clip_sim, above: q0.2}}
publish: {{to: user/by-ranks, license: mit}}
"""


@pytest.mark.slow
def test_only_the_first_process_imports_and_publishes(hub, tiny_clip, tmp_path):
    for row in (random_row(index) for index in range(5)):
        for part in ("image", "mask"):
            (tmp_path / "raw" / f"{part}s").mkdir(parents=True, exist_ok=True)
            (tmp_path / "raw" / f"{part}s" / row[part]["path"]).write_bytes(row[part]["bytes"])
    (tmp_path / "plan.yaml").write_text(RECIPE.format(model=tiny_clip, raw=tmp_path / "raw"))
    words = ["run", str(tmp_path / "plan.yaml"), "--out", str(tmp_path / "out"), "--rows-per-shard", "2", "--json"]
    done = launched([sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"], *words)
    assert done.returncode == 0, done.stderr
    (shown,) = [json.loads(text) for text in re.findall(r"(?ms)^\{.*?^\}", done.stdout)]
    assert (shown["counts"]["rows"], shown["counts"]["kept"], shown["result"]["tag"]) == (5, 4, "v1")
    lines = [entry["line"] for entry in hub.faults.log]
    for request in ("/repos/create", "/commit/", "/tag/"):
        assert sum(request in line for line in lines) == 1
    assert ScoreTable.load(tmp_path / "out" / "scores").manifest["complete"]
    assert not list((tmp_path / "out").glob("*.lock"))
