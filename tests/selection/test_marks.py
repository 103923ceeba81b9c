"""Marks of sampled rows: the file, the samples, and the guarantees that they give."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binom
from support.reports import make_recipe, make_report

from sds_hf import Recipe, Report, Threshold, certify, render_card, sample, select
from sds_hf.cli import main
from sds_hf.selection.marks.certificate import longest_start, lower_bound
from sds_hf.selection.marks.file import load_marks, read_marks, read_samples, record_marks
from sds_hf.selection.select import Selection

ROWS = 400


@pytest.fixture
def scores(tmp_path):
    """Rows r000, r001, ... whose score `u` falls; those of the upper 300 are good. Some have no score `v`."""
    values = np.linspace(1, 0, ROWS).astype(np.float32)
    table = pa.table(
        {
            "id": [f"r{row:03d}" for row in range(ROWS)],
            "u": values,
            "v": pa.array(np.round(values, 1), from_pandas=True, mask=np.arange(ROWS) % 10 == 0),
        }
    )
    path = tmp_path / "scores.parquet"
    pq.write_table(table, path)
    return str(path)


@pytest.fixture
def selection(scores, tmp_path):
    return select(scores, Threshold(column="u", above=-1.0), out=tmp_path / "selection")


def is_good(row_id: str) -> bool:
    return int(row_id[1:]) < 300


def mark_all(path, who="ann", good=is_good) -> None:
    record_marks(path, [{"id": row_id, "mark": good(row_id), "who": who} for row_id in set(ids(path))])


def ids(path) -> list[str]:
    return read_marks(path)["id"].to_pylist()


# The statistics


def test_the_bound_is_clopper_and_pearsons():
    for good, marks in ((1, 1), (50, 50), (97, 100), (3, 200)):
        bound = lower_bound(good, marks, 0.95)
        assert binom.sf(good - 1, marks, bound) == pytest.approx(0.05)
    assert lower_bound(0, 20, 0.95) == 0


def sets_of(chance: np.ndarray, sets: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Truth of sets of rows, and the share of good ones among the first rows of each."""
    good = np.random.default_rng(0).random((sets, len(chance))) < chance
    return good, np.cumsum(good, 1) / np.arange(1, len(chance) + 1)


def chosen_rows(good: np.ndarray, share: float, marks: int = 200) -> np.ndarray:
    size = good.shape[1] // marks
    picks = np.random.default_rng(1).integers(0, size, (len(good), marks)) + np.arange(marks) * size
    return longest_start(np.take_along_axis(good, picks, 1), share, 0.95) * size


@pytest.mark.parametrize(
    "chance",
    [
        np.full(2000, 0.899),  # the score is worth nothing, and every threshold is wrong by a hair
        np.interp(np.arange(2000), [0, 900, 1000, 2000], [0.99, 0.9, 0.8, 0.2]),
        np.interp(np.arange(2000), [0, 600, 1200, 2000], [0.8, 0.97, 0.9, 0.7]),  # the best rows are not the best
        np.where(np.arange(2000) % 2, 1.0, 0.79),
    ],
)
def test_a_chosen_threshold_keeps_the_wanted_share_in_all_but_5_of_100_sets(chance):
    good, truth = sets_of(chance)
    rows = chosen_rows(good, 0.9)
    broken = (rows > 0) & (truth[np.arange(len(good)), np.maximum(rows, 1) - 1] < 0.9)
    assert broken.mean() <= 0.05


def test_a_threshold_of_a_good_score_keeps_most_of_what_could_be_kept():
    from scipy.special import expit

    good, truth = sets_of(expit(np.linspace(12, -6, 2000)))
    best = 2000 - (truth >= 0.9)[:, ::-1].argmax(1)
    assert (chosen_rows(good, 0.9) / best).mean() > 0.9


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_guarantee_holds_in_all_but_5_of_100_sets(share):
    counts = np.random.default_rng(0).hypergeometric(int(1000 * share), 1000 - int(1000 * share), 100, 1000)
    assert np.mean([lower_bound(int(count), 100, 0.95) > share for count in counts]) <= 0.055


