"""What the command line shows to a person: progress on stderr, tables on stdout."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from sds_hf.cli.progress import note
from sds_hf.cli.terminal import Screen, text
from sds_hf.progress import duration

if TYPE_CHECKING:
    from sds_hf.bench import Bench
    from sds_hf.check.verify import Verification
    from sds_hf.publishing.publish import Published
    from sds_hf.selection.changes import Diff
    from sds_hf.selection.recipe import Recipe
    from sds_hf.selection.report import Report
    from sds_hf.table.plan import Plan


out = Screen()


def funnel(report: "Report") -> None:
    """The funnel, and how much is clean where the truth is known."""
    table = Table(title="Funnel", title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    for name, justify in (("rule", "left"), ("before", "right"), ("after", "right"), ("left because of", "left")):
        table.add_column(name, justify=justify, style="dim" if name == "left because of" else "")  # type: ignore[arg-type]
    for step in report.steps:
        reasons = ", ".join(f"{left_by(name)} {count:,}" for name, count in step.dropped.items()) or "nothing"
        table.add_row(text("{}", step.text), f"{step.before:,}", f"{step.after:,}", text("{}", reasons))
    out.print(table)
    kept, rows = f"{report.kept:,}", f"{report.rows:,}"
    out.say("\n[bold]{}[/] of {} rows kept ({})", kept, rows, f"{report.kept / report.rows:.0%}", end="")
    out.say(", [red]{} could not be scored[/]" if report.failed else "", *[f"{report.failed:,}"] * bool(report.failed))
    failures(report)
    warnings(report)


def unread(report: "Report", recipe: "Recipe") -> None:
    """The scores that no rule looks at."""
    read = {column for rule in recipe.rules for column in rule.reads}
    if names := [name for name in report.scores if name not in read]:
        out.say("  [dim]read by no rule, so they drop nothing: {}[/]", ", ".join(names))


def left_by(reason: str) -> str:
    """Why rows left, in words; those of a reason that is a column's name are that name."""
    what = reason.removeprefix("dropped:")
    return {
        "null": "has no score",
        "failed": "could not be scored",
        "top_fraction": "not among the best of a group",
        "lowest": "among the lowest",
        **dict.fromkeys(("top_k", "rank_mean"), "not among the best"),
        **dict.fromkeys(("random", "stratified"), "not drawn"),
    }.get(what, what)


def limits(report: "Report") -> None:
    """What limits the worth of the scores, a line each."""
    for limit in report.provenance.get("limits", []):
        note(limit)


def warnings(report: "Report") -> None:
    """What a person should look at, a line each."""
    for warning in report.warnings:
        out.say("  [yellow]note[/] {}", warning)


def needed(manifest: "Mapping[str, Any]", rows: int) -> None:
    """What was computed of a table that has only what a recipe needs, and what it can no longer say."""
    if not (entry := manifest.get("needed")):
        return
    for what, (count, whole) in entry["work"].items():
        out.say("  {}: {} of {}, {}", what, f"{count:,}", f"{whole:,}", f"{count / max(1, whole):.0%}")
    counts = [f"{name} for {count:,}" for name, count in entry["rows"].items() if count < rows]
    if not counts:
        return
    out.say("  of {} rows only what decides {} was computed: {}", f"{rows:,}", entry["recipe"], ", ".join(counts))
    out.say("  [dim]rules that ask for more are refused; score --for ANOTHER or --all computes what is missing[/]")


def failures(report: "Report") -> None:
    """The first rows that could not be scored, and why."""
    for failure in report.failures:
        out.say("  [red]failed[/] {}", failure)


