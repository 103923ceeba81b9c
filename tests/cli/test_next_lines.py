"""What helps, "Next" lines and hints tell a person to type is run, or at least understood."""

import ast
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import typer
from huggingface_hub import HfApi
from support.models import make_clip
from support.paths import DEMO_CLIP, PACKAGE
from support.raw_trees import save_prompts
from support.session import HUB
from typer.main import get_command

from sds_hf.cli import app, main
from sds_hf.cli.examples import EXAMPLES
from sds_hf.data.folder import write_data_folder
from sds_hf.demo.dataset import demo_features, demo_rows
from sds_hf.selection.marks.file import read_marks, record_marks

COMMANDS = get_command(app).commands
MissingParameter = next(kind for kind in typer.BadParameter.__subclasses__() if kind.__name__ == "MissingParameter")
PLACEHOLDERS = {
    "DATASET": "candidates",
    "SCORES": "scores",
    "FOLDER": "gen_voc",
    "YOUR_FOLDER": "gen_voc",
    "SELECTION": "certified",
}
LESS = {  # at the end of an example that would take long here
    "demo": "--rows 30", "prove": "--seeds 1 --steps 2 --backbone demo", "bench": "--rows 3 --image-size 64",
}  # fmt: skip
BEFORE = {  # what an example supposes that no earlier one makes
    "join": ["sds-hf score candidates --scores classes_present --out more-scores"],
    "card": ["sds-hf publish candidates selection --scores scores --folder sds-voc"],
}
NEW = {"import", "score", "publish", "export", "defects", "prove"}  # commands that leave alone what is there
RUN = re.compile(r"^ *((?:sds-hf|python -c) .*)", re.M)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with what the examples suppose, and CLIP on the Hub."""
    home = tmp_path_factory.mktemp("home")
    names = [f"0_{index:06}" for index in range(24)]
    for name, row in zip(names, demo_rows(len(names)), strict=True):
        for kind, end in (("image", "jpg"), ("mask", "png")):
            path = home / "gen_voc" / kind / f"{name}.{end}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(row[kind]["bytes"])
    save_prompts(home / "gen_voc", dict.fromkeys(names, "thing"))
    for name, rows in (("real", 12), ("real_val", 8), ("trusted", 6)):
        write_data_folder(demo_rows(rows, seed=rows), demo_features(), home / name, origin={"reader": "demo"})
    (home / "voc.yaml").write_text(
        "name: voc\nmodel: demo\nsource: {path: gen_voc, reader: auto, labels: voc}\nscores: {clip_sim: {}}\n"
        "rules: [{threshold: {column: clip_sim, above: q0.2}}]\n",
        encoding="utf-8",
    )
    HUB.tokens["hf_openai"] = "openai"
    api = HfApi(token="hf_openai")
    api.create_repo("openai/clip-vit-base-patch16", exist_ok=True)
    api.upload_folder(repo_id="openai/clip-vit-base-patch16", folder_path=make_clip(home / "clip", image_size=64))
    return home


@pytest.fixture
def here(home, monkeypatch):
    """That folder, with a page that is not served."""
    monkeypatch.chdir(home)
    monkeypatch.setattr("sds_hf.explore.server.serve", lambda exploration, host, port, told: told("http://localhost:1"))
    return home


def ran(line: str, capsys) -> str:
    """What a line of a shell prints."""
    capsys.readouterr()
    program, *arguments = shlex.split(line)
    if program == "python":
        return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True).stdout
    code = main(arguments)
    if arguments[0] == "explore":  # where a person marks rows
        marks = Path("selection") / "marks.parquet"
        rows = read_marks(marks).to_pylist() if marks.exists() else []
        record_marks(marks, [{"id": row["id"], "mark": True, "who": "me"} for row in rows])
    captured = capsys.readouterr()
    assert code == 0, f"{line}\n{captured.out}\n{captured.err}"
    return captured.out + captured.err


def in_the_way(line: str) -> Path | None:
    """What lies where a command writes that would leave it alone."""
    words = shlex.split(line)
    target = next((Path(words[place + 1]) for place, word in enumerate(words) if word in ("--out", "--folder")), None)
    return target if words[1] in NEW and target is not None and target.exists() else None


def run_aside(line: str, capsys) -> str:
    """The same, with what is in the way moved aside for as long."""
    target, aside = in_the_way(line), Path("aside")
    if target is None:
        return ran(line, capsys)
    target.rename(aside)
    try:
        return ran(line, capsys)
    finally:
        shutil.rmtree(target, ignore_errors=True)
        aside.rename(target)


@pytest.mark.slow
@pytest.mark.skipif(not (DEMO_CLIP / "model.safetensors").exists(), reason="the demo CLIP is not trained")
def test_examples_run_in_order_and_so_does_what_they_tell_to_type(here, capsys):
    tried = set()
    for name, example in EXAMPLES.items():
        for line in BEFORE.get(name, []):
            ran(line, capsys)
        if target := in_the_way(example):  # what an earlier "Next" line made
            shutil.rmtree(target)
        said = ran(f"{example} {LESS.get(name, '')}", capsys)
        pending = list(RUN.findall(said))
        while pending:
            line = re.sub(r"\b[A-Z_]{4,}\b", lambda word: PLACEHOLDERS[word[0]], pending.pop(0))
            if line not in tried:
                tried.add(line)
                pending += RUN.findall(run_aside(line, capsys))
    assert len(tried) > 12
    assert {shlex.split(line)[1] for line in tried} >= {"look", "explore", "publish", "select", "score", "import"}


def hints() -> list[tuple[str, str]]:
    """Commands that stand in a text of ours: file and command, with `X` for what is filled in."""
    skill = (PACKAGE.parent / "SKILL.md").read_text(encoding="utf-8")
    found = [("SKILL.md", " ".join(hint.split())) for hint in re.findall(r"`(sds-hf [^`]+)`", skill)]
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
                text = node.value
            else:
                continue
            found += [(path.name, hint) for hint in re.findall(r"`(sds-hf [^`]+)`", " ".join(text.split()))]
    return found


@pytest.mark.parametrize(("file", "hint"), hints())
def test_commands_in_hints_are_understood(file, hint):
    _, name, *arguments = shlex.split(hint.replace("...", ""))
    if name in ("X", "--help"):  # of a command that stands for all
        return
    assert name in COMMANDS, hint
    with suppress(MissingParameter):  # what is left out
        COMMANDS[name].make_context(name, arguments)
