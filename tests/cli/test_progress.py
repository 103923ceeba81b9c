"""How a job shows how far it is."""

import io
import json

import pytest
from rich.console import Console
from support.watching import Steps

from sds_hf.cli import progress
from sds_hf.cli.progress import watcher
from sds_hf.progress import Pace, duration, once_told


@pytest.fixture
def shown(monkeypatch):
    """What a terminal of 150 columns got."""
    console = Console(file=io.StringIO(), force_terminal=True, width=150, color_system=None, highlight=False)
    monkeypatch.setattr(progress, "err", console)
    return console.file


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock)
    return clock


def test_rows_of_earlier_runs_are_no_speed():
    clock = Clock()
    pace = Pace(1000, clock)
    assert pace(900) == (None, None)
    clock.now += 4
    assert pace(920) == (5.0, 16.0)
    clock.now += 1
    assert Pace(None, clock)(3) == (None, None)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (119, "119 s"),
        (120, "2.0 min"),
        (3000, "50 min"),
        (9000, "2.5 h"),
        (90000, "25 h"),
        (4e5, "4.6 days"),
    ],
)
def test_times_in_words(seconds, text):
    assert duration(seconds) == text


def test_a_bar_has_rate_failures_and_device(shown, clock):
    with watcher(kind="bar")("scoring", 1000, "cuda:0") as tell:
        tell(500, 0)
        clock.now += 10
        tell(600, 3)
    last = shown.getvalue().split("\r")[-1]
    for part in ("scoring", "600/1000", "10 rows/s", "40 s left", "cuda:0", "3 failed"):
        assert part in last
    assert "note" not in shown.getvalue()


@pytest.mark.parametrize(("rate", "said"), [(0.034, "0.034 rows/s"), (12.34, "12.3 rows/s"), (7914, "7,914 rows/s")])
def test_rates_are_read_at_a_glance(shown, clock, rate, said):
    with watcher(kind="bar")("scoring", None, "cpu") as tell:
        tell(0, 0)
        clock.now += 1000 / rate
        tell(1000, 0)
    assert said in shown.getvalue()


@pytest.mark.parametrize("brief", [True, False])
def test_a_brief_bar_goes_in_the_end(shown, brief):
    with watcher(kind="bar", brief=brief)("checksums", 10) as tell:
        tell(10, 0)
    end = shown.getvalue().rpartition("checksums")[2]
    assert ("\x1b[1A\x1b[2K" in end) == brief  # a line up, and wiped


def test_a_step_that_is_told_nothing_is_not_shown():
    steps = Steps()
    with once_told(steps, "reading", 5):
        pass
    with once_told(steps, "scoring", 7, "cpu") as tell:
        assert steps.totals == {}
        tell(0, 0)
        tell(7, 1)
    assert (steps.totals, steps.told) == ({"scoring": 7}, {"scoring": [0, 7]})


@pytest.mark.parametrize(("device", "seconds", "warned"), [("cpu", 60, True), ("cpu", 1, False), ("cuda:0", 60, False)])
def test_a_long_job_on_a_cpu_is_announced_once(shown, clock, device, seconds, warned):
    with watcher(kind="bar")("scoring", 3000, device) as tell:
        tell(0, 0)
        for done in (32, 64, 96):
            clock.now += seconds
            tell(done, 0)
    said = "note no GPU is in use: on this CPU the other 2,968 rows take about 93 min (0.53 rows/s)"
    assert shown.getvalue().count(said) == warned


def test_lines_come_once_a_second_and_at_the_end(clock, capsys):
    with watcher(kind="json")("scoring", 30, "cpu") as tell:
        for done in range(31):
            tell(done, done // 10)
            clock.now += 0.26
    found = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["done"] for line in found] == [*range(0, 30, 4), 30]
    assert (found[-1]["failed"], found[-1]["eta_s"], found[1]["rows_per_s"]) == (3, 0, 3.846)
    assert [line["elapsed_s"] for line in found[:2]] == [0, 1.04]
