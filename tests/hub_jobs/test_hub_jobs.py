"""A table made by jobs: the very script in processes of this machine, some of which are killed."""

import io
import json
import re

import pytest
from datasets import Dataset
from huggingface_hub import HfApi
from support.plain_uploads import install
from support.rows import random_dataset

from sds_hf import Boundary, ClassesPresent, Recipe, ScoreTable, score_for, score_table, select
from sds_hf.cli import main
from sds_hf.data.access.remote import folder_at
from sds_hf.data.opening import open_dataset
from sds_hf.hub_jobs import fleet
from sds_hf.hub_jobs.fleet import score_by_jobs
from sds_hf.hub_jobs.left import Pace, left_of
from sds_hf.hub_jobs.order import Order, make_order
from sds_hf.hub_jobs.script import job_script
from sds_hf.table.shards import Shard, Shards

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


PLAN = Recipe.from_dict({"scores": {"classes_present": {}}})


def order(out: str, jobs: int = 2, **options) -> Order:
    settings = {"flavor": "cpu-basic", "hours": 1.0, "package": f"sds-hf=={version()}", "plan": PLAN, **options}
    settings = {"rows_per_shard": 3, "arguments": ("--scores", "classes_present"), **settings}
    return make_order(RAW, out, jobs=jobs, **settings)


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
    assert asked.most_dollars == pytest.approx(2 * 5 * 3, abs=0.1)
    assert asked.rows == 27
    assert re.fullmatch("[0-9a-f]{40}", asked.revision)
    left = left_of(asked)  # nine shards of three rows: one of eight jobs has two
    assert (left.rows, left.shares, left.finished, left.trial) == (27, (6, *[3] * 7), 0, "1/9")
    assert left.takes(Pace(3 / 3600), asked) == (pytest.approx(7200), pytest.approx(9 * 5, abs=0.01))
    assert left.takes(Pace(3 / 3600, 360), asked) == (pytest.approx(7560), pytest.approx(9 * 5 + 8 * 0.5, abs=0.01))


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
        make_order(
            settings.pop("dataset"), settings.pop("out"), [], plan=PLAN, jobs=1, hours=1, package="sds-hf", **settings
        )


def test_the_script_is_one_file_without_secrets(raw):
    script = job_script(order(f"{OUT}/none"))
    compile(script, "job.py", "exec")
    assert script.startswith('# /// script\n# requires-python = ">=3.11"\n# dependencies = ["sds-hf==')
    assert "hf_user" not in script


@pytest.mark.slow
def test_a_bucket_is_a_folder(hub):
    folder = folder_at(f"{OUT}/deep/folder")
    HfApi().create_bucket("user/scores", exist_ok=True)
    assert folder_at(folder) is folder
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


def test_a_file_that_is_removed_while_it_is_read_is_not_found(hub):
    """As journals are by the job that ends the table; the client asks twice, and its own error is another."""
    HfApi().create_bucket("user/scores", exist_ok=True)
    folder = folder_at(f"{OUT}/removed")
    journals = [folder / f"finished-{number:05d}.jsonl" for number in range(3)]
    for number, journal in enumerate(journals):
        shard = Shard(f"scores-{number:05d}-of-00003.parquet", 3, 0, "0" * 64, "0" * 64)
        journal.write_bytes(json.dumps(shard.entry()).encode() + b"\n")
    hub.faults.add(
        "GET /buckets/.*finished-00001", "sleep", s=0, call=lambda: folder_at(str(journals[1])).unlink(missing_ok=True)
    )
    assert [number for number, _ in Shards(folder, 9, 3).news()] == [0, 2]
    assert not hub.faults.take("GET /buckets/finished-00001")  # it did happen
    with pytest.raises(FileNotFoundError, match=r"finished-00001\.jsonl"):
        journals[1].read_bytes()


def test_a_file_that_is_replaced_while_it_is_read_is_one_of_both(hub):
    """As the manifest is, by one that lists more shards; a part of one would be no JSON."""
    HfApi().create_bucket("user/scores", exist_ok=True)
    manifest = folder_at(f"{OUT}/replaced") / "manifest.json"
    manifest.write_bytes(b"short")
    hub.faults.add("GET /buckets/.*manifest", "sleep", s=0, call=lambda: manifest.write_bytes(b"longer than before"))
    assert manifest.read_bytes() == b"longer than before"


def test_a_job_that_dies_is_started_again(raw, runner, tmp_path):
    """One of two is killed after its first shard, before the journal knows of it."""
    runner.environments["2/2"] = [{"DIES_AFTER": "1"}]
    said, told = [], []
    table = score_by_jobs(order(f"{OUT}/two"), said.append, lambda rows, failed: told.append(rows))
    assert len(said) == 1
    assert re.fullmatch(r"part 2/2 died \(.*\) and is started again", said[0])
    assert parts(runner) == ["1/2", "2/2", "2/2"], runner.said()
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


