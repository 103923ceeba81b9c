"""Exports: what other tools read is what the dataset holds, image files byte by byte and masks index by index."""

import csv
import io
import json
import tarfile

import cv2
import numpy as np
import pytest
from datasets import Dataset, Features, Image, Value, load_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image as Picture
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO as PyCOCO
from support.rows import random_dataset, random_row

from sds_hf import Threshold, TopK, select
from sds_hf.cli import main
from sds_hf.data.folder import row_features
from sds_hf.data.images import decode_mask, encode_jpeg, encode_mask
from sds_hf.data.instances import decode_rle, encode_rle
from sds_hf.data.labels import CITYSCAPES, COCO, VOC
from sds_hf.data.opening import open_dataset, open_stream
from sds_hf.data.sources import make_reader
from sds_hf.exports import FORMATS, ExportError, export
from sds_hf.exports.names import LONGEST, FileNames
from sds_hf.exports.samples import ROWS_AT_ONCE, samples

OF_ROWS = ["voc", "coco-panoptic", "coco-instances", "webdataset", "fiftyone"]
INSTANCES = [
    {
        "class": Value("int64"),
        "polygons": [[Value("float64")]],
        "counts": Value("string"),
        "size": [Value("int64")],
        "iscrowd": Value("bool"),
    }
]


def make_dataset(masks, labels=COCO, ids=None, **columns) -> Dataset:
    """Rows of these masks; further columns are lists, with their feature under the same name in `columns`."""
    rows = []
    for number, mask in enumerate(masks):
        noise = np.random.default_rng(number).integers(0, 256, (*mask.shape, 3), np.uint8)
        rows.append(
            {
                **random_row(number),
                "id": ids[number] if ids else f"row{number:03d}",
                "image": {"bytes": encode_jpeg(noise), "path": None},
                "mask": {"bytes": encode_mask(mask), "path": None},
                "classes": [int(value) for value in np.unique(mask) if value not in (0, 255)],
                **{name: values[number] for name, (values, _) in columns.items()},
            }
        )
    extra = {name: feature for name, (_, feature) in columns.items()}
    return Dataset.from_list(rows, features=row_features(labels, extra))


def cells(dataset) -> list[dict]:
    return dataset.with_format("arrow")[:].to_pylist()


def masks_of(rows) -> dict[str, np.ndarray]:
    return {row["id"]: decode_mask(row["mask"]) for row in rows}


def images_of(rows) -> dict[str, bytes]:
    return {row["id"]: row["image"]["bytes"] for row in rows}


def assert_same(rows, dataset, ignored=255):
    """Ids, images and masks are those of the dataset; pixels of 255 may have to be something else."""
    rows, given = list(rows), cells(dataset)
    assert [row["id"] for row in rows] == [row["id"] for row in given]
    assert images_of(rows) == images_of(given)
    for (name, mask), expected in zip(masks_of(rows).items(), masks_of(given).values(), strict=True):
        np.testing.assert_array_equal(mask, np.where(expected == 255, ignored, expected), err_msg=name)


@pytest.fixture(scope="module")
def coco() -> Dataset:
    """Six rows of COCO classes, one of them without any."""
    rng = np.random.default_rng(0)
    masks = [rng.choice([0, 1, 12, 80, 255], (6, 9)).astype(np.uint8) for _ in range(6)]
    masks[2][:] = 0
    return make_dataset(masks)


# PASCAL VOC


def test_voc_is_read_back(dataset, tmp_path):
    done = export(dataset, "voc", tmp_path / "out")
    assert (done.rows, done.renamed) == (12, 0)
    assert_same(make_reader("auto", tmp_path / "out").rows(), dataset)
    assert open_dataset(tmp_path / "out")["classes"] == dataset["classes"]
    names = (tmp_path / "out" / "ImageSets" / "Segmentation" / "train.txt").read_text().splitlines()
    assert names == dataset["id"]


