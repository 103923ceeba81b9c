"""The page on security names a test for each threat, and each of them is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "SECURITY.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (.+?) \| `(.+?)::(\w+)` \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("threat", "file", "name"), ROWS)
def test_the_test_of_a_threat_is_there(threat, file, name):
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, threat


def test_every_line_of_the_table_has_one():
    table = PAGE.partition("| threat | test |\n|---|---|\n")[2].partition("\n\n")[0]
    assert len(table.splitlines()) == len(ROWS) > 30
    assert len({threat for threat, _, _ in ROWS}) == len(ROWS)


def test_the_page_says_what_is_trusted_and_how_to_report():
    headings = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    assert {"What is trusted", "What never is", "Limits", "How to report"} <= set(headings)
    assert max(map(len, PAGE.splitlines())) < 180