def test_a_job_whose_input_is_wrong_is_paid_for_once(raw, runner):
    """Each start would fail alike; the other job is stopped, and the line that the job ended with is passed on."""
    said = []
    message = r"^part ./2 failed, and would again: scores: no score 'pcz'.*; what is finished stays"
    with pytest.raises(ValueError, match=message):
        score_by_jobs(order(f"{OUT}/wrong", arguments=("--scores", "pcz")), said.append)
    assert len(runner.jobs) == 2
    assert [line for line in said if "again" in line] == []


def test_what_a_job_says_in_the_end_is_found_in_its_log():
    """What the interpreter says when it ends comes after it."""
    printed = ['{"step": "scoring"}', "{", '  "error": {', '    "message": "m",', '    "repeats": true', "  }", "}"]
    assert fleet._error([*printed, "a warning {"]) == {"message": "m", "repeats": True}
    assert fleet._error(printed[:-2]) == {}
    assert fleet._error([*printed[:1], "Killed"]) == {}


@pytest.mark.slow
def test_one_job_more_ends_a_table_that_no_job_saw_whole(raw, runner, tmp_path):
    """Also one of which only what is needed is scored, whose manifest counts that."""
    recipe = Recipe.from_yaml(NEEDED)
    (tmp_path / "recipe.yaml").write_text(NEEDED)
    asked = order(f"{OUT}/unseen", arguments=(), plan=recipe, recipe=tmp_path / "recipe.yaml", only_needed=True)
    runner.environments |= {part: [{"SEES_OTHERS": "1"}] for part in asked.parts}
    table = score_by_jobs(asked, lambda sentence: None)
    assert parts(runner) == ["1/2", "2/2", "1/2"], runner.said()
    one = score_for(open_dataset(RAW), recipe, tmp_path / "one", rows_per_shard=3, source=RAW)
    assert (shards(table.folder), table.manifest["needed"]) == (shards(one.folder), one.manifest["needed"])


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
    first = fleet.Fleet(asked, asked.parts, print)
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
    assert "about 11 s and $0.01 at 2.5 rows/s a job, and as long as it takes to start" in said  # one shard, one job
    assert "at most          4.0 h a job, $480.00 if each is started 3 times" in said
    assert not runner.jobs
    monkeypatch.undo()
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(words) == 2
    assert "nobody answered: --yes starts without" in " ".join(capsys.readouterr().err.split())
    for option in ("--json", "--quiet"):
        assert main([*words, option]) == 2
        assert f"{option} asks no questions: give --yes" in "".join(capsys.readouterr())
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


# Only what a recipe's rules need

NEEDED = """
name: needed
scores: {boundary: {}}
rules:
  - threshold: {column: num_classes_present, above: 1}
  - top_per_group: {column: boundary, by: [num_classes_present], fraction: 0.6}
"""
WITH_MODEL = """
name: with-model
model: demo
scores: {pcs: {dtype: fp32, scales: [3], orders: 2}, boundary: {}}
rules:
  - threshold: {column: clip_sim, above: 0.3}
  - threshold: {column: pcs, above: -0.02}
  - top_per_group: {column: boundary, by: [num_classes_present], fraction: 0.6}
"""


def typed(recipe, out: str, *more: str) -> list[str]:
    words = ["score", RAW, "--engine", "jobs", "--flavor", "cpu-basic", "--shards", "3", "--for", str(recipe)]
    return [*words, "--out", out, "--rows-per-shard", "3", "--package", f"sds-hf=={version()}", "--yes", *more]


@pytest.mark.parametrize(
    "text", [NEEDED, pytest.param(WITH_MODEL, marks=pytest.mark.slow)], ids=["light scores", "a model"]
)
def test_jobs_score_what_a_recipe_needs(raw, runner, capsys, tmp_path, text):
    """One of three is killed after its first shard: the table is that of one process, and so are the rows selected."""
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    recipe = Recipe.load(file)
    out = f"{OUT}/{recipe.name}"
    runner.environments["2/3"] = [{"DIES_AFTER": "1"}]
    assert main(typed(file, out, "--json")) == 0
    assert json.loads(capsys.readouterr().out)["result"]["needed"]["rows"]["boundary"] < 27
    assert sorted(parts(runner)) == ["1/3", "2/3", "2/3", "3/3"], runner.said()
    one = score_for(open_dataset(RAW), recipe, tmp_path / "one", rows_per_shard=3, source=RAW)
    table = ScoreTable.load(out)
    assert shards(table.folder) == shards(one.folder)
    assert table.manifest | {"created": None} == one.manifest | {"created": None}
    everything = score_table(open_dataset(RAW), recipe.make_scores(), tmp_path / "all", rows_per_shard=3)
    chosen = select(table, recipe).table()
    assert chosen == select(everything, recipe).table()
    assert 0 < chosen["kept"].to_pylist().count(True) < 27
    assert main(typed(file, out, "--json")) == 0  # there is nothing left to pay for
    assert len(runner.jobs) == 4


