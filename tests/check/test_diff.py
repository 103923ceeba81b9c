"""What differs between two versions: rows, scores, classes, settings, pictures; in folders and on the Hub."""

import io
import json
import math
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from huggingface_hub import HfApi
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from PIL import Image
from support.jobs import commits
from support.rows import random_dataset

from sds_hf import PCS, Recipe, Report, Threshold, load, publish, render_card, score_table, select
from sds_hf.check.diff import diff
from sds_hf.check.versions import Version
from sds_hf.cli import main
from sds_hf.data.images import decode_mask, encode_mask
from sds_hf.publishing.publish import Published
from sds_hf.selection.changes import (
    ClassChange,
    Counts,
    Diff,
    PictureChanges,
    ReasonChange,
    ScoreShift,
    SettingChange,
    Side,
)

NAMES = ["background", "cat", "dog", "sheep"]


# Against plain Python, on random tables


@st.composite
def tables(draw) -> list[dict]:
    """Rows of a table of candidates, some of whose ids, scores and decisions repeat those of other draws."""
    ids = draw(st.lists(st.sampled_from([f"r{place}" for place in range(12)] + ["'", '"|\\', "漢字", ""]), unique=True))
    scores = st.none() | st.floats(width=32) | st.sampled_from([0.25, 0.5])
    kept = draw(st.booleans())
    rows = []
    for name in ids:
        row = {"id": name, "classes_present": draw(st.lists(st.integers(1, 4), max_size=3)), "pcs": draw(scores)}
        if kept:
            row |= {"kept": draw(st.booleans()), "reason": draw(st.sampled_from(["kept:all", "dropped:pcs", "x=1"]))}
        rows.append(row)
    return rows


def version(rows: list[dict], folder: Path, name: str) -> Version:
    """A version of such rows in a folder, in two files."""
    schema = pa.schema({"id": pa.string(), "classes_present": pa.list_(pa.int32()), "pcs": pa.float32()})
    if rows and "kept" in rows[0]:
        schema = schema.append(pa.field("kept", pa.bool_())).append(pa.field("reason", pa.string()))
    paths = [folder / f"{name}-{part}.parquet" for part in (0, 1)]
    for part, path in enumerate(paths):
        pq.write_table(pa.Table.from_pylist(rows[part::2], schema=schema), path)
    return Version(Side(name=name, kind="scores"), paths, names=NAMES)


def reference(before: list[dict], after: list[dict]) -> dict:
    """The same as `Diff`, in plain Python."""
    a, b = ({row["id"]: row for row in rows} for rows in (before, after))
    kept_a, kept_b = ({name for name, row in rows.items() if row.get("kept", True)} for rows in (a, b))
    both = set(a) & set(b)
    reasons = Counter(
        (a[name]["reason"], b[name]["reason"])
        for name in both
        if "reason" in a[name] and "reason" in b[name] and a[name]["reason"] != b[name]["reason"]
    )

    def number(row: dict) -> float | None:
        return row["pcs"] if row["pcs"] is not None and math.isfinite(row["pcs"]) else None

    pairs = [(number(a[name]), number(b[name])) for name in both]
    found = [(old, new) for old, new in pairs if old is not None and new is not None]
    moved = np.array([new - old for old, new in found], np.float64)
    counts = [
        Counter(NAMES[i] if i < len(NAMES) else str(i) for name in kept for i in set(rows[name]["classes_present"]))
        for rows, kept in ((a, kept_a), (b, kept_b))
    ]
    return {
        "rows": Counts(before=len(kept_a), after=len(kept_b), added=len(kept_b - kept_a), dropped=len(kept_a - kept_b)),
        "candidates": Counts(before=len(a), after=len(b), added=len(set(b) - set(a)), dropped=len(set(a) - set(b))),
        "now_dropped": len(both & kept_a - kept_b),
        "now_kept": len(both & kept_b - kept_a),
        "reasons": {ReasonChange(before=old, after=new, rows=count) for (old, new), count in reasons.items()},
        "lost": sum(old is not None and new is None for old, new in pairs),
        "gained": sum(old is None and new is not None for old, new in pairs),
        "moved": moved,
        "like": np.array(found, np.float64).T,
        "classes": {
            ClassChange(name=name, before=counts[0][name], after=counts[1][name]) for name in counts[0] | counts[1]
        },
    }


