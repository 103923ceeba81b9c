"""Tables of which only that is computed which decides: the same rows are kept, for the same reasons."""

import base64
import json
import re
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cascade import (
    BOUNDS,
    PHASES,
    RULES,
    SETTINGS,
    TOP,
    candidates,
    files_of,
    make_recipe,
    outcome,
    passes_of,
    scores_of,
    table_for,
    whole_table,
)
from support.crashes import Crash, crash_at

from sds_hf import (
    ScoreTable,
    diff,
    look,
    publish,
    sample,
    score_for,
    score_table,
    select,
    why,
)
from sds_hf.clip.launcher import Rank
from sds_hf.explore.exploration import open_exploration
from sds_hf.explore.published import write_explorer
from sds_hf.prove.judge import judge
from sds_hf.table.plan import plan_table
from sds_hf.table.team import PartScored

pytestmark = pytest.mark.usefixtures("encoder")
QUESTIONS = st.integers(0, len(SETTINGS) - 1), st.lists(RULES, min_size=1, max_size=4), st.sampled_from([5, 16, 60])


@settings(max_examples=8)
@given(*QUESTIONS)
def test_the_same_rows_are_kept_for_the_same_reasons(which, rules, batch_size):
    check_same(which, rules, batch_size)


@pytest.mark.slow
@settings(max_examples=120)
@given(*QUESTIONS)
def test_the_same_rows_are_kept_for_the_same_reasons_by_many_recipes(which, rules, batch_size):
    check_same(which, rules, batch_size)


def test_a_table_of_one_phase_that_has_all_values_becomes_the_whole_one():
    """There is nothing to compute, and columns of intervals to leave out."""
    check_same(0, [{"rank_mean": {"columns": ["pcs", "asf_miou", "boundary"], "target": 15}}], 5)


def test_a_bound_that_a_table_stores_as_another_number():
    """Some rows have 0.3, which a table of float32 stores as 0.30000001, and so the bound."""
    check_same(0, [{"band": {"column": "asf_miou", "low": 0.3}}, {"threshold": {"column": "clip_sim", "above": 0}}], 5)


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


# A table on its way: crashes, other wishes, failures


# A table on its way: crashes, other wishes, failures


@pytest.mark.parametrize("calls", [3, 9, 14])
def test_a_run_that_dies_in_any_phase_goes_on(tmp_path, calls):
    whole, left = table_for(tmp_path / "whole", PHASES), calls

    def dies(done: int, failed: int) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise Crash

    with pytest.raises(Crash):
        table_for(tmp_path / "crashed", PHASES, progress=dies)
    with pytest.raises(ValueError, match="is not finished"):
        select(tmp_path / "crashed", make_recipe(PHASES))
    table_for(tmp_path / "crashed", PHASES)
    assert files_of(tmp_path / "crashed") == files_of(whole.folder)


def test_nothing_is_computed_twice(encoder, tmp_path):
    strict = [{"threshold": {"column": "clip_sim", "above": 0.6}}, *BOUNDS[1:], TOP]
    first = passes_of(encoder, lambda: table_for(tmp_path / "scores", strict))
    everything = 58 * 5  # of the two that cannot be read none
    assert 58 < first < 0.5 * everything
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "scores").iterdir()}
    assert passes_of(encoder, lambda: table_for(tmp_path / "scores", strict)) == 0
    assert files == {path: path.stat().st_mtime_ns for path in (tmp_path / "scores").iterdir()}
    selected = select(tmp_path / "scores", make_recipe(strict))

    table, looser = ScoreTable.load(tmp_path / "scores"), [*BOUNDS, TOP]
    with pytest.raises(
        ValueError, match=r"'pcs > 0.0' asks for pcs of \d+ rows of which that was skipped, .* its option `for`"
    ):
        select(table, make_recipe(looser))
    assert passes_of(encoder, lambda: table_for(tmp_path / "scores", looser, "looser")) < everything - first
    assert outcome(ScoreTable.load(table.folder), make_recipe(looser)) == outcome(whole_table(0), make_recipe(looser))
    assert (
        outcome(ScoreTable.load(table.folder), make_recipe(strict)) == selected.table()
    )  # rows only got further values
    assert ScoreTable.load(table.folder).holds(selected.report.provenance["table_sha256"])

    score_table(candidates(), scores_of({}), table.folder, rows_per_shard=16)
    whole = ScoreTable.load(table.folder)
    assert [path.read_bytes() for path in whole.paths] == [path.read_bytes() for path in whole_table(0).paths]
    assert not whole.skips
    assert whole.holds(selected.report.provenance["table_sha256"])
    assert passes_of(encoder, lambda: table_for(table.folder, strict)) == 0  # a table that has everything stays
    assert not ScoreTable.load(table.folder).skips


