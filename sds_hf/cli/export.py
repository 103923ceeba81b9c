"""`sds-hf export`: a dataset in another tool's format."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sds_hf.cli import completion, options

FORMATS = "`voc`, `coco-panoptic`, `coco-instances`, `webdataset`, `fiftyone`, or `croissant` (metadata only)."


def command(
    dataset: Annotated[str, typer.Argument(help="A dataset; for `croissant`, a published folder or its Hub id.")],
    format: Annotated[str, typer.Argument(help=FORMATS, autocompletion=completion.formats)],
    out: Annotated[Path, options.path("The new folder.")],
    selection: Annotated[
        Path | None, typer.Option(help="Folder of a selection: only the rows it keeps, of the dataset it was made of.")
    ] = None,
    scores: Annotated[
        str | None, typer.Option(help="FiftyOne: folder of the score table, whose numbers become fields.")
    ] = None,
    split: options.Split = None,
    labels: options.Labels = None,
    instances: Annotated[
        str | None,
        typer.Option(
            metavar="column|components|class",
            help="COCO: objects are those of the column `instances`, connected parts of a class, or whole classes.",
        ),
    ] = None,
    stuff: Annotated[
        list[str] | None, typer.Option(metavar="CLASS", help="COCO panoptic: a class that is no countable thing.")
    ] = None,
    shard_bytes: Annotated[int | None, typer.Option(help="Size of a tar of `webdataset`; default 256 MiB.")] = None,
    allow_path: options.AllowPath = None,
    allow_url: options.AllowURL = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Write a dataset for another tool; image files stay as they are, masks keep every index."""
    from sds_hf.cli import show
    from sds_hf.cli.answer import answer
    from sds_hf.cli.progress import watcher
    from sds_hf.exports import RENAMED, export
    from sds_hf.progress import adding
    from sds_hf.selection.select import Selection

    chosen: dict[str, Any] = {
        "instances": instances,
        "stuff": stuff or None,
        "shard_bytes": shard_bytes,
        "scores": scores,
    }
    extra = {name: value for name, value in chosen.items() if value is not None}
    kept = Selection.load(selection) if selection else None
    with watcher(json)("exporting", kept.report.kept if kept else None) as tell:
        exported = export(
            dataset, format, out, labels=labels or "auto", split=split, selection=kept, progress=adding(tell), **extra
        )
    if json:
        counts = {"rows": exported.rows or 0, "files": exported.files, "renamed": exported.renamed}
        return answer("export", {"format": exported.format}, out=out, counts=counts)
    rows = f"{exported.rows:,} rows, " if exported.rows is not None else ""
    files = "1 file" if exported.files == 1 else f"{exported.files:,} files"
    show.out.say(f"{rows}{files} of [bold]{{}}[/] written to {{}}", format, out)
    if exported.renamed:
        renamed = f"{exported.renamed:,}"
        show.out.say("  [yellow]{}[/] ids are no safe file names; {} says what they became", renamed, RENAMED)
    return None