def test_voc_masks_have_the_palette(dataset, tmp_path):
    export(dataset, "voc", tmp_path / "out")
    with Picture.open(tmp_path / "out" / "SegmentationClass" / "row000.png") as mask:
        colors = np.array(mask.getpalette()).reshape(-1, 3)
        assert (mask.mode, colors.shape) == ("P", (256, 3))
        assert colors[[0, 1, 15, 20, 255]].tolist() == [
            [0, 0, 0], [128, 0, 0], [192, 128, 128], [0, 64, 128], [224, 224, 192]
        ]  # fmt: skip
        np.testing.assert_array_equal(np.asarray(mask), np.asarray(dataset[0]["mask"]))
    lines = (tmp_path / "out" / "labelmap.txt").read_text().splitlines()
    assert lines[1:3] == ["background:0,0,0::", "aeroplane:128,0,0::"]
    assert lines[-1] == "ignored:224,224,192::"  # without which Datumaro refuses 255
    assert len(lines) == 23


# FiftyOne


def test_fiftyone_has_scores_reasons_and_captions(dataset, tmp_path):
    rows = dataset.add_column("u", [row / 10 for row in range(len(dataset))])
    chosen = select(rows, Threshold(column="u", above=0.75))
    others = Dataset.from_dict({"id": dataset["id"][:], "v": [-row / 10 for row in range(len(dataset))]})
    others.to_parquet(tmp_path / "scores.parquet")
    out = tmp_path / "out"
    export(rows, "fiftyone", out, selection=chosen, scores=tmp_path / "scores.parquet")
    fields = json.loads((out / "fields.json").read_text(encoding="utf-8"))
    kept = rows.select(range(8, len(rows)))
    for row in kept:
        (path,) = (path for path, row_id in fields["id"].items() if row_id == row["id"])
        assert (out / path).exists()
        assert (fields["u"][path], fields["v"][path]) == pytest.approx((row["u"], -row["u"]))
        assert fields["reason"][path] == "kept:all_rules"
        assert fields.get("caption", {}).get(path) == row.get("caption")
    assert len(fields["id"]) == len(kept)


