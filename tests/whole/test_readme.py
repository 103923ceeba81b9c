"""README does what it says: its commands and its code are run. The guides have `test_docs.py`."""

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import HfApi
from support.models import make_clip
from support.paths import DEMO_CLIP, ROOT
from support.raw_trees import save_pair, save_prompts
from support.session import HUB

from sds_hf.cli import main
from sds_hf.data.folder import write_data_folder
from sds_hf.demo.dataset import demo_features, demo_rows
from sds_hf.selection.recipe import Recipe

README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^```bash\n(.*?)^```", README, re.M | re.S)
CODE = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)
INSTALL_AND_TEST = 'pip install -c constraints.txt -e ".[test]" && pytest'
INSTALL = 'pip install -c constraints.txt ".[demo]" && '


def shell(command: str, cwd: Path) -> str:
    """Run a line as a user would, with this interpreter's package."""
    bin_folder = cwd / "bin"
    bin_folder.mkdir(exist_ok=True)
    (bin_folder / "sds-hf").write_text(f'#!/bin/sh\nexec {sys.executable} -m sds_hf "$@"\n')
    (bin_folder / "sds-hf").chmod(0o755)
    env = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, shell=True, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with what README supposes: raw output in `gen_voc`, the demo's scenes, and CLIP on the Hub."""
    home = tmp_path_factory.mktemp("home")
    rng = np.random.default_rng(0)
    names = {}
    for index in range(16):
        classes = sorted({int(value) for value in rng.integers(1, 21, 1 + index % 2)})
        save_pair(home / "gen_voc", str(index), classes)
        names[str(index)] = "thing"
    save_prompts(home / "gen_voc", names)
    HUB.tokens["hf_openai"] = "openai"
    api = HfApi(token="hf_openai")
    api.create_repo("openai/clip-vit-base-patch16", exist_ok=True)
    folder = make_clip(home / "clip", image_size=64)
    api.upload_folder(repo_id="openai/clip-vit-base-patch16", folder_path=folder)
    write_data_folder(demo_rows(12), demo_features(), home / "sds-demo" / "source", origin={"reader": "demo"})
    return home


def test_the_two_commands_are_there():
    assert COMMANDS[1].strip() == INSTALL_AND_TEST
    assert COMMANDS[0].strip() == f"{INSTALL}sds-hf demo"
    ci = (ROOT / ".ci" / "run").read_text()
    assert INSTALL_AND_TEST.removeprefix("pip install") in ci.replace("pip install -q", "")


@pytest.mark.slow
@pytest.mark.skipif(not (DEMO_CLIP / "model.safetensors").exists(), reason="the demo CLIP is not trained")
def test_the_demo_runs(tmp_path):
    said = shell(COMMANDS[0].strip().removeprefix(INSTALL), tmp_path)
    assert "clean" in said
    assert (tmp_path / "sds-demo" / "published" / "README.md").exists()


def test_commands_and_code_run_in_order(home, monkeypatch, capsys):
    """From raw output to a dataset on the Hub, then the code, which uses what the commands made."""
    monkeypatch.chdir(home)
    for block in COMMANDS[2:]:
        for line in block.strip().splitlines():
            program, *arguments = shlex.split(line)
            assert program == "sds-hf"
            assert main(arguments) == 0, f"{line}\n{capsys.readouterr()}"
    for number, code in enumerate(CODE):
        path = home / f"code{number}.py"
        path.write_text(code)
        runpy.run_path(str(path))
    assert (home / "sds-voc" / "README.md").exists()


def rows_of(text: str, title: str) -> dict[str, list[str]]:
    """A table by its first column, the header's first cell being a title."""
    _, _, rest = text.partition(f"| {title} |")
    lines = rest[: rest.index("\n\n")].splitlines()[2:]
    return {cells[0]: cells[1:] for cells in ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)}


