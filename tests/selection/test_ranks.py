"""Rules by ranks in several scores: worked numbers, and any table against the same written in plain Python."""

import json
import math
import subprocess
import sys
from collections import defaultdict
from fractions import Fraction

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Sequence, Value
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from sds_hf import RankMean, Recipe, TopPerGroup, WorstRank, diff, select
from sds_hf.cli import main
from sds_hf.selection.report import counted_reason
from sds_hf.selection.select import EmptySelectionError

NAMES = ["background", "dog", "cat", "person"]
FEATURES = Features(
    {
        "id": Value("string"),
        "classes": Sequence(ClassLabel(names=NAMES)),
        **{name: Value(kind) for name, kind in (("u", "float64"), ("v", "float32"), ("w", "float32"))},
    }
)
CLASS, COUNT = "classes_present", "num_classes_present"


def scored(rows: list[dict]) -> Dataset:
    return Dataset.from_list([{name: row.get(name) for name in FEATURES} for row in rows], features=FEATURES)


def reasons(selection) -> dict[str, str]:
    table = selection.table()
    assert table["kept"].to_pylist() == [reason.startswith("kept:") for reason in table["reason"].to_pylist()]
    return dict(zip(table["id"].to_pylist(), table["reason"].to_pylist(), strict=True))


# Worked examples


@pytest.fixture
def dogs_and_cats() -> Dataset:
    # Cats have lower scores throughout: among all rows they are the worst, among cats some are good.
    u = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6, "e": 0.4, "f": 0.3, "g": 0.2, "h": 0.1}
    v = {"a": 0.9, "b": 0.5, "c": 0.8, "d": 0.7, "e": 0.1, "f": 0.4, "g": 0.3, "h": 0.2}
    return scored([{"id": name, "u": u[name], "v": v[name], "classes": [1 if name in "abcd" else 2]} for name in u])


def test_the_weakest_score_decides_and_is_named(dogs_and_cats):
    # ranks in u 1 2 3 4 5 6 7 8, in v 1 4 2 3 8 5 6 7; the worst 1 4 3 4 8 6 7 8
    found = select(dogs_and_cats, WorstRank(columns=("u", "v"), fraction=0.5))
    kept = "kept:worst_rank"
    assert reasons(found) == {
        "a": kept, "b": kept, "c": kept, "d": kept,
        "e": "dropped:v is the weakest, rank 8 of 8",
        "f": "dropped:u is the weakest, rank 6 of 8",
        "g": "dropped:u is the weakest, rank 7 of 8",
        "h": "dropped:u is the weakest, rank 8 of 8",
    }  # fmt: skip
    assert found.table()["worst_rank_rank"].to_pylist() == [1, 3, 2, 4, 7, 5, 6, 8]
    assert found.report.steps[0].dropped == {"dropped:u is the weakest": 3, "dropped:v is the weakest": 1}
    assert found.report.reasons == {"dropped:u is the weakest": 3, "dropped:v is the weakest": 1, kept: 4}


def test_ranks_within_classes(dogs_and_cats):
    # among the dogs 1 4 3 4, among the cats 4 2 3 4
    found = select(dogs_and_cats, WorstRank(columns=("u", "v"), within=CLASS, fraction=0.5))
    assert [name for name, reason in reasons(found).items() if reason.startswith("kept")] == ["a", "c", "f", "g"]
    assert reasons(found)["b"] == "dropped:v is the weakest, rank 4 of 4 in class=dog"


def test_the_best_of_each_class_by_the_worst_of_its_ranks_is_one_rule(dogs_and_cats):
    text = "rules: [{top_per_group: {worst_rank: [u, v], within: classes_present, by: classes_present, fraction: 0.5}}]"
    found = select(dogs_and_cats, Recipe.from_yaml(text))
    assert reasons(found) == {
        "a": "kept:class=dog", "c": "kept:class=dog", "f": "kept:class=cat", "g": "kept:class=cat",
        "b": "dropped:v is the weakest, rank 4 of 4 in class=dog",
        "d": "dropped:u is the weakest, rank 4 of 4 in class=dog",
        "e": "dropped:v is the weakest, rank 4 of 4 in class=cat",
        "h": "dropped:u is the weakest, rank 4 of 4 in class=cat",
    }  # fmt: skip
    assert found.table()["class_rank"].to_pylist() == [1, 3, 2, 4, 3, 1, 2, 4]


