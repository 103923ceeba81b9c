"""`sds-hf diff`: what differs between two versions."""

from typing import Annotated

import typer

from sds_hf.cli import options

VERSION = "a folder (published, of scores, or of a selection), or a Hub id, user/name or user/name@revision"


def command(
    before: Annotated[str, typer.Argument(help=f"A version: {VERSION}.")],
    after: Annotated[str, typer.Argument(help="The version to compare it with.")],
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Compare images and masks, which have to be downloaded.")
    ] = True,
    memory_limit: options.MemoryLimit = None,
    scratch: options.Scratch = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Show what differs between two versions: rows, decisions, scores, classes, settings, images and masks."""
    from sds_hf.check.diff import diff
    from sds_hf.cli import show
    from sds_hf.cli.answer import answer

    changes = diff(before, after, pictures=pictures, memory_limit=memory_limit, scratch=scratch)
    if json:
        return answer("diff", changes.model_dump())
    show.diff(changes)
    return None
