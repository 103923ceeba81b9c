"""Every rule that keeps a share or a band: worked numbers, and any table against rules written in plain Python."""

import hashlib
import math
import re
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features, Sequence, Value
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from sds_hf import AtMostPerGroup, Band, Random, RankMean, Recipe, Stratified, Threshold, TopK, TopPerGroup, select
from sds_hf.selection.rules.strata import ccs_budgets
from sds_hf.selection.select import EmptySelectionError

BOTH = ("num_classes_present", "classes_present")
FEATURES = Features(
    {"id": Value("string"), "classes": Sequence(Value("int32")), "u": Value("float64"), "v": Value("float32")}
)


def scored(rows: list[dict]) -> Dataset:
    return Dataset.from_list([{name: row.get(name) for name in FEATURES} for row in rows], features=FEATURES)


def numbers(*values: float | None, **further) -> Dataset:
    """One row a value of `u`, called r00, r01, ..."""
    columns = {"v": [None] * len(values), **further}
    return scored(
        [
            {"id": f"r{place:02d}", "u": value, "v": columns["v"][place], "classes": [1]}
            for place, value in enumerate(values)
        ]
    )


def reasons(selection) -> dict[str, str]:
    table = selection.table()
    assert table["kept"].to_pylist() == [reason.startswith("kept:") for reason in table["reason"].to_pylist()]
    return dict(zip(table["id"].to_pylist(), table["reason"].to_pylist(), strict=True))


# Worked examples


def test_the_best_by_number_and_by_share():
    data = numbers(0.5, 0.9, None, 0.5, 0.1, math.nan)
    selection = select(data, TopK(column="u", target=2))
    best, out, null = "kept:top_k", "dropped:top_k", "dropped:null"
    assert list(reasons(selection).values()) == [best, best, null, out, out, null]
    table = selection.table()
    assert table["top_k_rank"].to_pylist() == [2, 1, None, 3, 4, None]
    assert table["top_k_group_size"].to_pylist() == [4, 4, None, 4, 4, None]
    assert table["top_k_cutoff"].to_pylist() == [2, 2, None, 2, 2, None]
    assert select(data, TopK(column="u", fraction=0.5)).kept_rows().tolist() == [0, 1]
    assert select(data, TopK(column="u", target=9)).report.kept == 4


@pytest.mark.parametrize(
    ("fraction", "size", "stay"), [(0.5, 5, 3), (0.1, 4, 1), (0.34, 10, 3), (0.35, 10, 4), (1, 3, 3)]
)
def test_a_share_is_rounded_to_the_nearest_and_is_one_row_at_least(fraction, size, stay):
    data = numbers(*range(size))
    for rule in (TopK(column="u", fraction=fraction), Random(fraction=fraction)):
        assert select(data, rule).report.kept == stay


def test_a_band_includes_its_ends():
    data = numbers(1, 2, 3, 4, 5, None)
    out = "dropped:u"
    assert list(reasons(select(data, Band(column="u", low=2, high=4))).values()) == [
        out, "kept:all_rules", "kept:all_rules", "kept:all_rules", out, "dropped:null",
    ]  # fmt: skip
    assert select(data, Band(column="u", low="q0.25", high="q0.5")).kept_rows().tolist() == [1, 2]
    assert select(data, Band(column="u", low=3)).kept_rows().tolist() == [2, 3, 4]
    assert select(data, Band(column="u", high="q0")).kept_rows().tolist() == [0]
    step = select(data, Band(column="u", low="q0.25", high=9)).report.steps[0]
    assert (step.rule, step.bounds) == ("u >= q0.25 and u <= 9.0", {"low": 2.0})


def test_mean_ranks():
    data = numbers(9, 8, 7, 6, None, v=[1, 4, 3, 2, 5])
    # ranks in u 1 2 3 4, in v 4 1 2 3; the row without u is not ranked
    selection = select(data, RankMean(columns=("u", "v"), target=2))
    assert selection.table()["rank_mean_rank"].to_pylist() == [2, 1, 3, 4, None]  # means 2.5, 1.5, 2.5, 3.5: ties by id
    assert list(reasons(selection).values()) == [
        "kept:rank_mean", "kept:rank_mean", "dropped:rank_mean", "dropped:rank_mean", "dropped:null",
    ]  # fmt: skip