def test_equal_scores_share_the_mean_of_their_ranks_and_are_ordered_by_id():
    data = scored([{"id": name, "u": u, "v": 1} for name, u in zip("dcba", (3, 2, 2, 1), strict=True)])
    found = select(data, WorstRank(columns=("u", "v"), target=2))
    assert reasons(found) == {  # in v all have 2.5, which is weaker than a 1 and equal to a 2.5
        "d": "dropped:v is the weakest, rank 2.5 of 4", "c": "kept:worst_rank", "b": "kept:worst_rank",
        "a": "dropped:u is the weakest, rank 4 of 4",
    }  # fmt: skip


def test_a_row_without_one_of_the_scores_or_a_group_leaves():
    data = scored(
        [
            {"id": "a", "u": 1, "v": math.nan, "classes": [1]},
            {"id": "b", "u": None, "v": 1, "classes": [1]},
            {"id": "c", "u": 1, "v": math.inf, "classes": []},
            {"id": "d", "u": -math.inf, "v": -1, "classes": [1]},
        ]
    )
    null = "dropped:null"
    for more, c in ({}, "kept:worst_rank"), ({"within": CLASS}, null):
        assert reasons(select(data, WorstRank(columns=("u", "v"), fraction=1, **more))) == {
            "a": null, "b": null, "c": c, "d": "kept:worst_rank",
        }  # fmt: skip


def test_python_and_the_command_line_keep_the_same_rows(tmp_path, capsys):
    generator = np.random.default_rng(0)
    rows = [
        {"id": f"r{row}", **dict(zip("uvw", generator.integers(0, 9, 3) / 8, strict=True)), "classes": [1 + row % 3]}
        for row in range(60)
    ]
    scored(rows).to_parquet(tmp_path / "rows.parquet")
    text = "top_per_group: {worst_rank: [u, v, w], by: classes_present, fraction: 0.6}"
    arguments = ["select", str(tmp_path / "rows.parquet"), "--recipe", "random", "--rule", text, "--json"]
    assert main([*arguments, "--out", str(tmp_path / "selection")]) == 0
    in_python = select(scored(rows), TopPerGroup(worst_rank=("u", "v", "w"), by=CLASS, fraction=0.6))
    table = pq.read_table(tmp_path / "selection" / "selection.parquet")
    assert table["reason"].to_pylist() == in_python.table()["reason"].to_pylist()
    assert json.loads(capsys.readouterr().out)["result"]["reasons"] == in_python.report.reasons


def test_reasons_are_counted_without_the_rank_of_one_row(dogs_and_cats, tmp_path):
    rule = WorstRank(columns=("u", "v"), within=CLASS, fraction=0.5)
    select(dogs_and_cats, rule, out=tmp_path / "a")
    fewer = dogs_and_cats.select(range(1, 8))  # without a, which was kept: ranks and sizes of the dogs change
    select(fewer, rule, out=tmp_path / "b")
    changes = diff(tmp_path / "a", tmp_path / "b")
    assert [(change.before, change.after, change.rows) for change in changes.reasons] == [
        ("dropped:v is the weakest", "kept:worst_rank", 1)
    ]
    reason = "dropped:v is the weakest, rank 4 of 4 in class=dog, the small"
    assert counted_reason(reason) == "dropped:v is the weakest"
    assert counted_reason("kept:class=a, rank 1 of 2") == "kept:class=a, rank 1 of 2"


# Any table against plain Python


def has(row: dict, columns) -> bool:
    return all(row[column] is not None and not math.isnan(row[column]) for column in columns)


def groups_of(row: dict, family: str | None) -> list:
    return {None: [None], CLASS: row["classes"], COUNT: [len(row["classes"])]}[family]


def name_of(family: str | None, group) -> str | None:
    return {None: None, CLASS: f"class={NAMES[group or 0]}", COUNT: f"num_classes={group}"}[family]


def keys_in(rows: list[dict], columns, worst: bool, family: str | None) -> dict[tuple, tuple[Fraction, str]]:
    """By id and group: a row's key there, and what is said of it."""
    members = defaultdict(list)
    for row in rows:
        for group in groups_of(row, family):
            members[group].append(row)
    keys = {}
    for group, inside in members.items():
        size = len(inside)
        ranks = np.stack([rankdata([-row[column] for row in inside]) for column in columns], axis=1)
        for row, line in zip(inside, ranks, strict=True):
            shares = [Fraction(int(2 * rank) - 1, 2 * size) for rank in line]
            weakest = int(line.argmax())
            where = f" in {name_of(family, group)}" if family else ""
            says = f"dropped:{columns[weakest]} is the weakest, rank {line[weakest]:g} of {size}{where}"
            order = (shares[weakest], -weakest, line[weakest], size, name_of(family, group) or "")
            keys[row["id"], group] = (order, says) if worst else ((sum(shares) / len(shares),), None)
    return keys


