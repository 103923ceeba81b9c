"""Text from data and people as Markdown that stays text: in paragraphs, headings, tables and code."""

import html
import re
from typing import Any

from sds_hf.errors import plain

SPECIAL = re.compile(r"([\\`*_\[\]|~$#@])")
ADDRESS = re.compile(r":(?=//)|(?<=www)\.", re.IGNORECASE)  # what some renderers make a link of without being asked
LINE_START = re.compile(r"^(\d{0,9})([-+=.)])")
URL = re.compile(r"(https?://[\w/.~:?#@&=%+,-]*[\w/=])", re.ASCII)
BLANK = re.compile(r"[^\S\n ]")  # of other kinds than a space and the end of a line
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f\x80-\x84\x86-\x9f]")


def escape(value: Any) -> str:
    """Text that stays text in Markdown, HTML and tables, in one line."""
    return LINE_START.sub(r"\1\\\2", _escaped(_one_line(value)))


def linked(value: Any) -> str:
    """As `escape`, but web addresses become links: for what the publisher wrote."""
    parts = [f"<{part}>" if index % 2 else _escaped(part) for index, part in enumerate(URL.split(_one_line(value)))]
    return LINE_START.sub(r"\1\\\2", "".join(parts))


def link(text: str, address: str | None) -> str:
    """Text that leads to a web address; with anything else both are text."""
    if not address:
        return escape(text)
    return f"[{escape(text)}](<{address}>)" if URL.fullmatch(address) else f"{escape(text)}, {escape(address)}"


def code(value: Any) -> str:
    """Text as code that stays in its cell of a table; as plain text where code could not hold it."""
    text = _one_line(value)
    return escape(text) if not text or re.search(r"[\\`|]", text) else f"`{text}`"


def fenced(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any run of backticks inside."""
    text = plain(BLANK.sub(" ", CONTROL.sub("\ufffd", text)).rstrip(), lines=True)
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _one_line(value: Any) -> str:
    return plain(" ".join(CONTROL.sub("\ufffd", str(value)).split()))


def _escaped(text: str) -> str:
    return ADDRESS.sub(r"\\\g<0>", SPECIAL.sub(r"\\\1", html.escape(text, quote=False)))
