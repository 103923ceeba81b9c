"""Tables of which only that is computed which decides: the same rows are kept, for the same reasons."""

import functools
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, Image
from hypothesis import given, settings
from hypothesis import strategies as st
from support.encoders import ExactEncoder, exact_similarity
from support.rows import random_row

from sds_hf import ASF, PCS, Boundary, Recipe, ScoreTable, score_table, select
from sds_hf.clip import similarity
from sds_hf.data.folder import row_features
from sds_hf.data.images import encode_jpeg, encode_mask
from sds_hf.data.labels import VOC
from sds_hf.scores.base.score import ClipScore
from sds_hf.selection.cascade.score import score_for
from sds_hf.selection.select import EmptySelectionError

SETTINGS = [
    {},
    {"similarity": "prob_min", "difference": "abs"},
    {"similarity": "cosine"},
    {"similarity": "clipscore", "shuffle": "channels", "orders": 5},
    {"similarity": "entropy", "difference": "abs"},
    {"similarity": "entropy"},
]
GROUPS = ["num_classes_present", "classes_present"]
COLUMNS = ["clip_sim", "pcs", "clip_sim_mixed", "asf_miou", "boundary"]


@functools.cache
def candidates() -> Dataset:
    """60 rows: some without a class, some without a judge's mask, two that cannot be read."""
    rows = []
    for index in range(60):
        row = random_row(index)
        noise = np.random.default_rng(index).integers(0, 256, (40, 40, 3), np.uint8)
        row |= {"id": f"{index * 37 % 60:02d}", "image": {"bytes": encode_jpeg(noise), "path": None}}
        other = random_row(index if index % 3 else index + 1)["mask"]
        row["other"] = None if index % 11 == 5 else other
        if index % 7 == 3:
            row |= {"mask": {"bytes": encode_mask(np.zeros((40, 40), np.uint8)), "path": None}, "classes": []}
        if index in (13, 44):
            row["image"] = {"bytes": b"no picture", "path": None}
        rows.append(row)
    return Dataset.from_list(rows, features=type(row_features(VOC))({**row_features(VOC), "other": Image()}))


def scores_of(pcs: dict) -> list:
    pcs = {"scales": (2, 4), "orders": 2} | pcs
    return [PCS(model="demo", dtype="fp32", **pcs), ASF(reference="column:other"), Boundary()]


@pytest.fixture(scope="module", autouse=True)
def encoder():
    """The exact encoder in place of any other."""
    exact = ExactEncoder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClipScore, "encoder", lambda score: exact)
        patch.setattr(similarity, "similarity", exact_similarity)
        yield exact


@functools.cache
def whole_table(which: int) -> ScoreTable:
    folder = Path(tempfile.mkdtemp()) / "whole"
    return score_table(candidates(), scores_of(SETTINGS[which]), folder, rows_per_shard=16)


def outcome(table: ScoreTable, recipe: Recipe) -> pa.Table | str:
    """All of a selection, or that nothing is left."""
    try:
        return select(table, recipe).table()
    except EmptySelectionError as error:
        return str(error).partition(" rows before it")[0]


def make_recipe(rules: list, name: str = "test") -> Recipe:
    return Recipe.from_dict({"name": name, "rules": rules})


NUMBERS = st.one_of(
    st.floats(-0.5, 1.2).map(lambda number: round(number, 2)), st.sampled_from(["q0.2", "q0.5", "q0.7"])
)
SIZES = st.one_of(st.fixed_dictionaries({"fraction": st.sampled_from([0.3, 0.6, 0.9])}), st.just({"target": 15}))
COLUMN = st.sampled_from([*COLUMNS, "clip_sim", "pcs", "pcs"])
SEVERAL = st.lists(st.sampled_from(COLUMNS), min_size=2, max_size=3, unique=True)
BY = st.sampled_from([GROUPS, GROUPS[:1], GROUPS[1:]])


def rule(kind: str, **parts: st.SearchStrategy) -> st.SearchStrategy:
    return st.fixed_dictionaries(parts).map(lambda values: {kind: values})


RULES = st.one_of(
    rule("threshold", column=COLUMN, above=NUMBERS),
    rule("threshold", column=COLUMN, above=st.just(-0.9), below=NUMBERS),
    rule("threshold", column=st.just("num_classes_present"), above=st.just(0)),
    rule("band", column=COLUMN, low=st.floats(-1, 0.3), high=st.floats(0.3, 1)),
    st.tuples(COLUMN, SIZES).map(lambda pair: {"top_k": {"column": pair[0], **pair[1]}}),
    st.tuples(SEVERAL, SIZES).map(lambda pair: {"rank_mean": {"columns": pair[0], **pair[1]}}),
    st.tuples(COLUMN, SIZES, BY).map(lambda three: {"top_per_group": {"column": three[0], "by": three[2], **three[1]}}),
    rule("at_most_per_group", rows=st.integers(1, 8), by=BY, column=COLUMN),
    rule("at_most_per_group", rows=st.integers(1, 8), by=BY),
    rule("stratified", column=COLUMN, fraction=st.just(0.7), strata=st.just(4)),
    rule("random", fraction=st.just(0.6)),
)


QUESTIONS = st.integers(0, len(SETTINGS) - 1), st.lists(RULES, min_size=1, max_size=4), st.sampled_from([5, 16, 60])


@settings(max_examples=8)
@given(*QUESTIONS)
def test_the_same_rows_are_kept_for_the_same_reasons(which, rules, batch_size):
    check_same(which, rules, batch_size)


@pytest.mark.slow
@settings(max_examples=250)
@given(*QUESTIONS)
def test_the_same_rows_are_kept_for_the_same_reasons_by_many_recipes(which, rules, batch_size):
    check_same(which, rules, batch_size)


def check_same(which: int, rules: list, batch_size: int) -> None:
    """A table for some rules says the same as the whole one, and becomes it."""
    recipe, whole = make_recipe(rules), whole_table(which)
    scores = scores_of(SETTINGS[which])
    with tempfile.TemporaryDirectory() as folder:
        table = score_for(
            candidates(), recipe, f"{folder}/scores", scores=scores, rows_per_shard=16, batch_size=batch_size
        )
        assert outcome(table, recipe) == outcome(whole, recipe)
        partial, full = table.to_arrow(), whole.to_arrow()
        for name in full.column_names[2:-2]:  # what is not skipped is what the whole table has
            skipped = [name in (cell or ()) for cell in partial["skipped_scores"].to_pylist()]
            pairs = zip(partial[name].to_pylist(), full[name].to_pylist(), skipped, strict=True)
            assert all((value is None) if skip else value == number for value, number, skip in pairs), name
        rows = zip(
            *(partial[name].to_pylist() for name in ("pcs_low", "pcs_high")), full["pcs"].to_pylist(), strict=True
        )
        assert all(low is None or low <= pcs <= high for low, high, pcs in rows)
        # Going on to everything gives the whole table, byte by byte.
        score_table(candidates(), scores, f"{folder}/scores", rows_per_shard=16, batch_size=batch_size)
        assert [path.read_bytes() for path in ScoreTable.load(f"{folder}/scores").paths] == [
            path.read_bytes() for path in whole.paths
        ]
