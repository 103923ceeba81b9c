"""Outlines of masks, measured as TFDP does: polygons through the centres of border pixels."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from sds_hf.errors import extra_module

Outline = tuple[float, float]  # area and perimeter of a polygon, in pixels; (0, 0) if there is none
NOTHING: Outline = (0.0, 0.0)


def largest_outline(mask: np.ndarray) -> Outline:
    """Area and perimeter of the largest outer contour of a mask.

    Pixels that touch at corners are connected, holes are filled, and other parts do not count. Borders run through
    pixel centres, so that a filled rectangle of w x h pixels has an area of (w - 1)(h - 1), and a line of one pixel
    none (Dai et al., ICLR 2025, and their code).

    Args:
        mask: (H, W) bool or uint8.
    """
    return max(_outlines(mask), key=lambda outline: outline[0], default=NOTHING)  # the first of equals


def component_outlines(mask: np.ndarray, min_area: int = 1) -> list[Outline]:
    """The outer contour of each connected part of a mask, also of parts in the holes of others.

    Args:
        mask: (H, W) bool or uint8; pixels that touch at corners are connected.
        min_area: parts of fewer pixels are left out.
    """
    if min_area > 1:
        mask = _without_small_parts(mask, min_area)
    return _outlines(mask, inner=True)


def polygon_outline(polygons: Sequence[np.ndarray], size: tuple[int, int] | None = None) -> Outline:
    """The largest outer contour of polygons drawn into one mask, as TFDP's code draws them.

    Args:
        polygons: (n, 2) float each, x and y; cut to whole pixels.
        size: height and width of the picture, which cuts them off.
    """
    cv2 = _opencv()
    corners = [polygon.astype(np.int32) for polygon in polygons]
    left, top, width, height = cv2.boundingRect(np.concatenate(corners) if len(corners) > 1 else corners[0])
    right, bottom = left + width, top + height
    if size is not None:
        left, top, right, bottom = max(left, 0), max(top, 0), min(right, size[1]), min(bottom, size[0])
        if left >= right or top >= bottom:
            return NOTHING
    canvas = np.zeros((bottom - top, right - left), np.uint8)
    for polygon in corners:
        cv2.fillPoly(canvas, [polygon], 1, offset=(-left, -top))
    return largest_outline(canvas)


def shape_complexity(areas: np.ndarray, perimeters: np.ndarray) -> np.ndarray:
    """SCS of Dai et al. (ICLR 2025): perimeter over area, (n,) float64; 0 without an area."""
    complexity: np.ndarray = np.divide(perimeters, areas, out=np.zeros(len(areas)), where=areas > 0)
    return complexity


def scale_invariant_complexity(areas: np.ndarray, perimeters: np.ndarray) -> np.ndarray:
    """SI-SCS: perimeter over that of the circle of equal area, (n,) float64, at least 1; 0 without an area."""
    of_circles = 2 * np.sqrt(np.pi * areas)
    complexity: np.ndarray = np.divide(perimeters, of_circles, out=np.zeros(len(areas)), where=areas > 0)
    return complexity


@cache
def _opencv() -> Any:
    return extra_module("cv2")


def _outlines(mask: np.ndarray, inner: bool = False) -> list[Outline]:
    cv2 = _opencv()
    mask = mask.astype(np.uint8, copy=False)
    if not inner:
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    else:  # two levels: parts, and their holes, whose entry names the part
        contours, levels = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        contours = [part for part, level in zip(contours, levels[0], strict=True) if level[3] < 0] if contours else []
    return [(cv2.contourArea(contour), cv2.arcLength(contour, True)) for contour in contours]


def _without_small_parts(mask: np.ndarray, min_area: int) -> np.ndarray:
    cv2 = _opencv()
    _, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8, copy=False), connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= min_area
    large[0] = False
    kept: np.ndarray = large[parts]
    return kept
