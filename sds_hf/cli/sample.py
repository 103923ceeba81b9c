"""`sds-hf sample`: which kept rows to look at."""

from pathlib import Path
from typing import Annotated

import typer

from sds_hf.cli import options


def command(
    selection: Annotated[Path, typer.Argument(help="Folder of a selection.")],
    rows: Annotated[int, typer.Option("--n", min=1, help="Rows to look at; more show more.")] = 100,
    by: Annotated[
        str | None,
        typer.Option(help="Stratify by this score, to choose a threshold of it; uniform otherwise, for the guarantee."),
    ] = None,
    scores: Annotated[str | None, typer.Option(help="Scores that the selection was made of, for --by.")] = None,
    seed: Annotated[int, typer.Option(help="Another one draws other rows.")] = 0,
    out: Annotated[Path | None, typer.Option(help="File of marks; `marks.parquet` in the selection's folder.")] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Draw kept rows at random to mark as good or bad, for `sds-hf certify`."""
    from sds_hf.cli import show
    from sds_hf.cli.answer import answer
    from sds_hf.selection.marks.file import read_marks
    from sds_hf.selection.marks.sampling import sample

    path = sample(selection, rows, by=by, scores=scores, seed=seed, out=out)
    if json:
        name = "uniform" if by is None else "stratified"
        lines = [line["id"] for line in read_marks(path).to_pylist() if line["sample"] == name]
        return answer("sample", {"sample": name, "seed": seed, "ids": lines}, out=path, counts={"rows": len(lines)})
    use = f"for a threshold of {by}" if by else "for the guarantee"
    show.out.say("{} rows to mark, {}: {}", f"{rows:,}", use, path)
    share = ["--share", "0.9", "--scores", str(scores)] if by else []
    marks = ["--marks", path] if out else []
    page = ["sds-hf", "explore", scores or "SCORES", "DATASET", "--selection", selection, *marks]
    show.next_steps([page], "Next, to mark them")
    show.next_steps([["sds-hf", "certify", selection, path, *share]], "When they are marked")
    return None
