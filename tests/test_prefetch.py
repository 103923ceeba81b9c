"""Items made in the background."""

import subprocess
import sys

import pytest

from sds_hf.prefetch import prefetch

ENDS_EARLY = """
import time
from sds_hf.prefetch import prefetch

def items():
    yield 0
    time.sleep(0.5)  # stands for C++ code, in which Python must not end a thread
    print("the item in hand is whole", flush=True)
    yield 1
    print("not wanted", flush=True)

kept = prefetch(items(), depth=1)
next(kept)
raise SystemExit(3)
"""


def test_items_come_in_order():
    assert list(prefetch(range(50), depth=3)) == list(range(50))


def test_a_failure_comes_in_place_of_its_item():
    items = prefetch(1 // (2 - number) for number in range(4))
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(items)


def test_a_process_ends_between_two_items():
    ended = subprocess.run([sys.executable, "-c", ENDS_EARLY], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (3, "the item in hand is whole\n"), ended.stderr
