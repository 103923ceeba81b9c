"""`sds-hf judge`: what scores, rules and recipes see of a known truth."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sds_hf.cli import completion, options

if TYPE_CHECKING:
    from sds_hf.prove.judge import Judgement

TIMED_ROWS = 16


def command(
    scores: Annotated[str, typer.Argument(help="Folder of a score table, or Parquet files with score columns.")],
    truth: Annotated[
        str,
        typer.Option(help="Column of the scores or the dataset: null if clean, else the defect."),
    ] = "defect",
    dataset: Annotated[str | None, typer.Option(help="Dataset that was scored, if it has moved.")] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            help="Recipe file or name; several. All of the package that fit these scores by default.",
            autocompletion=completion.recipes,
        ),
    ] = None,
    rule: Annotated[
        list[str] | None, typer.Option(metavar="YAML", help="A rule judged alone, as for `select`; several.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="ROWS|SHARE", help="Rows that all keep, e.g. 500 or 0.5; what the paper's recipe keeps."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for judgement.json, judgement.png and a section for the card.")
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="Samples of the bootstrap.")] = 500,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    time: Annotated[
        bool, typer.Option("--time", help=f"Score {TIMED_ROWS} rows again, one score at a time, for seconds a row.")
    ] = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Say how much of a known truth each score, rule and recipe sees; see `defects` for such a truth."""
    import yaml

    from sds_hf.cli import show_truth
    from sds_hf.cli.answer import answer
    from sds_hf.prove.judge import judge
    from sds_hf.selection.rules import make_rule

    judgement = judge(
        scores, truth=truth, dataset=dataset, recipes=recipe or None, size=_number(size), draws=draws, seed=seed,
        rules=[make_rule(index, yaml.safe_load(f"{{{text}}}")) for index, text in enumerate(rule or ())],
        timed_rows=TIMED_ROWS if time else 0,
    )  # fmt: skip
    if out is not None:
        _write(judgement, out)
    if json:
        counts = {"rows": judgement.rows, "clean": judgement.clean, "kept": judgement.size}
        notes = [f"{sight.name}: {note}" for sight in judgement.sights for note in sight.notes]
        return answer("judge", judgement.model_dump(), out=out, counts=counts, warnings=notes)
    return show_truth.judgement(judgement, out)


def _number(size: str | None) -> int | float | None:
    if size is None:
        return None
    try:
        return int(size) if size.isdigit() else float(size)
    except ValueError:
        raise ValueError(f"--size must be a number of rows or a share such as 0.5, not {size!r}") from None


def _write(judgement: "Judgement", out: Path) -> None:
    from sds_hf.files import write_whole
    from sds_hf.prove.judge_texts import draw, section
    from sds_hf.publishing.card.handwritten import END, START

    out.mkdir(parents=True, exist_ok=True)
    judgement.save(out / "judgement.json")
    draw(judgement, out / "judgement.png")
    # Between these lines it stays in a card that is made again.
    write_whole(out / "section.md", f"{START}\n{section(judgement, 'assets/judgement.png')}{END}\n")
