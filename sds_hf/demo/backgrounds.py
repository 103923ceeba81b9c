"""Procedural backgrounds: each texture is a named function of a random generator and a side in pixels."""

from collections.abc import Callable

import numpy as np
from PIL import Image

Array = np.ndarray
Color = tuple[int, int, int]
Texture = Callable[[np.random.Generator, int], Array]  # -> (side, side, 3) float32, 0 to 255


def fractal_noise(
    rng: np.random.Generator, side: int, octaves: tuple[int, ...] = (2, 4, 8, 16, 32), power: float = 1.0
) -> Array:
    """Smooth noise in [0, 1], (side, side) float32; a larger `power` gives larger structures."""
    noise = np.zeros((side, side), np.float32)
    for octave in octaves:
        grid = Image.fromarray(rng.standard_normal((octave + 1, octave + 1)).astype(np.float32))
        noise += np.asarray(grid.resize((side, side), Image.Resampling.BICUBIC)) / octave**power
    noise -= noise.min()
    return np.asarray(noise / (noise.max() + 1e-6), np.float32)


def _near(rng: np.random.Generator, rgb: Color, spread: float = 25.0) -> Array:
    return np.clip(np.array(rgb, np.float32) + rng.uniform(-spread, spread, 3), 0, 255).astype(np.float32)


def _blend(weight: Array, first: Array, second: Array) -> Array:
    return np.asarray(first * (1 - weight[..., None]) + second * weight[..., None], np.float32)


def _clouds(rng: np.random.Generator, side: int) -> Array:
    return fractal_noise(rng, side, power=rng.uniform(0.5, 1.2))


def _grained(
    rng: np.random.Generator, side: int, colors: tuple[Color, Color], spread: float, strength: tuple[float, float]
) -> Array:
    """Clouds of two colours with grain."""
    ground = _blend(_clouds(rng, side), _near(rng, colors[0], spread), _near(rng, colors[1], spread))
    grain = rng.standard_normal((side, side, 1), np.float32) * np.float32(rng.uniform(*strength))
    return np.asarray(ground + grain, np.float32)


def _coordinates(side: int) -> tuple[Array, Array]:
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    return y, x


def sky(rng: np.random.Generator, side: int) -> Array:
    """A blue gradient with clouds."""
    y, _ = _coordinates(side)
    gradient = _blend(y, _near(rng, (90, 150, 225), 40), _near(rng, (190, 220, 245), 30))
    cover = np.clip((_clouds(rng, side) - rng.uniform(0.45, 0.8)) * 4, 0, 1)
    return _blend(cover, gradient, _near(rng, (248, 248, 250), 5))


def grass(rng: np.random.Generator, side: int) -> Array:
    """Mottled green with grain."""
    return _grained(rng, side, ((60, 120, 40), (120, 170, 70)), 25, (4, 18))


def water(rng: np.random.Generator, side: int) -> Array:
    """Waves."""
    y, _ = _coordinates(side)
    noise = _clouds(rng, side)
    waves = np.sin((y * rng.uniform(20, 60) + noise * rng.uniform(2, 8)) * 2) * 0.5 + 0.5
    return _blend((waves + noise) / 2, _near(rng, (20, 80, 140)), _near(rng, (70, 150, 190)))


def sand(rng: np.random.Generator, side: int) -> Array:
    """Grainy yellow."""
    return _grained(rng, side, ((205, 175, 120), (235, 215, 170)), 25, (3, 14))


def snow(rng: np.random.Generator, side: int) -> Array:
    """Nearly white."""
    return _blend(_clouds(rng, side), _near(rng, (205, 215, 230), 12), _near(rng, (248, 249, 252), 4))


def wall(rng: np.random.Generator, side: int) -> Array:
    """Plaster, half of the time with bricks."""
    y, x = _coordinates(side)
    base = _near(rng, (190, 175, 160), 50)
    plaster = _blend(_clouds(rng, side) * 0.4, base, base * 0.8)
    if rng.random() < 0.5:  # bricks
        height = 1 / int(rng.integers(4, 10))
        shifted = x + (np.floor(y / height) % 2) * height
        plaster[((y % height) < 0.012) | ((shifted % (2 * height)) < 0.012)] *= 0.75
    return plaster


def floor(rng: np.random.Generator, side: int) -> Array:
    """Wooden boards."""
    y, x = _coordinates(side)
    boards = int(rng.integers(4, 12))
    board = np.floor((x if rng.random() < 0.5 else y) * boards).astype(int)
    wood = _blend(_clouds(rng, side) * 0.5, _near(rng, (150, 105, 65)), _near(rng, (180, 135, 90)))
    shades = rng.uniform(0.75, 1.1, boards + 1)
    return np.asarray(wood * shades[board][..., None], np.float32)


def road(rng: np.random.Generator, side: int) -> Array:
    """Grainy grey."""
    return _grained(rng, side, ((85, 85, 90), (125, 125, 128)), 15, (3, 12))


def noise(rng: np.random.Generator, side: int) -> Array:
    """Smooth noise of any colour."""
    return np.stack([fractal_noise(rng, side, power=rng.uniform(0.2, 1)) for _ in range(3)], -1) * 255


def pattern(rng: np.random.Generator, side: int) -> Array:
    """Two colours as checks, stripes or dots."""
    y, x = _coordinates(side)
    count, angle = int(rng.integers(3, 12)), rng.uniform(0, 2 * np.pi)
    kinds = (
        (np.floor(y * count) + np.floor(x * count)) % 2,
        np.floor((x * np.cos(angle) + y * np.sin(angle)) * count) % 2,
        ((x * count % 1 - 0.5) ** 2 + (y * count % 1 - 0.5) ** 2) < 0.08,
    )
    weight = np.asarray(kinds[rng.integers(len(kinds))], np.float32)
    return _blend(weight, _near(rng, (128, 128, 128), 128), _near(rng, (128, 128, 128), 128))


TEXTURES: dict[str, Texture] = {
    texture.__name__: texture for texture in (sky, grass, water, sand, snow, wall, floor, road, noise, pattern)
}
ABOVE = ("sky", "wall", "noise", "snow")
BELOW = ("grass", "water", "sand", "snow", "road", "floor")


def background(rng: np.random.Generator, side: int) -> tuple[Array, list[tuple[str, Array]]]:
    """A background of one texture, or of two with a horizon.

    Returns:
        The picture, (side, side, 3) float32 in 0 to 255, and its parts as (texture name, (side, side) bool).
    """
    if rng.random() < 0.5:
        name = str(rng.choice(list(TEXTURES)))
        image, parts = TEXTURES[name](rng, side), [(name, np.ones((side, side), bool))]
    else:
        above = str(rng.choice(ABOVE))
        below = "floor" if above == "wall" and rng.random() < 0.7 else str(rng.choice(BELOW))
        y, _ = _coordinates(side)
        ripple = 0.0 if above == "wall" else 0.06
        lower = y > rng.uniform(0.25, 0.7) + ripple * (fractal_noise(rng, side, (2, 4, 8)) - 0.5)
        image = np.where(lower[..., None], TEXTURES[below](rng, side), TEXTURES[above](rng, side))
        parts = [(above, ~lower), (below, lower)]
    light = 1 + 0.25 * (fractal_noise(rng, side, (2, 3)) - 0.5)
    return np.clip(image * light[..., None], 0, 255).astype(np.float32), parts