def test_what_jobs_cannot_make_of_a_recipe_is_said_before(raw, runner, capsys, tmp_path):
    def said(recipe: str, out: str, *more: str) -> str:
        (tmp_path / "recipe.yaml").write_text(recipe)
        assert main(typed(tmp_path / "recipe.yaml", out, *more)) == 2
        return " ".join(capsys.readouterr().err.split())

    quantile = NEEDED.replace("above: 1", "above: q0.5")
    refusal = said(quantile, f"{OUT}/refused")
    assert "'num_classes_present > q0.5' looks at all rows before what comes after it is scored, so parts" in refusal
    assert "jobs wait for nobody: score here or with --engine ray, or score everything into another --out" in refusal
    assert "the rules read ['pcs'], which no score" in said(
        NEEDED.replace("column: boundary", "column: pcs"), f"{OUT}/x"
    )
    (tmp_path / "clip").mkdir()
    local = WITH_MODEL.replace("demo", str(tmp_path / "clip"))
    assert f"jobs cannot see {tmp_path / 'clip'}, which lies on this machine" in said(local, f"{OUT}/refused")
    assert not runner.jobs


def test_a_table_of_another_request_is_neither_returned_nor_paid_for(raw, runner, tmp_path, capsys):
    """Before, a finished table in the bucket was the answer, whatever was asked."""
    folder, out = folder_at(f"{OUT}/taken"), f"{OUT}/taken"
    HfApi().create_bucket("user/scores", exist_ok=True)

    def put(table: ScoreTable, **changes) -> None:
        for path in table.folder.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        (folder / "manifest.json").write_bytes(json.dumps(table.manifest | changes).encode())

    def refused(**changes) -> str:
        with pytest.raises(ValueError, match=r".") as caught:
            order(out, **changes)
        return str(caught.value)

    rows, settings = open_dataset(RAW), {"rows_per_shard": 3, "source": RAW}
    put(score_table(rows, [Boundary()], tmp_path / "boundary", **settings))
    assert "holds scores of another request, which differs in boundary: choose another out=" in refused()
    recipe = Recipe.from_dict({"scores": {"boundary": {"instances": "column"}}})
    assert "differs in boundary.instances" in refused(plan=recipe)
    same = Recipe.from_dict({"scores": {"boundary": {}}})
    assert "differs in rows_per_shard" in refused(plan=same, rows_per_shard=9)
    assert order(out, plan=same).rows == 27
    put(score_table(rows, [Boundary()], tmp_path / "other", rows_per_shard=3, source="user/other"))
    assert "differs in the dataset" in refused(plan=same)
    needed = Recipe.from_yaml(NEEDED)
    put(ScoreTable.load(tmp_path / "boundary"), complete=False)
    assert "holds an unfinished table of all scores" in refused(plan=needed, only_needed=True)
    put(score_for(rows, needed, tmp_path / "needed", **settings))
    assert "has only what the rules of 'needed' needed" in refused(plan=same)
    assert "is scored for other rules" in refused(plan=needed.model_copy(update={"name": "else"}), only_needed=True)
    assert order(out, plan=needed, only_needed=True).only_needed


# A trial: one shard, which counts


def asking(monkeypatch, *answers: bool) -> list[str]:
    """Answer questions in order; returns those that are asked."""
    left, asked = list(answers), []
    monkeypatch.setattr("typer.confirm", lambda text: asked.append(text) or left.pop(0))
    return asked


def words_for(out: str, *more: str) -> list[str]:
    words = ["score", RAW, "--engine", "jobs", "--flavor", "h200", "--shards", "2", "--out", out, *more]
    return [*words, "--scores", "classes_present", "--rows-per-shard", "3", "--package", f"sds-hf=={version()}"]


def last_line_of_progress(runner) -> dict:
    (job,) = runner.jobs.values()
    return [json.loads(line) for line in job["log"].read_text().splitlines() if line.startswith('{"step"')][-1]


