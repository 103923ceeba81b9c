"""`sds-hf explore`: the page to look and tune, served on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from sds_hf.cli import completion, options


def command(
    scores: Annotated[str, typer.Argument(help="Folder of a score table, or Parquet files with scores.")],
    dataset: Annotated[str | None, typer.Argument(help="The dataset that was scored, for pictures.")] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            help="Recipe file or name; several can be chosen among. sds-paper if none is given.",
            autocompletion=completion.recipes,
        ),
    ] = None,
    selection: Annotated[
        Path | None, typer.Option(help="Folder of a selection: its recipe is shown, and marks go beside it.")
    ] = None,
    split: options.Split = None,
    marks: Annotated[
        Path | None, typer.Option(help="File for marks; `marks.parquet` beside selection or scores.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to bind to; any but 127.0.0.1 lets others in the network see the pictures.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; any that is free for 0.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Look and tune: histograms with bounds to drag, what each rule leaves, and the pictures, in the browser."""
    import sys
    import webbrowser

    from sds_hf.cli import show
    from sds_hf.cli.answer import answer
    from sds_hf.data.opening import open_dataset
    from sds_hf.explore.exploration import open_exploration
    from sds_hf.explore.server import serve
    from sds_hf.selection.recipe import Recipe, recipe_names
    from sds_hf.selection.select import RECIPE_FILE

    named = [*([str(selection / RECIPE_FILE)] if selection else []), *(recipe or [])]
    others = [name for name in recipe_names() if name not in named]
    recipes = [Recipe.load(name) for name in [*(named or ["sds-paper"]), *others]]
    opened = open_dataset(dataset, split) if dataset else None
    marks = marks or (selection / "marks.parquet" if selection else None)
    exploration = open_exploration(scores, opened, recipes=recipes, marks=marks)

    def told(address: str) -> None:
        if json:
            answer("explore", {"address": address}, out=exploration.marks.path)
            sys.stdout.flush()  # a pipe would keep it until the end
            return
        show.out.print(f"the page is at {address}\nmarks go to {exploration.marks.path}\nCtrl-C ends it", markup=False)
        if browser:
            webbrowser.open(address)

    serve(exploration, host, port, told)
