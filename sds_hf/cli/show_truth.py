"""What the command line shows where the truth is known."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from sds_hf.cli.show import out

if TYPE_CHECKING:
    from sds_hf.prove.defects_copy import DefectCopy
    from sds_hf.prove.judge import Judgement


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
    names, timed = ["any", *found.defects], any(sight.seconds for sight in found.sights)
    extra = ["clean\nshare", "95 %", "least\nclass", *(["s/row"] if timed else [])]
    table = _table("AUROC, clean against defect", "", *(name.replace("_", "\n") for name in names), *extra)
    for sight in found.sights:
        value, low, high = sight.precision
        least = min(sight.classes.values(), default=None)
        star = "" if sight.kept == found.size else "*"
        table.add_row(
            escape(sight.name),
            *(_shade(sight.auroc[name][0]) for name in names),
            f"{value:.0%}{star}",
            f"[dim]{100 * low:.0f}-{100 * high:.0f}[/]",
            "" if least is None else f"{least:.0%}",
            *([f"{sight.seconds:.3g}" if sight.seconds else "–"] if timed else []),
            style="bold" if sight.kind in ("rule", "recipe") else "",
        )
    out.print(table)
    words = [
        ".5 sees nothing; below it, low values are the clean ones.",
        "Least class: kept share of the class kept least.",
    ]
    for sight in found.sights:
        if sight.kept != found.size:
            words.append(f"* {sight.name} keeps {sight.kept:,} rows and no other number.")
    out.print(f"\n[dim]{escape(' '.join(words))}[/]")
    for name, reason in found.not_judged.items():
        out.print(f"  [dim]not judged[/] {escape(name)}: {escape(reason)}", soft_wrap=True)
    if folder is not None:
        out.print(f"\nin {folder}: judgement.json, judgement.png, section.md (a section for the card)", soft_wrap=True)


def _table(title: str, *names: str) -> Table:
    """A table whose first column is text and the others numbers."""
    table = Table(title=f"\n{title}", title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0))
    for number, name in enumerate(names):
        table.add_column(name, justify="right" if number else "left", no_wrap=not number)
    return table


def _shade(value: float) -> str:
    text = "1.0" if value >= 0.995 else f"{value:.2f}".lstrip("0")
    return f"[green]{text}[/]" if value >= 0.9 else f"[dim]{text}[/]" if abs(value - 0.5) < 0.1 else text