def test_figures_of_the_proof_are_those_that_were_measured():
    proof = json.loads((ROOT / "tests" / "benchmarks" / "prove.json").read_text(encoding="utf-8"))
    arms = {arm["name"]: arm for arm in proof["arms"]}
    miou = {(one["regime"], one["evaluation"], one["arm"]): one["miou"] for one in proof["scores"]}
    table = rows_of(README, "trained on")
    named = {"all rows": "full", "random rows": "random 2,174", "the clean rows": "clean"}
    assert {named.get(name, name.strip("`")) for name in table} == set(arms)
    for name, (rows, clean, *reached) in table.items():
        arm = arms[named.get(name, name.strip("`"))]
        assert (rows, clean) == (f"{arm['size']:,}", f"{arm['clean']:.0%}".replace("%", " %"))
        spreads = [miou[regime, "seen", arm["name"]] for regime in ("steps", "epochs")]
        assert reached == [f"{spread['mean']:.1f} ± {spread['deviation']:.1f}" for spread in spreads]
    assert len(spreads[0]["values"]) == 10
    assert "ten seeds" in README


def test_sizes_are_those_that_were_measured():
    """Shares of the rows that are kept, in the guide and beside the benchmark."""
    proof = json.loads((ROOT / "tests" / "benchmarks" / "prove_sizes.json").read_text(encoding="utf-8"))
    sizes = {arm["name"]: arm["size"] for arm in proof["arms"]}
    miou = {(one["regime"], one["evaluation"], one["arm"]): one["miou"] for one in proof["scores"]}
    guide, notes = (
        (ROOT / name).read_text(encoding="utf-8") for name in ("docs/prove.md", "tests/benchmarks/README.md")
    )
    for text, regime, title in (
        (guide, "steps", "kept, 2,000 steps each"),
        (notes, "steps", "kept, 2,000 steps each"),
        (notes, "epochs", "kept, 8 epochs each"),
    ):
        table = rows_of(text, title)
        assert len(table) == 6
        for share, values in table.items():
            suffix = {"15 %": " 0.15", "38 %": " 0.375", "50 %": " 0.5", "54 %": "", "75 %": " 0.75"}.get(share)
            arms = ["full"] if suffix is None else [f"sds-paper{suffix}", f"sds-plus{suffix}"]
            if suffix is not None:
                assert abs(sizes[arms[1]] / sizes["full"] - float(share.removesuffix(" %")) / 100) < 0.006
                arms = [f"random {sizes[arms[1]]:,}", *arms]
            spreads = [miou[regime, evaluation, arm] for evaluation in ("seen", "unseen") for arm in arms]
            assert [value for value in values if value] == [f"{s['mean']:.1f} ± {s['deviation']:.1f}" for s in spreads]


def test_trainings_from_scratch_are_those_that_were_measured():
    folder = ROOT / "tests" / "benchmarks"
    proof = json.loads((folder / "prove_full.json").read_text(encoding="utf-8"))
    curve = json.loads((folder / "prove_full_curve.json").read_text(encoding="utf-8"))
    miou = {(one["evaluation"], one["arm"]): one["miou"] for one in proof["scores"]}
    against = {(one["evaluation"], one["arm"], one["against"]): one["difference"] for one in proof["comparisons"]}

    def figures(arm: str, evaluation: str) -> list[str]:
        differences = [against.get((evaluation, arm, other)) for other in ("random 2,174", "full")]
        told = [f"{d['mean']:+.1f} [{d['low']:+.1f}, {d['high']:+.1f}]" if d else "" for d in differences]
        return [f"{miou[evaluation, arm]['mean']:.1f} ± {miou[evaluation, arm]['deviation']:.1f}", *told]

    notes, guide = (path.read_text(encoding="utf-8") for path in (folder / "README.md", ROOT / "docs" / "prove.md"))
    for text in (notes, guide):
        table = rows_of(text, "from scratch, 5,000 steps")
        assert {name.strip("`") for name in table} == {arm["name"] for arm in proof["arms"]}
        for name, (_, *told) in table.items():
            assert told == figures(name.strip("`"), "seen") + figures(name.strip("`"), "unseen"), name
    for evaluation, told in rows_of(notes, "steps of the full set, from scratch").items():
        assert told == [f"{curve[steps][evaluation][0]:.1f}" for steps in sorted(curve, key=int)]
    assert "53.2 on seen and 37.9 on unseen" in guide
    reached = [f"{miou['seen', arm]['mean']:.1f}" for arm in ("full", "sds-paper", "sds-plus")]
    assert "all rows {}, `sds-paper` {}, `sds-plus` {}.".format(*reached) in README
    assert [round(curve["10000"][evaluation][0], 1) for evaluation in ("seen", "unseen")] == [53.2, 37.9]


