"""`sds-hf score`: a dataset becomes a score table."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sds_hf.cli import options


def command(
    dataset: Annotated[str, typer.Argument(help="Dataset folder, raw folder, Parquet files or Hub id.")],
    out: Annotated[Path, typer.Option(help="Folder of the score table.")],
    scores: Annotated[
        str | None, typer.Option(help="Which scores, separated by commas; default `pcs,asf_miou`.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Recipe that says which scores, how, and with which model.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Hub id, local folder or `demo`; default openai/clip-vit-base-patch16.")
    ] = None,
    labels: options.Labels = None,
    split: options.Split = None,
    dtype: Annotated[str | None, typer.Option(help="`auto`, `fp32`, `bf16` or `fp16`.")] = None,
    batch_size: options.BatchSize = 32,
    rows_per_shard: options.RowsPerShard = 1000,
    settings: options.Sets = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Score a dataset into a table of Parquet shards; run again, it goes on after the last finished shard."""
    from sds_hf import ui
    from sds_hf.opening import open_dataset
    from sds_hf.recipe import Recipe
    from sds_hf.selection import select
    from sds_hf.table import score_table

    if recipe and scores:
        raise typer.BadParameter("give --scores or --recipe, not both")
    names: dict[str, Any] = {name.strip(): {} for name in (scores or "pcs,asf_miou").split(",")}
    plan = Recipe.load(recipe, settings or ()) if recipe else Recipe.from_dict({"scores": names}, settings or ())
    plan = plan.model_copy(update={"model": model or plan.model})
    data = open_dataset(dataset, split, **({"labels": labels} if labels else {}))
    made = plan.make_scores(labels=labels, dtype=dtype)
    with ui.watcher(json)("scoring", len(data)) as tell:
        table = score_table(
            data, made, out, rows_per_shard=rows_per_shard, batch_size=batch_size, source=dataset, progress=tell
        )
    report = select(table, []).report
    if json:
        summary = {"rows": report.rows, "failed": report.failed, "out": str(out)}
        return options.print_json(summary | {"scores": {name: s.quantiles for name, s in report.scores.items()}})
    ui.show_scores(report)
    precision = ", ".join(sorted({score["dtype"] for score in table.manifest["scores"] if "dtype" in score}))
    where = " in ".join(filter(None, [table.manifest["device"], precision]))
    ui.out.print(f"\n{report.rows:,} rows scored on {where} into {out}, {report.failed:,} failed")
    ui.show_failures(report)
    ui.show_next([f"sds-hf select {out} --recipe {recipe or 'sds-paper'} --out selection"])
    return None