def scores(report: "Report") -> None:
    """How the scores are distributed."""
    table = Table(title="Scores", title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    table.add_column("score")
    for name in ("min", "5 %", "25 %", "50 %", "75 %", "95 %", "max", "nulls"):
        table.add_column(name, justify="right")
    for name, summary in report.scores.items():
        values = [f"{v:.3f}" if abs(v) < 100 else f"{v:.0f}" for v in summary.quantiles.values()] or ["–"] * 7
        table.add_row(text("{}", name), *values, f"{summary.nulls:,}")
    out.print(table)


def published(published: "Published") -> None:
    """Where it went."""
    size = sum(published.files.values()) / 1e6
    verb = "would publish" if published.dry_run else "published"
    what = f"{published.report.kept:,} rows, {len(published.files)} files, {size:.1f} MB"
    out.say(f"{verb} {what} to [bold]{{}}[/]", published.target)
    if published.dry_run:
        for name, count in published.files.items():
            out.say("  [green]+[/] {}  [dim]{} bytes[/]", name, f"{count:,}")
        for name in published.removed:
            out.say("  [red]-[/] {}", name)
    if published.tag:
        out.say("  tag {}{}", published.tag, f", commit {published.revision[:10]}" if published.revision else "")
    if published.url:
        out.say("  {}", published.url)
    if changes := published.report.changes:
        out.say("  new against {}:", changes.before.title)
        for line in changes.summary():
            out.say("    {}", line)
    for warning in published.warnings:
        note(warning)


def verification(outcome: "Verification", brief: bool = False) -> None:
    """What was checked, or in brief only that it was."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    marks = {True: "[green]ok[/]", False: "[red]failed[/]", None: "[dim]–[/]"}
    for check in outcome.checks:
        table.add_row(text(marks[check.ok]), text("{}", check.name), text("{}", check.detail))
    if not brief:
        out.print(table)
        out.print()
    where = f"{outcome.target}, commit {outcome.revision[:10]}" if outcome.revision else outcome.target
    failed = len(outcome.failures)
    verdict = f"[red]{failed} of {len(outcome.checks)} checks failed[/]" if failed else "[green]verified[/]"
    out.say(f"{verdict}: {{}}", where)


def paths(folder: Path) -> None:
    """Card and pictures of a published folder."""
    out.say("\n[bold]Look at[/]")
    for name, what in (
        ("README.md", "card"),
        ("assets/samples.png", "kept and dropped samples"),
        ("assets/scores.png", "distributions"),
        ("assets/classes.png", "classes before and after"),
    ):
        if (folder / name).exists():
            out.say("  {}  [dim]{}[/]", folder / name, what)


def plan(plan: "Plan") -> None:
    """What a job would do, and what would go wrong."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    rate = f" ({plan.rows_per_second:.3g} rows/s, measured on {plan.measured})" if plan.rows_per_second else ""
    condition = "" if plan.content_known else ", if the dataset has not changed"
    for name, about in (
        ("scores", f"{', '.join(plan.scores)} on {plan.device}"),
        ("rows", f"{plan.rows_left:,} of {plan.rows:,} are to be scored"),
        ("shards", f"{plan.finished:,} of {plan.shards:,} are finished{condition if plan.finished else ''}"),
        ("time", f"about {duration(plan.seconds)}{rate}" if plan.seconds is not None else "unknown"),
        ("disk", f"about {plan.bytes / 1e6:.3g} MB, {plan.free_bytes / 1e9:.3g} GB are free"),
    ):
        table.add_row(name, text("{}", about))
    out.print(table)
    out.print(f"\n{len(plan.problems):,} problems in a sample of {plan.sample:,} rows")
    for problem in plan.problems:
        out.say("  [red]problem[/] {}", problem)


def bench(result: "Bench", planned: int) -> None:
    """What a machine does."""
    out.print(
        f"{result.device}, {result.threads} CPU threads, {result.dtype}, model {result.model}, batches of "
        f"{result.batch_size}, JPEGs of {result.image_size} pixels; a large matrix product runs at "
        f"{result.matmul_flops / 1e12:.3g} TFLOP/s",
        soft_wrap=True,
    )
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("", "a second", "TFLOP/s", "of the matrix product"):
        table.add_column(name, justify="right" if name else "left")
    for name, speed in {"image encoder alone (images)": result.encoder, **result.scores}.items():
        label = " + ".join(result.together) + " together" if name == "together" else name
        table.add_row(text("{}", label), f"{speed.per_second:.3g}", f"{speed.flops / 1e12:.3g}", f"{speed.share:.0%}")
    out.print(table)
    stages = ", ".join(f"{name} {share:.1%}" for name, share in result.stages.items())
    out.print(f"time by stage: {stages}", soft_wrap=True)
    gpu = f", {result.gpu_memory_bytes / 1e9:.1f} GB on the GPU" if result.gpu_memory_bytes else ""
    out.print(f"peak memory {result.memory_bytes / 1e9:.1f} GB{gpu}")
    seconds, size = result.plan(planned)
    out.print(f"{planned:,} rows would take {duration(seconds)} and {size / 1e6:.1f} MB of scores")


def next_steps(lines: Sequence[str | Sequence[object]], title: str = "Next") -> None:
    """What a user would type next: lines, or the words of one, which are quoted as a shell needs it."""
    if title:
        out.say("\n[bold]{}[/]", title)
    for line in lines:
        out.say("  {}", line if isinstance(line, str) else shlex.join(map(str, line)))


MOST = 12  # lines of a table


def diff(changes: "Diff") -> None:
    """What differs: sentences first, then tables of classes, scores, reasons and ids."""
    out.say("[bold]{}[/] -> [bold]{}[/]", changes.before.title, changes.after.title)
    if changes.is_empty:
        files = f"; {changes.files:,} files are not the same" if changes.files else ""
        out.print(f"nothing that is compared differs{files}")
    for line in changes.summary():
        out.say("  {}", line)
    _show_classes(changes)
    _show_scores(changes)
    _show(
        "Reasons",
        ("before", "now", "rows"),
        [(change.before, change.after, f"{change.rows:,}") for change in changes.reasons],
    )
    _show(
        "Some ids",
        ("what", "ids"),
        [(name.replace("_", " "), ", ".join(ids)) for name, ids in changes.examples.items()],
    )
    if changes.pictures is None:
        out.say("\n[dim]images and masks were not compared[/]")


def _show_classes(changes: "Diff") -> None:
    rows = []
    for change in sorted(changes.changed_classes, key=lambda change: (-abs(change.after - change.before), change.name)):
        share = f"{-change.loss:+.1%}" if change.loss else ""
        pixels = "" if change.pixels is None else f"{change.pixels:+,}"
        rows.append((change.name, f"{change.before:,}", f"{change.after:,}", share, pixels))
    _show("Classes", ("class", "rows before", "now", "change", "pixels in changed masks"), rows)


def _show_scores(changes: "Diff") -> None:
    rows = []
    for name, shift in changes.scores.items():
        values = (shift.mean, shift.mean_absolute, *(shift.quantiles.get(share, 0.0) for share in ("0", "0.5", "1")))
        like = "–" if shift.correlation is None else f"{shift.correlation:.3g}"
        rows.append((name, f"{shift.rows:,}", *(f"{value:.3g}" for value in values), like))
    _show(
        "Scores, now minus before", ("score", "rows", "mean", "absolute", "min", "median", "max", "correlation"), rows
    )


def _show(title: str, columns: tuple[str, ...], rows: Sequence[Sequence[str]]) -> None:
    """A table if it has rows; its first columns are text, those of numbers to the right."""
    if not rows:
        return
    table = Table(title=f"\n{title}", title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    numbers = [all(row[index][:1] in "+-–0123456789" for row in rows) for index in range(len(columns))]
    for name, number in zip(columns, numbers, strict=True):
        table.add_column(name, justify="right" if number else "left")
    for row in rows[:MOST]:
        table.add_row(*(text("{}", cell) for cell in row))
    out.print(table)
    if len(rows) > MOST:
        out.say("  [dim]and {} more, see --json[/]", f"{len(rows) - MOST:,}")
