"""`sds-hf compare`: several recipes on the same scores."""

from typing import Annotated

import typer

from sds_hf.cli import completion, options


def command(
    scores: Annotated[str, typer.Argument(help="Folder of a score table, or Parquet files with score columns.")],
    recipes: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPES", help="Two or more recipe files, or names of recipes.", autocompletion=completion.recipes
        ),
    ],
    target: Annotated[
        int | None, typer.Option(min=1, help="Rows each recipe keeps in place of its last share, for equal sizes.")
    ] = None,
    truth: Annotated[
        str | None,
        typer.Option(
            help="Column that is null for a clean row and else names its defect; `defect` where the scores have it."
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="The dataset that was scored, if its column is to tell the truth.")
    ] = None,
    memory_limit: options.MemoryLimit = None,
    scratch: options.Scratch = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Compare what recipes keep of one's own scores: how many rows, which of each class, what comes and goes."""
    from sds_hf.check.compare import compare
    from sds_hf.cli import show_choices
    from sds_hf.cli.answer import answer

    comparison = compare(
        scores, recipes, target=target, truth=truth, dataset=dataset, memory_limit=memory_limit, scratch=scratch
    )
    if json:
        kept = {choice.recipe: choice.kept for choice in comparison.recipes}
        notes = [f"{choice.recipe}: {note}" for choice in comparison.recipes for note in choice.notes]
        return answer("compare", comparison.model_dump(), counts={"rows": comparison.rows, **kept}, warnings=notes)
    return show_choices.comparison(comparison)
