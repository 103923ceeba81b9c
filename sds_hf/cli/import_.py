"""`sds-hf import`: a raw layout becomes a dataset folder."""

from pathlib import Path
from typing import Annotated

import typer

from sds_hf.cli import options


def command(
    reader: Annotated[str, typer.Argument(help="`dataset-diffusion`, `pascal-voc`, `folder`, or `auto`.")],
    path: Annotated[Path, typer.Argument(help="The raw folder.")],
    out: Annotated[Path, typer.Option(help="The new dataset folder.")],
    labels: options.Labels = None,
    ids: Annotated[str | None, typer.Option(help="COCO masks: `contiguous` (1-80) or `original` (1-90) ids.")] = None,
    prompts: Annotated[Path | None, typer.Option(help="Prompts file, if it is not in the folder.")] = None,
    images: Annotated[str | None, typer.Option(help="Folder of the images inside PATH.")] = None,
    masks: Annotated[str | None, typer.Option(help="Folder of the masks inside PATH.")] = None,
    table: Annotated[Path | None, typer.Option(help="Table with file names and captions.")] = None,
    split: Annotated[str | None, typer.Option(help="Split file of PASCAL VOC.")] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Read a raw layout into a folder that `load_dataset` reads; masks become indices, images stay as they are."""
    from sds_hf import ui
    from sds_hf.pipeline import import_source

    chosen = {"labels": labels, "ids": ids, "prompts": prompts and str(prompts), "images": images, "masks": masks,
               "table": table and str(table), "split": split}  # fmt: skip
    given = {name: value for name, value in chosen.items() if value is not None}
    rows, counts, name = import_source(reader, path, out, watch=ui.watcher(json), **given)
    if json:
        return options.print_json({"rows": rows, "skipped": counts, "reader": name, "out": str(out)})
    ui.out.print(f"{rows:,} rows read by [bold]{name}[/] into {out}")
    for reason, count in counts.items():
        ui.out.print(f"  [yellow]{count:,}[/] {reason}")
    return None
