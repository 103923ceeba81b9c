"""`sds-hf look`: the rows that matter of a selection, in one file."""

from pathlib import Path
from typing import Annotated

import typer

from sds_hf.cli import options


def command(
    selection: Annotated[Path, typer.Argument(help="Folder of the selection.")],
    out: Annotated[Path, typer.Option(help="The file, e.g. look.html.")],
    dataset: Annotated[
        str | None, typer.Option(help="The dataset that was scored; where the scores say it is if not given.")
    ] = None,
    scores: Annotated[
        Path | None, typer.Option(help="Folder of the score table; the one beside the selection.")
    ] = None,
    against: Annotated[Path | None, typer.Option(help="Another selection: shows what came and what went.")] = None,
    split: options.Split = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Write one file that shows the rows that matter, without network: those nearest a bound, last in, first out."""
    from sds_hf.cli import show
    from sds_hf.cli.answer import answer
    from sds_hf.data.opening import open_dataset
    from sds_hf.explore.look import look
    from sds_hf.selection.select import Selection

    candidates = open_dataset(dataset, split) if dataset else None
    other = Selection.load(against) if against else None
    look(Selection.load(selection), candidates, scores=scores, against=other, out=out)
    if json:
        return answer("look", out=out, counts={"bytes": out.stat().st_size})
    return show.out.print(f"{out} ({out.stat().st_size / 1e6:.1f} MB); open it in a browser", markup=False)
