"""What `sds-hf diff` shows to a person."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from sds_hf.selection.changes import Diff
from sds_hf.ui import out

MOST = 12  # lines of a table


def show_diff(found: Diff) -> None:
    """Sentences first, then tables of classes, scores, reasons and ids."""
    out.print(f"[bold]{escape(found.before.title)}[/] -> [bold]{escape(found.after.title)}[/]", soft_wrap=True)
    if found.is_empty:
        files = f"; {found.files:,} files are not the same" if found.files else ""
        out.print(f"nothing that is compared differs{files}")
    for line in found.summary():
        out.print(f"  {escape(line)}", soft_wrap=True)
    _show_classes(found)
    _show_scores(found)
    _show("Reasons", ("before", "now", "rows"), [(each.before, each.after, f"{each.rows:,}") for each in found.reasons])
    _show(
        "Some ids", ("what", "ids"), [(name.replace("_", " "), ", ".join(ids)) for name, ids in found.examples.items()]
    )
    if found.pictures is None:
        out.print("\n[dim]images and masks were not compared[/]")


def _show_classes(found: Diff) -> None:
    rows = []
    for each in sorted(found.changed_classes, key=lambda each: (-abs(each.after - each.before), each.name)):
        share = f"{-each.loss:+.1%}" if each.loss else ""
        pixels = "" if each.pixels is None else f"{each.pixels:+,}"
        rows.append((each.name, f"{each.before:,}", f"{each.after:,}", share, pixels))
    _show("Classes", ("class", "rows before", "now", "change", "pixels in changed masks"), rows)


def _show_scores(found: Diff) -> None:
    rows = []
    for name, shift in found.scores.items():
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
    numbers = [all(row[place][:1] in "+-–0123456789" for row in rows) for place in range(len(columns))]
    for name, number in zip(columns, numbers, strict=True):
        table.add_column(name, justify="right" if number else "left")
    for row in rows[:MOST]:
        table.add_row(*map(escape, row))
    out.print(table)
    if len(rows) > MOST:
        out.print(f"  [dim]and {len(rows) - MOST:,} more, see --json[/]")
