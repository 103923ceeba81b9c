"""Forms in which `datasets` hands rows over: the same numbers, the format kept, failures told and not cached."""

import io
import struct

import numpy as np
import pyarrow as pa
import pytest
from datasets import Array2D, Dataset, Features, Image, Sequence, Value, load_from_disk
from PIL import Image as Pillow
from support.rows import random_dataset, random_row

from sds_hf import ClassesPresent, ClipSim, add_scores, score_table
from sds_hf.data.images import decode_image, decode_mask
from sds_hf.scores.base import rows as rows_module
from sds_hf.scores.base.batches import AllFailedError

FORMATS = ["torch", "numpy", "arrow", "pandas"]
PRESENT = ClassesPresent()


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return random_dataset(5)


@pytest.fixture(scope="module")
def score(tiny_clip) -> ClipSim:
    return ClipSim(model=tiny_clip, dtype="fp32")


@pytest.fixture(scope="module")
def expected(dataset, score) -> list[float]:
    return add_scores(dataset, score)["clip_sim"][:]


def values(scored: Dataset) -> list[float]:
    return scored.with_format(None)["clip_sim"][:]


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_numbers_in_every_format(dataset, score, expected, name, tmp_path):
    formatted = dataset.with_format(name)
    formatted.save_to_disk(tmp_path / "saved")
    for data in (formatted, load_from_disk(tmp_path / "saved"), dataset.with_format(name, columns=["image"])):
        for scored in (add_scores(data, score), data.map(score, batched=True, batch_size=2), data.map(score)):
            assert scored.format["type"] == name
            assert scored.features == Features({**dataset.features, "clip_sim": Value("float32")})
            np.testing.assert_allclose(values(scored), expected, atol=5e-6)
    pictures = add_scores(formatted, score).with_format("arrow")[:]["image"]
    assert pictures.to_pylist() == dataset.with_format("arrow")[:]["image"].to_pylist()
    table = score_table(formatted, [score], tmp_path / "scores")
    np.testing.assert_allclose(table.to_arrow()["clip_sim"].to_pylist(), expected, atol=5e-6)


@pytest.mark.parametrize("name", FORMATS)
def test_streams_in_every_format(dataset, score, expected, name, tmp_path):
    stream = dataset.to_iterable_dataset().with_format(name)
    scored = add_scores(stream, score)
    assert scored._formatting.format_type == name
    np.testing.assert_allclose([row["clip_sim"] for row in scored.with_format(None)], expected, atol=5e-6)
    table = score_table(stream, [score], tmp_path / "scores").to_arrow()
    np.testing.assert_allclose(table["clip_sim"].to_pylist(), expected, atol=5e-6)


def test_columns_that_map_is_to_remove_go(dataset, score):
    scored = dataset.with_format("arrow").map(score, batched=True, remove_columns=["caption", "image"])
    assert set(scored.column_names) == {*dataset.column_names, "clip_sim"} - {"caption", "image"}


def test_an_empty_split_gets_typed_columns(dataset, score):
    scored = add_scores(dataset.select([]), score)
    assert scored.features == Features({**dataset.features, "clip_sim": Value("float32")})


# Failures


def broken(count: int) -> Dataset:
    rows = [{**random_row(index), "image": {"bytes": b"broken", "path": "b.jpg"}} for index in range(count)]
    return Dataset.from_list([*rows, random_row(9)], features=random_dataset(1).features)


def test_unbatched_map_keeps_types_where_the_first_rows_fail(score):
    with pytest.warns(UserWarning, match="2 rows could not be scored"):
        scored = broken(2).map(score, writer_batch_size=1)
    assert scored.features["clip_sim"] == Value("float32")
    assert [value is None for value in scored["clip_sim"]] == [True, True, False]


def test_all_rows_failing_is_an_error(score, tmp_path):
    rows = broken(2).select([0, 1])
    for compute in (
        lambda: add_scores(rows, score),
        lambda: rows.map(score, batched=True, batch_size=1),
        lambda: score_table(rows, [score], tmp_path / "scores"),
        lambda: score_table(rows, [score], tmp_path / "scores"),  # finished, and as before
    ):
        with pytest.raises(AllFailedError, match=r"all 2 rows failed, the first with: image b\.jpg: 6 bytes"):
            compute()


def test_failures_are_not_taken_from_the_cache(tmp_path):
    paths = [tmp_path / f"{index}.png" for index in range(2)]
    features = Features({"mask": Image(), "id": Value("string")})

    def rows():
        return iter([{"mask": str(path), "id": path.name} for path in paths])

    for path in paths[:1]:
        path.write_bytes(random_row(1)["mask"]["bytes"])
    score = ClassesPresent(labels="voc")
    dataset = Dataset.from_generator(rows, features=features, cache_dir=str(tmp_path / "cache"))

    def counts(how) -> list[int | None]:
        scored = add_scores(dataset, score) if how == "add" else dataset.map(score, batched=True)
        return scored["num_classes_present"][:]

    expected = [
        ClassesPresent(labels="voc")({"mask": [random_row(i)["mask"]]})["num_classes_present"][0] for i in (1, 2)
    ]
    for how in ("add", "map"):
        paths[1].unlink(missing_ok=True)
        with pytest.warns(UserWarning, match="No such file"):
            assert counts(how) == [expected[0], None]
        with pytest.warns(UserWarning, match="No such file"):  # told again, not found in the cache
            assert counts(how) == [expected[0], None]
        paths[1].write_bytes(random_row(2)["mask"]["bytes"])
        assert counts(how) == expected
        paths[1].write_bytes(random_row(1)["mask"]["bytes"] + b" ")  # another picture under the same name
        assert counts(how) == [expected[0], expected[0]]


