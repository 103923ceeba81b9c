"""Tables of which only that is computed which decides, by several processes and by Ray: as one process makes them."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.crashes import Crash, crash_at
from support.rows import random_dataset

from sds_hf import PCS, Boundary, PromptMismatch, Recipe, ScoreTable, score_for, score_table, select
from sds_hf.selection.cascade import score as cascade
from sds_hf.selection.select import rows_left

pytestmark = pytest.mark.slow
RULES = [
    {"threshold": {"column": "clip_sim", "above": "q0.3"}},
    {"threshold": {"column": "pcs", "above": -0.5}},
    {"top_per_group": {"column": "boundary", "by": ["num_classes_present"], "fraction": 0.6}},
    {"top_k": {"column": "pcs", "fraction": 0.8}},
]
RECIPE = Recipe.from_dict({"name": "test", "rules": RULES})
# As in tests/table/test_team.py: a child may die by SIGKILL before its n-th batch.
FORKS = """
import json, os, signal, sys
from datasets import load_from_disk
from transformers import AutoTokenizer, CLIPModel
from sds_hf import PCS, Boundary, PromptMismatch, Recipe, score_for
from sds_hf.clip.launcher import Rank
from sds_hf.table import job
from sds_hf.table.team import PartScored

rows, model, rules = load_from_disk(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
recipe = Recipe.from_dict({"name": "test", "rules": rules})
scores = [PCS(model=model, dtype="fp32", scales=(3,), orders=2), Boundary()]
score_needed, batches = job.score_needed, 0

def scoring(*args):
    global batches
    batches += 1
    if batches == dies:
        os.kill(os.getpid(), signal.SIGKILL)
    return score_needed(*args)

out, count, deaths = sys.argv[4], int(sys.argv[5]), json.loads(sys.argv[6])
together = sys.argv[7] == "together"
for rank in range(count):
    if os.fork() == 0:
        part = None if together else Rank(rank, count, together=False)
        os.environ.update({"RANK": str(rank), "WORLD_SIZE": str(count)} if together else {})
        dies, job.score_needed = deaths.get(str(rank), 0), scoring
        try:
            score_for(rows, recipe, out, scores=scores, rows_per_shard=4, batch_size=2, rank=part)
            said = f"{rank} scored {batches}"
        except PartScored:
            said = f"{rank} scored {batches} of a part"
        except OSError as error:
            said = f"{rank} failed: {error}"
        os.write(1, said.encode() + b"\\n")
        os._exit(0)
for _ in range(count):
    os.wait()
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ranks") / "rows"
    random_dataset(27).save_to_disk(folder)
    return folder


def scores_of(model: str) -> list:
    return [PCS(model=model, dtype="fp32", scales=(3,), orders=2), Boundary()]


def contents(folder: Path) -> dict[str, bytes]:
    """All files; when it was made is no part of the manifest here."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files["manifest.json"] = json.dumps(json.loads(files["manifest.json"]) | {"created": None}).encode()
    return files


@pytest.fixture(scope="module")
def whole(rows, tiny_clip, tmp_path_factory) -> Path:
    """The table of one process."""
    out = tmp_path_factory.mktemp("ranks") / "whole"
    run(rows, tiny_clip, out, 1)
    return out


def run(
    rows: Path,
    model: str,
    out: Path,
    count: int,
    deaths: dict | None = None,
    rules: list = RULES,
    how: str = "together",
) -> list[str]:
    """What the processes say, in the order of their ranks."""
    arguments = [rows, model, json.dumps(rules), out, count, json.dumps(deaths or {}), how]
    command = [sys.executable, "-c", FORKS, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return sorted(
        subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.splitlines()
    )


def test_the_rows_are_those_of_the_whole_table(rows, whole, tiny_clip, tmp_path):
    everything = score_table(random_dataset(27), scores_of(tiny_clip), tmp_path / "all", rows_per_shard=4, batch_size=2)
    assert select(whole, RECIPE).table() == select(everything, RECIPE).table()
    assert 0 < ScoreTable.load(whole).manifest["needed"]["rows"]["boundary"] < 27


@pytest.mark.parametrize("count", [2, 3])
def test_any_number_of_processes_makes_the_same_table(rows, whole, tiny_clip, tmp_path, count):
    said = run(rows, tiny_clip, tmp_path / "scores", count)
    assert all(" scored " in line for line in said)
    assert len(said) == count
    assert contents(tmp_path / "scores") == contents(whole)


@pytest.mark.parametrize(("victim", "batch"), [(0, 3), (1, 3), (0, 9), (1, 8)])  # in the first phase or a later one
def test_another_run_does_what_a_dead_process_left(rows, whole, tiny_clip, tmp_path, victim, batch):
    out = tmp_path / "scores"
    (said,) = run(rows, tiny_clip, out, 2, {victim: batch})
    assert f"{1 - victim} failed: process {victim} of 2 stopped before its shards were done" in said
    run(rows, tiny_clip, out, 3)
    assert contents(out) == contents(whole)
    assert run(rows, tiny_clip, out, 2) == ["0 scored 0", "1 scored 0"]


def test_parts_at_once_of_which_one_is_killed(rows, tiny_clip, tmp_path):
    """Bounds that are numbers, then one rule over all rows: each part goes its own way."""
    rules = [{"threshold": {"column": "clip_sim", "above": 0.02}}, *RULES[1:3]]
    run(rows, tiny_clip, tmp_path / "whole", 1, rules=rules)
    said = run(rows, tiny_clip, tmp_path / "scores", 3, {1: 2}, rules, "apart")
    assert [line.split()[0] for line in said] == ["0", "2"]
    assert all(line.endswith("of a part") for line in said)
    said = run(rows, tiny_clip, tmp_path / "scores", 3, rules=rules, how="apart")
    assert not said[1].endswith("of a part")  # the one that was killed ends the table, and perhaps another sees it
    assert contents(tmp_path / "scores") == contents(tmp_path / "whole")


# A score that the table has of some rows and one that it does not have are added; a child may die by SIGKILL.
ADDS = """
import json, os, signal, sys
from datasets import load_from_disk
from sds_hf import Boundary, PromptMismatch, add_to_table
from sds_hf.table import add, job, team

team.PATIENCE = 8.0  # who died before the others looked is not waited for any longer
rows, out, count, deaths = load_from_disk(sys.argv[1]), sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])

