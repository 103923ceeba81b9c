"""Rules over score columns: the worked examples, every kind of input, and any table against rules written in Python."""

import errno
import math
import os
import warnings
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Image, Sequence, Value
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from support.rows import random_dataset

from sds_hf import (
    Band,
    ClipSim,
    Random,
    RankMean,
    Recipe,
    Report,
    Stratified,
    Threshold,
    TopK,
    TopPerGroup,
    score_table,
    select,
)
from sds_hf.data.images import encode_mask
from sds_hf.data.labels import VOC
from sds_hf.selection.recipe import RecipeError
from sds_hf.selection.report import ClassCount, lost_classes
from sds_hf.selection.select import EmptySelectionError, Selection
from sds_hf.selection.summary import differences

NAMES = ["background", "dog", "cat", "person"]
BOTH = ("num_classes_present", "classes_present")
FEATURES = Features(
    {"id": Value("string"), "classes": Sequence(ClassLabel(names=NAMES)), "u": Value("float32"), "v": Value("float32")}
)
PAPER = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.3, "e": 0.2, "f": 0.6, "g": 0.5, "h": 0.1}
PAPER_CLASSES = {"a": [1], "b": [1], "c": [1], "d": [2], "e": [2], "f": [1, 2], "g": [1, 2], "h": [1, 2, 3]}


def scored(rows: list[dict], features: Features = FEATURES) -> Dataset:
    """Rows of scores; what a row does not say is null."""
    return Dataset.from_list([{name: row.get(name) for name in features} for row in rows], features=features)


def numbers(*values: float | None) -> Dataset:
    """One row a value of `u`, called r00, r01, ..."""
    return scored([{"id": f"r{place:02d}", "u": value} for place, value in enumerate(values)])


@pytest.fixture
def paper() -> Dataset:
    return scored([{"id": name, "u": value, "classes": PAPER_CLASSES[name]} for name, value in PAPER.items()])


def reasons(selection: Selection) -> dict[str, str]:
    table = selection.table()
    assert table["kept"].to_pylist() == [reason.startswith("kept:") for reason in table["reason"].to_pylist()]
    return dict(zip(table["id"].to_pylist(), table["reason"].to_pylist(), strict=True))


def kept(selection: Selection) -> str:
    return "".join(name for name, reason in reasons(selection).items() if reason.startswith("kept:"))


# The paper's rule


@pytest.mark.parametrize(
    ("by", "expected"),
    [("num_classes_present", "abcfgh"), ("classes_present", "abcdfgh"), (BOTH, "abcdfgh"), ("everything", "abcfg")],
)
def test_worked_example(paper, by, expected):
    data = paper.add_column("everything", [0] * len(paper))
    assert kept(select(data, [TopPerGroup(column="u", by=by, fraction=0.6)])) == expected


def test_every_row_has_its_reason_and_its_place_in_the_groups(paper):
    selection = select(paper, TopPerGroup(column="u", by=BOTH, fraction=0.6))
    one, two, three = (f"kept:num_classes={count}" for count in (1, 2, 3))
    assert reasons(selection) == {
        "a": one, "b": one, "c": one, "d": "kept:class=cat", "e": "dropped:top_fraction",
        "f": two, "g": two, "h": three,
    }  # fmt: skip
    table = selection.table()
    families = {
        family: dict(zip(table["id"].to_pylist(), zip(*places, strict=True), strict=True))
        for family in ("num_classes", "class")
        if (places := [table[f"{family}_{name}"].to_pylist() for name in ("rank", "group_size", "cutoff")])
    }
    assert families["num_classes"] == {
        "a": (1, 5, 3), "b": (2, 5, 3), "c": (3, 5, 3), "d": (4, 5, 3), "e": (5, 5, 3), "f": (1, 2, 2), "g": (2, 2, 2),
        "h": (1, 1, 1),
    }  # fmt: skip
    # A row of several classes is listed where it was kept first, or came closest.
    assert families["class"] == {
        "a": (1, 6, 4), "b": (2, 6, 4), "c": (3, 6, 4), "d": (3, 5, 3), "e": (4, 5, 3), "f": (4, 6, 4), "g": (2, 5, 3),
        "h": (1, 1, 1),
    }  # fmt: skip


