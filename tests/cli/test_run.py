"""`sds-hf run`: where it writes, what it shows at the end, what a dry run does, and what stays if it refuses."""

import json
import shlex
from pathlib import Path

import pytest
from datasets import load_dataset

from sds_hf import ScoreTable, Selection
from sds_hf.cli import main
from sds_hf.data.folder import write_data_folder
from sds_hf.demo.dataset import demo_features, demo_rows

RECIPE = """
name: {name}
model: {model}
source: {{{source}}}
scores:
  clip_sim: {{dtype: fp32}}
rules:
  - threshold: {{column: clip_sim, above: q0.25}}
publish: {{license: cc-by-4.0}}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a raw tree, a dataset, and a recipe for each."""
    monkeypatch.chdir(tmp_path)
    for row in demo_rows(12):
        for kind, data in (("images", row["image"]), ("masks", row["mask"])):
            path = Path("raw") / kind / f"{row['id']}{'.jpg' if kind == 'images' else '.png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data["bytes"])
    write_data_folder(demo_rows(12), demo_features(), Path("data"), origin={"reader": "demo"})
    return tmp_path


def recipe(name, tiny_clip, source="dataset: data") -> str:
    Path(f"{name}.yaml").write_text(RECIPE.format(name=name, model=tiny_clip, source=source), encoding="utf-8")
    return f"{name}.yaml"


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_each_recipe_has_a_folder_of_its_own(here, tiny_clip, capsys):
    first = recipe("first", tiny_clip)
    assert main(["run", first, "--quiet"]) == 0
    assert main(["run", first, "--set", "name=../a b/c", "--quiet"]) == 0
    assert sorted(path.name for path in Path("sds-run").iterdir()) == ["a-b-c", "first"]
    assert Path("sds-run/a-b-c/published/README.md").exists()


def test_it_ends_with_what_to_look_at(here, tiny_clip, capsys, monkeypatch):
    assert main(["run", recipe("mine", tiny_clip, "path: raw, labels: voc"), "--all"]) == 0
    shown = capsys.readouterr().out.split("Look at")[1].strip().splitlines()
    lines = [line.strip() for line in shown if line.strip().startswith("sds-hf ")]
    assert [shlex.split(line)[1] for line in lines] == ["look", "explore"]
    served = []
    monkeypatch.setattr("sds_hf.explore.server.serve", lambda *args: served.append(args))
    for line in lines:
        assert main(shlex.split(line)[1:]) == 0
    assert Path("sds-run/mine/look.html").stat().st_size > 10_000
    assert len(served) == 1


def test_a_dry_run_scores_nothing(here, tiny_clip, capsys):
    command = ["run", recipe("mine", tiny_clip, "path: raw, labels: voc"), "--dry-run"]
    before = tree(here)
    assert main(command) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for part in (
        "12 rows would be imported",
        "12 of 12 are to be scored",
        "clip_sim > q0.25",
        "sds-run/mine/published",
    ):
        assert part in shown
    assert main([*command, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["counts"]["rows_left"], answer["result"]["imports"]) == (12, 12)
    assert tree(here) == before
    assert not Path("sds-run").exists()


def test_a_dry_run_after_a_run_shows_what_would_be_published(here, tiny_clip, capsys):
    command = ["run", recipe("mine", tiny_clip)]
    assert main([*command, "--quiet", "--all"]) == 0
    before = tree(here)
    assert main([*command, "--dry-run", "--json", "--set", "rules.0.threshold.above=q0.5"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["result"]["dry_run"]
    assert answer["counts"]["kept"] < len(load_dataset("sds-run/mine/published", split="train"))
    assert tree(here) == before


def test_selection_and_publication_agree_where_publishing_is_refused(here, tiny_clip, capsys):
    command = ["run", recipe("mine", tiny_clip)]
    assert main([*command, "--set", "publish.gate.min_rows=12"]) == 2  # never published, so nothing is selected
    assert "min_rows" in capsys.readouterr().err
    out = Path("sds-run/mine")
    assert ScoreTable.load(out / "scores")
    assert not (out / "selection").exists()
    assert not (out / "published").exists()
    assert main(command) == 0
    kept, before = Selection.load(out / "selection").report.kept, (tree(out / "selection"), tree(out / "published"))
    assert kept == len(load_dataset(str(out / "published"), split="train"))
    assert main([*command, "--set", "rules.0.threshold.above=q0.5", "--set", "publish.gate.min_rows=9"]) == 2
    assert (tree(out / "selection"), tree(out / "published")) == before
    assert main([*command, "--set", "rules.0.threshold.above=q0.5"]) == 0
    fewer = Selection.load(out / "selection").report.kept
    assert fewer < kept
    assert json.loads((out / "published" / "report.json").read_text())["kept"] == fewer


def test_what_was_written_into_the_card_is_said_before_anything_is_done(here, tiny_clip, capsys):
    command = ["run", recipe("mine", tiny_clip), "--quiet"]
    assert main(command) == 0
    out = Path("sds-run/mine")
    with (out / "published" / "README.md").open("a") as card:
        card.write("\nAsk Ann before you train on it.\n")
    before = tree(out)
    assert main([*command, "--set", "rules.0.threshold.above=q0.5", "--set", "scores.classes_present={}"]) == 2
    assert "'Ask Ann before you train on it.'" in " ".join(capsys.readouterr().err.split())
    assert tree(out) == before
    assert main(["card", str(out / "published")]) == 0
    assert main([*command, "--set", "rules.0.threshold.above=q0.5"]) == 0


def test_a_selection_of_somebody_else_is_not_replaced(here, tiny_clip, capsys):
    folder = Path("sds-run/mine/selection")
    folder.mkdir(parents=True)
    (folder / "report.json").write_text("mine")
    assert main(["run", recipe("mine", tiny_clip)]) == 2
    assert "was not written by this command" in capsys.readouterr().err
    assert not Path("sds-run/mine/published").exists()
