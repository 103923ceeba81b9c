"""Mistakes that come naturally in Python: each is answered in one line that says what to do."""

import pytest
from datasets import Dataset

import sds_hf
from sds_hf import PCS, Boundary, Recipe, Threshold, add_scores, diff, export, publish, select, verify, why
from sds_hf.demo.dataset import demo_features, demo_rows

HALF = Recipe(name="half", rules=[Threshold("boundary", "q0.5")])


@pytest.fixture(scope="module")
def scored():
    return add_scores(Dataset.from_list(list(demo_rows(6)), features=demo_features()), Boundary())


@pytest.fixture(scope="module")
def selection(scored):
    return select(scored, HALF)


MISTAKES = {
    "a score first": (lambda rows, _: add_scores(Boundary(), rows), "add_scores takes a Dataset, .*, not Boundary"),
    "a rule first": (
        lambda rows, _: select(Threshold("boundary", 0.1), rows),
        r'rules such as|such as Threshold\("pcs"',
    ),
    "a selection first": (lambda rows, chosen: publish(chosen, rows, HALF, folder="x"), "then the Selection that `sel"),
    "a selection exported": (lambda _, chosen: export(chosen, "voc", "x"), "which of them as selection="),
    "a dataset verified": (lambda rows, _: verify(rows), "is told by its folder or its Hub id, not by Dataset"),
    "selections compared": (lambda _, chosen: diff(chosen, chosen), r"a selection is saved with `selection\.save"),
    "fewer rows": (
        lambda rows, chosen: chosen.apply(rows.select([0])),
        "of 6 rows; this dataset has 1: give",
    ),
    "a row's number": (lambda _, chosen: why(chosen, 1), "row 1 has the id '"),
    "a row's id, nearly": (lambda rows, chosen: why(chosen, rows["id"][0] + "0"), "did you mean '"),
    "a misspelt name": (lambda *_: sds_hf.thresold, "did you mean 'Threshold'"),
    "a bound first": (lambda *_: Threshold(0.2, "boundary"), "column: must be a text, not 0.2; above: must be a numb"),
    "a number for a list": (lambda *_: PCS(scales=8), "scales: must be a list, not 8"),
    "no scores": (lambda rows, _: select(rows, "demo"), "add the score clip_sim, pcs, asf_miou with `add_scores`, or"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_answered_in_one_line(mistake, scored, selection):
    call, message = MISTAKES[mistake]
    with pytest.raises((ValueError, AttributeError), match=message) as caught:
        call(scored, selection)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
