"""Synthetic scenes with exact masks: pictures of known concepts pasted on a procedural background.

A scene depends on its random generator and its size only. Masks use PASCAL VOC class ids; the `concepts` map also
says which distractor or texture a pixel shows (used to train the demo CLIP).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from sds_hf.data.labels import VOC
from sds_hf.demo.artwork import Picture, by_concept, render
from sds_hf.demo.backgrounds import TEXTURES, background

Array = np.ndarray

CLASSES = VOC.names[1:]  # object concepts with a VOC id
DISTRACTORS = (
    "tree", "house", "building", "mountain", "cloud", "rock", "sign", "keyboard", "helmet", "railway", "truck",
    "tractor", "helicopter", "rocket", "elephant", "pig", "goat", "bear", "lion", "wolf", "monkey", "rabbit",
    "mouse", "frog", "turtle", "snake", "fish", "whale", "crab", "bed", "bathtub", "door", "lamp", "clock", "phone",
    "camera", "guitar", "umbrella", "hat", "shoe", "bag", "book", "key", "cup", "cake", "pizza", "apple", "banana",
    "mushroom", "flower", "cactus", "ball", "balloon", "star",
)  # fmt: skip
CONCEPTS = (*CLASSES, *DISTRACTORS, *TEXTURES)  # index into this = value in `Scene.concepts`
SPOKEN = {"pottedplant": "potted plant", "tvmonitor": "tv monitor", "diningtable": "dining table"}
MASK_ID = np.array([VOC.names.index(concept) if concept in CLASSES else 0 for concept in CONCEPTS], np.uint8)

NUM_OBJECTS = {1: 0.45, 2: 0.30, 3: 0.17, 4: 0.08}
SCALE = {1: (0.40, 0.85), 2: (0.32, 0.58), 3: (0.28, 0.48)}  # longer side of an object, of the scene's side
MIN_VISIBLE = 0.005  # of the scene's pixels: a scene with a less visible class is drawn again


@dataclass(frozen=True)
class Placed:
    """A pasted picture: its concept and its box (x0, y0, x1, y1) in pixels, half open."""

    concept: str
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class Scene:
    """One scene.

    Attributes:
        image: (side, side, 3) uint8, RGB.
        mask: (side, side) uint8, VOC ids; 0 is background, 255 does not occur.
        concepts: (side, side) uint8, index into `CONCEPTS`.
        caption: what a generator would have been asked for.
        prompted: the VOC classes it names.
        placed: the pasted pictures, distractors too, in painting order.
    """

    image: Array
    mask: Array
    concepts: Array
    caption: str
    prompted: tuple[str, ...]
    placed: tuple[Placed, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the VOC classes in the mask, by id."""
        return tuple(VOC.names[int(i)] for i in np.unique(self.mask) if i)


def draw_scene(
    rng: np.random.Generator,
    side: int,
    sets: tuple[str, ...],
    *,
    classes: Sequence[str] | None = None,
    distractors: float = 0.35,
    color: float = 0.5,
) -> Scene:
    """Draw a scene.

    Args:
        rng: every choice is drawn from it.
        side: height and width in pixels.
        sets: artwork sets to draw from.
        classes: of the objects, one entry an object; chosen by `choose_objects` if None.
        distractors: probability that one or two things without a VOC class are added.
        color: strength of the colour changes, 0 keeps the artist's colours.
    """
    art = by_concept(sets)
    while True:
        image, parts = background(rng, side)
        concepts = np.zeros((side, side), np.uint8)
        for name, where in parts:
            concepts[where] = CONCEPTS.index(name)
        concept_names = (
            list(classes) if classes is not None else choose_objects(rng, [name for name in CLASSES if name in art])
        )
        if rng.random() < distractors:
            others = [name for name in DISTRACTORS if name in art]
            concept_names += [str(name) for name in rng.choice(others, size=int(rng.integers(1, 3)), replace=False)]
        concept_names = [concept_names[i] for i in rng.permutation(len(concept_names))]
        placed: list[Placed] = []
        for concept in concept_names:
            _paste(rng, _pick(rng, art[concept]), image, concepts, placed, len(concept_names), color)
        seen = np.bincount(concepts.ravel(), minlength=len(CONCEPTS)) / side**2
        if all(seen[CONCEPTS.index(concept)] >= MIN_VISIBLE for concept in concept_names):
            break
    named_classes = [concept for concept in dict.fromkeys(concept_names) if concept in CLASSES]
    return Scene(
        image=_finish(rng, image),
        mask=MASK_ID[concepts],
        concepts=concepts,
        caption=caption(rng, named_classes, [name for name, _ in parts]),
        prompted=tuple(named_classes),
        placed=tuple(placed),
    )


def caption(rng: np.random.Generator, classes: list[str], textures: list[str]) -> str:
    """A sentence that names the classes, as a prompt for an image generator would."""
    names = [f"{'an' if name[0] in 'aeiou' else 'a'} {SPOKEN.get(name, name)}" for name in classes]
    subject = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names) or "an empty scene"
    backdrop = f" with {textures[-1]} in the background" if textures and rng.random() < 0.35 else ""
    return f"a picture of {subject}{backdrop}"


def choose_objects(
    rng: np.random.Generator, available: Sequence[str], weights: Sequence[float] | None = None
) -> list[str]:
    """Classes of 1 to 4 objects; a quarter of the scenes with several objects repeat one."""
    count = int(rng.choice(list(NUM_OBJECTS), p=list(NUM_OBJECTS.values())))
    chosen = [str(name) for name in rng.choice(available, size=count, replace=False, p=weights)]
    if count > 1 and rng.random() < 0.25:
        chosen[-1] = chosen[0]
    return chosen