def test_random_rows_are_those_of_the_hash_on_every_machine():
    data = numbers(*[0.0] * 50)
    rule = Random(target=5, seed=3)
    expected = sorted(range(50), key=lambda row: hashlib.sha256(f"3|r{row:02d}".encode()).hexdigest())[:5]
    assert select(data, rule).kept_rows().tolist() == sorted(expected) == [0, 7, 14, 32, 36]
    backwards = select(data.select(range(49, -1, -1)), rule)
    assert sorted(49 - row for row in backwards.kept_rows()) == sorted(expected)
    assert set(expected) < set(select(data, Random(target=20, seed=3)).kept_rows().tolist())
    assert select(data, Random(target=5, seed=4)).kept_rows().tolist() != sorted(expected)


@pytest.mark.parametrize(
    ("budget", "sizes", "given_"),
    [
        (10, [1, 7, 0, 12], [1, 4, 0, 5]),
        (7, [3, 3, 3], [2, 2, 3]),
        (9, [1, 1], [1, 1]),
        (0, [4], [0]),
        (5, [0, 5], [0, 5]),
    ],
)
def test_budgets_of_strata(budget, sizes, given_):
    assert ccs_budgets(sizes, budget) == given_


def test_a_sample_of_strata():
    data = numbers(0, 10, 11, 12, 13, 14, 19, 20, 90, 100)
    selection = select(data, Stratified(column="u", target=4, strata=2, drop_lowest=0.1))
    kept = {row: reason for row, reason in reasons(selection).items() if "kept" in reason}
    assert [kept["r08"], kept["r09"]] == ["kept:stratum=1"] * 2
    assert sorted(kept.values()) == ["kept:stratum=0"] * 2 + ["kept:stratum=1"] * 2
    assert reasons(selection)["r00"] == "dropped:lowest"
    assert selection.table()["stratum_group_size"].to_pylist() == [None, *[7] * 7, 2, 2]
    assert selection.report.steps[0].dropped == {"dropped:lowest": 1, "dropped:stratified": 5}


def test_a_target_is_met_exactly():
    # By class: dog a b c d, cat e f g; the largest fraction that keeps at most 4 keeps two of each.
    data = scored(
        [
            {"id": name, "u": 1 - place / 10, "classes": [1 if name in "abcd" else 2]}
            for place, name in enumerate("abcdefg")
        ]
    )
    rule = {"column": "u", "by": BOTH[1]}
    assert (
        "".join(name for name, why in reasons(select(data, TopPerGroup(**rule, target=4))).items() if "kept" in why)
        == "abef"
    )
    five = reasons(select(data, TopPerGroup(**rule, target=5)))
    assert [name for name, why in five.items() if "kept" in why] == list("abcef")
    three = reasons(select(data, TopPerGroup(**rule, target=3)))
    assert {name: why for name, why in three.items() if "kept" in why} == {
        "a": "kept:class=1", "b": "kept:class=1", "e": "kept:class=2",
    }  # fmt: skip
    one = reasons(select(data, TopPerGroup(**rule, target=1)))  # every fraction keeps one of each class
    assert {name: why for name, why in one.items() if "kept" in why} == {"a": "kept:filled"}


def test_a_target_beyond_all_rows_keeps_all():
    data = scored(
        [{"id": "a", "u": 1, "classes": [1]}, {"id": "b", "u": 2, "classes": []}, {"id": "c", "classes": [1]}]
    )
    assert reasons(select(data, TopPerGroup(column="u", by=BOTH[1], target=2))) == {
        "a": "kept:class=1", "b": "kept:filled", "c": "dropped:null",
    }  # fmt: skip


