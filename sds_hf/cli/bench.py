"""`sds-hf bench`: what this machine does."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from sds_hf.cli import options


def command(
    scores: Annotated[str, typer.Option(help="Scores of the shared pass, separated by commas.")] = "pcs,asf_miou",
    model: Annotated[
        str, typer.Option(help="As for `score`; `random` has the shapes of CLIP ViT-B/16 and needs no download.")
    ] = "random",
    dtype: Annotated[str, typer.Option(help="`auto`, `fp32`, `bf16` or `fp16`.")] = "auto",
    rows: Annotated[int | None, typer.Option(min=3, help="Rows to score; default 16, on a GPU 512.")] = None,
    batch_size: options.BatchSize = None,
    image_size: Annotated[int, typer.Option(min=16, help="Side of the square JPEGs in pixels.")] = 512,
    planned: Annotated[int, typer.Option(min=1, help="Rows to estimate time and disk for.")] = 100_000,
    settings: options.Sets = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Measure this machine: rows/s, share of its matrix-product rate, where the time goes, time and disk for N rows."""
    from sds_hf.bench import bench
    from sds_hf.cli import show
    from sds_hf.cli.answer import answer
    from sds_hf.selection.recipe import Recipe

    names = [name.strip() for name in scores.split(",")]
    score_settings: dict[str, Any] = {name: {} for name in names}
    plan = Recipe.from_dict({"scores": score_settings}, [f"scores.{override}" for override in settings or ()])
    result = bench(
        names, model=model, dtype=dtype, rows=rows, batch_size=batch_size, image_size=image_size, settings=plan.scores
    )
    seconds, size = result.plan(planned)
    if json:
        estimate = {"rows": planned, "seconds": seconds, "bytes": size}
        return answer("bench", {**asdict(result), "plan": estimate})
    show.bench(result, planned)
    return None
