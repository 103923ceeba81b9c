"""`sds-hf select`: rules over a score table."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sds_hf.cli import completion, options


def command(
    scores: Annotated[str, typer.Argument(help="Folder of a score table, or Parquet files with score columns.")],
    out: Annotated[Path, options.path("Folder of the selection.")],
    recipe: Annotated[
        str,
        typer.Option(
            help="Recipe file, or the name of a recipe of the package; `sds-hf recipes` lists them.",
            autocompletion=completion.recipes,
        ),
    ] = "sds-paper",
    rule: Annotated[
        list[str] | None,
        typer.Option(
            metavar="YAML",
            help="A rule in place of the recipe's, e.g. `top_k: {column: pcs, target: 1000}`; several in order.",
        ),
    ] = None,
    target: Annotated[
        int | None, typer.Option(min=1, help="Rows to keep, in place of the share that the last rule keeps.")
    ] = None,
    forecast: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="ROWS", help="Say how many more candidates of each class it takes to keep so many."
        ),
    ] = None,
    settings: options.Sets = None,
    memory_limit: options.MemoryLimit = None,
    scratch: options.Scratch = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Choose rows by the rules of a recipe. Reads scores only, never an image."""
    from sds_hf.check.forecast import check_rules
    from sds_hf.check.forecast import forecast as forecast_of
    from sds_hf.cli import show, show_choices
    from sds_hf.cli.answer import answer
    from sds_hf.selection.select import select

    chosen = _recipe(recipe, rule or [], target, settings or [])
    if forecast is not None:
        check_rules(chosen.rules, forecast)
    report = select(scores, chosen, out=out, memory_limit=memory_limit, scratch=scratch).report
    classes = [] if forecast is None else forecast_of(report, forecast, chosen.rules)
    if json:
        forecasts = {"forecast": [count.model_dump() for count in classes]} if forecast else {}
        return answer("select", {"reasons": report.reasons, **forecasts}, out=out, report=report)
    show.limits(report)
    show.funnel(report)
    show.unread(report, chosen)
    if forecast is not None:
        show_choices.forecast(classes, forecast)
    if "table_sha256" in report.provenance:  # of other scores there is no table to publish
        name = report.provenance["source"].get("name")
        dataset = name if name and Path(name).exists() else "DATASET"
        show.next_steps([["sds-hf", "publish", dataset, out, "--scores", scores, "--folder", "published"]])
    return None


def _recipe(name: str, rules: list[str], target: int | None, settings: list[str]) -> Any:
    """The recipe with what was asked for in its place.

    Raises:
        ValueError: if a rule is none, or a target is given and the last rule keeps no share.
    """
    from sds_hf.selection.recipe import Recipe
    from sds_hf.selection.rules import resized

    overrides = [f"rules=[{', '.join(f'{{{rule}}}' for rule in rules)}]"] if rules else []
    recipe = Recipe.load(name, [*overrides, *settings])
    if target is None:
        return recipe
    return recipe.model_copy(update={"rules": resized(recipe.rules, target)})
