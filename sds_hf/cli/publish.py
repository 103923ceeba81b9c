"""`sds-hf publish`: the kept rows go to a folder or to the Hub."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sds_hf.cli import options
from sds_hf.cli.verify import after_push, conclude

if TYPE_CHECKING:
    from sds_hf.publishing.repository import Explorer


def command(
    dataset: Annotated[str, typer.Argument(help="The dataset that was scored.")],
    selection: Annotated[Path, typer.Argument(help="Folder of the selection.")],
    scores: Annotated[
        list[Path], typer.Option(help="Folder of the score table; repeated, of others to be joined to the first one.")
    ],
    recipe: Annotated[str | None, typer.Option(help="Recipe; the one of the selection if not given.")] = None,
    to: Annotated[str | None, typer.Option(help="Hub id, user/name.")] = None,
    folder: Annotated[Path | None, options.path("A folder instead of the Hub.")] = None,
    split: options.Split = None,
    config: options.Config = None,
    revision: options.Revision = None,
    private: Annotated[bool | None, typer.Option("--private/--public", help="Visibility of a new repository.")] = None,
    tag: Annotated[str | None, typer.Option(help="Tag of this version; v1, v2, ... if not given.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace what is there.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    gate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LIMIT",
            help="Publish only within a limit, besides the recipe's: `min_rows=500`, `min_rows_per_class=20`, and "
            "against the last version `max_class_loss=20%`, `max_rows_dropped=10%`, `max_score_shift=0.05`.",
        ),
    ] = None,
    explorer: Annotated[
        bool, typer.Option("--explorer", help="Put a page beside the data that shows scores and pictures in a browser.")
    ] = False,
    verify: options.Verify = True,
    settings: options.Sets = None,
    allow_path: options.AllowPath = None,
    allow_url: options.AllowURL = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Publish the kept rows with card, scores, pictures and checksums: to a folder, or to the Hub in one commit."""
    from sds_hf.cli import show
    from sds_hf.cli.answer import answer_published
    from sds_hf.cli.progress import watcher
    from sds_hf.data.opening import open_dataset
    from sds_hf.files import scratch_folder
    from sds_hf.progress import adding
    from sds_hf.publishing.publish import publish
    from sds_hf.selection.recipe import Recipe
    from sds_hf.selection.select import RECIPE_FILE, Selection
    from sds_hf.table.join import join_tables
    from sds_hf.table.score_table import ScoreTable

    chosen, tables = Selection.load(selection), [ScoreTable.load(folder) for folder in scores]
    plan = Recipe.load(recipe or selection / RECIPE_FILE, settings or ()).gated(gate or ())
    candidates = open_dataset(dataset, split, config, revision)
    with scratch_folder() as scratch, watcher(json)("publishing", chosen.report.kept) as tell:
        table = tables[0] if len(tables) == 1 else join_tables(tables, scratch / "scores")
        published = publish(
            candidates, chosen, plan, to=to, folder=folder, scores=table, private=private, tag=tag,
            overwrite=overwrite, dry_run=dry_run, explorer=_explorer() if explorer else None, progress=adding(tell),
        )  # fmt: skip
    verification = after_push(published, verify, watcher(json, brief=True))
    if json:
        answer_published("publish", published, verification)
    else:
        show.published(published)
        if folder and not dry_run:
            show.paths(folder)
            show.next_steps([["sds-hf", "verify", folder]])
    conclude(verification, json)


def _explorer() -> "Explorer":
    from sds_hf.explore.published import write_explorer  # a fifth of a second, which only a page needs

    return write_explorer