def test_an_early_stop_leaves_the_interval(tmp_path):
    table = table_for(tmp_path / "scores", BOUNDS).to_arrow()
    rows = [row for row in table.to_pylist() if row["status"] == "skipped" and row["clip_sim"] is not None]
    dropped = [row for row in rows if not row["clip_sim"] > np.float32(0.3)]
    assert dropped
    for row in dropped:  # no shuffle was looked at
        assert row["pcs_shuffles"] == 0
        assert (row["pcs_low"], row["pcs_high"]) == pytest.approx((row["clip_sim"] - 1, row["clip_sim"]), abs=2e-5)
        assert {"pcs", "clip_sim_mixed", "asf_miou", "boundary"} < set(row["skipped_scores"])
    others = [row for row in rows if row["clip_sim"] > np.float32(0.3)]
    assert {row["pcs"] is None for row in others} == {True, False}  # some bounds are certain early, others at the end
    for row in others:
        decided = row["pcs"] is not None or row["pcs_low"] > 0 or row["pcs_high"] <= 0
        assert decided
        assert row["pcs_shuffles"] == 4 or row["pcs"] is None


def test_a_manifest_says_what_was_needed_and_done(encoder, tmp_path):
    made = []
    passes = passes_of(encoder, lambda: made.append(table_for(tmp_path / "scores", [*BOUNDS, TOP], "mine")))
    needed, rows = made[0].manifest["needed"], made[0].to_arrow()
    assert (needed["recipe"], needed["rules"]) == ("mine", [*BOUNDS, {"top_per_group": TOP["top_per_group"]}])
    assert needed["work"] == {"encoder passes of pcs": [passes, 5 * len(rows)]}
    assert needed["rows"]["clip_sim"] == 58
    assert needed["rows"]["boundary"] == 0
    assert 0 < needed["rows"]["asf_miou"] < 58
    report = select(made[0], make_recipe([*BOUNDS, TOP])).report
    assert report.provenance["needed"] == needed
    counts = ", ".join(f"{name} for {needed['rows'][name]}" for name in ("pcs", "asf_miou"))
    assert f"of 60 rows only what decides was computed: {counts}, clip_sim_mixed for " in report.warnings[0]


def test_rows_that_failed_are_scored_when_they_are_repaired(tmp_path):
    rows = candidates().with_format("arrow")[:].to_pylist()
    for place in (13, 44):
        rows[place]["image"] = rows[place + 1]["image"]
    repaired = Dataset.from_list(rows, features=candidates().features)
    table_for(tmp_path / "scores", PHASES)
    settings = {"scores": scores_of({}), "rows_per_shard": 16, "batch_size": 8}
    again = score_for(repaired, make_recipe(PHASES), tmp_path / "scores", **settings, retry="failed")
    assert again.manifest["failed"] == 0
    whole = score_table(repaired, scores_of({}), tmp_path / "whole", rows_per_shard=16)
    assert outcome(again, make_recipe(PHASES)) == outcome(whole, make_recipe(PHASES))


def test_fewer_scores_than_the_table_has_are_enough(tmp_path):
    table_for(tmp_path / "scores", BOUNDS)
    table = table_for(tmp_path / "scores", BOUNDS[:1], scores=scores_of({})[:1])
    assert [entry["score"] for entry in table.manifest["scores"]] == ["classes_present", "pcs", "asf_miou", "boundary"]
    with pytest.raises(ValueError, match=r"holds scores of another request \(scores.pcs.orders is 2, now 3"):
        table_for(tmp_path / "scores", BOUNDS, scores=scores_of({"orders": 3}))


def test_what_needs_everything_refuses_in_one_line(tmp_path):
    table, rows = table_for(tmp_path / "scores", BOUNDS), candidates()
    with pytest.raises(ValueError, match=r"a sample by 'pcs' needs all scores of all rows.* its option `all`"):
        sample(select(table, make_recipe(BOUNDS)), 5, by="pcs", scores=table)
    with pytest.raises(ValueError, match=r"holds scores of another request \(source.stream is null, now true"):
        score_table(rows.to_iterable_dataset(), scores_of({}), table.folder, rows_per_shard=16)
    with pytest.raises(ValueError, match="more than once, which a stream cannot"):
        score_for(rows.to_iterable_dataset(), make_recipe(BOUNDS), tmp_path / "stream", scores=scores_of({}))
    with pytest.raises(ValueError, match=r"a plan cannot say how long the values take that .* skips"):
        plan_table(rows, scores_of({}), table.folder, rows_per_shard=16)
    with pytest.raises(ValueError, match=r"the rules read \['beauty'\], which no score of the recipe writes"):
        table_for(tmp_path / "none", [{"top_k": {"column": "beauty", "target": 3}}])
    with pytest.raises(Crash):
        score_table(rows, scores_of({}), tmp_path / "all", rows_per_shard=16, progress=crash_at(20))
    with pytest.raises(ValueError, match="holds an unfinished table of all scores: finish that first"):
        table_for(tmp_path / "all", BOUNDS)


