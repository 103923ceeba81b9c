"""`sds-hf card`: the card of a published folder, anew."""

from pathlib import Path
from typing import Annotated

import typer

from sds_hf.cli import options


def command(
    folder: Annotated[Path, typer.Argument(help="A published folder with recipe.yaml and report.json.")],
    check: Annotated[
        bool,
        typer.Option("--check", help="Only say whether README.md is what would be written and the Hub will take it."),
    ] = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Render the card of a published folder again from its recipe and report; what was written by hand is kept."""
    from sds_hf.cli import show
    from sds_hf.cli.answer import answer
    from sds_hf.cli.progress import note
    from sds_hf.publishing.repository import renew_card

    renewal = renew_card(folder, check)
    if json:
        return answer("card", {"changed": renewal.changed}, out=renewal.path, warnings=renewal.warnings)
    show.out.say("{}: {}", renewal.path, "written" if renewal.changed else "unchanged")
    for warning in renewal.warnings:
        note(warning)
    return None
