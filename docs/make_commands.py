"""Write `docs/reference/commands.md` from the commands themselves: `python docs/make_commands.py`."""

from pathlib import Path
from typing import Any

from typer.main import get_command

from sds_hf.cli import app

PAGE = Path(__file__).parent / "reference" / "commands.md"
HEAD = """# Command line

Every command takes `--json` for programs, `--debug` for a traceback, and `--help`. Exit codes: 0 worked, 1 no row could
be scored or a check failed, 2 the input is wrong, 130 after Ctrl-C. `sds-hf --install-completion` completes commands,
options, and names of scores, recipes, rules, readers, formats, models and label spaces in your shell.

`--json` prints one object of one shape, whatever the command:

| key | what it holds |
|---|---|
| `name` | the command |
| `out` | what was written: a folder, a file or a Hub id; null if nothing was |
| `counts` | whole numbers: `rows`, `kept`, `failed`, `files`, ... |
| `steps` | the rules in order: `rule`, `before`, `after`, `dropped`, `bounds`, `cutoffs` |
| `bounds` | values that part the rows, by column and name |
| `warnings` | what a person should look at, a sentence each |
| `result` | what this command alone says |

Where a command stops, it prints `{"error": {"type": ..., "message": ..., "exit_code": ..., "repeats": ...}}` in place
of it; `repeats` says whether the same call would fail again, since the input alone is to blame.
"""


def page() -> str:
    """The page's text."""
    commands = get_command(app).commands  # type: ignore[attr-defined]
    return HEAD + "".join(section(name, command) for name, command in commands.items())


def section(name: str, command: Any) -> str:
    """A command: what it does, its arguments and options."""
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    opts = [param for param in command.params if param.param_type_name == "option" and not param.hidden]
    words = "".join(f" {argument.name.upper()}{'...' * (argument.nargs == -1)}" for argument in arguments)
    lines = [f"\n## {name}\n", (command.help or "").strip(), f"\n    sds-hf {name}{words} [OPTIONS]\n"]
    lines += ["| | |", "|---|---|"]
    lines += [f"| `{argument.name.upper()}` | {cell(argument.help)} |" for argument in arguments]
    lines += [f"| {names(option)} | {cell(option.help)} |" for option in opts]
    if command.epilog:
        lines += ["", command.epilog.strip()]
    return "\n".join(lines) + "\n"


def names(option: Any) -> str:
    """How an option is written."""
    return ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])


def cell(text: str | None) -> str:
    """Text for a cell of a table."""
    return " ".join((text or "").split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