def test_what_has_all_values_is_judged_and_the_rest_says_why_not(tmp_path):
    rules = [*BOUNDS, {"top_k": {"column": "asf_miou", "fraction": 0.5}}]
    for name, more in (("mine", rules), ("other", [{"top_k": {"column": "pcs", "fraction": 0.5}}])):
        (tmp_path / f"{name}.yaml").write_text(json.dumps({"name": name, "rules": more}))
    truth = ["torn" if index % 3 else None for index in range(60)]
    options = {"dataset": candidates().add_column("defect", truth), "draws": 5, "size": 6}
    options |= {"recipes": [tmp_path / "mine.yaml", tmp_path / "other.yaml"]}
    options |= {"rules": make_recipe([*BOUNDS, {"threshold": {"column": "asf_miou", "above": 0.1}}]).rules}
    table, whole = table_for(tmp_path / "scores", rules), judge(whole_table(0), **options)
    judged = judge(table, **options)
    assert [sight.name for sight in judged.sights] == ["chance", "clip_sim", "clip_sim > 0.3", "mine"]
    assert all(sight == whole.sight(sight.name) for sight in judged.sights)
    scores = {"pcs", "clip_sim_mixed", "asf_miou", "boundary"}
    assert {*judged.not_judged} == {*scores, "pcs > 0.0", "asf_miou > 0.1", "other"}
    assert whole.not_judged == {}
    assert re.match(r"\d+ of its values were skipped, .* its option `all` computes them", judged.not_judged["pcs"])
    assert re.match(r".* asks for pcs of \d+ rows of which that was skipped", judged.not_judged["other"])
    files = judge(f"{table.folder}/scores-*.parquet", **options | {"recipes": []})  # which do not name the classes
    assert [(sight.name, sight.auroc) for sight in files.sights] == [(one.name, one.auroc) for one in judged.sights[:3]]


def test_the_pages_show_such_a_table(tmp_path):
    """What they make of it is tested in tests/explore."""
    table, rows, recipe = table_for(tmp_path / "scores", [*BOUNDS, TOP]), candidates(), make_recipe([*BOUNDS, TOP])
    selection = select(table, recipe, out=tmp_path / "selection")
    page = look(selection, rows, scores=table).page
    (cells,) = re.findall(r'"base64": ?"([^"]+)"', page)
    assert "skipped_scores" in pq.read_table(pa.BufferReader(base64.b64decode(cells))).column_names
    assert open_exploration(table.folder).tables == table.paths
    publish(rows, selection, recipe, scores=table, folder=tmp_path / "published", explorer=write_explorer)
    assert (tmp_path / "published" / "explorer" / "page.js").exists()


def test_parquet_files_of_such_a_table_are_read_alike(tmp_path):
    table, recipe = table_for(tmp_path / "scores", [*BOUNDS, TOP]), make_recipe([*BOUNDS, TOP])
    pattern = f"{table.folder}/scores-*.parquet"
    decided = ["id", "row", "kept", *(f"num_classes_{name}" for name in ("rank", "group_size", "cutoff"))]
    assert select(pattern, recipe).table().select(decided) == outcome(table, recipe).select(decided)
    with pytest.raises(ValueError, match=r"asks for boundary of \d+ rows of which that was skipped"):
        select(pattern, make_recipe([*BOUNDS, {"top_k": {"column": "boundary", "target": 3}}]))
    (path,) = open_exploration(pattern).tables
    cells = pq.read_table(path)
    assert cells["skipped_scores"].to_pylist() == table.to_arrow()["skipped_scores"].to_pylist()
    assert {"pcs_low", "pcs_high"} < set(cells.column_names)


def test_why_says_what_is_known(tmp_path):
    table = table_for(tmp_path / "scores", [*BOUNDS, TOP])
    selection, rows = select(table, make_recipe([*BOUNDS, TOP])), table.to_arrow().to_pylist()
    reasons = dict(zip(*selection.table().select(["id", "reason"]).to_pydict().values(), strict=True))
    for row in rows:
        answer = why(selection, row["id"], table)
        judged = answer.rules[1]
        if row["pcs"] is None and row["pcs_low"] is not None:
            assert judged.values["pcs"].startswith("between ")
            assert "pcs" not in answer.scores
        assert judged.passes in {"dropped:pcs": (False,), "dropped:clip_sim": (None, False, True)}.get(
            reasons[row["id"]], (True, False, None)
        )
        if answer.kept:
            assert judged.passes


