"""`sds-hf import`: a raw layout becomes a dataset folder."""

from pathlib import Path
from typing import Annotated

import typer

from sds_hf.cli import options


def command(
    reader: Annotated[str, typer.Argument(help="A reader, e.g. `coco-panoptic`; `auto` finds the one that fits.")],
    path: Annotated[Path, typer.Argument(help="The raw folder.")],
    out: Annotated[Path, typer.Option(help="The new dataset folder.")],
    labels: options.Labels = None,
    ids: Annotated[
        str | None, typer.Option(help="COCO masks: `contiguous` (1-80) or `original` (1-90) ids, or `stuffthingmaps`.")
    ] = None,
    crowd: Annotated[str | None, typer.Option(help="COCO crowds: `ignore` (255, the default) or `paint`.")] = None,
    prompts: Annotated[Path | None, typer.Option(help="Prompts file, if it is not in the folder.")] = None,
    images: Annotated[str | None, typer.Option(help="Folder of the images inside PATH.")] = None,
    masks: Annotated[str | None, typer.Option(help="Folder of the masks inside PATH.")] = None,
    mask_end: Annotated[str | None, typer.Option(help="What a mask's name has at its end, e.g. `_mask`.")] = None,
    table: Annotated[Path | None, typer.Option(help="Table with file names and captions, or with boxes.")] = None,
    columns: Annotated[str | None, typer.Option(help="Columns of the table, e.g. `caption=blip`.")] = None,
    classes: Annotated[
        str | None, typer.Option(help="Open Images: classes with commas between them, or `street-scenes`.")
    ] = None,
    ignore: Annotated[int | None, typer.Option(help="Index in the masks to be ignored, besides 255.")] = None,
    instances: Annotated[bool | None, typer.Option("--instances", help="Read single objects too, where known.")] = None,
    on_missing: Annotated[
        str | None, typer.Option(metavar="skip|error", help="What an image without a mask does; default skip.")
    ] = None,
    on_error: Annotated[
        str | None, typer.Option(metavar="raise|skip", help="What a broken file does; default raise.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split, or name of a list, e.g. `train`.")] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Read a raw layout into a folder that `load_dataset` reads; masks become indices, images stay as they are."""
    from sds_hf.cli import show
    from sds_hf.cli.progress import watcher
    from sds_hf.pipeline import import_source

    chosen = {"labels": labels, "ids": ids, "crowd": crowd, "prompts": prompts, "images": images,
              "masks": masks, "mask_end": mask_end, "table": table, "columns": columns,
              "classes": classes, "ignore": ignore, "instances": instances, "on_missing": on_missing,
              "on_error": on_error, "split": split}  # fmt: skip
    reader_options = {
        name: str(value) if isinstance(value, Path) else value for name, value in chosen.items() if value is not None
    }
    rows, counts, name = import_source(reader, path, out, watch=watcher(json), **reader_options)
    if json:
        return options.print_json({"rows": rows, "skipped": counts, "reader": name, "out": str(out)})
    show.out.say("{} rows read by [bold]{}[/] into {}", f"{rows:,}", name, out)
    for reason, count in counts.items():
        show.out.say("  [yellow]{}[/] {}", f"{count:,}", reason)
    return None
