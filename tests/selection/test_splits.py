"""Splits of a partly synthetic pool for semi-supervised training."""

import pytest
from datasets import DatasetDict, Image
from hypothesis import given, settings
from hypothesis import strategies as st
from support.rows import random_dataset

from sds_hf.selection.splits import class_queue, split_unlabeled

PROBABILITIES = [0.1, 0.3, 0.31, 0.5, 0.69, 0.7, 0.9, None]
COLUMNS = ["image", "id", "pseudo_class", "synthetic_prob", "difficulty", "is_synthetic", "generator", "head"]


@pytest.fixture
def pool():
    return random_dataset(8).add_column("real_prob", PROBABILITIES)


def names(splits: DatasetDict) -> dict[str, list[int]]:
    return {name: [int(row_id[3:]) for row_id in split["id"]] for name, split in splits.items()}


def test_rows_go_by_their_probability(pool):
    splits = split_unlabeled(pool)
    assert names(splits) == {
        "labeled": [],
        "unlabeled_real": [5, 6],
        "unlabeled_synthetic": [0, 1],
        "unlabeled_unsure": [2, 3, 4, 7],
    }
    assert names(split_unlabeled(pool, lo=0.4, hi=0.5))["unlabeled_unsure"] == [7]


def test_bounds_are_as_exact_as_the_column(pool):
    from datasets import Value

    single = pool.cast_column("real_prob", Value("float32"))
    assert names(split_unlabeled(single)) == names(split_unlabeled(pool))


def test_splits_have_the_columns_of_the_interface(pool):
    splits = split_unlabeled(pool)
    for name, split in splits.items():
        assert sorted(split.column_names) == sorted([*COLUMNS, "mask"] if name == "labeled" else COLUMNS)
    synthetic, real = splits["unlabeled_synthetic"], splits["unlabeled_real"]
    assert set(synthetic["head"]) == {"dummy"}
    assert set(real["head"]) == set(splits["unlabeled_unsure"]["head"]) == {"main"}
    assert list(synthetic["synthetic_prob"]) == pytest.approx([0.9, 0.7])
    assert list(synthetic["pseudo_class"]) == [pool[0]["classes"], pool[1]["classes"]]
    assert splits["unlabeled_unsure"]["synthetic_prob"][3] is None
    assert set(real["difficulty"]) == set(real["generator"]) == set(real["is_synthetic"]) == {None}
    assert splits["labeled"].features["pseudo_class"].feature.dtype == "int32"


def test_what_is_known_overrides_the_probability(pool):
    known = pool.add_column("is_synthetic", [False, None, True, True, None, True, None, False])
    splits = split_unlabeled(known)
    assert names(splits)["unlabeled_real"] == [0, 6, 7]
    assert names(splits)["unlabeled_synthetic"] == [1, 2, 3, 5]
    assert list(splits["unlabeled_synthetic"]["is_synthetic"]) == [None, True, True, True]


def test_labelled_rows_keep_their_mask(pool):
    labelled = pool.add_column("labeled", [True, None, False, True, *[False] * 4])
    splits = split_unlabeled(labelled)
    assert names(splits)["labeled"] == [0, 3]
    assert names(splits)["unlabeled_synthetic"] == [1]
    assert splits["labeled"][0]["mask"].size == pool[0]["mask"].size


def test_images_are_untouched(pool):
    splits = split_unlabeled(pool)
    stored = pool.cast_column("image", Image(decode=False))
    for split in splits.values():
        for row in split.cast_column("image", Image(decode=False)):
            assert row["image"]["bytes"] == stored[int(row["id"][3:])]["image"]["bytes"]


@settings(max_examples=15)
@given(st.lists(st.tuples(st.none() | st.floats(0, 1), st.none() | st.booleans()), min_size=4, max_size=4))
def test_every_row_is_in_one_split(cells):
    probabilities, known = zip(*cells, strict=True)
    data = random_dataset(4).add_column("real_prob", list(probabilities))
    data = data.add_column("is_synthetic", list(known))
    splits = split_unlabeled(data)
    assert sorted(place for rows in names(splits).values() for place in rows) == [0, 1, 2, 3]


def test_queues_hold_the_most_surely_synthetic_of_each_class(pool):
    queues = class_queue(pool, q=2)
    classes = pool["classes"]
    for class_id, queue in queues.items():
        members = [row for row in range(7) if class_id in classes[row]]
        wanted = sorted(members, key=lambda row: (PROBABILITIES[row], f"row{row:03d}"))[:2]
        assert [int(name[3:]) for name in queue["id"]] == wanted
    assert queues.keys() == {class_id for row in range(7) for class_id in classes[row]}


def test_queues_of_the_splits_and_of_the_pool_agree(pool):
    synthetic = split_unlabeled(pool, lo=0.5)["unlabeled_synthetic"]
    from_pool = {c: list(queue["id"]) for c, queue in class_queue(pool.select(range(4))).items()}
    assert {c: list(queue["id"]) for c, queue in class_queue(synthetic).items()} == from_pool


def test_queues_know_provenance(pool):
    classes = [[3]] * 8
    data = pool.remove_columns("classes").add_column("classes", classes)
    data = data.add_column("is_synthetic", [False, None, None, None, None, None, True, None])
    assert list(class_queue(data, q=3)[3]["id"]) == ["row006", "row001", "row002"]


def test_errors_say_what_to_do(pool):
    with pytest.raises(ValueError, match=r"lo and hi must be probabilities with lo below hi, not 0.7 and 0.3"):
        split_unlabeled(pool, lo=0.7, hi=0.3)
    with pytest.raises(ValueError, match="the dataset has no column 'real_prob', only"):
        split_unlabeled(pool.remove_columns("real_prob"))
    with pytest.raises(ValueError, match=r"has none of the columns \['pseudo_class', 'classes_present', 'classes'\]"):
        class_queue(pool.remove_columns("classes"))
    with pytest.raises(ValueError, match="q must be at least 1, not 0"):
        class_queue(pool, q=0)