def keys_of(rows: list[dict], columns, worst: bool, within) -> dict[str, tuple[Fraction, str]]:
    """By id: the key of a row in all its groups, and what is said of it."""
    lines = defaultdict(list)
    for family in within or [None]:
        for (row_id, _), line in keys_in(rows, columns, worst, family).items():
            lines[row_id].append(line)
    if worst:
        return {row_id: (max(several)[0][0], max(several)[1]) for row_id, several in lines.items()}
    return {row_id: (sum(line[0][0] for line in several) / len(several), None) for row_id, several in lines.items()}


def by_ranks(rule, rows: list[dict]) -> dict[str, str]:
    ranked = keys_of([row for row in rows if has(row, rule.columns)], rule.columns, rule.worst, rule.within)
    order = sorted(ranked, key=lambda row_id: (ranked[row_id][0], row_id))
    half_up = math.floor(Fraction(rule.fraction or 0) * len(order) + Fraction(1, 2))
    kept = order[: rule.target or max(1, half_up)]
    dropped = {row_id: says or f"dropped:{rule.kind}" for row_id, (_, says) in ranked.items()}
    return {row["id"]: "dropped:null" for row in rows} | dropped | dict.fromkeys(kept, f"kept:{rule.kind}")


def by_groups(rule: TopPerGroup, rows: list[dict]) -> dict[str, str]:
    columns, worst, within = rule.worst_rank or rule.rank_mean, rule.worst_rank is not None, rule.within or ()
    having = [row for row in rows if has(row, columns)]
    whole = keys_of(having, columns, worst, within)
    having = [row for row in having if row["id"] in whole]
    kept, dropped = {}, {}
    for family in rule.by:
        own = keys_in(having, columns, worst, family) if family in within else None
        members = defaultdict(list)
        for row in having:
            for group in groups_of(row, family):
                key, says = own[row["id"], group] if own else whole[row["id"]]
                members[group].append((key[0] if own else key, row["id"], says))
        closest = {}
        for group, inside in sorted(members.items()):
            cutoff = math.ceil(Fraction(str(rule.fraction)) * len(inside))
            for rank, (_, row_id, says) in enumerate(sorted(inside, key=lambda line: line[:2]), start=1):
                if rank <= cutoff:
                    kept.setdefault(row_id, f"kept:{name_of(family, group)}")
                distance = -1 if rank <= cutoff else rank / cutoff
                closest[row_id] = min(closest.get(row_id, (math.inf, None, None)), (distance, group, says))
        for row_id, (_, _, says) in closest.items():
            dropped.setdefault(row_id, says or "dropped:top_fraction")
    out = {row["id"]: "dropped:top_fraction" if row in having else "dropped:null" for row in rows}
    return out | dropped | kept


number = st.integers(-2, 4).map(lambda quarters: quarters / 4)
row = st.fixed_dictionaries(
    {
        "id": st.text("ab'0", min_size=1, max_size=4),
        "classes": st.lists(st.sampled_from([1, 2, 3]), unique=True).map(sorted),
        "u": st.none() | st.sampled_from([math.nan, math.inf, -math.inf, -0.0]) | number,
        "v": number,
        "w": number | st.none(),
    }
)
columns = st.sampled_from([("u", "v"), ("v", "w"), ("u", "v", "w"), ("w", "v", "u")])
families = st.sampled_from([(CLASS,), (COUNT,), (COUNT, CLASS)])
share = st.sampled_from([0.01, 0.125, 0.5, 0.6, 1.0])
size = share.map(lambda value: {"fraction": value}) | st.integers(1, 12).map(lambda value: {"target": value})
ranked_rule = st.builds(
    lambda kind, names, within, size: kind(columns=names, within=within, **size),
    st.sampled_from([WorstRank, RankMean]), columns, st.none() | families, size,
)  # fmt: skip
grouped_rule = st.builds(
    lambda kind, names, **more: TopPerGroup(**{kind: names}, **more),
    st.sampled_from(["worst_rank", "rank_mean"]), columns, within=st.none() | families, by=families, fraction=share,
)  # fmt: skip