CALLED = {"by chance": "chance", "SDS, bounds as quantiles": "sds-quantiles"}


def auroc(value: float) -> str:
    return "1.00" if value >= 0.995 else f"{value:.2f}".removeprefix("0")


def test_what_scores_see_is_what_was_measured():
    truth = json.loads((ROOT / "tests" / "benchmarks" / "selection_truth.json").read_text(encoding="utf-8"))["seen"]
    named = {"recipe `sds-paper`, bounds as quantiles": "sds-quantiles", "recipe `sds-plus`": "sds-plus"}
    kinds = ["wrong_object", "wrong_class", "shifted_mask", "boxed_mask", "missing_object", "any"]
    table = rows_of(README, f"{truth['rows']:,} scenes")
    assert len(table) == 6
    for name, values in table.items():
        measured = truth["sights"][named.get(name, name.strip("`"))]["auroc"]
        assert values == [auroc(measured[kind]) for kind in kinds], name


def test_the_guide_says_what_was_measured():
    """Both tables of AUROC and of clean rows in the guide, of scenes of seen artwork and of others."""
    measured = json.loads((ROOT / "tests" / "benchmarks" / "selection_truth.json").read_text(encoding="utf-8"))
    guide = (ROOT / "docs" / "scores.md").read_text(encoding="utf-8").partition("## Scores and recipes on 5,000")[2]
    for part, text in zip(("seen", "held_out"), guide.split("### Artwork that nobody looked at"), strict=True):
        sights = measured[part]["sights"]
        for name, values in rows_of(text, "AUROC").items():
            sight = sights[CALLED.get(name, name.strip("`"))]
            assert values == [auroc(sight["auroc"][kind]) for kind in ("any", *measured[part]["defects"])], name
        rows = rows_of(text, f"where {measured[part]['size']:,} rows are kept, as SDS with quantiles does")
        for name, (share, *_) in rows.items():
            sight = sights[CALLED.get(name, name.removesuffix(" alone").strip("`"))]
            assert share == f"{sight['clean_of_kept']:.0%}".replace("%", " %"), name


def test_it_is_short():
    """One screen of prose: what a person reads, without tables, code, headings and links to guides."""
    prose = re.sub(r"^[|#!].*$|^    .*$|^\[.*\) ·$", "", re.sub(r"(?s)```.*?```", "", README), flags=re.M)
    prose = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", prose)
    sentences = [sentence.split() for sentence in re.split(r"(?<=[.?!:])\s+(?=[A-Z`]|sds-hf)", " ".join(prose.split()))]
    assert sum(map(len, sentences)) < 450
    assert max(map(len, sentences)) <= 30


def test_paths_are_there():
    for path in re.findall(r"[`(]((?:cards|docs|examples|sds_hf|tests|loading_scripts)/[\w./-]*)[`)]", README):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize(
    "path", sorted((ROOT / "cards").glob("*/*.yaml")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_recipes_of_cards_are_recipes(path):
    assert Recipe.load(path).scores


@pytest.mark.parametrize("path", sorted((ROOT / "cards").glob("*/report.json")), ids=lambda path: path.parent.name)
def test_committed_cards_are_what_the_code_renders(path):
    assert main(["card", str(path.parent), "--check"]) == 0
