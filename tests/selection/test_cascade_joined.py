"""Tables of which only that is computed which decides, joined with others and added to: what each has stays."""

import re
from pathlib import Path

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
    make_recipe,
    outcome,
    passes_of,
    scores_of,
    table_for,
    whole_table,
)

from sds_hf import ASF, PCS, Boundary, ScoreTable, add_to_table, join_tables, score_table, select
from sds_hf.table.add import ADDED

pytestmark = pytest.mark.usefixtures("encoder")
SHARDS = {"rows_per_shard": 16}
PARTS = st.lists(st.booleans(), min_size=3, max_size=3)  # which of the three scores are in the first table
RECIPE = st.lists(RULES, min_size=1, max_size=4)
MANY = settings(max_examples=30)
FEW = settings(max_examples=4)


def read_by(rules: list) -> set[str]:
    return {column for rule in make_recipe(rules).rules for column in rule.reads}


def writes(score: object) -> set[str]:
    return set(score.columns)


def bytes_of(table: ScoreTable) -> list[bytes]:
    return [path.read_bytes() for path in table.paths]


def check_columns(table: ScoreTable, which: int) -> None:
    """What is not skipped is what the whole table has, intervals hold, and statuses say what is skipped."""
    rows, whole = table.to_arrow().to_pylist(), whole_table(which).to_arrow().to_pylist()
    for row, full in zip(rows, whole, strict=True):
        skipped = row.get("skipped_scores") or []
        assert row["status"] == ("failed" if full["status"] == "failed" else "skipped" if skipped else "ok")
        assert (row["id"], row["error"]) == (full["id"], full["error"])
        for name, value in full.items():
            if name in row and name not in ("status", "row"):
                assert row[name] == (None if name in skipped else value), name
        low, high = row.get("pcs_low"), row.get("pcs_high")
        assert (low is None) == (high is None)
        assert low is None or ("pcs" in skipped and low <= full["pcs"] <= high)


def check_goes_on(table: ScoreTable, which: int) -> None:
    """A table with all columns becomes the whole one, byte by byte."""
    made = score_table(candidates(), scores_of(SETTINGS[which]), table.folder, **SHARDS)
    assert bytes_of(made) == bytes_of(whole_table(which))
    assert not made.skips


# Tables made apart


@FEW
@given(st.integers(0, len(SETTINGS) - 1), RECIPE, PARTS, st.booleans())
def test_a_joined_table_says_what_its_parts_say(tmp_path_factory, which, rules, parts, partial_first):
    check_joined(tmp_path_factory.mktemp("joined"), which, rules, parts, partial_first)


@pytest.mark.slow
@MANY
@given(st.integers(0, len(SETTINGS) - 1), RECIPE, PARTS, st.booleans())
def test_a_joined_table_says_what_its_parts_say_by_many_recipes(tmp_path_factory, which, rules, parts, partial_first):
    check_joined(tmp_path_factory.mktemp("joined"), which, rules, parts, partial_first)


def check_joined(folder: Path, which: int, rules: list, parts: list[bool], partial_first: bool) -> None:
    """One table for the rules, of the scores they read and some others, and one of all values of what is left."""
    scores, read = scores_of(SETTINGS[which]), read_by(rules)
    first = [score for score, here in zip(scores, parts, strict=True) if here or writes(score) & read]
    first = first or scores[:1]
    rest = [score for score in scores if score not in first]
    joined = table_for(folder / "for", rules, scores=first)
    if rest:
        tables = [joined, score_table(candidates(), rest, folder / "rest", **SHARDS)]
        joined = join_tables(tables if partial_first else tables[::-1], folder / "joined")
    check_columns(joined, which)
    assert outcome(joined, make_recipe(rules)) == outcome(whole_table(which), make_recipe(rules))
    check_same_or_refused(joined, which, [{"rank_mean": {"columns": ["pcs", "boundary"], "target": 15}}])
    check_goes_on_in_its_order(joined, which)