def test_few_marks_show_nothing():
    assert longest_start(np.ones((1, 28), bool), 0.9, 0.95).tolist() == [0]
    assert longest_start(np.ones((1, 29), bool), 0.9, 0.95).tolist() == [29]
    assert longest_start(np.zeros((2, 200), bool), 0.9, 0.95).tolist() == [0, 0]


# The sample


def test_each_row_is_drawn_as_often_as_any_other(selection, scores, tmp_path):
    counts = dict.fromkeys((f"r{row:03d}" for row in range(ROWS)), 0)
    for seed in range(20):
        for by in (None, "u"):
            path = sample(selection, 40, by=by, scores=scores, seed=seed, out=tmp_path / f"{seed}{by}.parquet")
            for row_id in ids(path):
                counts[row_id] += 1
    values = np.array(list(counts.values()))  # 40 draws of a tenth of the rows
    assert (values.mean(), values.max() < 16) == (4, True)
    assert abs(values.var() - 3.6) < 1
    assert abs(values[:200].mean() - 4) < 0.4


def test_a_stratified_sample_has_one_row_of_each_part(selection, scores):
    rows = sorted(int(row_id[1:]) for row_id in ids(sample(selection, 40, by="u", scores=scores)))
    assert [row // 10 for row in rows] == list(range(40))


def test_the_same_selection_has_the_same_sample_and_another_has_another(scores, tmp_path):
    drawn = [
        set(ids(sample(select(scores, Threshold(column="u", above=bound), out=tmp_path / str(number)), 50)))
        for number, bound in enumerate((0.2, 0.2, 0.21))
    ]
    assert drawn[0] == drawn[1]
    assert len(drawn[0] & drawn[2]) < 30  # what was learnt of one cannot be used for the next


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 401}, r"a sample has 1 to 400 rows, as many as are kept, not 401"),
        ({"by": "u"}, r"needs the scores that were selected from: give scores="),
        ({"by": "w", "scores": True}, r"there is no score 'w'; there are \['u', 'v'\]"),
        ({"by": "v", "scores": True, "rows": 380}, r"360 kept rows have the score 'v': a sample of 380 needs as many"),
    ],
)
def test_what_cannot_be_sampled_is_refused(selection, scores, options, message):
    with pytest.raises(ValueError, match=message):
        sample(selection, **options | ({"scores": scores} if "scores" in options else {}))


def test_scores_of_another_length_are_refused(selection, tmp_path):
    pq.write_table(pa.table({"id": ["a"], "u": [1.0]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="made of 400 rows; these scores have 1"):
        sample(selection, by="u", scores=str(tmp_path / "other.parquet"))


def test_a_second_draw_after_looking_is_refused(selection):
    sample(selection, 20)
    with pytest.raises(ValueError, match="has a uniform sample already, of 20 rows: drawing again after having looked"):
        sample(selection, 40)


# The file


def test_marks_are_kept_by_row_and_person(selection, scores):
    path = sample(selection, 5)
    sample(selection, 400, by="u", scores=scores)
    row_id, when = ids(path)[0], datetime(2026, 1, 2, tzinfo=UTC)
    record_marks(path, [{"id": row_id, "mark": True, "who": "ann", "when": when}])
    record_marks(path, [{"id": row_id, "mark": False, "who": "bob", "when": "2026-01-03T01:00:00+01:00"}])
    record_marks(
        path, [{"id": row_id, "mark": False, "who": "ann", "when": when}, {"id": "x", "mark": True, "who": "c"}]
    )
    lines = [line for line in read_marks(path).to_pylist() if line["id"] in (row_id, "x")]
    assert sorted((line["who"], line["mark"], line["sample"]) for line in lines[:-1]) == [
        (who, False, name) for who in ("ann", "bob") for name in ("stratified", "uniform")
    ]
    assert (lines[-1]["id"], lines[-1]["sample"]) == ("x", None)
    assert {line["when"] for line in lines[:-1]} == {when, datetime(2026, 1, 3, tzinfo=UTC)}
    assert set(read_samples(read_marks(path))) == {"uniform", "stratified"}
    record_marks(
        path, [{"id": who_id, "mark": None, "who": who} for who_id in (row_id, "x") for who in ("ann", "bob", "c")]
    )
    lines = [line for line in read_marks(path).to_pylist() if line["id"] in (row_id, "x")]
    assert [(line["mark"], line["who"]) for line in lines] == [(None, None)] * 2


@pytest.mark.parametrize(
    "mark",
    [{"id": "a", "mark": 1, "who": "b"}, {"id": "a", "mark": True}, {"id": 3, "mark": True, "who": "b"},
     {"id": "a", "mark": True, "who": "b", "when": "soon"}, {"id": "a", "mark": True, "who": "b", "when": 5}],
)  # fmt: skip
def test_what_is_no_mark_is_refused_and_the_file_stays(tmp_path, mark):
    path = tmp_path / "marks.parquet"
    record_marks(path, [{"id": "a", "mark": True, "who": "ann"}])
    with pytest.raises(ValueError, match="mark"):
        record_marks(path, [{"id": "b", "mark": True, "who": "ann"}, mark])
    assert ids(path) == ["a"]


def test_two_who_mark_at_once_lose_nothing(tmp_path):
    """Without a lock, who writes last takes away what the other has marked since."""
    path = tmp_path / "marks.parquet"

    def mark(who):
        for number in range(20):
            record_marks(path, [{"id": f"{who}{number}", "mark": True, "who": who}])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(mark, "abcd"))
    assert sorted(ids(path)) == sorted(f"{who}{number}" for who in "abcd" for number in range(20))


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '"a"', "[" * 100_000])
def test_a_file_of_marks_that_is_none_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(ValueError, match=r"m\.json") as error:
        load_marks(tmp_path / "m.json")
    assert "\n" not in str(error.value)
    (tmp_path / "m.parquet").write_text(text)
    with pytest.raises(ValueError, match="no file of marks with the columns"):
        read_marks(tmp_path / "m.parquet")