def dying(*args):
    os.kill(os.getpid(), signal.SIGKILL)

for rank in range(count):
    if os.fork() == 0:
        os.environ.update({"RANK": str(rank), "WORLD_SIZE": str(count)})
        if deaths.get(str(rank)) == "scoring":
            job.score_needed = dying
        if deaths.get(str(rank)) == "joining":
            add.join_tables = dying
        try:
            names = add_to_table(rows, [Boundary(), PromptMismatch()], out, batch_size=2).to_arrow().column_names
            said = "added" if {"boundary", "prompt_mismatch"} < {*names} else "without"
        except OSError as error:
            said = f"failed: {error}"
        os.write(1, f"{rank} {said}".encode() + b"\\n")
        os._exit(0)
for _ in range(count):
    os.wait()
"""


@pytest.mark.parametrize("deaths", [{}, {0: "scoring"}, {1: "scoring"}, {0: "joining"}])
def test_several_processes_add_to_such_a_table(rows, whole, tiny_clip, tmp_path, deaths):
    alone, several = (shutil.copytree(whole, tmp_path / name) for name in ("alone", "several"))
    assert added_by(rows, alone, 1) == ["0 added"]
    said = added_by(rows, several, 2, deaths)
    assert len(said) == 2 - len(deaths)
    if deaths:
        assert all("stopped before its shards were done" in line for line in said)
        assert added_by(rows, several, 3) == [f"{rank} added" for rank in range(3)]
    later = ("created", "scored")
    same = [
        {name: value for name, value in ScoreTable.load(one).manifest.items() if name not in later}
        for one in (alone, several)
    ]
    assert same[0] == same[1]
    table, full = ScoreTable.load(several), score_table(random_dataset(27), Boundary(), tmp_path / "boundary")
    assert table.to_arrow()["boundary"].equals(full.to_arrow()["boundary"])
    assert table.manifest["needed"]["recipe"] == "test"
    assert select(several, RECIPE).table() == select(whole, RECIPE).table()
    scores = [*scores_of(tiny_clip), PromptMismatch()]
    everything = score_table(random_dataset(27), scores, tmp_path / "all", rows_per_shard=4, batch_size=2)
    gone_on = score_table(random_dataset(27), scores, several, rows_per_shard=4, batch_size=2)
    found, expected = gone_on.to_arrow(), everything.to_arrow()
    assert found.schema == expected.schema
    for name in expected.column_names:
        values = expected[name].to_pylist()
        if name in ("clip_sim", "clip_sim_mixed", "pcs"):  # the encoder saw other batches
            values = pytest.approx(values, abs=2e-5)
        assert found[name].to_pylist() == values, name


def added_by(rows: Path, out: Path, count: int, deaths: dict | None = None) -> list[str]:
    command = [sys.executable, "-c", ADDS, *map(str, (rows, out, count, json.dumps(deaths or {})))]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=300)
    return sorted(done.stdout.splitlines())


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_ray_makes_the_same_table_and_goes_on(rows, whole, tiny_clip, tmp_path):
    import ray

    dataset, settings = random_dataset(27), {"scores": scores_of(tiny_clip), "rows_per_shard": 4, "batch_size": 2}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        score_for(dataset, RECIPE, tmp_path / "ray", **settings, engine="ray")
        with pytest.raises(Crash):
            score_for(dataset, RECIPE, tmp_path / "both", **settings, progress=crash_at(12))
        score_for(dataset, RECIPE, tmp_path / "both", **settings, engine="ray")
    finally:
        ray.shutdown()
    for name in ("ray", "both"):
        table = ScoreTable.load(tmp_path / name)
        assert [path.read_bytes() for path in table.paths] == [
            path.read_bytes() for path in ScoreTable.load(whole).paths
        ]


def test_a_file_that_another_process_replaces_is_read_again(whole, monkeypatch):
    """As DuckDB says it, once; a process that is alone is told at once."""
    calls = []

    def failing_once(table, rules):
        calls.append(rules)
        if len(calls) == 1:
            raise OSError("IO Error: could not read enough bytes")
        return rows_left(table, rules)

    monkeypatch.setattr(cascade, "rows_left", failing_once)
    monkeypatch.setattr(cascade, "POLL", 0)
    rules = RECIPE.rules[:1]
    assert np.array_equal(cascade._rows_left_so_far(whole, rules, 2), rows_left(whole, rules))
    assert len(calls) == 2
    calls.clear()
    with pytest.raises(OSError, match="IO Error"):
        cascade._rows_left_so_far(whole, rules, 1)