@settings(max_examples=15)
@given(tables(), tables())
@example([], [])
@example([{"id": "a", "classes_present": [], "pcs": 3e38}], [{"id": "a", "classes_present": [1], "pcs": -3e38}])
def test_equals_plain_python_and_its_mirror_image(tmp_path_factory, before, after):
    folder = tmp_path_factory.mktemp("tables")
    a, b = version(before, folder, "a"), version(after, folder, "b")
    found, mirror, same = diff(a, b), diff(b, a), diff(a, a)
    expected = reference(before, after)
    for name in ("rows", "candidates", "now_dropped", "now_kept"):
        assert getattr(found, name) == expected[name]
    assert set(found.reasons) == expected["reasons"]
    assert found.reasons_changed == sum(each.rows for each in expected["reasons"])
    assert set(found.classes) == expected["classes"]
    shift, moved = found.scores["pcs"], expected["moved"]
    assert (shift.rows, shift.lost, shift.gained) == (len(moved), expected["lost"], expected["gained"])
    if len(moved):
        values = [shift.mean, shift.mean_absolute, shift.max_absolute, *shift.quantiles.values()]
        shares = [float(share) for share in shift.quantiles]
        exact = [moved.mean(), abs(moved).mean(), abs(moved).max(), *np.quantile(moved, shares)]
        assert values == pytest.approx(exact, rel=1e-5, abs=1e-5 * abs(moved).max())
    if shift.correlation is not None:
        old, new = (values / abs(values).max() for values in expected["like"])
        assert shift.correlation == pytest.approx(np.corrcoef(old, new)[0, 1], abs=1e-4)
    assert same.is_empty
    assert same.summary() == []
    assert Diff.model_validate_json(found.model_dump_json()) == found
    assert found.is_empty == mirror.is_empty
    check_mirror(found, mirror)


def check_mirror(found: Diff, mirror: Diff) -> None:
    def turned(counts: Counts) -> Counts:
        return Counts(before=counts.after, after=counts.before, added=counts.dropped, dropped=counts.added)

    assert (turned(mirror.rows), turned(mirror.candidates)) == (found.rows, found.candidates)
    assert (mirror.now_kept, mirror.now_dropped) == (found.now_dropped, found.now_kept)
    assert {(each.after, each.before, each.rows) for each in mirror.reasons} == {
        (each.before, each.after, each.rows) for each in found.reasons
    }
    assert {(each.name, each.after, each.before) for each in mirror.classes} == {
        (each.name, each.before, each.after) for each in found.classes
    }
    for name, shift in found.scores.items():
        other = mirror.scores[name]
        assert (other.lost, other.gained, other.max_absolute) == (shift.gained, shift.lost, shift.max_absolute)
        assert other.mean == pytest.approx(-shift.mean, rel=1e-5, abs=1e-5 * shift.max_absolute)
        there, here = list(other.quantiles.values()), list(shift.quantiles.values())
        assert there == pytest.approx([-value for value in here[::-1]], rel=1e-5, abs=1e-5 * shift.max_absolute)


def test_more_rows_than_fit_into_the_memory_that_is_given(tmp_path):
    ids = np.arange(400_000)
    for name, shift in (("a", 0.0), ("b", 0.25)):
        columns = {"id": [f"image-number-{place:09d}" for place in ids], "pcs": (ids % 1000 / 1000 + shift).tolist()}
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet", row_group_size=20_000)
    sides = [Version(Side(name=name, kind="scores"), [tmp_path / f"{name}.parquet"]) for name in ("a", "b")]
    found = diff(*sides, memory_limit="60MB", scratch=tmp_path)
    assert found.scores["pcs"].rows == 400_000
    assert found.scores["pcs"].quantiles == dict.fromkeys(("0", "0.05", "0.25", "0.5", "0.75", "0.95", "1"), 0.25)
    assert found.rows == Counts(before=400_000, after=400_000, added=0, dropped=0)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.parquet", "b.parquet"]


