"""Imports inside the package go down only, and starting up stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "sds_hf"
# Every module and folder of the package, from the ground up. A module imports from lower layers only.
LAYERS = [
    {
        "sql",
        "yamltext",
        "digests",
        "prefetch",
        "interrupts",
        "progress",
        "lattice",
        "extras",
        "folders",
        "retrying",
        "columns",
        "disclosure",
    },
    {
        "functional",
        "labels",
        "images",
        "cam",
        "crf",
        "checkpoints",
        "validation",
        "stages",
        "presets",
        "quantiles",
        "database",
        "layout",
        "overrides",
        "prompts",
        "handwritten",
        "markup",
    },
    {"stores", "changes"},
    {"instances", "contours", "arrays", "mixture", "probe", "confidence", "neighbors", "splitting"},
    {"device", "vit", "preprocessing", "shards", "ranks", "batches", "rows", "report", "candidates"},
    {"clip", "memory", "shapes", "ranking", "gates"},
    {"tower", "encoding", "publication"},
    {"reference", "score"},
    {"image_text", "content"},
    {"fitting", "fitted"},
    {"scores"},
    {"scoring", "rules", "manifest", "findings", "job"},
    {"catalog", "writing"},
    {"streaming", "ray_engine"},
    {"table", "recipe"},
    {"selection", "sources", "datafolder", "planning"},
    {"source_features"},
    {"demo", "opening", "references"},
    {"card_rules"},
    {"cards", "figures"},
    {"illustrations", "croissant"},
    {"repository"},
    {"revisions", "pull_requests"},
    {"hub"},
    {"snapshots"},
    {"hub_snapshots"},
    {"versions"},
    {"alignment"},
    {"pictures"},
    {"comparing"},
    {"reviewing"},
    {"snapshot_contents"},
    {"checks"},
    {"rescoring", "row_checks"},
    {"publishing", "loading", "verification", "bench", "exports"},
    {"registering"},
    {"pipeline"},
    {"ui"},
    {"difftable"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imports(path: Path) -> set[str]:
    """Modules of the package that a file imports at run time, by their first name."""
    found = set()
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "sds_hf":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.split(".")[1] for alias in node.names if (name := alias.name).startswith("sds_hf.")}
    return found


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path):
    name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    higher = {other for other in imports(path) if other != name and LEVEL[other] >= LEVEL[name]}
    assert not higher, f"{path.name} (layer {LEVEL[name]}) imports {higher}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "scores").glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_scores_do_not_import_one_another(path):
    assert "scores" not in imports(path)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_clip_imports_transformers(path):
    text = path.read_text()
    if path.name != "clip.py":
        assert "import transformers" not in text
        assert "from transformers" not in text


def test_modules_are_of_a_readable_size():
    long = {path.name: count for path in modules() if (count := len(path.read_text().splitlines())) > 260}
    assert not long


@pytest.mark.parametrize("code", ["import sds_hf", "from sds_hf.cli import main; main(['--help'])"])
def test_starting_up_imports_nothing_heavy(code):
    heavy = {"torch", "transformers", "datasets", "duckdb", "matplotlib", "pyarrow"}
    check = f"import sys; found = {heavy} & set(sys.modules); assert not found, found"
    result = subprocess.run([sys.executable, "-c", f"{code}\n{check}"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_loading_a_published_set_needs_no_models_and_draws_nothing():
    heavy = {"torch", "transformers", "duckdb", "matplotlib"}
    check = f"import sds_hf, sys; sds_hf.load; found = {heavy} & set(sys.modules); assert not found, found"
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_everything_public_is_there():
    import sds_hf

    for name in sds_hf.__all__:
        assert getattr(sds_hf, name) is not None
    assert set(sds_hf.__all__) <= set(dir(sds_hf))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sds_hf.nothing
