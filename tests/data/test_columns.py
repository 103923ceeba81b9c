"""Published columns are what a consumer must get, in whatever form they came."""

import io
from datetime import UTC, datetime, time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from datasets import Array2D, Dataset, Features, Image, LargeList, Sequence, Value, load_dataset
from PIL import Image as Pillow
from support.rows import random_dataset, random_row

from sds_hf.data import columns
from sds_hf.data import folder as folders
from sds_hf.data.access.paths import Reach
from sds_hf.data.cells import are_whole
from sds_hf.data.columns import ColumnError
from sds_hf.data.folder import card_metadata, features_beside, tables_of_dataset, write_shards
from sds_hf.data.images import decode_mask
from sds_hf.data.labels import VOC

ROWS = [random_row(index) for index in range(1, 4)]
MASKS = [decode_mask(row["mask"]) for row in ROWS]


def palette_bytes(mask: np.ndarray) -> bytes:
    picture = Pillow.fromarray(mask).convert("P")
    picture.putpalette([value for color in VOC.palette for value in color])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def dataset_of(form: str, folder: Path) -> Dataset:
    images, masks = [row["image"]["bytes"] for row in ROWS], [palette_bytes(mask) for mask in MASKS]
    paths = {"image": [], "mask": []}
    for name, contents in (("image", images), ("mask", masks)):
        for index, data in enumerate(contents):
            (folder / f"{name}{index}").write_bytes(data)
            paths[name].append(str(folder / f"{name}{index}"))
    files = {"image": images, "mask": masks}
    structs = {name: [{"bytes": data, "path": None} for data in files[name]] for name in files}
    if form in ("string", "large_string"):
        return Dataset.from_dict(paths, features=Features(image=Value(form), mask=Value(form)))
    if form in ("binary", "large_binary"):
        return Dataset.from_dict(files, features=Features(image=Value(form), mask=Value(form)))
    if form == "struct":
        return Dataset.from_dict(structs)
    if form == "struct of a path":
        return Dataset.from_dict({name: [{"path": path} for path in paths[name]] for name in paths})
    if form == "array":
        masks = [mask.tolist() for mask in MASKS]
        features = Features(image=Image(), mask=Array2D(MASKS[0].shape, "uint8"))
        return Dataset.from_dict({"image": structs["image"], "mask": masks}, features=features)
    if form == "lists":
        pictures = [np.asarray(Pillow.open(io.BytesIO(data)).convert("RGB")).tolist() for data in images]
        return Dataset.from_dict({"image": pictures, "mask": [mask.tolist() for mask in MASKS]})
    features = {"decode=False": Image(decode=False), "L": Image(mode="L"), "RGB": Image(mode="RGB")}
    feature = features.get(form, Image())
    dataset = Dataset.from_dict(structs, features=Features(image=Image(), mask=Image()))
    return dataset.cast_column("image", Image(decode=feature.decode)).cast_column("mask", feature)


@pytest.mark.parametrize("form", ["plain", "decode=False", "string", "array", "large_binary"])
@pytest.mark.parametrize("rows", [[0, 1, 2], [2, 0]])
def test_what_was_decoded_before_goes_out_as_what_is_decoded_now(form, rows, tmp_path):
    dataset = dataset_of(form, tmp_path).select(rows)
    (checked,), (taken,) = tables_of_dataset(dataset), tables_of_dataset(dataset, decoded=("image", "mask"))
    assert taken.equals(checked)
    assert (taken.nbytes, taken.schema) == (checked.nbytes, checked.schema)
    write_shards([checked], tmp_path / "checked")
    write_shards([taken], tmp_path / "taken")
    first, second = (tmp_path / name / "data" / "train-00000.parquet" for name in ("checked", "taken"))
    assert first.read_bytes() == second.read_bytes()


