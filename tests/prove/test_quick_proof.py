"""The proof in a minute: half of the masks belong to other pictures, and what the selection keeps trains better."""

import numpy as np
import pytest
from datasets import Dataset, Value
from support.small_segmenters import tiny_backbone

from sds_hf import Recipe, TopK, prove_subset
from sds_hf.data.folder import row_features
from sds_hf.data.images import encode_jpeg, encode_mask
from sds_hf.data.labels import VOC

ROWS, SEEDS, STEPS = 240, 3, 120
MARGIN = 8.0  # points of mIoU on every seed
SIDE, CONTRAST, NOISE = 48, 45, 40
COLORS = np.array([[0, 0, 0], [1, -1, 0], [-1, 1, 0], [0, -1, 1], [1, 1, -1]])  # of the background and four classes


def scene(index: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A rectangle of the colour of its class, faint in noise: what a segmenter is unsure of it calls background."""
    rng = np.random.default_rng([seed, index])
    mask = np.zeros((SIDE, SIDE), np.uint8)
    (top, left), (height, width) = rng.integers(2, 20, 2), rng.integers(16, 28, 2)
    mask[top : top + height, left : left + width] = 1 + index % 4
    coarse = rng.normal(0, NOISE, (SIDE // 4, SIDE // 4, 3)).repeat(4, 0).repeat(4, 1)
    image = 128 + CONTRAST * COLORS[mask] + coarse + rng.normal(0, NOISE / 2, (SIDE, SIDE, 3))
    return np.clip(image, 0, 255).astype(np.uint8), mask


def rows_of(scenes, swapped: bool) -> Dataset:
    """The scenes as rows; the masks of every second four have gone round."""
    masks = [mask for _, mask in scenes]
    defects: list[str | None] = [None] * len(scenes)
    if swapped:
        chosen = [index for index in range(len(scenes)) if index // 4 % 2]
        for index, other in zip(chosen, chosen[5:] + chosen[:5], strict=True):
            masks[index], defects[index] = scenes[other][1], "swapped"
    rows = [
        {
            "id": f"{index:04d}", "image": {"bytes": encode_jpeg(image), "path": None}, "caption": None,
            "mask": {"bytes": encode_mask(mask), "path": None}, "classes": [int(mask.max())], "class_prompt": None,
            "defect": defect,
        }
        for index, ((image, _), mask, defect) in enumerate(zip(scenes, masks, defects, strict=True))
    ]  # fmt: skip
    return Dataset.from_list(rows, features=row_features(VOC, {"defect": Value("string")}))


@pytest.fixture(scope="module")
def proof(tmp_path_factory):
    out = tmp_path_factory.mktemp("proof")
    pool = rows_of([scene(index, 1) for index in range(ROWS)], swapped=True)
    clean = rows_of([scene(index, 2) for index in range(80)], swapped=False)
    # A score that knows a swapped mask from a good one about as well as CLIP does: d' of 2.
    good = np.array([defect is None for defect in pool["defect"]])
    quality = 2 * good + np.random.default_rng(0).normal(size=ROWS)
    scores = Dataset.from_dict({"id": pool["id"], "quality": quality, "classes_present": pool["classes"]})
    recipe = Recipe(name="good", rules=[TopK(column="quality", fraction=0.45)])
    backbone = tiny_backbone(tmp_path_factory.mktemp("backbone"))
    settings = {"model": backbone, "side": 64, "seeds": SEEDS, "steps": STEPS, "regimes": ["steps"]}
    return prove_subset(pool, scores, clean, out, recipes=[recipe], **settings)


@pytest.mark.parametrize("against", ["full", "random 108"])
def test_the_selection_beats_the_full_set_and_random_rows_on_every_seed(proof, against):
    difference = proof.comparison("good", against).difference
    assert min(difference.values) > MARGIN, difference
    assert difference.low > 0
    assert difference.verdict == "better"


def test_the_selection_is_cleaner_and_the_clean_rows_are_known(proof):
    shares = {arm.name: arm.clean for arm in proof.arms}
    assert shares["full"] == 0.5
    assert shares["clean"] == 1
    assert shares["good"] > 0.8