# Score tables, selections, publications


def test_score_tables_of_two_models(job, other_clip, tmp_path):
    other = score_table(job.dataset, [PCS(model=other_clip, dtype="fp32", scales=(3,), orders=1)], tmp_path)
    found = diff(job.table.folder, tmp_path)
    assert (found.rows, found.pictures) == (Counts(before=12, after=12, added=0, dropped=0), None)
    old, new = (table.to_arrow()["pcs"].to_numpy() for table in (job.table, other))
    assert found.scores["pcs"].mean_absolute == pytest.approx(abs(new - old).mean(), rel=1e-4)
    assert found.scores["pcs"].correlation == pytest.approx(np.corrcoef(old, new)[0, 1], rel=1e-4)
    assert {each.name for each in found.settings if "weights" in each.name}
    assert diff(job.table.folder, job.table.folder).is_empty


def test_a_selection_against_another_and_against_its_scores(job, tmp_path):
    few, all_ = (
        select(job.table, job.selecting(fraction).recipe, out=tmp_path / str(fraction)) for fraction in (0.5, 1.0)
    )
    found = diff(tmp_path / "0.5", tmp_path / "1.0")
    moved = all_.report.kept - few.report.kept
    assert (found.now_kept, found.now_dropped, found.rows.added, found.candidates.added) == (moved, 0, moved, 0)
    assert [(each.name, each.before, each.after) for each in found.settings] == [
        ("rules.1.top_per_group.fraction", 0.5, 1.0)
    ]
    assert {each.name: each.after for each in found.classes} == {each.name: each.after for each in all_.report.classes}
    dropped = diff(job.table.folder, tmp_path / "0.5")
    assert dropped.now_dropped == 12 - few.report.kept
    assert set(dropped.examples) & {"added", "dropped", "now_kept", "now_dropped"} == {"now_dropped"}  # each once


def changed(rows: list[dict]) -> list[dict]:
    """Rows with ten other pixels, a mask stored in another way, another image, and a mask of another size."""
    rows = [dict(row) for row in rows]
    mask = decode_mask(rows[1]["mask"])
    mask[-1, :10] = 20
    rows[1]["mask"] = {"bytes": encode_mask(mask), "path": None}
    stream = io.BytesIO()
    Image.fromarray(decode_mask(rows[2]["mask"])).save(stream, "PNG", compress_level=0)
    rows[2]["mask"] = {"bytes": stream.getvalue(), "path": None}
    rows[3]["image"] = rows[4]["image"]
    rows[5]["mask"] = {"bytes": encode_mask(np.full((3, 3), 7, np.uint8)), "path": None}
    return rows


def publish_rows(rows: list[dict], folder: Path, above: float = -1.0, **options) -> Path:
    """Publish rows by a column of their own, without a score table."""
    features = random_dataset(1).features
    dataset = Dataset.from_list(rows, features=features).add_column("quality", [i / 12 for i in range(len(rows))])
    rules = Recipe(name="own", rules=[Threshold(column="quality", above=above)])
    publish(dataset, select(dataset, rules), rules, folder=folder, **options)
    return folder


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    return random_dataset().with_format("arrow")[:].to_pylist()


@pytest.fixture(scope="module")
def old(rows, tmp_path_factory) -> Path:
    return publish_rows(rows, tmp_path_factory.mktemp("old") / "old")


@pytest.fixture(scope="module")
def new(rows, tmp_path_factory) -> Path:
    """The same with changed pictures, the first row gone, in another order."""
    return publish_rows(changed(rows)[:0:-1], tmp_path_factory.mktemp("new") / "new")


