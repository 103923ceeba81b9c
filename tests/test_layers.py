"""The rooms of the package import what the table allows, no module is in a circle, and starting up stays light."""

import ast
import graphlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from support.paths import PACKAGE

import sds_hf

# Each room, and file at the top of the package, with what it may import of the others.
ROOMS = {
    "errors": "",
    "files": "errors",
    "limits": "errors",
    "prefetch": "",
    "progress": "",
    "schema": "errors",
    "screen": "errors",
    "version": "",
    "data": "errors files limits prefetch",
    "clip": "errors files",
    "demo": "data",
    "scores": "errors files limits prefetch schema data clip",
    "table": "errors files limits prefetch progress screen version data clip scores",
    "selection": "errors files limits progress schema screen data scores table",
    "hub": "errors files limits version data",
    "hub_jobs": "errors progress data scores table selection hub",
    "check": "errors files progress limits screen data clip scores table selection hub",
    "publishing": "errors files limits screen data scores table selection hub check",
    "exports": "errors files data scores selection hub",
    "prove": "errors files progress data clip scores table selection",
    "explore": "errors files limits data scores table selection hub publishing",
    "bench": "data clip scores table",
    "plot": "publishing selection",
    "pipeline": "errors files limits progress data demo clip scores table selection publishing",
    "cli": "errors files limits progress version data clip demo scores table selection hub check publishing "
    "explore exports prove bench pipeline hub_jobs",
    "__main__": "cli",
}
MANY_FILES = {"data/sources", "scores", "exports", "cli"}  # one file a source, score, format, command


def imports(path: Path) -> set[str]:
    """Modules of the package that a file imports at run time, without the package's name."""
    modules = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "sds_hf":
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            modules |= {name if is_module(name) else node.module for name in names}
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names if alias.name.startswith("sds_hf.")}
    return {module.removeprefix("sds_hf.") for module in modules} - {"sds_hf"}


def packages_imported(name: str) -> set[str]:
    """First names of all modules that a file imports, wherever in it."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    froms = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return {module.split(".")[0] for module in froms | plain}


def is_module(name: str) -> bool:
    path = PACKAGE.parent / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"}
IMPORTS = {name: imports(path) for name, path in MODULES.items()}


@pytest.mark.parametrize("name", MODULES)
def test_a_room_imports_what_it_may(name):
    room = name.split(".")[0]
    assert {module.split(".")[0] for module in IMPORTS[name]} <= {room, *ROOMS[room].split()}


def test_no_module_is_in_a_circle():
    graphlib.TopologicalSorter(IMPORTS).prepare()


@pytest.mark.parametrize("name", [name for name in MODULES if name.count(".") == 1 and name.startswith("scores.")])
def test_a_score_imports_no_other_score(name):
    of_scores = {module for module in IMPORTS[name] if module.startswith("scores.")}
    assert {module.split(".")[1] for module in of_scores} <= {"base", "functional"}


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith(("scores.base.", "scores.functional."))])
def test_what_scores_are_made_of_imports_no_score(name):
    folders = {".".join(module.split(".")[:2]) for module in IMPORTS[name] if module.startswith("scores.")}
    assert folders <= {"scores.base", "scores.functional"}


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("scores.functional.")])
def test_formulas_know_no_rows_models_or_files(name):
    assert {module for module in IMPORTS[name] if not module.startswith("scores.functional.")} <= {"errors"}


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("data.sources")])
def test_readers_work_without_datasets_torch_and_pydantic(name):
    inside = {module for module in IMPORTS[name] if not module.startswith("data.sources")}
    assert inside <= {
        "errors",
        "files",
        "data.labels",
        "data.names_files",
        "data.images",
        "data.masks.checks",
        "data.instances",
        "data.access.paths",
        "data.prompts",
    }
    assert not packages_imported(name) & {"datasets", "torch", "pydantic"}


@pytest.mark.parametrize("name", MODULES)
def test_who_imports_transformers_rich_and_typer(name):
    packages = packages_imported(name)
    loaders = ("clip.encoder", "clip.segmenters", "prove.segmenters.pretrained", "bench")  # the last for random weights
    assert "transformers" not in packages or name in loaders
    assert not {"rich", "typer"} & packages or name.startswith("cli")


def test_modules_are_of_a_readable_size():
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert not {name: length for name, length in lengths.items() if length > 350}


def test_folders_are_of_a_readable_size():
    folders = Counter(
        path.parent.relative_to(PACKAGE).as_posix() for path in MODULES.values() if path.name != "__init__.py"
    )
    assert not {name: count for name, count in folders.items() if count > 12 and name not in MANY_FILES}


def test_no_room_is_called_like_something_public():
    assert not set(ROOMS) & set(sds_hf.__all__)


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
    for name in sds_hf.__all__:
        assert getattr(sds_hf, name) is not None
    assert set(sds_hf.__all__) <= set(dir(sds_hf))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sds_hf.nothing
