"""Defects of trusted image-mask pairs, with a known answer: what generators of images and masks get wrong.

Kinds and strengths were written down before any score was asked about them and are tuned to none. The mask of a pair
with an image defect belongs to what was asked for; the image of a pair with a mask defect is good.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sds_hf.data.labels import IGNORE_INDEX
from sds_hf.data.spoiling import blurred, boxes_of, drowned, mosaic, moved, random_step, torn_window

Array = np.ndarray
STRENGTHS = ("weak", "medium", "strong")
LEAST = 0.01, 0.001  # of the pixels of the objects, and of the picture: what changes less than either is no defect


@dataclass(frozen=True, eq=False)
class Pair:
    """An image and its mask, taken apart into objects.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        segments: (H, W) int32, the number of the object a pixel shows, from 1; 0 for none.
        class_ids: the class of each object; object n is at n - 1.
        rest: (H, W) uint8, what the mask has where there is no object: background, or 255 that is ignored.
        nothing: what the mask has where an object was taken away: 0, or 255 where classes cover all of a picture.
        absent: classes that are not in the mask, ascending.
        keys: what the row's own instances call each object, from 1; 0 for one that they do not list.
    """

    image: Array
    segments: Array
    class_ids: tuple[int, ...]
    rest: Array
    nothing: int
    absent: tuple[int, ...]
    keys: tuple[int, ...]

    @property
    def mask(self) -> Array:
        """(H, W) uint8 class indices."""
        ids = np.array([0, *self.class_ids], np.uint8)[self.segments]
        return np.where(self.segments > 0, ids, self.rest)

    @property
    def numbers(self) -> list[int]:
        """Objects that are seen, ascending."""
        return [int(number) for number in np.unique(self.segments) if number]

    @property
    def is_covered(self) -> bool:
        """Whether every pixel has a class, as in street scenes; an object that shrinks then gives way to another."""
        return self.nothing == IGNORE_INDEX


Defect = Callable[[np.random.Generator, Pair, Pair, int], Pair]  # (rng, pair, another pair, strength 0 to 2) -> spoilt


def shifted_mask(rng: np.random.Generator, pair: Pair, other: Pair, strength: int) -> Pair:
    """The mask is moved by a sixteenth, an eighth or a quarter of the largest object's size in a random direction."""
    size = max(max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes_of(pair.segments).values())
    dy, dx = random_step(rng, size / (16, 8, 4)[strength])
    came_in = ~moved(np.ones(pair.rest.shape, bool), dy, dx)
    rest = np.where(came_in, pair.nothing, moved(pair.rest, dy, dx))
    return replace(pair, segments=moved(pair.segments, dy, dx), rest=rest.astype(np.uint8))


def dilated_mask(rng: np.random.Generator, pair: Pair, other: Pair, strength: int) -> Pair:
    """Every object grows over what is none by a hundredth, a fortieth or a twentieth of the picture's shorter side.

    Where classes cover all of a picture, one object grows over the others.
    """
    from scipy import ndimage

    size = 2 * _reach(pair, strength) + 1
    grown = ndimage.maximum_filter(_one_of_many(rng, pair), size)
    return replace(pair, segments=np.where((pair.segments == 0) | pair.is_covered & (grown > 0), grown, pair.segments))


def eroded_mask(rng: np.random.Generator, pair: Pair, other: Pair, strength: int) -> Pair:
    """Every object shrinks, by as much as `dilated_mask` grows; one that would vanish stays as it is."""
    from scipy import ndimage

    size, shrinking = 2 * _reach(pair, strength) + 1, _one_of_many(rng, pair)
    same = ndimage.maximum_filter(pair.segments, size) == ndimage.minimum_filter(pair.segments, size)
    cores = np.unique(shrinking[same])
    return _without(pair, (shrinking > 0) & ~same & np.isin(shrinking, cores))