def test_masks_and_images_of_published_folders(old, new, rows):
    found = diff(old, new)
    seen = found.pictures
    assert (seen.rows, seen.images, seen.recoded, seen.masks, seen.resized, seen.unreadable) == (11, 1, 1, 2, 1, 0)
    before, after = (decode_mask(each[1]["mask"]) for each in (rows, changed(rows)))
    assert seen.pixels == (before != after).sum() > 0
    assert seen.share == pytest.approx((before != after).mean())
    pixels = {each.name: each.pixels for each in found.classes if each.pixels}
    assert pixels["tvmonitor"] == 10 - (before[-1, :10] == 20).sum()
    assert (found.rows.dropped, found.examples["dropped"]) == (1, ["row000"])
    assert diff(old, old).is_empty
    assert {each.name: -(each.pixels or 0) for each in diff(new, old).changed_classes if each.pixels} == pixels


def test_a_mask_that_cannot_be_read_and_rows_in_several_files(old, tmp_path):
    copy = shutil.copytree(old, tmp_path / "copy")
    table = pq.read_table(copy / "data" / "train-00000.parquet")
    masks = table["mask"].to_pylist()
    masks[7] = {"bytes": b"no image", "path": None}
    table = table.set_column(table.column_names.index("mask"), "mask", pa.array(masks, table["mask"].type))
    pq.write_table(table.slice(0, 8), copy / "data" / "train-00000.parquet", row_group_size=3)
    pq.write_table(table.slice(8), copy / "data" / "train-00001.parquet")
    manifest = json.loads((copy / "manifest.json").read_text())
    (entry,) = [entry for entry in manifest["files"] if entry["path"].startswith("data/")]
    manifest["files"].append({**entry, "path": "data/train-00001.parquet"})
    (copy / "manifest.json").write_text(json.dumps(manifest))
    found = diff(old, copy)
    assert (found.pictures.masks, found.pictures.unreadable, found.pictures.images) == (1, 1, 0)
    assert (found.rows.added, found.rows.dropped, found.files) == (0, 0, 3)


NAME = "user/diff"


@pytest.fixture(scope="module")
def versions(job) -> list[Published]:
    """Two versions on the Hub."""
    return [each.publish(to=NAME) for each in (job, job.selecting(1.0))]


def test_on_the_hub_only_what_is_needed_is_downloaded(versions, hub):
    first, second = versions
    found = diff(f"{NAME}@v1", NAME, pictures=False)
    same = diff(f"{NAME}@v1", f"{NAME}@{first.revision}")
    asked = [entry["line"] for entry in hub.faults.log]
    assert not [line for line in asked if "data/" in line or "assets/" in line]
    assert (found.before.revision, found.after.revision) == (first.revision, second.revision)
    assert (found.rows.before, found.rows.after) == (first.report.kept, second.report.kept)
    assert found.now_kept == second.report.kept - first.report.kept > 0
    assert (found.scores["pcs"].rows, found.scores["pcs"].max_absolute) == (12, 0)
    assert same.is_empty
    assert diff(f"{NAME}@v1", NAME).pictures == PictureChanges(rows=first.report.kept)
    assert [entry for entry in hub.faults.log if "data/" in entry["line"]]


# What a card says of it


def test_a_new_version_tells_what_is_new_and_the_same_again_changes_nothing(job, versions, hub):
    first, second = versions
    again, api = job.selecting(1.0).publish(to=NAME), HfApi()
    assert (again.revision, again.tag, commits(api, NAME)) == (second.revision, "v2", 2)
    report = Report.load(api.hf_hub_download(NAME, "report.json", repo_type="dataset"))
    assert first.report.changes is None
    assert second.report.changes == again.report.changes == report.changes
    assert (report.changes.before.tags, report.changes.before.revision) == (["v1"], first.revision)
    card = Path(api.hf_hub_download(NAME, "README.md", repo_type="dataset")).read_text(encoding="utf-8")
    section = card.partition("## Changes\n")[2].partition("\n## ")[0]
    assert f"Against {NAME} (v1, commit {first.revision[:10]}):" in section
    assert f"- Rows: {second.report.kept}, before {first.report.kept} (" in section
    assert load(NAME).num_rows == second.report.kept  # which checks files against the manifest


