"""Candidates, random rules and an exact encoder, for tables of which only that is computed which decides."""

import functools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from datasets import Dataset, Image
from hypothesis import strategies as st

from sds_hf import ASF, PCS, Boundary, Recipe, ScoreTable, score_for, score_table, select
from sds_hf.data.folder import row_features
from sds_hf.data.images import decode_mask, encode_jpeg, encode_mask
from sds_hf.data.labels import VOC
from sds_hf.selection.select import EmptySelectionError
from support.encoders import ExactEncoder
from support.rows import random_row

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
        moved = np.roll(decode_mask(row["mask"], "mask"), index % 9, 1)  # what somebody else thinks
        row["other"] = None if index % 11 == 5 else {"bytes": encode_mask(moved), "path": None}
        if index % 7 == 3:
            row |= {"mask": {"bytes": encode_mask(np.zeros((40, 40), np.uint8)), "path": None}, "classes": []}
        if index in (13, 44):
            row["image"] = {"bytes": b"no picture", "path": None}
        rows.append(row)
    return Dataset.from_list(rows, features=type(row_features(VOC))({**row_features(VOC), "other": Image()}))


def scores_of(pcs: dict) -> list:
    pcs = {"scales": (2, 4), "orders": 2} | pcs
    return [PCS(model="demo", dtype="fp32", **pcs), ASF(reference="column:other"), Boundary()]


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


BOUNDS = [{"threshold": {"column": "clip_sim", "above": 0.3}}, {"threshold": {"column": "pcs", "above": 0.0}}]
TOP = {"top_per_group": {"column": "asf_miou", "by": GROUPS, "fraction": 0.6}}
PHASES = [
    {"threshold": {"column": "clip_sim", "above": "q0.3"}},
    {"threshold": {"column": "pcs", "above": "q0.3"}},
    TOP,
]


def table_for(folder: Path, rules: list, name: str = "test", **options) -> ScoreTable:
    settings = {"scores": scores_of({}), "rows_per_shard": 16, "batch_size": 8} | options
    return score_for(candidates(), make_recipe(rules, name), folder, **settings)


def files_of(folder: Path) -> dict[str, bytes]:
    """All files of a table; when it was made is no part of the manifest here."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files["manifest.json"] = json.dumps(json.loads(files["manifest.json"]) | {"created": 0}).encode()
    return files


def passes_of(encoder: ExactEncoder, make: Callable[[], object]) -> int:
    before = encoder.passes
    make()
    return encoder.passes - before
