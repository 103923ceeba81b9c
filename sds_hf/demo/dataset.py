"""The demo's candidates: scenes of which about half have a defect, as rows of a dataset."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from datasets import Features, Value

from sds_hf.data.folder import row_features
from sds_hf.data.images import encode_jpeg, encode_mask
from sds_hf.data.labels import VOC, LabelSpace
from sds_hf.demo.artwork import DEMO_SETS
from sds_hf.demo.defects import DEFECTS, possible_defects
from sds_hf.demo.scenes import Scene, draw_scene

# What COCO calls the classes of PASCAL VOC that have another name there.
COCO_NAMES = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}
SIDE = 160  # the demo CLIP's own resolution


def demo_features(labels: LabelSpace = VOC) -> Features:
    """Features of the demo's rows: those of every source, and the truth in `defect`."""
    return row_features(labels, {"defect": Value("string")})


def demo_rows(
    count: int,
    *,
    seed: int = 0,
    side: int = SIDE,
    artwork: tuple[str, ...] = DEMO_SETS,
    defective: float = 0.5,
    labels: LabelSpace = VOC,
) -> Iterator[dict[str, Any]]:
    """Rows of the demo's source; row i is the same whatever the count.

    Args:
        count: number of rows.
        seed: of everything drawn.
        side: height and width in pixels.
        artwork: sets the scenes are drawn from; see `sds_hf.demo.artwork`.
        defective: share of rows with a defect, all kinds alike.
        labels: what masks mean: VOC or, for the same scenes, COCO. Things that only COCO has are background in both.

    Yields:
        Rows as readers yield them, with `defect`: the kind, or None for a good row. No score reads it.
    """
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        scene = draw_scene(rng, side, artwork)
        defect = str(rng.choice(possible_defects(scene))) if rng.random() < defective else None
        if defect is not None:
            other = draw_scene(np.random.default_rng([seed, index, 1]), side, artwork)
            scene = DEFECTS[defect](rng, scene, other)
        yield scene_row(f"{seed}_{index:06d}", scene, defect, labels)


def scene_row(name: str, scene: Scene, defect: str | None = None, labels: LabelSpace = VOC) -> dict[str, Any]:
    """A scene as a row of the demo: a JPEG, its index mask and what was asked for."""
    ids, names = _ids_in(labels)
    return {
        "id": name,
        "image": {"bytes": encode_jpeg(scene.image), "path": f"{name}.jpg"},
        "mask": {"bytes": encode_mask(ids[scene.mask]), "path": f"{name}.png"},
        "caption": scene.caption,
        "classes": sorted(int(ids[VOC.names.index(class_name)]) for class_name in scene.classes),
        "class_prompt": " ".join(names[class_name] for class_name in scene.prompted),
        "defect": defect,
    }


def _ids_in(labels: LabelSpace) -> tuple[np.ndarray, dict[str, str]]:
    """VOC's ids and names in another label space: (21,) uint8, and names by name."""
    names = {name: name if name in labels.names else COCO_NAMES[name] for name in VOC.names}
    return np.array([labels.names.index(name) for name in names.values()], np.uint8), names
