"""The server: what it hands out, and to whom."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.page import ask

from sds_hf import ASF, PCS, score_table
from sds_hf.data.images import decode_mask
from sds_hf.explore.exploration import open_exploration
from sds_hf.explore.marks import MarksFile
from sds_hf.explore.server import is_expected, make_app
from sds_hf.selection.marks.file import SCHEMA, read_marks


@pytest.fixture
def exploration(job, tmp_path):
    return open_exploration(
        job.table.folder, job.dataset, recipes=[job.recipe], marks=tmp_path / "beside" / "marks.parquet"
    )


@pytest.fixture
def app(exploration):
    return make_app(exploration)


def test_the_page_and_what_it_is_told(app, job):
    for name in ("", "page.js", "page.css"):
        status, headers, body = ask(app, f"/{name}")
        assert status == 200
        assert body
        assert "script-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    config = json.loads(ask(app, "/explore.json")[2])
    assert config["recipes"][0] == {
        "name": "test",
        "rules": [{rule.kind: rule.settings()} for rule in job.recipe.rules],
    }
    assert config["classNames"][:2] == ["background", "aeroplane"]
    assert "higher is better" in config["definitions"]["pcs"]
    assert len(config["palette"]) == 256


def test_the_table_by_ranges(app, job):
    data = job.table.paths[0].read_bytes()
    status, headers, body = ask(app, "/table/0.parquet", range="bytes=4-9")
    assert (status, body) == (206, data[4:10])
    assert headers["content-range"] == f"bytes 4-9/{len(data)}"
    assert ask(app, "/table/0.parquet")[2] == data
    assert ask(app, f"/table/{len(job.table.paths)}.parquet")[0] == 404


def test_pictures_and_masks_as_they_are_and_small(app, job):
    for row in range(3):
        mask = np.asarray(Image.open(io.BytesIO(ask(app, f"/rows/{row}/mask?size=small")[2])))
        assert np.array_equal(mask, decode_mask(job.dataset.with_format("arrow")[row]["mask"][0].as_py()))
    assert ask(app, "/rows/0/image")[1]["content-type"] == "image/jpeg"
    assert ask(app, "/rows/12/image")[0] == 404
    assert ask(app, f"/rows/{'9' * 5000}/image")[0] == 404
    assert ask(app, f"/rows/{'9' * 200}/image")[0] == 404
    assert ask(app, "/rows/0/secret")[0] == 404


def test_captions_and_pixels(app, job, tmp_path):
    captions = pq.read_table(io.BytesIO(ask(app, "/captions.parquet")[2])).to_pydict()
    assert captions == {"row": list(range(12)), "caption": job.dataset["caption"][:]}
    pixels = pq.read_table(io.BytesIO(ask(app, "/pixels.parquet")[2])).to_pylist()
    for line in pixels:
        mask = decode_mask(job.dataset.with_format("arrow")[line["row"]]["mask"][0].as_py())
        assert dict(zip(line["classes"], line["pixels"], strict=True)) == {
            int(index): int((mask == index).sum()) for index in np.unique(mask) if index not in (0, 255)
        }


def test_marks_are_kept_whole_changed_and_taken_back(app, exploration):
    def mark(**change):
        return ask(app, "/marks", "POST", json.dumps(change).encode(), content_type="application/json")[0]

    assert json.loads(ask(app, "/marks")[2]) == []
    assert mark(id="r|0 <0>", mark=True) == 200
    assert mark(id="r|1 <1>", mark=False) == 200
    assert mark(id="r|0 <0>", mark=False) == 200
    stored = pq.read_table(exploration.marks.path).to_pylist()
    assert [(line["id"], line["mark"], line["sample"]) for line in stored] == [
        ("r|0 <0>", False, None),
        ("r|1 <1>", False, None),
    ]
    assert stored[0]["who"]
    assert stored[0]["when"].tzinfo
    assert mark(id="r|1 <1>", mark=None) == 200
    assert [line["id"] for line in json.loads(ask(app, "/marks")[2])] == ["r|0 <0>"]
    for change in ({"id": 3, "mark": True}, {"id": "a", "mark": "yes"}, {"mark": True}, {"id": "", "mark": True}):
        assert mark(**change) == 400
    for body in (b"[" * 15_000, b'{"id":' + b"9" * 5_000 + b"}", b'{"id": "\xff"}', b"[]", b""):
        assert ask(app, "/marks", "POST", body, content_type="application/json")[0] == 400


def test_a_file_that_holds_no_marks_is_said(app, exploration):
    exploration.marks.path.parent.mkdir()
    pq.write_table(pa.table({"id": ["a"]}), exploration.marks.path)
    status, _, body = ask(app, "/marks")
    assert status == 404
    assert b"is no file of marks with the columns" in body


def test_rows_of_a_sample_wait_for_marks_and_others_marks_stay(tmp_path):
    lines = [
        {"id": "a", "sample": "uniform"},
        {"id": "b", "sample": "uniform"},
        {"id": "b", "mark": True, "who": "other", "sample": "stratified"},
    ]
    table = pa.Table.from_pylist(lines, SCHEMA.with_metadata({"sds_hf.samples": "{}"}))
    pq.write_table(table, tmp_path / "marks.parquet")
    marks = MarksFile(tmp_path / "marks.parquet", "me")
    marks.change({"id": "a", "mark": True})
    marks.change({"id": "b", "mark": False})
    lines = {(line["id"], line["mark"], line["who"], line["sample"]) for line in marks.lines()}
    assert lines == {
        ("a", True, "me", "uniform"),
        ("b", False, "me", "uniform"),
        ("b", True, "other", "stratified"),
        ("b", False, "me", "stratified"),
    }
    marks.change({"id": "a", "mark": None})
    marks.change({"id": "b", "mark": None})
    lines = {(line["id"], line["mark"], line["who"], line["sample"]) for line in marks.lines()}
    assert lines == {
        ("a", None, None, "uniform"),
        ("b", None, None, "uniform"),
        ("b", True, "other", "stratified"),
    }
    assert read_marks(marks.path).schema.metadata == {b"sds_hf.samples": b"{}"}


def test_only_a_page_of_this_address_is_answered(app):
    assert ask(app, "/explore.json", host="evil.example:8000")[0] == 403
    assert ask(app, "/marks", "POST", b"{}", content_type="application/json", origin="http://evil.example")[0] == 403
    assert ask(app, "/marks", "POST", b"{}", content_type="text/plain")[0] == 415
    assert ask(app, "/marks", "POST", b'{"id": "' + b"a" * 20_000, content_type="application/json")[0] == 413


@pytest.mark.parametrize("path", ["/../manifest.json", "/manifest.json", "/table/../manifest.json", "/rows/-1/image"])
def test_no_other_file_is_served(app, path):
    assert ask(app, path)[0] == 404


def test_names_of_this_server():
    local = ("localhost", "127.0.0.1", "::1")
    assert all(is_expected(host, local) for host in ("localhost", "LOCALHOST:1", "127.0.0.1:8000", "[::1]:80", "[::1]"))
    assert not any(is_expected(host, local) for host in ("", "localhost.evil.example", "10.0.0.1", "evil:127.0.0.1"))
    assert is_expected("10.0.0.1:80", (*local, "*"))
    assert not is_expected("evil.example", (*local, "*"))


def test_a_dataset_of_other_rows_is_refused(job):
    with pytest.raises(ValueError, match="of 12 rows; this dataset has 5"):
        open_exploration(job.table.folder, job.dataset.select(range(5)))
    with pytest.raises(ValueError, match="of other rows: ids differ from row 0 on"):
        open_exploration(job.table.folder, job.dataset.select([*range(1, 12), 0]))


def test_parquet_files_of_others_are_shown(tmp_path):
    table = pa.table(
        {
            "half": pa.array([np.float16(0.1), np.float16(0.2), None]),
            "kind": ["a", "b", "a"],
            "caption": ["one", "two", "three"],
            "classes": [[1, 255], [], [2, 2]],
            "picture": pa.array([{"bytes": b"x"}] * 3),
        }
    )
    pq.write_table(table, tmp_path / "scores.parquet")
    exploration = open_exploration(tmp_path / "scores.parquet", marks=tmp_path / "marks.parquet")
    assert exploration.config()["halves"] == ["half"]
    read = pq.read_table(io.BytesIO(ask(make_app(exploration), "/table/0.parquet")[2])).to_pydict()
    assert read["id"] == ["0", "1", "2"]
    assert read["row"] == [0, 1, 2]
    assert read["kind"] == ["a", "b", "a"]
    assert read["classes_present"] == [[1], [], [2]]
    assert read["num_classes_present"] == [1, 0, 1]
    assert read["status"] == ["ok"] * 3
    assert not {"caption", "picture"} & set(read)
    with pytest.raises(ValueError, match="no score table and no Parquet file at"):
        open_exploration(tmp_path / "nothing.parquet")


def test_what_clip_saw(job, tiny_clip, tmp_path):
    scores = [PCS(model=tiny_clip, dtype="fp32", scales=(3,), orders=1), ASF(model=tiny_clip, dtype="fp32")]
    table = score_table(job.dataset, scores, tmp_path / "scores")
    app = make_app(open_exploration(table.folder, job.dataset))
    pictures = json.loads(ask(app, "/explore.json")[2])["pictures"]
    assert (pictures["references"], pictures["shuffles"]) == (True, True)
    answers = [ask(app, f"/rows/{row}/reference") for row in range(12)]
    assert {status for status, *_ in answers} <= {200, 404}  # a mask without classes has no reference
    for row, (status, _, body) in enumerate(answers):
        classes = table.to_arrow()["classes_present"][row].as_py()
        assert (status == 200) == bool(classes)
        if classes:
            reference = np.asarray(Image.open(io.BytesIO(body)))
            assert reference.shape == decode_mask(job.dataset.with_format("arrow")[row]["mask"][0].as_py()).shape
            assert set(np.unique(reference)) <= {0, 255, *classes}
    versions = json.loads(ask(app, "/rows/0/shuffles")[2])
    assert [version["scale"] for version in versions] == [None, 3]
    assert versions[0]["similarity"] == pytest.approx(table.to_arrow()["clip_sim"][0].as_py(), abs=1e-5)
