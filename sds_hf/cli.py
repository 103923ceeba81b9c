"""`sds-hf`: every command parses, calls one public function and prints."""

import json as jsonlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="Score, select and publish synthetic data for semantic segmentation.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_debug = False


def _set_debug(value: bool) -> None:
    global _debug
    _debug = _debug or value


Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Debug = Annotated[bool, typer.Option("--debug", callback=_set_debug, help="Show the traceback of an error.")]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a setting of the recipe, e.g. `rules.0.threshold.above=0.7`."
    ),
]
Split = Annotated[str | None, typer.Option(help="Split of the dataset, if it has several.")]
Labels = Annotated[
    str | None, typer.Option(help="What mask indices mean: `voc` or `coco`; needed where the data does not say.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Rows at a time; does not change the numbers.")]
RowsPerShard = Annotated[int, typer.Option(min=1, help="Rows a shard: what an interrupted run can lose.")]


@app.command()
def demo(
    rows: Annotated[int, typer.Option(help="Number of candidates.")] = 200,
    out: Annotated[Path, typer.Option(help="Folder for everything.")] = Path("sds-demo"),
    seed: Annotated[int, typer.Option(help="Seed of the scenes.")] = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Do the whole job offline on emoji scenes whose defects are known: draw, score, select, publish, load back."""
    from sds_hf import ui
    from sds_hf.loading import load
    from sds_hf.pipeline import run_demo

    if not json:
        ui.out.print(f"{rows:,} emoji scenes, about half of them with a known defect, scored by a tiny CLIP\n")
    done = run_demo(rows, out, seed=seed, watch=ui.watcher(json))
    loaded = load(done.published.target)
    shares = done.report.clean_share() or (0.0, 0.0)
    if json:
        return _print(
            _published(done.published)
            | {"clean_before": shares[0], "clean_after": shares[1], "loaded_rows": len(loaded)}
        )
    ui.show_funnel(done.report)
    ui.show_truth(done.report)
    ui.show_paths(Path(done.published.target))
    ui.show_next(
        [
            f"python -c \"from datasets import load_dataset; print(load_dataset('{done.published.target}'))\"",
            "sds-hf import auto YOUR_FOLDER --labels voc --out candidates && sds-hf score candidates --out scores",
        ]
    )
    return None


@app.command("import")
def import_(
    reader: Annotated[str, typer.Argument(help="`dataset-diffusion`, `pascal-voc`, `folder`, or `auto`.")],
    path: Annotated[Path, typer.Argument(help="The raw folder.")],
    out: Annotated[Path, typer.Option(help="The new dataset folder.")],
    labels: Labels = None,
    ids: Annotated[str | None, typer.Option(help="COCO masks: `contiguous` (1-80) or `original` (1-90) ids.")] = None,
    prompts: Annotated[Path | None, typer.Option(help="Prompts file, if it is not in the folder.")] = None,
    images: Annotated[str | None, typer.Option(help="Folder of the images inside PATH.")] = None,
    masks: Annotated[str | None, typer.Option(help="Folder of the masks inside PATH.")] = None,
    table: Annotated[Path | None, typer.Option(help="Table with file names and captions.")] = None,
    split: Annotated[str | None, typer.Option(help="Split file of PASCAL VOC.")] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Read a raw layout into a folder that `load_dataset` reads; masks become indices, images stay as they are."""
    from sds_hf import ui
    from sds_hf.pipeline import import_source

    options = {"labels": labels, "ids": ids, "prompts": prompts and str(prompts), "images": images, "masks": masks,
               "table": table and str(table), "split": split}  # fmt: skip
    given = {name: value for name, value in options.items() if value is not None}
    rows, counts, name = import_source(reader, path, out, watch=ui.watcher(json), **given)
    if json:
        return _print({"rows": rows, "skipped": counts, "reader": name, "out": str(out)})
    ui.out.print(f"{rows:,} rows read by [bold]{name}[/] into {out}")
    for reason, count in counts.items():
        ui.out.print(f"  [yellow]{count:,}[/] {reason}")
    return None


@app.command()
def score(
    dataset: Annotated[str, typer.Argument(help="Dataset folder, raw folder, Parquet files or Hub id.")],
    out: Annotated[Path, typer.Option(help="Folder of the score table.")],
    scores: Annotated[str, typer.Option(help="Which scores, separated by commas.")] = "pcs,asf_miou",
    recipe: Annotated[str | None, typer.Option(help="Take scores and model of this recipe instead.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Hub id, local folder or `demo`; default openai/clip-vit-base-patch16.")
    ] = None,
    labels: Labels = None,
    split: Split = None,
    dtype: Annotated[str | None, typer.Option(help="`auto`, `fp32`, `bf16` or `fp16`.")] = None,
    batch_size: BatchSize = 32,
    rows_per_shard: RowsPerShard = 1000,
    settings: Sets = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Score a dataset into a table of Parquet shards; run again, it goes on after the last finished shard."""
    from sds_hf import ui
    from sds_hf.opening import open_dataset
    from sds_hf.recipe import Recipe
    from sds_hf.selection import select
    from sds_hf.table import score_table

    names: dict[str, Any] = {name.strip(): {} for name in scores.split(",")}
    plan = (
        Recipe.load(recipe, settings or ())
        if recipe
        else Recipe.from_yaml(jsonlib.dumps({"scores": names}), settings or ())
    )
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
        return _print(summary | {"scores": {name: s.quantiles for name, s in report.scores.items()}})
    ui.show_scores(report)
    ui.out.print(f"\n{report.rows:,} rows scored on {table.manifest['device']} into {out}, {report.failed:,} failed")
    for failure in report.failures:
        ui.out.print(f"  [red]failed[/] {failure}")
    return None


@app.command("select")
def select_(
    scores: Annotated[str, typer.Argument(help="Folder of a score table, or Parquet files with score columns.")],
    out: Annotated[Path, typer.Option(help="Folder of the selection.")],
    recipe: Annotated[str, typer.Option(help="Recipe file, or the name of a recipe of the package.")] = "sds-paper",
    settings: Sets = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Choose rows by the rules of a recipe. Reads scores only, never an image."""
    from sds_hf import ui
    from sds_hf.recipe import Recipe
    from sds_hf.selection import select

    report = select(scores, Recipe.load(recipe, settings or ()), out=out).report
    if json:
        return _print({"rows": report.rows, "kept": report.kept, "reasons": report.reasons, "out": str(out)})
    ui.show_funnel(report)
    return None


@app.command("publish")
def publish_(
    dataset: Annotated[str, typer.Argument(help="The dataset that was scored.")],
    selection: Annotated[Path, typer.Argument(help="Folder of the selection.")],
    scores: Annotated[Path, typer.Option(help="Folder of the score table.")],
    recipe: Annotated[str, typer.Option(help="The recipe that made the selection.")] = "sds-paper",
    to: Annotated[str | None, typer.Option(help="Hub id, user/name.")] = None,
    folder: Annotated[Path | None, typer.Option(help="A folder instead of the Hub.")] = None,
    split: Split = None,
    private: Annotated[bool | None, typer.Option("--private/--public", help="Visibility of a new repository.")] = None,
    tag: Annotated[str | None, typer.Option(help="Tag of this version; v1, v2, ... if not given.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace what is there.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    settings: Sets = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Publish the kept rows with card, scores, pictures and checksums: to a folder, or to the Hub in one commit."""
    from sds_hf import ui
    from sds_hf.opening import open_dataset
    from sds_hf.publishing import publish
    from sds_hf.recipe import Recipe
    from sds_hf.selection import Selection
    from sds_hf.table import ScoreTable

    chosen, table = Selection.load(selection), ScoreTable.load(scores)
    plan = Recipe.load(recipe, settings or ())
    with ui.watcher(json)("publishing", chosen.report.kept) as tell:
        done = publish(
            open_dataset(dataset, split), chosen, plan, to=to, folder=folder, scores=table, private=private, tag=tag,
            overwrite=overwrite, dry_run=dry_run, progress=_adding(tell),
        )  # fmt: skip
    if json:
        return _print(_published(done))
    ui.show_published(done)
    if folder and not dry_run:
        ui.show_paths(folder)
    return None


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="Recipe file with a source.")],
    out: Annotated[Path, typer.Option(help="Folder for source, scores, selection and publication.")] = Path("sds-run"),
    batch_size: BatchSize = 32,
    rows_per_shard: RowsPerShard = 1000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Score and select, but publish nothing.")] = False,
    settings: Sets = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Do all of it from one recipe file: import, score, select, publish."""
    from sds_hf import pipeline, ui
    from sds_hf.recipe import Recipe

    plan = Recipe.load(recipe, settings or ())
    extra: dict[str, Any] = {"dry_run": True} if dry_run else {}
    done = pipeline.run(
        plan, out, watch=ui.watcher(json), rows_per_shard=rows_per_shard, batch_size=batch_size, **extra
    )
    if json:
        return _print(_published(done.published))
    ui.show_scores(done.report)
    ui.out.print()
    ui.show_funnel(done.report)
    ui.show_published(done.published)
    return None


@app.command()
def card(
    folder: Annotated[Path, typer.Argument(help="A published folder with recipe.yaml and report.json.")],
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether README.md is what would be written.")
    ] = False,
    json: Json = False,
    debug: Debug = False,
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
        return _print({"card": str(path), "changed": not same and not check})
    ui.out.print(f"{path}: {'unchanged' if same else 'written'}")
    return None


def _published(done: Any) -> dict[str, Any]:
    report = done.report
    return {
        "target": done.target, "rows": report.rows, "kept": report.kept, "failed": report.failed, "files": done.files,
        "removed": done.removed, "revision": done.revision, "tag": done.tag, "url": done.url, "dry_run": done.dry_run,
    }  # fmt: skip


def _adding(tell: Any) -> Any:
    from sds_hf.pipeline import adding

    return adding(tell)


def _print(value: Any) -> None:
    print(jsonlib.dumps(value, indent=2, ensure_ascii=False, default=str))


def main(argv: list[str] | None = None) -> int:
    """Run a command; 0 if it worked, 2 for an error of the input, 130 after Ctrl-C."""
    global _debug
    _debug = False
    # Libraries' own bars and chatter would tear ours apart.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    try:
        app(args=argv, standalone_mode=False)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    except typer.Exit as done:
        return int(done.exit_code)
    except Exception as error:
        return _report_error(error)
    return 0


def _report_error(error: Exception) -> int:
    import click

    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if _debug or not isinstance(error, (ValueError, OSError, ModuleNotFoundError)):
        raise error
    from sds_hf import ui

    ui.fail(str(error) or type(error).__name__)
    return 2


if __name__ == "__main__":
    sys.exit(main())
