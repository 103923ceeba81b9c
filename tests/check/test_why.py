"""Why a row is kept or dropped: the same as the selection found, told rule by rule."""

import json
import re
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sds_hf import Band, Stratified, Threshold, TopK, TopPerGroup, select, why
from sds_hf.check.reasons.words import reason_in_words
from sds_hf.cli import main
from sds_hf.selection.report import Step

ROWS = 60
RULES = [
    Threshold(column="u", above="q0.1"),
    Band(column="v", low=0.1, high=0.9),
    TopPerGroup(column="u", by=("num_classes_present", "classes_present", "place"), fraction=0.3),
]


@pytest.fixture
def scores(tmp_path):
    rng = np.random.default_rng(4)
    classes = [sorted(rng.choice(np.arange(1, 4), rng.integers(1, 4), replace=False).tolist()) for _ in range(ROWS)]
    table = pa.table(
        {
            "id": [f"r'{row}" for row in range(ROWS)],
            "u": rng.integers(0, 10, ROWS).astype(np.float32) / 10,  # many are equal
            "v": pa.array([None if row == 5 else value for row, value in enumerate(rng.random(ROWS))], pa.float32()),
            "classes_present": pa.array(classes, pa.list_(pa.int32())),
            "num_classes_present": pa.array([len(ids) for ids in classes], pa.int32()),
            "place": pa.array(rng.choice(["it's", 'a "b"'], ROWS)),
        }
    )
    pq.write_table(table, tmp_path / "scores.parquet")
    return str(tmp_path / "scores.parquet")


@pytest.fixture
def selection(scores, tmp_path):
    return select(scores, RULES, out=tmp_path / "selection")


def test_ranks_values_and_bounds_are_those_of_the_selection(selection, scores):
    table = {row["id"]: row for row in pq.read_table(scores).to_pylist()}
    rows = selection.table().to_pylist()
    ranked = {row["id"] for row in rows if row["num_classes_rank"] is not None}
    for row in rows[::4]:
        answer, own = why(selection, row["id"], scores), table[row["id"]]
        assert (answer.kept, answer.reason, answer.row) == (row["kept"], row["reason"], row["row"])
        assert answer.rules[0].values == {"u": pytest.approx(own["u"])}
        assert answer.rules[0].rule == selection.report.steps[0].text
        assert answer.rules[1].passes == (own["v"] is not None and 0.1 <= own["v"] <= 0.9)
        if row["id"] not in ranked:
            assert (answer.rules[2].places, answer.rules[2].passes) == ([], None)
            continue
        assert answer.rules[2].passes == row["kept"]
        groups = [("num_classes", "num_classes_present"), ("class", "classes_present"), ("place", "place")]
        for place in answer.rules[2].places:
            family, _, name = re.sub(r"^(\d+) class(es)?$", r"num_classes \1", place.group).partition(" ")
            column = dict(groups)[family]
            member = [other for other in ranked if name in map(str, np.atleast_1d(table[other][column]).tolist())]
            order = sorted(member, key=lambda other: (-table[other]["u"], other))
            assert (place.rank, place.size) == (order.index(row["id"]) + 1, len(order))
            assert place.cutoff == int(np.ceil(0.3 * len(order) - 1e-9))
        assert len(answer.rules[2].places) == 2 + len(own["classes_present"])


def test_reasons_are_told_in_words(selection, scores, tmp_path):
    words = {row["reason"]: why(selection, row["id"], scores).words for row in selection.table().to_pylist()}
    assert words["dropped:null"] == "has no score that a rule needs"
    assert words["dropped:u"] == f"u 0 is not above {selection.report.steps[0].bounds['above']:.6g}"
    assert re.fullmatch(r"v 0\.\d+ is (below 0\.1|above 0\.9)", words["dropped:v"])
    assert words["dropped:top_fraction"].startswith("not among the best of its groups, rank ")
    assert "among the best with 1 class, rank " in words["kept:num_classes=1"]
    for rule, said in (
        (TopK(column="u", target=9), "among the best of all, rank "),
        (Stratified(column="u", target=9), "stratum"),
    ):
        other = select(scores, rule, out=tmp_path / rule.kind)
        kept = next(row["id"] for row in other.table().to_pylist() if row["kept"])
        assert said in why(other, kept).words


def test_without_scores_the_selection_alone_is_told(selection):
    answer = why(selection, "r'0")
    assert answer.scores == {} == answer.rules[0].values
    assert repr(answer).startswith("r'0 (row 0) is ")


def test_rows_of_a_reason(selection):
    counts = selection.report.reasons
    assert selection.rows("dropped:u").num_rows == counts["dropped:u"]
    assert selection.rows("kept:").num_rows == selection.rows(kept=True).num_rows == selection.report.kept
    assert selection.rows("dropped", kept=True).num_rows == 0
    assert "class_rank" in selection.rows().column_names
    with pytest.raises(ValueError, match=r"no row has the reason 'dropped:w'; there are \['dropped:null'"):
        selection.rows("dropped:w")


def test_rows_and_scores_that_are_not_there_are_refused(selection, scores, tmp_path):
    with pytest.raises(ValueError, match="there is no row 'x' among the 60 candidates"):
        why(selection, "x", scores)
    pq.write_table(pq.read_table(scores).slice(3), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match='the scores have no row 1 called "r\'1": give those of the selection'):
        why(selection, "r'1", str(tmp_path / "other.parquet"))


def test_the_command_says_it_too(selection, scores, capsys):
    folder = str(selection.path.parent)
    assert main(["why", folder, "r'7", "--scores", scores, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)["result"]
    assert answer["words"] == why(selection, "r'7", scores).words
    assert main(["why", folder, "r'7"]) == 0
    assert "--scores SCORES adds the row's values" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("dropped:pcs is the weakest, rank 3 of 9 in class=dog", "pcs is the weakest, rank 3 of 9 in class=dog"),
        ("dropped:of a rule of others", "of a rule of others"),
        ("kept:place=a=b", "among the best of place a=b"),
        ("kept:num_classes=2", "among the best with 2 classes"),
        ("kept:mine", "passes mine"),
        ("dropped:u", "u is not above 0.1"),
        ("dropped:u=1", "u=1"),
    ],
)
def test_reasons_of_any_rule_are_told(reason, words):
    record = {"reason": reason, "kept": reason.startswith("kept")}
    step = Step(rule="u > 0.1", before=2, after=1)
    assert reason_in_words(record, [Threshold(column="u", above=0.1)], [step]) == words


def test_the_table_beside_a_selection_is_taken(job, tmp_path):
    """As a run leaves them."""
    shutil.copytree(job.table.folder, tmp_path / "scores")
    select(job.table, job.recipe, out=tmp_path / "selection")
    row_id = job.dataset["id"][3]
    assert why(tmp_path / "selection", row_id).scores == why(tmp_path / "selection", row_id, job.table).scores != {}
    shutil.rmtree(tmp_path / "scores")
    assert why(tmp_path / "selection", row_id).scores == {}
