"""Controlled defects of demo scenes: what generators of images and masks get wrong, with a known answer.

Kinds and strengths were fixed before the demo CLIP was trained and are not tuned to the scores. The mask of a scene
with an image defect belongs to what was asked for; the image of a scene with a mask defect is good.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from PIL import Image, ImageFilter

from sds_hf.data.labels import VOC
from sds_hf.data.spoiling import blurred, boxes_of, drowned, mosaic, moved, random_step, torn_window
from sds_hf.demo.backgrounds import background
from sds_hf.demo.scenes import CLASSES, Scene, caption

Array = np.ndarray
Defect = Callable[[np.random.Generator, Scene, Scene], Scene]  # (rng, scene, another scene) -> scene with the defect


def wrong_object(rng: np.random.Generator, scene: Scene, other: Scene) -> Scene:
    """Another class was asked for than the one drawn: mask ids and caption name classes that are not in the image."""
    absent = [name for name in CLASSES if name not in scene.classes]
    class_names = [str(name) for name in rng.choice(absent, size=len(scene.classes), replace=False)]
    mask = scene.mask.copy()
    for drawn, name in zip(scene.classes, class_names, strict=True):
        mask[scene.mask == _id(drawn)] = _id(name)
    return replace(scene, mask=mask, caption=caption(rng, class_names, []), prompted=tuple(class_names))


def blank(rng: np.random.Generator, scene: Scene, other: Scene) -> Scene:
    """Nothing was drawn but a background."""
    return replace(scene, image=background(rng, len(scene.image))[0].astype(np.uint8))


def torn(rng: np.random.Generator, scene: Scene, other: Scene) -> Scene:
    """Every object is cut into 4x4 tiles, which are dealt out anew."""
    image = scene.image.copy()
    for placed in scene.placed:
        if placed.concept in CLASSES:
            torn_window(rng, image, placed.box, 4)
    return replace(scene, image=image)


def ruined(rng: np.random.Generator, scene: Scene, other: Scene) -> Scene:
    """The image is drowned in noise, or blurred by an eighteenth of its side, or left as a mosaic of 14x14 tiles."""
    side = len(scene.image)
    kind = rng.integers(3)
    if kind == 0:
        image = drowned(rng, scene.image, 0.6, 75)
    elif kind == 1:
        image = blurred(scene.image, side / 18)
    else:
        image = mosaic(scene.image, 14)
    return replace(scene, image=image)


def shifted_mask(rng: np.random.Generator, scene: Scene, other: Scene) -> Scene:
    """The mask is moved by a quarter of the largest object's size in a random direction."""
    size = max(max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes_of(scene.mask).values())
    return replace(scene, mask=moved(scene.mask, *random_step(rng, 0.25 * size)))


def dilated_mask(rng: np.random.Generator, scene: Scene, other: Scene) -> Scene:
    """Every object grows by a twentieth of the scene's side in all directions."""
    grown = np.asarray(Image.fromarray(scene.mask).filter(ImageFilter.MaxFilter(2 * (len(scene.mask) // 20) + 1)))
    return replace(scene, mask=np.where(scene.mask > 0, scene.mask, grown))


def boxed_mask(rng: np.random.Generator, scene: Scene, other: Scene) -> Scene:
    """Every class is annotated by its bounding box."""
    mask = scene.mask.copy()
    for class_id, (x0, y0, x1, y1) in boxes_of(scene.mask).items():
        mask[y0:y1, x0:x1] = class_id
    return replace(scene, mask=mask)


def wrong_class(rng: np.random.Generator, scene: Scene, other: Scene) -> Scene:
    """One class of the mask has the id of a class that is not in the image; the caption is right."""
    absent = [name for name in CLASSES if name not in scene.classes]
    mask = scene.mask.copy()
    mask[mask == _id(str(rng.choice(scene.classes)))] = _id(str(rng.choice(absent)))
    return replace(scene, mask=mask)


def missing_object(rng: np.random.Generator, scene: Scene, other: Scene) -> Scene:
    """One of several classes is left out of the mask."""
    mask = scene.mask.copy()
    mask[mask == _id(str(rng.choice(scene.classes)))] = 0
    return replace(scene, mask=mask)


def swapped_mask(rng: np.random.Generator, scene: Scene, other: Scene) -> Scene:
    """The mask belongs to another scene; the caption is that of the image."""
    return replace(scene, mask=other.mask)


IMAGE_DEFECTS: dict[str, Defect] = {defect.__name__: defect for defect in (wrong_object, blank, torn, ruined)}
MASK_DEFECTS: dict[str, Defect] = {
    defect.__name__: defect
    for defect in (shifted_mask, dilated_mask, boxed_mask, wrong_class, missing_object, swapped_mask)
}
DEFECTS = IMAGE_DEFECTS | MASK_DEFECTS


def possible_defects(scene: Scene) -> list[str]:
    """Names of the defects this scene can have: an object can only be missing if another one is left."""
    return [name for name in DEFECTS if name != "missing_object" or len(scene.classes) > 1]


def _id(name: str) -> int:
    return VOC.names.index(name)
