"""`sds-hf select`: rules over a score table."""

from pathlib import Path
from typing import Annotated

import typer

from sds_hf.cli import options


def command(
    scores: Annotated[str, typer.Argument(help="Folder of a score table, or Parquet files with score columns.")],
    out: Annotated[Path, typer.Option(help="Folder of the selection.")],
    recipe: Annotated[str, typer.Option(help="Recipe file, or the name of a recipe of the package.")] = "sds-paper",
    settings: options.Sets = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Choose rows by the rules of a recipe. Reads scores only, never an image."""
    from sds_hf import ui
    from sds_hf.recipe import Recipe
    from sds_hf.selection import select

    report = select(scores, Recipe.load(recipe, settings or ()), out=out).report
    if json:
        return options.print_json(
            {"rows": report.rows, "kept": report.kept, "reasons": report.reasons, "out": str(out)}
        )
    ui.show_funnel(report)
    dataset = report.provenance.get("source", {}).get("name") or "DATASET"
    ui.show_next([f"sds-hf publish {dataset} {out} --scores {scores} --folder published"])
    return None
