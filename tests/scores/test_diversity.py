"""Object diversity: the specification's worked numbers, from masks, boxes and given instances."""

import math

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from hypothesis import given
from hypothesis import strategies as st
from support.rows import given_rows, masks_as_rows

from sds_hf import TFDP, Diversity, Recipe, add_scores
from sds_hf.data.labels import VOC
from sds_hf.scores.diversity import effective_classes, object_diversity
from sds_hf.selection.recipe import RecipeError

CAR, PERSON, BICYCLE = (VOC.names.index(name) for name in ("car", "person", "bicycle"))
WEIGHTS = {"car": 1.0, "person": 2.0, "bicycle": 3.0}
WORKED = [[CAR, PERSON, BICYCLE], [CAR] * 7, [CAR] * 3 + [PERSON], []]  # the classes of the objects of four images


def boxes_of(*rows: list, sequence: bool = False, **flags: list) -> Dataset:
    """Boxes in the two ways `datasets` stores them: a list of structs, and a struct of lists."""
    entry = {"class": ClassLabel(names=list(VOC.names)), **dict.fromkeys(flags, Value("float32"))}
    cells = [[{"class": c, **{name: flags[name][i] for name in flags}} for i, c in enumerate(row)] for row in rows]
    if sequence:
        entry = {name: List(feature) for name, feature in entry.items()}
        cells = [{name: [one[name] for one in row] for name in entry} for row in cells]
    features = Features({"boxes": entry if sequence else List(entry)})
    return Dataset.from_dict({"boxes": cells}, features=features)


@pytest.mark.parametrize("sequence", [False, True])
def test_worked_example(sequence):
    dataset = boxes_of(*WORKED, sequence=sequence)
    scored = add_scores(dataset, Diversity(objects="boxes", labels="voc"))
    assert scored["diversity"][:] == pytest.approx([3, 3, 3, 0])
    assert scored["num_objects"][:] == [3, 7, 4, 0]
    assert scored["num_distinct"][:] == [3, 1, 2, 0]
    assert scored["effective"][:] == pytest.approx([3, 1, 1.7547653506, 0])
    ties = sorted(range(4), key=lambda i: tuple(-scored[name][i] for name in ("diversity", "num_distinct")))
    assert ties == [0, 2, 1, 3]


def test_worked_weights():
    scored = add_scores(boxes_of(*WORKED), Diversity(objects="boxes", labels="voc", weights=WEIGHTS))
    assert scored["diversity"][:] == pytest.approx([6, 3, 4, 0])
    assert scored["effective"][:] == pytest.approx([3, 1, 1.7547653506, 0])


def test_inverse_document_frequency_needs_the_whole_set():
    score = Diversity(objects="boxes", labels="voc", weights="idf")
    fitted = score.fit(boxes_of(*WORKED))
    assert fitted.statistics == {"rows": {-1: 4, BICYCLE: 1, CAR: 3, PERSON: 2}}
    weight = {name: math.log(5 / (1 + rows)) for name, rows in (("car", 3), ("person", 2), ("bicycle", 1))}
    expected = [sum(weight.values()), 3 * weight["car"], 2 * weight["car"] + weight["person"], 0]
    assert add_scores(boxes_of(*WORKED), score)["diversity"][:] == pytest.approx(expected)
    assert add_scores(boxes_of([BICYCLE]), fitted)["diversity"][:] == pytest.approx([weight["bicycle"]])


def test_only_classes_of_interest_count():
    scored = add_scores(boxes_of(*WORKED), Diversity(objects="boxes", labels="voc", interest=("car", "bicycle")))
    assert scored["num_objects"][:] == [2, 7, 3, 0]
    assert scored["diversity"][:] == pytest.approx([2, 3, 2, 0])


def test_flags_of_open_images():
    """A depiction and a box of confidence 0 do not count, a group counts once."""
    flags = {"is_depiction": [1, 0, 0, -1], "confidence": [1, 0, 1, 1], "is_group_of": [0, 0, 1, -1]}
    scored = add_scores(boxes_of([CAR, CAR, CAR, PERSON], **flags), Diversity(objects="boxes", labels="voc"))
    assert (scored["num_objects"][0], scored["diversity"][0]) == (2, 2)


def test_masks_count_components_classes_and_given_instances():
    mask = np.zeros((40, 40), np.uint8)
    for top in (2, 10, 20):
        mask[top : top + 4, 2:8] = CAR
    mask[30:39, 20:30], mask[0, 39], mask[35, :10] = PERSON, BICYCLE, 255
    dataset = masks_as_rows(mask)
    assert add_scores(dataset, Diversity())["num_objects"][:] == [5]
    assert add_scores(dataset, Diversity(min_area=2))["num_objects"][:] == [4]
    assert add_scores(dataset, Diversity(objects="class"))["num_objects"][:] == [3]
    assert add_scores(dataset, Diversity())["diversity"][:] == pytest.approx([2 + 1 + 1])
    square = {"class": CAR, "polygons": [[1.0, 1, 5, 1, 5, 5]]}
    given_objects = add_scores(given_rows([square, square]), Diversity(objects="column", labels="voc"))
    assert given_objects["num_objects"][:] == [2]


def test_it_shares_the_objects_with_tfdp(monkeypatch):
    from sds_hf.scores.base import shapes

    seen, found = [], shapes.component_outlines
    monkeypatch.setattr(shapes, "component_outlines", lambda *args: (seen.append(1), found(*args))[1])
    mask = np.zeros((20, 20), np.uint8)
    mask[2:9, 2:9] = CAR
    scored = add_scores(masks_as_rows(mask), Diversity(), TFDP(class_norm="none"))
    assert scored["num_objects"][:] == scored["num_instances"][:] == [1]
    assert len(seen) == 1


@given(st.dictionaries(st.integers(1, 20), st.integers(1, 50), max_size=8))
def test_bounds(counts):
    diversity, effective = object_diversity(counts, {}), effective_classes(list(counts.values()))
    assert len(counts) <= diversity + 1e-9 <= sum(counts.values()) + 1e-6
    assert (effective == 0) if not counts else (1 - 1e-9 <= effective <= len(counts) + 1e-9)


def test_what_makes_no_sense():
    with pytest.raises(ValueError, match=r"\['lorry'\] are no classes of 'voc'; there are \['aeroplane'"):
        add_scores(boxes_of([CAR]), Diversity(objects="boxes", labels="voc", weights={"lorry": 1.0}))
    with pytest.raises(RecipeError, match=r"score diversity: weights.*greater than 0"):
        Recipe.from_dict({"scores": {"diversity": {"weights": {"car": 0}}}})
    with pytest.raises(ValueError, match=r"the scores need the columns \['boxes'\]"):
        add_scores(masks_as_rows(np.ones((4, 4), np.uint8)), Diversity(objects="boxes"))
    with pytest.raises(ValueError, match=r"boxes: must be a list of .*, not 'car'"):
        add_scores(Dataset.from_dict({"boxes": ["car"]}), Diversity(objects="boxes", labels="voc"))
