"""Tables of different columns of a dataset: joined, none of their scores may be of another dataset than the others."""

import json

import pytest
from datasets import Dataset, concatenate_datasets
from hypothesis import given
from hypothesis import strategies as st
from support.rows import random_dataset

from sds_hf import (
    Boundary,
    Duplicates,
    PromptMismatch,
    Recipe,
    ScoreTable,
    add_to_table,
    join_tables,
    publish,
    score_table,
    select,
)
from sds_hf.cli import main
from sds_hf.data.cells import READABLE
from sds_hf.data.content import Content, content_digest, content_digests, distinct, not_held
from sds_hf.table.manifest import MANIFEST, contents_of, with_contents

PROMPTS = ("first", "second")
RULES = {"name": "all", "rules": [{"threshold": {"column": "boundary", "above": -1}}]}
RECIPE = Recipe.from_dict(RULES)


def candidates(pictures: str = "first", prompts: str = "first", groups: str = "first") -> Dataset:
    """Eight rows whose ids are always the same."""
    rows = random_dataset(16).select(range(8) if pictures == "first" else range(8, 16))
    texts = {"class_prompt": [f"{prompts} dog"] * 8, "group": [groups] * 8, "id": [f"row{row}" for row in range(8)]}
    for name, column in texts.items():
        rows = rows.remove_columns([name] if name in rows.column_names else []).add_column(name, column)
    return rows


@pytest.fixture(scope="module")
def duplicates(tiny_clip) -> Duplicates:
    """A score that reads the column `group`."""
    return Duplicates(model=tiny_clip, dtype="fp32", within="group")


def as_before(table: ScoreTable) -> ScoreTable:
    """A table whose manifest knows no digest of the columns that all tables have in common, as once was so."""
    manifest = json.loads((table.folder / MANIFEST).read_text())
    manifest["source"].pop("readable_sha256", None)
    (table.folder / MANIFEST).write_text(json.dumps(manifest))
    return ScoreTable.load(table.folder)


@pytest.fixture
def mixed(tmp_path) -> ScoreTable:
    """`boundary` of the first dataset and `prompt_mismatch` of the second one, which nobody could see before."""
    boundary = score_table(candidates(), Boundary(), tmp_path / "boundary")
    other = as_before(score_table(candidates("second"), PromptMismatch(), tmp_path / "prompts"))
    return join_tables([boundary, other], tmp_path / "mixed")


# What is found without a dataset


def test_from_the_command_line(tmp_path, capsys):
    """Scores of other pictures with the same ids, of which one table reads a column that the other one does not."""
    for name in ("first", "second"):
        candidates(name).to_parquet(tmp_path / f"{name}.parquet")
    first, second = (str(tmp_path / f"{name}.parquet") for name in ("first", "second"))
    one, two, kept = (str(tmp_path / name) for name in ("one", "two", "kept"))
    assert main(["score", first, "--scores", "boundary", "--out", one, "--json"]) == 0
    assert main(["score", second, "--scores", "prompt_mismatch", "--out", two, "--json"]) == 0
    (tmp_path / "recipe.yaml").write_text(json.dumps(RULES))
    assert main(["select", one, "--recipe", str(tmp_path / "recipe.yaml"), "--out", kept, "--json"]) == 0
    capsys.readouterr()
    for command in (
        ["join", one, two, "--out", str(tmp_path / "both")],
        ["publish", first, kept, "--scores", one, "--scores", two, "--folder", str(tmp_path / "published")],
    ):
        assert main(command) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert "(of first.parquet) and" in said
        assert "(of second.parquet) are of rows that hold other pictures, masks or texts" in said
    assert not (tmp_path / "both").exists()
    assert not (tmp_path / "published").exists()


def test_tables_of_other_columns_of_the_same_rows(duplicates, tmp_path):
    """One digest is enough as long as one of the tables has read all that the others have."""
    rows = candidates()
    boundary, prompts, groups = (
        score_table(rows, score, tmp_path / score.name) for score in (Boundary(), PromptMismatch(), duplicates)
    )
    joined = join_tables([boundary, prompts], tmp_path / "two")
    assert joined.manifest["source"] == prompts.manifest["source"]
    assert joined.pictures_decoded == {"image", "mask"}
    source = join_tables([joined, groups], tmp_path / "three").manifest["source"]
    assert [part["scores"] for part in source["parts"]] == [["duplicates"]]
    assert source["parts"][0]["sha256"] == groups.manifest["source"]["sha256"]
    assert source["sha256"] == prompts.manifest["source"]["sha256"]
    assert add_to_table(rows, Boundary(), tmp_path / "three").manifest["source"] == source  # it has all of that


