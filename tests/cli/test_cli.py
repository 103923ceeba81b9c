"""The command line: what each command does, prints, and says when something is wrong."""

import json
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from datasets import Dataset, load_dataset

from sds_hf import ScoreTable
from sds_hf.cli import main
from sds_hf.data.images import encode_mask

RECIPE = """
name: quantiles
model: {model}
scores:
  pcs: {{scales: [3], orders: 1, dtype: fp32}}
  asf_miou: {{reference: maskclip, dtype: fp32}}
rules:
  - threshold: {{column: clip_sim, above: q0.2}}
  - top_per_group: {{column: asf_miou, by: [classes_present], fraction: 0.8}}
publish: {{license: cc-by-4.0}}
"""


@pytest.fixture(scope="module")
def recipe(tiny_clip, tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(RECIPE.format(model=tiny_clip))
    return path


@pytest.fixture(scope="module")
def scored(stored, recipe, tmp_path_factory):
    """Scores and selection of the stored rows."""
    out = tmp_path_factory.mktemp("work")
    scores, options = out / "scores", ["--recipe", str(recipe), "--json"]
    assert main(["score", str(stored), "--out", str(scores), *options]) == 0
    assert main(["select", str(scores), "--out", str(out / "selection"), *options]) == 0
    return out


def load_scores(folder) -> dict:
    return ScoreTable.load(folder / "scores").to_arrow().to_pydict()


def said(capsys) -> str:
    """What a person reads, without line breaks."""
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


def result(capsys) -> dict:
    return json.loads(capsys.readouterr().out)


def raw_folder(path, count=3):
    """Images and masks in two folders."""
    from PIL import Image

    for name in ("images", "masks"):
        (path / name).mkdir(parents=True)
    for index in range(count):
        Image.new("RGB", (24, 16), (40 * index, 80, 120)).save(path / "images" / f"{index}.png")
        mask = Image.new("L", (24, 16))
        mask.paste(1 + index, (4, 4, 20, 12))
        mask.save(path / "masks" / f"{index}.png")
    return path


def test_import_of_a_folder_alone_finds_the_reader(tmp_path, capsys, monkeypatch):
    raw_folder(tmp_path / "raw")
    monkeypatch.chdir(tmp_path)
    assert main(["import", "raw", "--labels", "voc", "--out", "out"]) == 0
    assert "3 rows read by folder" in said(capsys)
    assert main(["import", "folder", "--labels", "voc", "--out", "more"]) == 2
    assert "folder is a reader: name the raw folder after it, as in `sds-hf import auto gen_voc" in said(capsys)
    assert main(["import", "my_gen", "--out", "more"]) == 2
    assert "my_gen is no folder" in said(capsys)


def test_import_makes_a_folder_that_load_dataset_reads(tmp_path, capsys):
    raw, out = raw_folder(tmp_path / "raw"), tmp_path / "out"
    assert main(["import", "folder", str(raw), "--labels", "voc", "--out", str(out)]) == 0
    assert "3 rows read by folder" in said(capsys)
    rows = load_dataset(str(out), split="train")
    assert [row["classes"] for row in rows] == [[1], [2], [3]]
    assert main(["import", "auto", str(raw), "--labels", "voc", "--out", str(tmp_path / "again"), "--json"]) == 0
    assert result(capsys) == {
        "name": "import", "out": str(tmp_path / "again"), "counts": {"rows": 3, "without_class": 0}, "steps": [],
        "bounds": {}, "warnings": [],
        "result": {
            "skipped": {}, "reader": "folder", "labels": "voc", "classes": {"aeroplane": 1, "bicycle": 1, "bird": 1},
            "ids_unique": True, "missing": {}, "passed_over": {},
        },
    }  # fmt: skip


def test_import_asks_for_the_label_space(tmp_path, capsys):
    assert main(["import", "folder", str(raw_folder(tmp_path / "raw")), "--out", str(tmp_path / "out")]) == 2
    assert "--labels voc or --labels coco" in said(capsys)
    assert not (tmp_path / "out").exists()


def test_score_shows_distributions(stored, tiny_clip, tmp_path, capsys):
    command = ["score", str(stored), "--scores", "clip_sim", "--model", tiny_clip, "--out", str(tmp_path / "scores")]
    assert main(command) == 0
    text = said(capsys)
    assert "clip_sim" in text
    assert "12 rows scored on cpu" in text
    assert main([*command, "--json"]) == 0
    found = result(capsys)
    assert found["counts"]["rows"] == 12
    assert set(found["result"]["scores"]) == {"clip_sim"}


def test_score_says_that_masks_show_nothing(dataset, tiny_clip, tmp_path, capsys):
    empty = encode_mask(np.full((40, 40), 255, np.uint8))
    rows = [{**row, "mask": {"bytes": empty, "path": None}} for row in dataset.with_format("arrow")[:2].to_pylist()]
    Dataset.from_list(rows, features=dataset.features).save_to_disk(tmp_path / "empty")
    command = ["score", str(tmp_path / "empty"), "--scores", "classes_present", "--out", str(tmp_path / "scores")]
    assert main(command) == 0
    assert "no row shows any class" in said(capsys)
    assert main([*command, "--json"]) == 0
    assert any("no row shows any class" in warning for warning in result(capsys)["warnings"])


def test_score_takes_settings(stored, tiny_clip, tmp_path, capsys):
    command = ["score", str(stored), "--scores", "clip_sim", "--model", tiny_clip, "--out", str(tmp_path / "scores")]
    assert main([*command, "--set", "scores.clip_sim.similarity=cosine", "--json"]) == 0
    assert result(capsys)["result"]["scores"]["clip_sim"]["1"] < 1
    manifest = json.loads((tmp_path / "scores" / "manifest.json").read_text())
    assert manifest["scores"][-1]["similarity"] == "cosine"


def test_scores_of_another_request_are_kept(scored, stored, tiny_clip, capsys):
    command = ["score", str(stored), "--scores", "clip_sim", "--model", tiny_clip, "--out", str(scored / "scores")]
    before = sorted(path.read_bytes() for path in (scored / "scores").iterdir())
    assert main(command) == 2
    assert "holds scores of another request" in said(capsys)
    assert sorted(path.read_bytes() for path in (scored / "scores").iterdir()) == before


def test_select_shows_the_funnel(scored, recipe, tmp_path, capsys):
    command = ["select", str(scored / "scores"), "--recipe", str(recipe), "--out", str(tmp_path / "selection")]
    assert main(command) == 0
    text = said(capsys)
    assert re.search(r"clip_sim > q0\.2 \(above 0\.\d+\)", text)
    assert "of 12 rows kept" in text
    (first, _) = json.loads((tmp_path / "selection" / "report.json").read_text())["steps"]
    assert first["bounds"]["above"] == pytest.approx(np.quantile(load_scores(scored)["clip_sim"], 0.2), abs=1e-6)
    assert main([*command, "--json", "--set", "rules.0.threshold.above=q0.5"]) == 0
    found = result(capsys)
    assert found["counts"]["rows"] == 12
    assert sum(found["result"]["reasons"].values()) == 12
    assert 0 < found["counts"]["kept"] <= 6
    assert found["bounds"]["clip_sim"] == found["steps"][0]["bounds"]


def test_publish_uses_the_recipe_of_the_selection(scored, stored, tmp_path, capsys):
    command = ["publish", str(stored), str(scored / "selection"), "--scores", str(scored / "scores")]
    folder = tmp_path / "published"
    assert main([*command, "--folder", str(folder), "--dry-run", "--json"]) == 0
    planned = result(capsys)["result"]
    assert planned["dry_run"]
    assert not folder.exists()
    assert main([*command, "--folder", str(folder), "--json"]) == 0
    done = result(capsys)
    assert set(done["result"]["files"]) == set(planned["files"])
    assert "name: quantiles" in (folder / "recipe.yaml").read_text()
    assert len(load_dataset(str(folder), split="train")) == done["counts"]["kept"]


def test_publish_to_the_hub_says_what_it_did(scored, stored, hub, capsys):
    command = ["publish", str(stored), str(scored / "selection"), "--scores", str(scored / "scores")]
    assert main([*command, "--to", "user/by-command", "--dry-run"]) == 0
    text = said(capsys)
    assert "would publish" in text
    assert "data/train-" in text
    assert main([*command, "--to", "user/by-command"]) == 0
    text = said(capsys)
    assert "published" in text
    assert "tag v1" in text
    assert f"{hub.url}/datasets/user/by-command" in text


def test_card_is_rendered_again(scored, stored, tmp_path, capsys):
    folder = tmp_path / "published"
    command = ["publish", str(stored), str(scored / "selection"), "--scores", str(scored / "scores")]
    assert main([*command, "--folder", str(folder)]) == 0
    card = (folder / "README.md").read_text()
    assert main(["card", str(folder), "--check"]) == 0
    (folder / "README.md").write_text("changed by hand")
    capsys.readouterr()
    assert main(["card", str(folder), "--check"]) == 2
    assert f"sds-hf card {folder}" in said(capsys)
    assert main(["card", str(folder), "--json"]) == 0
    assert result(capsys)["result"]["changed"]
    assert (folder / "README.md").read_text() == card


def test_run_does_everything_and_goes_on(recipe, tmp_path, capsys):
    raw, plan = raw_folder(tmp_path / "raw", 8), tmp_path / "all.yaml"
    plan.write_text(recipe.read_text() + f"source: {{path: {raw}, reader: folder, labels: voc}}\n")
    assert main(["run", str(plan), "--out", str(tmp_path / "out")]) == 0
    text = said(capsys)
    assert "Scores" in text
    assert "Funnel" in text
    kept = len(load_dataset(str(tmp_path / "out" / "published"), split="train"))
    scores = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "scores").glob("*.parquet")}
    assert main(["run", str(plan), "--out", str(tmp_path / "out"), "--json"]) == 0
    assert result(capsys)["counts"]["kept"] == kept
    assert scores == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "scores").glob("*.parquet")}


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["score", "nowhere/at/all", "--out", "x"], "nowhere/at/all does not exist"),
        (["score", "DATA", "--scores", "beauty", "--out", "x"], "no score 'beauty'; there are asf_class_iou,"),
        (["score", "DATA", "--model", "./no-model", "--out", "x"], "(there is no such folder); use --model demo"),
        (
            ["score", "DATA", "--scores", "pcs", "boundary", "--out", "x"],
            "several values of an option are joined by commas",
        ),
        (["score", "DATA", "--engine", "gpu", "--out", "x"], "--engine is local, ray or jobs, not 'gpu'"),
        (
            ["score", "DATA", "--set", "pcs.orders=1", "--out", "x"],
            "settings of a score stand below `scores`: scores.pcs",
        ),
        (
            ["select", "SCORES", "--rule", "pcs > 0.1", "--out", "x"],
            "a rule is written as `threshold: {column: clip_sim",
        ),
        (["import", "folder", "EMPTY", "--labels", "gone.txt", "--out", "x"], "there is no file gone.txt: give one"),
        (["why", "SELECTION", "1"], "; row 1 has the id '"),
        (["why", "0_000001", "SELECTION"], "there is no folder 0_000001: `sds-hf select` makes"),
        (["certify", "SELECTION"], "has no marks, and no uniform sample, which the guarantee needs"),
        (["score", "DATA", "--set", "scores.pcs.scales=[0]", "--out", "x"], "scales"),
        (["score", "DATA", "--set", "scores.pcs.colour=1", "--out", "x"], "there is no such setting"),
        (["select", "nothing-here.parquet", "--out", "x"], "nothing-here.parquet"),
        (["select", "EMPTY", "--out", "x"], "holds no score table"),
        (
            ["select", "SCORES", "--recipe", "unknown", "--out", "x"],
            "no recipe file 'unknown', and no recipe 'unknown'; there are demo,",
        ),
        (["select", "SCORES", "--set", "rules.7.threshold.above=1", "--out", "x"], "has no '7' there"),
        (["select", "SCORES", "--set", "rules.0.threshold.above=2", "--out", "x"], "nothing is left"),
        (["publish", "DATA", "EMPTY", "--scores", "SCORES", "--folder", "x"], "holds no selection.parquet"),
        (["publish", "DATA", "SELECTION", "--scores", "SCORES"], "--to"),
        (["card", "EMPTY"], "it is no published folder"),
        (["run", "RECIPE"], "needs a source"),
        (["demo", "--rows", "0"], "rows must be at least 1"),
        (["import", "imagenet", "EMPTY", "--out", "x"], "no reader 'imagenet'; there are"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else "",
)
def test_errors_are_one_line(command, message, scored, stored, recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    places = {"DATA": stored, "SCORES": scored / "scores", "SELECTION": scored / "selection", "RECIPE": recipe}
    places["EMPTY"] = tmp_path / "empty"
    assert main([str(places.get(part, part)) for part in command]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert not (tmp_path / "x").exists() or not any((tmp_path / "x").iterdir())


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        main(["score", "./nowhere", "--out", str(tmp_path / "x"), "--debug"])


def test_a_wrong_option_is_explained(capsys):
    assert main(["score", "--nonsense"]) == 2
    assert said(capsys) == "error no such option: --nonsense; see `sds-hf score --help`"


def test_version_and_help():
    def ran(*args):
        command = [sys.executable, "-m", "sds_hf", *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert ran("--version").startswith("sds-hf ")
    for name in ("demo", "import", "score", "select", "publish", "run", "card"):
        assert name in ran("--help")
    assert "--recipe" in ran("select", "-h")


def test_overwriting_keeps_what_is_not_ours(scored, stored, tmp_path, capsys):
    folder = tmp_path / "published"
    command = ["publish", str(stored), str(scored / "selection"), "--scores", str(scored / "scores")]
    assert main([*command, "--folder", str(folder)]) == 0
    for name in (".git/config", "LICENSE", "assets/logo.png", "data/notes.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("mine")
    assert main([*command, "--folder", str(folder), "--overwrite"]) == 0
    for name in (".git/config", "LICENSE", "assets/logo.png", "data/notes.txt"):
        assert (folder / name).read_text() == "mine"
    assert main(["verify", str(folder)]) == 0
    assert main([*command, "--folder", str(folder), "--to", "user/both"]) == 2
    assert "not with both" in said(capsys)


def test_a_recipe_with_a_folder_runs_again(recipe, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw, plan = raw_folder(tmp_path / "raw", 8), tmp_path / "all.yaml"
    text = recipe.read_text().replace("publish: {", "publish: {folder: here, ")
    plan.write_text(text + f"source: {{path: {raw}, reader: folder, labels: voc}}\n")
    assert main(["run", str(plan), "--out", "out"]) == 0
    assert main(["run", str(plan), "--out", "out", "--dry-run"]) == 0
    assert main(["run", str(plan), "--out", "out"]) == 2
    assert "--overwrite" in said(capsys)
    assert main(["run", str(plan), "--out", "out", "--overwrite"]) == 0


def broken(dataset, folder, places) -> str:
    """The rows, of which some have no image, as a saved dataset."""
    rows = dataset.with_format("arrow")[:].to_pylist()
    for place in places:
        rows[place]["image"] = None
    Dataset.from_list(rows, features=dataset.features).save_to_disk(folder)
    return str(folder)


def test_score_says_what_it_would_do(dataset, tiny_clip, tmp_path, capsys):
    rows, out = broken(dataset, tmp_path / "rows", (3, 7)), tmp_path / "scores"
    command = ["score", rows, "--scores", "clip_sim", "--model", tiny_clip, "--out", str(out), "--rows-per-shard", "5"]
    assert main([*command, "--dry-run"]) == 0
    text = said(capsys)
    for part in ("classes_present, clip_sim on cpu", "12 of 12 are to be scored", "0 of 3 are finished", "rows/s",
                 "2 problems in a sample of 12 rows", "problem row 3: image row003: the cell is empty"):  # fmt: skip
        assert part in text
    assert not out.exists()
    assert main([*command, "--dry-run", "--json"]) == 0
    assert result(capsys)["warnings"][1] == "row 7: image row007: the cell is empty"


def test_score_tries_failed_rows_again(dataset, tiny_clip, tmp_path, capsys):
    command = ["score", "--scores", "clip_sim", "--model", tiny_clip, "--out", str(tmp_path / "scores")]
    assert main([*command, broken(dataset, tmp_path / "rows", (3, 7))]) == 0
    assert "2 failed" in (text := said(capsys))
    assert "the same command with --retry failed scores them again" in text
    repaired = broken(dataset, tmp_path / "repaired", (7,))
    assert main([*command, repaired]) == 2
    assert "if only rows that failed have changed, use --retry failed" in said(capsys)
    assert main([*command, repaired, "--retry", "failed", "--json"]) == 0
    assert result(capsys)["counts"]["failed"] == 1


def test_a_table_of_nothing_but_failures_is_an_error(dataset, tiny_clip, tmp_path, capsys):
    command = ["score", broken(dataset, tmp_path / "rows", range(12)), "--scores", "clip_sim", "--model", tiny_clip]
    assert main([*command, "--out", str(tmp_path / "scores"), "--quiet"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.strip() == "error all 12 rows failed, the first with: row000: image row000: the cell is empty"


def test_progress_for_programs_and_for_nobody(stored, tiny_clip, tmp_path, capsys):
    command = ["score", str(stored), "--scores", "clip_sim", "--model", tiny_clip, "--out", str(tmp_path / "scores")]
    assert main([*command, "--progress", "json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert lines[0] == {
        "step": "scoring", "done": 0, "total": 12, "failed": 0, "device": "cpu", "rows_per_s": None, "eta_s": None,
        "elapsed_s": 0.0,
    }  # fmt: skip
    assert (lines[-1]["done"], lines[-1]["eta_s"]) == (12, 0)
    assert lines[-1]["rows_per_s"] > 0
    assert main([*command, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main([*command, "--progress", "lights"]) == 2
    assert "--progress must be one of bar, json, none, not 'lights'" in said(capsys)


def test_an_import_of_a_folder_that_changed_is_not_used(recipe, tmp_path, capsys):
    raw, plan = raw_folder(tmp_path / "raw", 8), tmp_path / "all.yaml"
    plan.write_text(recipe.read_text() + f"source: {{path: {raw}, reader: folder, labels: voc}}\n")
    command = ["run", str(plan), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    (raw / "images" / "9.png").write_bytes((raw / "images" / "1.png").read_bytes())
    assert main(command) == 2
    assert f"{raw}, or how it is to be read, has changed since it was imported" in said(capsys)
    raw.rename(tmp_path / "away")
    assert main(command) == 2
    where = f"bring it back, or name {tmp_path / 'out' / 'source'} as source.dataset"
    assert f"is no folder now: {where}" in said(capsys)
    (tmp_path / "away").rename(raw)
    (raw / "images" / "9.png").unlink()
    assert main([*command, "--set", "source.labels=coco"]) == 2
    assert "has changed since" in said(capsys)
    assert main(command) == 0


def test_scores_under_another_name_of_the_dataset_are_published(scored, stored, recipe, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(stored.parent)
    again = shutil.copytree(scored / "scores", tmp_path / "scores")
    (again / "scores-00000-of-00001.parquet").unlink()
    assert main(["score", stored.name, "--out", str(again), "--recipe", str(recipe)]) == 0
    assert json.loads((again / "manifest.json").read_text())["source"]["name"] == stored.name
    command = ["publish", stored.name, str(scored / "selection"), "--scores", str(again)]
    assert main([*command, "--folder", str(tmp_path / "published")]) == 0


def test_what_has_no_licence_is_noted(scored, stored, tmp_path, capsys):
    command = ["publish", str(stored), str(scored / "selection"), "--scores", str(scored / "scores")]
    assert main([*command, "--folder", str(tmp_path / "a")]) == 0
    assert "no licence is given" not in said(capsys)
    assert main([*command, "--folder", str(tmp_path / "b"), "--set", "publish.license=null"]) == 0
    assert "no licence is given, so nobody may use the data" in said(capsys)


def _take_signals():
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(stored, tiny_clip, tmp_path):
    """A real process and a real signal, sent once the first shard lies there."""
    out = tmp_path / "scores"
    options = ["--model", tiny_clip, "--rows-per-shard", "1", "--batch-size", "1", "--out", str(out)]
    command = [sys.executable, "-m", "sds_hf", "score", str(stored), *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # What a shell starts in the background ignores the signal, and so would its children.
    with subprocess.Popen(command, **pipes, text=True, preexec_fn=_take_signals) as process:
        while not list(out.glob("scores-*.parquet")):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 130
    assert "run the same command again to go on" in err
    assert main(["score", str(stored), *options, "--json"]) == 0


def test_only_what_decides_is_scored(stored, recipe, scored, tmp_path, capsys):
    out, plan = tmp_path / "scores", ["--recipe", str(recipe)]
    assert main(["score", str(stored), "--for", str(recipe), "--out", str(out)]) == 0
    text = said(capsys)
    assert "encoder passes of pcs: 12 of 24, 50%" in text
    assert "of 12 rows only what decides quantiles was computed:" in text
    assert "score --for ANOTHER or --all computes what is missing" in text
    assert main(["select", str(out), *plan, "--out", str(tmp_path / "selection")]) == 0
    assert "of 12 rows only what decides was computed: " in said(capsys)
    assert (tmp_path / "selection" / "selection.parquet").read_bytes() == (
        scored / "selection" / "selection.parquet"
    ).read_bytes()
    more = ["--rule", "top_k: {column: pcs, target: 3}", "--out", str(tmp_path / "more")]
    assert main(["select", str(out), *plan, *more]) == 2
    assert "asks for pcs of 12 rows of which that was skipped" in said(capsys)
    joined = tmp_path / "joined"
    assert main(["score", str(stored), "--out", str(tmp_path / "light"), "--scores", "prompt_mismatch"]) == 0
    assert main(["join", str(out), str(tmp_path / "light"), "--out", str(joined)]) == 0
    assert "of 12 rows only what decides quantiles was computed:" in said(capsys)
    both = ["--scores", str(out), "--scores", str(tmp_path / "light")]
    published = ["publish", str(stored), str(tmp_path / "selection"), *both, "--folder", str(tmp_path / "published")]
    assert main(published) == 0
    capsys.readouterr()
    columns = load_dataset(str(tmp_path / "published"), "scores", split="train").column_names
    assert {"pcs_low", "skipped_scores", "prompt_mismatch"} < {*columns}
    assert main(["verify", str(tmp_path / "published")]) == 0
    capsys.readouterr()
    assert main(["score", str(stored), "--out", str(joined), "--add", "boundary"]) == 0
    assert "of 12 rows only what decides quantiles was computed:" in said(capsys)
    assert main(["select", str(joined), *plan, "--out", str(tmp_path / "of-joined")]) == 0
    capsys.readouterr()
    assert main(["score", str(stored), "--for", str(recipe), "--all", "--out", str(joined), "--json"]) == 0
    assert "needed" not in result(capsys)["result"]
    assert {"prompt_mismatch", "boundary"} < {*ScoreTable.load(joined).to_arrow().column_names}
    assert main(["score", str(stored), "--out", str(out), "--all", "--json"]) == 0
    assert "needed" not in result(capsys)["result"]
    for ours, theirs in zip(ScoreTable.load(out).paths, ScoreTable.load(scored / "scores").paths, strict=True):
        assert ours.read_bytes() == theirs.read_bytes()
    assert main(["score", str(stored), "--for", str(recipe), "--out", str(tmp_path / "again"), "--json"]) == 0
    assert result(capsys)["result"]["needed"]["work"] == {"encoder passes of pcs": [12, 24]}
    for wrong in (["--recipe", str(recipe)], ["--streaming"], ["--dry-run"]):
        assert main(["score", str(stored), "--for", str(recipe), "--out", str(out), *wrong]) == 2


def test_run_scores_what_decides_unless_it_is_to_score_all(recipe, tiny_clip, tmp_path, capsys):
    raw, plan = raw_folder(tmp_path / "raw", 8), tmp_path / "all.yaml"
    plan.write_text(recipe.read_text() + f"source: {{path: {raw}, reader: folder, labels: voc}}\n")
    for name, options in (("needed", []), ("all", ["--all"])):
        assert main(["run", str(plan), "--out", str(tmp_path / name), *options, "--json"]) == 0
    tables = {name: ScoreTable.load(tmp_path / name / "scores") for name in ("needed", "all")}
    assert [table.skips for table in tables.values()] == [True, False]
    files = [(tmp_path / name / "selection" / "selection.parquet").read_bytes() for name in tables]
    assert files[0] == files[1]
    capsys.readouterr()
    again = ["--rescore", "8", "--set", f"model={tiny_clip}"]
    assert main(["verify", str(tmp_path / "needed" / "published"), *again]) == 0
    text = said(capsys)
    assert "rescore clip_sim_mixed of none of" in text
    assert "rescore pcs 6 rows" in text  # they lie in their intervals
    card = (tmp_path / "needed" / "published" / "README.md").read_text()
    assert "only what decides was computed" in card
    assert "columns that were not computed for the row" in card
    assert main(["run", str(plan), "--out", str(tmp_path / "needed"), "--all", "--json"]) == 0
    assert not ScoreTable.load(tmp_path / "needed" / "scores").skips