@pytest.mark.parametrize("samples", ["{", "[]x", '{"uniform": {"rows": 3}}', '{"uniform": 3}', "3", "[" * 100_000])
def test_samples_that_make_no_sense_are_refused(selection, samples):
    path = sample(selection, 5)
    table = read_marks(path).replace_schema_metadata({"sds_hf.samples": samples})
    pq.write_table(table, path)
    with pytest.raises(ValueError, match="the samples of the file of marks"):
        certify(selection)


# The certificate


def test_the_guarantee_is_printed_kept_and_put_in_the_card(selection, capsys):
    path = sample(selection, 100)
    mark_all(path)
    folder = selection.path.parent
    assert main(["certify", str(folder)]) == 0
    good = sum(map(is_good, ids(path)))
    bound = f"{np.floor(1000 * lower_bound(good, 100, 0.95)) / 10:.1f} %"
    claim = f"At least {bound} of the 400 kept rows are good, with 95% confidence."
    printed = capsys.readouterr().out
    assert claim in printed
    assert f"{good} of 100 were marked good by ann, {datetime.now(UTC):%Y-%m}" in printed
    report = Selection.load(folder).report
    assert report.certificates[0].claim == claim
    card = render_card(make_recipe(), make_report(certificates=report.certificates))
    assert f"- **{claim}** 100 rows were drawn uniformly at random" in card
    assert "at random" not in render_card(make_recipe(), make_report())
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_marks_of_rows_that_were_not_drawn_do_not_count(selection):
    path = sample(selection, 50)
    mark_all(path)
    before = certify(selection)
    others = [f"r{row:03d}" for row in range(ROWS) if f"r{row:03d}" not in ids(path)]
    record_marks(path, [{"id": row_id, "mark": False, "who": "eve"} for row_id in others])
    after = certify(selection)
    assert (after.share, after.not_sampled) == (before.share, 350)
    forged = read_marks(path).to_pydict() | {"sample": ["uniform"] * ROWS}
    pq.write_table(pa.table(forged, schema=read_marks(path).schema), path)
    assert certify(selection).share == before.share


def test_a_row_is_good_if_all_who_looked_say_so(selection):
    path = sample(selection, 50)
    mark_all(path, good=lambda row_id: True)
    record_marks(path, [{"id": ids(path)[0], "mark": False, "who": "bob"}])
    certificate = certify(selection)
    assert (certificate.good, certificate.marks, certificate.disputed, certificate.who) == (49, 50, 1, ["ann", "bob"])