def check_same_or_refused(table: ScoreTable, which: int, rules: list) -> None:
    """A selection by other rules is that of the whole table, or refused in the sentence that says what is missing."""
    said = ""
    try:
        selected = outcome(table, make_recipe(rules))
    except ValueError as error:
        said = str(error)
    if said:
        assert re.search(r"asks for .* rows of which that was skipped, since .* its option `for`", said)
    else:
        assert selected == outcome(whole_table(which), make_recipe(rules))


def check_goes_on_in_its_order(table: ScoreTable, which: int) -> None:
    """All values of a table whose scores may come in another order, which is that of its columns."""
    made = score_table(candidates(), scores_of(SETTINGS[which]), table.folder, **SHARDS)
    assert not made.skips
    whole = whole_table(which).to_arrow()
    assert made.to_arrow().select(whole.column_names).equals(whole)


@FEW
@given(RECIPE, RECIPE)
def test_tables_for_two_recipes_answer_both(tmp_path_factory, one, two):
    check_two(tmp_path_factory.mktemp("two"), one, two)


@pytest.mark.slow
@MANY
@given(RECIPE, RECIPE)
def test_tables_for_many_two_recipes_answer_both(tmp_path_factory, one, two):
    check_two(tmp_path_factory.mktemp("two"), one, two)


def check_two(folder: Path, one: list, two: list) -> None:
    joined = join_tables([table_for(folder / "one", one), table_for(folder / "two", two)], folder / "joined")
    check_columns(joined, 0)
    for rules in (one, two):
        assert outcome(joined, make_recipe(rules)) == outcome(whole_table(0), make_recipe(rules))
    check_goes_on(joined, 0)


def test_of_two_intervals_the_narrower_one_is_kept(tmp_path):
    """A strict and a loose bound: each stops the shuffles elsewhere, and both recipes are answered still."""
    bounds = [[BOUNDS[0], {"threshold": {"column": "pcs", "above": above}}] for above in (0.4, -0.2)]
    tables = [table_for(tmp_path / str(number), rules) for number, rules in enumerate(bounds)]
    joined = join_tables(tables, tmp_path / "joined").to_arrow().to_pylist()
    narrower = [0, 0]
    for row, *others in zip(joined, *(table.to_arrow().to_pylist() for table in tables), strict=True):
        if row["pcs_low"] is None:
            continue
        ends = [(other["pcs_low"], other["pcs_high"]) for other in others]
        assert (row["pcs_low"], row["pcs_high"]) == (max(low for low, _ in ends), min(high for _, high in ends))
        assert row["pcs_shuffles"] == max(other["pcs_shuffles"] for other in others)
        for number, (low, high) in enumerate(ends):
            narrower[number] += (low, high) == (row["pcs_low"], row["pcs_high"]) != ends[1 - number]
    assert all(narrower)


def test_a_value_that_the_last_table_skips_is_that_of_another(tmp_path):
    """The same settings; with others the last table counts, as with whole tables."""
    needed = table_for(tmp_path / "needed", [*BOUNDS, TOP])
    boundary = score_table(candidates(), [Boundary()], tmp_path / "boundary", **SHARDS)
    joined = join_tables([boundary, needed], tmp_path / "joined")
    assert joined.to_arrow()["boundary"].equals(boundary.to_arrow()["boundary"])
    assert joined.manifest["needed"]["rows"]["boundary"] == 58
    whole = join_tables([whole_table(0), needed], tmp_path / "whole")
    assert not whole.skips
    assert bytes_of(whole) == bytes_of(whole_table(0))
    other = score_table(candidates(), scores_of({"orders": 3})[:1], tmp_path / "other", **SHARDS)
    last = join_tables([other, needed], tmp_path / "last").to_arrow()
    assert last["pcs"].equals(needed.to_arrow()["pcs"])
    assert last["pcs_low"].equals(needed.to_arrow()["pcs_low"])


