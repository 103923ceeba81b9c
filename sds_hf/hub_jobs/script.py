"""The file that a job runs: one script with its dependencies in its head (PEP 723)."""

import json
from importlib.metadata import version

from sds_hf.hub_jobs.order import Order
from sds_hf.table.manifest import PACKAGES

NAME = "sds_hf_job.py"
MODULES = ("huggingface-hub", "universal-pathlib")  # what else has a say in how the table is read and written
TEMPLATE = '''# /// script
# requires-python = ">=3.11"
# dependencies = {dependencies}
# ///
"""One part of a score table, as `sds-hf score --engine jobs` asks for it; the part is the argument, e.g. 3/8."""

import sys
import tempfile
from pathlib import Path

from sds_hf.cli import main

ARGUMENTS = {arguments}
RECIPE = {recipe}

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["score", *ARGUMENTS, "--part", sys.argv[1], "--progress", "json", "--json"]
        if RECIPE is not None:
            path = Path(folder) / "recipe.yaml"
            path.write_text(RECIPE, encoding="utf-8")
            arguments += [{option!r}, str(path)]
        sys.exit(main(arguments))
'''


def job_script(order: Order) -> str:
    """The text of the script; its dependencies are in the versions used here, so that the table is the same."""
    pins = [f"{name}=={version(name).partition('+')[0]}" for name in (*PACKAGES, *MODULES)]
    arguments = [order.dataset, "--revision", order.revision, "--out", order.out]
    arguments += ["--rows-per-shard", str(order.rows_per_shard), *order.arguments]
    return TEMPLATE.format(
        dependencies=json.dumps([order.package, *pins]), arguments=repr(arguments), recipe=repr(order.recipe),
        option="--for" if order.only_needed else "--recipe",
    )  # fmt: skip
