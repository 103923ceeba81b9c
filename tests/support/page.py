"""The page's own JavaScript in one process of Node, which answers many cases."""

import json
import math
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.paths import ROOT

NODE = shutil.which("node")
LINES = ROOT / "page" / "test" / "select_lines.js"


class PageRules:
    """Asks the page's rules what they make of a table."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def select(self, case: dict[str, Any]) -> dict[str, Any]:
        """`reasons`, `steps` and `rankings`, or `error`."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(case) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@contextmanager
def page_rules() -> Iterator[PageRules]:
    """A process that runs as long as it is used."""
    assert NODE
    with subprocess.Popen([NODE, str(LINES)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield PageRules(process)
        assert process.stdin
        process.stdin.close()


def plain_number(value: float | None) -> float | str | None:
    """A number as JSON has it; what JSON has no word for as text."""
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
