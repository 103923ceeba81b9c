"""`sds-hf why`: why a row is kept or dropped."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sds_hf.cli import options


def command(
    selection: Annotated[Path, typer.Argument(help="Folder of a selection, or a published folder.")],
    id: Annotated[str, typer.Argument(metavar="ID", help="Id of a row.")],
    scores: Annotated[
        str | None, typer.Option(help="Scores that the selection was made of; those in it or beside it if not given.")
    ] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Say of a row what every rule says: its values, the bounds, and its rank in each group."""
    from sds_hf.check.reasons.why import why
    from sds_hf.cli import show
    from sds_hf.cli.answer import answer as print_answer

    answer = why(selection, id, scores)
    if json:
        return print_answer("why", asdict(answer))
    show.out.say("[bold]{}[/]", answer.screen_title())
    for line in repr(answer).splitlines()[1:]:
        show.out.say("{}", line)
    if scores is None and not answer.scores:
        show.out.say("[dim]{}[/]", "--scores SCORES adds the row's values, and its rank in every group")
    return None
