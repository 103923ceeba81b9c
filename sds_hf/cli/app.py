"""The program: its commands, and what becomes of an error."""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import typer
import typer.main

from sds_hf.cli import (
    bench,
    card,
    certify,
    compare,
    defects,
    demo,
    diff,
    explore,
    export,
    fit,
    import_,
    join,
    judge,
    look,
    models,
    options,
    prove,
    publish,
    readers,
    recipes,
    rules,
    run,
    sample,
    score,
    scores,
    select,
    verify,
    why,
)
from sds_hf.cli.examples import EXAMPLES
from sds_hf.cli.failures import INTERRUPTED, interrupted, report
from sds_hf.cli.terminal import plain_messages

app = typer.Typer(
    help="Score, select and publish synthetic data for semantic segmentation.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (
    demo,
    readers,
    import_,
    scores,
    models,
    fit,
    score,
    join,
    recipes,
    rules,
    select,
    compare,
    why,
    sample,
    certify,
    explore,
    look,
    publish,
    verify,
    diff,
    prove,
    run,
    card,
    export,
    defects,
    judge,
    bench,
):  # in the order of the help
    _name = _command.__name__.rpartition(".")[2].rstrip("_")
    app.command(_name, epilog=f"Example: `{EXAMPLES[_name]}`")(_command.command)


@app.callback(invoke_without_command=True)
def _root(version: options.Version = False) -> None:
    pass


def main(argv: list[str] | None = None) -> int:
    """Run a command; 0 if it worked, 1 if no row could be scored, 2 for an error of the input, 130 after Ctrl-C."""
    if argv is None:
        _use_utf8()
    options.state.debug = False
    json = "--json" in (sys.argv[1:] if argv is None else argv)  # before it is known whether all of it makes sense
    # Libraries' own bars and chatter would tear ours apart.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        with _tidy_end(), _no_signal_lost(), plain_messages():
            code = app(args=argv, prog_name="sds-hf", standalone_mode=False)
    except typer.Exit as stop:
        code = stop.exit_code
    except Exception as error:
        return report(error, json, _options(sys.argv[1:] if argv is None else argv))
    if code == INTERRUPTED:
        return interrupted(json)
    return code if isinstance(code, int) else 0


class _TerminatedError(BaseException):
    """Somebody asked this process to end."""


@contextmanager
def _tidy_end() -> Iterator[None]:
    """When asked to end (SIGTERM), leave no half-made files behind, then end as asked."""
    was_asked = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal was_asked
        was_asked = True
        raise _TerminatedError

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except BaseException:  # where it was raised, a library may have made another error of it
        if not was_asked:
            raise
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _no_signal_lost() -> Iterator[None]:
    """Send Ctrl-C or SIGTERM again where Python drops what it raised, as in callbacks of weak references."""
    usual = sys.unraisablehook

    def look(dropped: "sys.UnraisableHookArgs") -> None:
        if issubclass(dropped.exc_type, (KeyboardInterrupt, _TerminatedError)):
            again = signal.SIGINT if issubclass(dropped.exc_type, KeyboardInterrupt) else signal.SIGTERM
            timer = threading.Timer(0.01, signal.pthread_kill, (threading.main_thread().ident, again))
            timer.daemon = True
            timer.start()  # not here, where it would be dropped too
        else:
            usual(dropped)

    if os.name == "posix":
        sys.unraisablehook = look
    try:
        yield
    finally:
        sys.unraisablehook = usual


def _use_utf8() -> None:
    """In a locale of another encoding, start again with names of files and output in UTF-8, as files are written."""
    if os.name == "posix" and sys.getfilesystemencoding() != "utf-8":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", "-m", "sds_hf", *sys.argv[1:]])


def _options(argv: Sequence[str]) -> list[str]:
    """The options of the command that was given."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    command = commands.get(argv[0]) if argv else None
    return [name for param in command.params for name in [*param.opts, *param.secondary_opts]] if command else []