def test_groups_are_formed_of_the_survivors(paper):
    rules = [Threshold(column="u", above=0.25), TopPerGroup(column="u", by="num_classes_present", fraction=0.6)]
    selection = select(paper, rules)
    assert selection.table()["num_classes_group_size"].to_pylist() == [4, 4, 4, 4, None, 2, 2, None]
    assert kept(selection) == "abcfg"
    assert reasons(selection)["h"] == "dropped:u"
    assert [(step.before, step.after, step.dropped) for step in selection.report.steps] == [
        (8, 6, {"dropped:u": 2}),
        (6, 5, {"dropped:top_fraction": 1}),
    ]


@pytest.mark.parametrize(
    ("fraction", "size", "stay"),
    [(0.6, 5, 3), (0.07, 100, 7), (0.1, 1, 1), (0.34, 3, 2), (0.1 + 0.2, 10, 3), (1, 4, 4)],
)
def test_a_share_is_rounded_up_and_no_further(fraction, size, stay):
    data = scored([{"id": f"{place:03d}", "u": place, "classes": [1]} for place in range(size)])
    rule = TopPerGroup(column="u", by="classes_present", fraction=fraction)
    assert select(data, rule).kept_rows().tolist() == list(range(size - stay, size))


def test_a_row_that_no_group_keeps_is_listed_where_it_came_closest():
    classes = {"a": [1], "b": [1], "c": [1], "d": [2], "x": [1, 2]}
    values = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6, "x": 0.1}
    data = scored([{"id": name, "u": values[name], "classes": classes[name]} for name in classes])
    table = select(data, TopPerGroup(column="u", by="classes_present", fraction=0.25)).table()
    assert [table[f"class_{name}"][4].as_py() for name in ("rank", "group_size", "cutoff")] == [2, 2, 1]


def test_ties_are_ordered_by_id():
    data = scored([{"id": name, "u": 0.5, "classes": [1]} for name in "dbca"])
    assert kept(select(data, TopPerGroup(column="u", by="classes_present", fraction=0.5))) == "ba"


def test_a_second_rule_of_groups_ranks_what_the_first_left(paper):
    rules = [
        TopPerGroup(column="u", by="num_classes_present", fraction=0.6),
        TopPerGroup(column="u", by="num_classes_present", fraction=0.5),
    ]
    selection = select(paper, rules)
    assert kept(selection) == "abfh"
    assert selection.table()["num_classes_group_size"].to_pylist() == [3, 3, 3, None, None, 2, 2, 1]


def test_the_reason_is_the_group_that_kept_a_row_first(paper):
    rules = [TopPerGroup(column="u", by=column, fraction=0.9) for column in BOTH[::-1]]
    assert reasons(select(paper, rules))["a"] == "kept:class=dog"
    assert reasons(select(paper, rules[::-1]))["a"] == "kept:num_classes=1"


# Thresholds


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_thresholds_are_strict_in_the_columns_own_precision(kind):
    features = Features({**FEATURES, "u": Value(kind)})
    beyond = float(np.nextafter(np.dtype(kind).type(0.8), np.dtype(kind).type(1)))
    data = scored([{"id": "equal", "u": 0.8}, {"id": "above", "u": beyond}, {"id": "below", "u": 0.7}], features)
    assert kept(select(data, Threshold(column="u", above=0.8))) == "above"
    assert kept(select(data, Threshold(column="u", below=0.8))) == "below"


def test_two_bounds():
    assert select(numbers(1, 2, 3, 4), Threshold(column="u", above=1, below=4)).kept_rows().tolist() == [1, 2]


@pytest.mark.parametrize(("bound", "stay"), [("q0.15", 85), ("q0", 99), ("q0.5", 50), ("q0.99", 1)])
def test_a_quantile_takes_a_share(bound, stay):
    data = numbers(*np.random.default_rng(0).permutation(100) * 0.001)
    assert select(data, Threshold(column="u", above=bound)).report.kept == stay
    assert select(data, Threshold(column="u", below="q" + str(1 - float(bound[1:])))).report.kept == stay


