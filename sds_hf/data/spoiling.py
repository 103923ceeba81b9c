"""How pictures and label maps are spoilt on purpose: formulas on arrays that the demo and the room `prove` share."""

import numpy as np
from PIL import Image, ImageFilter

Array = np.ndarray
Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels, half open


def boxes_of(labels: Array) -> dict[int, Box]:
    """Bounding box of each label of a (H, W) integer map but 0, by label."""
    boxes = {}
    for label in np.unique(labels[labels > 0]):
        y, x = np.nonzero(labels == label)
        boxes[int(label)] = (int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1)
    return boxes


def moved(array: Array, dy: int, dx: int) -> Array:
    """A (H, W) array moved down by `dy` and to the right by `dx` pixels; zeros come in."""
    height, width = array.shape
    result = np.zeros_like(array)
    result[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)] = array[
        max(0, -dy) : height - max(0, dy), max(0, -dx) : width - max(0, dx)
    ]
    return result


def random_step(rng: np.random.Generator, length: float) -> tuple[int, int]:
    """A step of that length in a random direction: (dy, dx) in pixels."""
    angle = rng.uniform(0, 2 * np.pi)
    dx, dy = (round(length * trig) for trig in (np.cos(angle), np.sin(angle)))
    return dy, dx


def torn_window(rng: np.random.Generator, image: Array, box: Box, grid: int) -> None:
    """Cut a box of a (H, W, 3) image into `grid` x `grid` tiles and deal them out anew, in place.

    A box too small for tiles of two pixels stays.
    """
    x0, y0, x1, y1 = box
    height, width = (y1 - y0) // grid, (x1 - x0) // grid
    if min(height, width) < 2:
        return
    window = np.s_[y0 : y0 + grid * height, x0 : x0 + grid * width]
    tiles = image[window].reshape(grid, height, grid, width, 3).swapaxes(1, 2).reshape(-1, height, width, 3)
    tiles = tiles[rng.permutation(grid * grid)].reshape(grid, grid, height, width, 3).swapaxes(1, 2)
    image[window] = tiles.reshape(grid * height, grid * width, 3)


def drowned(rng: np.random.Generator, image: Array, share: float, deviation: float) -> Array:
    """A share of a (H, W, 3) uint8 image and Gaussian noise of a deviation in grey levels."""
    return np.clip(image * share + rng.normal(0, deviation, image.shape), 0, 255).astype(np.uint8)


def blurred(image: Array, radius: float) -> Array:
    """A (H, W, 3) uint8 image with a Gaussian blur of a radius in pixels."""
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


def mosaic(image: Array, tiles: int) -> Array:
    """A (H, W, 3) uint8 image as `tiles` x `tiles` squares of one colour each."""
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize((tiles, tiles), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.NEAREST))