PARTS = [Rank(index, 3, together=False) for index in range(3)]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_parts_that_wait_for_nobody_make_the_same_table(tmp_path, order):
    """Bounds that are numbers decide a row by itself, and the rule after them needs nothing that comes later."""
    whole, rules = table_for(tmp_path / "whole", [*BOUNDS, TOP]), [*BOUNDS, TOP]
    for number in order[:2]:
        with pytest.raises(PartScored, match=rf"part {number + 1} of 3 is scored"):
            table_for(tmp_path / "scores", rules, rank=PARTS[number])
    last = table_for(tmp_path / "scores", rules, rank=PARTS[order[2]])
    assert files_of(last.folder) == files_of(whole.folder)
    assert table_for(tmp_path / "scores", rules, rank=PARTS[1]).sha256 == whole.sha256


def test_a_part_that_died_is_done_again(tmp_path):
    whole = table_for(tmp_path / "whole", BOUNDS)
    for number in (0, 2):
        with pytest.raises(PartScored):
            table_for(tmp_path / "scores", BOUNDS, rank=PARTS[number])
    with pytest.raises(Crash):
        table_for(tmp_path / "scores", BOUNDS, rank=PARTS[1], progress=crash_at(8))
    assert files_of(table_for(tmp_path / "scores", BOUNDS, rank=PARTS[1]).folder) == files_of(whole.folder)


def test_what_parts_cannot_do_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'clip_sim > q0.3' looks at all rows before what comes after it is scored"):
        table_for(tmp_path / "phases", PHASES, rank=PARTS[0])
    assert not (tmp_path / "phases").exists()
    table_for(tmp_path / "scores", BOUNDS)
    with pytest.raises(ValueError, match=r"is scored for other rules, and going on with these is for processes that"):
        table_for(tmp_path / "scores", BOUNDS[:1], rank=PARTS[0])
    with pytest.raises(ValueError, match="rows that failed are scored again by processes that wait"):
        table_for(tmp_path / "scores", BOUNDS, rank=PARTS[0], retry="failed")
    with pytest.raises(ValueError, match="skips is computed by processes that wait for each other"):
        score_table(candidates(), scores_of({}), tmp_path / "scores", rows_per_shard=16, rank=PARTS[0])


@pytest.mark.parametrize(
    "rule",
    [
        {"threshold": {"column": "classes_present", "above": 1}},
        {"band": {"column": "boundary_class", "low": 1}},
        {"top_k": {"column": "boundary_class", "target": 3}},
    ],
)
def test_a_rule_over_what_is_no_number_is_refused_before_anything_is_computed(encoder, tmp_path, rule):
    def refused() -> None:
        with pytest.raises(ValueError, match=r"a rule needs numbers; the column '\w+' holds .*\[\]"):
            table_for(tmp_path / "scores", [*BOUNDS, rule])

    assert passes_of(encoder, refused) == 0
    assert not (tmp_path / "scores").exists()


def test_a_selection_from_before_a_repair_is_not_one_from_the_table(tmp_path):
    table_for(tmp_path / "scores", BOUNDS)
    looser = table_for(tmp_path / "scores", [*BOUNDS, TOP])
    (before,) = looser.manifest["joined"]
    rows = candidates().with_format("arrow")[:].to_pylist()
    rows[13]["image"] = rows[14]["image"]
    settings = {"scores": scores_of({}), "rows_per_shard": 16, "batch_size": 8, "retry": "failed"}
    repaired = Dataset.from_list(rows, features=candidates().features)
    again = score_for(repaired, make_recipe([*BOUNDS, TOP]), tmp_path / "scores", **settings)
    assert not again.holds(before)
    assert not again.holds(looser.sha256)


def test_what_was_not_computed_is_not_lost(tmp_path):
    """A diff counts it apart, and takes the ends of intervals for no scores."""
    table_for(tmp_path / "scores", [*BOUNDS, TOP])
    shifts = diff(tmp_path / "scores", whole_table(0).folder)
    assert (shifts.scores_added, shifts.scores_dropped) == ([], [])
    boundary = shifts.scores["boundary"]
    assert (boundary.rows, boundary.lost, boundary.gained) == (0, 0, 0)
    assert boundary.skipped == 49
    assert "Score boundary: " in str(shifts)
    assert "the other did not need it" in str(shifts)