def test_fiftyone_reads_indices(dataset, tmp_path):
    """As its importer does: a file of the same name in both folders, read by OpenCV as it is."""
    export(dataset, "fiftyone", tmp_path / "out")
    stems = [sorted(path.stem for path in (tmp_path / "out" / name).iterdir()) for name in ("data", "labels")]
    assert stems == [dataset["id"], dataset["id"]]
    for row in cells(dataset):
        mask = cv2.imread(str(tmp_path / "out" / "labels" / f"{row['id']}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(mask, decode_mask(row["mask"]))
        assert (tmp_path / "out" / "data" / f"{row['id']}.jpg").read_bytes() == row["image"]["bytes"]
    targets = json.loads((tmp_path / "out" / "mask_targets.json").read_text())
    assert targets == {str(index): name for index, name in enumerate(VOC.names)}


# COCO


def test_panoptic_is_read_back(coco, tmp_path):
    export(coco, "coco-panoptic", tmp_path / "out")
    rows = list(make_reader("auto", tmp_path / "out").rows())
    assert_same(rows, coco)
    assert [row["caption"] for row in rows] == coco["caption"][:]


def test_panoptic_segments(coco, tmp_path):
    """A segment of each class, ids in the colours, original category ids, and the background as stuff."""
    export(coco, "coco-panoptic", tmp_path / "out")
    found = json.loads((tmp_path / "out" / "annotations" / "panoptic_train2017.json").read_text())
    things = {entry["id"]: entry["name"] for entry in found["categories"] if entry["isthing"]}
    assert (len(things), things[90], things[13]) == (80, "toothbrush", "stop sign")
    assert [(entry["id"], entry["name"]) for entry in found["categories"] if not entry["isthing"]] == [
        (183, "background")
    ]
    for entry, row in zip(found["annotations"], cells(coco), strict=True):
        with Picture.open(tmp_path / "out" / "annotations" / "panoptic_train2017" / entry["file_name"]) as picture:
            red, green, blue = np.moveaxis(np.asarray(picture).astype(int), -1, 0)
        mask, ids = decode_mask(row["mask"]), red + 256 * green + 65536 * blue
        assert set(np.unique(ids)) - {0} == {segment["id"] for segment in entry["segments_info"]}
        np.testing.assert_array_equal(ids == 0, mask == 255)
        for segment in entry["segments_info"]:
            inside = ids == segment["id"]
            (index,) = np.unique(mask[inside])
            assert segment["category_id"] == (183 if index == 0 else COCO.original_ids[index])
            assert (segment["area"], segment["iscrowd"]) == (inside.sum(), 0)
            assert segment["bbox"] == box_of(inside)


def box_of(mask) -> list[int]:
    y, x = np.nonzero(mask)
    return [x.min(), y.min(), x.max() - x.min() + 1, y.max() - y.min() + 1]


def test_a_label_space_without_background(tmp_path):
    dataset = make_dataset([np.array([[1, 19, 255]], np.uint8)], CITYSCAPES)
    for name in ("coco-panoptic", "coco-instances"):
        export(dataset, name, tmp_path / name)
        rows = make_reader("auto", tmp_path / name, labels="cityscapes").rows()
        if name == "coco-panoptic":
            assert_same(rows, dataset)
        (file,) = (tmp_path / name / "annotations").glob(f"{name[5:]}_*.json")
        found = json.loads(file.read_text())["categories"]
        assert [entry["id"] for entry in found] == list(range(1, 20))


def test_panoptic_of_instances_and_stuff(tmp_path):
    """A picture of ids tells two dogs apart that touch; a class of stuff is one segment."""
    mask = np.array([[12, 12, 12, 12, 0, 9, 0, 9]], np.uint8)
    ids = np.array([[1, 1, 2, 2, 0, 3, 0, 4]], np.uint8)
    pictures = [{"bytes": encode_mask(ids), "path": None}]
    dataset = make_dataset([mask], VOC, instances=(pictures, Image()))
    for options, expected in (
        ({}, [12, 12, 9, 9, 21]),  # category ids start at 1, so the background's is the last
        ({"stuff": ["chair"]}, [12, 12, 9, 21]),
        ({"instances": "class"}, [12, 9, 21]),
        ({"instances": "components"}, [12, 9, 9, 21]),
    ):
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        export(dataset, "coco-panoptic", out, **options)
        found = json.loads((out / "annotations" / "panoptic_train2017.json").read_text())
        segments = found["annotations"][0]["segments_info"]
        assert sorted(segment["category_id"] for segment in segments) == sorted(expected), options
        assert {entry["name"] for entry in found["categories"] if not entry["isthing"]} == {
            "background", *options.get("stuff", [])
        }  # fmt: skip
    with pytest.raises(ExportError, match=r"\['sky'\] are no classes of the label space 'voc'"):
        export(dataset, "coco-panoptic", tmp_path / "none", stuff=["sky"])


def test_instances_are_loaded_by_pycocotools(coco, tmp_path, capsys):
    """Objects are disjoint, of one class and connected, and together all of it."""
    export(coco, "coco-instances", tmp_path / "out")
    loaded = PyCOCO(tmp_path / "out" / "annotations" / "instances_train2017.json")
    assert loaded.cats[90]["name"] == "toothbrush"
    for row, image in zip(cells(coco), loaded.dataset["images"], strict=True):
        painted = np.zeros((6, 9), np.uint8)
        for annotation in loaded.loadAnns(loaded.getAnnIds(image["id"])):
            part = loaded.annToMask(annotation)
            assert cv2.connectedComponents(part, connectivity=8)[0] == 2
            assert not painted[part == 1].any()
            assert (annotation["area"], annotation["iscrowd"]) == (part.sum(), 0)
            assert annotation["bbox"] == box_of(part)
            painted[part == 1] = COCO.original_ids.index(annotation["category_id"])
        expected = decode_mask(row["mask"])
        np.testing.assert_array_equal(painted, np.where(expected == 255, 0, expected))
        assert (tmp_path / "out" / "train2017" / image["file_name"]).read_bytes() == row["image"]["bytes"]


def test_instances_are_read_back(coco, tmp_path):
    export(coco, "coco-instances", tmp_path / "out")
    assert_same(make_reader("auto", tmp_path / "out").rows(), coco, ignored=0)


def test_instances_of_the_dataset_stay_as_they_are(tmp_path):
    """Polygons that overlap, run lengths and a crowd go out and come in again, without a mask too."""
    runs = encode_rle(np.eye(8, 10, dtype=bool))
    given = [
        {"class": 1, "polygons": [[1, 1, 6, 1, 6, 5, 1, 5]], "counts": None, "size": [8, 10], "iscrowd": False},
        {"class": 80, "polygons": [[4, 3, 9, 3, 9, 7], [0, 6, 2, 6, 2, 8]], "counts": None, "size": [8, 10],
         "iscrowd": False},
        {"class": 12, "polygons": None, "counts": runs["counts"], "size": [8, 10], "iscrowd": True},
    ]  # fmt: skip
    dataset = make_dataset([np.zeros((8, 10), np.uint8)], instances=([given], INSTANCES)).remove_columns("mask")
    export(dataset, "coco-instances", tmp_path / "out")
    (row,) = make_reader("auto", tmp_path / "out").rows()
    assert row["instances"] == given
    loaded = PyCOCO(tmp_path / "out" / "annotations" / "instances_train2017.json")
    for annotation in loaded.dataset["annotations"]:
        assert annotation["area"] == coco_masks.area(loaded.annToRLE(annotation))
    assert decode_mask(row["mask"])[0, 0] == 255  # the crowd


@given(arrays(bool, st.tuples(st.integers(1, 70), st.integers(1, 70)), fill=st.booleans()))
def test_run_lengths_are_those_of_pycocotools(mask):
    encoded = encode_rle(mask)
    expected = coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert encoded == {"size": list(expected["size"]), "counts": expected["counts"].decode()}
    np.testing.assert_array_equal(decode_rle(encoded["counts"], encoded["size"]), mask)


# webdataset


def test_webdataset_is_read_by_all(dataset, tmp_path):
    done = export(dataset, "webdataset", tmp_path / "out", shard_bytes=20_000)
    tars = sorted((tmp_path / "out").glob("*.tar"))
    assert len(tars) > 1
    assert done.files == len(tars) + 1
    streamed = [{**row, "caption": row["caption"]} for row in open_stream(tmp_path / "out")]
    assert_same(streamed, dataset)
    assert [row["caption"] for row in streamed] == dataset["caption"][:]
    files = load_dataset("webdataset", data_files=[str(path) for path in tars], split="train")
    folder = load_dataset(str(tmp_path / "out"), split="train")
    for loaded in (files, folder):
        assert loaded["__key__"] == dataset["id"]
        for row, expected in zip(loaded, dataset, strict=True):
            np.testing.assert_array_equal(np.asarray(row["seg.png"]), np.asarray(expected["mask"]))
            assert row["json"]["classes"] == expected["classes"]
    assert folder.features["json"]["classes"] == dataset.features["classes"]


def test_tars_are_bounded_and_the_same_each_time(dataset, tmp_path):
    for name in ("a", "b"):
        export(dataset, "webdataset", tmp_path / name, shard_bytes=15_000)
    tars = sorted((tmp_path / "a").glob("*.tar"))
    for path in tars:
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
        with tarfile.open(path) as tar:
            members = tar.getmembers()
            last = members[-1].name.split(".")[0]
            before = [member for member in members if member.name.split(".")[0] != last]
        assert (before[-1].offset_data + before[-1].size if before else 0) < 15_000
        assert {member.name.partition(".")[2] for member in members} == {"jpg", "seg.png", "txt", "json"}


def test_the_folder_knows_types_that_its_first_samples_hide(tmp_path):
    """The first five rows decide for `webdataset` alone; here they have no class, no caption and no prompt."""
    masks = [np.zeros((4, 4), np.uint8)] * 6 + [np.full((4, 4), 7, np.uint8)]
    rows = cells(make_dataset(masks))
    rows = [{**row, "caption": None} for row in rows[:6]] + [{**rows[6], "class_prompt": "truck"}]
    export(Dataset.from_list(rows, features=row_features(COCO)), "webdataset", tmp_path / "out")
    loaded = load_dataset(str(tmp_path / "out"), split="train")
    assert loaded[6]["json"] == {"id": "row006", "classes": [7], "class_prompt": "truck"}
    assert loaded[6]["txt"] == rows[6]["caption"]
    assert [row["txt"] for row in loaded][:6] == [""] * 6


def test_webdataset_needs_no_masks(dataset, tmp_path):
    export(dataset.remove_columns(["mask", "caption"]), "webdataset", tmp_path / "out")
    (row, *_) = open_stream(tmp_path / "out")
    assert images_of([row]) == images_of(cells(dataset.select([0])))
    assert set(row) == {"id", "image", "json", "__url__"}


# All of them


@settings(max_examples=8)
@given(
    st.lists(
        arrays(
            np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 1, 44, 80, 255])
        ),
        min_size=1,
        max_size=3,
    )
)
def test_masks_survive(tmp_path_factory, masks):
    dataset, root = make_dataset(masks), tmp_path_factory.mktemp("out")
    for name in ("voc", "coco-instances", "fiftyone", "webdataset"):
        export(dataset, name, root / name)
    assert_same(make_reader("pascal-voc", root / "voc", labels="coco").rows(), dataset)
    for kind in ("class", "components"):
        out = root / f"panoptic-{kind}"
        export(dataset, "coco-panoptic", out, instances=kind)
        assert_same(make_reader("coco-panoptic", out).rows(), dataset)
    assert_same(make_reader("coco-instances", root / "coco-instances").rows(), dataset, ignored=0)
    folders = {"images": "data", "masks": "labels", "ids": "contiguous"}
    assert_same(make_reader("folder", root / "fiftyone", labels="coco", **folders).rows(), dataset)
    assert_same(open_stream(root / "webdataset"), dataset)