def _pick(rng: np.random.Generator, groups: dict[str, tuple[Picture, ...]]) -> Picture:
    group = groups[list(groups)[rng.integers(len(groups))]]
    return group[rng.integers(len(group))]


def _paste(
    rng: np.random.Generator,
    picture: Picture,
    image: Array,
    concepts: Array,
    placed: list[Placed],
    crowd: int,
    color: float,
) -> None:
    """Paste one picture into `image` and `concepts`, away from those already placed if there is room."""
    side = image.shape[0]
    rgb, alpha = _pose(rng, picture, side * rng.uniform(*SCALE.get(crowd, (0.24, 0.40))), color)
    height, width = alpha.shape
    x0, y0 = _free_place(rng, side, width, height, placed)
    x, y = max(0, x0), max(0, y0)
    alpha, rgb = (part[y - y0 : side - y0, x - x0 : side - x0] for part in (alpha, rgb))
    height, width = alpha.shape
    if rng.random() < 0.25:
        _shade(image, alpha, x, y)
    window = np.s_[y : y + height, x : x + width]
    image[window] = image[window] * (1 - alpha[..., None]) + rgb * alpha[..., None]
    concepts[window][alpha > 0.5] = CONCEPTS.index(picture.concept)
    placed.append(Placed(picture.concept, (x, y, x + width, y + height)))


def _pose(rng: np.random.Generator, picture: Picture, length: float, color: float) -> tuple[Array, Array]:
    """The picture resized, flipped, rotated and recoloured: (h, w, 3) in 0 to 255 and alpha (h, w) in 0 to 1."""
    art = render(picture, 1 << max(7, int(np.ceil(np.log2(length)))))
    scale, aspect = length / max(art.size), rng.uniform(0.88, 1.14)
    art = art.resize(
        (max(6, int(art.width * scale * aspect)), max(6, int(art.height * scale / aspect))), Image.Resampling.BICUBIC
    )
    if rng.random() < 0.5:
        art = art.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    angle = rng.normal(0, 9) if rng.random() < 0.85 else rng.uniform(-40, 40)
    art = art.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    pixels = np.asarray(art.crop(art.getchannel("A").getbbox()), np.float32)
    return _recolor(rng, pixels[..., :3], color), pixels[..., 3] / 255


def _recolor(rng: np.random.Generator, rgb: Array, strength: float) -> Array:
    """Random hue, saturation, contrast and brightness."""
    x = rgb / 255
    if strength and rng.random() < 0.6:
        angle = rng.normal(0, 0.25 * strength) if rng.random() < 0.8 else rng.uniform(-np.pi, np.pi)
        gray = np.array([[0.299, 0.587, 0.114]] * 3)
        turn = np.array([[0.168, 0.330, -0.497], [-0.328, 0.035, 0.292], [1.25, -1.05, -0.203]])
        x = x @ (gray + np.cos(angle) * (np.eye(3) - gray) + np.sin(angle) * turn).T.astype(np.float32)
    luma = x.mean(-1, keepdims=True)
    x = luma + (x - luma) * rng.uniform(1 - 0.5 * strength, 1 + 0.3 * strength)
    x = (x - 0.5) * rng.uniform(1 - 0.25 * strength, 1 + 0.2 * strength) + 0.5 + 0.12 * strength * rng.uniform(-1, 1)
    return np.asarray(np.clip(x, 0, 1) * 255, np.float32)


def _free_place(rng: np.random.Generator, side: int, width: int, height: int, placed: list[Placed]) -> tuple[int, int]:
    """Top left corner: of a dozen draws the farthest from other objects."""

    def center(length: int) -> float:
        margin = 0.08 * side + 0.3 * length
        return rng.uniform(margin, side - margin) if length < 0.85 * side else side / 2

    best, spot = -1.0, (0, 0)
    for _ in range(12):
        cx, cy = center(width), center(height)
        apart = min((_distance(cx, cy, max(width, height), other.box) for other in placed), default=9.0)
        if apart > best:
            best, spot = apart, (int(cx - width / 2), int(cy - height / 2))
        if best > 0.85:
            break
    return spot


def _distance(cx: float, cy: float, length: int, box: tuple[int, int, int, int]) -> float:
    """Distance of centres over the mean of the longer sides: 1 = just touching."""
    x0, y0, x1, y1 = box
    return float(np.hypot(cx - (x0 + x1) / 2, cy - (y0 + y1) / 2) / ((length + max(x1 - x0, y1 - y0)) / 2))


def _shade(image: Array, alpha: Array, x: int, y: int) -> None:
    """A soft shadow to the lower right of an object about to be pasted at (x, y)."""
    side = image.shape[0]
    shadow = Image.new("L", (side, side))
    shadow.paste(Image.fromarray((alpha * 255).astype(np.uint8)), (x + int(0.03 * side), y + int(0.05 * side)))
    image *= 1 - 0.35 / 255 * np.asarray(shadow.filter(ImageFilter.GaussianBlur(0.02 * side)), np.float32)[..., None]


def _finish(rng: np.random.Generator, image: Array) -> Array:
    """Camera noise and a little blur on some scenes; uint8."""
    if rng.random() < 0.3:
        image = image + rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(2, 8))
    pixels: Array = np.clip(image, 0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        blur = ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9) * image.shape[0] / 128)
        pixels = np.asarray(Image.fromarray(pixels).filter(blur))
    return pixels
