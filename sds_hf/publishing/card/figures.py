"""Pictures for people: score distributions and samples with their masks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from sds_hf.data.images import BadImageError, decode_image, decode_mask
from sds_hf.data.labels import IGNORE_INDEX, VOC, LabelSpace
from sds_hf.publishing.card.fonts import draw_line, drawable, families, width
from sds_hf.selection.report import ClassCount, ScoreSummary

# Told apart by anyone, also in grey: Okabe and Ito's blue and vermilion on a light grey.
GREY, BLUE, VERMILION = "#c4cad3", "#0072b2", "#d55e00"
INK, PAPER = "#1f2430", "#ffffff"
# A card is about 850 pixels wide on a screen and 360 on a phone: at this size text can be read on both.
TILE, GAP, TEXT, LINE, HEAD = 200, 16, 18, 25, 44
PANELS = 2  # histograms side by side


def score_histograms(
    scores: Mapping[str, ScoreSummary], path: Path, thresholds: Mapping[str, float] | None = None
) -> None:
    """One panel a score: all candidates in grey, the kept ones in blue before them, thresholds as dashed lines."""
    plt = _pyplot()
    summaries = {name: summary for name, summary in scores.items() if summary.edges}
    columns, lines = max(1, min(len(summaries), PANELS)), max(1, -(-len(summaries) // PANELS))
    figure, grid = plt.subplots(lines, columns, figsize=(3.9 * columns, 2.9 * lines), squeeze=False)
    handles: dict[str, Any] = {}
    for axis, (name, summary) in zip(grid.flat, summaries.items(), strict=False):
        handles["all candidates"] = axis.stairs(summary.all, summary.edges, fill=True, color=GREY)
        handles["kept"] = axis.stairs(summary.kept, summary.edges, fill=True, color=BLUE)
        if thresholds and name in thresholds:
            handles["threshold"] = axis.axvline(thresholds[name], color=VERMILION, linewidth=2, linestyle="--")
        axis.set_xlabel(drawable(name), fontsize=12, color=INK, parse_math=False, family=families())
        axis.yaxis.get_major_locator().set_params(integer=True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=10)
        axis.set_ylabel("rows", fontsize=11)
    for axis in grid.flat[len(summaries) :]:
        axis.set_axis_off()
    figure.tight_layout(rect=(0, 0.36 / (2.9 * lines), 1, 1))
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=3, frameon=False, fontsize=11)
    _save(figure, path)


def class_bars(classes: Sequence[ClassCount], path: Path) -> None:
    """Images that show each class: candidates in grey, the kept ones in blue before them; beside a class its colour."""
    plt = _pyplot()
    counts = [count for count in classes if count.before]
    height = 0.27 * len(counts) + 1.3
    figure, axis = plt.subplots(figsize=(7.8, height))
    positions = range(len(counts))
    axis.barh(positions, [count.before for count in counts], height=0.8, color=GREY, label="candidates")
    axis.barh(positions, [count.after for count in counts], height=0.8, color=BLUE, label="kept")
    names = [drawable(count.name)[:30] for count in counts]
    axis.set_yticks(positions, names, fontsize=11, parse_math=False, family=families())
    axis.tick_params("y", length=0, pad=18)
    axis.tick_params("x", labelsize=10)
    # Squares of 13 points between the names and the bars.
    side = 13 / (0.27 * 72)
    for position, count in enumerate(counts):
        box = (-0.024, position - side / 2)
        axis.add_patch(
            plt.Rectangle(
                box, 0.02, side, transform=axis.get_yaxis_transform(), clip_on=False,
                facecolor=[channel / 255 for channel in VOC.palette[count.id % 255]], edgecolor=INK, linewidth=0.6,
            )
        )  # fmt: skip
    axis.set_ylim(len(counts) - 0.4, -0.6)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_xlabel("images that show the class", fontsize=11)
    axis.spines[["top", "right", "left"]].set_visible(False)
    figure.tight_layout(rect=(0, 0.36 / height, 1, 1))
    figure.legend(loc="lower center", ncols=2, frameon=False, fontsize=11)
    _save(figure, path)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _save(figure: Any, path: Path) -> None:
    """Write a PNG without date or version: the same report gives the same bytes."""
    figure.savefig(path, dpi=110, metadata={"Software": None})
    _pyplot().close(figure)


def sample_grid(
    samples: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], labels: LabelSpace, path: Path, columns: int = 2
) -> None:
    """Rows of samples under headings, each the image beside its mask, with its classes and lines of text; a key below.

    Args:
        samples: heading and cells: `image`, `mask` and `lines`.
        labels: for names and colours.
        path: PNG to write.
        columns: samples a line.
    """
    side = columns * (2 * TILE + GAP) + GAP
    texts = 1 + max((len(cell["lines"]) for _, cells in samples for cell in cells), default=0)
    step = TILE + texts * LINE + GAP
    height = sum(HEAD + -(-len(cells) // columns) * step for _, cells in samples)
    sheet = Image.new("RGB", (side, GAP + height), PAPER)
    draw, y, seen = ImageDraw.Draw(sheet), GAP, set[int]()
    for heading, cells in samples:
        draw_line(draw, GAP, y, drawable(heading), TEXT + 6, INK)
        y += HEAD
        for cell_number, cell in enumerate(cells):
            x, top = GAP + cell_number % columns * (2 * TILE + GAP), y + cell_number // columns * step
            classes = _paste_sample(sheet, cell, labels, x, top)
            names = ", ".join(labels.names[index] for index in classes) or "no class"
            for line, text in enumerate([names, *cell["lines"]]):
                draw_line(draw, x, top + TILE + 3 + line * LINE, _fit(text, 2 * TILE), TEXT, INK)
            seen.update(classes)
        y += -(-len(cells) // columns) * step
    _with_key(sheet, sorted(seen), labels).save(path)


def overlay(image: np.ndarray, mask: np.ndarray, labels: LabelSpace, strength: float = 0.6) -> np.ndarray:
    """The image in grey with the classes of the mask in colour and outlined; ignored pixels are pale. (H, W, 3) uint8.

    The outline, white beside black, shows the shape of a class whose colour is close to the picture's.
    """
    palette = np.array(labels.palette, np.float32)
    grey = np.repeat(image.mean(-1, keepdims=True), 3, -1) * 0.75 + 40
    weight = np.where(mask == IGNORE_INDEX, 0.7, strength)
    if labels.has_background:
        weight = np.where(mask == 0, 0.0, weight)
    painted = grey * (1 - weight[..., None]) + palette[mask] * weight[..., None]
    edge = np.zeros(mask.shape, bool)
    edge[:-1] |= mask[:-1] != mask[1:]
    edge[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    beside = np.zeros(mask.shape, bool)
    beside[1:] |= edge[:-1]
    beside[:, 1:] |= edge[:, :-1]
    painted[beside] = 20
    painted[edge] = 255
    return np.asarray(np.clip(painted, 0, 255), np.uint8)


def _paste_sample(sheet: Image.Image, cell: Mapping[str, Any], labels: LabelSpace, x: int, y: int) -> list[int]:
    """Image and mask side by side; returns the classes of the mask."""
    try:
        image, mask = decode_image(cell["image"]), decode_mask(cell["mask"])
        classes = [int(index) for index in np.unique(mask) if index in labels.class_ids]
        scale = TILE / max(*image.shape[:2], *mask.shape)
        small = _resized(image, scale, Image.Resampling.LANCZOS)
        tiles = [small, overlay(small, _resized(mask, small.shape, Image.Resampling.NEAREST), labels)]
    except BadImageError:
        classes, tiles = [], [np.full((TILE, TILE, 3), 230, np.uint8)] * 2
    for column, tile in enumerate(tiles):
        sheet.paste(Image.fromarray(tile), (x + column * TILE, y))
    return classes


def _resized(array: np.ndarray, to: float | tuple[int, ...], how: Image.Resampling) -> np.ndarray:
    """An image resized by a factor, or to a shape."""
    height, width = to[:2] if isinstance(to, tuple) else (max(1, round(side * to)) for side in array.shape[:2])
    return np.asarray(Image.fromarray(array).resize((width, height), how))


def _with_key(sheet: Image.Image, classes: Sequence[int], labels: LabelSpace) -> Image.Image:
    """The sheet with the colours of the classes below it."""
    entries, x, y = [], GAP, sheet.height
    for index in classes:
        name = _fit(labels.names[index], sheet.width // 2)
        wide = TEXT + 24 + round(width(name, TEXT))
        if x + wide > sheet.width:
            x, y = GAP, y + LINE + 4
        entries.append((x, y, name, labels.palette[index]))
        x += wide
    whole = Image.new("RGB", (sheet.width, y + LINE + GAP if entries else y), PAPER)
    whole.paste(sheet)
    draw = ImageDraw.Draw(whole)
    for x, y, name, color in entries:
        draw.rectangle((x, y + 3, x + TEXT - 1, y + TEXT + 2), fill=color, outline=INK)
        draw_line(draw, x + TEXT + 6, y, name, TEXT, INK)
    return whole


def _fit(text: str, widest: int) -> str:
    """The text in one line, shortened to a width in pixels."""
    text = drawable(text)
    if width(text, TEXT) <= widest:
        return text
    while text and width(text + "…", TEXT) > widest:
        text = text[:-1]
    return text + "…"
