"""What people wrote into a card by hand: it survives when the card is rendered again."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sds_hf.limits import read_yaml
from sds_hf.publishing.card.metadata import OURS, with_others
from sds_hf.selection.yaml_text import to_yaml

START, END = "<!-- sds-hf: keep start -->", "<!-- sds-hf: keep end -->"
BLOCK = re.compile(rf"^{re.escape(START)} *\n.*?^{re.escape(END)} *$", re.MULTILINE | re.DOTALL)
MARKER = re.compile(rf"^(?:{re.escape(START)}|{re.escape(END)}) *$", re.MULTILINE)
HEADING = re.compile(r"^#{1,2} .*$", re.MULTILINE)
FENCE = re.compile(r"^(`{3,}|~{3,}).*?(?:^\1[`~]* *$|\Z)", re.MULTILINE | re.DOTALL)
FRONT = re.compile(r"\A---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class LastCard:
    """The card that a new one replaces.

    Attributes:
        text: as it is.
        ours: its YAML as sds-hf wrote it; None if nobody knows, then all that is called like ours is taken for ours.
        others: files of the repository that stay although sds-hf did not write them; None if they are not known.
    """

    text: str
    ours: Mapping[str, Any] | None = None
    others: Collection[str] | None = None


def split_card(text: str) -> tuple[dict[str, Any], str]:
    """The YAML and the Markdown of a card.

    Raises:
        ValueError: if the YAML is broken or no mapping.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    front = FRONT.match(text)
    try:
        data = read_yaml(front[1], "the YAML of the card") if front else None
    except ValueError as error:
        raise ValueError(f"the YAML of the card cannot be read: {error}") from error
    if not isinstance(data, dict | None):
        raise ValueError(f"the YAML of the card is a {type(data).__name__}, not keys with values")
    return data or {}, text[front.end() :] if front else text


def join_card(data: dict[str, Any], body: str) -> str:
    """A card of YAML and Markdown."""
    return f"---\n{to_yaml(data)}---\n\n{body.strip()}\n"


def keep_by_hand(old: str | LastCard, new: str) -> str:
    """The new card with what people wrote into the old one.

    Kept are sections between lines `<!-- sds-hf: keep start -->` and `<!-- sds-hf: keep end -->`, each at the end of
    the section of the card it stood in, or at the end of the card if that section is gone; and of the YAML what sds-hf
    did not write, see `with_others`. Everything else is as in the new card.

    Args:
        old: the card as it is.
        new: the card as rendered.

    Raises:
        ValueError: if the old YAML is broken, one of the two marks lacks the other, or others' data does not go with
            the new one.
    """
    last = LastCard(old) if isinstance(old, str) else old
    data, body = split_card(last.text)
    kept = _blocks(body)
    fresh, text = split_card(new)
    ours = {key: data[key] for key in OURS & set(data)} if last.ours is None else last.ours
    merged = with_others(fresh, data, ours, last.others)
    if not kept and merged == fresh:
        return new
    present = {block for _, block in _blocks(text)}
    for heading, block in kept:
        if block not in present:
            position = _end_of_section(text, heading)
            text = f"{text[:position].rstrip()}\n\n{block}\n\n{text[position:].lstrip()}"
    return join_card(merged, text)


def lines_by_hand(text: str, rendered: str) -> list[str]:
    """Lines of a card that people wrote outside of the kept sections, which a new card would not have.

    Args:
        text: the card as it is.
        rendered: as sds-hf wrote it.
    """
    (_, body), (_, ours) = split_card(text), split_card(rendered)
    known = {line.strip() for line in ours.splitlines()} | {""}
    return [line for line in map(str.strip, _blanked(body, BLOCK).splitlines()) if line not in known]


def _blocks(body: str) -> list[tuple[str | None, str]]:
    """Kept sections with the heading they stand under, None before the first."""
    visible = _blanked(body, FENCE)  # what stands in code is an example or somebody's data
    markers = [marker[0].strip() for marker in MARKER.finditer(visible)]
    is_open = markers[-1:] == [START]  # asked first: without an end, each start would be followed through all the text
    if is_open or MARKER.search(BLOCK.sub("", visible)):
        what, other = (START, END) if is_open else (END, START)
        raise ValueError(f"the card has a line {what} without {other}: add it, or take the line out")
    outside = _blanked(visible, BLOCK)
    sections = []
    for block in BLOCK.finditer(visible):
        before = HEADING.findall(outside, 0, block.start())
        sections.append((before[-1].strip() if before else None, body[block.start() : block.end()]))
    return sections


def _end_of_section(text: str, heading: str | None) -> int:
    """Where the section of that heading ends; the end of the text if there is none."""
    headings = list(HEADING.finditer(_blanked(text, FENCE, BLOCK)))
    if heading is None:
        return headings[0].start() if headings else len(text)
    starts = [match[0].strip() for match in headings]
    if heading not in starts or heading == starts[-1]:
        return len(text)
    return headings[starts.index(heading) + 1].start()


def _blanked(text: str, *patterns: re.Pattern[str]) -> str:
    """The text with spaces where the patterns match; line breaks stay."""
    for pattern in patterns:
        text = pattern.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    return text