def test_a_quantile_is_of_the_rows_still_in():
    rules = [Threshold(column="u", above=4), Threshold(column="u", above="q0.5")]
    assert select(numbers(*range(10)), rules).kept_rows().tolist() == [8, 9]


def test_whole_numbers_are_scores_too():
    data = numbers(1, 2, 3).add_column("count", [1, 2, 3])
    assert select(data, Threshold(column="count", above=1.5)).kept_rows().tolist() == [1, 2]


def test_nothing_is_not_a_number():
    data = numbers(0.9, None, math.nan, math.inf, -math.inf)
    assert list(reasons(select(data, Threshold(column="u", above=0.5))).values()) == [
        "kept:all_rules", "dropped:null", "dropped:null", "kept:all_rules", "dropped:u",
    ]  # fmt: skip
    rows = [{"id": "a", "u": 1.0, "classes": [1]}, {"id": "b", "classes": [1]}, {"id": "c", "u": 2.0, "classes": []}]
    rule = TopPerGroup(column="u", by="classes_present", fraction=1)
    assert list(reasons(select(scored(rows), rule)).values()) == [
        "kept:class=dog", "dropped:null", "dropped:top_fraction",
    ]  # fmt: skip


@pytest.mark.parametrize("above", [0.95, 1e-5, "q1", math.inf])
def test_an_empty_selection_shows_the_quantiles(above, tmp_path):
    data = numbers(0.0, 0.00001, 0.00001 / 2) if above == 1e-5 else numbers(0.0, 0.5, 0.9)
    with pytest.raises(EmptySelectionError) as caught:
        select(data, [Threshold(column="u", above=-1), Threshold(column="u", above=above)], out=tmp_path / "out")
    message = str(caught.value)
    assert message.startswith(f"nothing is left after 'u > {above}' (3 rows before it); quantiles of u: 0% 0, 5% ")
    hint = "A lower quantile keeps more" if above == "q1" else 'keeps a share whatever the scale: above: "q0.2"'
    assert hint in message
    assert "50% 0.5," in message or above == 1e-5
    assert "\n" not in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("rule", [Threshold(column="u", above="q0.5"), TopPerGroup(column="u", by="id", fraction=0.5)])
def test_a_column_of_nulls_leaves_nothing(rule):
    with pytest.raises(EmptySelectionError, match="quantiles of u: no finite number"):
        select(numbers(None, math.nan), rule)


def test_too_little_memory_is_one_line(paper):
    with pytest.raises(
        ValueError, match=r"^the rows do not fit into the memory limit of 1MB: give a larger memory_limit=\.\.\.$"
    ):
        select(paper, RULE, memory_limit="1MB")