def test_times_that_parquet_has_not_go_out_as_those_it_has(tmp_path):
    day = datetime(2026, 1, 2)
    features = Features(
        image=Image(),
        second=Value("timestamp[s]"),
        clock=Sequence(Value("time32[s]")),
        day=LargeList(Value("date64")),
        inner={"zoned": Value("timestamp[s, tz=UTC]"), "exact": Value("timestamp[ns]")},
    )
    zoned = {"zoned": day.replace(tzinfo=UTC), "exact": day}
    row = {"image": ROWS[0]["image"], "second": day, "clock": [time(3)], "day": [day.date()], "inner": zoned}
    dataset = Dataset.from_list([row], features=features)
    shards, size = write_shards(tables_of_dataset(dataset), tmp_path)
    metadata = card_metadata(features_beside(dataset), shards, size)
    (tmp_path / "README.md").write_text(f"---\n{metadata}\n---\n")
    loaded = load_dataset(str(tmp_path), split="train")
    assert loaded.features == Features.from_arrow_schema(pq.read_schema(tmp_path / shards[0].path))
    assert loaded.features["inner"]["exact"] == Value("timestamp[ns]")
    del row["image"]
    assert {name: loaded[0][name] for name in row} == row


def test_paths_go_out_as_their_last_part(tmp_path):
    paths = ["a/b.png", "c\\d.png", "zip://x.png::/e/all.zip", None]
    data = ROWS[0]["image"]["bytes"]
    structs = [{"bytes": data, "path": path} for path in paths]
    dataset = Dataset.from_dict({"image": structs, "mask": structs}, features=Features(image=Image(), mask=Image()))
    (taken,) = tables_of_dataset(dataset, decoded=("image", "mask"))
    assert [cell["path"] for cell in taken["image"].to_pylist()] == ["b.png", "d.png", "x.png", None]


def test_only_columns_that_were_decoded_are_taken_as_they_are():
    dataset = Dataset.from_dict({"image": [{"bytes": b"junk", "path": None}]}, features=Features(image=Image()))
    assert [table.num_rows for table in tables_of_dataset(dataset, decoded=("image",))] == [1]
    with pytest.raises(ColumnError, match="row 0 cannot be published: image: 4 bytes that are no image"):
        list(tables_of_dataset(dataset, decoded=("mask",)))


FORMS = ["plain", "string", "large_string", "binary", "large_binary", "struct", "struct of a path", "array", "lists",
         "decode=False", "L", "RGB"]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_consumer_gets_pictures_and_indices(form, tmp_path):
    (tmp_path / "private").mkdir()
    dataset = dataset_of(form, tmp_path / "private")
    write_shards(tables_of_dataset(dataset), tmp_path)
    loaded = load_dataset("parquet", data_files=str(tmp_path / "data/*.parquet"), split="train")
    assert loaded.features == features_beside(dataset) == Features(image=Image(), mask=Image())
    for row, source, mask in zip(loaded, ROWS, MASKS, strict=True):
        np.testing.assert_array_equal(np.asarray(row["mask"]), mask)
        expected = np.asarray(Pillow.open(io.BytesIO(source["image"]["bytes"])).convert("RGB"))
        np.testing.assert_array_equal(np.asarray(row["image"].convert("RGB")), expected)
    assert b"private" not in (tmp_path / "data/train-00000.parquet").read_bytes()


def published(column: str, feature, *cells) -> list:
    features = Features({"id": Value("string"), column: feature})
    dataset = Dataset.from_dict({"id": list("abc")[: len(cells)], column: list(cells)}, features=features)
    return [cell for table in tables_of_dataset(dataset) for cell in table[column].to_pylist()]