def test_a_selection_from_before_a_join_is_one_from_the_joined_table(tmp_path):
    needed = table_for(tmp_path / "needed", BOUNDS, scores=scores_of({})[:1])
    selection = select(needed, make_recipe(BOUNDS))
    boundary = score_table(candidates(), [Boundary()], tmp_path / "boundary", **SHARDS)
    joined = join_tables([needed, boundary], tmp_path / "joined")
    assert joined.holds(selection.report.provenance["table_sha256"])
    assert outcome(joined, make_recipe(BOUNDS)) == selection.table()


def test_what_a_joined_table_is_for_and_what_was_done(encoder, tmp_path):
    made = []
    passes = passes_of(
        encoder, lambda: made.append(table_for(tmp_path / "pcs", BOUNDS, "mine", scores=scores_of({})[:1]))
    )
    asf = score_table(candidates(), [ASF(reference="column:other")], tmp_path / "asf", **SHARDS)
    needed = join_tables([asf, *made], tmp_path / "joined").manifest["needed"]
    assert (needed["recipe"], needed["rules"]) == ("mine", BOUNDS)
    assert needed["work"] == {"encoder passes of pcs": [passes, 300]}
    assert needed["rows"] == made[0].manifest["needed"]["rows"] | {"asf_miou": 58}
    # Of a whole table's pcs all shuffles were made, though nobody counted them.
    strict = table_for(tmp_path / "strict", BOUNDS[:1], scores=scores_of({}))
    pcs = score_table(candidates(), scores_of({})[:1], tmp_path / "all", **SHARDS)
    work = join_tables([strict, pcs], tmp_path / "both").manifest["needed"]["work"]
    seen = 58 + 4 * (58 - pcs.to_arrow()["clip_sim"].null_count + 2)
    assert work == {"encoder passes of pcs": [seen, 300]}


# Scores added


@FEW
@given(st.integers(0, len(SETTINGS) - 1), RECIPE, RECIPE)
def test_a_table_that_was_added_to_goes_on(tmp_path_factory, which, rules, looser):
    check_added(tmp_path_factory.mktemp("added"), which, rules, looser)


@pytest.mark.slow
@MANY
@given(st.integers(0, len(SETTINGS) - 1), RECIPE, RECIPE)
def test_a_table_that_was_added_to_goes_on_by_many_recipes(tmp_path_factory, which, rules, looser):
    check_added(tmp_path_factory.mktemp("added"), which, rules, looser)


def check_added(folder: Path, which: int, rules: list, looser: list) -> None:
    """The last scores that the rules do not read are added; then it goes on to other rules, and to everything."""
    scores = scores_of(SETTINGS[which])
    last = max([place for place, score in enumerate(scores) if writes(score) & read_by(rules)], default=0)
    table, added = table_for(folder / "scores", rules, scores=scores[: last + 1]), scores[last + 1 :]
    before = table.to_arrow()
    if added:
        table = add_to_table(candidates(), added, table.folder, batch_size=7)
    check_columns(table, which)
    after = table.to_arrow()
    for name in before.column_names:
        if name not in ("status", "skipped_scores", "pcs_low", "pcs_high", "pcs_shuffles") or table.skips:
            assert after[name].equals(before[name]) or name in ("status", "skipped_scores")
    assert outcome(table, make_recipe(rules)) == outcome(whole_table(which), make_recipe(rules))
    for name in (name for score in added for name in writes(score) - {"boundary_class"}):
        check_same_or_refused(table, which, [{"top_k": {"column": name, "target": 9}}])
    table = table_for(folder / "scores", looser, "looser", scores=scores)
    check_columns(table, which)
    assert outcome(table, make_recipe(looser)) == outcome(whole_table(which), make_recipe(looser))
    check_goes_on(table, which)