def test_a_disk_that_is_full_leaves_the_last_selection(paper, tmp_path, monkeypatch):
    first = select(paper, RULE, out=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(report, path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Report, "save", full)
    with pytest.raises(OSError, match="No space left on device"):
        select(paper, Threshold(column="u", above=0.5), out=tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert Selection.load(tmp_path).kept_rows().tolist() == first.kept_rows().tolist()


def test_a_selection_that_fails_leaves_the_last_one(tmp_path):
    select(numbers(1, 2), Threshold(column="u", above=1), out=tmp_path)
    with pytest.raises(EmptySelectionError):
        select(numbers(1, 2), Threshold(column="u", above=2), out=tmp_path)
    assert Selection.load(tmp_path).kept_rows().tolist() == [1]


# Any table against plain Python


def group_of(row: dict, column: str) -> list:
    classes = row["classes"] or []
    return classes if column == "classes_present" else [] if row["classes"] is None else [len(classes)]


def label_of(column: str, group: int) -> str:
    return f"class={NAMES[group]}" if column == "classes_present" else f"num_classes={group}"


def value_of(row: dict, column: str) -> float | None:
    return None if row[column] is None or math.isnan(row[column]) else row[column]


def by_threshold(rule: Threshold, alive: list[dict]) -> None:
    values = [value for row in alive if (value := value_of(row, rule.column)) is not None]

    def bound(given):
        return float(np.quantile(values, float(given[1:]))) if isinstance(given, str) and values else given

    for row in alive:
        value = value_of(row, rule.column)
        if value is None:
            row["dropped"] = "dropped:null"
        elif not (rule.above is None or value > bound(rule.above)) or not (
            rule.below is None or value < bound(rule.below)
        ):
            row["dropped"] = f"dropped:{rule.column}"


def by_groups(rule: TopPerGroup, alive: list[dict], rows: list[dict]) -> None:
    for row in rows:
        row.update(dict.fromkeys(rule.by, (None, None, None)))
    chosen: dict[str, str] = {}
    for column in rule.by:
        groups: dict[int, list[dict]] = {}
        for row in alive:
            for group in group_of(row, column) if value_of(row, rule.column) is not None else []:
                groups.setdefault(group, []).append(row)
        places: dict[str, list[tuple]] = {}
        for group, members in sorted(groups.items()):
            members.sort(key=lambda row: (-row[rule.column], row["id"]))
            cutoff = math.ceil(Fraction(str(rule.fraction)) * len(members))
            for rank, row in enumerate(members, 1):
                key = (rank > cutoff, group if rank <= cutoff else 0, Fraction(rank, cutoff), group)
                places.setdefault(row["id"], []).append((key, rank, len(members), cutoff))
        for row in alive:
            if row["id"] in places:
                key, *row[column] = min(places[row["id"]])
                if not key[0]:
                    chosen.setdefault(row["id"], f"kept:{label_of(column, key[-1])}")
    for row in alive:
        if value_of(row, rule.column) is None:
            row["dropped"] = "dropped:null"
        elif row["id"] not in chosen:
            row["dropped"] = "dropped:top_fraction"
        row["kept_by"] = row.get("kept_by") or chosen.get(row["id"])


def in_plain_python(rows: list[dict], rules: list) -> list[dict] | None:
    """Rows with `reason` and, by family, (rank, group size, cutoff); None if a rule takes the last row."""
    rows = [{**row, "dropped": "dropped:failed" if row["status"] == "failed" else None} for row in rows]
    for rule in rules:
        alive = [row for row in rows if row["dropped"] is None]
        by_threshold(rule, alive) if isinstance(rule, Threshold) else by_groups(rule, alive, rows)
        if all(row["dropped"] for row in rows):
            return None
    return [row | {"reason": row["dropped"] or row.get("kept_by") or "kept:all_rules"} for row in rows]


value = st.integers(-4, 8).map(lambda eighths: eighths / 8)
quantile = st.sampled_from(["q0", "q0.25", "q0.5", "q0.75"])
bounds = st.fixed_dictionaries({}, optional={"above": value | quantile, "below": value | st.just("q1")}).filter(len)
threshold = st.builds(lambda column, given: Threshold(column=column, **given), st.sampled_from("uv"), bounds)
top = st.builds(
    TopPerGroup,
    column=st.sampled_from("uv"),
    by=st.sampled_from([BOTH, BOTH[::-1], BOTH[:1], BOTH[1:]]),
    fraction=st.sampled_from([0.01, 0.25, 0.3333, 0.6, 0.7, 1.0]),
)
row = st.fixed_dictionaries(
    {
        "id": st.text("ab'\"é0", min_size=1, max_size=4),
        "classes": st.none() | st.lists(st.sampled_from([1, 2, 3]), unique=True).map(sorted),
        "u": st.none() | st.just(math.nan) | value,
        "v": value,
        "status": st.sampled_from(["ok", "ok", "ok", "failed"]),
    }
)


@hypothesis_settings(max_examples=80)
@given(st.lists(row, min_size=1, max_size=14, unique_by=lambda row: row["id"]), st.lists(threshold | top, max_size=3))
def test_any_rules_on_any_table(rows, rules):
    data = scored(rows, Features({**FEATURES, "status": Value("string")}))
    expected = in_plain_python(rows, rules)
    if expected is None:
        with pytest.raises(EmptySelectionError):
            select(data, rules)
        return
    selection = select(data, rules)
    table = selection.table().to_pylist()
    assert [row["reason"] for row in table] == [row["reason"] for row in expected]
    assert [(row["id"], row["row"]) for row in table] == [(row["id"], place) for place, row in enumerate(rows)]
    for family, column in (("num_classes", BOTH[0]), ("class", BOTH[1])):
        if any(column in getattr(rule, "by", ()) for rule in rules):
            found = [tuple(row[f"{family}_{name}"] for name in ("rank", "group_size", "cutoff")) for row in table]
            assert found == [tuple(row[column]) for row in expected]
    report = selection.report
    assert report.kept == sum(reason.startswith("kept:") for reason in reasons(selection).values())
    assert sum(report.reasons.values()) == report.rows == len(rows)
    assert sum(report.scores["u"].all) + report.scores["u"].nulls == len(rows)
    assert sum(report.scores["v"].kept) == report.kept
    survivors = [len(rows) - sum(row["status"] == "failed" for row in rows), *(step.after for step in report.steps)]
    assert [step.before for step in report.steps] == survivors[:-1]
    assert [step.before - step.after for step in report.steps] == [sum(step.dropped.values()) for step in report.steps]


# What scores may lie in


def with_images(paper: Dataset) -> Dataset:
    """The same rows with pictures that cannot be decoded."""
    cells = [{"bytes": bytes([65 + place]) * 500, "path": None} for place in range(len(paper))]
    return paper.add_column("image", cells).cast_column("image", Image())


RULE = TopPerGroup(column="u", by=BOTH, fraction=0.6)


def test_a_dataset_is_never_decoded(paper):
    data = with_images(paper)
    with pytest.raises(Exception, match="cannot identify image"):
        _ = data[0]
    selection = select(data, RULE)
    assert selection.table() == select(paper, RULE).table()
    with pytest.raises(ValueError, match="the rules read") as caught:
        select(data, Threshold(column="gone", above=0))
    assert "image" not in str(caught.value)  # the rules do not even see it
    assert selection.apply(data).column_names == data.column_names
    assert selection.apply(data)["id"] == list("abcdfgh")


def test_pages_of_images_are_never_read(paper, tmp_path):
    path = tmp_path / "rows.parquet"
    with_images(paper).to_parquet(path)
    group = pq.ParquetFile(path).metadata.row_group(0)
    chunks = [group.column(place) for place in range(group.num_columns)]
    with path.open("r+b") as file:
        for chunk in (chunk for chunk in chunks if chunk.path_in_schema.startswith("image")):
            file.seek(chunk.dictionary_page_offset or chunk.data_page_offset)
            file.write(b"\xff" * chunk.total_compressed_size)
    with pytest.raises(OSError, match=r"thrift|page|orrupt"):
        pq.read_table(path)
    assert select(path, RULE).table() == select(paper, RULE).table()


def test_a_dataset_is_taken_as_it_is_shown(paper):
    """Rows chosen and ordered by `datasets`, whose tables stay as they are."""
    shown = with_images(paper).select([5, 0, 3])
    assert (
        select(shown, []).table().to_pylist()
        == select(paper.select([5, 0, 3]).flatten_indices(), []).table().to_pylist()
    )
    assert select(shown, []).table()["id"].to_pylist() == ["f", "a", "d"]


def test_parquet_files_number_their_rows_and_name_their_classes(paper, tmp_path):
    for place, rows in enumerate((range(5), range(5, 8))):
        paper.remove_columns("id").select(rows).to_parquet(tmp_path / f"part{place}.parquet")
    table = select(str(tmp_path / "part*.parquet"), RULE).table()
    assert table["id"].to_pylist() == [str(row) for row in range(8)]
    assert table["row"].to_pylist() == list(range(8))
    assert table["reason"].to_pylist() == select(paper, RULE).table()["reason"].to_pylist()
    assert table["reason"][3].as_py() == "kept:class=cat"


def test_parquet_files_may_know_their_rows_and_not_their_classes(paper, tmp_path):
    table = paper.with_format("arrow")[:].append_column("row", pa.array(np.arange(8)[::-1])).replace_schema_metadata({})
    pq.write_table(table, tmp_path / "rows.parquet")
    found = select(tmp_path / "rows.parquet", RULE).table()
    assert found["id"].to_pylist() == list("hgfedcba")
    assert found["reason"][4].as_py() == "kept:class=2"


def test_rows_without_a_name_are_called_by_their_number(paper):
    data = paper.remove_columns("id").add_column("row", [7] * 8)  # a column of this name is the user's own
    assert select(data, RULE).table()["id"].to_pylist() == [str(place) for place in range(8)]
    assert select(data, RULE).apply(paper)["id"] == list("abcdfgh")


@pytest.fixture(scope="module")
def table(tmp_path_factory, tiny_clip):
    rows = random_dataset(12)
    rows = rows.map(lambda row, place: {"image": None if place == 4 else row["image"]}, with_indices=True)
    return score_table(
        rows, [ClipSim(model=tiny_clip, dtype="fp32")], tmp_path_factory.mktemp("scores"), rows_per_shard=5
    )


def test_a_score_table_or_its_folder(table, dataset):
    rules = [Threshold(column="clip_sim", above="q0.2"), TopPerGroup(column="clip_sim", by=BOTH, fraction=0.5)]
    selection = select(table, rules)
    assert select(table.folder, rules).table() == selection.table()
    assert reasons(selection)["row004"] == "dropped:failed"
    report = selection.report
    assert report.failed == 1
    assert report.failures == ["row004: image row004: the cell is empty"]
    assert report.provenance["scores"][1]["score"] == "clip_sim"
    assert {count.name for count in report.classes} <= set(dataset.features["classes"].feature.names)
    assert selection.apply(dataset)["id"] == [name for name, reason in reasons(selection).items() if "kept" in reason]


def test_no_rules_drop_only_what_failed(table):
    selection = select(table, [])
    assert selection.report.reasons == {"dropped:failed": 1, "kept:all_rules": 11}
    assert selection.report.steps == []


def test_names_may_hold_quotes():
    features = Features({"id": Value("string"), "classes": Sequence(ClassLabel(names=["background", "it's"]))})
    data = scored([{"id": "o'k", "classes": [1]}], features).add_column('it\'s a "score"', [0.5])
    rules = [
        Threshold(column='it\'s a "score"', above=0.8, below=0.9),
        TopPerGroup(column='it\'s a "score"', by=BOTH[1], fraction=1),
    ]
    with pytest.raises(EmptySelectionError, match="it's a"):
        select(data, rules)
    assert reasons(select(data, rules[1])) == {"o'k": "kept:class=it's"}


# What is wrong


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            Threshold(column="pcs", above=0.1),
            "the rules read pcs, which the scores do not have; there are id",
        ),
        (TopPerGroup(column="u", by="kind", fraction=1), r"the rules read kind, which the scores do not have"),
        (Threshold(column="id", above=0.1), "a rule needs numbers; the column 'id' holds VARCHAR"),
        (TopPerGroup(column="classes", by="id", fraction=1), r"the column 'classes' holds BIGINT\[\]"),
    ],
)
def test_columns_that_do_not_fit(paper, rule, message):
    with pytest.raises(ValueError, match=message):
        select(paper, rule)