def test_rows_without_a_mark_are_not_passed_over(selection):
    path = sample(selection, 50)
    mark_all(path, good=lambda row_id: True)
    record_marks(path, [{"id": row_id, "mark": None, "who": "ann"} for row_id in ids(path)[:3]])
    with pytest.raises(ValueError, match=r"3 of the 50 sampled rows have no mark, e\.g\. 'r"):
        certify(selection)
    certificate = certify(selection, unmarked="bad")
    assert (certificate.good, certificate.marks, certificate.unmarked) == (47, 50, 3)


def test_each_claim_has_its_own_sample(selection, scores, tmp_path):
    with pytest.raises(ValueError, match=r"has no marks, and no uniform sample, which the guarantee needs"):
        certify(selection)
    mark_all(sample(selection, 50, by="u", scores=scores))
    with pytest.raises(ValueError, match=r"a stratified sample, which is for .* with share=\.\.\., but no"):
        certify(selection)
    other = select(scores, Threshold(column="u", above=0.1), out=tmp_path / "other")
    with pytest.raises(ValueError, match="is of another selection, of 400 kept rows; this one keeps 360"):
        certify(other, selection.path.with_name("marks.parquet"), share=0.5, scores=scores)


def test_a_threshold_is_chosen_and_the_selection_made_by_it(selection, scores, tmp_path, capsys):
    mark_all(sample(selection, 200, by="u", scores=scores))
    out = tmp_path / "better"
    words = ["certify", str(selection.path.parent), "--share", "0.9", "--scores", scores, "--out", str(out), "--json"]
    assert main(words) == 0
    certificate = json.loads(capsys.readouterr().out)["result"]
    chosen = Selection.load(out)
    assert chosen.report.kept == certificate["rows"] == len(chosen.kept_rows())
    assert 300 <= certificate["rows"] < 334  # 333 is the most that is true
    assert chosen.report.certificates[0].claim == certificate["claim"]
    assert Recipe.load(out / "recipe.yaml").rules[-1] == Threshold(column="u", above=certificate["above"])
    with pytest.raises(
        ValueError, match=r"no threshold of u can be shown to keep 99\.9% good rows: 150 of 200 marks are"
    ):
        certify(selection, share=0.999, scores=scores)


def test_rows_of_equal_scores_stay_or_go_together_and_those_without_go(selection, scores, tmp_path):
    mark_all(sample(selection, 120, by="v", scores=scores))
    certificate = certify(selection, share=0.7, scores=scores, out=tmp_path / "ties")
    values = dict(zip(*(pq.read_table(scores)[name].to_pylist() for name in ("id", "v")), strict=True))
    kept = {row_id for row_id, value in values.items() if value is not None and value > certificate.above}
    table = Selection.load(tmp_path / "ties").table()
    assert {row["id"] for row in table.to_pylist() if row["kept"]} == kept
    assert len(kept) == certificate.rows


def test_all_rows_may_be_shown_to_keep_the_share(selection, scores, tmp_path):
    mark_all(sample(selection, 200, by="u", scores=scores), good=lambda row_id: True)
    certificate = certify(selection, share=0.9, scores=scores, out=tmp_path / "all")
    assert certificate.rows == Selection.load(tmp_path / "all").report.kept == ROWS


def test_the_command_records_marks_of_a_page_first(selection, tmp_path, capsys):
    path = sample(selection, 30, out=tmp_path / "m.parquet")
    marks = [{"id": row_id, "mark": True, "who": "ann", "when": "2026-01-02T03:04:05Z"} for row_id in ids(path)]
    (tmp_path / "marks.json").write_text(json.dumps(marks))
    assert main(["certify", str(selection.path.parent), str(path), "--add", str(tmp_path / "marks.json")]) == 0
    assert "30 of 30 were marked good by ann, 2026-01-02." in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    "options", [{"confidence": 1}, {"share": 0}, {"share": 1.5}, {"out": "x"}, {"unmarked": "good"}]
)
def test_numbers_that_make_no_sense_are_refused(selection, options):
    with pytest.raises(ValueError, match=r"must be|needs a share"):
        certify(selection, **options)
