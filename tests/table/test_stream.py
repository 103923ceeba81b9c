"""Streams into score tables: the same numbers, the same resuming, no end known."""

import json
import os
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, IterableDataset
from hypothesis import given, settings
from hypothesis import strategies as st
from support.crashes import Crash, crash_at
from support.paths import TESTS
from support.rows import random_dataset

from sds_hf import (
    ClassesPresent,
    ClipSim,
    Recipe,
    ScoreTable,
    Threshold,
    add_to_table,
    publish,
    score_table,
    select,
)
from sds_hf.cli import main
from sds_hf.data.opening import open_stream
from sds_hf.table.shards import Shards
from sds_hf.table.stream import Ids

ONE = [ClassesPresent()]
ENV = os.environ | {"OMP_NUM_THREADS": "1"}


def shard_bytes(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("scores-*.parquet"))]


def streamed(dataset: Dataset, parts: int = 3) -> IterableDataset:
    return dataset.to_iterable_dataset(num_shards=parts)


@pytest.fixture(scope="module")
def rows() -> Dataset:
    return random_dataset(25)


@pytest.fixture(scope="module")
def whole(rows, tmp_path_factory) -> Path:
    """The table of the same rows, not streamed."""
    return score_table(rows, ONE, tmp_path_factory.mktemp("whole"), rows_per_shard=4).folder


# The same numbers


def tars(rows: Dataset, folder: Path) -> Path:
    """Two tars of `webdataset`."""
    folder.mkdir()
    table = rows.with_format("arrow")[:].to_pylist()
    for part, some in enumerate((table[:7], table[7:])):
        with tarfile.open(folder / f"{part:03d}.tar", "w") as tar:
            for row in some:
                files = {"jpg": row["image"]["bytes"], "png": row["mask"]["bytes"], "txt": row["caption"].encode()}
                for ending, data in files.items():
                    info = tarfile.TarInfo(f"{row['id']}.{ending}")
                    info.size = len(data)
                    tar.addfile(info, BytesIO(data))
    return folder


@pytest.mark.parametrize("kind", ["folder", "files", "disk", "tars", "hub"])
def test_wherever_a_stream_comes_from(dataset, stored, tiny_clip, tmp_path, hub, kind):
    if kind == "disk":
        dataset.save_to_disk(tmp_path / "disk")
    elif kind == "hub":
        dataset.push_to_hub("user/streamed")
    name = {
        "folder": stored,
        "files": stored / "data" / "*.parquet",
        "disk": tmp_path / "disk",
        "tars": tars(dataset, tmp_path / "tars") if kind == "tars" else None,
        "hub": "user/streamed",
    }[kind]
    stream = open_stream(name)
    assert isinstance(stream, IterableDataset)
    scores = [ClipSim(model=tiny_clip, dtype="fp32", labels="voc")]
    table = score_table(stream, scores, tmp_path / "scores", rows_per_shard=5, batch_size=4, source="mine")
    plain = score_table(dataset, scores, tmp_path / "plain", rows_per_shard=5, batch_size=4)
    names = ["id", "row", "classes_present", "status"]
    assert table.to_arrow().select(names) == plain.to_arrow().select(names)
    np.testing.assert_allclose(table.to_arrow()["clip_sim"], plain.to_arrow()["clip_sim"], atol=2e-5)
    assert table.manifest["source"] | {"sha256": 0} == {"name": "mine", "stream": True, "rows": 12, "sha256": 0}
    assert [path.name for path in table.paths] == [f"scores-{place:05d}.parquet" for place in range(3)]
    if kind != "tars":  # whose rows have no lists of classes
        assert table.manifest["source"]["sha256"] == plain.manifest["source"]["sha256"]


def test_what_was_streamed_is_published_and_added_to_like_any_table(dataset, stored, tmp_path):
    table = score_table(open_stream(stored), ["boundary"], tmp_path / "scores", rows_per_shard=5)
    assert sorted(path.suffix for path in table.folder.iterdir()) == [".json", *[".parquet"] * 3]
    recipe = Recipe(name="x", rules=[Threshold(column="boundary", above="q0.2")])
    selection = select(table, recipe)
    published = publish(dataset, selection, recipe, scores=table, folder=tmp_path / "published")
    assert published.report.kept == selection.report.kept
    with pytest.raises(ValueError, match="the selection was made of other rows"):
        publish(dataset.select(range(11, -1, -1)), selection, recipe, scores=table, folder=tmp_path / "other")
    added = add_to_table(dataset, "prompt_mismatch", table.folder)
    assert "prompt_mismatch" in added.to_arrow().column_names