def test_rows_that_cannot_be_told_apart(paper, tmp_path):
    twice = scored([{"id": "a", "u": 1.0}, {"id": "b", "u": 1.0}, {"id": "a", "u": 2.0}])
    with pytest.raises(ValueError, match="the id 'a' occurs more than once"):
        select(twice, [])
    paper.add_column("row", [0, 1, 2, 3, 3, 4, 5, 6]).to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match="the row 3 occurs more than once"):
        select(tmp_path / "rows.parquet", [])


@pytest.mark.parametrize("error", [RuntimeError("no credentials\nfor this"), KeyError()])
def test_a_store_that_cannot_be_reached_is_one_line(error, monkeypatch):
    upath = pytest.importorskip("upath")

    def fails(self):
        raise error

    monkeypatch.setattr(upath.UPath("memory://x").__class__, "iterdir", fails)
    reason = "no credentials" if error.args else "KeyError"
    with pytest.raises(OSError, match=rf"cannot reach memory:.*: {reason}; look at the address, the network"):
        select("memory://x", [])


def test_places_without_scores(tmp_path):
    with pytest.raises(ValueError, match=r"no score table and no Parquet file at .*gone"):
        select(tmp_path / "gone", [])
    with pytest.raises(ValueError, match="holds no score table; `sds-hf score"):
        select(tmp_path, [])
    with pytest.raises(ValueError, match=r"holds no selection\.parquet: `sds-hf select"):
        Selection.load(tmp_path)


