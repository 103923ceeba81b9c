"""The notebook of `examples/` runs as it stands, and was committed with what it shows."""

import ast
import json
from typing import Any

import matplotlib as mpl
import pytest
from support.paths import ROOT

NOTEBOOK = json.loads((ROOT / "examples" / "tour.ipynb").read_text(encoding="utf-8"))
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def shown(source: str, names: dict[str, Any]) -> Any:
    """Run a cell; what its last line is, as Jupyter shows it."""
    *statements, last = ast.parse(source).body
    exec(compile(ast.Module(statements, []), "tour.ipynb", "exec"), names)
    if not isinstance(last, ast.Expr):
        exec(compile(ast.Module([last], []), "tour.ipynb", "exec"), names)
        return None
    value = eval(compile(ast.Expression(last.value), "tour.ipynb", "eval"), names)
    return value._repr_html_() if hasattr(value, "_repr_html_") else value


@pytest.mark.slow
def test_every_cell_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    with mpl.rc_context({"backend": "agg"}):
        for cell in CODE:
            result = shown("".join(cell["source"]), names)
            tables = [output for output in cell["outputs"] if "text/html" in output.get("data", {})]
            assert bool(tables) == (isinstance(result, str) and result.startswith("<"))
    assert names["verify"]("sds-tour").ok


def test_it_was_committed_as_it_ran():
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    outputs = [output for cell in CODE for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    assert "/home" not in json.dumps(outputs)
    assert "/opt" not in json.dumps(outputs)
