"""What a person or a program is told of an error: one line, or where the answer would stand."""

import re
import sys
from collections.abc import Collection
from typing import Any

from sds_hf.cli import options
from sds_hf.cli.examples import EXAMPLES
from sds_hf.cli.flags import with_flags
from sds_hf.errors import FULL, did_you_mean, without_secrets

INTERRUPTED = 130  # what typer makes of Ctrl-C
INPUT_IS_WRONG = 2
INPUT_ERRORS = (ValueError, LookupError, TypeError, RecursionError, ModuleNotFoundError)
LONGEST = 4000  # characters of an error


def report(error: Exception, json: bool, options_of_command: Collection[str] = ()) -> int:
    """Say what is wrong, if a person can do something about it; the rest is a bug and shows where.

    Args:
        error: that ended a command.
        json: whether the command's answer is read by a program.
        options_of_command: in whose words an error of a Python function is told.

    Returns:
        The code to end with.
    """
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # of click, which typer contains
        if type(error).__name__ != "NoArgsIsHelpError":
            return stop("UsageError", _usage(error), int(error.exit_code), json)
        error.show()  # type: ignore[attr-defined]
        return int(error.exit_code)
    sentence = _sentence(error)
    if options.state.debug or sentence is None:
        raise error
    full = "; free some space and run the same command again" if getattr(error, "errno", 0) in FULL else ""
    line = with_flags(without_secrets(sentence), options_of_command) + full
    return stop(type(error).__name__, line, INPUT_IS_WRONG, json, repeats=_repeats(error))


def interrupted(json: bool) -> int:
    """After Ctrl-C.

    Returns:
        The code to end with.
    """
    sentence = "interrupted; run the same command again to go on"
    if json:
        return stop("Interrupted", sentence, INTERRUPTED, json, repeats=False)
    print(sentence, file=sys.stderr)
    return INTERRUPTED


def stop(kind: str, sentence: str, code: int, json: bool, repeats: bool = True) -> int:
    """Say in one line why a command stopped; `repeats` as in `answer_error`.

    Returns:
        The code.
    """
    line = " ".join(sentence[:LONGEST].split()) + (" ..." if len(sentence) > LONGEST else "")
    if json:
        from sds_hf.cli.answer import answer_error

        answer_error(kind, line, code, repeats)
    else:
        from sds_hf.cli.progress import err
        from sds_hf.cli.terminal import text

        err.print(text("[red]error[/] {}", line), soft_wrap=True)
    return code


def _repeats(error: BaseException | None) -> bool:
    """Whether the input alone is to blame: no disk, network or other program had a part in it."""
    while isinstance(error, INPUT_ERRORS):
        error = error.__cause__ or error.__context__
    return error is None


def _usage(error: Any) -> str:
    """What is wrong with how a command was called, and where its help is."""
    said = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    option = getattr(error, "option_name", None)
    if type(error).__name__ == "NoSuchOption" and context is not None:
        names = [name for parameter in context.command.params for name in (*parameter.opts, *parameter.secondary_opts)]
        words = [name.removeprefix("--") for name in names if name.startswith("--")]
        meant = did_you_mean(str(option).removeprefix("--"), words).replace(" '", " '--")
        said = f"no such option: {option}{meant}"
    command = context.command_path if context is not None else "sds-hf"
    if type(error).__name__ == "MissingParameter" and (example := EXAMPLES.get(command.removeprefix("sds-hf "))):
        said += f", as in `{example}`"
    if "unexpected extra argument" in said:
        said += "; several values of an option are joined by commas, words with spaces are quoted"
    said = re.sub("Input should be (.*?)(, unable to parse.*)?$", r"it must be \1", said)
    said = f"{said[:1].lower()}{said[1:].replace('. Did you mean', '; did you mean')}"
    return f"{said}{' See' if said.endswith('?') else '; see'} `{command} --help`"


def _sentence(error: Exception) -> str | None:
    """What to tell a person; None if it is a bug."""
    if isinstance(error, UnicodeEncodeError):
        return f"{error.object!r} is no name in UTF-8; give it another one"
    if isinstance(error, OSError) and error.errno in FULL and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror[0].lower()}{error.strerror[1:]}"
    if isinstance(error, (ValueError, OSError, ModuleNotFoundError)):
        return str(error) or type(error).__name__
    if isinstance(error, RecursionError):
        return "something that was read is nested too deeply; --debug shows where"
    if isinstance(error, RuntimeError) and "home directory" in str(error):  # of `pathlib`
        return "no home folder is known: set HOME to a folder, and write no path with ~"
    return None