def test_a_selection_is_not_applied_to_other_rows(paper):
    selection = select(paper, RULE)
    with pytest.raises(ValueError, match="was made of 8 rows; this dataset has 7"):
        selection.apply(paper.select(range(7)))
    with pytest.raises(ValueError, match="was made of other rows: row 0 was 'a', here it is 'h'"):
        selection.apply(paper.select(range(7, -1, -1)))


# What is written


def test_it_is_saved_and_loaded(paper, tmp_path):
    recipe = Recipe(name="mine", rules=[RULE])
    selection = select(paper, recipe, out=tmp_path / "new" / "out")
    assert sorted(path.name for path in (tmp_path / "new" / "out").iterdir()) == [
        "recipe.yaml", "report.json", "selection.parquet",
    ]  # fmt: skip
    again = Selection.load(tmp_path / "new" / "out")
    assert again.table() == selection.table()
    assert again.report == selection.report
    assert Recipe.load(tmp_path / "new" / "out" / "recipe.yaml") == recipe
    schema = pq.read_schema(selection.path)
    assert [(field.name, str(field.type)) for field in schema][:4] == [
        ("id", "string"), ("row", "int64"), ("kept", "bool"), ("reason", "string"),
    ]  # fmt: skip


def test_a_temporary_selection_lives_as_long_as_it_is_used(paper):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        selection = select(paper, RULE)
        path = selection.path
        assert path.exists()
        del selection
    assert not path.parent.exists()


