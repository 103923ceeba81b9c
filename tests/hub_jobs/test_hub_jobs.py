"""A table made by jobs: the very script in processes of this machine, some of which are killed."""

import io
import json
import re

import pytest
from datasets import Dataset
from huggingface_hub import HfApi
from support.plain_uploads import install
from support.rows import random_dataset

from sds_hf import ClassesPresent, ScoreTable, score_table
from sds_hf.cli import main
from sds_hf.data.access.remote import folder_at
from sds_hf.data.opening import open_dataset
from sds_hf.hub_jobs import fleet
from sds_hf.hub_jobs.fleet import score_by_jobs
from sds_hf.hub_jobs.order import Order, make_order
from sds_hf.hub_jobs.script import job_script

pytest.importorskip("upath")
OUT = "hf://buckets/user/scores"
RAW = "user/raw-for-jobs"


@pytest.fixture(scope="module", autouse=True)
def _plain_uploads():
    original = HfApi.batch_bucket_files
    install()
    yield
    HfApi.batch_bucket_files = original


@pytest.fixture(scope="module")
def raw() -> Dataset:
    """27 rows on the Hub."""
    rows = random_dataset(27)
    rows.push_to_hub(RAW)
    return rows


@pytest.fixture
def runner(hub, monkeypatch):
    """What runs the jobs, and a short pause between two looks at them."""
    monkeypatch.setattr(fleet, "POLL", 0.2)
    hub.job_runner.jobs.clear()
    hub.job_runner.environments.clear()
    yield hub.job_runner
    hub.job_runner.stop()


def order(out: str, jobs: int = 2, arguments: tuple[str, ...] = (), **options) -> Order:
    arguments = ("--scores", "classes_present", "--rows-per-shard", "3", *arguments)
    settings = {"flavor": "cpu-basic", "hours": 1.0, "package": f"sds-hf=={version()}", **options}
    return make_order(RAW, out, arguments, jobs=jobs, **settings)


def version() -> str:
    from importlib.metadata import version

    return version("sds-hf")


def whole(tmp_path) -> dict[str, bytes]:
    """The shards that one process makes of the same dataset."""
    score_table(open_dataset(RAW), [ClassesPresent()], tmp_path / "whole", rows_per_shard=3)
    return shards(tmp_path / "whole")


def shards(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name.startswith("scores-")}


def parts(runner) -> list[str]:
    """The part of each job that was started, in order."""
    return [job["spec"]["command"][-1] for job in runner.jobs.values()]


def test_what_it_costs(raw):
    asked = order(f"{OUT}/none", jobs=8, flavor="h200", hours=2.0)
    assert asked.dollars_an_hour == pytest.approx(5.0, abs=0.001)
    assert asked.hardware == "23 vCPU, 256 GB, H200 of 141 GB"
    assert asked.most_dollars == pytest.approx(8 * 2 * 5 * 3, abs=0.1)
    assert asked.rows == 27
    assert re.fullmatch("[0-9a-f]{40}", asked.revision)
    hours, dollars = asked.dollars(27 / 8 / 3600)
    assert (hours, dollars) == (pytest.approx(1.0), pytest.approx(40.0, abs=0.01))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"out": "scores"}, "jobs write into a bucket, not to scores: give out=hf://buckets/user/name/folder"),
        ({"out": "hf://buckets/user/scores"}, "give out=hf://buckets/user/name/folder"),
        ({"dataset": "candidates"}, "jobs read a dataset of the Hub, not candidates: push it there and give its id"),
        ({"flavor": "h20"}, "there is no machine 'h20'; did you mean 'h200'"),
        ({"flavor": "h200x8"}, "a job uses one GPU and h200x8 has 8: take one with 1, and more shards="),
    ],
)
def test_what_jobs_cannot_do_is_said_before(raw, changes, message):
    settings = {"dataset": RAW, "out": f"{OUT}/none", "flavor": "h200", **changes}
    with pytest.raises(ValueError, match=message):
        make_order(settings.pop("dataset"), settings.pop("out"), [], jobs=1, hours=1, package="sds-hf", **settings)


def test_the_script_is_one_file_without_secrets(raw):
    script = job_script(order(f"{OUT}/none"))
    compile(script, "job.py", "exec")
    assert script.startswith('# /// script\n# requires-python = ">=3.11"\n# dependencies = ["sds-hf==')
    assert "hf_user" not in script


@pytest.mark.slow
def test_a_bucket_is_a_folder(hub):
    folder = folder_at(f"{OUT}/deep/folder")
    HfApi().create_bucket("user/scores", exist_ok=True)
    assert not folder.exists()
    (folder / "a.json").write_bytes(b"one")
    (folder / "b.json").write_bytes(b"two")
    (folder / "a.json").write_bytes(b"three")
    assert sorted(path.name for path in folder.iterdir()) == ["a.json", "b.json"]
    assert (folder / "a.json").read_bytes() == b"three"
    assert [path.name for path in folder.glob("b*.json")] == ["b.json"]
    (folder / "b.json").unlink()
    (folder / "b.json").unlink(missing_ok=True)
    assert not (folder / "b.json").exists()


