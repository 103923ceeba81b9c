"""Ctrl-C at moments in which Python itself would lose it, or show a traceback."""

import os
import signal
import subprocess
import sys
import time
import weakref

import pytest

from sds_hf.cli.app import _no_signal_lost, _TerminatedError


class Thing:
    pass


def drop(error: type[BaseException]) -> None:
    """Raise where Python only says that an exception is ignored."""

    def fail(_: object) -> None:
        raise error

    thing = Thing()
    reference = weakref.ref(thing, fail)
    del thing
    assert reference() is None


def drop_and_go_on(error: type[BaseException]) -> None:
    drop(error)
    time.sleep(20)


def stop(number: int, frame: object) -> None:
    raise _TerminatedError


@pytest.mark.skipif(os.name != "posix", reason="signals to a thread")
@pytest.mark.parametrize("error", [KeyboardInterrupt, _TerminatedError])
def test_a_signal_that_python_drops_comes_again(error):
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, stop)
    hook = sys.unraisablehook
    try:
        with pytest.raises(error), _no_signal_lost():
            drop_and_go_on(error)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert sys.unraisablehook is hook


def test_other_errors_that_python_drops_are_told_as_ever(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    with _no_signal_lost():
        drop(ZeroDivisionError)
    assert [dropped.exc_type for dropped in told] == [ZeroDivisionError]


def test_ctrl_c_while_the_program_is_loaded():
    """Importing it takes a moment, in which nothing of ours runs yet."""
    code = """
import builtins, sys
real = builtins.__import__
def fail(name, *rest):
    if name == "typer":
        raise KeyboardInterrupt
    return real(name, *rest)
builtins.__import__ = fail
from sds_hf.__main__ import main
sys.exit(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted; run the same command again to go on\n")
