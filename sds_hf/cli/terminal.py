"""What reaches the terminal: sentences of ours, and in them text of others, which is shown and never obeyed."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.text import Text

from sds_hf.errors import plain, without_secrets

PLACE = re.compile(r"\{\}")


def text(template: str, *values: Any) -> Text:
    """A sentence of ours with values in it, for a screen or a cell of a table.

    Args:
        template: in Rich's markup, with `{}` where a value stands.
        *values: shown as they are, whatever they hold: no markup, nothing that a terminal would obey.
    """
    frame, rest, sentence = Text.from_markup(template, emoji=False), iter(values), Text()
    for number, piece in enumerate(
        frame.divide([edge for place in PLACE.finditer(frame.plain) for edge in place.span()])
    ):
        part = Text(plain(next(rest))) if number % 2 else piece
        for span in piece.spans if number % 2 else ():
            part.stylize(span.style)
        sentence.append_text(part)
    return sentence


class Screen(Console):
    """A terminal on which strings are shown as they are; what is styled is made by `text`."""

    def __init__(self, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False)

    def say(self, template: str, *values: Any, end: str = "\n") -> None:
        """Print what `text` makes, in one line however long it is."""
        self.print(text(template, *values), soft_wrap=True, end=end)

    def render_str(self, text: str, **options: Any) -> Text:
        """See `Console.render_str`: every string on its way to the screen comes by here."""
        return super().render_str(plain(text, lines=True), **options)


class _PlainRecord(logging.LogRecord):
    """A line of a log that a terminal shows and does not obey."""

    def getMessage(self) -> str:
        """See `logging.LogRecord.getMessage`."""
        return plain(without_secrets(super().getMessage()), lines=True)


def _warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    name = "note" if category is UserWarning else category.__name__
    return f"{name} {plain(without_secrets(str(message)))}\n"


@contextmanager
def plain_messages() -> Iterator[None]:
    """Inside, logs and warnings of all libraries are plain too, and their addresses without user and query."""
    record, warning = logging.getLogRecordFactory(), warnings.formatwarning
    logging.setLogRecordFactory(_PlainRecord)
    warnings.formatwarning = _warning
    try:
        yield
    finally:
        logging.setLogRecordFactory(record)
        warnings.formatwarning = warning
