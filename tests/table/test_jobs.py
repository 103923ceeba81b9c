"""The job around the scores: reading ahead, what a crash leaves, going on, scoring failures again."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, load_dataset
from hypothesis import given
from hypothesis import strategies as st
from support.crashes import Crash, crash_at
from support.models import make_clip
from support.rows import random_dataset

from sds_hf import ClassesPresent, ClipSim, ScoreTable, progress, score_table
from sds_hf.data.content import content_digest, quick_content_digest
from sds_hf.prefetch import prefetch
from sds_hf.table.job import batches_of
from sds_hf.table.manifest import MANIFEST
from sds_hf.table.plan import plan_table
from sds_hf.table.ray_engine import RayJob
from sds_hf.table.shards import JOURNAL, Shards
from sds_hf.table.team import finishing

ONE = [ClassesPresent()]


def manifest_of(folder: Path) -> dict:
    return json.loads((folder / MANIFEST).read_text())


def shard_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("scores-*.parquet"))}


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in sorted(folder.glob("scores-*.parquet"))}


# Reading ahead


@given(st.lists(st.integers()), st.integers(1, 4))
def test_everything_comes_in_order(items, depth):
    assert list(prefetch(iter(items), depth)) == items


def test_the_next_items_are_made_while_one_is_used():
    made, reached = [], threading.Event()

    def items():
        for item in range(100):
            made.append(item)
            if item == 3:
                reached.set()
            yield item

    ahead = prefetch(items(), depth=2)
    assert next(ahead) == 0
    assert reached.wait(20)  # two lie ready, one waits for room
    for wanted in range(1, 50):
        assert next(ahead) == wanted
        assert len(made) <= wanted + 4
    ahead.close()


def test_an_error_of_the_reader_is_raised_after_the_items_before_it():
    def items():
        yield 1
        yield 2
        raise ValueError("row 3 is broken")

    ahead = prefetch(items())
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(ValueError, match="row 3 is broken"):
        next(ahead)


def test_a_reader_that_nobody_listens_to_ends():
    ended = threading.Event()

    def items():
        try:
            yield from range(1000)
        finally:
            ended.set()

    source = items()
    ahead = prefetch(source, depth=1)
    next(ahead)
    thread = next(thread for thread in threading.enumerate() if thread.name == "sds-hf-prefetch")
    ahead.close()
    thread.join(20)
    assert not thread.is_alive()
    source.close()
    assert ended.is_set()


# Ctrl-C


@pytest.fixture
def listening():
    """Ctrl-C as a program in the foreground gets it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("listening")
