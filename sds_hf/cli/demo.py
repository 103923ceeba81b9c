"""`sds-hf demo`: the whole job, offline."""

import shlex
from pathlib import Path
from typing import Annotated

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
    from sds_hf.cli import show
    from sds_hf.cli.progress import watcher
    from sds_hf.hub.load import load
    from sds_hf.pipeline import run_demo

    if not json:
        show.out.say(f"{rows:,} emoji scenes, about half of them with a known defect, scored by a tiny CLIP\n")
    demo_run = run_demo(rows, out, seed=seed, labels=labels, watch=watcher(json))
    loaded = load(demo_run.published.target)
    shares = demo_run.report.clean_share() or (0.0, 0.0)
    if json:
        return options.print_json(
            options.published_json(demo_run.published)
            | {"clean_before": shares[0], "clean_after": shares[1], "loaded_rows": len(loaded)}
        )
    show.funnel(demo_run.report)
    show.truth(demo_run.report)
    show.paths(Path(demo_run.published.target))
    code = "from datasets import load_dataset"
    show.next_steps(
        [
            shlex.join(["python", "-c", f"{code}; print(load_dataset({demo_run.published.target!r}))"]),
            "sds-hf import auto YOUR_FOLDER --labels voc --out candidates && sds-hf score candidates --out scores",
        ]
    )
    return None
