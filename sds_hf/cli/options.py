"""Options that several commands share, and how they print JSON."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from sds_hf.cli import completion
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
    typer.Option(
        help="What mask indices mean: `voc`, `coco`, `cityscapes`, or a .txt file with a class in each line.",
        autocompletion=completion.labels,
    ),
]
DType = Annotated[str | None, typer.Option(help="`auto`, `fp32`, `bf16` or `fp16`.", autocompletion=completion.dtypes)]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Rows at a time; default 32, on a GPU 256. Does not change the numbers.")
]
RowsPerShard = Annotated[int, typer.Option(min=1, help="Rows a shard: what an interrupted run can lose.")]

Config = Annotated[str | None, typer.Option(help="Configuration of the dataset, if it has several.")]
Revision = Annotated[str | None, typer.Option(help="Version of a Hub dataset: branch, tag or commit.")]


def _allow_paths(context: typer.Context, folders: list[str] | None) -> list[str] | None:
    from sds_hf.data.access.paths import allow_paths

    if folders:
        context.with_resource(allow_paths(*folders))
    return folders


def _allow_urls(context: typer.Context, value: bool) -> bool:
    from sds_hf.data.access.paths import allow_paths

    if value:
        context.with_resource(allow_paths(urls=True))
    return value


AllowPath = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-path", metavar="DIR", callback=_allow_paths,
        help="Follow paths in the data into this folder too; else they are followed only inside the dataset's own.",
    ),
]  # fmt: skip
AllowURL = Annotated[
    bool,
    typer.Option(
        "--allow-url", callback=_allow_urls,
        help="Ask for the addresses that the data names, with your credentials; else none is asked for.",
    ),
]  # fmt: skip


def entry(kind: str, details: str, names: Callable[[str], list[str]]) -> Any:
    """An argument for one of what a command lists.

    Args:
        kind: `A score`.
        details: what is told of one.
        names: what completes it.
    """
    return typer.Argument(help=f"{kind}: {details}.", autocompletion=names)


def path(help: str) -> Any:
    """An option for the folder or file that a command writes."""
    return typer.Option(parser=named_path, metavar="PATH", help=help)


def named_path(name: Any) -> Path:
    """What a name stands for; an empty one, as of a variable that is not set, is none."""
    if not str(name):
        raise typer.BadParameter("the name is empty; `.` is the folder you are in")
    return Path(name)


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


def say_replaced(replaced: Mapping[str, Sequence[str]]) -> None:
    """Say which scores of a table give way to others of the same name, and what differs."""
    from sds_hf.cli import show

    for score, changes in replaced.items():
        show.out.say("  [yellow]note[/] {} is replaced: {}", score, "; ".join(changes))