def test_a_job_that_dies_is_started_again(raw, runner, tmp_path):
    """One of two is killed after its first shard, before the journal knows of it."""
    runner.environments["2/2"] = [{"DIES_AFTER": "1"}]
    said, told = [], []
    table = score_by_jobs(order(f"{OUT}/two"), said.append, lambda rows, failed: told.append(rows))
    assert len(said) == 1
    assert re.fullmatch(r"part 2/2 died \(.*\) and is started again", said[0])
    assert parts(runner) == ["1/2", "2/2", "2/2"]
    assert shards(table.folder) == whole(tmp_path)
    assert table.manifest["complete"]
    assert table.manifest["source"]["name"] == RAW
    assert told == sorted(told)
    assert all(job["spec"]["secrets"] == {"HF_TOKEN": "hf_user"} for job in runner.jobs.values())
    again = score_by_jobs(order(f"{OUT}/two"), said.append)
    assert (len(runner.jobs), again.sha256) == (3, table.sha256)  # a whole table starts nothing


@pytest.mark.slow
def test_three_of_eight_are_killed(raw, runner, tmp_path):
    """One of them twice; nine shards, so the first job has two."""
    runner.environments |= {
        "1/8": [{"DIES_AFTER": "2"}],
        "4/8": [{"DIES_AFTER": "1"}] * 2,
        "7/8": [{"DIES_AFTER": "1"}],
    }
    said = []
    table = score_by_jobs(order(f"{OUT}/eight", jobs=8), said.append)
    assert len([line for line in said if "is started again" in line]) == 4
    assert sorted(parts(runner)) == sorted([f"{n}/8" for n in range(1, 9)] + ["1/8", "4/8", "4/8", "7/8"])
    assert shards(table.folder) == whole(tmp_path)
    assert ScoreTable.load(f"{OUT}/eight").to_arrow()["id"].to_pylist() == raw["id"][:]
    assert sorted(path.name for path in folder_at(f"{OUT}/eight").iterdir()) == [
        "manifest.json",
        *sorted(shards(table.folder)),
    ]


@pytest.mark.slow
def test_a_job_that_always_dies_is_given_up(raw, runner, tmp_path):
    runner.environments["1/2"] = [{"DIES_AFTER": "1"}] * 3
    with pytest.raises(OSError, match=r"1 of 2 jobs did not finish, the first, part 1/2: .*run the same command again"):
        score_by_jobs(order(f"{OUT}/lost"), lambda sentence: None)
    assert parts(runner).count("1/2") == 3
    table = score_by_jobs(order(f"{OUT}/lost"), lambda sentence: None)
    assert shards(table.folder) == whole(tmp_path)


@pytest.mark.slow
def test_ctrl_c_cancels_what_runs(raw, runner):
    def stop(rows: int, failed: int) -> None:
        raise KeyboardInterrupt

    said = []
    with pytest.raises(KeyboardInterrupt):
        score_by_jobs(order(f"{OUT}/stopped"), said.append, stop)
    assert said[-2:] == ["part 1/2 is cancelled", "part 2/2 is cancelled"]
    assert {runner.stage(name) for name in runner.jobs} == {"CANCELED"}


@pytest.mark.slow
def test_another_run_watches_what_is_at_work(raw, runner):
    asked = order(f"{OUT}/watched")
    first = fleet.Fleet(asked, print)
    first.start()
    said = []
    table = score_by_jobs(asked, said.append)
    assert said == ["part 1/2 runs already", "part 2/2 runs already"]
    assert (len(runner.jobs), table.manifest["complete"]) == (2, True)


def test_the_command_says_the_price_and_asks(raw, runner, capsys, monkeypatch):
    words = ["score", RAW, "--engine", "jobs", "--flavor", "h200", "--shards", "8", "--out", f"{OUT}/asked"]
    asked = []
    monkeypatch.setattr("typer.confirm", lambda text: bool(asked.append(text)))
    assert main([*words, "--pace", "2.5"]) == 1
    said = capsys.readouterr().out
    assert asked == ["Start the jobs?"]
    assert f"{RAW} at " in said
    assert "27 rows" in said
    assert "8 x h200 (23 vCPU, 256 GB, H200 of 141 GB), $5.00 an hour each" in said
    assert "about 1 s and $0.01 at 2.5 rows/s a job" in said
    assert "at most          4.0 h a job, $480.00 if each is started 3 times" in said
    assert not runner.jobs
    monkeypatch.undo()
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(words) == 2
    assert "nobody answered: --yes starts without" in " ".join(capsys.readouterr().err.split())
    assert main([*words, "--json"]) == 2
    assert "--json asks no questions: give --yes" in capsys.readouterr().out
    assert main([*words, "--streaming"]) == 2
    assert main([*words[:4], "--out", f"{OUT}/asked"]) == 2
    assert "needs --flavor" in capsys.readouterr().err
    assert main(["score", RAW, "--out", "scores", "--flavor", "h200"]) == 2
    assert "are of --engine jobs" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_scores(raw, runner, capsys, tmp_path):
    words = ["score", RAW, "--engine", "jobs", "--flavor", "cpu-basic", "--shards", "2", "--out", f"{OUT}/typed"]
    words += ["--scores", "classes_present", "--rows-per-shard", "3", "--package", f"sds-hf=={version()}"]
    assert main([*words, "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["rows"] == 27
    assert shards(ScoreTable.load(f"{OUT}/typed").folder) == whole(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: many\nrules:\n  - threshold: {column: num_classes_present, above: 1}\n")
    assert main(["select", f"{OUT}/typed", "--recipe", str(recipe), "--out", str(tmp_path / "selection")]) == 0