def test_groups_of_masks_need_to_know_what_0_is():
    classes = Sequence(ClassLabel(names=list(VOC.names[1:])))
    features = Features(id=Value("string"), u=Value("float32"), mask=Image(), classes=classes)
    mask = {"bytes": encode_mask(np.array([[0, 12]], np.uint8)), "path": None}
    dataset = Dataset.from_list([{"id": "a", "u": 0.1, "mask": mask, "classes": [11]}], features=features)
    with pytest.raises(ValueError, match="has 'aeroplane' at 0"):
        select(dataset, [TopPerGroup(column="u", by=["classes_present"], fraction=1)])


@pytest.mark.parametrize("shown", [[], [1]])
def test_masks_that_show_nothing_are_said(shown):
    classes = Sequence(ClassLabel(names=["background", "dog"]))
    features = Features(id=Value("string"), u=Value("float32"), classes=classes)
    rows = {"id": ["a", "b"], "u": [0.1, 0.2], "classes": [[], shown]}
    warnings = select(Dataset.from_dict(rows, features=features), []).report.warnings
    assert any(warning.startswith("no row shows any class") for warning in warnings) is not bool(shown)


def test_the_report_counts_everything(paper, tmp_path):
    report = select(paper, [Threshold(column="u", above=0.25), RULE]).report
    assert (report.rows, report.kept, report.failed) == (8, 5, 0)
    assert [step.rule for step in report.steps] == [
        "u > 0.25",
        "top 60% of each number of classes and of each class by u",
    ]
    assert report.reasons == {
        "dropped:top_fraction": 1, "dropped:u": 2, "kept:num_classes=1": 3, "kept:num_classes=2": 2,
    }  # fmt: skip
    assert [(count.id, count.name, count.before, count.after) for count in report.classes] == [
        (1, "dog", 6, 5), (2, "cat", 5, 2), (3, "person", 1, 0),
    ]  # fmt: skip
    assert report.warnings == ["1 class lost more than 90% of the rows: person 1 of 1"]
    summary = report.scores["u"]
    assert summary.quantiles == pytest.approx(
        {f"{q:g}": np.quantile(list(PAPER.values()), q) for q in (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)}
    )
    assert summary.edges == pytest.approx([0.1, 0.25, 0.5, 0.7, 0.9], abs=1e-6)  # one at each cut-off
    assert (summary.nulls, summary.all, summary.kept) == (0, [2, 1, 2, 3], [0, 0, 2, 3])
    assert report.steps[0].cutoffs == {"u": {"above": 0.25}}
    assert report.steps[1].cutoffs["u"] == pytest.approx(
        {"num_classes 1": 0.7, "num_classes 2": 0.5, "class dog": 0.7, "class cat": 0.5}, abs=1e-6
    )
    assert report.scores["v"].nulls == 8
    assert report.scores["v"].edges == []
    report.save(tmp_path / "report.json")
    assert Report.load(tmp_path / "report.json") == report


