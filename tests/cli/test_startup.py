"""What each command has imported when its work begins: starting up stays light."""

import json
import subprocess
import sys

import pytest

PACKAGES = (
    "accelerate", "cv2", "datasets", "duckdb", "huggingface_hub", "matplotlib", "pandas", "pyarrow", "scipy", "sklearn",
    "torch", "transformers",
)  # fmt: skip
# By command: the function that does its work, arguments, and which of the packages may be there by then.
COMMANDS = {
    "select": ("sds_hf.selection.select.select", ["scores", "--out", "out"], {"duckdb", "pyarrow"}),
    "diff": ("sds_hf.check.diff.diff", ["a", "b"], {"duckdb", "pyarrow"}),
    "export": ("sds_hf.exports.export", ["data", "voc", "--out", "out"],
               {"datasets", "duckdb", "huggingface_hub", "pandas", "pyarrow"}),
    "card": ("sds_hf.publishing.repository.renew_card", ["folder"], {"duckdb", "pyarrow"}),
    "recipes": ("sds_hf.cli.show_catalog.recipes", [], {"duckdb", "pyarrow"}),
    "scores": ("sds_hf.cli.show_catalog.scores", [], {"pyarrow"}),
}  # fmt: skip
CODE = """
import importlib, json, os, sys, time
function, packages, arguments = json.loads(sys.argv[1])
module, _, name = function.rpartition(".")
def work(*args, **kwargs):
    print(json.dumps([time.process_time(), [name for name in packages if name in sys.modules]]), flush=True)
    os._exit(0)
setattr(importlib.import_module(module), name, work)
from sds_hf.cli import main
main(arguments)
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_imported_when_the_work_begins(command):
    function, arguments, allowed = COMMANDS[command]
    asked = json.dumps([function, PACKAGES, [command, *arguments]])
    done = subprocess.run([sys.executable, "-c", CODE, asked], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seconds, imported = json.loads(done.stdout)
    print(f"{command}: {seconds:.2f} s of CPU")
    assert set(imported) <= allowed
