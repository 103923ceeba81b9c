"""Difficulty in its definitions, its forms and its bands: the worked numbers, and formulas written out again."""

import math

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Sequence, Value
from hypothesis import given
from hypothesis import strategies as st
from support.rows import random_dataset, random_row

from sds_hf import add_scores
from sds_hf.clip.encoder import load
from sds_hf.data.labels import VOC
from sds_hf.scores.asf_miou import ASF
from sds_hf.scores.difficulty import Difficulty
from sds_hf.scores.functional.difficulty import difficulty
from sds_hf.selection.recipe import Recipe

CPU = torch.device("cpu")


def rate(probabilities, present, form="confidence"):
    return float(difficulty(torch.tensor([probabilities], dtype=torch.float64), torch.tensor([present]), form)[0])


def test_the_numbers_of_the_specification():
    p = (100 * torch.tensor([0.30, 0.27, 0.25, 0.20], dtype=torch.float64)).softmax(0)
    present = [True, True, False, False]
    assert rate(p.tolist(), present) == pytest.approx(0.0633237195, abs=1e-9)
    each = [1 - rate(p[[i, 2, 3]].tolist(), [True, False, False]) for i in (0, 1)]
    assert each == pytest.approx([0.9932623568, 0.8800902045], abs=1e-9)
    naive = 1 - p[:2]
    assert float(naive.mean()) == pytest.approx(0.5032100781, abs=1e-9)


@pytest.mark.parametrize(
    ("form", "value"),
    [("confidence", 0.3), ("margin", 0.5), ("entropy", 0.7298466992), ("el2n", 0.3741657387)],
)
def test_the_forms_of_the_specification(form, value):
    assert rate([0.7, 0.2, 0.1], [True, False, False], form) == pytest.approx(value, abs=1e-6)


@given(
    st.lists(st.floats(0.01, 1), min_size=2, max_size=6).flatmap(
        lambda p: st.tuples(st.just(p), st.lists(st.booleans(), min_size=len(p), max_size=len(p)))
    )
)
def test_confidence_is_the_formula(case):
    probabilities, present = case
    absent = sum(p for p, here in zip(probabilities, present, strict=True) if not here)
    parts = [1 - p / (p + absent) for p, here in zip(probabilities, present, strict=True) if here]
    found = rate(probabilities, present)
    assert math.isnan(found) if not parts else found == pytest.approx(sum(parts) / len(parts), abs=1e-6)


@pytest.mark.parametrize("form", ["confidence", "margin", "entropy", "el2n"])
def test_without_rivals_nothing_is_hard(form):
    assert rate([0.4, 0.6], [True, True], form) == 0
    assert math.isnan(rate([0.4, 0.6], [False, False], form))


def test_cls_is_a_softmax_of_cosines_with_all_classes(tiny_clip):
    data = random_dataset(6)
    score = Difficulty(model=tiny_clip, dtype="fp32")
    encoder = load(tiny_clip, CPU, torch.float32)
    texts = encoder.encode_texts(VOC.texts())[:20].double()
    for row, found in zip(data, add_scores(data, score)["difficulty"], strict=True):
        image = encoder.encode_images(encoder.preprocess([np.asarray(row["image"].convert("RGB"))]))[0].double()
        weights = (encoder.scale * texts @ image).exp()
        present = np.isin(np.arange(1, 21), row["classes"])
        rivals = weights[~present].sum()
        assert found == pytest.approx(float((1 - weights[present] / (weights[present] + rivals)).mean()), abs=1e-4)


def with_probabilities(data, cells):
    features = Features({**data.features, "class_probabilities": Sequence(Value("float32"))})
    rows = data.with_format("arrow")[:].to_pylist()
    return Dataset.from_list(
        [row | {"class_probabilities": cell} for row, cell in zip(rows, cells, strict=True)], features=features
    )


