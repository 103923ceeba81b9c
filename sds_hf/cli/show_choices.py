"""What the command line shows of choices: recipes side by side, and what is still to be made."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from sds_hf.cli.show import left_by, out
from sds_hf.cli.terminal import text

if TYPE_CHECKING:
    from sds_hf.check.compare import Comparison, Turn
    from sds_hf.check.forecast import ClassForecast

REASONS = 4


def comparison(comparison: "Comparison") -> None:
    """What each recipe keeps, by class, and what comes and goes against the first."""
    rows, clean = comparison.rows, comparison.clean
    out.say(
        "{} candidates{}",
        f"{rows:,}",
        f", {clean:,} of them clean ({_share(clean, rows)})" if clean is not None else "",
    )
    _table("Kept", ("recipe", "rows", "share", *(["clean"] if clean is not None else [])), [
        (choice.recipe, f"{choice.kept:,}", _share(choice.kept, rows),
         *([_share(choice.clean or 0, choice.kept)] if clean is not None else []))
        for choice in comparison.recipes
    ])  # fmt: skip
    _table("Kept by both", ("recipe", "and", "rows", "of the rows that either keeps"), [
        (*overlap.recipes, f"{overlap.both:,}", _share(overlap.both, overlap.either)) for overlap in comparison.overlaps
    ])  # fmt: skip
    names = [choice.recipe for choice in comparison.recipes]
    _table("Kept by class", ("class", "candidates", *names), [
        (name, f"{count:,}", *(f"{choice.classes.get(name, 0):,}" for choice in comparison.recipes))
        for name, count in comparison.classes.items()
    ])  # fmt: skip
    first = comparison.recipes[0].recipe
    for choice in comparison.recipes[1:]:
        out.say("\n[bold]{}[/] against {}", choice.recipe, first)
        _turn("came", choice.came, first)
        _turn("went", choice.went, choice.recipe)
    for choice in comparison.recipes:
        for note in choice.notes:
            out.say("  [yellow]note[/] {}", note if note.startswith(choice.recipe) else f"{choice.recipe}: {note}")


def _turn(verb: str, turn: "Turn | None", dropping: str) -> None:
    if turn is None or not turn.rows:
        return out.say("  none {}", verb)
    most = [f"{left_by(reason)} {count:,}" for reason, count in list(turn.reasons.items())[:REASONS] if left_by(reason)]
    more = ["..."] if len(turn.reasons) > REASONS else []
    why = f", dropped by {dropping}: {', '.join([*most, *more])}" if most else ""
    return out.say("  {} {}{}; e.g. {}", f"{turn.rows:,}", verb, why, ", ".join(turn.examples))


def forecast(classes: "Sequence[ClassForecast]", goal: int) -> None:
    """How many more candidates of each class there must be."""
    lines = [(f"{count.candidates:,}", f"{count.kept:,}", _interval(count), *_more(count)) for count in classes]
    _table(
        f"Candidates to make for {goal:,} kept of each class, at the share kept now, with its 95 % interval",
        ("class", "candidates", "kept", "share", "more", "at least", "at most"),
        [(count.name, *line) for count, line in zip(classes, lines, strict=True)],
    )
    if unsaid := [count.name for count in classes if count.more is None]:
        out.say("  [yellow]note[/] none was kept of {}: how many it takes cannot be said", ", ".join(unsaid))


def _interval(count: "ClassForecast") -> str:
    if count.low is None or count.high is None:
        return "–"
    return f"{_share(count.kept, count.candidates)} ({count.low:.0%} to {count.high:.0%})"


def _more(count: "ClassForecast") -> list[str]:
    return ["–" if rows is None else f"{rows:,}" for rows in (count.more, count.at_least, count.at_most)]


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "–"


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table whose first column, and those of words, are to the left."""
    lines = list(rows)
    table = Table(title=text("\n{}", title), title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    for index, name in enumerate(columns):
        numbers = index > 0 and all(not line[index] or line[index][0] in "–0123456789" for line in lines)
        table.add_column(text("{}", name), justify="right" if numbers else "left")
    for line in lines:
        table.add_row(*(text("{}", cell) for cell in line))
    if lines:
        out.print(table)