def coarse_mask(rng: np.random.Generator, pair: Pair, other: Pair, strength: int) -> Pair:
    """The mask has steps of a fortieth, a twentieth or a tenth of the picture's shorter side."""
    block = max(2, min(pair.rest.shape) // (40, 20, 10)[strength])
    y, x = (np.minimum(np.arange(side) // block * block + block // 2, side - 1) for side in pair.rest.shape)
    return replace(pair, segments=pair.segments[np.ix_(y, x)], rest=pair.rest[np.ix_(y, x)])


def boxed_mask(rng: np.random.Generator, pair: Pair, other: Pair, strength: int) -> Pair:
    """Every object fills its bounding box to a quarter, a half or all of the distance to the corners.

    Where classes cover all of a picture, one object does.
    """
    from scipy import ndimage

    segments, boxes = pair.segments.copy(), boxes_of(_one_of_many(rng, pair))
    areas = {number: int((pair.segments == number).sum()) for number in boxes}
    for number in sorted(boxes, key=lambda number: (-areas[number], number)):  # the smaller ones before the larger
        x0, y0, x1, y1 = boxes[number]
        away = ndimage.distance_transform_edt(pair.segments[y0:y1, x0:x1] != number)
        segments[y0:y1, x0:x1][away <= (0.25, 0.5, 1.0)[strength] * away.max()] = number
    return replace(pair, segments=segments)


def wrong_class(rng: np.random.Generator, pair: Pair, other: Pair, strength: int) -> Pair:
    """Half of an object, one class or all classes have the id of a class that is not in the mask."""
    if not pair.absent:
        return pair
    present = sorted({pair.class_ids[number - 1] for number in pair.numbers})
    if strength == 0:
        part = _half(rng, pair)
        class_ids = (*pair.class_ids, int(rng.choice(pair.absent)))
        new_key = max(pair.keys) + 1 if any(pair.keys) else 0
        keys = (*pair.keys, new_key + (new_key == IGNORE_INDEX))
        return replace(pair, segments=np.where(part, len(class_ids), pair.segments), class_ids=class_ids, keys=keys)
    changed = [int(rng.choice(present))] if strength == 1 else present
    drawn = rng.choice(pair.absent, size=len(changed), replace=len(changed) > len(pair.absent))
    names = dict(zip(changed, drawn.tolist(), strict=True))
    return replace(pair, class_ids=tuple(names.get(class_id, class_id) for class_id in pair.class_ids))


def missing_object(rng: np.random.Generator, pair: Pair, other: Pair, strength: int) -> Pair:
    """Half of an object, one of several objects, or all but one are left out of the mask."""
    numbers = pair.numbers
    if strength == 0:
        return _without(pair, _half(rng, pair))
    if len(numbers) < 2:
        return pair
    count = 1 if strength == 1 else len(numbers) - 1
    return _without(pair, np.isin(pair.segments, rng.choice(numbers, size=count, replace=False)))


def swapped_mask(rng: np.random.Generator, pair: Pair, other: Pair, strength: int) -> Pair:
    """The mask belongs to another image, and is resized if need be."""
    y, x = _nearest_pixels(other.rest.shape, pair.rest.shape)
    return replace(other, image=pair.image, segments=other.segments[y, x], rest=other.rest[y, x])


def torn(rng: np.random.Generator, pair: Pair, other: Pair, strength: int) -> Pair:
    """The box of every object is cut into 2x2, 4x4 or 8x8 tiles, which are dealt out anew."""
    image = pair.image.copy()
    for box in boxes_of(pair.segments).values():
        torn_window(rng, image, box, (2, 4, 8)[strength])
    return replace(pair, image=image)


def ruined(rng: np.random.Generator, pair: Pair, other: Pair, strength: int) -> Pair:
    """The image is drowned in noise, blurred, or left as a mosaic; the medium strength is that of the demo."""
    kind = rng.integers(3)
    if kind == 0:
        image = drowned(rng, pair.image, (0.85, 0.6, 0.4)[strength], (35, 75, 110)[strength])
    elif kind == 1:
        image = blurred(pair.image, min(pair.rest.shape) / (54, 18, 9)[strength])
    else:
        image = mosaic(pair.image, (32, 14, 8)[strength])
    return replace(pair, image=image)


def blank(rng: np.random.Generator, pair: Pair, other: Pair, strength: int) -> Pair:
    """An object is painted over with what is around it, or all of them are; or only soft colours are left."""
    from scipy import ndimage

    if strength == 2:
        return replace(pair, image=blurred(mosaic(pair.image, 3), min(pair.rest.shape) / 4))
    hidden = pair.segments > 0 if strength == 1 else pair.segments == int(rng.choice(pair.numbers))
    beside = ndimage.maximum_filter(hidden, 7)  # what is near an object has its colours and its shadow
    if beside.all():
        return pair
    image = blurred(_filled(pair.image, beside), min(pair.rest.shape) / 40)
    return replace(pair, image=np.where(hidden[..., None], image, pair.image))


def wrong_object(rng: np.random.Generator, pair: Pair, other: Pair, strength: int) -> Pair:
    """The image is another one, that has none of the classes of the mask, and is resized if need be."""
    drawn = {other.class_ids[number - 1] for number in other.numbers}
    if drawn & {pair.class_ids[number - 1] for number in pair.numbers}:
        return pair
    y, x = _nearest_pixels(other.rest.shape, pair.rest.shape)
    return replace(pair, image=other.image[y, x])


MASK_DEFECTS: dict[str, Defect] = {
    defect.__name__: defect
    for defect in (
        shifted_mask, dilated_mask, eroded_mask, coarse_mask, boxed_mask, wrong_class, missing_object, swapped_mask,
    )
}  # fmt: skip
IMAGE_DEFECTS: dict[str, Defect] = {defect.__name__: defect for defect in (wrong_object, blank, torn, ruined)}
DEFECTS = MASK_DEFECTS | IMAGE_DEFECTS
OF_ONE_STRENGTH = ("swapped_mask", "wrong_object")


def spoil(rng: np.random.Generator, pair: Pair, others: list[Pair], kind: str, strength: int) -> Pair | None:
    """The pair with a defect; None if it cannot have this one.

    Args:
        rng: every choice is drawn from it.
        pair: with an object.
        others: further pairs, for a mask or an image of another row; the first that will do is taken.
        kind: a name in `DEFECTS`.
        strength: index in `STRENGTHS`.
    """
    for other in others if kind in OF_ONE_STRENGTH else [pair]:
        spoilt = DEFECTS[kind](rng, pair, other, strength)
        if kind in IMAGE_DEFECTS:
            if not np.array_equal(spoilt.image, pair.image):
                return spoilt
        elif (spoilt.mask != pair.mask).sum() >= _least(pair) and spoilt.numbers:
            return spoilt
    return None


def _least(pair: Pair) -> float:
    """Pixels of the mask that a defect changes at least."""
    return max(1.0, min(LEAST[0] * int((pair.segments > 0).sum()), LEAST[1] * pair.segments.size))


def _reach(pair: Pair, strength: int) -> int:
    """How far outlines move, in pixels."""
    return max(1, int(min(pair.rest.shape)) // (100, 40, 20)[strength])


def _one_of_many(rng: np.random.Generator, pair: Pair) -> Array:
    """The objects that change; where they cover all of a picture only one of them, since they cannot all grow."""
    if not pair.is_covered:
        return pair.segments
    return np.asarray(np.where(pair.segments == int(rng.choice(pair.numbers)), pair.segments, 0))


def _without(pair: Pair, hidden: Array) -> Pair:
    """The pair without some pixels of objects: background is there then, or the nearest other object."""
    segments = np.where(hidden, 0, pair.segments)
    if pair.is_covered and segments.any():
        return replace(pair, segments=np.where(hidden, _filled(segments, segments == 0), segments))
    return replace(pair, segments=segments, rest=np.where(hidden, pair.nothing, pair.rest).astype(np.uint8))


def _half(rng: np.random.Generator, pair: Pair) -> Array:
    """Pixels of an object on one side of a line through its middle, (H, W) bool."""
    inside = pair.segments == int(rng.choice(pair.numbers))
    y, x = np.nonzero(inside)
    angle = rng.uniform(0, 2 * np.pi)
    along = y * np.sin(angle) + x * np.cos(angle)
    half = np.zeros_like(inside)
    half[y, x] = along > np.median(along)
    return np.asarray(half)


def _filled(array: Array, hidden: Array) -> Array:
    """An array whose hidden pixels are those of the nearest other pixel."""
    from scipy import ndimage

    y, x = ndimage.distance_transform_edt(hidden, return_distances=False, return_indices=True)
    return np.asarray(array[y, x])


def _nearest_pixels(size: tuple[int, ...], new: tuple[int, ...]) -> tuple[Array, Array]:
    """Indices that resize an array of one size to another without mixing its values."""
    y, x = (np.arange(side) * old // side for old, side in zip(size[:2], new[:2], strict=True))
    return y[:, None], x[None]
