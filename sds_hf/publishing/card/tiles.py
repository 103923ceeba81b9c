"""Samples for people: each image beside its mask, with what is to be known of it below."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from sds_hf.data.images import BadImageError, decode_image, decode_mask
from sds_hf.data.labels import IGNORE_INDEX, LabelSpace
from sds_hf.publishing.card.colors import class_color, class_colors
from sds_hf.publishing.card.figures import INK, PAPER
from sds_hf.publishing.card.fonts import draw_line, drawable, width

# A card is about 850 pixels wide on a screen and 360 on a phone: at this size text can be read on both.
TILE, GAP, TEXT, LINE, HEAD = 200, 16, 18, 25, 44
TALLEST = 1.5 * TILE  # of a picture that is higher than wide
FAINT = "#5b6472"


@dataclass(frozen=True)
class Tile:
    """A row to show.

    Attributes:
        image: a cell.
        mask: a cell.
        lines: of text below the classes.
        note: a faint line at the end.
    """

    image: Any
    mask: Any
    lines: Sequence[str] = ()
    note: str = ""


@dataclass(frozen=True)
class Section:
    """Tiles under a heading."""

    heading: str
    tiles: Sequence[Tile] = field(default_factory=list)


@dataclass(frozen=True)
class _Drawn:
    """A tile as it is drawn: image and mask of one size, and lines of text with their colours."""

    pictures: Sequence[np.ndarray]
    lines: Sequence[tuple[str, str]]
    classes: Sequence[int]

    @property
    def height(self) -> int:
        return int(self.pictures[0].shape[0]) + len(self.lines) * LINE + GAP


def sample_grid(sections: Sequence[Section], labels: LabelSpace, path: Path, columns: int = 2) -> None:
    """Samples under headings, each the image beside its mask, with its classes and lines of text; a key below.

    Pictures are as wide as their column, and each tile stands right below the one before, so that there are no holes.

    Args:
        sections: to show.
        labels: for the names of classes.
        path: PNG to write.
        columns: samples a line.
    """
    drawn = [(section.heading, [_drawn(tile, labels) for tile in section.tiles]) for section in sections]
    spots = [list(_spots(tiles, columns)) for _, tiles in drawn]
    heights = [HEAD + max((y + tile.height for _, y, tile in spot), default=0) for spot in spots]
    sheet = Image.new("RGB", (columns * (2 * TILE + GAP) + GAP, GAP + sum(heights)), PAPER)
    draw, top = ImageDraw.Draw(sheet), GAP
    for (heading, _), spot, height in zip(drawn, spots, heights, strict=True):
        draw_line(draw, GAP, top, _fit(heading, sheet.width - 2 * GAP, TEXT + 4), TEXT + 4, INK)
        for column, y, tile in spot:
            _paste(sheet, draw, tile, GAP + column * (2 * TILE + GAP), top + HEAD + y)
        top += height
    seen = {index for _, tiles in drawn for tile in tiles for index in tile.classes}
    _with_key(sheet, sorted(seen), labels).save(path)


def overlay(image: np.ndarray, mask: np.ndarray, labels: LabelSpace, strength: float = 0.6) -> np.ndarray:
    """The image in grey with the classes of the mask in colour and outlined; ignored pixels are pale. (H, W, 3) uint8.

    The outline, white beside black, shows the shape of a class whose colour is close to the picture's.
    """
    grey = np.repeat(image.mean(-1, keepdims=True), 3, -1) * 0.75 + 40
    weight = np.where(mask == IGNORE_INDEX, 0.7, strength)
    if labels.has_background:
        weight = np.where(mask == 0, 0.0, weight)
    painted = grey * (1 - weight[..., None]) + class_colors()[mask] * weight[..., None]
    edge = np.zeros(mask.shape, bool)
    edge[:-1] |= mask[:-1] != mask[1:]
    edge[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    beside = np.zeros(mask.shape, bool)
    beside[1:] |= edge[:-1]
    beside[:, 1:] |= edge[:, :-1]
    painted[beside] = 20
    painted[edge] = 255
    return np.asarray(np.clip(painted, 0, 255), np.uint8)


def _spots(tiles: Sequence[_Drawn], columns: int) -> Iterator[tuple[int, int, _Drawn]]:
    """Column and height at which each tile stands: in the column that is the shortest so far."""
    ends = [0] * columns
    for tile in tiles:
        column = ends.index(min(ends))
        yield column, ends[column], tile
        ends[column] += tile.height


def _drawn(tile: Tile, labels: LabelSpace) -> _Drawn:
    try:
        image, mask = decode_image(tile.image), decode_mask(tile.mask)
        classes = [int(index) for index in np.unique(mask) if index in labels.class_ids]
        small = _resized(image, _size(image.shape), Image.Resampling.LANCZOS)
        pictures = [small, overlay(small, _resized(mask, small.shape, Image.Resampling.NEAREST), labels)]
    except BadImageError:
        classes, pictures = [], [np.full((TILE, TILE, 3), 230, np.uint8)] * 2
    names = ", ".join(labels.names[index] for index in classes) or "no class"
    texts = [part for text in tile.lines for part in _in_two(text, 2 * TILE)]
    lines = [(names, INK), *((text, INK) for text in texts), *([(tile.note, FAINT)] if tile.note else [])]
    return _Drawn(pictures, lines, classes)


def _size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of a picture in its column: as wide as that, unless it were too high."""
    height, wide = shape[:2]
    scale = min(TILE / wide, TALLEST / height)
    return max(1, round(height * scale)), max(1, round(wide * scale))


