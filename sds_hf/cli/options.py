"""Options that several commands share, and how they print JSON."""

import json as jsonlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from sds_hf.errors import plain
from sds_hf.version import __version__


@dataclass
class State:
    """Whether tracebacks are shown."""

    debug: bool = False


state = State()


def _set_debug(value: bool) -> None:
    state.debug = state.debug or value


def _show_version(value: bool) -> None:
    if value:
        print(f"sds-hf {__version__}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Debug = Annotated[bool, typer.Option("--debug", callback=_set_debug, help="Show the traceback of an error.")]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a setting of the recipe, e.g. `rules.0.threshold.above=0.7`."
    ),
]
Split = Annotated[str | None, typer.Option(help="Split of the dataset, if it has several.")]
Labels = Annotated[
    str | None,
    typer.Option(help="What mask indices mean: `voc`, `coco`, `cityscapes`, or a .txt file with a class in each line."),
]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Rows at a time; default 32, on a GPU 256. Does not change the numbers.")
]
RowsPerShard = Annotated[int, typer.Option(min=1, help="Rows a shard: what an interrupted run can lose.")]

MemoryLimit = Annotated[str | None, typer.Option(help="Memory to use, e.g. `3GB`; what does not fit goes to disk.")]
Scratch = Annotated[Path | None, typer.Option(help="Folder for what does not fit into memory.")]

Progress = Annotated[
    str | None, typer.Option(metavar="bar|json|none", help="How progress is shown on stderr; a bar on a terminal.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but errors.")]

Verify = Annotated[
    bool,
    typer.Option("--verify/--no-verify", help="After a push, read it again and check it; exits with 1 if that fails."),
]


def print_json(value: Any) -> None:
    """The result of a command, for programs; what a terminal would obey is escaped as JSON has it."""
    text = jsonlib.dumps(value, indent=2, ensure_ascii=False, default=str)
    print("".join(c if c == "\n" or plain(c) == c else jsonlib.dumps(c)[1:-1] for c in text))


def published_json(published: Any, verified: Any = None) -> dict[str, Any]:
    """What `Published` says, and the `Verification` after a push."""
    report = published.report
    return {
        "target": published.target, "rows": report.rows, "kept": report.kept, "failed": report.failed,
        "files": published.files, "removed": published.removed, "revision": published.revision, "tag": published.tag,
        "url": published.url, "dry_run": published.dry_run,
        "changes": report.changes.summary() if report.changes else [],
        **({"verified": verification_json(verified)} if verified else {}),
    }  # fmt: skip


def verification_json(verification: Any) -> dict[str, Any]:
    """What `Verification` says."""
    checks = [asdict(check) for check in verification.checks]
    return {"target": verification.target, "revision": verification.revision, "ok": verification.ok, "checks": checks}
