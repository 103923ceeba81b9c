"""`sds-hf certify`: what share of the kept rows is good."""

from pathlib import Path
from typing import Annotated, cast

import typer

from sds_hf.cli import options


def command(
    selection: Annotated[Path, typer.Argument(help="Folder of a selection.")],
    marks: Annotated[
        Path | None, typer.Argument(help="File of marks; `marks.parquet` in the selection's folder.")
    ] = None,
    share: Annotated[
        float | None, typer.Option(help="Share of good rows that is wanted, e.g. 0.9: chooses the lowest threshold.")
    ] = None,
    scores: Annotated[str | None, typer.Option(help="Scores that the selection was made of, for --share.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the selection with that threshold as a further rule.")
    ] = None,
    confidence: Annotated[float, typer.Option(help="Probability that such a claim is right.")] = 0.95,
    add: Annotated[Path | None, typer.Option(help="JSON file of further marks, which are recorded first.")] = None,
    unmarked: Annotated[
        str, typer.Option(metavar="refuse|bad", help="What becomes of sampled rows that have no mark.")
    ] = "refuse",
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Say what share of the kept rows is good, shown by marks of rows that `sds-hf sample` drew. The card says it too.

    Without --share, marks of a uniform sample give the guarantee. With --share, marks of a sample stratified by a score
    choose the lowest threshold of it above which so many rows are good.
    """
    from sds_hf.cli import show
    from sds_hf.cli.answer import answer
    from sds_hf.selection.marks.certify import Unmarked, certify
    from sds_hf.selection.marks.file import MARKS, load_marks, record_marks

    path = marks or selection / MARKS
    if add is not None:
        record_marks(path, load_marks(add))
    certificate = certify(
        selection, path, confidence=confidence, share=share, scores=scores, out=out, unmarked=cast(Unmarked, unmarked)
    )
    if json:
        return answer(
            "certify",
            certificate.model_dump() | {"claim": certificate.claim, "method": certificate.method},
            out=out,
            counts={"rows": certificate.rows, "marks": certificate.marks, "good": certificate.good},
            bounds={certificate.column: {"above": certificate.above}}
            if certificate.column is not None and certificate.above is not None
            else None,
        )
    show.out.say("[bold]{}[/]", certificate.claim)
    show.out.say("{}", certificate.method)
    if share is not None and out is None:
        rule = f"threshold: {{column: {certificate.column}, above: {certificate.above!r}}}"
        show.out.say("\nThe rule: {}", rule)
        again = ["--share", share, "--scores", scores, "--out", "SELECTION"]
        show.next_steps([["sds-hf", "certify", selection, path, *again]])
    return None