def test_digests_that_are_gone_are_read_again(dataset, tmp_path):
    """Of a table whose damaged shard is made anew; what was changed before it is refused."""
    out = tmp_path / "scores"
    sizes = {"rows_per_shard": 3, "batch_size": 2}
    before = score_table(streamed(dataset, 1), ONE, out, **sizes).manifest["source"]
    (out / "scores-00002.parquet").unlink()
    assert score_table(streamed(dataset, 1), ONE, out, **sizes).manifest["source"] == before
    (out / "scores-00002.parquet").unlink()
    changed = dataset.select([*range(3), 4, 3, *range(5, 12)])
    with pytest.raises(ValueError, match="holds scores of rows 3 to 5 that the stream does not yield any more"):
        score_table(streamed(changed, 1), ONE, out, **sizes)


def test_the_command(stored, tmp_path, capsys, whole):
    command = ["score", str(stored), "--scores", "classes_present", "--streaming", "--rows-per-shard", "5", "--json"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["rows"] == 12
    assert main([*command, "--out", str(tmp_path), "--dry-run"]) == 2
    assert "leave out --streaming" in capsys.readouterr().out
    assert main(["score", str(tmp_path / "no*.tar"), "--streaming", "--out", str(tmp_path)]) == 2
    assert "no file matches" in capsys.readouterr().err


# Going on


@settings(max_examples=25)
@given(st.integers(1, 25), st.integers(1, 9), st.integers(1, 7), st.lists(st.integers(1, 25), max_size=3), st.data())
def test_a_stream_that_crashed_goes_on(rows, tmp_path_factory, total, size, batch_size, crashes, data):
    out, some = tmp_path_factory.mktemp("scores"), rows.select(range(total))
    reached, sizes = 0, {"rows_per_shard": size, "batch_size": batch_size}
    for crash in sorted(crashes):
        try:
            score_table(streamed(some, 1), ONE, out, **sizes, progress=crash_at(crash))
        except Crash:
            finished = sorted(out.glob("scores-*.parquet"))
            assert len(finished) >= reached
            reached = len(finished)
            if finished and data.draw(st.booleans()):
                data.draw(st.sampled_from(finished)).unlink()  # one in the middle is made anew
    calls: list[int] = []
    there = sum(ids_of(path) for path in out.glob("scores-*.parquet"))
    table = score_table(streamed(some, 1), ONE, out, rows_per_shard=size, progress=lambda done, _: calls.append(done))
    assert calls[0] == there
    assert calls[-1] == total
    plain = score_table(some, ONE, tmp_path_factory.mktemp("plain"), rows_per_shard=size)
    assert shard_bytes(out) == shard_bytes(plain.folder)
    assert table.manifest["source"]["rows"] == total
    assert table.manifest["source"]["sha256"] == plain.manifest["source"]["sha256"]


def ids_of(path: Path) -> int:
    import pyarrow.parquet as pq

    return pq.read_metadata(path).num_rows


KILLED = """
import os, signal, sys
from sds_hf import ClassesPresent, score_table
from sds_hf.table import job
from sds_hf.data.opening import open_stream

score_rows = job.score_rows
for batch in range(2, 8):
    child = os.fork()
    if child == 0:
        made = []

        def scoring(*args):
            made.append(1)
            if len(made) == batch:
                os.kill(os.getpid(), signal.SIGKILL)
            return score_rows(*args)

        job.score_rows = scoring
        score_table(open_stream(sys.argv[1]), [ClassesPresent()], sys.argv[2], rows_per_shard=4, batch_size=2)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.slow
def test_killed_again_and_again(rows, whole, tmp_path):
    rows.to_parquet(tmp_path / "rows.parquet")
    command = [sys.executable, "-c", KILLED, str(tmp_path / "rows.parquet"), str(tmp_path / "scores")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=ENV)
    # Shards are two batches; killed before the 2nd, 3rd, 4th and 5th they finish 0, 1, 1 and 2 of seven, then the rest.
    assert done.stdout.split() == ["-9"] * 4 + ["0"] * 2, done.stderr
    table = ScoreTable.load(tmp_path / "scores")
    assert shard_bytes(table.folder) == shard_bytes(whole)
    assert sorted(path.name for path in table.folder.iterdir()) == ["manifest.json", *(p.name for p in table.paths)]


def test_a_finished_table_is_only_looked_at(rows, tmp_path):
    score_table(streamed(rows), ONE, tmp_path, rows_per_shard=4)
    before, calls = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}, []
    score_table(streamed(rows), ONE, tmp_path, rows_per_shard=4, progress=lambda *done: calls.append(done))
    assert calls == [(25, 0)]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


# What is refused


@pytest.mark.parametrize("change", ["first", "last", "longer", "shorter", "shuffled", "much longer"])
def test_another_stream_is_refused(rows, tmp_path, change):
    def other(order: list[int]) -> IterableDataset:
        return streamed(rows.select(order), 1)

    order = list(range(20 if change == "much longer" else 22))
    score_table(other(order), ONE, tmp_path, rows_per_shard=4)
    before = shard_bytes(tmp_path)
    changed = {
        "first": [23, *order[1:]],
        "last": [*order[:-1], 23],
        "longer": [*order, 22],
        "much longer": [*order, 22],
        "shorter": order[:-1],
        "shuffled": order,
    }[change]
    stream = other(changed)
    with pytest.raises(ValueError, match=r"does not yield any more|of a shorter stream"):
        score_table(stream.shuffle(seed=3) if change == "shuffled" else stream, ONE, tmp_path, rows_per_shard=4)
    assert shard_bytes(tmp_path) == before


def test_a_stream_and_a_dataset_do_not_mix(rows, whole, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"source\.stream is null, now true"):
        score_table(streamed(rows), ONE, whole, rows_per_shard=4)
    with pytest.raises(ValueError, match="retry needs rows that can be looked up; a stream has none"):
        score_table(streamed(rows), ONE, tmp_path, retry="failed")
    nothing = IterableDataset.from_generator(lambda: iter(()), features=rows.features)
    with pytest.raises(ValueError, match="the stream has no rows"):
        score_table(nothing, ONE, tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="a stream is read by one process; start one"):
        score_table(streamed(rows), ONE, tmp_path)


def test_ids_that_repeat_are_found_also_in_finished_shards(rows, tmp_path):
    twice = rows.select([*range(14), 2, *range(15, 20)])
    for _ in range(2):
        with pytest.raises(ValueError, match="the id 'row002' occurs more than once, in rows 2 and 14"):
            score_table(streamed(twice), ONE, tmp_path, rows_per_shard=4)
    with pytest.raises(ValueError, match="the id 'row001' occurs more than once, in rows 1 and 2"):
        score_table(streamed(rows.select([0, 1, 1])), ONE, tmp_path / "within", rows_per_shard=4)
    numbered = score_table(streamed(rows.remove_columns("id")), ONE, tmp_path / "numbered", rows_per_shard=4)
    assert numbered.to_arrow()["id"].to_pylist() == [str(row) for row in range(25)]


@given(st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=9), max_size=12))
def test_ids_are_compared_with_all_before(tmp_path_factory, pieces):
    ids, seen = Ids(Shards(tmp_path_factory.getbasetemp() / "none", None, 10)), set()
    checked: list[int] = []
    ids._check = lambda place, names: checked.append(place)
    for place, piece in enumerate(pieces):
        ids.add(place, [str(number) for number in piece])
        assert (place in checked) == (len(set(piece)) < len(piece) or not seen.isdisjoint(piece))
        seen |= set(piece)


# Long

MEMORY = """
import resource, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from support.rows import random_dataset
from datasets import IterableDataset
from sds_hf import ClipSim, score_table
from sds_hf.data.images import encode_jpeg, encode_mask

def rows(number):
    for index in range(number):
        image = encode_jpeg(np.full((128, 128, 3), index % 251, np.uint8))
        mask = encode_mask(np.full((128, 128), 1 + index % 20, np.uint8))
        yield {"id": f"row{index}", "image": {"bytes": image, "path": None}, "mask": {"bytes": mask, "path": None}}

features = random_dataset(1).select_columns(["id", "image", "mask"]).features
stream = IterableDataset.from_generator(rows, features=features, gen_kwargs={"number": int(sys.argv[3])})
score_table(stream, [ClipSim(model=sys.argv[2], dtype="fp32", labels="voc")], sys.argv[4], rows_per_shard=100)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_stream(tiny_clip, tmp_path):
    peaks = []
    for number in (300, 6000):
        command = [sys.executable, "-c", MEMORY, str(TESTS), tiny_clip, str(number)]
        done = subprocess.run(
            [*command, str(tmp_path / str(number))], capture_output=True, text=True, env=ENV, check=True
        )
        peaks.append(int(done.stdout.split()[-1]))
    print(f"peak RSS of 300 and 6,000 rows of a stream: {peaks} MiB")
    assert peaks[1] < 1.1 * peaks[0]
