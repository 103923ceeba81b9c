"""`sds-hf import`: a raw layout becomes a dataset folder."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sds_hf.cli import completion, options
from sds_hf.cli.examples import EXAMPLES

if TYPE_CHECKING:
    from sds_hf.pipeline import Imported

MOST_CLASSES = 20  # that are listed


def command(
    reader: Annotated[
        str,
        typer.Argument(
            help="A reader, e.g. `coco-panoptic`; `auto`, or none, finds what fits. `sds-hf readers` lists them.",
            autocompletion=completion.readers,
        ),
    ],
    path: Annotated[Path | None, typer.Argument(help="The raw folder.")] = None,
    *,
    out: Annotated[Path, options.path("The new dataset folder.")],
    labels: options.Labels = None,
    ids: Annotated[
        str | None,
        typer.Option(
            help="Masks with `--labels coco`: `contiguous` (1-80) or `original` (1-90) ids, or `stuffthingmaps`."
        ),
    ] = None,
    crowd: Annotated[
        str | None, typer.Option(help="COCO crowds: `ignore` (255) or `paint`, the default for stuff.")
    ] = None,
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
    allow_path: options.AllowPath = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Read a raw layout into a folder that `load_dataset` reads; masks become indices, images stay as they are."""
    from sds_hf.cli.answer import answer
    from sds_hf.cli.progress import watcher
    from sds_hf.data.sources import READERS
    from sds_hf.pipeline import import_folder

    if path is None and reader in ("auto", *READERS):
        raise typer.BadParameter(f"{reader} is a reader: name the raw folder after it, as in `{EXAMPLES['import']}`")
    reader, path = ("auto", Path(reader)) if path is None else (reader, path)
    chosen = {"labels": labels, "ids": ids, "crowd": crowd, "prompts": prompts, "images": images,
              "masks": masks, "mask_end": mask_end, "table": table, "columns": columns,
              "classes": classes, "ignore": ignore, "instances": instances, "on_missing": on_missing,
              "on_error": on_error, "split": split}  # fmt: skip
    reader_options: dict[str, Any] = {
        name: str(value) if isinstance(value, Path) else value for name, value in chosen.items() if value is not None
    }
    imported = import_folder(reader, path, out, watch=watcher(json), **reader_options)
    if json:
        counts = {"rows": imported.rows, "without_class": imported.without_class}
        result = {name: value for name, value in asdict(imported).items() if name not in (*counts, "notes")}
        # Two rows of one id would have been an error.
        return answer("import", {**result, "ids_unique": True}, out=out, counts=counts, warnings=imported.notes)
    return _show(imported, out)


def _show(imported: "Imported", folder: Path) -> None:
    """What was read: rows, classes, what was skipped and what may be wrong."""
    from sds_hf.cli.show import out

    rows = "1 row" if imported.rows == 1 else f"{imported.rows:,} rows"
    out.say("{} read by [bold]{}[/] into {}", rows, imported.reader, folder)
    classes = [f"{name} {count:,}" for name, count in imported.classes.items()]
    rest = f", and {len(classes) - MOST_CLASSES} more" if len(classes) > MOST_CLASSES else ""
    listed = ", ".join(classes[:MOST_CLASSES]) or "none"
    out.say("  classes of {}, by rows: {}{}; all ids are unique", imported.labels, listed, rest)
    if imported.without_class:
        out.say("  [yellow]{}[/] of {} without a class", f"{imported.without_class:,}", rows)
    for reason, count in imported.skipped.items():
        first = f"; the first that was looked for: {imported.missing[reason]}" if reason in imported.missing else ""
        out.say("  [yellow]{}[/] {}{}", f"{count:,}", reason, first)
    for note in imported.notes:
        out.say("  [yellow]note[/] {}", note)