@pytest.mark.parametrize("name", OF_ROWS)
def test_images_keep_their_bytes_whatever_they_are(name, tmp_path):
    """A PNG, a WebP, and a JPEG that lies on its side."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 3), np.uint8)
    turned = Picture.Exif()
    turned[0x0112] = 6
    files = []
    for kind, more in (("PNG", {}), ("WEBP", {}), ("JPEG", {"exif": turned})):
        picture = Picture.fromarray(pixels if not more else np.rot90(pixels))
        picture.save(buffer := io.BytesIO(), kind, **more)
        files.append(buffer.getvalue())
    rows = cells(make_dataset([np.full((6, 4), value, np.uint8) for value in (1, 2, 3)]))
    rows = [{**row, "image": {"bytes": data, "path": None}} for row, data in zip(rows, files, strict=True)]
    export(Dataset.from_list(rows, features=row_features(COCO)), name, tmp_path / "out")
    if name == "webdataset":
        written = [row["image"]["bytes"] for row in open_stream(tmp_path / "out")]
    else:
        folder = tmp_path / "out" / {"voc": "JPEGImages", "fiftyone": "data"}.get(name, "train2017")
        assert sorted(path.name for path in folder.iterdir()) == ["row000.png", "row001.webp", "row002.jpg"]
        written = [path.read_bytes() for path in sorted(folder.iterdir())]
    assert written == files


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
def test_tars_of_other_images_than_jpegs(kind, tmp_path):
    Picture.new("RGB", (4, 6), (1, 2, 3)).save(buffer := io.BytesIO(), kind)
    (row,) = cells(make_dataset([np.ones((6, 4), np.uint8)]))
    rows = [{**row, "image": {"bytes": buffer.getvalue(), "path": None}}]
    export(Dataset.from_list(rows, features=row_features(COCO)), "webdataset", tmp_path / "out")
    assert_same(open_stream(tmp_path / "out"), Dataset.from_list(rows, features=row_features(COCO)))
    (loaded,) = load_dataset(str(tmp_path / "out"), split="train")
    assert {cell.size for cell in loaded.values() if isinstance(cell, Picture.Image)} == {(4, 6)}


def test_ids_that_are_no_file_names(tmp_path):
    ids = ["../../evil", "a/b", "a\\b", "A", "a", "", "con", "x.y", "é", "b c\n", "/etc/passwd", "-rf", "z" * 300]
    dataset = make_dataset([np.full((3, 3), 5, np.uint8)] * len(ids), VOC, ids)
    for name in OF_ROWS:
        out = tmp_path / name / "out"
        done = export(dataset, name, out)
        assert [path.name for path in out.parent.iterdir()] == ["out"]
        assert done.renamed == len(ids) - 1
        with (out / "renamed.csv").open(newline="") as file:
            renamed = {row["id"]: row["name"] for row in csv.DictReader(file)}
        assert set(renamed) == set(ids) - {"A"}
        assert renamed["a"].startswith("a-")
        assert not any(set(new) & set("./\\ \n") or len(new) > LONGEST for new in renamed.values())
    rows = list(make_reader("pascal-voc", tmp_path / "voc" / "out").rows())
    assert [row["id"] for row in rows] == [renamed.get(name, name) for name in ids]
    images = json.loads((tmp_path / "coco-instances/out/annotations/instances_train2017.json").read_text())["images"]
    assert [image["row_id"] for image in images] == ids
    assert [row["json"]["id"] for row in open_stream(tmp_path / "webdataset" / "out")] == ids


@given(st.lists(st.text(alphabet="aA./é-_ 1", max_size=5) | st.text(max_size=200), unique=True))
def test_names_are_safe_and_different(ids):
    names = FileNames()
    found = [names.name(row_id) for row_id in ids]
    assert len({name.lower() for name in found}) == len(ids)
    assert all(name.isascii() and name.replace("-", "_").isidentifier() | name[0].isdigit() for name in found)
    assert {name: row_id for name, row_id in zip(found, ids, strict=True) if name != row_id} == names.changed
    for row_id in ids:
        with pytest.raises(ValueError, match="two rows have the id"):
            names.name(row_id)


def test_names_of_other_alphabets_are_told_apart():
    names = FileNames()
    for row_id in ("\u5f8a\u4e01", "\u6613\u4e09"):  # the first eight digits of their SHA-256 are the same
        assert names.name(row_id).startswith("_-")


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
def test_voc_of_other_images_is_read_back(kind, tmp_path):
    Picture.new("RGB", (4, 6), (1, 2, 3)).save(buffer := io.BytesIO(), kind)
    (row,) = cells(make_dataset([np.ones((6, 4), np.uint8)]))
    rows = [{**row, "image": {"bytes": buffer.getvalue(), "path": None}}]
    export(Dataset.from_list(rows, features=row_features(COCO)), "voc", tmp_path / "out")
    (read,) = make_reader("pascal-voc", tmp_path / "out", labels="coco").rows()
    assert read["image"]["bytes"] == buffer.getvalue()


def test_rows_are_read_a_few_at_a_time():
    """A broken row of the second batch does not hinder the first."""
    rows = cells(random_dataset(4)) * 20
    rows = [{**row, "id": str(number)} for number, row in enumerate(rows)]
    rows[ROWS_AT_ONCE]["image"] = {"bytes": b"broken", "path": None}
    found = samples(Dataset.from_list(rows, features=row_features(VOC)), VOC, FileNames())
    assert [next(found).number for _ in range(ROWS_AT_ONCE)] == list(range(ROWS_AT_ONCE))
    with pytest.raises(ExportError, match=rf"^row '{ROWS_AT_ONCE}': .* no image"):
        next(found)


def test_only_the_rows_of_a_selection(dataset, tmp_path):
    scored = dataset.add_column("quality", [float(number) for number in range(12)])
    export(scored, "voc", tmp_path / "out", selection=select(scored, Threshold(column="quality", above=7.5)))
    assert_same(make_reader("auto", tmp_path / "out").rows(), dataset.select(range(8, 12)))


def spoiled(dataset, **cell) -> Dataset:
    rows = cells(dataset)
    rows[-1] = {**rows[-1], **cell}
    return Dataset.from_list(rows, features=dataset.features)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ({"mask": None}, r"^row 'row011': mask: the cell is empty$"),
        ({"image": None}, r"^row 'row011': has no image$"),
        (
            {"mask": {"bytes": encode_mask(np.zeros((3, 4), np.uint8)), "path": None}},
            "has 4x3 pixels, but the image has",
        ),
        (
            {"mask": {"bytes": encode_mask(np.full((40, 40), 30, np.uint8)), "path": None}},
            r"holds \[30\], which stand for",
        ),
        ({"id": "row000"}, r"^row 'row000': two rows have the id 'row000'; ids must be unique$"),
    ],
)
@pytest.mark.parametrize("name", ["voc", "webdataset", "coco-panoptic"])
def test_a_bad_row_is_named_and_nothing_is_left(dataset, tmp_path, name, cell, said):
    with pytest.raises(ExportError, match=said) as caught:
        export(spoiled(dataset, **cell), name, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


@pytest.mark.parametrize("name", ["voc", "coco-panoptic", "fiftyone", "coco-instances"])
def test_without_masks(dataset, tmp_path, name):
    with pytest.raises(ExportError, match=f"^{name} needs the column mask.*; this dataset has"):
        export(dataset.remove_columns("mask"), name, tmp_path / "out")


def test_what_cannot_be_asked_for(dataset, tmp_path):
    out = tmp_path / "out"
    for said, call in (
        (r"no format 'yolo'; there are coco-instances,", {"format": "yolo"}),
        (r"'voc' has no option stuff; its options are \[\]", {"format": "voc", "stuff": ["dog"]}),
        (
            "instances is one of components, class, column, not 'parts'",
            {"format": "coco-instances", "instances": "parts"},
        ),
        ("'column' needs the column 'instances'", {"format": "coco-panoptic", "instances": "column"}),
        ("shard_bytes must be at least 1, not 0", {"format": "webdataset", "shard_bytes": 0}),
        ("croissant describes the files of a published dataset", {"format": "croissant"}),
    ):
        with pytest.raises(ExportError, match=said):
            export(dataset, out=out, **call)
        assert not out.exists()
    with pytest.raises(ExportError, match="there are no rows to export"):
        export(dataset.select([]), "voc", out)
    unnamed = dataset.cast(Features({**dataset.features, "classes": [Value("int64")]}))
    with pytest.raises(ValueError, match='labels="voc" or labels="coco"'):
        export(unnamed, "voc", out)
    assert export(unnamed, "voc", out, labels="voc").rows == 12
    with pytest.raises(ValueError, match="is not empty; choose another folder"):
        export(dataset, "voc", out)


def test_instances_that_are_none_name_their_row(tmp_path):
    given = [{"class": 3, "polygons": None, "counts": "abc", "size": [2, 2], "iscrowd": False}]
    dataset = make_dataset([np.zeros((8, 8), np.uint8)], instances=([given], INSTANCES))
    with pytest.raises(ExportError, match=r"^row 'row000': instances: run lengths of"):
        export(dataset, "coco-instances", tmp_path / "out")


# The command


def test_the_command(stored, dataset, tmp_path, capsys):
    scored = dataset.add_column("quality", [float(number) for number in range(12)])
    select(scored, TopK(column="quality", target=3), out=tmp_path / "sel")
    command = ["export", str(stored), "coco-panoptic", "--out", str(tmp_path / "out"), "--instances", "components"]
    assert main([*command, "--selection", str(tmp_path / "sel"), "--stuff", "sheep", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["result"], said["out"]) == ({"format": "coco-panoptic"}, str(tmp_path / "out"))
    assert said["counts"] == {"rows": 3, "files": 8, "renamed": 0}
    assert main(["export", str(stored), "voc", "--out", str(tmp_path / "voc")]) == 0
    assert "12 rows, 27 files of voc written to" in capsys.readouterr().out
    assert main(["export", str(stored), "voc", "--out", str(tmp_path / "voc")]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_help_names_every_format(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["export", "--help"]) == 0
    said = capsys.readouterr().out
    assert not [name for name in FORMATS if name not in said]
    assert all(one.summary and one.write.__doc__ for one in FORMATS.values())
