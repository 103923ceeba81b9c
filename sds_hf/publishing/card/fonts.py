"""Names in any script as text of pictures: the fonts that have their characters, and escapes for what no font has."""

from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from PIL import ImageDraw, ImageFont

from sds_hf.errors import plain

EAST_ASIAN = Path(__file__).with_name("droid_sans_fallback.ttf")  # Chinese, Japanese, Korean
FAMILIES = ("DejaVu Sans", "Droid Sans Fallback")  # of matplotlib, the first of its own


def drawable(text: str) -> str:
    """Text in one line, with escapes in place of characters that no font has."""
    return "".join(
        character if _font_of(character) is not None else character.encode("unicode_escape").decode()
        for character in plain(" ".join(text.split()))
    )


def families() -> list[str]:
    """Fonts for matplotlib; it takes each character from the first that has it."""
    from matplotlib.font_manager import fontManager

    if not any(font.fname == str(EAST_ASIAN) for font in fontManager.ttflist):
        fontManager.addfont(EAST_ASIAN)
    return list(FAMILIES)


def width(text: str, size: int) -> float:
    """Pixels that a line of Pillow takes."""
    return float(sum(_font(path, size).getlength(part) for part, path in _parts(text)))


def draw_line(draw: ImageDraw.ImageDraw, x: float, y: float, text: str, size: int, fill: str) -> None:
    """Draw a line with Pillow, whose top left corner is (x, y)."""
    baseline = y + _font("", size).getmetrics()[0]
    for part, path in _parts(text):
        font = _font(path, size)
        draw.text((x, baseline), part, fill=fill, font=font, anchor="ls")
        x += font.getlength(part)


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """Parts of a drawable text, and the font of each."""
    for path, characters in groupby(text, _font_of):
        yield "".join(characters), path or ""


@cache
def _font_of(character: str) -> str | None:
    """Path of the font that has a character, empty for Pillow's own; None if no font has it."""
    if character.isascii():
        return ""
    return next((path for path in (_dejavu(), str(EAST_ASIAN)) if ord(character) in _characters(path)), None)


@cache
def _font(path: str, size: int) -> Any:
    return ImageFont.truetype(path, size) if path else ImageFont.load_default(size)


@cache
def _dejavu() -> str:
    from matplotlib.font_manager import findfont

    return str(findfont(FAMILIES[0]))


@cache
def _characters(path: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(path).get_charmap())