def test_only_what_is_missing_is_computed(encoder, tmp_path):
    """Of a score that the table has for some rows, too; then nothing twice, to the last value."""
    table = table_for(tmp_path / "scores", [{"threshold": {"column": "clip_sim", "above": 0.6}}], scores=scores_of({}))
    first = table.manifest["needed"]["work"]["encoder passes of pcs"][0]
    computed = passes_of(encoder, lambda: add_to_table(candidates(), scores_of({})[:1], table.folder))
    pcs = ScoreTable.load(table.folder)
    assert 0 < computed < 5 * 58
    assert pcs.to_arrow()["pcs"].equals(whole_table(0).to_arrow()["pcs"])
    assert pcs.manifest["needed"]["rows"]["pcs"] == 58 > pcs.manifest["needed"]["rows"]["asf_miou"]
    assert first == 58
    assert passes_of(encoder, lambda: add_to_table(candidates(), scores_of({})[:1], table.folder)) == 0
    assert passes_of(encoder, lambda: check_goes_on(pcs, 0)) == 0
    assert not (table.folder / ADDED).exists()


def test_scores_that_a_table_knows_of_some_rows_are_not_computed_of_these(tmp_path, monkeypatch):
    table = table_for(tmp_path / "scores", [*BOUNDS, TOP])
    known, computed, compute = table.manifest["needed"]["rows"]["asf_miou"], [], ASF.compute

    def counted(self, rows):
        computed.append(len(rows))
        return compute(self, rows)

    monkeypatch.setattr(ASF, "compute", counted)
    added = add_to_table(candidates(), [scores_of({})[1], Boundary()], table.folder)
    assert 0 < known < 58
    assert sum(computed) == 58 - known
    assert added.to_arrow()["asf_miou"].equals(whole_table(0).to_arrow()["asf_miou"])
    assert added.to_arrow()["boundary"].equals(whole_table(0).to_arrow()["boundary"])
    assert added.to_arrow()["pcs"].equals(table.to_arrow()["pcs"])


@pytest.mark.parametrize("stored", [False, True])
def test_an_addition_that_was_stopped_goes_on(tmp_path, monkeypatch, stored):
    scores = scores_of({})
    table = table_for(tmp_path / "scores", PHASES, scores=scores if stored else scores[:2])
    before, computed, compute = bytes_of(table), [], Boundary.compute

    def stops(self, rows):
        computed.append(len(rows))
        if len(computed) == 4:
            raise KeyboardInterrupt
        return compute(self, rows)

    monkeypatch.setattr(Boundary, "compute", stops)
    with pytest.raises(KeyboardInterrupt):
        add_to_table(candidates(), Boundary(), table.folder, batch_size=16)
    assert bytes_of(ScoreTable.load(table.folder)) == before
    added = add_to_table(candidates(), Boundary(), table.folder, batch_size=16)
    assert sum(computed) - computed[3] == 58  # what was finished was not computed again
    at_once = table_for(tmp_path / "at-once", PHASES, scores=scores if stored else scores[:2])
    assert bytes_of(add_to_table(candidates(), Boundary(), at_once.folder)) == bytes_of(added)
    assert outcome(added, make_recipe(PHASES)) == outcome(whole_table(0), make_recipe(PHASES))


def test_a_changed_setting_replaces_its_column_and_its_intervals(tmp_path):
    table = table_for(tmp_path / "scores", [*BOUNDS, TOP])
    other = PCS(model="demo", dtype="fp32", scales=(2, 4), orders=3)
    added = add_to_table(candidates(), other, table.folder)
    whole = score_table(candidates(), [other], tmp_path / "whole", **SHARDS).to_arrow()
    rows = added.to_arrow()
    assert rows["pcs"].equals(whole["pcs"])
    assert rows["pcs_low"].null_count == len(rows)
    assert {name for cell in rows["skipped_scores"].to_pylist() for name in cell or ()} == {
        "asf_miou",
        "boundary",
        "boundary_class",
    }
    assert not added.holds(table.sha256)
    assert rows["asf_miou"].equals(table.to_arrow()["asf_miou"])
    scores = [other, *scores_of({})[1:]]
    gone_on = table_for(table.folder, [*BOUNDS, TOP], scores=scores)  # by the new numbers other rows decide
    full = score_table(candidates(), scores, tmp_path / "full", **SHARDS)
    assert outcome(gone_on, make_recipe([*BOUNDS, TOP])) == outcome(full, make_recipe([*BOUNDS, TOP]))
    assert bytes_of(score_table(candidates(), scores, table.folder, **SHARDS)) == bytes_of(full)


