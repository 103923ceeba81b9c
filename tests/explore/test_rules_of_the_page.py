"""The page's rules are the library's: the same rows, reasons, ranks, counts and quantiles, on random tables."""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.page import NODE, node, plain_number

from sds_hf.selection.recipe import Recipe
from sds_hf.selection.rules import RULES
from sds_hf.selection.select import EmptySelectionError, select

pytestmark = pytest.mark.skipif(NODE is None, reason="there is no Node")
PRECISIONS = {"half": pa.float16(), "single": pa.float32(), "double": pa.float64(), "whole": pa.int64()}
# Few different values, so that scores tie; some that are no round numbers, none, infinite or not a number.
VALUES = st.one_of(
    st.sampled_from([0.0, 0.25, 0.5, 0.8, 1.0, -1.5]),
    st.floats(-2, 2, width=32),
    st.sampled_from([None, float("nan"), float("inf"), float("-inf")]),
)
IDS = st.one_of(st.text("aZ0|é漢\U0001f415\uffee", min_size=1, max_size=4), st.integers(0, 300).map(str))
FRACTIONS = st.one_of(st.sampled_from([0.05, 0.145, 0.3, 0.35, 0.5, 0.6, 1.0]), st.floats(0.001, 1))
TARGETS = st.integers(1, 40)
QUANTILES = st.integers(0, 100).map(lambda percent: f"q{percent / 100:g}")
BOUNDS = st.one_of(st.sampled_from([-1.5, 0.0, 0.5, 0.8]), st.floats(-2, 2), QUANTILES)
SCORES = st.sampled_from(["single", "double", "half"])
KINDS = sorted(RULES)
SEVERAL = st.lists(st.sampled_from(["single", "double", "half", "whole"]), min_size=2, max_size=3)
GROUPS = ["whole", "text", "classes_present", "num_classes_present", "single"]


@st.composite
def tables(draw):
    """Columns as the page has them: ids, values by name, failed rows."""
    ids = draw(st.lists(IDS, unique=True, min_size=1, max_size=40))
    column = st.lists(VALUES, min_size=len(ids), max_size=len(ids))
    texts = st.lists(st.sampled_from(["a", "b", "é", None]), min_size=len(ids), max_size=len(ids))
    classes = draw(st.lists(st.lists(st.integers(1, 5), unique=True).map(sorted), min_size=len(ids), max_size=len(ids)))
    columns = {name: draw(column) for name in ("single", "double", "half")}
    with np.errstate(over="ignore"):
        columns["single"] = [None if value is None else float(np.float32(value)) for value in columns["single"]]
        columns["half"] = [None if value is None else float(np.float16(value)) for value in columns["half"]]
    whole = st.lists(st.one_of(st.none(), st.integers(-2, 3)), min_size=len(ids), max_size=len(ids))
    columns |= {"whole": draw(whole), "text": draw(texts), "classes_present": classes}
    columns["num_classes_present"] = [len(ids) for ids in classes]
    failed = draw(
        st.lists(st.booleans().map(lambda fails: fails and len(ids) > 5), min_size=len(ids), max_size=len(ids))
    )
    return ids, columns, failed


@st.composite
def rules(draw):
    size = draw(st.one_of(FRACTIONS.map(lambda share: {"fraction": share}), TARGETS.map(lambda n: {"target": n})))
    kind = draw(st.sampled_from(KINDS))
    column, seed = {"column": draw(SCORES)}, {"seed": draw(st.integers(0, 3))}
    if kind in ("threshold", "band"):
        names = draw(st.sampled_from([[0], [1], [0, 1]]))
        both = [("above", "below"), ("low", "high")][kind == "band"]
        return {kind: {**column, **{both[place]: draw(BOUNDS) for place in names}}}
    if kind == "top_per_group":
        by = draw(st.lists(st.sampled_from(GROUPS), unique=True, min_size=1, max_size=2))
        return {kind: {**draw(orders()), "by": by, **size}}
    if kind == "at_most_per_group":
        by = draw(st.lists(st.sampled_from(GROUPS), unique=True, min_size=1, max_size=2))
        return {kind: {**draw(st.one_of(orders(), st.just(seed))), "by": by, "rows": draw(st.integers(1, 8))}}
    if kind in ("rank_mean", "worst_rank"):
        return {kind: {"columns": draw(SEVERAL), **draw(within()), **size}}
    if kind == "stratified":
        cuts = {"strata": draw(st.integers(1, 8)), "drop_lowest": draw(st.sampled_from([0, 0.1, 0.35, 0.9]))}
        return {kind: {**column, **size, **cuts, **seed}}
    return {kind: {**size, **(seed if kind == "random" else column)}}


@st.composite
def orders(draw):
    """By a score, or by ranks in several."""
    kind = draw(st.sampled_from(["column", "worst_rank", "rank_mean"]))
    return {kind: draw(SCORES)} if kind == "column" else {kind: draw(SEVERAL), **draw(within())}