@hypothesis_settings(max_examples=50)
@given(st.lists(row, min_size=1, max_size=14, unique_by=lambda row: row["id"]), ranked_rule | grouped_rule)
def test_any_rule_on_any_table(rows, rule):
    expected = by_groups(rule, rows) if isinstance(rule, TopPerGroup) else by_ranks(rule, rows)
    recipe = Recipe.from_yaml(Recipe(rules=[rule]).to_yaml())
    assert recipe.rules == [rule]
    if not any(reason.startswith("kept") for reason in expected.values()):
        with pytest.raises(EmptySelectionError, match="nothing is left after"):
            select(scored(rows), recipe)
        return
    assert reasons(select(scored(rows), recipe)) == expected


@hypothesis_settings(max_examples=10)
@given(st.lists(row, min_size=1, max_size=14, unique_by=lambda row: row["id"]), grouped_rule, st.integers(1, 12))
def test_a_target_is_met_with_the_best_of_those_that_no_group_keeps(rows, rule, target):
    ranks, within = rule.worst_rank or rule.rank_mean, rule.within
    having = keys_of([row for row in rows if has(row, ranks)], ranks, rule.worst_rank is not None, within)
    rule = TopPerGroup(worst_rank=rule.worst_rank, rank_mean=rule.rank_mean, by=rule.by, within=within, target=target)
    if not having:
        with pytest.raises(EmptySelectionError, match="nothing is left after"):
            select(scored(rows), rule)
        return
    found = reasons(select(scored(rows), rule))
    assert sum(reason.startswith("kept") for reason in found.values()) == min(target, len(having))
    filled = [having[name][0] for name, reason in found.items() if reason == "kept:filled"]
    left = [having[name][0] for name, reason in found.items() if reason.startswith("dropped") and name in having]
    assert max(filled, default=0) <= min(left, default=1)


# What is wrong


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("worst_rank: {columns: [u], fraction: 0.5}", "columns: should have at least 2 items"),
        ("worst_rank: {columns: [u, v]}", "worst_rank needs either `fraction` or `target`"),
        ("top_per_group: {by: v, fraction: 0.5}", "top_per_group needs one of `column`, `worst_rank` and `rank_mean`"),
        (
            "top_per_group: {column: u, rank_mean: [u, v], by: v, fraction: 0.5}",
            "top_per_group takes only one of `column`, `worst_rank` and `rank_mean`",
        ),
        (
            "top_per_group: {column: u, by: v, within: v, fraction: 0.5}",
            "`within` says where ranks are taken: it needs `worst_rank` or `rank_mean`",
        ),
    ],
)
def test_settings_that_make_no_sense(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        Recipe.from_yaml(f"rules: [{{{text}}}]")
    assert "\n" not in str(caught.value)


# Many rows

MANY = """
import resource, sys
from pathlib import Path
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from sds_hf.selection.rules import TopPerGroup, WorstRank
from sds_hf.selection.select import select
folder, count = Path(sys.argv[1]), int(sys.argv[2])
generator = np.random.default_rng(0)
with pq.ParquetWriter(folder / "rows.parquet", pa.schema([("id", pa.string()), ("row", pa.int64()),
        ("classes_present", pa.list_(pa.int32())), *((name, pa.float32()) for name in "uvw")])) as file:
    for start in range(0, count, 100_000):
        rows = np.arange(start, min(start + 100_000, count))
        classes = [sorted(set(pair)) for pair in generator.integers(1, 21, (len(rows), 2)).tolist()]
        scores = [generator.integers(0, 5000, len(rows)).astype(np.float32) for _ in "uvw"]
        file.write_table(pa.table([pa.array([f"r{n:09d}" for n in rows]), rows, pa.array(classes, pa.list_(pa.int32())),
            *scores], schema=file.schema))
rule = TopPerGroup(worst_rank=("u", "v", "w"), by="classes_present", within="classes_present", fraction=0.6)
select(folder / "rows.parquet", rule, out=folder / "out", memory_limit="300MB", scratch=folder)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path):
    peaks = []
    for count in (150_000, 600_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        result = subprocess.run(
            [sys.executable, "-c", MANY, str(folder), str(count)], capture_output=True, text=True, check=True
        )
        peaks.append(int(result.stdout.split()[-1]))  # below the bar that DuckDB draws for `-c`
    assert peaks[1] < peaks[0] + 250, peaks