def test_a_table_of_which_all_is_replaced_is_a_whole_one(tmp_path):
    table = table_for(tmp_path / "scores", BOUNDS, scores=scores_of({})[:1])
    added = add_to_table(candidates(), PCS(model="demo", dtype="fp32", scales=(2, 4), orders=3), table.folder)
    assert not added.skips
    assert "skipped_scores" not in added.to_arrow().column_names
    assert {*added.to_arrow()["status"].to_pylist()} == {"ok", "failed"}


def test_an_added_score_can_be_asked_for_by_any_rule(tmp_path):
    table = table_for(tmp_path / "scores", [*BOUNDS, TOP], scores=scores_of({})[:2])
    rule = [{"top_k": {"column": "boundary", "target": 12}}]
    added = add_to_table(candidates(), Boundary(), table.folder)
    assert outcome(added, make_recipe(rule)) == outcome(whole_table(0), make_recipe(rule))
    with pytest.raises(ValueError, match=r"'asf_miou > 0.1' asks for asf_miou of \d+ rows of which that was skipped"):
        select(added, make_recipe([{"threshold": {"column": "asf_miou", "above": 0.1}}]))


def test_scores_in_another_order_are_those_of_the_table(tmp_path):
    """Its columns stay in their order, in a run that goes on and in one that scores rows again."""
    scores, repaired = scores_of({}), candidates()
    table = table_for(tmp_path / "scores", BOUNDS)
    names = table.to_arrow().column_names
    again = table_for(tmp_path / "scores", [*BOUNDS, TOP], scores=scores[::-1])
    assert again.to_arrow().column_names == names
    made = score_table(repaired, scores[::-1], table.folder, **SHARDS, retry="failed")
    assert bytes_of(made) == bytes_of(whole_table(0))


@pytest.mark.parametrize("whole", [True, False])
def test_rows_that_failed_are_repaired_after_a_score_was_added_that_reads_another_column(tmp_path, whole):
    rows, scores = candidates().with_format("arrow")[:].to_pylist(), scores_of({})[:2]
    for place in (13, 44):
        rows[place]["image"] = rows[place + 1]["image"]
    repaired = Dataset.from_list(rows, features=candidates().features)
    if whole:
        table = score_table(candidates(), scores[:1], tmp_path / "scores", **SHARDS)
    else:
        table = table_for(tmp_path / "scores", BOUNDS, scores=scores[:1])
    added = add_to_table(candidates(), scores[1], table.folder)
    assert added.manifest["failed"] == 2
    rows[0]["other"] = rows[1]["other"]  # a row that was scored
    with pytest.raises(ValueError, match="holds scores of rows that have changed since, some of rows 0 to 15"):
        score_table(
            Dataset.from_list(rows, features=candidates().features), scores, table.folder, **SHARDS, retry="failed"
        )
    made = score_table(repaired, scores, table.folder, **SHARDS, retry="failed")
    assert made.manifest["failed"] == 0
    assert bytes_of(made) == bytes_of(score_table(repaired, scores, tmp_path / "full", **SHARDS))


def test_of_what_was_joined_from_tables_that_read_other_columns_nobody_says_that_rows_have_changed(tmp_path):
    rows = candidates().with_format("arrow")[:].to_pylist()
    rows[13]["image"] = rows[14]["image"]
    repaired = Dataset.from_list(rows, features=candidates().features)
    tables = [score_table(candidates(), score, tmp_path / score.name, **SHARDS) for score in scores_of({})[:2]]
    joined = join_tables(tables, tmp_path / "joined")
    with pytest.raises(ValueError, match="joined from tables that do not say what rows 0 to 15 held"):
        score_table(repaired, scores_of({})[:2], joined.folder, **SHARDS, retry="failed")
