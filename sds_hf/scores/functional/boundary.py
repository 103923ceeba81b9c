"""How well the outlines of a label map lie on the edges of a picture: ranks of the gradient on and beside them."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

LONGEST = 320  # pixels of the longer side; larger pictures are reduced
NEAR, FAR = 3, 7  # pixels from an outline: the ring beside it
MARGIN = 2  # pixels at the frame that do not count
FEWEST = 20  # pixels of an outline that tell something
STEPS = 4  # that a gradient of one grey level is divided into
REACH = 4  # pixels around an outline in an ignored band in which the edge may lie


@dataclass(frozen=True, eq=False)
class Fit:
    """How well outlines lie on edges, each a mean rank on the outline minus that in the ring, in [-1, 1].

    Attributes:
        whole: of all outlines together; NaN where they are too short to tell.
        by_class: of those that bound each class, by class id; NaN likewise.
    """

    whole: float
    by_class: dict[int, float]


def boundary_fit(
    image: np.ndarray,
    mask: np.ndarray,
    class_ids: list[int],
    segments: np.ndarray | None = None,
    ignore_index: int = 255,
) -> Fit:
    """How well the outlines of a mask lie on the edges of its picture.

    The gradient of a pixel is the largest of the three channels' Sobel magnitudes in its 3 x 3 neighbourhood; its rank
    is its place among all pixels, in [0, 1]. Outline pixels are those whose 3 x 3 neighbourhood holds two labels.

    Ignored pixels go to the nearest label. Where an outline then runs through an ignored band, as VOC draws one around
    its objects, the edge may lie anywhere in the band: the strongest of it nearby counts.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) uint8, labels.
        class_ids: those whose outlines are also rated apart.
        segments: (H, W) integers; where they differ there is an outline too, e.g. between two objects of one class.
        ignore_index: the label of pixels that say nothing.
    """
    image, mask, segments = reduced(image, mask, segments)
    band = mask == ignore_index
    if band.all():
        return Fit(np.nan, dict.fromkeys(class_ids, np.nan))
    if band.any():
        rows, columns = _nearest(band)
        mask = mask[rows, columns]
        segments = None if segments is None else segments[rows, columns]
    outline = outlines(mask) if segments is None else outlines(mask) | outlines(segments)
    frame = _frame(outline.shape)
    outline &= ~frame
    ranks = edge_ranks(image)
    zone = outline | band
    ring = _grown(zone, FAR) & ~_grown(zone, NEAR) & ~frame
    inside = outline & band
    if inside.any():
        ranks = np.where(inside, _strongest_in(band, ranks, inside), ranks)

    def fit(on: np.ndarray, beside: np.ndarray) -> float:
        if np.count_nonzero(on) < FEWEST:
            return np.nan
        return float(ranks[on].mean() - (ranks[beside].mean() if beside.any() else 0.5))

    by_class = {}
    for class_id in class_ids:
        own = outline & _widest(mask == class_id)
        by_class[class_id] = fit(own, ring & _grown(own, FAR))
    return Fit(fit(outline, ring), by_class)


def reduced(
    image: np.ndarray, mask: np.ndarray, segments: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """A picture and label maps of at most `LONGEST` pixels a side; smaller ones stay as they are."""
    height, width = mask.shape
    scale = LONGEST / max(height, width)
    if scale >= 1:
        return image, mask, segments
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    rows, columns = (((np.arange(n) + 0.5) * old / n).astype(int) for n, old in ((size[1], height), (size[0], width)))
    window = np.ix_(rows, columns)
    return picture, mask[window], None if segments is None else segments[window]


def edge_ranks(image: np.ndarray) -> np.ndarray:
    """The rank of the gradient of each pixel among all, (H, W) float32 in [0, 1]; equal ones share the middle."""
    levels = np.pad(np.moveaxis(image, -1, 0).astype(np.int16), ((0, 0), (1, 1), (1, 1)), mode="edge")
    smooth = levels[:, :-2] + 2 * levels[:, 1:-1] + levels[:, 2:]
    across = (smooth[:, :, 2:] - smooth[:, :, :-2]).astype(np.float32)
    smooth = levels[:, :, :-2] + 2 * levels[:, :, 1:-1] + levels[:, :, 2:]
    down = (smooth[:, 2:] - smooth[:, :-2]).astype(np.float32)
    gradient = np.sqrt((across * across + down * down).max(0))
    steps = _widest((STEPS * gradient).astype(np.int16))
    counts = np.bincount(steps.ravel())
    ranks = ((np.cumsum(counts) - counts / 2) / steps.size).astype(np.float32)
    ranked: np.ndarray = ranks[steps]
    return ranked


def outlines(labels: np.ndarray) -> np.ndarray:
    """Pixels whose 3 x 3 neighbourhood holds two labels, (H, W) bool."""
    edges: np.ndarray = _widest(labels) != ~_widest(~labels)
    return edges


def _widest(values: np.ndarray) -> np.ndarray:
    """The largest value in the 3 x 3 neighbourhood of each pixel."""
    padded = np.pad(values, 1, mode="edge")
    rows = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])
    widest: np.ndarray = np.maximum(np.maximum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
    return widest


def _grown(pixels: np.ndarray, radius: int) -> np.ndarray:
    """Pixels at most `radius` from one of these, (H, W) bool."""
    height, width = pixels.shape
    wide = np.zeros((height + 2 * radius, width), bool)
    reach, row = pixels.copy(), 0
    widths = [int((radius**2 - dy**2) ** 0.5) for dy in range(radius, -1, -1)]  # of the disc, outermost row first
    for dy, half in zip(range(radius, -1, -1), widths, strict=True):
        while row < half:
            row += 1
            reach[:, row:] |= pixels[:, :-row]
            reach[:, :-row] |= pixels[:, row:]
        wide[radius - dy : radius - dy + height] |= reach
        wide[radius + dy : radius + dy + height] |= reach
    grown: np.ndarray = wide[radius : radius + height]
    return grown


def _nearest(band: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel the row and column of the nearest one outside a band."""
    from scipy import ndimage

    rows, columns = ndimage.distance_transform_edt(band, return_distances=False, return_indices=True)
    return rows, columns


def _strongest_in(band: np.ndarray, ranks: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The strongest gradient of a band near each of its pixels, as far as the band is wide around the outline."""
    area = np.count_nonzero(band & _grown(inside, REACH))
    reach = min(REACH, max(0, round(area / np.count_nonzero(inside)) - 1))  # the outline is two pixels wide
    strongest = np.where(band, ranks, 0)
    for _ in range(reach):
        strongest = _widest(strongest)
    return strongest


def _frame(shape: tuple[int, ...]) -> np.ndarray:
    frame = np.ones(shape, bool)
    frame[MARGIN:-MARGIN, MARGIN:-MARGIN] = False
    return frame
