"""Pictures for people: score distributions and samples with their masks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sds_hf.images import BadImageError, decode_image, decode_mask
from sds_hf.labels import IGNORE_INDEX, LabelSpace
from sds_hf.report import ScoreSummary

GREY, GREEN, RED = "#b8c0cc", "#2a7f62", "#b23a48"
INK, PAPER = "#1f2430", "#ffffff"
TILE, GAP = 160, 10


def score_histograms(
    scores: Mapping[str, ScoreSummary], path: Path, thresholds: Mapping[str, float] | None = None
) -> None:
    """One panel a score: all candidates in grey, the kept ones in green, thresholds as lines."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = {name: summary for name, summary in scores.items() if summary.edges}
    figure, panels = plt.subplots(1, max(1, len(shown)), figsize=(3.6 * max(1, len(shown)), 2.8), squeeze=False)
    for axis, (name, summary) in zip(panels[0], shown.items(), strict=True):
        axis.stairs(summary.all, summary.edges, fill=True, color=GREY, label="candidates")
        axis.stairs(summary.kept, summary.edges, fill=True, color=GREEN, label="kept")
        if thresholds and name in thresholds:
            axis.axvline(thresholds[name], color=RED, linewidth=1.2, linestyle="--", label="threshold")
        axis.set_title(name, fontsize=11, color=INK, loc="left")
        axis.set_ylabel("rows" if axis is panels[0][0] else "")
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    if shown:
        handles = {
            label: handle for axis in panels[0] for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=3, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    # No date or version in the file: the same report gives the same bytes.
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def sample_grid(
    samples: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], labels: LabelSpace, path: Path, columns: int = 6
) -> None:
    """Rows of samples under headings: the image beside the image with its mask laid over it, and a line of text.

    Args:
        samples: heading and cells: `image`, `mask` and `text`.
        labels: for the colours.
        path: PNG to write.
        columns: samples a line.
    """
    font, bold = ImageFont.load_default(13), ImageFont.load_default(16)
    width = columns * (2 * TILE + GAP) + GAP
    lines = sum(-(-len(cells) // columns) for _, cells in samples)
    sheet = Image.new("RGB", (width, lines * (TILE + 30) + len(samples) * 34 + GAP), PAPER)
    draw, y = ImageDraw.Draw(sheet), GAP
    for heading, cells in samples:
        draw.text((GAP, y), heading, fill=INK, font=bold)
        y += 26
        for place, cell in enumerate(cells):
            x = GAP + place % columns * (2 * TILE + GAP)
            _paste_sample(sheet, cell, labels, x, y)
            draw.text((x, y + TILE + 3), _fit(cell["text"], font, 2 * TILE), fill=INK, font=font)
            if place % columns == columns - 1 or place == len(cells) - 1:
                y += TILE + 30
        y += 8
    sheet.save(path, optimize=True)


def overlay(image: np.ndarray, mask: np.ndarray, labels: LabelSpace, strength: float = 0.6) -> np.ndarray:
    """The image in grey with the classes of the mask in colour; ignored pixels are pale. (H, W, 3) uint8."""
    palette = np.array(labels.palette, np.float32)
    grey = np.repeat(image.mean(-1, keepdims=True), 3, -1) * 0.75 + 40
    tint = palette[mask]
    weight = np.where(mask == 0, 0.0, np.where(mask == IGNORE_INDEX, 0.35, strength))[..., None]
    return np.asarray(np.clip(grey * (1 - weight) + tint * weight, 0, 255), np.uint8)


def _paste_sample(sheet: Image.Image, cell: Mapping[str, Any], labels: LabelSpace, x: int, y: int) -> None:
    try:
        image, mask = decode_image(cell["image"]), decode_mask(cell["mask"])
        tiles = [image, overlay(image, mask, labels)]
    except (BadImageError, IndexError):
        tiles = [np.full((TILE, TILE, 3), 230, np.uint8)] * 2
    for place, tile in enumerate(tiles):
        picture = Image.fromarray(tile)
        picture.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
        sheet.paste(picture, (x + place * TILE, y))


def _fit(text: str, font: Any, width: int) -> str:
    """The text, shortened to a width in pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
