"""Prompt against mask: both directions, spellings, and rows that were not asked for anything."""

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from support.rows import masks_as_rows

from sds_hf import PromptMismatch, Recipe, add_scores, select
from sds_hf.data.labels import COCO, VOC
from sds_hf.data.prompts import classes_in_prompt

DOG, CAT, PERSON, TV = (VOC.names.index(name) for name in ("dog", "cat", "person", "tvmonitor"))
COLUMNS = ("prompt_mismatch", "prompt_missing", "prompt_unnamed")


def prompted(*rows: tuple[list[int], str | None], column: str = "class_prompt") -> Dataset:
    """Rows of stripes of classes, each with a prompt."""
    masks = [np.array([[*classes, 0, 255]], np.uint8).repeat(3, 0) for classes, _ in rows]
    return masks_as_rows(*masks).add_column(column, [prompt for _, prompt in rows])


def test_both_directions():
    dataset = prompted(([DOG], "dog"), ([DOG], "dog cat"), ([DOG, PERSON], "dog"), ([CAT], "dog"), ([], "dog cat"))
    scored = add_scores(dataset, PromptMismatch())
    found = list(zip(*(scored[name][:] for name in COLUMNS), strict=True))
    assert found == [(0, [], []), (1, [CAT], []), (1, [], [PERSON]), (2, [DOG], [CAT]), (2, [CAT, DOG], [])]


@pytest.mark.parametrize("prompt", [None, "", "  "])
def test_without_a_prompt_it_is_null(prompt):
    scored = add_scores(prompted(([DOG], prompt), ([DOG], "dog")), PromptMismatch())
    assert [scored[name][0] for name in COLUMNS] == [None, None, None]


def test_a_prompt_that_names_no_class_leaves_all_unnamed():
    assert add_scores(prompted(([DOG], "unicorn")), PromptMismatch())["prompt_unnamed"][0] == [DOG]


def test_captions():
    dataset = prompted(([DOG, PERSON], "Two dogs, and people; outside."), ([TV], "an old TV-monitor"), column="caption")
    scored = add_scores(dataset, PromptMismatch(prompt="caption"))
    assert scored["prompt_mismatch"][:] == [0, 0]
    with pytest.raises(ValueError, match=r"the scores need the columns \['class_prompt', 'classes'\]"):
        add_scores(dataset, PromptMismatch())


def test_it_is_text_or_the_row_fails():
    dataset = masks_as_rows(np.full((2, 2), DOG, np.uint8)).add_column("class_prompt", [7])
    with pytest.raises(ValueError, match="all 1 rows failed, the first with: class_prompt: 7 is no text"):
        add_scores(dataset, PromptMismatch())


def test_a_rule_keeps_rows_that_agree():
    scored = add_scores(prompted(([DOG], "dog"), ([DOG], "cat"), ([CAT], "a cat")), PromptMismatch())
    recipe = Recipe.from_dict({"rules": [{"threshold": {"column": "prompt_mismatch", "below": 1}}]})
    assert select(scored, recipe).kept_rows().tolist() == [0, 2]


@given(st.sets(st.sampled_from(COCO.names[1:]), max_size=6), st.sampled_from(["{}", "{}s", "THE {}!"]))
def test_names_are_read_back_longest_first(names, form):
    """Also "hot dog" beside "dog", in any order."""
    takes_es = ("s", "ch", "sh", "x", "z")
    prompt = ", ".join(name if name.endswith(takes_es) else form.format(name) for name in sorted(names))
    assert {COCO.names[i] for i in classes_in_prompt(prompt, COCO.names)} == names


def test_words_within_words_are_no_classes():
    assert classes_in_prompt("a carpet, a category, scars and the hot doggerel", VOC.names) == set()
    assert classes_in_prompt("hot dog", COCO.names) == {COCO.names.index("hot dog")}
