"""Every command answers programs in one shape, and what it tells a person to type next works."""

import json
import shlex
from pathlib import Path

import pytest
from datasets import load_dataset
from support.paths import DEMO_CLIP
from typer.main import get_command

from sds_hf.cli import app, main
from sds_hf.cli.answer import KEYS
from sds_hf.cli.failures import report
from sds_hf.demo.dataset import demo_rows
from sds_hf.errors import plain

COMMANDS = get_command(app).commands
RECIPE = """
name: small
model: demo
source: {dataset: sds-demo/source}
scores: {clip_sim: {}}
rules: [{threshold: {column: clip_sim, above: q0.3}}]
publish: {license: cc-by-4.0}
"""
CALLS = {  # in the order of work; each with --json, in a folder that has what the earlier ones made, and `raw`
    "demo": "demo --rows 30",
    "readers": "readers",
    "import": "import folder raw --labels voc --out candidates",
    "scores": "scores pcs",
    "models": "models",
    "score": "score sds-demo/source --model demo --scores clip_sim,boundary --out scores",
    "fit": "fit gmm_sim sds-demo/source --model demo --set components=2 --out gmm.npz",
    "join": "join scores sds-demo/scores --out joined",
    "recipes": "recipes sds-paper",
    "rules": "rules threshold",
    "select": "select scores --rule 'threshold: {column: clip_sim, above: q0.5}' --out selection",
    "compare": "compare sds-demo/scores sds-plus random",
    "why": "why selection ID --scores scores",
    "sample": "sample selection --n 3",
    "certify": "certify selection --unmarked bad",
    "explore": "explore scores sds-demo/source --no-browser",
    "look": "look selection --out look.html",
    "publish": "publish sds-demo/source selection --scores scores --folder published",
    "verify": "verify published",
    "diff": "diff sds-demo/published published",
    "prove": "prove sds-demo/source scores --eval sds-demo/source --backbone demo --recipes random --dry-run",
    "run": "run small.yaml",
    "card": "card published --check",
    "export": "export published voc --out tree",
    "defects": "defects sds-demo/source --out spoilt",
    "judge": "judge sds-demo/scores --draws 10",
    "bench": "bench --scores clip_sim --model demo --rows 3 --image-size 64",
}
WRITES_NOTHING = {"readers", "scores", "models", "recipes", "rules", "compare", "why", "certify", "verify", "diff",
                  "prove", "judge", "bench"}  # fmt: skip
pytestmark = pytest.mark.skipif(not (DEMO_CLIP / "model.safetensors").exists(), reason="the demo CLIP is not trained")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with pairs of images and masks, and a recipe."""
    home = tmp_path_factory.mktemp("home")
    (home / "small.yaml").write_text(RECIPE, encoding="utf-8")
    for row in demo_rows(8, seed=3):
        for kind, data in (("images", row["image"]), ("masks", row["mask"])):
            path = home / "raw" / kind / f"{row['id']}{'.jpg' if kind == 'images' else '.png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data["bytes"])
    return home


@pytest.fixture(scope="module")
def scored(home) -> None:
    """Scores and a selection of them there, for what is refused."""
    from datasets import Dataset

    table = {"id": ["a", "b"], "clip_sim": [0.1, 0.2], "pcs": [0.1, 0.2], "asf_miou": [0.1, 0.2],
             "classes_present": [[1], [2]]}  # fmt: skip
    Dataset.from_dict(table).to_parquet(home / "some.parquet")


@pytest.fixture(scope="module")
def answers(home) -> dict[str, dict]:
    """What each command says, in turn."""
    said = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setattr("sds_hf.explore.server.serve", lambda exploration, host, port, told: told("http://localhost:1"))
        for name, call in CALLS.items():
            row = str(load_dataset("sds-demo/source", split="train")["id"][0]) if name == "why" else ""
            said[name] = answered(call.replace("ID", row))
    return said


def answered(call: str) -> dict:
    """The JSON that a command prints, and nothing else."""
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main([*shlex.split(call), "--json"])
    assert code == 0, f"{call}\n{out.getvalue()}"
    return json.loads(out.getvalue())


def test_every_command_is_tried():
    assert set(CALLS) == set(COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_every_command_answers_in_one_shape(answers, name):
    answer = answers[name]
    assert tuple(answer) == KEYS
    assert answer["name"] == name
    assert (answer["out"] is None) == (name in WRITES_NOTHING)
    assert all(type(count) is int for count in answer["counts"].values())
    assert all(set(step) == {"rule", "before", "after", "dropped", "bounds", "cutoffs"} for step in answer["steps"])
    assert all(type(value) is float for bounds in answer["bounds"].values() for value in bounds.values())
    assert all(type(warning) is str and "\n" not in warning for warning in answer["warnings"])
    assert type(answer["result"]) is dict


@pytest.mark.slow
def test_what_is_chosen_has_counts_steps_and_bounds(answers):
    for name in ("demo", "select", "publish", "run"):
        answer = answers[name]
        assert answer["counts"]["kept"] == answer["steps"][-1]["after"] <= answer["counts"]["rows"] == 30
        assert set(answer["bounds"]["clip_sim"]) == {"above"}
    assert Path(answers["run"]["out"]).as_posix().endswith("sds-run/small/published")


@pytest.mark.parametrize("name", CALLS)
def test_every_error_is_told_in_one_shape(name, home, monkeypatch, capsys):
    """Of how it is called, before anything is looked at."""
    monkeypatch.chdir(home)
    assert main([name, "--nonsense", "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out) == {
        "error": {
            "type": "UsageError",
            "message": f"no such option: --nonsense; see `sds-hf {name} --help`",
            "exit_code": 2,
            "repeats": True,
        }
    }


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        ("score nowhere/at/all --out x", "ValueError", "nowhere/at/all does not exist"),
        ("select some.parquet --out x", "EmptySelectionError", "nothing is left"),
        ("recipes sds-papr", "ValueError", "did you mean 'sds-paper'?"),
        ("publish raw nothing --scores scores --folder x", "ValueError", "there is no folder nothing"),
        ("select", "UsageError", "missing argument 'scores', as in `sds-hf select scores --recipe sds-plus "),
        ("selct", "UsageError", "no such command 'selct'; did you mean 'select'? See `sds-hf --help`"),
    ],
)
def test_errors_of_the_input_are_told_in_one_shape(scored, home, call, kind, message, monkeypatch, capsys):
    monkeypatch.chdir(home)
    assert main([*shlex.split(call), "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["type"], error["exit_code"]) == (kind, 2)
    assert message in error["message"]
    assert "\n" not in error["message"]


def test_what_a_terminal_would_obey_is_escaped(home, monkeypatch, capsys):
    monkeypatch.chdir(home)
    assert main(["score", "no\x1b[31mwhere", "--out", "x", "--json"]) == 2
    out = capsys.readouterr().out
    assert plain(out, lines=True) == out
    assert "no\x1b[31mwhere" in json.loads(out)["error"]["message"]


@pytest.mark.parametrize(
    ("error", "cause", "repeats"),
    [
        (ValueError("no score 'x'"), KeyError("x"), True),
        (ModuleNotFoundError("this needs OpenCV"), None, True),
        (OSError("the disk is full"), None, False),
        (ValueError("cannot open user/raw"), ConnectionError("reset"), False),
        (ValueError("cannot open user/raw"), RuntimeError("of a network library"), False),
    ],
)
def test_programs_are_told_whether_the_same_call_fails_again(error, cause, repeats, capsys):
    error.__cause__ = cause
    assert report(error, json=True) == 2
    assert json.loads(capsys.readouterr().out)["error"]["repeats"] is repeats
