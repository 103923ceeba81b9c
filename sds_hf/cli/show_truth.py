"""What the command line shows where the truth is known."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from sds_hf.cli.show import out
from sds_hf.cli.terminal import text

if TYPE_CHECKING:
    from sds_hf.prove.defects_copy import DefectCopy
    from sds_hf.prove.judge import Judgement, Sight
    from sds_hf.prove.judge_keeps import Keeps


def defects(copy: "DefectCopy") -> None:
    """What a corrupted copy holds."""
    spoilt = sum(copy.rows.values()) - copy.rows["none"]
    counts = f"{copy.rows['none']:,}", f"{spoilt:,}"
    out.say("{} trusted rows and {} copies with a defect in {}", *counts, copy.folder)
    table = _table("Copies", "defect", "rows")
    for name, count in sorted(copy.rows.items()):
        if name != "none":
            table.add_row(name, f"{count:,}")
    out.print(table)
    for reason, count in copy.left_out.items():
        out.say("  [yellow]left out[/] {} {}", f"{count:,}", reason)


def judgement(result: "Judgement", folder: Path | None) -> None:
    """What each score, rule and recipe sees."""
    out.say(
        "{} clean rows and {} with a defect; of {} kept rows ({}), {} are clean by chance",
        *(f"{count:,}" for count in (result.clean, result.rows - result.clean, result.size)),
        result.size_of,
        f"{result.clean / result.rows:.0%}",
    )
    sights = sorted(result.sights, key=lambda sight: -sight.auroc["any"][0])
    timed = any(sight.seconds for sight in sights)
    names = ("any defect", "95 %", "clean of kept", "95 %", "least class", *(["s/row"] if timed else []))
    table = _table("What each sees", "", *names)
    for sight in sights:
        auroc, low, high = sight.auroc["any"]
        share, least, most = sight.precision
        table.add_row(
            text("{}", sight.name),
            _shade(auroc),
            text("[dim]{}[/]", f"{low:.2f}-{high:.2f}".replace("0.", ".")),
            f"{share:.0%}" + ("" if sight.kept == result.size else "*"),
            text("[dim]{}[/]", f"{100 * least:.0f}-{100 * most:.0f}"),
            f"{min(sight.classes.values()):.0%}" if sight.classes else "–",
            *([f"{sight.seconds:.3g}" if sight.seconds else "–"] if timed else []),
            style="bold" if sight.kind in ("rule", "recipe") else "",
        )
    out.print(table)
    _by_defect(result, sights)
    out.say(
        "\n[dim]AUROC: .5 sees nothing; below it, low values are the clean ones. Least class: kept share of the class "
        "that is kept least. Bold: recipes and rules.[/]"
    )
    for one in sights:
        if one.kept != result.size:
            out.say("[dim]* {} keeps {} rows, since it cannot keep more or fewer.[/]", one.name, f"{one.kept:,}")
        for note in one.notes:
            out.say("  [yellow]note[/] {}: {}", one.name, note)
    for name, reason in result.not_judged.items():
        out.say("  [dim]not judged[/] {}: {}", name, reason)
    if folder is not None:
        out.say("\nin {}: judgement.json, judgement.png, section.md (a section for the card)", folder)


def keeps(result: "Keeps") -> None:
    """What becomes of each kind of defect where several ways to choose keep the same number of rows."""
    title = f"The truth, which no score sees: share kept of each kind, where each way keeps {result.size:,} rows"
    table = _table(title, "defect", "candidates", *(name.replace(" ", "\n", 1) for name in result.shares))
    for defect, rows in result.rows.items():
        shares = (f"{shares[defect]:.0%}" for shares in result.shares.values())
        table.add_row(defect, f"{rows:,}", *shares, style="green" if defect == "none" else "")
    clean = (text("[bold]{}[/]", f"{share:.0%}") for share in result.clean.values())
    table.add_section()
    table.add_row("clean of kept", f"{result.rows['none'] / sum(result.rows.values()):.0%}", *clean)
    out.print(table)


def _by_defect(result: "Judgement", sights: "Sequence[Sight]") -> None:
    """AUROC by defect, of as many scores and recipes as there is room for, the ones that see most first."""
    telling = [sight for sight in sights if sight.kind != "chance"]
    telling.sort(key=lambda sight: (sight.kind == "score", -abs(sight.auroc["any"][0] - 0.5)))
    room = max(1, (out.width - 24) // 10)
    table = _table("AUROC by defect", "defect", "rows", *(_narrow(sight.name) for sight in telling[:room]))
    for defect, rows in result.defects.items():
        table.add_row(text("{}", defect), f"{rows:,}", *(_shade(sight.auroc[defect][0]) for sight in telling[:room]))
    out.print(table)
    if len(telling) > room:
        out.say("  [dim]and {} more, see --json or --out[/]", len(telling) - room)


def _narrow(name: str) -> str:
    """A name in lines of at most 9 letters."""
    return "\n".join(textwrap.wrap(name.replace("_", " ").replace("-", " "), 9))


def _table(title: str, *names: str) -> Table:
    """A table whose first column is text and the others numbers."""
    table = Table(title=f"\n{title}", title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0))
    for number, name in enumerate(names):
        table.add_column(name, justify="right" if number else "left", no_wrap=not number)
    return table


def _shade(value: float) -> Text:
    style = "green" if value >= 0.9 else "dim" if abs(value - 0.5) < 0.1 else ""
    return Text("1.0" if value >= 0.995 else f"{value:.2f}".lstrip("0"), style)