def test_at_most_so_many_of_each_class():
    # Best first: a of 1 and 2, b of 1, c of 2, d of 1 and 3, e of none, f of 3. Taking d would make three of class 1.
    classes = {"a": [1, 2], "b": [1], "c": [2], "d": [1, 3], "e": [], "f": [3], "g": [3]}
    data = scored([{"id": name, "u": -place, "classes": classes[name]} for place, name in enumerate(classes)])
    data = Dataset.from_list([*data, {"id": "h", "classes": [3]}], features=FEATURES)
    found = select(data, AtMostPerGroup(rows=2, by=BOTH[1], column="u"))
    stay = "kept:all_rules"
    assert reasons(found) == {
        "a": stay, "b": stay, "c": stay, "d": "dropped:class=1 is full", "e": stay, "f": stay, "g": stay,
        "h": "dropped:null",
    }  # fmt: skip
    assert found.report.steps[0].rule == "at most 2 of each class, the best by u"
    assert select(data, AtMostPerGroup(rows=1, by=BOTH[1], seed=3)).report.kept < 5


def test_a_rule_that_drops_nothing_says_so():
    report = select(numbers(1, 2), [Threshold(column="u", above=0), TopK(column="u", target=1)]).report
    assert report.warnings == ["u > 0.0 drops nothing"]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("threshold: {column: u, above: q0.2}", "u > q0.2"),
        ("top_k: {column: u, target: 1000}", "top 1,000 of u"),
        ("rank_mean: {columns: [u, v], fraction: 0.1}", "top 10% by mean rank in u and v"),
        (
            "worst_rank: {columns: [u, v, w], within: [num_classes_present, classes_present], fraction: 0.1}",
            "top 10% by worst rank in u, v and w within its number of classes and within its class",
        ),
        (
            "top_per_group: {column: u, by: [num_classes_present, classes_present], fraction: 0.6}",
            "top 60% of each number of classes and of each class by u",
        ),
        (
            "top_per_group: {worst_rank: [u, v], by: classes_present, target: 50}",
            "top share of each class by worst rank in u and v that keeps 50 rows",
        ),
        ("at_most_per_group: {rows: 9, by: caption}", "at most 9 of each caption, drawn at random, seed 0"),
        ("random: {fraction: 0.5}", "50% drawn at random, seed 0"),
        (
            "stratified: {column: u, fraction: 0.5}",
            "50% drawn evenly over the range of u, in 50 strata, without its lowest 10%",
        ),
    ],
)
def test_labels_say_what_rules_do(text, label):
    (rule,) = Recipe.from_yaml(f"rules: [{{{text}}}]").rules
    assert rule.label == label


# Any table against plain Python


def value_of(row: dict, column: str) -> float | None:
    return None if row[column] is None or math.isnan(row[column]) else row[column]


def count_of(rule, size: int) -> int:
    if rule.target is not None:
        return min(rule.target, size)
    return max(1, math.floor(Fraction(rule.fraction) * size + Fraction(1, 2)))


def drawn(rule, row: dict) -> tuple:
    return hashlib.sha256(f"{rule.seed}|{row['id']}".encode()).hexdigest()[:15], row["id"]


def in_order(rule, rows: list[dict]) -> list[dict]:
    """Rows that have what the rule reads, the best first."""
    scores = {"u", "v"} & set(rule.reads)
    having = [row for row in rows if all(value_of(row, name) is not None for name in scores)]
    if isinstance(rule, Random):
        return sorted(having, key=lambda row: drawn(rule, row))
    if isinstance(rule, (TopK, AtMostPerGroup)):
        return sorted(having, key=lambda row: (-row[rule.column], row["id"]))
    means = sum((rankdata([-row[name] for row in having]) for name in rule.columns), np.zeros(len(having)))
    return [row for _, _, row in sorted((mean, row["id"], row) for mean, row in zip(means, having, strict=True))]


def by_share(rule, rows: list[dict]) -> dict[str, str]:
    order = in_order(rule, rows)
    found = dict.fromkeys((row["id"] for row in rows), "dropped:null")
    for place, row in enumerate(order):
        found[row["id"]] = f"{'kept' if place < count_of(rule, len(order)) else 'dropped'}:{rule.kind}"
    return found


