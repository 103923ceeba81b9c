"""What an object shows of itself at a prompt and in a notebook: a title and a few short tables, a screen at most."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from sds_hf.errors import plain

WIDEST = 100  # characters of a line
MOST_ROWS = 10  # of a table
MOST_LINES = 36  # of text in all
NUMBER_STARTS = "+-–0123456789"
TABLE = '<table style="margin:0.3em 0"><caption style="text-align:left;font-weight:bold">'


@dataclass(frozen=True)
class Block:
    """A short table.

    Attributes:
        title: what it has; may be empty.
        columns: headings; none if empty.
        rows: cells, as many a row as there are columns.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def shown(self) -> list[list[str]]:
        """Its first rows, as text of others is shown."""
        return [[plain(" ".join(str(cell).split())) for cell in row] for row in self.rows[:MOST_ROWS]]

    @property
    def rest(self) -> str:
        """What is not shown."""
        more = len(self.rows) - MOST_ROWS
        return f"and {more:,} more" if more > 0 else ""


class Screen:
    """Something that shows itself: `screen_title` and `screen_blocks` say what."""

    def screen_title(self) -> str:
        """What it is, in a line."""
        raise NotImplementedError

    def screen_blocks(self) -> list[Block]:
        """What is worth seeing of it, the most important first."""
        raise NotImplementedError

    def __repr__(self) -> str:
        lines = [_cut(plain(self.screen_title()), WIDEST)]
        for block in self.screen_blocks():
            lines += _text_lines(block) if block.rows else []
        return "\n".join(lines[:MOST_LINES] + (["..."] if len(lines) > MOST_LINES else []))

    __str__ = __repr__

    def _repr_html_(self) -> str:
        """For notebooks; whatever the data holds is text."""
        blocks = "".join(_html(block) for block in self.screen_blocks() if block.rows)
        return f"<div><div><b>{escape(plain(self.screen_title()))}</b></div>{blocks}</div>"


def _text_lines(block: Block) -> Iterator[str]:
    rows = block.shown()
    table = [list(block.columns), *rows] if any(block.columns) else rows
    numbers = _numbers(rows)
    widths = _widths([[len(cell) for cell in row] for row in table])
    if block.title:
        yield block.title
    for row in table:
        cells = [_cut(cell, width) for cell, width in zip(row, widths, strict=True)]
        aligned = zip(cells, widths, numbers, strict=True)
        line = "  ".join(cell.rjust(width) if number else cell.ljust(width) for cell, width, number in aligned)
        yield f"  {line}".rstrip()
    if block.rest:
        yield f"  {block.rest}"


def _widths(lengths: Sequence[Sequence[int]]) -> list[int]:
    """Widths of columns that fit into a line: the widest give way."""
    widths = [max(1, *column) for column in zip(*lengths, strict=True)]
    while sum(widths) + 2 * len(widths) > WIDEST:
        widths[widths.index(max(widths))] -= 1
    return widths


def _numbers(rows: Sequence[Sequence[str]]) -> list[bool]:
    """Which columns hold numbers, which stand to the right."""
    return [all(row[column][:1] in NUMBER_STARTS for row in rows) for column in range(len(rows[0]))]


def _html(block: Block) -> str:
    rows = block.shown()
    sides = ["right" if number else "left" for number in _numbers(rows)]
    heads = zip(block.columns, sides, strict=False)
    head = "".join(f'<th style="text-align:{side}">{escape(name)}</th>' for name, side in heads)
    body = "".join(
        "<tr>"
        + "".join(f'<td style="text-align:{side}">{escape(cell)}</td>' for cell, side in zip(row, sides, strict=True))
        + "</tr>"
        for row in rows
    )
    rest = f'<tr><td colspan="{len(sides)}"><i>{block.rest}</i></td></tr>' if block.rest else ""
    heading = f"<thead><tr>{head}</tr></thead>" if any(block.columns) else ""
    return f"{TABLE}{escape(block.title)}</caption>{heading}<tbody>{body}{rest}</tbody></table>"


def _cut(text: str, widest: int) -> str:
    return text if len(text) <= widest else text[: widest - 1] + "…"
