"""`sds-hf fit`: a reference set becomes a file that a score compares with."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sds_hf.cli import completion, options


def command(
    score: Annotated[
        str,
        typer.Argument(
            help="`gmm_sim`, `real_prob`, `leakage` or `difficulty`.", autocompletion=completion.fitted_scores
        ),
    ],
    reference: Annotated[str, typer.Argument(help="Dataset of real images, as for `score`.")],
    out: Annotated[Path, options.path("The file, `.npz`.")],
    synthetic: Annotated[
        str | None, typer.Argument(help="For `real_prob`: dataset of images known to be synthetic.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="As for `score`, and the same as there.", autocompletion=completion.models)
    ] = None,
    labels: options.Labels = None,
    dtype: options.DType = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of the fit, e.g. `components=16`.")
    ] = None,
    allow_path: options.AllowPath = None,
    allow_url: options.AllowURL = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Fit a score to a reference set; scoring then takes `--set scores.SCORE.fitted=FILE`."""
    from sds_hf.cli import show
    from sds_hf.cli.answer import answer
    from sds_hf.data.opening import open_dataset
    from sds_hf.scores.base.fitted import fit_score
    from sds_hf.selection.yaml_text import apply_override

    chosen: dict[str, Any] = {"model": model, "labels": labels, "dtype": dtype}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    for override in settings or ():
        apply_override(chosen, override)
    named = {"labels": labels} if labels else {}
    references = [open_dataset(path, **named) for path in (reference, synthetic) if path is not None]
    summary = fit_score(score, references, out, chosen).fit_summary() or {}
    if json:
        counts = {name: value for name, value in summary.items() if type(value) is int}
        return answer("fit", summary, out=summary["file"], counts=counts)
    for name, value in summary.items():
        show.out.say("  {}: {}", name, value)
    same = ["--model", model] if model else []
    fitted = f"scores.{score}.fitted={summary['file']}"
    show.next_steps(
        [["sds-hf", "score", "DATASET", "--scores", score, *same, "--set", fitted, "--out", f"{score}-scores"]]
    )
    return None