def test_a_folder_that_is_replaced(rows, tmp_path):
    folder = publish_rows(rows, tmp_path / "out")
    assert "## Changes" not in (folder / "README.md").read_text()
    publish_rows(rows, folder, above=0.5, overwrite=True)
    report = Report.load(folder / "report.json")
    assert (report.changes.before.name, report.changes.rows.dropped) == ("out", 7)
    assert "Setting rules.0.threshold.above: -1.0 before, 0.5 now." in (folder / "README.md").read_text()
    assert str(tmp_path) not in (folder / "README.md").read_text().partition("## Changes")[2].partition("\n## ")[0]
    assert render_card(Recipe.load(folder / "recipe.yaml"), report) == (folder / "README.md").read_text()


def test_a_last_version_that_is_damaged_does_not_stop_the_next(rows, tmp_path, caplog):
    folder = publish_rows(rows, tmp_path / "out")
    (folder / "data" / "train-00000.parquet").write_bytes(b"no Parquet")
    publish_rows(rows, folder, overwrite=True)
    assert "the card does not tell what is new: cannot compare" in caplog.text
    assert Report.load(folder / "report.json").changes is None


def test_everything_in_the_card_is_escaped():
    hard = "<b>|`x`|</b> [a](https://e.org) {{ 1 }}\n# big"
    counts = Counts(before=3, after=4, added=2, dropped=1)
    changes = Diff(
        before=Side(name=hard, kind="published", tags=[hard]), after=Side(name="b", kind="published"),
        rows=counts, candidates=counts,
        scores={hard: ScoreShift(rows=1, mean=1.0, mean_absolute=1.0, max_absolute=1.0)}, scores_added=[hard],
        classes=[ClassChange(name=hard, before=1, after=2)],
        settings=[SettingChange(name=hard, before=hard, after=[hard])],
    )  # fmt: skip
    text = render_card(Recipe(name="x"), Report(rows=4, kept=4, changes=changes))
    section = text.partition("## Changes\n")[2].partition("## How it was made")[0]
    html = MarkdownIt("commonmark").enable("table").render(section)
    assert "<b>" not in html
    assert "<a " not in html
    assert "<h1>" not in html
    assert html.count("<table>") == 2
    assert html.count("<tr>") == 4


# The command, and what it refuses


def test_the_command(old, new, capsys):
    assert main(["diff", str(old), str(new), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["result"]
    assert Diff.model_validate(found) == diff(old, new)
    assert main(["diff", str(old), str(new)]) == 0
    said = capsys.readouterr().out
    for words in (
        "Rows: 11, before 12 (-8.33 %); 0 new, 1 gone.",
        "Masks that differ: 2 of 11",
        "Classes",
        "row000",
        "quality",
    ):
        assert words in said
    assert main(["diff", str(old), str(old)]) == 0
    assert "nothing that is compared differs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("nowhere/to-be@v1", "{old}"), "nowhere/to-be is no folder here and no dataset on the Hub"),
        (("{old}", "a b"), "a b is neither a published folder nor a Hub id"),
        (("{old}", "{empty}"), "has no manifest.json of sds-hf"),
        (("{old}", "{broken}"), "has no report.json: it is not whole"),
        (("{old}", "{twice}"), "has the id 'row000' more than once; rows are matched by id"),
        (("{old}", "{nameless}"), "have no ids to match them by"),
    ],
)
def test_what_cannot_be_compared(old, tmp_path, capsys, hub, names, said):
    places = {"old": old, "empty": tmp_path / "empty"}
    places["empty"].mkdir()
    for name in ("broken", "twice", "nameless"):
        places[name] = shutil.copytree(old, tmp_path / name)
        data = places[name] / "data" / "train-00000.parquet"
        table = pq.read_table(data)
        if name == "broken":
            (places[name] / "report.json").unlink()
        elif name == "twice":
            pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), data)
        else:
            pq.write_table(table.drop_columns("id"), data)
    assert main(["diff", *(name.format(**places) for name in names)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_a_memory_limit_that_is_none(old):
    with pytest.raises(ValueError, match="a memory limit is an amount such as \"3GB\", not 'much'"):
        diff(old, old, memory_limit="much")
