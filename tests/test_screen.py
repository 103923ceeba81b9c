"""What objects show of themselves: a screen at most, and text of others as text."""

import re

import pytest
from support.reports import make_report

from sds_hf.check.file_checks import Check
from sds_hf.check.verify import Verification
from sds_hf.publishing.publish import Published
from sds_hf.screen import MOST_LINES, WIDEST, Block, Screen
from sds_hf.selection.changes import ClassChange, Counts, Diff, Side
from sds_hf.selection.report import Step
from sds_hf.selection.select import Selection
from sds_hf.table.score_table import ScoreTable

ODD = "<script>alert(1)</script>\x1b[31m\u202eab\n" * 9


def things(tmp_path, text: str = ODD, count: int = 30) -> list[Screen]:
    steps = [Step(rule=text, before=9, after=3, dropped={text: 6})] * count
    report = make_report(steps=steps, warnings=[text] * count, reasons={f"{n}{text}": n for n in range(count)})
    manifest = {
        "shards": [{"rows": 4, "failed": 1}] * count, "source": {"name": text}, "scores": [{"score": text, "a": text}],
        "labels": {"name": text, "names": [text]}, "models": {text: {}}, "device": text, "notes": [text],
    }  # fmt: skip
    sides = (Side(name=text, kind="scores"), Side(name="b", kind="scores"))
    counts = Counts(before=1, after=2, added=1, dropped=0)
    classes = [ClassChange(name=f"{n}{text}", before=n, after=0) for n in range(count)]
    return [
        report,
        Selection(tmp_path / "s.parquet", report),
        Diff(before=sides[0], after=sides[1], rows=counts, candidates=counts, classes=classes),
        Verification(text, text, [Check(text, False, text)] * count),
        ScoreTable(tmp_path, manifest),
        Published(text, {f"{n}{text}": n for n in range(count)}, report, [text] * count, text, text, text),
    ]


def test_a_screen_is_a_screen_and_text_of_others_is_text(tmp_path):
    for thing in things(tmp_path):
        text, page = repr(thing), thing._repr_html_()
        assert str(thing) == text
        assert len(text.splitlines()) <= MOST_LINES + 1
        assert max(map(len, text.splitlines())) <= WIDEST
        assert text.startswith(type(thing).__name__)
        for shown in (text, page):
            assert "\x1b" not in shown
            assert "\u202e" not in shown
        assert "<script" not in page
        assert set(re.findall(r"<(\w+)", page)) <= {
            "div",
            "b",
            "table",
            "caption",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "i",
        }
        assert len(page) < 60_000


def test_it_says_what_matters(tmp_path):
    report, selection, diff, verification, table, published = things(tmp_path, "name", 2)
    assert repr(report).splitlines()[:4] == [
        "Report: 300 of 1,000 rows kept (30.0%), 10 could not be scored",
        "Rules",
        "  rule  before  after  dropped",
        "  name       9      3  name 6",
    ]
    assert repr(selection).startswith("Selection: 300 of 1,000 rows kept (30.0%), in /")
    assert "Rows: 2, before 1 (+100 %); 1 new, 0 gone." in repr(diff)
    assert (
        repr(verification).splitlines()
        == ["Verification: 2 of 2 checks failed: name, commit name"] + ["  failed  name  name"] * 2
    )
    assert repr(table).startswith("ScoreTable: 8 rows, 2 of them failed, in /")
    assert "published 300 rows to name, tag name" in repr(published)


@pytest.mark.parametrize("rows", [[], [["a" * 300, "1"]], [["a" * 300] * 2] * 20, [["", ""]]])
def test_any_table_fits(rows):
    class Thing(Screen):
        def screen_title(self) -> str:
            return "t"

        def screen_blocks(self) -> list[Block]:
            return [Block("b", ("x", "y"), rows)]

    assert max(map(len, repr(Thing()).splitlines())) <= WIDEST
    assert ("and 10 more" in repr(Thing())) is (len(rows) > 10) is ("and 10 more" in Thing()._repr_html_())