@pytest.mark.parametrize("content", [b"machine x password y", b"", b"\x89PNG\r\n\x1a\nbroken"])
@pytest.mark.parametrize("column", ["image", "mask", "thumb"])
def test_what_is_no_picture_is_not_embedded(column, content, tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(content)
    with pytest.raises(ColumnError, match=f"row b cannot be published: {column}: "):
        published(column, Image(), ROWS[0]["mask"], {"bytes": None, "path": str(path)})
    with pytest.raises(ColumnError, match=f"row b cannot be published: {column}: "):
        published(column, Image(), ROWS[0]["mask"], {"bytes": content, "path": None})


@pytest.mark.parametrize("kind", ["Audio", "Video", "Pdf"])
def test_other_files_are_embedded_only_if_they_decode_as_what_they_are(kind, tmp_path):
    import datasets

    path = tmp_path / "secret"
    path.write_bytes(b"machine x password y")
    cells = [{"bytes": None, "path": str(path)}]
    dataset = Dataset.from_dict({"file": cells}).cast_column("file", getattr(datasets, kind)())
    with pytest.raises(ColumnError, match=f"row 0 cannot be published: file: .* {kind}"):
        list(tables_of_dataset(dataset))


def test_pictures_in_lists(tmp_path):
    (tmp_path / "a.png").write_bytes(ROWS[0]["mask"]["bytes"])
    (cells,) = published("pages", Sequence(Image()), [{"bytes": None, "path": str(tmp_path / "a.png")}, None])
    assert cells == [{"bytes": ROWS[0]["mask"]["bytes"], "path": "a.png"}, None]
    with pytest.raises(ColumnError, match="row a cannot be published: pages: cannot read"):
        published("pages", Sequence(Image()), [{"bytes": None, "path": str(tmp_path / "gone.png")}])


def test_a_struct_that_names_a_file_and_says_not_what_it_is(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    feature = {"bytes": Value("binary"), "path": Value("string")}
    with pytest.raises(ColumnError, match="file: it names a file, and nothing says what the file is"):
        published("file", feature, {"bytes": None, "path": str(tmp_path / "a")})
    assert published("file", feature, {"bytes": b"x", "path": "a"}) == [{"bytes": b"x", "path": "a"}]


def test_empty_cells_of_further_columns_stay_empty():
    assert published("thumb", Image(), ROWS[0]["mask"], None)[1] is None


@pytest.mark.parametrize("empty", [None, {"bytes": None, "path": None}])
@pytest.mark.parametrize("column", ["image", "mask"])
def test_rows_without_a_picture_are_named(column, empty):
    stored = Features({"id": Value("string"), column: {"bytes": Value("binary"), "path": Value("string")}})
    cells = [ROWS[0]["mask"], empty, None]
    dataset = Dataset.from_dict({"id": list("abc"), column: cells}, features=stored).cast_column(column, Image())
    with pytest.raises(ColumnError, match=rf"^rows b, c cannot be published: {column} is null; "):
        list(tables_of_dataset(dataset))


def test_row_groups_are_bounded_by_their_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "GROUP_BYTES", 20_000)
    dataset = Dataset.from_dict({"data": [b"x" * 4000] * 30 + [b"x" * 50_000] * 2})
    (shard,), _ = write_shards(tables_of_dataset(dataset), tmp_path)
    metadata = pq.read_metadata(tmp_path / shard.path)
    sizes = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
    assert sum(sizes) == 32
    assert max(sizes) <= 5
    rows = [{"id": str(index), "image": {"bytes": b"x" * 4000, "path": None}} for index in range(30)]
    tables = folders.tables_of_rows(rows, Features(id=Value("string"), image=Image()))
    assert [table.num_rows for table in tables] == [6] * 5


def test_pictures_of_chosen_rows_are_looked_at_in_one_piece(monkeypatch):
    """`datasets` makes of rows that are chosen a piece each; to look at each takes longer than to join them."""
    pieces = []
    monkeypatch.setattr(columns, "are_whole", lambda column: pieces.append(column.num_chunks) or are_whole(column))
    chosen = random_dataset(6).select([0, 2, 3, 5])
    (table,) = tables_of_dataset(chosen, None, ("image", "mask"))
    assert pieces == [1, 1]
    assert table["image"].to_pylist() == chosen.with_format("arrow")[:]["image"].to_pylist()


@pytest.mark.slow
@pytest.mark.parametrize("is_decoded", [True, False])
def test_pictures_of_over_two_gigabytes_in_a_group_of_rows(is_decoded, monkeypatch):
    """A chunk of Arrow cannot have as many bytes."""
    picture = {"bytes": bytes(300 << 20), "path": "a.png"}
    monkeypatch.setattr(columns, "_picture", lambda cell, name: picture)
    row = pa.array([picture], columns.STORED)
    names = [f"row {number}" for number in range(8)]
    published = columns.published_column("image", Image(), pa.chunked_array([row] * 8), Reach(), names, is_decoded)
    assert pc.binary_length(pc.struct_field(published, "bytes")).to_pylist() == [300 << 20] * 8