@pytest.mark.parametrize(
    ("rule", "cutoffs"),
    [(Band(column="u", low=0.3, high="q0.9"), {"low": 0.3, "high": 0.83}), (TopK(column="u", target=3), {"": 0.7}),
     (Threshold(column="u", below=0.75), {"below": 0.75}), (TopPerGroup(column="u", by="id", fraction=0.1), None),
     (Stratified(column="u", target=3), None), (RankMean(columns=("u", "v"), target=1), None),
     (Random(target=1), None)],
)  # fmt: skip
def test_reports_say_where_each_rule_cuts(paper, rule, cutoffs, monkeypatch):
    monkeypatch.setattr("sds_hf.selection.rules.order.MOST_GROUPS", 5)
    data = paper.remove_columns("v").add_column("v", paper["u"])
    (step,) = select(data, rule).report.steps
    assert step.cutoffs == ({"u": pytest.approx(cutoffs, abs=1e-6)} if cutoffs else {})


def test_where_the_truth_is_known_the_report_says_how_clean_it_is():
    report = Report(rows=10, kept=4, truth={"none": (5, 3), "swapped": (5, 1)})
    assert report.clean_share() == (0.5, 0.75)
    assert Report(rows=10, kept=4, truth={"swapped": (10, 4)}).clean_share() == (0, 0)
    assert Report(rows=10, kept=4).clean_share() is None


def test_lost_classes_are_told_in_one_line():
    counts = [ClassCount(id=index, name=f"c{index}", before=index, after=0) for index in range(1, 14)]
    (warning,) = lost_classes([*counts, ClassCount(id=20, name="kept", before=100, after=10)])
    assert warning.startswith("13 classes lost more than 90% of the rows: c13 13 of 13, c12 12 of 12, ")
    assert warning.endswith(", c4 4 of 4, and 3 more")
    assert lost_classes([ClassCount(id=1, name="kept", before=10, after=1)]) == []


IDENTITIES = [
    {"score": "pcs", "model": "demo", "similarity": "prob"},
    {"score": "asf_miou", "model": "demo", "reference": "maskclip", "refine": "affinity"},
]


def test_a_recipe_is_compared_with_how_scores_were_computed():
    assert differences(Recipe.load("sds-paper"), IDENTITIES) == [
        "sds-paper is for scores computed otherwise than these: model openai/clip-vit-base-patch16, not demo; "
        "asf_miou.reference 'clip-es', not 'maskclip'; asf_miou.refine 'crf', not 'affinity'"
    ]
    same = ["model=demo", "scores.asf_miou={reference: maskclip, refine: affinity}"]
    assert differences(Recipe.load("sds-paper", same), IDENTITIES) == []
    only_similarity = Recipe.load("sds-paper", ["rules=[{threshold: {column: clip_sim, above: 0.8}}]", "model=demo"])
    assert differences(only_similarity, IDENTITIES) == []  # what no rule reads does not matter


def test_bounds_for_scores_of_another_kind_are_refused():
    recipe = Recipe.from_dict({"name": "mine", "preset": "authors", "scores": {"pcs": {}, "asf_miou": {}}})
    with pytest.raises(RecipeError, match=r"^mine \(preset authors\) is for scores computed otherwise ") as caught:
        differences(recipe, IDENTITIES)
    assert "pcs.similarity 'entropy', not 'prob'" in str(caught.value)
    assert "Its bounds are not for them: " in str(caught.value)
    assert "scores.pcs.similarity=prob" in str(caught.value)