def test_a_trial_says_time_and_price_before_the_rest(raw, runner, capsys, monkeypatch, tmp_path):
    """It is asked for by itself; what is said is rows by the seconds that the job scored, and its start besides."""
    out = f"{OUT}/tried"
    asked = asking(monkeypatch, False)
    assert main(words_for(out)) == 1
    assert (asked, len(runner.jobs)) == (["Start one job as a trial?"], 0)
    said = capsys.readouterr().out
    assert "time and price   not known yet: one job scores one shard, which stays in the table, and measures" in said
    assert "at most          4.0 h, $60.00 if it is started 3 times" in said

    asked = asking(monkeypatch, True, False)
    assert main(words_for(out)) == 1
    assert asked == ["Start one job as a trial?", "Start the jobs?"]
    assert parts(runner) == ["1/9"], runner.said()
    assert [path.name for path in folder_at(out).glob("scores-*")] == ["scores-00000-of-00009.parquet"]
    line, said = last_line_of_progress(runner), capsys.readouterr().out
    assert line["done"] == line["total"] == 3
    assert line["rows_per_s"] == pytest.approx(3 / line["elapsed_s"], rel=0.2)  # of a moment, in milliseconds
    took, rate = re.findall(r"trial: 3 rows scored in (\d+) s, ([\d.]+) rows/s; ", said)[0]
    assert int(took) == pytest.approx(line["elapsed_s"], abs=0.6)
    assert float(rate) == pytest.approx(line["rows_per_s"], rel=0.01)
    (job,) = runner.jobs.values()
    start = job["ended"] - job["started"] - line["elapsed_s"]
    (told,) = re.findall(r"rows/s; (\d+) s of the job besides, to install, load and end", said)
    assert int(told) == pytest.approx(start, abs=1.1)
    assert "left             24 rows" in said
    (seconds, dollars) = re.findall(
        r"about (\d+) s and \$([\d.]+) at .* rows/s a job, \d+ s a job for its start", said
    )[0]
    assert int(seconds) == pytest.approx(12 / line["rows_per_s"] + start, abs=1.6)  # four shards each
    assert float(dollars) == pytest.approx((24 / line["rows_per_s"] + 2 * start) / 3600 * 5, abs=0.01)
    assert "at most          4.0 h a job, $120.00 if each is started 3 times" in said

    asked = asking(monkeypatch, True)
    assert main(words_for(out, "--pace", "2")) == 0  # who knows the pace is not asked for a trial
    assert asked == ["Start the jobs?"]
    assert "27 rows, 3 of them finished" in capsys.readouterr().out
    assert sorted(parts(runner)) == ["1/2", "1/9", "2/2"], runner.said()
    assert shards(ScoreTable.load(out).folder) == whole(tmp_path)


@pytest.mark.slow
def test_a_trial_that_is_killed_goes_on_and_may_be_all(raw, runner, capsys, monkeypatch):
    """Nothing else is asked where one shard is the whole table."""
    runner.environments["1/1"] = [{"DIES_AFTER": "1"}]
    asked = asking(monkeypatch, True)
    words = [*words_for(f"{OUT}/one-shard"), "--rows-per-shard", "100"]
    assert main(words) == 0
    assert asked == ["Start one job as a trial?"]
    assert parts(runner) == ["1/1", "1/1"], runner.said()
    assert "27 rows" in capsys.readouterr().out


@pytest.mark.slow
def test_a_trial_of_rows_that_nobody_counted(raw, runner, capsys, monkeypatch):
    """The table it begins knows how many there are."""
    monkeypatch.setattr("sds_hf.hub_jobs.order._rows", lambda card, split: None)
    asked = asking(monkeypatch, True, False)
    assert main(words_for(f"{OUT}/uncounted")) == 1
    said = capsys.readouterr().out
    assert "rows that its card does not count" in said
    assert "left             24 rows" in said
    assert len(asked) == 2


@pytest.mark.slow
def test_no_trial_while_jobs_are_at_work(raw, runner, capsys, monkeypatch):
    out = f"{OUT}/at-work"
    recipe = Recipe.from_dict({"scores": {"classes_present": {}}})
    asked_for = order(out, plan=recipe)
    fleet.Fleet(asked_for, asked_for.parts, print).start()
    asked = asking(monkeypatch, True)
    assert main(words_for(out)) == 0
    assert asked == ["Start the jobs?"]
    assert len(runner.jobs) == 2


@pytest.mark.slow
def test_a_log_without_a_pace_is_said(raw, runner, capsys, monkeypatch):
    monkeypatch.setattr(fleet.Fleet, "_log", lambda self, job: None)
    asked = asking(monkeypatch, True, False)
    assert main(words_for(f"{OUT}/silent")) == 1
    said = capsys.readouterr().out
    assert "the trial's log has no pace; what it scored stays" in said
    assert "time and price   not known: --pace says how many rows/s" in said
    assert len(asked) == 2
