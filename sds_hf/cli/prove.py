"""`sds-hf prove`: whether the selection trains a better segmenter."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from sds_hf.cli import options

if TYPE_CHECKING:
    from datasets import Dataset

    from sds_hf.prove.experiment import Plan
    from sds_hf.prove.results.proof import Proof


def command(
    dataset: Annotated[
        str, typer.Argument(help="The candidates, or a published set: folder, Parquet files or Hub id.")
    ],
    scores: Annotated[
        str | None,
        typer.Argument(
            help="Their scores: a score table, Parquet files or a published set; of a published DATASET its own."
        ),
    ] = None,
    evaluation: Annotated[
        list[str] | None,
        typer.Option(
            "--eval", metavar="[NAME=]DATASET", help="Rows to evaluate on, which no arm is trained on; several."
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder of the results; what is finished there is not trained again.")
    ] = Path("proof"),
    recipes: Annotated[str, typer.Option(help="Recipes by name or file, separated by commas.")] = "sds-paper",
    sizes: Annotated[
        str | None, typer.Option(help="Shares of the candidates that each recipe also keeps, e.g. `0.15,0.5,0.75`.")
    ] = None,
    truth: Annotated[
        str, typer.Option(help="Column that is null for clean rows, for the arm `clean`, if there is such a column.")
    ] = "defect",
    depth: Annotated[
        str, typer.Option(metavar="probe|full", help="A decoder on frozen features, or a whole segmenter.")
    ] = "probe",
    backbone: Annotated[
        str | None,
        typer.Option(help="Of a probe: `efficientnet-lite0`, `demo`, or a vision model of transformers."),
    ] = None,
    segmenter: Annotated[
        str | None,
        typer.Option(
            help="Of a full training: `unet`, `segformer`, `upernet`, `mask2former`, `deeplabv3+`, `deeplabv3`, "
            "a folder or a Hub id."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How often each arm is trained.")] = 5,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Optimiser steps; default 600, of a full training 4,000.")
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(help="Epochs where all arms have as many; default as many as the full set has.")
    ] = None,
    regimes: Annotated[
        str, typer.Option(help="Equal `steps`, equal `epochs`, or both, separated by a comma.")
    ] = "steps,epochs",
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows a step; default 16.")] = None,
    side: Annotated[int | None, typer.Option(min=32, help="Side of the pictures in pixels.")] = None,
    stride: Annotated[
        int | None,
        typer.Option(min=1, help="Of the finest features of a probe; default 8, 16 takes a third of the time."),
    ] = None,
    dtype: Annotated[str, typer.Option(help="`auto`, `fp32`, `bf16` or `fp16`.")] = "auto",
    labels: options.Labels = None,
    split: options.Split = None,
    eval_split: Annotated[str | None, typer.Option(help="Split of the evaluation sets, if they have several.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be trained and how long it takes.")
    ] = False,
    progress: options.Progress = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Train the same segmenter on the full set, on each selection and on as many random rows, and compare."""
    from sds_hf.cli.answer import answer
    from sds_hf.cli.progress import watcher
    from sds_hf.clip.launcher import current_rank
    from sds_hf.prove.experiment import TRAINING, Experiment, write_proof

    if not evaluation:
        raise typer.BadParameter("give --eval: rows with masks that no arm is trained on")
    if (backbone and depth == "full") or (segmenter and depth == "probe"):
        raise typer.BadParameter("--backbone is of --depth probe, --segmenter of --depth full")
    first = current_rank().index == 0
    rows, table = _candidates(dataset, scores, split, labels)
    training = replace(TRAINING.get(depth, TRAINING["probe"]), dtype=cast(Any, dtype))
    experiment = Experiment(
        rows, table, _evaluation(evaluation, eval_split, labels), out,
        recipes=_names(recipes),
        sizes=[_share(text) for text in sizes.split(",")] if sizes else (),
        truth=truth, depth=cast(Any, depth), model=segmenter or backbone, seeds=seeds, steps=steps, epochs=epochs,
        regimes=_names(regimes), side=side, stride=stride,
        training=replace(training, batch_size=batch_size or training.batch_size), labels=labels or "auto",
        source=dataset,
    )  # fmt: skip
    if dry_run:
        plan = experiment.plan()
        _answer_plan(plan) if json else _show_plan(plan)
        return
    proof = experiment.run(watcher(json, progress if first and not quiet else "none"))
    if first:
        write_proof(proof, out)
        if json:
            counts = {arm.name: arm.size for arm in proof.arms}
            answer("prove", proof.to_dict(), out=out, counts=counts, warnings=proof.missing)
        elif not quiet:
            _show(proof, out)