def test_the_same_rows_in_another_order(tmp_path):
    rows = candidates()
    boundary = score_table(rows, Boundary(), tmp_path / "boundary")
    other = score_table(rows.select(range(7, -1, -1)), PromptMismatch(), tmp_path / "prompts")
    for table in (other, as_before(other)):  # what orders they have their ids say, too
        with pytest.raises(ValueError, match="have the same rows in another order; score one of them again"):
            join_tables([boundary, table], tmp_path / "both")


@pytest.mark.parametrize("joined_first", [False, True])
def test_what_is_in_a_joined_table_is_compared_with_what_joins_it(duplicates, tmp_path, joined_first):
    """Prompts differ, which only one of the parts has read, and the table that joins."""
    tables = [
        score_table(candidates(), duplicates, tmp_path / "duplicates"),
        score_table(candidates(), PromptMismatch(), tmp_path / "prompts"),
    ]
    joined = join_tables(tables, tmp_path / "joined")
    other = score_table(candidates(prompts="second"), PromptMismatch(), tmp_path / "other")
    with pytest.raises(ValueError, match="hold other pictures, masks or texts"):
        join_tables([joined, other] if joined_first else [other, joined], tmp_path / "both")


# What only the dataset tells


@pytest.mark.parametrize(("pictures", "score"), [("first", "prompt_mismatch"), ("second", "boundary")])
def test_scores_of_two_datasets_are_not_published_with_either(mixed, tmp_path, pictures, score):
    selection = select(mixed, RECIPE)
    with pytest.raises(ValueError, match=f"the scores {score} were computed from other images"):
        publish(candidates(pictures), selection, RECIPE, scores=mixed, folder=tmp_path / "published")
    assert not (tmp_path / "published").exists()
    neither = candidates().map(lambda row: {"caption": row["class_prompt"]})
    with pytest.raises(ValueError, match="this dataset is not the one that was scored"):
        publish(neither, selection, RECIPE, scores=mixed, folder=tmp_path / "published")


def test_scores_that_were_joined_since_are_compared_too(tmp_path):
    rows, other = candidates(), candidates("second")
    boundary = score_table(rows, Boundary(), tmp_path / "boundary")
    selection = select(boundary, RECIPE)
    prompts = as_before(score_table(other, PromptMismatch(), tmp_path / "prompts"))
    joined = join_tables([boundary, prompts], tmp_path / "joined")
    with pytest.raises(ValueError, match="the scores prompt_mismatch were computed from other images"):
        publish(rows, selection, RECIPE, scores=joined, folder=tmp_path / "published")


@pytest.mark.parametrize("pictures", ["first", "second"])
def test_nothing_is_added_to_scores_of_two_datasets(mixed, pictures, duplicates):
    with pytest.raises(ValueError, match="were computed from other images, masks or columns than this dataset has"):
        add_to_table(candidates(pictures), duplicates, mixed.folder)


@pytest.mark.parametrize("retry", [None, "failed"])
@pytest.mark.parametrize("damaged", [False, True])
def test_scores_of_two_datasets_do_not_become_a_table_of_one(mixed, retry, damaged):
    """The one with most columns is that whose digest the manifest begins with."""
    if damaged:
        mixed.paths[0].write_bytes(b"PAR1 half of it")
    before = (mixed.folder / MANIFEST).read_bytes()
    with pytest.raises(ValueError, match=r"the scores boundary were computed from other images"):
        score_table(candidates("second"), [Boundary(), PromptMismatch()], mixed.folder, retry=retry)
    assert (mixed.folder / MANIFEST).read_bytes() == before


def test_a_stream_does_not_go_on_with_tables_of_different_columns(tmp_path):
    stream = candidates("second").to_iterable_dataset()
    prompts = score_table(stream, PromptMismatch(), tmp_path / "prompts")
    boundary = score_table(candidates(), Boundary(), tmp_path / "boundary")
    mixed = join_tables([prompts, boundary], tmp_path / "mixed")
    with pytest.raises(ValueError, match="was joined from tables of different columns"):
        score_table(stream, [PromptMismatch(), Boundary()], mixed.folder)


def test_tables_of_before_are_read_and_go_on(tmp_path):
    rows = candidates()
    prompts = as_before(score_table(rows, PromptMismatch(), tmp_path / "prompts"))
    assert score_table(rows, PromptMismatch(), prompts.folder).sha256 == prompts.sha256
    boundary = score_table(rows, Boundary(), tmp_path / "boundary")
    joined = join_tables([boundary, prompts], tmp_path / "joined")
    assert [part["scores"] for part in joined.manifest["source"]["parts"]] == [["boundary"]]
    published = publish(rows, select(joined, RECIPE), RECIPE, scores=joined, folder=tmp_path / "published")
    assert published.report.kept == 8
    joined.paths[0].write_bytes(b"PAR1 half of it")
    again = score_table(rows, [Boundary(), PromptMismatch()], joined.folder)  # and knows that all is of these rows
    assert "parts" not in again.manifest["source"]
    assert again.to_arrow().equals(score_table(rows, [Boundary(), PromptMismatch()], tmp_path / "whole").to_arrow())


