"""The page decides with values that were not computed as the library does, and refuses rules that ask for them."""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.page import NODE, node, plain_number

from sds_hf.selection.recipe import Recipe
from sds_hf.selection.select import EmptySelectionError, select

pytestmark = pytest.mark.skipif(NODE is None, reason="there is no Node")
ROWS = 12
VALUES = st.lists(st.sampled_from([None, 0.0, 0.1, 0.3, 0.1 + 0.2, 0.7, float("inf")]), min_size=ROWS, max_size=ROWS)
BOUNDS = st.one_of(st.sampled_from([0.0, 0.1, 0.3, 0.1 + 0.2, 0.5, 0.7, 1.0]), st.sampled_from(["q0.2", "q0.5"]))
COLUMN = st.sampled_from(["pcs", "boundary"])


@st.composite
def rules(draw):
    kind, column = draw(st.sampled_from(["threshold", "band", "top_k", "worst_rank", "top_per_group"])), draw(COLUMN)
    if kind in ("threshold", "band"):
        names = ["above", "below"] if kind == "threshold" else ["low", "high"]
        chosen = draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
        return {kind: {"column": column, **{name: draw(BOUNDS) for name in chosen}}}
    if kind == "worst_rank":
        return {kind: {"columns": ["pcs", "boundary"], "target": 5}}
    return {kind: {"column": column, "fraction": 0.5, **({"by": ["group"]} if kind == "top_per_group" else {})}}


@st.composite
def tables(draw):
    """Columns with the values that were computed, which were skipped, and the intervals of `pcs`."""
    truth = {name: np.float32([np.nan if v is None else v for v in draw(VALUES)]) for name in ("pcs", "boundary")}
    masks = st.lists(st.booleans(), min_size=ROWS, max_size=ROWS)
    skipped = {name: np.array(draw(masks)) for name in truth}
    width = st.lists(st.sampled_from([0.0, 0.15, 0.5]), min_size=ROWS, max_size=ROWS)
    low, high = truth["pcs"] - np.float32(draw(width)), truth["pcs"] + np.float32(draw(width))
    return truth, skipped, low, high


@pytest.fixture(scope="module")
def page():
    with node("select_lines.js") as process:
        yield process


def numbers(values, lacking=None):
    hidden = np.isnan(values) if lacking is None else lacking | np.isnan(values)
    return [None if hide else float(value) for value, hide in zip(values, hidden, strict=True)]


@given(table=tables(), recipe=st.lists(rules(), min_size=1, max_size=3))
@settings(max_examples=80, suppress_health_check=list(HealthCheck))
def test_the_same_rows_or_the_same_refusal(page, table, recipe):
    truth, skipped, low, high = table
    values = {name: numbers(truth[name], skipped[name]) for name in truth}
    ends = {"pcs_low": numbers(low, ~skipped["pcs"]), "pcs_high": numbers(high, ~skipped["pcs"])}
    names = [[name for name in truth if skipped[name][row]] for row in range(ROWS)]
    ids, group = [f"{row:02d}" for row in range(ROWS)], [row % 3 for row in range(ROWS)]
    floats = {name: pa.array(cells, pa.float32()) for name, cells in {**values, **ends}.items()}
    lists = pa.array(names, pa.list_(pa.string()))
    cells = pa.table({"id": ids, "row": range(ROWS), "group": group, **floats, "skipped_scores": lists})
    page_columns = {
        name: {"kind": "number", "precision": "single", "values": [plain_number(value) for value in column]}
        for name, column in values.items()
    }
    page_columns["group"] = {"kind": "number", "precision": "whole", "values": group}
    intervals = {name: [plain_number(value) for value in column] for name, column in ends.items()}
    lacking = {name: {"rows": skipped[name].astype(int).tolist()} for name in truth if skipped[name].any()}
    if "pcs" in lacking:
        lacking["pcs"] |= {"low": intervals["pcs_low"], "high": intervals["pcs_high"]}
    answer = page.ask({"ids": ids, "columns": page_columns, "failed": None, "skipped": lacking, "rules": recipe})
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(cells, Path(folder) / "scores.parquet")
        scores, chosen = str(Path(folder) / "scores.parquet"), Recipe.from_dict({"rules": recipe})
        if "error" in answer:
            assert "was not computed, as no rule needed it" in answer["error"]
            with pytest.raises(ValueError, match="of which that was skipped"):
                select(scores, chosen)
        elif any(step["after"] == 0 for step in answer["steps"]):
            with pytest.raises(EmptySelectionError):
                select(scores, chosen)
        else:
            assert answer["reasons"] == select(scores, chosen).table()["reason"].to_pylist()