def _candidates(name: str, scores: str | None, split: str | None, labels: str | None) -> "tuple[Dataset, Any]":
    """The rows and the scores of all candidates; of a published set those of its two configurations."""
    from sds_hf.data.opening import open_dataset
    from sds_hf.hub.layout import MANIFEST, read_manifest
    from sds_hf.hub.load import load

    if scores is None:
        return load(name), load(name, "scores")
    rows = open_dataset(name, split, **({"labels": labels} if labels else {}))
    published = read_manifest(Path(scores) / MANIFEST) if Path(scores).is_dir() else None
    on_the_hub = not Path(scores).exists() and scores.count("/") == 1 and not scores.endswith(".parquet")
    return rows, load(scores, "scores") if published or on_the_hub else scores


def _evaluation(names: list[str], split: str | None, labels: str | None) -> "dict[str, Dataset]":
    """Evaluation sets by name: what stands before `=`, else the last part of the path."""
    from sds_hf.data.opening import open_dataset

    sets: dict[str, Dataset] = {}
    for text in names:
        name, equals, path = text.rpartition("=")
        title = name if equals else Path(path).name
        if title in sets:
            raise ValueError(f"two evaluation sets are called {title!r}; name them: --eval first={path}")
        sets[title] = open_dataset(path, split, **({"labels": labels} if labels else {}))
    return sets


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"--sizes takes shares of the candidates separated by commas, not {text!r}") from error


def _answer_plan(plan: "Plan") -> None:
    from sds_hf.cli.answer import answer

    result = {name: value for name, value in vars(plan).items() if name != "arms"}
    answer("prove", result, counts={arm.name: arm.size for arm in plan.arms.arms}, warnings=plan.arms.missing)


def _show_plan(plan: "Plan") -> None:
    from sds_hf.cli import show
    from sds_hf.progress import duration

    arms = ", ".join(f"{arm.name} ({arm.size:,} rows)" for arm in plan.arms.arms)
    step, row = f"{1000 * plan.seconds_per_step:.3g} ms", f"{1000 * plan.seconds_per_row:.3g} ms"
    left = f"{plan.runs_left:,} of {plan.runs:,} are to be done, {plan.steps_left:,} steps of {step}"
    for name, words in (
        ("time", f"about {duration(plan.seconds)} on {plan.device}, measured on a few rows and steps"),
        ("arms", arms),
        ("trainings", left),
        ("features", f"of {plan.rows_left:,} rows, {row} each"),
    ):
        show.out.say("[bold]{}[/]  {}", name, words)
    _show_missing(plan.arms.missing)


def _show(proof: "Proof", out: Path) -> None:
    from rich.table import Table

    from sds_hf.cli import show
    from sds_hf.cli.terminal import text
    from sds_hf.prove.results.report import REGIMES, arm_rows

    for regime, evaluation in dict.fromkeys((score.regime, score.evaluation) for score in proof.scores):
        table = Table(title=text("\n{}, {}", evaluation, REGIMES[regime]), title_justify="left", title_style="bold",
                      box=None, padding=(0, 2, 0, 0))  # fmt: skip
        header, *rows = arm_rows(proof, regime, evaluation)
        for number, name in enumerate(header):
            table.add_column(name, justify="right" if number else "left", no_wrap=not number)
        for row in rows:
            table.add_row(*(text("{}", cell.replace("*", "")) for cell in row))
        show.out.print(table)
    _show_missing(proof.missing)
    show.out.say("\nby class, by seed and as a picture in {}: report.md, results.json, proof.png", out)


def _show_missing(sentences: Sequence[str]) -> None:
    from sds_hf.cli import show

    for sentence in sentences:
        show.out.say("[yellow]not trained[/]  {}", sentence)