def test_what_is_added_vouches_for_all_that_was_joined(duplicates, tmp_path):
    rows = candidates()
    tables = [score_table(rows, score, tmp_path / score.name) for score in (duplicates, PromptMismatch())]
    join_tables(tables, tmp_path / "joined")
    added = add_to_table(rows, Boundary(), tmp_path / "joined")
    columns = [*READABLE, "class_prompt", "group"]
    assert added.manifest["source"] == {
        "name": "", "rows": 8, "sha256": content_digest(rows, columns), "columns": columns,
        "readable_sha256": content_digest(rows),
    }  # fmt: skip
    again = score_table(rows, [duplicates, PromptMismatch(), Boundary()], added.folder, retry="failed")
    assert again.sha256 == added.sha256


@pytest.mark.parametrize("parts", [5, [5], [{"scores": ["boundary"]}], [{"scores": "boundary", "sha256": "0"}]])
def test_a_manifest_with_strange_parts(mixed, parts):
    manifest = json.loads((mixed.folder / MANIFEST).read_text())
    manifest["source"]["parts"] = parts
    (mixed.folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"is no manifest of a score table: see source\.parts"):
        ScoreTable.load(mixed.folder)


# Any contents

COLUMNS = st.sets(st.sampled_from(["class_prompt", "group"])).map(lambda names: [*READABLE, *sorted(names)])
DATASET = st.builds(candidates, *[st.sampled_from(PROMPTS)] * 3)
TABLES = st.lists(st.tuples(DATASET, COLUMNS, st.booleans()), min_size=1, max_size=4)


def content_of(number: int, dataset: Dataset, columns: list[str], is_old: bool) -> Content:
    sha256, readable_sha256 = content_digests(dataset, [columns, READABLE])
    entry = Content((), tuple(columns), sha256, readable_sha256).entry()
    return Content.of(
        {name: value for name, value in entry.items() if not (is_old and "readable" in name)}, [str(number)]
    )


@given(TABLES, DATASET)
def test_a_dataset_holds_a_joined_table_if_it_holds_each_part(tables, dataset):
    contents = [content_of(number, *table) for number, table in enumerate(tables)]
    entry = with_contents({"rows": 8, "parts": "of before"}, distinct(contents))
    joined = contents_of({"source": json.loads(json.dumps(entry)), "scores": [{"score": str(n)} for n in range(4)]})
    assert (not_held(dataset, joined) == []) == (not_held(dataset, contents) == [])
    wrong = {name for content in not_held(dataset, joined) for name in content.scores}
    assert {name for content in not_held(dataset, contents) for name in content.scores} <= wrong


@given(st.tuples(DATASET, COLUMNS, st.booleans()), st.tuples(DATASET, COLUMNS, st.booleans()))
def test_contents_differ_only_where_datasets_do(one, two):
    first, second = content_of(0, *one), content_of(1, *two)
    shared = [name for name in one[1] if name in two[1]]
    same = content_digest(one[0], shared) == content_digest(two[0], shared)
    assert first.is_other(second) == second.is_other(first)
    assert not (first.is_other(second) and same)
    assert not first.includes(second) or same
    if not one[2] and not two[2]:  # all tables of now have some columns in common, of which they tell
        assert first.is_other(second) or content_digest(one[0]) == content_digest(two[0])


def test_several_digests_of_one_pass(monkeypatch):
    """Of a dataset in memory, of which nothing is remembered."""
    rows = concatenate_datasets([candidates()] * 40)
    sets = [READABLE, ["id"], [*READABLE, "group", "no such column"], ["id"], []]
    passed: list[int] = []
    assert content_digests(rows, sets, passed.append) == [content_digest(rows, columns) for columns in sets]
    assert sum(passed) == 320


def test_where_files_lie_is_no_matter(tmp_path):
    candidates().to_parquet(tmp_path / "rows.parquet")
    stored = Dataset.from_parquet(str(tmp_path / "rows.parquet"), cache_dir=str(tmp_path / "cache"))
    sets = [READABLE, [*READABLE, "group"]]
    read: list[int] = []
    for _ in range(2):
        assert content_digests(stored, sets, read.append) == content_digests(candidates(), sets)
    assert sum(read) == 8  # the second time they are known
