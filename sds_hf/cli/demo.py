"""`sds-hf demo`: the whole job, offline."""

import shlex
from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import typer

from sds_hf.cli import options


def command(
    rows: Annotated[int, typer.Option(help="Number of candidates.")] = 200,
    out: Annotated[Path, options.path("Folder for everything.")] = Path("sds-demo"),
    seed: Annotated[int, typer.Option(help="Seed of the scenes.")] = 0,
    labels: Annotated[str, typer.Option(help="What the masks mean: voc or coco.")] = "voc",
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Do the whole job offline on emoji scenes whose defects are known: draw, score, select, publish, load back."""
    from sds_hf.cli import show, show_truth
    from sds_hf.cli.answer import answer_published
    from sds_hf.cli.progress import watcher
    from sds_hf.hub.load import load
    from sds_hf.pipeline import run_demo
    from sds_hf.prove.judge_keeps import keeps_of
    from sds_hf.selection.recipe import Recipe

    if not json:
        show.out.say(f"{rows:,} emoji scenes, about half of them with a known defect, scored by a tiny CLIP\n")
    demo_run = run_demo(rows, out, seed=seed, labels=labels, watch=watcher(json))
    loaded = load(demo_run.published.target)
    recipe = Recipe.load("demo")
    ways = {"SDS": recipe.rules, "sds-plus": Recipe.load("sds-plus").rules}
    kept = keeps_of(demo_run.table, demo_run.dataset.with_format(None)["defect"], ways)
    shares = demo_run.report.clean_share() or (0.0, 0.0)
    if json:
        truth: dict[str, Any] = {"clean_before": shares[0], "clean_after": shares[1], "keeps": asdict(kept)}
        return answer_published("demo", demo_run.published, loaded_rows=len(loaded), **truth)
    show.funnel(demo_run.report)
    show.unread(demo_run.report, recipe)
    show_truth.keeps(kept)
    show.paths(Path(demo_run.published.target))
    code = "from datasets import load_dataset"
    show.next_steps(
        [
            shlex.join(["python", "-c", f"{code}; print(load_dataset({dumps(demo_run.published.target)}))"]),
            ["sds-hf", "look", out / "selection", "--dataset", out / "source", "--out", "look.html"],
            "sds-hf import auto YOUR_FOLDER --labels voc --out candidates",
            "sds-hf score candidates --out scores",
        ]
    )
    return None