@st.composite
def within(draw):
    """Groups in which ranks are taken."""
    groups = draw(st.lists(st.sampled_from(GROUPS), unique=True, max_size=2))
    return {"within": groups} if groups else {}


@pytest.fixture(scope="module")
def page():
    with node("select_lines.js") as process:
        yield process


@pytest.fixture(scope="module")
def labels():
    with node("label_lines.js") as process:
        yield process


@given(table=tables(), recipe=st.lists(rules(), min_size=1, max_size=3))
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@example(  # 14.5 rows of 100 are 15, though 0.145 times 100 is a little less
    table=(
        [f"{row:03d}" for row in range(100)],
        {"single": [row / 128 for row in range(100)]},
        [False] * 100,
    ),
    recipe=[{"top_k": {"column": "single", "fraction": 0.145}}],
)
@example(  # one group, whichever of the two zeros its rows have
    table=(
        [f"{row:03d}" for row in range(6)],
        {"single": [0.0, -0.0] * 3, "double": [row / 128 for row in range(6)]},
        [False] * 6,
    ),
    recipe=[
        {"worst_rank": {"columns": ["double", "single"], "within": ["single"], "fraction": 0.7}},
        {"at_most_per_group": {"column": "double", "by": ["single"], "rows": 2}},
    ],
)
def test_the_same_rows_for_the_same_reasons(page, table, recipe):
    same_selection(page, table, recipe)


@pytest.mark.slow
@given(table=tables(), recipe=st.lists(rules(), min_size=1, max_size=3))
@settings(max_examples=500, suppress_health_check=list(HealthCheck))
def test_the_same_rows_for_the_same_reasons_on_500_tables(page, table, recipe):
    same_selection(page, table, recipe)


@given(recipe=st.lists(rules(), min_size=1, max_size=3))
@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@example(recipe=[{"threshold": {"column": "single", "above": bound}} for bound in (1, 0.8, 1e-5, 1e16, -0.25, "q0.1")])
@example(recipe=[{"top_k": {"column": "single", "fraction": share}} for share in (0.005, 0.125, 0.135, 0.145, 1)])
@example(recipe=[{"random": {"target": 1234567}}, {"stratified": {"column": "half", "target": 1, "drop_lowest": 0}}])
@example(recipe=[{"at_most_per_group": {"rows": 5000, "by": "text", "worst_rank": ["single", "half", "double"]}}])
def test_rules_are_called_the_same(labels, recipe):
    made = Recipe.from_dict({"rules": recipe}).rules
    assert [labels.ask(rule) for rule in recipe] == [rule.label for rule in made]
    assert [labels.ask({rule.kind: rule.settings()}) for rule in made] == [rule.label for rule in made]


def same_selection(page, table, recipe):
    ids, columns, failed = table
    answer = page.ask(
        {
            "ids": ids,
            "columns": {name: page_column(name, values) for name, values in columns.items()},
            "failed": [int(fails) for fails in failed],
            "classNames": [],
            "rules": recipe,
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scores.parquet"
        pq.write_table(arrow(ids, columns, failed), path)
        chosen = Recipe.from_dict({"rules": recipe})
        if any(step["after"] == 0 for step in answer.get("steps", ())):
            with pytest.raises(EmptySelectionError):
                select(str(path), chosen)
            return
        selection = select(str(path), chosen)
        rows, report = selection.table().to_pydict(), selection.report
    assert answer.get("error") is None
    assert answer["reasons"] == rows["reason"]
    assert [step["after"] for step in answer["steps"]] == [step.after for step in report.steps]
    assert [step["dropped"] for step in answer["steps"]] == [step.dropped for step in report.steps]
    bounds = [{name: plain_number(value) for name, value in step.bounds.items()} for step in report.steps]
    assert [step["bounds"] for step in answer["steps"]] == bounds
    in_groups = {name: values for name, values in rows.items() if name not in ("id", "row", "kept", "reason")}
    assert set(answer["rankings"]) == set(in_groups)
    for name, values in in_groups.items():
        assert [value or 0 for value in values] == answer["rankings"][name], name


def page_column(name, values):
    if name == "text":
        return {"kind": "text", "values": values}
    if name == "classes_present":
        return {"kind": "list", "values": values}
    precision = "whole" if name.startswith(("whole", "num_")) else name
    return {"kind": "number", "precision": precision, "values": [plain_number(value) for value in values]}


def arrow(ids, columns, failed):
    kinds = {"text": pa.string(), "classes_present": pa.list_(pa.int32()), "num_classes_present": pa.int32()}
    arrays = {
        name: pa.array(values if name != "half" else halves(values), kinds.get(name) or PRECISIONS[name])
        for name, values in columns.items()
    }
    status = pa.array(["failed" if fails else "ok" for fails in failed])
    row = pa.array(range(len(ids)), pa.int64())
    return pa.table({"id": pa.array(ids), "row": row, **arrays, "status": status})


def halves(values):
    with np.errstate(over="ignore"):
        return [None if value is None else np.float16(value) for value in values]
