"""Work beside the writing of shards."""

import threading
import time
from concurrent.futures import CancelledError

import pytest

from sds_hf.publishing.beside import as_long_as, beside


def test_what_is_done_beside_gives_its_result():
    with beside(threads=2) as work:
        both = [work.start(sorted, words, reverse=True) for words in ("ba", "dc")]
        assert [one.result() for one in both] == [["b", "a"], ["d", "c"]]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_long_work_ends_with_what_it_is_beside_of(error):
    begun, ended = threading.Event(), []

    def long(look):
        begun.set()
        try:
            for _ in range(1000):  # far longer than a test may take
                look(1)
                time.sleep(0.05)
        except CancelledError:
            ended.append(True)
            raise

    def fails():
        with beside(threads=1) as work:
            work.start(long, work.go_on)
            begun.wait()
            raise error("the disk is full")

    with pytest.raises(error, match="disk is full"):
        fails()
    assert ended == [True]


def test_items_come_until_a_check_has_found_something():
    checked = threading.Event()

    def check():
        checked.wait()
        raise ValueError("other rows")

    with beside(threads=1) as work:
        same = work.start(check)
        items = as_long_as(same, range(10))
        assert [next(items), next(items)] == [0, 1]
        checked.set()
        while not same.done():
            time.sleep(0.01)
        with pytest.raises(ValueError, match="other rows"):
            next(items)


def test_all_items_come_where_nothing_is_found():
    with beside(threads=1) as work:
        assert list(as_long_as(work.start(lambda: None), "abc")) == ["a", "b", "c"]
