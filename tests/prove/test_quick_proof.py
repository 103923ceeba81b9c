"""The proof in a minute: half of the masks belong to other pictures, and what the selection keeps trains better."""

import pytest
from datasets import Dataset

from sds_hf import ClipSim, Recipe, TopK, prove_subset, score_table
from sds_hf.demo.dataset import demo_features, demo_rows

ROWS, SEEDS, STEPS = 300, 3, 120
MARGIN = 3.0  # points of mIoU on every seed


def half_swapped(count: int) -> list[dict]:
    """Clean scenes; the masks of every second one have gone round."""
    rows = list(demo_rows(count, seed=3, defective=0.0))
    masks = [(row["mask"], row["classes"]) for row in rows[1::2]]
    for row, (mask, classes) in zip(rows[1::2], masks[1:] + masks[:1], strict=True):
        row |= {"mask": mask, "classes": classes, "defect": "swapped"}
    return rows


@pytest.fixture(scope="module")
def proof(tmp_path_factory):
    out = tmp_path_factory.mktemp("proof")
    pool = Dataset.from_list(half_swapped(ROWS), features=demo_features())
    clean = Dataset.from_list(list(demo_rows(100, seed=8, defective=0.0)), features=demo_features())
    table = score_table(pool, [ClipSim(model="demo", dtype="fp32")], out / "scores")
    recipe = Recipe(name="similar", rules=[TopK(column="clip_sim", fraction=0.45)])
    settings = {"model": "demo", "seeds": SEEDS, "steps": STEPS, "regimes": ["steps"]}
    return prove_subset(pool, table, clean, out / "proof", recipes=[recipe], **settings)


@pytest.mark.parametrize("against", ["full", "random 135"])
def test_the_selection_beats_the_full_set_and_random_rows_on_every_seed(proof, against):
    difference = proof.comparison("similar", against, "steps").difference
    assert min(difference.values) > MARGIN, difference
    assert difference.low > 0
    assert difference.verdict == "better"


def test_the_selection_is_cleaner_and_the_clean_rows_are_known(proof):
    shares = {arm.name: arm.clean for arm in proof.arms}
    assert shares["full"] == 0.5
    assert shares["clean"] == 1
    assert shares["similar"] > 0.75
