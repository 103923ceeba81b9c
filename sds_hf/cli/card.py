"""`sds-hf card`: the card of a published folder, anew."""

from pathlib import Path
from typing import Annotated

import typer

from sds_hf.cli import options


def command(
    folder: Annotated[Path, typer.Argument(help="A published folder with recipe.yaml and report.json.")],
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether README.md is what would be written.")
    ] = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Render the card of a published folder again from its recipe and report."""
    from sds_hf import ui
    from sds_hf.cards import render_card
    from sds_hf.recipe import Recipe
    from sds_hf.report import Report

    for name in ("recipe.yaml", "report.json"):
        if not (folder / name).exists():
            raise ValueError(f"{folder} has no {name}: it is no published folder of sds-hf")
    text = render_card(Recipe.load(folder / "recipe.yaml"), Report.load(folder / "report.json"))
    path = folder / "README.md"
    same = path.exists() and path.read_text() == text
    if check and not same:
        raise ValueError(f"{path} differs from what the recipe and the report give; run `sds-hf card {folder}`")
    if not check:
        path.write_text(text)
    if json:
        return options.print_json({"card": str(path), "changed": not same and not check})
    ui.out.print(f"{path}: {'unchanged' if same else 'written'}")
    return None