def test_a_failure_of_embedded_bytes_is_told_each_time(tmp_path):
    rows = [random_row(1), {**random_row(2), "mask": {"bytes": b"broken", "path": None}}]
    Dataset.from_list(rows, features=random_dataset(1).features).save_to_disk(tmp_path / "rows")
    dataset = load_from_disk(str(tmp_path / "rows"))
    for _ in range(2):
        with pytest.warns(UserWarning, match="1 row could not be scored"):
            dataset.map(PRESENT, batched=True)


# Decoders


def with_exif(jpeg: bytes, *entries: tuple[int, int, int]) -> bytes:
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + body + struct.pack("<I", 0) * 4
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_picture_is_turned_by_its_tag_alone(turn):
    buffer = io.BytesIO()
    Pillow.fromarray(np.arange(8 * 12 * 3, dtype=np.uint8).reshape(8, 12, 3)).save(buffer, "JPEG", quality=95)
    plain, odd = (  # the second does not survive a rewrite
        with_exif(buffer.getvalue(), *entries)
        for entries in (
            [(0x0112, 3, turn)],
            [(0x0102, 5, 8), (0x0112, 3, turn)],
        )
    )
    from PIL import ImageOps

    expected = np.asarray(ImageOps.exif_transpose(Pillow.open(io.BytesIO(plain))))
    np.testing.assert_array_equal(decode_image(plain), expected)
    np.testing.assert_array_equal(decode_image(odd), expected)


@pytest.mark.parametrize("error", [struct.error(), KeyError("x"), RecursionError(), AttributeError("x"), MemoryError()])
def test_whatever_a_decoder_raises_is_its_row(dataset, monkeypatch, error):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(AllFailedError, match=r"mask row000\.png: (broken image data|does not fit)"):
        add_scores(dataset, PRESENT)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint16, np.uint8, bool])
def test_integers_of_any_type_are_pictures(dtype):
    mask, picture = np.array([[0, 1], [1, 0]], dtype), np.ones((2, 2, 3), dtype)
    np.testing.assert_array_equal(decode_mask(mask), mask.astype(np.uint8))
    assert decode_image(picture)[0, 0, 0] == (255 if dtype is bool else 1)
    assert decode_mask(mask.tolist()).dtype == np.uint8


@pytest.mark.parametrize(
    "cell",
    [np.ones((2, 2, 3), np.float32), np.full((2, 2, 3), 256), np.full((2, 2, 3), -1), [[1, 2], [3]], np.ones(3, int),
     np.ones((2, 2, 5), int), [], np.array([["a", "b"]]), [[None, 1]], np.ones((0, 4, 3), int)],
)  # fmt: skip
def test_arrays_that_are_no_picture_fail_in_one_line(cell):
    for decode in (decode_image, decode_mask):
        with pytest.raises(ValueError, match=r"^(image|mask): ") as caught:
            decode(cell)
        assert "\n" not in str(caught.value)


def test_masks_as_arrays_of_a_dataset(dataset):
    square = [random_row(index) for index in (1, 2, 3)]
    masks = [decode_mask(row["mask"]) for row in square]
    expected = ClassesPresent(labels="voc")({"mask": [row["mask"] for row in square]})["num_classes_present"]
    for feature in (Array2D(masks[0].shape, "uint8"), Sequence(Sequence(Value("int64")))):
        rows = Dataset.from_dict({"mask": [mask.tolist() for mask in masks]}, features=Features(mask=feature))
        assert add_scores(rows, ClassesPresent(labels="voc"))["num_classes_present"][:] == expected
        assert rows.map(ClassesPresent(labels="voc"), batched=True)["num_classes_present"][:] == expected


def test_large_strings_are_paths_too(tmp_path):
    (tmp_path / "a.png").write_bytes(random_row(1)["mask"]["bytes"])
    table = pa.table({"mask": pa.array([str(tmp_path / "a.png")], pa.large_string())})
    scored = Dataset(table).map(ClassesPresent(labels="voc"), batched=True)
    assert scored["num_classes_present"][:] != [None]


# Memory


def test_rows_are_decoded_as_many_at_a_time_as_fit(dataset, score, expected, monkeypatch, tmp_path):
    decoded = []
    read = rows_module.read_rows

    def noting(cells, *arguments):
        decoded.append(len(cells["image"]))
        return read(cells, *arguments)

    monkeypatch.setattr("sds_hf.scores.base.score.read_rows", noting)
    monkeypatch.setattr(rows_module, "PART_BYTES", 2 * 4 * 56 * 56)
    table = score_table(dataset, [score], tmp_path / "scores", rows_per_shard=4)
    np.testing.assert_allclose(table.to_arrow()["clip_sim"].to_pylist(), expected, atol=5e-6)
    assert max(decoded) < 5
    assert sum(decoded) == 5
    np.testing.assert_allclose(values(add_scores(dataset, score)), expected, atol=5e-6)
    streamed = score_table(dataset.to_iterable_dataset(), [score], tmp_path / "streamed", rows_per_shard=4)
    assert streamed.to_arrow().equals(table.to_arrow())