def test_probabilities_of_a_classifier_are_taken_from_a_column():
    cells = [np.random.default_rng(index).dirichlet(np.ones(20)).tolist() for index in range(4)] + [None]
    data = with_probabilities(random_dataset(5), cells)
    score = Difficulty(definition="column")
    assert score.reads == {"classes", "class_probabilities"}  # no image and no encoder
    for scored in (add_scores(data, score), data.map(score, batched=True, batch_size=2)):
        for row in scored.select(range(4)):
            present = [class_id in row["classes"] for class_id in range(1, 21)]
            assert row["difficulty"] == pytest.approx(rate(row["class_probabilities"], present), abs=1e-6)
        assert scored["difficulty"][4] is None
        assert scored["difficulty_band"][4] is None


def test_probabilities_must_be_one_a_class():
    data = with_probabilities(random_dataset(1), [[0.5, 0.5]])
    with pytest.raises(ValueError, match="class probabilities must be 20 a row, one for each foreground class, not 2"):
        add_scores(data, Difficulty(definition="column"))


def test_mask_is_one_minus_the_agreement(tiny_clip):
    data = random_dataset(4)
    agreement = ASF(model=tiny_clip, dtype="fp32")
    scored = add_scores(data, agreement, Difficulty(model=tiny_clip, dtype="fp32", definition="mask"))
    assert [1 - value for value in scored["asf_miou"]] == pytest.approx(list(scored["difficulty"]), abs=1e-6)


def test_atypical_is_the_distance_to_real_images_of_the_class(tiny_clip, tmp_path):
    real, data = (
        random_dataset(12),
        Dataset.from_list([random_row(50 + i) for i in range(6)], features=random_dataset(1).features),
    )
    score = Difficulty.fit(real, tmp_path / "real.npz", model=tiny_clip, dtype="fp32", neighbors=2)
    encoder = load(tiny_clip, CPU, torch.float32)

    def embed(rows):
        return torch.cat(
            [encoder.encode_images(encoder.preprocess([np.asarray(row["image"].convert("RGB"))])) for row in rows]
        )

    cosines = embed(data) @ embed(real).T
    for row, found, with_real in zip(data, add_scores(data, score)["difficulty"], cosines, strict=True):
        parts = []
        for class_id in row["classes"]:
            members = [place for place, other in enumerate(real) if class_id in other["classes"]]
            if members:
                parts.append(1 - float(with_real[members].sort(descending=True).values[:2].mean()))
        assert found == (None if not parts else pytest.approx(np.mean(parts), abs=1e-3))


def test_atypical_needs_the_same_classes(tiny_clip, tmp_path):
    score = Difficulty.fit(random_dataset(4), tmp_path / "real.npz", model=tiny_clip, dtype="fp32")
    coco = Difficulty(**{**score.values(), "labels": "coco"})
    with pytest.raises(ValueError, match="was fitted with 21 other classes than the 81 of the label space 'coco'"):
        add_scores(random_dataset(2), coco)
    with pytest.raises(ValueError, match=r"write one with Difficulty.fit\(dataset"):
        add_scores(random_dataset(2), Difficulty(model=tiny_clip, definition="atypical"))


def test_bands():
    score = Difficulty()
    values = [0.0, 0.2999, np.float32(0.3), 0.5, 0.6999, np.float32(0.7), 1.0, None]
    assert [score.band(value) for value in values] == ["easy"] * 2 + ["medium"] * 3 + ["hard"] * 2 + [None]
    assert Difficulty(bands=(0.5, 0.5)).band(0.4) == "easy"
    with pytest.raises(ValueError, match="must be ascending, where medium begins and where hard does"):
        Difficulty(bands=(0.7, 0.3))


def test_bands_are_written_beside_the_numbers(tiny_clip):
    scored = add_scores(random_dataset(12), Difficulty(model=tiny_clip, dtype="fp32", bands=(0.9, 0.96)))
    for value, band in zip(scored["difficulty"], scored["difficulty_band"], strict=True):
        assert band == ("easy" if value < 0.9 else "medium" if value < 0.96 else "hard")
    assert len(set(scored["difficulty_band"])) > 1


def test_it_works_in_a_recipe():
    (score,) = Recipe.from_dict({"model": "demo", "scores": {"difficulty": {"bands": [0.2, 0.6]}}}).make_scores()
    assert score == Difficulty(model="demo", bands=(0.2, 0.6))
