"""What the command line shows where the truth is known."""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from sds_hf.cli.show import out

if TYPE_CHECKING:
    from sds_hf.prove.defects_copy import DefectCopy
    from sds_hf.prove.judge import Judgement, Sight


def defects(copy: "DefectCopy") -> None:
    """What a corrupted copy holds."""
    spoilt = sum(copy.rows.values()) - copy.rows["none"]
    out.print(
        f"{copy.rows['none']:,} trusted rows and {spoilt:,} copies with a defect in {copy.folder}", soft_wrap=True
    )
    table = _table("Copies", "defect", "rows")
    for name, count in sorted(copy.rows.items()):
        if name != "none":
            table.add_row(name, f"{count:,}")
    out.print(table)
    for reason, count in copy.left_out.items():
        out.print(f"  [yellow]left out[/] {count:,} {escape(reason)}", soft_wrap=True)


def judgement(found: "Judgement", folder: Path | None) -> None:
    """What each score, rule and recipe sees."""
    out.print(
        f"{found.clean:,} clean rows and {found.rows - found.clean:,} with a defect; of {found.size:,} kept rows "
        f"({found.size_of}), {found.clean / found.rows:.0%} are clean by chance",
        soft_wrap=True,
    )
    sights = sorted(found.sights, key=lambda sight: -sight.auroc["any"][0])
    timed = any(sight.seconds for sight in sights)
    names = ("any defect", "95 %", "clean of kept", "95 %", "least class", *(["s/row"] if timed else []))
    table = _table("What each sees", "", *names)
    for sight in sights:
        auroc, low, high = sight.auroc["any"]
        share, least, most = sight.precision
        table.add_row(
            escape(sight.name),
            _shade(auroc),
            f"[dim]{low:.2f}-{high:.2f}[/]".replace("0.", "."),
            f"{share:.0%}" + ("" if sight.kept == found.size else "*"),
            f"[dim]{100 * least:.0f}-{100 * most:.0f}[/]",
            f"{min(sight.classes.values()):.0%}" if sight.classes else "–",
            *([f"{sight.seconds:.3g}" if sight.seconds else "–"] if timed else []),
            style="bold" if sight.kind in ("rule", "recipe") else "",
        )
    out.print(table)
    _by_defect(found, sights)
    words = [
        "AUROC: .5 sees nothing; below it, low values are the clean ones. Least class: kept share of the class "
        "that is kept least. Bold: recipes and rules."
    ]
    words += [f"* {one.name} keeps {one.kept:,} rows and no other number." for one in sights if one.kept != found.size]
    out.print(f"\n[dim]{escape(' '.join(words))}[/]")
    for name, reason in found.not_judged.items():
        out.print(f"  [dim]not judged[/] {escape(name)}: {escape(reason)}", soft_wrap=True)
    if folder is not None:
        out.print(f"\nin {folder}: judgement.json, judgement.png, section.md (a section for the card)", soft_wrap=True)


def _by_defect(found: "Judgement", sights: "list[Sight]") -> None:
    """AUROC by defect, of as many scores and recipes as there is room for, the ones that see most first."""
    telling = [sight for sight in sights if sight.kind != "chance"]
    telling.sort(key=lambda sight: (sight.kind == "score", -abs(sight.auroc["any"][0] - 0.5)))
    room = max(1, (out.width - 24) // 10)
    table = _table("AUROC by defect", "defect", "rows", *(_narrow(sight.name) for sight in telling[:room]))
    for defect, rows in found.defects.items():
        table.add_row(defect, f"{rows:,}", *(_shade(sight.auroc[defect][0]) for sight in telling[:room]))
    out.print(table)
    if len(telling) > room:
        out.print(f"  [dim]and {len(telling) - room:,} more, see --json or --out[/]")


def _narrow(name: str) -> str:
    """A name in lines of at most 9 letters."""
    return "\n".join(textwrap.wrap(name.replace("_", " ").replace("-", " "), 9))


def _table(title: str, *names: str) -> Table:
    """A table whose first column is text and the others numbers."""
    table = Table(title=f"\n{title}", title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0))
    for number, name in enumerate(names):
        table.add_column(name, justify="right" if number else "left", no_wrap=not number)
    return table


def _shade(value: float) -> str:
    text = "1.0" if value >= 0.995 else f"{value:.2f}".lstrip("0")
    return f"[green]{text}[/]" if value >= 0.9 else f"[dim]{text}[/]" if abs(value - 0.5) < 0.1 else text
