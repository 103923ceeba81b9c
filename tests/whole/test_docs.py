"""The guides do what they say: their commands and code are run in order, their links and tables are true."""

import re
import runpy
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.paths import ROOT
from support.registries import forgotten

import sds_hf
from sds_hf.cli import app, main
from sds_hf.demo.dataset import demo_rows
from sds_hf.scores.base.catalog import score_classes
from sds_hf.selection.recipe import Recipe, recipe_names

DOCS = ROOT / "docs"
ORDER = ["getting-started", "data", "thresholds", "scores", "looking", "prove", "publish", "extend", "cluster"]
PAGES = sorted(path for path in DOCS.rglob("*.md"))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
NOT_RUN = {  # by its first line, and why
    "accelerate launch --multi_gpu --num_processes 8 -m sds_hf score candidates --out scores": "GPUs",
    "#!/bin/bash": "SLURM",
    'pip install "sds-hf[ray]" s3fs': "a cluster, and a network",
}


def text(name: str) -> str:
    """A page's text."""
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Iterator[Path]:
    """A folder with what the guides suppose: pairs of images and masks in `raw`; what they register is forgotten."""
    home = tmp_path_factory.mktemp("guides")
    for row in demo_rows(24, seed=3):
        for kind, data in (("images", row["image"]), ("masks", row["mask"])):
            path = home / "raw" / kind / f"{row['id']}{'.jpg' if kind == 'images' else '.png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data["bytes"])
    with forgotten():
        yield home


@pytest.mark.slow
def test_commands_and_code_run_in_order(home, monkeypatch, capsys):
    monkeypatch.chdir(home)
    ran = 0
    for name in ORDER:
        for kind, block in BLOCK.findall(text(name)):
            if kind == "yaml" and block.startswith("# "):  # a file, named in its first line
                (home / block.splitlines()[0].removeprefix("# ")).write_text(block, encoding="utf-8")
            elif kind == "bash":
                for line in block.strip().splitlines():
                    program, *arguments = shlex.split(line)
                    assert program == "sds-hf", line
                    assert main(arguments) == 0, f"{name}: {line}\n{capsys.readouterr()}"
                    ran += 1
            elif kind == "python":
                path = home / f"{name}-{ran}.py"
                path.write_text(block, encoding="utf-8")
                runpy.run_path(str(path))
                ran += 1
    assert ran > 30


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_other_blocks_are_what_they_say(page):
    """Recipes are read, entry points name examples, and what is not run is listed."""
    for kind, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind == "yaml":
            assert Recipe.from_yaml(block), block
        elif kind == "toml":
            groups = tomllib.loads(block)["project"]["entry-points"]
            modules = [module for entries in groups.values() for module in entries.values()]
            assert all((ROOT / "examples" / f"{module}.py").exists() for module in modules)
        elif kind not in ("bash", "python"):
            assert (kind, block.splitlines()[0]) in {("text", line) for line in NOT_RUN}, block


def test_every_page_with_commands_is_run():
    pages = {page.stem for page in PAGES if re.search(r"^```(bash|python)", page.read_text(encoding="utf-8"), re.M)}
    assert pages <= {*ORDER, "python"}  # the reference of Python has `test_python.py`


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        if not re.match(r"[a-z]+:", link) and path:
            assert (page.parent / path).exists(), link
            assert not anchor or anchor in anchors(page.parent / path), link


def test_files_that_pages_name_are_there():
    for page in PAGES:
        for path in re.findall(
            r"`((?:tests|examples|loading_scripts|cards)/[\w/-]+\.\w+)`", page.read_text(encoding="utf-8")
        ):
            assert (ROOT / path).exists(), (page.name, path)


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings."""
    heads = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def test_every_page_is_in_the_navigation():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    listed = re.findall(r"[\w/.-]+\.md", yaml.dump(nav))
    assert sorted(listed) == [str(page.relative_to(DOCS)) for page in PAGES]


def test_the_reference_of_commands_is_what_the_commands_say():
    make_commands = runpy.run_path(str(DOCS / "make_commands.py"))
    page = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
    assert page == make_commands["page"](), "python docs/make_commands.py"
    assert re.findall(r"^## (\S+)", page, re.M) == [command.name for command in app.registered_commands]


def test_public_names_are_in_the_reference():
    page = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    missing = [name for name in sds_hf.__all__ if not re.search(rf"[.`]{name}\b", page) and name != "__version__"]
    assert not missing


def test_names_in_the_reference_are_there():
    for path in re.findall(r"^::: (\S+)", (DOCS / "reference" / "python.md").read_text(encoding="utf-8"), re.M):
        module, _, name = path.rpartition(".")
        __import__(module)
        assert hasattr(sys.modules[module], name), path


def test_scores_are_in_their_table():
    for name, score in score_classes().items():
        if score.__module__.startswith("sds_hf."):
            assert re.search(rf"^\| `{name}` \|.*{'.*'.join(score.columns)}", text("scores"), re.M), name


def test_recipes_and_rules_are_in_their_tables():
    from sds_hf.selection.rules.base import RULES

    for name in [*recipe_names(), *RULES]:
        assert f"`{name}`" in text("thresholds"), name