def by_band(rule: Band, rows: list[dict]) -> dict[str, str]:
    values = [value for row in rows if (value := value_of(row, rule.column)) is not None]
    low, high = (
        float(np.quantile(values, float(end[1:]))) if isinstance(end, str) and values else end
        for end in (rule.low, rule.high)
    )

    def verdict(value):
        inside = value is not None and (low is None or value >= low) and (high is None or value <= high)
        return "kept:all_rules" if inside else "dropped:null" if value is None else f"dropped:{rule.column}"

    return {row["id"]: verdict(value_of(row, rule.column)) for row in rows}


def by_strata(rule: Stratified, rows: list[dict]) -> dict[str, str]:
    order = sorted(
        (row for row in rows if value_of(row, rule.column) is not None), key=lambda row: (-row[rule.column], row["id"])
    )
    found = dict.fromkeys((row["id"] for row in rows), "dropped:null")
    lowest = math.floor(Fraction(str(rule.drop_lowest)) * len(order))
    stay = order[: len(order) - lowest]
    found |= {row["id"]: "dropped:lowest" for row in order[len(stay) :]}
    strata: list[list[dict]] = [[] for _ in range(rule.strata)]
    low, high = (stay[-1][rule.column], stay[0][rule.column]) if stay else (0, 0)
    width = (high + 1e-4 * abs(high) - low) / rule.strata
    for row in stay:
        strata[min(math.floor((row[rule.column] - low) / width), rule.strata - 1) if high > low else 0].append(row)
    left = count_of(rule, len(order))
    for done, (_, place) in enumerate(sorted((len(members), place) for place, members in enumerate(strata))):
        budget = min(len(strata[place]), left // (rule.strata - done))
        left -= budget
        for rank, row in enumerate(sorted(strata[place], key=lambda row: drawn(rule, row))):
            found[row["id"]] = f"kept:stratum={place}" if rank < budget else "dropped:stratified"
    return found


def kept_by_fraction(rule: TopPerGroup, rows: list[dict], fraction: Fraction) -> dict[str, str]:
    """Ids that some group keeps, with the first that does."""
    found: dict[str, str] = {}
    for column in rule.by:
        groups: dict[int, list[dict]] = {}
        for row in rows:
            for group in row["classes"] if column == BOTH[1] else [len(row["classes"])]:
                groups.setdefault(group, []).append(row)
        for group, members in sorted(groups.items()):
            members.sort(key=lambda row: (-row[rule.column], row["id"]))
            for row in members[: math.ceil(fraction * len(members))]:
                found.setdefault(row["id"], f"kept:{'class' if column == BOTH[1] else 'num_classes'}={group}")
    return found


def by_target(rule: TopPerGroup, rows: list[dict]) -> dict[str, str]:
    having = [row for row in rows if value_of(row, rule.column) is not None]
    fractions = {Fraction(rank, size) for size in range(1, len(having) + 1) for rank in range(size + 1)}
    keeping = [kept_by_fraction(rule, having, fraction) for fraction in fractions]
    chosen = max((kept for kept in keeping if len(kept) <= rule.target), key=len, default={})
    for row in sorted(having, key=lambda row: (-row[rule.column], row["id"])):
        if len(chosen) < rule.target:
            chosen.setdefault(row["id"], "kept:filled")
    missing = {row["id"]: "dropped:top_fraction" if row in having else "dropped:null" for row in rows}
    return missing | chosen


def by_room(rule: AtMostPerGroup, rows: list[dict]) -> dict[str, str]:
    """Rows are taken from the best to the worst while there is room."""
    found, taken = {}, {}
    order = in_order(Random(seed=rule.seed, fraction=1) if rule.column is None else rule, rows)
    for row in order:
        groups = [f"num_classes={len(row['classes'])}"] * (BOTH[0] in rule.by)
        groups += [f"class={group}" for group in row["classes"]] * (BOTH[1] in rule.by)
        full = [group for group in groups if taken.get(group, 0) == rule.rows]
        found[row["id"]] = "dropped:a group is full" if full else "kept:all_rules"  # of several, any
        taken |= {} if full else {group: taken.get(group, 0) + 1 for group in groups}
    return dict.fromkeys((row["id"] for row in rows), "dropped:null") | found


def in_plain_python(rule, rows: list[dict]) -> dict[str, str]:
    kinds = {AtMostPerGroup: by_room, Band: by_band, Stratified: by_strata, TopPerGroup: by_target}
    return kinds.get(type(rule), by_share)(rule, rows)


number = st.integers(-4, 8).map(lambda eighths: eighths / 8)
end = st.none() | number | st.sampled_from(["q0", "q0.25", "q0.5", "q1"])
size = st.fixed_dictionaries({"fraction": st.sampled_from([0.01, 0.125, 0.5, 0.75, 1.0])}) | st.fixed_dictionaries(
    {"target": st.integers(1, 16)}
)
column, seed = st.sampled_from("uv"), st.integers(-2, 2)
rule = st.one_of(
    st.builds(lambda name, given: TopK(column=name, **given), column, size),
    st.builds(lambda given, seed: Random(seed=seed, **given), size, seed),
    st.builds(lambda names, given: RankMean(columns=names, **given), st.permutations("uv"), size),
    st.tuples(column, end, end).filter(lambda ends: ends[1:] != (None, None)).map(
        lambda ends: Band(column=ends[0], low=ends[1], high=ends[2])
    ),
    st.builds(
        lambda name, given, **more: Stratified(column=name, **given, **more),
        column, size, strata=st.integers(1, 5), drop_lowest=st.sampled_from([0, 0.1, 0.5]), seed=seed,
    ),
    st.builds(
        AtMostPerGroup,
        column=st.none() | column, by=st.sampled_from([BOTH, BOTH[:1], BOTH[1:]]), rows=st.integers(1, 4), seed=seed,
    ),
    st.builds(
        TopPerGroup,
        column=column, by=st.sampled_from([BOTH, BOTH[::-1], BOTH[:1], BOTH[1:]]), target=st.integers(1, 16),
    ),
)  # fmt: skip
row = st.fixed_dictionaries(
    {
        "id": st.text("ab'\"é0", min_size=1, max_size=4),
        "classes": st.lists(st.sampled_from([1, 2, 3]), unique=True).map(sorted),
        "u": st.none() | st.just(math.nan) | number,
        "v": number,
    }
)


@hypothesis_settings(max_examples=60)
@given(st.lists(row, min_size=1, max_size=14, unique_by=lambda row: row["id"]), rule)
def test_any_rule_on_any_table(rows, rule):
    expected = in_plain_python(rule, rows)
    if not any(reason.startswith("kept") for reason in expected.values()):
        with pytest.raises(EmptySelectionError, match="nothing is left after"):
            select(scored(rows), rule)
        return
    recipe = Recipe(rules=[rule])
    selection = select(scored(rows), Recipe.from_yaml(recipe.to_yaml()))
    found = reasons(selection)
    if isinstance(rule, AtMostPerGroup):
        found = {name: re.sub(r":.*=\d+ is full", ":a group is full", reason) for name, reason in found.items()}
    assert found == expected
    if rule_target := getattr(rule, "target", None):
        having = sum(all(value_of(row, name) is not None for name in {"u", "v"} & set(rule.reads)) for row in rows)
        if not isinstance(rule, Stratified):  # which has no more than its cut leaves
            assert selection.report.kept == min(rule_target, having)


@pytest.mark.parametrize("memory", ["200MB", "40MB"])  # the tables in memory, or on disk
def test_many_rows_in_any_order_of_ids(tmp_path, memory):
    """More than DuckDB handles at a time, so that what lies side by side must be in order."""
    generator = np.random.default_rng(0)
    count = 150_000
    ids = [f"{hash_:06d}" for hash_ in generator.permutation(count)]
    scores = generator.integers(0, 1000, count) / 1000
    classes = generator.integers(1, 4, (count, 2))
    data = Dataset.from_dict({"id": ids, "u": scores, "classes": [sorted(set(pair)) for pair in classes.tolist()]})
    rules = [Threshold(column="u", above=0.25), TopPerGroup(column="u", by=BOTH, fraction=0.3)]
    data.to_parquet(tmp_path / "rows.parquet")
    found = select(tmp_path / "rows.parquet", rules, memory_limit=memory, scratch=tmp_path)
    alive = scores > 0.25
    order = np.lexsort((ids, -scores))
    order = order[alive[order]]
    kept = np.zeros(count, bool)
    several = (classes[:, 0] != classes[:, 1]) + 1
    families = [(several == number) for number in (1, 2)] + [(classes == number).any(1) for number in (1, 2, 3)]
    for members in families:
        ranked = order[members[order]]
        kept[ranked[: math.ceil(0.3 * len(ranked) - 1e-9)]] = True
    assert found.kept_rows().tolist() == np.flatnonzero(kept).tolist()
    assert pq.read_table(found.path, columns=["row"])["row"].to_numpy().tolist() == list(range(count))
    table = pq.read_table(tmp_path / "rows.parquet")
    turned = table.append_column("row", pa.array(np.arange(count))).take(np.arange(count)[::-1])
    pq.write_table(turned, tmp_path / "turned.parquet")
    assert select(tmp_path / "turned.parquet", rules).table() == found.table()


# What is wrong


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("top_k: {column: u}", "top_k needs either `fraction` or `target`"),
        ("random: {fraction: 0.5, target: 3}", "random needs either `fraction` or `target`"),
        ("top_per_group: {column: u, by: v}", "top_per_group needs either `fraction` or `target`"),
        ("top_k: {column: u, target: 0}", "target: should be greater than or equal to 1, not 0"),
        ("top_k: {column: u, k: 5}", "k: there is no such setting, only "),
        ("rank_mean: {columns: [u], fraction: 0.5}", "columns: should have at least 2 items"),
        ("band: {column: u}", "band on 'u' needs `low` or `high`"),
        ("band: {column: u, low: middle}", 'low: must be a number or a quantile from "q0" to "q1"'),
        ("stratified: {column: u, fraction: 0.5, strata: 0}", "strata: should be greater than or equal to 1, not 0"),
        ("stratified: {column: u, fraction: 0.5, drop_lowest: 1}", "drop_lowest: should be less than 1, not 1"),
    ],
)
def test_settings_that_make_no_sense(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        Recipe.from_yaml(f"rules: [{{{text}}}]")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rule", [TopK(column="id", target=1), RankMean(columns=("u", "id"), target=1),
                                  Stratified(column="id", target=1), Band(column="id", low=1)])  # fmt: skip