def _paste(sheet: Image.Image, draw: ImageDraw.ImageDraw, tile: _Drawn, x: int, y: int) -> None:
    height, wide = tile.pictures[0].shape[:2]
    for number, picture in enumerate(tile.pictures):
        sheet.paste(Image.fromarray(picture), (x + number * wide, y))
    for number, (text, color) in enumerate(tile.lines):
        draw_line(draw, x, y + height + 3 + number * LINE, _fit(text, 2 * TILE), TEXT, color)


def _resized(array: np.ndarray, shape: tuple[int, ...], how: Image.Resampling) -> np.ndarray:
    return np.asarray(Image.fromarray(array).resize((shape[1], shape[0]), how))


def _with_key(sheet: Image.Image, classes: Sequence[int], labels: LabelSpace) -> Image.Image:
    """The sheet with the colours of the classes below it."""
    entries, x, y = [], GAP, sheet.height
    for index in classes:
        name = _fit(labels.names[index], sheet.width // 2)
        wide = TEXT + 24 + round(width(name, TEXT))
        if x + wide > sheet.width:
            x, y = GAP, y + LINE + 4
        entries.append((x, y, name, class_color(index)))
        x += wide
    whole = Image.new("RGB", (sheet.width, y + LINE + GAP if entries else y), PAPER)
    whole.paste(sheet)
    draw = ImageDraw.Draw(whole)
    for x, y, name, color in entries:
        draw.rectangle((x, y + 3, x + TEXT - 1, y + TEXT + 2), fill=color, outline=INK)
        draw_line(draw, x + TEXT + 6, y, name, TEXT, INK)
    return whole


def _in_two(text: str, widest: int) -> list[str]:
    """The text in a line, or broken between words into two, the first no wider than so many pixels."""
    words = drawable(text).split(" ")
    count = len(words)
    while count > 1 and width(" ".join(words[:count]), TEXT) > widest:
        count -= 1
    return [" ".join(part) for part in (words[:count], words[count:]) if part]


def _fit(text: str, widest: int, size: int = TEXT) -> str:
    """The text in one line, shortened to a width in pixels."""
    text = drawable(text)
    if width(text, size) <= widest:
        return text
    while text and width(text + "…", size) > widest:
        text = text[:-1]
    return text + "…"
