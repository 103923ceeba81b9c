"""`sds-hf defects`: a corrupted copy of a dataset, with the truth."""

from pathlib import Path
from typing import Annotated

import typer

from sds_hf.cli import options


def command(
    dataset: Annotated[str, typer.Argument(help="Dataset whose images and masks can be trusted, as for `score`.")],
    out: Annotated[Path, typer.Option(help="The new dataset folder.")],
    seed: Annotated[int, typer.Option(help="Of everything drawn.")] = 0,
    copies: Annotated[
        int, typer.Option(min=1, help="Copies of each row with a defect, each of another kind; the row itself stays.")
    ] = 1,
    kind: Annotated[
        list[str] | None, typer.Option(help="A kind of defect, e.g. `shifted_mask`; several; all of them by default.")
    ] = None,
    labels: options.Labels = None,
    split: options.Split = None,
    num_proc: Annotated[int, typer.Option(min=1, help="Processes. Does not change what is drawn.")] = 1,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Copy trusted pairs and spoil the copies, so that `judge` can tell what scores see; the truth is a column."""
    from sds_hf.cli import show, show_truth
    from sds_hf.cli.answer import answer
    from sds_hf.cli.progress import watcher
    from sds_hf.data.opening import open_dataset
    from sds_hf.prove.defects_copy import inject_defects

    named = {"labels": labels} if labels else {}
    copy = inject_defects(
        open_dataset(dataset, split, **named), out, seed=seed, copies=copies, kinds=kind or None,
        labels=labels or "auto", num_proc=num_proc, source=dataset, watch=watcher(json),
    )  # fmt: skip
    if json:
        return answer(
            "defects", {"rows": copy.rows, "left_out": copy.left_out}, out=out, counts={"rows": sum(copy.rows.values())}
        )
    show_truth.defects(copy)
    scores = f"{out}-scores"
    show.next_steps(
        [
            ["sds-hf", "score", out, "--out", scores],
            ["sds-hf", "judge", scores, "--truth", "defect", "--out", f"{out}-judged"],
        ]
    )
    return None
