"""Arms, trainings that are found again, paired differences, and what a proof writes and says."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, concatenate_datasets
from support.rows import random_dataset, random_row
from support.small_segmenters import tiny_backbone

from sds_hf import Recipe, Threshold, TopK, prove_subset
from sds_hf.cli import main
from sds_hf.data.folder import row_features, write_data_folder
from sds_hf.data.labels import VOC
from sds_hf.prove.arms import make_arms
from sds_hf.prove.experiment import Experiment
from sds_hf.prove.results.statistics import Difference, Spread
from sds_hf.prove.segmenters.networks import Decoder
from sds_hf.prove.segmenters.training import Training, optimizer_of, row_batches

ROWS = 12
GOOD = Recipe(name="good", rules=[TopK(column="quality", target=6)])


def scores_of(ids, **columns) -> Dataset:
    quality = [float(number) for number in range(len(ids))]
    return Dataset.from_dict({"id": ids, "quality": quality, "classes_present": [[1]] * len(ids), **columns})


@pytest.fixture(scope="module")
def backbone(tmp_path_factory) -> str:
    return tiny_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def pool() -> Dataset:
    defects = ["torn" if number < 4 else None for number in range(ROWS)]
    return random_dataset(ROWS).add_column("defect", defects)


@pytest.fixture(scope="module")
def clean() -> Dataset:
    rows = [random_row(number) for number in range(50, 54)]
    return Dataset.from_list(rows, features=row_features(VOC))


@pytest.fixture
def settings(backbone):
    return {"recipes": [GOOD], "model": backbone, "side": 32, "seeds": 2, "steps": 3}


def test_arms_are_the_rows_they_say(pool):
    arms = {arm.name: arm for arm in make_arms(pool, scores_of(pool["id"]), [GOOD], [0.25], "defect").arms}
    assert list(arms) == ["full", "good", "good 0.25", "clean", "random 3", "random 6"]
    assert arms["good"].rows.tolist() == [6, 7, 8, 9, 10, 11]
    assert arms["good 0.25"].rows.tolist() == [9, 10, 11]
    assert arms["clean"].rows.tolist() == list(range(4, 12))
    assert (arms["full"].clean, arms["good"].clean) == (pytest.approx(8 / 12, abs=1e-4), 1)
    draws = [arms["random 6"].rows_of(seed).tolist() for seed in range(5)]
    assert len({tuple(draw) for draw in draws}) > 1
    assert set(arms["random 3"].rows_of(0)) < set(draws[0])


def test_rows_are_matched_by_id_and_failed_ones_are_in_no_arm(pool):
    shuffled = pool.select(np.random.default_rng(0).permutation(ROWS))
    scores = scores_of(pool["id"], status=["failed"] + ["ok"] * (ROWS - 1))
    arms = {arm.name: arm for arm in make_arms(shuffled, scores, [GOOD], (), "defect").arms}
    assert arms["full"].size == ROWS - 1
    assert sorted(shuffled.select(arms["good"].rows)["id"]) == sorted(pool["id"][6:])
    assert arms["good"].clean == 1  # the truth goes with the rows


def test_what_the_dataset_lacks_is_said(pool):
    scores = scores_of(pool["id"], kept=[False] * 6 + [True] * 6)
    most = Recipe(name="most", rules=[TopK(column="quality", target=9)])
    arms = make_arms(pool.select(range(6, ROWS)), scores, [GOOD, most], (), "defect")
    assert [arm.name for arm in arms.arms] == ["published", "good"]
    assert arms.arms[0].rows.tolist() == list(range(6))
    said = " ".join(arms.missing)
    assert "full: 6 of its 12 rows have no pictures" in said
    assert "most: 3 of its 9 rows" in said
    assert "random 6: 6 of its 12" in said


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["x"] * ROWS, "ids of the dataset repeat"),
        ([f"y{n}" for n in range(ROWS)], "no id of the scores is in the dataset"),
    ],
)
def test_rows_that_cannot_be_matched(pool, names, said):
    other = pool.remove_columns("id").add_column("id", names)
    with pytest.raises(ValueError, match=said):
        make_arms(other, scores_of(pool["id"]), [GOOD])


def test_two_recipes_of_one_name_are_refused(pool):
    with pytest.raises(ValueError, match="two recipes are called 'good'"):
        make_arms(pool, scores_of(pool["id"]), [GOOD, GOOD])


def test_sizes_that_the_rules_cannot_reach_are_said(pool):
    bound = Recipe(name="bound", rules=[Threshold(column="quality", above=5.0), TopK(column="quality", fraction=0.5)])
    arms = make_arms(pool, scores_of(pool["id"]), [bound], [0.75, 0.9])
    assert [(arm.name, arm.size) for arm in arms.arms if arm.kind == "recipe"] == [("bound", 3), ("bound 0.75", 6)]
    assert "bound 0.9: its rows are those of bound 0.75" in arms.missing[0]


def test_a_row_comes_again_only_after_all_others():
    rows = np.arange(10, 20)
    batches = list(row_batches(rows, 4, 5, seed=0))
    assert [len(batch) for batch in batches] == [4] * 5
    order = np.concatenate(batches)
    assert sorted(order[:10]) == sorted(order[10:]) == rows.tolist()
    assert order[:10].tolist() != order[10:].tolist()


@pytest.mark.parametrize("schedule", ["onecycle", "poly"])
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 20])
def test_any_number_of_steps_has_a_schedule(steps, schedule):
    network = Decoder([4], 3)
    optimizer, scheduler = optimizer_of(network, steps, Training(learning_rate=1.0, schedule=schedule))
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert min(rates) > 0
    assert max(rates) <= 1


def test_differences_are_paired():
    """The t interval of 1, 2, 3, 4, worked out by hand: 2.5 +- 3.18245 * 1.29099 / 2."""
    difference = Difference.of([11, 22, 33, 44], [10, 20, 30, 40])
    assert (difference.mean, difference.low, difference.high) == pytest.approx((2.5, 0.44574, 4.55426), abs=1e-4)
    assert difference.verdict == "better"
    assert Difference.of([1, -1, 1, -1], [0, 0, 0, 0]).verdict == "not told apart"
    assert Difference.of([0, 0, 1], [5, 6, 7]).verdict == "worse"
    assert Difference.of([5], [1]).verdict == "not told apart"
    assert Spread.of([1, 3]).deviation == pytest.approx(2**0.5)


def test_a_proof_is_written_and_found_again(pool, clean, settings, tmp_path):
    scores = scores_of(pool["id"])
    proof = prove_subset(pool, scores, {"a": clean, "b": clean}, tmp_path / "out", **settings)
    assert {score.evaluation for score in proof.scores} == {"a", "b"}
    assert proof.score("good", "steps", "a").miou == proof.score("good", "steps", "b").miou
    assert [proof.score("full", regime).steps for regime in ("steps", "epochs")] == [3, 3]
    assert [proof.score("good", regime).steps for regime in ("steps", "epochs")] == [3, 2]
    data = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert {one["against"] for one in data["comparisons"] if one["arm"] == "good"} == {"full", "random 6"}
    report = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "2 seeds: 3 optimiser steps" in report
    assert "| good | 6 | 100% | 3 |" in report
    assert (tmp_path / "out" / "proof.png").stat().st_size > 5000
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").glob("*.json")}
    # The full set takes as many steps in both regimes: one training.
    assert len(times) == 2 * (2 * 4 - 1)
    again = prove_subset(pool, scores, {"a": clean, "b": clean}, tmp_path / "out", **settings)
    assert again.to_dict() == proof.to_dict()
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").glob("*.json")}


def test_what_makes_a_result_names_its_file(pool, clean, settings, tmp_path):
    """Other masks, another seed count or batch size: nothing that is not the same is taken for it."""
    scores = scores_of(pool["id"])
    make = {"regimes": ["steps"], **settings, "recipes": []}

    def left(dataset=pool, evaluation=clean, **changes) -> int:
        experiment = Experiment(dataset, scores, evaluation, tmp_path / "out", **{**make, **changes})
        return len(experiment.runs.left(experiment.in_order()))

    Experiment(pool, scores, clean, tmp_path / "out", **make).run()
    every = 2 * 2  # full and clean, two seeds
    assert left() == 0
    assert left(seeds=3) == 2
    assert left(steps=4) == every
    assert left(side=64) == every
    assert left(evaluation=clean.select(range(3))) == every
    swapped = pool.remove_columns("mask").add_column("mask", pool.with_format("arrow")[:]["mask"].to_pylist()[::-1])
    assert left(dataset=swapped.cast_column("mask", pool.features["mask"])) == every


@pytest.fixture(scope="module")
def folders(pool, clean, tmp_path_factory):
    """The same as folders, and scores as a Parquet file."""
    out = tmp_path_factory.mktemp("folders")
    for name, rows in (("pool", pool), ("clean", clean)):
        write_data_folder(rows.with_format("arrow")[:].to_pylist(), rows.features, out / name)
    pq.write_table(scores_of(pool["id"]).data.table, out / "scores.parquet")
    (out / "good.yaml").write_text("name: good\nrules:\n  - top_k: {column: quality, target: 6}\n", encoding="utf-8")
    return out


def command(folders, backbone, out, *more) -> list[str]:
    return ["prove", str(folders / "pool"), str(folders / "scores.parquet"), "--eval", f"test={folders / 'clean'}",
            "--recipes", str(folders / "good.yaml"), "--backbone", backbone, "--side", "32", "--out", str(out),
            *more]  # fmt: skip


def test_the_command_says_the_time_first_and_then_the_result(folders, backbone, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # no features of other tests
    arguments = command(folders, backbone, tmp_path / "out", "--seeds", "2", "--steps", "3", "--json")
    assert main([*arguments, "--dry-run"]) == 0
    answer = json.loads(capsys.readouterr().out)
    plan = answer["result"]
    assert answer["counts"] == {"full": 12, "good": 6, "clean": 8, "random 6": 6}
    assert (plan["runs"], plan["runs_left"], plan["rows_left"]) == (14, 14, 16)
    assert plan["seconds"] > 0
    assert not (tmp_path / "out").exists()
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    assert [arm["name"] for arm in result["arms"]] == ["full", "good", "clean", "random 6"]
    assert main(arguments[:-1]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "test, equal optimiser steps" in words
    assert main([*arguments[:-1], "--dry-run"]) == 0
    assert "0 of 14 are to be done" in " ".join(capsys.readouterr().out.split())


def test_options_that_make_no_sense(folders, backbone, tmp_path, capsys):
    arguments = command(folders, backbone, tmp_path / "out")
    for more, said in (
        (["--segmenter", "unet"], "--segmenter of --depth full"),
        (["--sizes", "half"], "--sizes takes shares"),
        (["--sizes", "1.5"], "at most 1"),
        (["--depth", "deep"], "depth must be one of probe, full"),
        (["--regimes", "days"], "regimes must be"),
    ):
        assert main([*arguments, *more]) == 2
        assert said in " ".join(capsys.readouterr().err.split())


def test_what_is_trained_on_is_not_evaluated_on(pool, clean, settings, tmp_path):
    one = concatenate_datasets([clean, pool.remove_columns("defect").select([5])])
    with pytest.raises(ValueError, match="1 of the 5 pictures of evaluation are among the candidates"):
        prove_subset(pool, scores_of(pool["id"]), one, tmp_path, **settings)


def test_masks_that_mean_something_else_are_refused(pool, clean, settings, tmp_path):
    other = clean.cast_column("classes", row_features(VOC.from_names(["background", "cat"]))["classes"])
    with pytest.raises(ValueError, match="masks of the candidates mean 21 classes"):
        prove_subset(pool, scores_of(pool["id"]), other, tmp_path, **settings)


@pytest.mark.slow
def test_a_proof_that_is_killed_goes_on(folders, backbone, tmp_path):
    """A process killed in the midst of its trainings; the next one makes the rest and nothing twice."""
    out = tmp_path / "out"
    arguments = [sys.executable, "-m", "sds_hf",
             *command(folders, backbone, out, "--seeds", "40", "--steps", "20", "--regimes", "steps")]  # fmt: skip
    process = subprocess.Popen(arguments, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
    while len(list((out / "runs").glob("*.json"))) < 5:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path.name: path.read_bytes() for path in (out / "runs").glob("*.json")}
    assert 5 <= len(before) < 160
    assert not (out / "results.json").exists()
    process = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    after = {path.name: path.read_bytes() for path in (out / "runs").glob("*.json")}
    assert len(after) == 160
    assert {name: after[name] for name in before} == before


@pytest.mark.slow
def test_two_processes_share_the_trainings(folders, backbone, tmp_path):
    arguments = ["-m", "sds_hf", *command(folders, backbone, tmp_path / "out", "--seeds", "6", "--steps", "20")]
    launched = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *arguments]
    process = subprocess.run(launched, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    alone = [sys.executable, *arguments[:-6], "--out", str(tmp_path / "alone"), *arguments[-4:]]
    process = subprocess.run(alone, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    together, single = (
        json.loads((tmp_path / name / "results.json").read_text(encoding="utf-8"))["scores"]
        for name in ("out", "alone")
    )
    assert together == single


def test_a_published_set_needs_no_candidates(published, folders, backbone, tmp_path, capsys):
    arguments = [
        "prove",
        str(published),
        "--eval",
        f"test={folders / 'clean'}",
        "--backbone",
        backbone,
        "--side",
        "32",
        "--json",
    ]
    arguments += ["--seeds", "2", "--steps", "3", "--recipes", "", "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    assert [arm["name"] for arm in result["arms"]] == ["published"]
    kept, rows = result["arms"][0]["size"], result["settings"]["candidates"]
    assert f"full: {rows - kept} of its {rows} rows have no pictures" in " ".join(result["missing"])