def test_the_first_ctrl_c_waits_and_the_second_does_not(caplog):
    done = []
    with pytest.raises(KeyboardInterrupt), finishing("the shard in hand") as stop_if_asked:  # noqa: PT012
        stop_if_asked()
        signal.raise_signal(signal.SIGINT)
        done.append("finished")
        assert "finishing the shard in hand before stopping; Ctrl-C again stops at once" in caplog.text
        stop_if_asked()
    with pytest.raises(KeyboardInterrupt), finishing("the shard in hand"):  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        done.append("not reached")
    assert done == ["finished"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


CTRL_C = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from datasets import load_dataset
from sds_hf import ClassesPresent, score_table

def progress(done, failed):
    print(done, flush=True)
    if done == 4:
        sys.stdin.readline()  # the signal comes first

rows = load_dataset(sys.argv[1], split="train")
score_table(rows, [ClassesPresent()], sys.argv[2], rows_per_shard=3, batch_size=1, progress=progress)
"""


def test_ctrl_c_finishes_the_shard_in_hand(stored, dataset, tmp_path):
    command = [sys.executable, "-c", CTRL_C, str(stored), str(tmp_path / "scores")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True) as process:
        for line in process.stdout:
            if line == "4\n":
                break
        process.send_signal(signal.SIGINT)
        rest, said = process.communicate("\n")
    assert rest.split() == ["5", "6"]
    assert process.returncode == -signal.SIGINT, said
    assert re.search(r"finishing the shard in hand before stopping, about \d+ s; Ctrl-C again stops at once", said)
    assert len(shard_bytes(tmp_path / "scores")) == 2
    calls = []
    score_table(dataset, ONE, tmp_path / "scores", rows_per_shard=3, progress=lambda *done: calls.append(done[0]))
    assert calls == [6, 7, 9, 10, 12]


@pytest.mark.usefixtures("listening")
def test_ctrl_c_does_not_wait_for_a_shard_that_takes_long(dataset, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(progress, "MINUTE", 1e-9)
    calls = []

    def stop(finished_rows: int, failed: int) -> None:
        calls.append(finished_rows)
        if finished_rows == 7:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        score_table(dataset, ONE, tmp_path / "scores", rows_per_shard=12, progress=stop)
    assert "as far as the batch: the rest would take another 0 s; its rows so far are kept" in caplog.text
    assert calls == [0, 1, 3, 7]
    assert not shard_bytes(tmp_path / "scores")
    calls.clear()
    score_table(dataset, ONE, tmp_path / "scores", rows_per_shard=12, progress=lambda *done: calls.append(done[0]))
    assert calls == [7, 12]
    score_table(dataset, ONE, tmp_path / "whole", rows_per_shard=12)
    assert shard_bytes(tmp_path / "scores") == shard_bytes(tmp_path / "whole")
    assert sorted(path.name for path in (tmp_path / "scores").iterdir()) == [MANIFEST, *shard_bytes(tmp_path / "whole")]


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("minute", [60.0, 1e-9])
def test_ctrl_c_waits_for_the_shard_of_a_stream_and_says_how_long(dataset, tmp_path, monkeypatch, caplog, minute):
    """Rows of a stream are not kept before their shard is written, so nothing else is said of one that takes long."""
    monkeypatch.setattr(progress, "MINUTE", minute)
    calls = []

    def stop(finished_rows: int, failed: int) -> None:
        calls.append(finished_rows)
        if finished_rows == 5:
            signal.raise_signal(signal.SIGINT)

    stream = dataset.to_iterable_dataset()
    with pytest.raises(KeyboardInterrupt):
        score_table(stream, ONE, tmp_path / "scores", rows_per_shard=4, batch_size=1, progress=stop)
    assert re.search(r"finishing the shard in hand before stopping, about \d+ s; Ctrl-C again", caplog.text)
    assert calls == list(range(9))
    assert len(shard_bytes(tmp_path / "scores")) == 2


def test_an_engine_that_hands_over_whole_shards_keeps_nothing_of_one(monkeypatch):
    monkeypatch.setattr(progress, "MINUTE", 1e-9)
    hand = progress.Hand(keeps=RayJob.comes_in_batches)
    hand.take_up(10)
    assert hand.told() == ""
    assert not hand.is_to_be_kept_after(5, True)
    assert re.fullmatch(r", about \d+ s", hand.told())


# What a crash leaves


@pytest.fixture
def crashed(dataset, tmp_path) -> Path:
    """A table of which two shards of three rows were finished."""
    with pytest.raises(Crash):
        score_table(dataset, ONE, tmp_path / "crashed", rows_per_shard=3, progress=crash_at(9))
    return tmp_path / "crashed"


def go_on(dataset, folder: Path) -> list[int]:
    """Rows done whenever that is told."""
    calls = []
    job = {"rows_per_shard": 3, "batch_size": 32}
    score_table(dataset, ONE, folder, **job, progress=lambda done, failed: calls.append(done))
    return calls


def test_checksums_are_kept_as_shards_are_finished(dataset, crashed, tmp_path):
    assert manifest_of(crashed)["shards"] == []
    lines = [json.loads(line) for line in (crashed / JOURNAL).read_text().splitlines()]
    assert [(line["path"], line["rows"], line["failed"]) for line in lines] == [
        ("scores-00000-of-00004.parquet", 3, 0),
        ("scores-00001-of-00004.parquet", 3, 0),
    ]
    whole = score_table(dataset, ONE, tmp_path / "whole", rows_per_shard=3)
    assert go_on(dataset, crashed) == [6, 9, 12]
    assert shard_bytes(crashed) == shard_bytes(whole.folder)
    assert manifest_of(crashed) | {"created": 0} == manifest_of(whole.folder) | {"created": 0}
    assert sorted(path.name for path in crashed.iterdir()) == [MANIFEST, *shard_bytes(crashed)]


@pytest.mark.parametrize("harm", ["shard", "line", "journal"])
def test_only_what_is_known_to_be_whole_is_kept(dataset, crashed, harm):
    first, second = sorted(crashed.glob("scores-*.parquet"))
    journal = crashed / JOURNAL
    if harm == "shard":  # Parquet, but of other rows
        first.write_bytes(second.read_bytes())
    elif harm == "line":  # the machine died while it was written
        journal.write_text(journal.read_text()[:-30])
    else:
        journal.unlink()
    (crashed / "scores-00003-of-00004.99.part").write_bytes(b"half of it")
    assert go_on(dataset, crashed)[0] == (0 if harm == "journal" else 3)
    assert ScoreTable.load(crashed).to_arrow()["id"].to_pylist() == dataset["id"]
    assert not list(crashed.glob("*.part"))


def test_a_shard_of_a_crashed_run_is_known_after_the_next_crash(dataset, crashed):
    with pytest.raises(Crash):
        score_table(dataset, ONE, crashed, rows_per_shard=3, progress=crash_at(12))
    assert go_on(dataset, crashed) == [9, 12]


@pytest.mark.parametrize("harm", ["none", "byte", "half", "other rows"])
def test_a_shard_goes_on_after_the_rows_that_were_kept(dataset, tiny_clip, tmp_path, monkeypatch, harm):
    scores = [ClipSim(model=tiny_clip, dtype="fp32")]
    monkeypatch.setattr(progress, "MINUTE", 0)  # everything is kept at once
    with pytest.raises(Crash):
        score_table(dataset, scores, tmp_path / "cut", rows_per_shard=8, batch_size=3, progress=crash_at(6))
    (kept,) = (tmp_path / "cut").glob("unfinished-*.arrow")
    data = kept.read_bytes()
    if harm == "byte":
        kept.write_bytes(data[:-100] + bytes([data[-100] ^ 1]) + data[-99:])
    elif harm == "half":
        kept.write_bytes(data[: len(data) // 2])
    elif harm == "other rows":
        Shards(tmp_path / "cut", 12, 8).keep_begun(0, pa.table({"status": ["ok"]}), [b""], "of another dataset")
    calls = []
    score_table(
        dataset, scores, tmp_path / "cut", rows_per_shard=8, batch_size=3, progress=lambda *done: calls.append(done[0])
    )
    assert calls[0] == (3 if harm == "none" else 0)
    whole = score_table(dataset, scores, tmp_path / "whole", rows_per_shard=8, batch_size=3)
    assert shard_bytes(tmp_path / "cut") == shard_bytes(whole.folder)
    assert manifest_of(tmp_path / "cut") | {"created": 0} == manifest_of(whole.folder) | {"created": 0}


@given(st.integers(0, 60), st.integers(1, 5), st.integers(1, 9), st.integers(0, 60))
def test_batches_of_a_shard_end_where_they_did_before_it_was_cut(count, first, largest, offset):
    rows, first = range(100, 100 + count), min(first, largest)
    batches = list(batches_of(rows, first, largest))
    assert [row for batch in batches for row in batch] == list(rows)
    sizes = [len(batch) for batch in batches]
    assert sizes[:1] == [min(first, count)][: len(sizes)]
    assert all(size <= largest for size in sizes)
    assert all(later == min(2 * size, largest) for size, later in pairwise(sizes[:-1]))
    rest = list(batches_of(rows[offset:], first, largest, offset))
    assert {batch.stop for batch in rest} == {batch.stop for batch in batches if batch.stop > 100 + offset}


def test_the_first_rows_come_alone_on_a_cpu(dataset, tmp_path):
    calls = []
    score_table(dataset, ONE, tmp_path / "scores", rows_per_shard=8, progress=lambda *done: calls.append(done[0]))
    assert calls == [0, 1, 3, 7, 8, 9, 11, 12]


def test_neither_batches_nor_paths_show_in_the_files(dataset, stored, tiny_clip, tmp_path):
    copy = shutil.copytree(tiny_clip, tmp_path / "clip")
    for name, rows, model, batch_size in (
        ("a", dataset, tiny_clip, 32),
        ("b", load_dataset(str(stored))["train"], copy, 5),
    ):
        scores = [ClassesPresent(), ClipSim(model=str(model), dtype="fp32")]
        score_table(rows, scores[:1], tmp_path / name, rows_per_shard=7, batch_size=batch_size, source=name)
        score_table(rows, scores, tmp_path / "same", rows_per_shard=7, source=name)
    assert shard_bytes(tmp_path / "a") == shard_bytes(tmp_path / "b")
    assert manifest_of(tmp_path / "same")["source"]["name"] == "a"  # the second found all of it done


def test_other_weights_under_the_same_name_are_noticed(dataset, tmp_path):
    scores = [ClipSim(model=str(make_clip(tmp_path / "clip")), dtype="fp32")]
    score_table(dataset, scores, tmp_path / "scores")
    make_clip(tmp_path / "clip", seed=5)
    with pytest.raises(ValueError, match=r"another request \(scores\.clip_sim\.model_digest is "):
        score_table(dataset, scores, tmp_path / "scores")


# What a dataset holds is read once


def disturb(path: Path, where: bytes) -> None:
    """Change a byte but neither size nor time: only who reads the file can know."""
    stat, data = path.stat(), path.read_bytes()
    path.write_bytes(data.replace(where, where[:-1] + b"#", 1))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_digest_is_remembered_until_a_byte_changes(dataset, tmp_path):
    dataset.save_to_disk(tmp_path / "saved")
    (arrow,) = (tmp_path / "saved").glob("*.arrow")
    saved = Dataset.load_from_disk(str(tmp_path / "saved"))
    assert quick_content_digest(saved) is None
    digest = content_digest(saved)
    again = Dataset.load_from_disk(str(tmp_path / "saved"))
    assert content_digest(again) == quick_content_digest(again) == digest == content_digest(dataset)
    assert content_digest(again.select([2, 1])) != content_digest(again.select([1, 2]))
    disturb(arrow, b"row003")  # under the same size and time
    rotten = Dataset.load_from_disk(str(tmp_path / "saved"))
    assert quick_content_digest(rotten) is None
    assert content_digest(rotten) != digest
    assert quick_content_digest(dataset) is None  # in memory there is no file to go by


def test_files_that_cells_name_belong_to_a_dataset(dataset, tmp_path):
    rows = dataset.with_format("arrow")[:].to_pylist()
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(rows[0]["image"]["bytes"])
    rows[0]["image"] = {"bytes": None, "path": str(picture)}
    saved = Dataset.from_generator(lambda: iter(rows), features=dataset.features, cache_dir=str(tmp_path / "cache"))
    digest = content_digest(saved)
    assert quick_content_digest(saved) == digest == content_digest(dataset)
    picture.write_bytes(rows[1]["image"]["bytes"])
    assert quick_content_digest(saved) is None
    assert content_digest(saved) != digest
    picture.unlink()
    assert quick_content_digest(saved) is None


# Rows that failed


@pytest.fixture
def failing(dataset, tmp_path):
    """Rows of which two lack their file, in the first and the last of four shards, and their table."""
    rows = dataset.with_format("arrow")[:].to_pylist()
    for place in (1, 10):
        (tmp_path / f"{place}.jpg").write_bytes(rows[place]["image"]["bytes"])
        rows[place]["image"] = {"bytes": None, "path": str(tmp_path / f"{place}.jpg")}
        shutil.move(tmp_path / f"{place}.jpg", tmp_path / f"{place}.away")
    return Dataset.from_list(rows, features=dataset.features)


def repair(tmp_path, place: int) -> None:
    shutil.copy(tmp_path / f"{place}.away", tmp_path / f"{place}.jpg")


@pytest.fixture
def scores(tiny_clip) -> list:
    return [ClipSim(model=tiny_clip, dtype="fp32")]


def test_only_rows_that_failed_are_scored_again(failing, dataset, scores, tmp_path):
    settings = {"rows_per_shard": 3, "batch_size": 1}
    table = score_table(failing, scores, tmp_path / "scores", **settings)
    assert table.manifest["failed"] == 2
    before, calls = times(table.folder), []
    repair(tmp_path, 1)
    with pytest.raises(
        ValueError,
        match=r"rows have changed, or their order\); .* if only rows that failed have changed, use retry='failed'",
    ):
        score_table(failing, scores, table.folder, **settings)
    again = score_table(failing, scores, table.folder, **settings, retry="failed", progress=lambda *d: calls.append(d))
    assert calls == [(10, 0), (11, 0), (12, 1)]
    assert again.manifest["failed"] == 1
    assert again.manifest["source"]["sha256"] == content_digest(failing)
    assert [name for name, time in times(table.folder).items() if time != before[name]] == [*before][::3]
    repair(tmp_path, 10)
    score_table(failing, scores, table.folder, **settings, retry="failed")
    whole = score_table(dataset, scores, tmp_path / "whole", **settings)
    assert shard_bytes(table.folder) == shard_bytes(whole.folder)
    assert ScoreTable.load(table.folder).sha256 == whole.sha256
    score_table(failing, scores, table.folder, **settings)  # and this is the request now


def test_nothing_is_scored_again_where_nothing_failed(dataset, tmp_path):
    table, calls = score_table(dataset, ONE, tmp_path / "scores", rows_per_shard=5), []
    score_table(dataset, ONE, table.folder, rows_per_shard=5, retry="failed", progress=lambda *d: calls.append(d))
    assert calls == [(12, 0)]
    with pytest.raises(ValueError, match="retry must be 'failed', not 'all'"):
        score_table(dataset, ONE, table.folder, rows_per_shard=5, retry="all")


def test_rows_that_were_scored_may_not_change_meanwhile(failing, scores, tmp_path):
    table = score_table(failing, scores, tmp_path / "scores", rows_per_shard=3)
    rows = failing.with_format("arrow")[:].to_pylist()
    rows[2]["mask"] = rows[5]["mask"]
    changed = Dataset.from_list(rows, features=failing.features)
    before = shard_bytes(table.folder)
    with pytest.raises(ValueError, match="holds scores of rows that have changed since, some of rows 0 to 2; choose"):
        score_table(changed, scores, table.folder, rows_per_shard=3, retry="failed")
    assert shard_bytes(table.folder) == before


def test_a_retry_that_crashes_goes_on(failing, dataset, scores, tmp_path):
    settings = {"rows_per_shard": 3, "batch_size": 1}
    table = score_table(failing, scores, tmp_path / "scores", **settings)
    for place in (1, 10):
        repair(tmp_path, place)
    with pytest.raises(Crash):
        score_table(failing, scores, table.folder, **settings, retry="failed", progress=crash_at(12))
    calls = []
    score_table(failing, scores, table.folder, **settings, retry="failed", progress=lambda *d: calls.append(d))
    assert calls == [(11, 0), (12, 0)]
    whole = score_table(dataset, scores, tmp_path / "whole", **settings)
    assert shard_bytes(table.folder) == shard_bytes(whole.folder)


# Looking before


def test_a_plan_says_what_is_left_and_what_is_wrong(failing, scores, tmp_path):
    out = tmp_path / "scores"
    plan = plan_table(failing, scores, out, rows_per_shard=3)
    assert not out.exists()
    assert (plan.rows, plan.rows_left, plan.shards, plan.finished) == (12, 12, 4, 0)
    assert plan.scores == ["classes_present", "clip_sim"]
    assert plan.seconds == pytest.approx(12 / plan.rows_per_second)
    assert plan.problems == [
        f"row {place}: image {place}.jpg: cannot read {place}.jpg: No such file or directory" for place in (1, 10)
    ]
    with pytest.raises(Crash):
        score_table(failing, scores, out, rows_per_shard=3, progress=crash_at(9))
    plan = plan_table(failing, scores, out, rows_per_shard=3)
    assert (plan.rows_left, plan.finished) == (6, 2)
    table = score_table(failing, scores, out, rows_per_shard=3)
    size = sum(path.stat().st_size for path in table.paths)
    assert 0.7 * size < plan.bytes < 1.4 * size
    assert plan_table(failing, scores, out, rows_per_shard=3).rows_left == 0
    with pytest.raises(ValueError, match="rows_per_shard is 3, now 4"):
        plan_table(failing, scores, out, rows_per_shard=4)


def test_a_plan_of_rows_that_all_fail_knows_no_time(dataset, scores, tmp_path):
    rows = [row | {"image": None} for row in dataset.with_format("arrow")[:].to_pylist()]
    plan = plan_table(Dataset.from_list(rows, features=dataset.features), scores, tmp_path / "scores")
    assert (plan.seconds, plan.rows_per_second, len(plan.problems)) == (None, None, 12)


# Long


MOMENTS = 20
SCORING = """
import os, sys
from datasets import load_from_disk
from transformers import AutoTokenizer, CLIPModel
from sds_hf import PCS, ASF, score_table

rows = load_from_disk(sys.argv[1])
scores = [PCS(model=sys.argv[2], dtype="fp32", scales=(3,), orders=1), ASF(model=sys.argv[2], dtype="fp32")]
for line in sys.stdin:  # a name of a folder: what is killed is a fork, so that nothing is imported twenty times
    child = os.fork()
    if child == 0:
        tell = lambda done, failed: os.write(1, b"%d\\n" % done)
        score_table(rows, scores, line.strip(), rows_per_shard=4, batch_size=2, progress=tell)
        os._exit(0)
    os.write(1, b"started %d\\n" % child)
    os.write(1, b"ended %d\\n" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow
def test_killed_at_random_moments(tiny_clip, tmp_path):
    """SIGKILL after a random number of batches and a random time more, on and on until a run comes through."""
    random_dataset(100).save_to_disk(tmp_path / "rows")
    rng, reached, kills = np.random.default_rng(0), 0, 0
    command = [sys.executable, "-c", SCORING, str(tmp_path / "rows"), tiny_clip]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, bufsize=1, env=env) as process:

        def run(folder: str, batches: int | None) -> tuple[list[int], int]:
            """Rows done as told, and the exit status, of a run that is killed after some batches or not at all."""
            process.stdin.write(f"{tmp_path / folder}\n")
            told, child, killer = [], 0, None
            for line in process.stdout:
                if line.startswith("started"):
                    child = int(line.split()[1])
                elif line.startswith("ended"):
                    if killer:
                        killer.cancel()
                    return told, int(line.split()[1])
                else:
                    told.append(int(line))
                if child and killer is None and batches is not None and len(told) >= batches:
                    killer = threading.Timer(rng.uniform(0, 0.05), os.kill, (child, signal.SIGKILL))
                    killer.start()
            raise AssertionError("the process is gone")

        assert run("whole", None)[1] == 0
        while kills < MOMENTS:
            told, status = run("killed", int(rng.integers(0, 4)))
            if told:
                assert told[0] >= reached  # what was finished stays so
                reached = max(reached, (told[-1] - 1) // 4 * 4)
            if status == 0:  # it was done before it could be killed
                shutil.rmtree(tmp_path / "killed")
                reached = 0
                continue
            assert status == -signal.SIGKILL
            kills += 1
        assert run("killed", None)[1] == 0
        process.stdin.close()
    assert shard_bytes(tmp_path / "killed") == shard_bytes(tmp_path / "whole")
    manifests = [manifest_of(tmp_path / name) | {"created": None} for name in ("killed", "whole")]
    assert manifests[0] == manifests[1]
    assert {path.name for path in (tmp_path / "killed").iterdir()} == {
        path.name for path in (tmp_path / "whole").iterdir()
    }


MEMORY = """
import json, resource, sys, time
from datasets import load_from_disk
from sds_hf import ClipSim, score_table
scores, rows = [ClipSim(model=sys.argv[2], dtype="fp32")], load_from_disk(sys.argv[1]).select(range(int(sys.argv[3])))
score_table(rows, scores, sys.argv[4])
peak, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
score_table(rows, scores, sys.argv[4])
print(json.dumps([peak, time.monotonic() - started]))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tiny_clip, tmp_path):
    """Pictures of 128 pixels: 10,000 of them are 0.5 GB when decoded and 20 MB in their files."""
    row = random_dataset(1).with_format("arrow")[:].to_pylist()[0]
    from sds_hf.data.images import encode_jpeg, encode_mask

    def rows():
        for index in range(10_000):
            image = np.full((128, 128, 3), index % 251, np.uint8)
            mask = np.full((128, 128), 1 + index % 20, np.uint8)
            cells = {
                "image": {"bytes": encode_jpeg(image), "path": None},
                "mask": {"bytes": encode_mask(mask), "path": None},
            }
            yield {**row, **cells, "id": f"row{index}"}

    Dataset.from_generator(rows, features=random_dataset(1).features, cache_dir=str(tmp_path)).save_to_disk(
        tmp_path / "r"
    )
    peaks, env = [], os.environ | {"OMP_NUM_THREADS": "1"}
    for count in (500, 10_000):
        command = [sys.executable, "-c", MEMORY, str(tmp_path / "r"), tiny_clip, str(count), str(tmp_path / str(count))]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
        peak, again = json.loads(done.stdout)
        peaks.append(peak)
        assert again < 5  # nothing is scored and no picture read
    print(f"peak RSS {peaks[0] // 1024} and {peaks[1] // 1024} MiB; the finished job again in {again:.2f} s")
    assert len(ScoreTable.load(tmp_path / "10000").paths) == 10
    assert peaks[1] < 1.1 * peaks[0], peaks