def test_columns_that_hold_no_numbers(rule):
    with pytest.raises(ValueError, match="a rule needs numbers; the column 'id' holds VARCHAR"):
        select(numbers(1, 2), rule)


OURS = ("tie", "failed", "dropped", "kept_by", "rank", "grp", "cutoff", "group_size", "twice", "ID", "Row", "ROW", "c0")


@pytest.mark.parametrize("name", [*OURS, "c1", "Status", "", "a b", 'q"uote', "--", "value", "place", "x" * 300])
def test_columns_may_be_called_like_ours(name):
    values, groups = [0.1, 0.9, 0.5, 0.7], ["a", "b", "a", "b"]
    data = Dataset.from_dict({"id": list("wxyz"), name: values, "g": groups})
    named = Dataset.from_dict({"id": list("wxyz"), "score": values, name: groups})
    for rule, rows, expected in (
        (Threshold(column=name, above=0.4), data, [1, 2, 3]),
        (TopK(column=name, target=2), data, [1, 3]),
        (TopPerGroup(column=name, by="g", fraction=0.5), data, [1, 2]),
        (TopPerGroup(column="score", by=name, fraction=0.5), named, [1, 2]),
        (Stratified(column=name, target=4), data, [0, 1, 2, 3]),
        (Band(column=name, low=0.4, high=0.8), data, [2, 3]),
    ):
        assert select(rows, rule).kept_rows().tolist() == expected


def test_an_amount_of_memory_that_is_none():
    with pytest.raises(ValueError, match=r'a memory limit is an amount such as "3GB", not \'much\''):
        select(numbers(1), [], memory_limit="much")
