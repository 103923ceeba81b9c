"""Readers on small trees in exactly their layouts, and on real output where it is at hand."""

import json
import re
import tracemalloc
import unicodedata
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from support.paths import SHARED
from support.raw_trees import save_pair, save_prompts
from support.rows import random_row

from sds_hf.data.folder import row_features, write_data_folder
from sds_hf.data.images import decode_mask
from sds_hf.data.labels import COCO, VOC
from sds_hf.data.sources import READERS, files, make_reader
from sds_hf.data.sources.dataset_diffusion import classes_in_prompt
from sds_hf.data.sources.files import files_by_stem, files_in, grouped_by_stem, natural
from sds_hf.pipeline import import_folder, import_source

SAMPLES = SHARED / "samples" / "dataset_diffusion_coco"


@pytest.fixture
def diffusion(tmp_path):
    """VOC output of Dataset Diffusion: numeric names, a palette mask, an image without a mask, a wrong prompt."""
    save_pair(tmp_path, "0", [6, 255], palette=True)
    save_pair(tmp_path, "2", [20, 11])
    save_pair(tmp_path, "10", [15])
    save_pair(tmp_path, "11", [], mask=False)
    save_prompts(
        tmp_path, {"0": "bus", "2": "tv monitor dining table", "10": "dog", "11": "unicorn"}, "voc_prompts.json"
    )
    return tmp_path


def test_dataset_diffusion(diffusion):
    reader = make_reader("auto", diffusion)
    rows = list(reader.rows())
    assert (reader.name, reader.labels.name) == ("dataset-diffusion", "voc")
    assert [row["id"] for row in rows] == ["0", "2", "10"]
    assert [row["classes"] for row in rows] == [[6], [11, 20], [15]]
    assert (rows[0]["caption"], rows[0]["class_prompt"]) == ("a photo; bus", "bus")
    assert rows[0]["image"]["bytes"] == (diffusion / "image" / "0.jpg").read_bytes()
    assert decode_mask(rows[0]["mask"]["bytes"])[0, :2].tolist() == [6, 255]
    assert reader.counts == {"image without a mask": 1, "mask shows a class its prompt does not name": 1}


def test_a_source_without_a_label_space_is_asked_for(tmp_path):
    save_pair(tmp_path, "0", [1])
    save_prompts(tmp_path, {"0": "person"})
    with pytest.raises(ValueError, match="give labels='voc' or labels='coco'"):
        make_reader("auto", tmp_path)
    assert make_reader("auto", tmp_path, labels="voc").labels is VOC


@pytest.mark.parametrize(
    ("values", "prompts", "ids"),
    [
        ([82, 1], {"0": "refrigerator person"}, "original"),
        ([12, 1], {"0": "stop sign person"}, "contiguous"),
        ([52], {"0": "banana"}, "original"),
        ([47], {"0": "banana"}, "contiguous"),
    ],
)
def test_coco_ids_are_found_by_values_or_prompts(tmp_path, values, prompts, ids):
    save_pair(tmp_path, "0", values)
    save_prompts(tmp_path, prompts, "coco_prompts.json")
    reader = make_reader("dataset-diffusion", tmp_path)
    assert reader.ids == ids
    names = {COCO.names[class_id] for row in reader.rows() for class_id in row["classes"]}
    assert " ".join(prompts.values()).count(next(iter(names))) == 1


def test_ambiguous_coco_ids_name_the_flag(tmp_path):
    save_pair(tmp_path, "0", [1, 5])  # person, airplane in both encodings
    save_prompts(tmp_path, {"0": "person airplane"}, "coco_prompts.json")
    with pytest.raises(ValueError, match="ids='contiguous' or ids='original'"):
        make_reader("dataset-diffusion", tmp_path)
    assert next(make_reader("dataset-diffusion", tmp_path, ids="original").rows())["classes"] == [1, 5]


def test_values_of_no_class_name_file_and_values(tmp_path):
    save_pair(tmp_path, "0", [21, 3])
    save_prompts(tmp_path, {"0": "bird"}, "voc_prompts.json")
    with pytest.raises(ValueError, match=r"0\.png: \[21\] stand for no class of the label space 'voc'"):
        list(make_reader("dataset-diffusion", tmp_path).rows())
    save_pair(tmp_path, "0", [12, 255])
    with pytest.raises(ValueError, match=r"0\.png: \[12\] are no original COCO category ids"):
        list(make_reader("dataset-diffusion", tmp_path, labels="coco", ids="original").rows())


def test_class_prompts_are_read_longest_name_first():
    def named(prompt, space):
        return {space.names[i] for i in classes_in_prompt(prompt, space.names)}

    assert named("hot dog person", COCO) == {"hot dog", "person"}
    assert named("teddy bear, bear", COCO) == {"teddy bear", "bear"}
    assert named("potted plant tv monitor", VOC) == {"pottedplant", "tvmonitor"}
    assert named("carriage", VOC) == set()


def test_pascal_voc(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    save_pair(root, "2007_000032", [1, 15, 255], "JPEGImages", "SegmentationClass", palette=True)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_000032\n2007_000039\n")
    reader = make_reader("auto", tmp_path, split="train")
    rows = list(reader.rows())
    assert (reader.name, [row["id"] for row in rows], rows[0]["classes"]) == ("pascal-voc", ["2007_000032"], [1, 15])
    assert reader.counts == {"listed without an image": 1}
    with pytest.raises(ValueError, match=r"no split 'val' in .*; there are \['train'\]"):
        make_reader("pascal-voc", tmp_path, split="val")


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (b"\xef\xbb\xbfa.v2\r\n", ["a.v2"]),
        (b"JPEGImages/a.v2.jpg SegmentationClass/a.v2.png\n", ["a.v2"]),
        (b"", "no row could be read: none is listed"),
        (b"\xe9\n", r"train\.txt is not UTF-8 \(byte 0\); save it as UTF-8"),
    ],
)
def test_lists_of_pascal_voc(tmp_path, lines, found):
    save_pair(tmp_path, "a.v2", [1], "JPEGImages", "SegmentationClass", palette=True)
    (tmp_path / "ImageSets" / "Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Segmentation" / "train.txt").write_bytes(lines)
    reader = make_reader("auto", tmp_path, split="train", labels="voc")
    if isinstance(found, list):
        assert [row["id"] for row in reader.rows()] == found
        return
    with pytest.raises(ValueError, match=found):
        list(reader.rows())


def test_prompts_need_not_be_texts(diffusion):
    (prompts,) = diffusion.glob("*prompts.json")
    prompts.write_text(json.dumps([{"filename": "10.jpg", "caption": 5, "class_prompt": ["bus", "car"]}]))
    rows = {row["id"]: row for row in make_reader("dataset-diffusion", diffusion, labels="voc").rows()}
    assert (rows["10"]["caption"], rows["10"]["class_prompt"]) == ("5", "bus, car")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_folder_with_a_table(tmp_path, kind):
    save_pair(tmp_path, "a", [3], "images", "masks")
    save_pair(tmp_path, "b", [4], "images", "masks")
    rows = [{"file_name": "b.jpg", "caption": 'two boats, "red"'}, {"file_name": "gone.jpg", "caption": ""}]
    if kind == "csv":
        (tmp_path / "metadata.csv").write_text('file_name,caption\nb.jpg,"two boats, ""red"""\ngone.jpg,\n')
    elif kind == "jsonl":
        (tmp_path / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "metadata.parquet")
    reader = make_reader("auto", tmp_path, labels="voc")
    found = list(reader.rows())
    assert (reader.name, [row["id"] for row in found], found[0]["caption"]) == ("folder", ["b"], 'two boats, "red"')
    assert reader.counts == {"listed without an image": 1, "image that the table does not list": 1}


def test_folder_without_a_table(tmp_path):
    save_pair(tmp_path, "10", [3], "img", "annotations")
    save_pair(tmp_path, "9", [3], "img", "annotations")
    save_pair(tmp_path, "8", [], "img", "annotations", mask=False)
    reader = make_reader("folder", tmp_path, labels="voc")
    assert [row["id"] for row in reader.rows()] == ["9", "10"]
    assert reader.counts == {"listed without a mask": 1}


def test_the_folder_above_is_named_where_it_is_meant(tmp_path):
    save_pair(tmp_path / "tree", "a", [3], "images", "masks")
    with pytest.raises(ValueError, match=r"the folder above it, .*tree, has one: give that$"):
        make_reader("auto", tmp_path / "tree" / "images", labels="voc")


def test_what_is_not_known_is_named(tmp_path):
    with pytest.raises(ValueError, match="is no folder"):
        make_reader("folder", tmp_path / "gone", labels="voc")
    with pytest.raises(
        ValueError, match=r"has no layout that is known; the readers are cityscapes, coco-.*`sds-hf readers`"
    ):
        make_reader("auto", tmp_path)
    with pytest.raises(ValueError, match=r"no reader 'foo'; there are"):
        make_reader("foo", tmp_path)
    (tmp_path / "pictures").mkdir()
    with pytest.raises(
        ValueError, match=r"no folder of images called images or image .* it has \['pictures'\]: give images="
    ):
        make_reader("folder", tmp_path, labels="voc")
    with pytest.raises(ValueError, match=r"has no option \['ids'\]"):
        make_reader("folder", tmp_path, labels="voc", ids="original")
    (tmp_path / "image").mkdir()
    (tmp_path / "mask").mkdir()
    (tmp_path / "prompts.json").write_text("{}{")
    with pytest.raises(ValueError, match="holds no images"):
        make_reader("dataset-diffusion", tmp_path, labels="voc")
    save_pair(tmp_path, "0", [1])
    with pytest.raises(ValueError, match=r"prompts\.json cannot be read: Extra data"):
        make_reader("dataset-diffusion", tmp_path, labels="voc")


def test_every_reader_says_what_it_is():
    ours = {
        "cityscapes",
        "coco-instances",
        "coco-masks",
        "coco-panoptic",
        "coco-stuff",
        "dataset-diffusion",
        "diffumask",
        "folder",
    }
    assert set(READERS) == ours | {"open-images", "pascal-voc", "sbd", "sds"}
    assert all(reader.summary and reader.__doc__ for reader in READERS.values())


def by_parts(name):
    """What `natural` stands for: numbers as numbers, before other text."""
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(part)) if position % 2 else (1, part) for position, part in enumerate(parts) if part]


@given(st.lists(st.text("aB1029-_²é", max_size=8)))
@example(["x10_0", "x2_0", "x02_1", "x", "x2", "xa", "1", "a1b", "ab"])
def test_numbers_in_names_sort_as_numbers(names):
    assert sorted(names, key=natural) == sorted(names, key=lambda name: (by_parts(name), name))


def test_names_that_are_the_same_number_come_in_one_order_wherever_they_lie(tmp_path, monkeypatch):
    """As an import of a copy of the folder, whose file system lists it in another order."""
    for name in ("7", "07", "007", "a7", "a07", "1/b", "01/b"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.png").touch()
    paths, orders = sorted(files_in(tmp_path)), []
    for listed in (paths, paths[::-1]):
        monkeypatch.setattr(files, "files_in", lambda folder, deep, listed=listed: listed)
        orders.append([list(files_by_stem(tmp_path, deep=True)), list(grouped_by_stem(tmp_path, (".png",), True))])
    assert orders[0] == orders[1]
    assert orders[0][0] == ["01/b", "1/b", "007", "07", "7", "a07", "a7"]


def test_files_by_name_are_found_however_their_names_are_spelt(tmp_path):
    names = ["a.jpg", "b.JPG", "c.d.png", "in/a.png", unicodedata.normalize("NFD", "é.png")]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = files_by_stem(tmp_path, deep=True)
    assert {stem: found[stem] for stem in found} == {
        unicodedata.normalize("NFC", str(Path(name).with_suffix(""))): tmp_path / name for name in names
    }


def test_files_by_name_take_little_memory(tmp_path):
    """Of 100,000 of them the paths would take 15 MB each."""
    for number in range(500):
        (tmp_path / f"{number}.png").touch()
    list(files_in(tmp_path))  # what is made once
    tracemalloc.start()
    try:
        found = files_by_stem(tmp_path)
        assert tracemalloc.get_traced_memory()[0] < 500 * 160  # 250 with a path each
    finally:
        tracemalloc.stop()
    assert len(found) == 500


def test_an_import_is_a_folder_that_load_dataset_reads(diffusion, tmp_path):
    rows, counts, name = import_source("auto", diffusion, tmp_path / "out")
    assert (rows, name, counts["image without a mask"]) == (3, "dataset-diffusion", 1)
    loaded = load_dataset(str(tmp_path / "out"), split="train")
    assert loaded.features == row_features(VOC)
    assert loaded["id"] == ["0", "2", "10"]
    assert np.asarray(loaded[0]["mask"])[0, :2].tolist() == [6, 255]
    assert loaded.features["classes"].feature.int2str(loaded[1]["classes"]) == ["diningtable", "tvmonitor"]
    streamed = load_dataset(str(tmp_path / "out"), split="train", streaming=True)
    assert [row["id"] for row in streamed] == ["0", "2", "10"]


def test_an_import_never_overwrites(diffusion, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("precious")
    with pytest.raises(ValueError, match="is not empty; choose another folder"):
        import_source("auto", diffusion, tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").read_text() == "precious"


def test_a_failed_import_leaves_nothing(diffusion, tmp_path):
    (diffusion / "mask" / "10.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"10\.png: 6 bytes that are no image"):
        import_source("auto", diffusion, tmp_path / "out" / "rows")
    assert list((tmp_path / "out").iterdir()) == []


def test_no_rows_are_no_dataset(tmp_path):
    with pytest.raises(ValueError, match="there are no rows to write"):
        write_data_folder([], row_features(VOC), tmp_path / "out")


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="real samples are not at hand")
def test_real_dataset_diffusion_output(tmp_path):
    rows, counts, _ = import_source("dataset-diffusion", SAMPLES, tmp_path / "out", labels="coco")
    assert rows == 12
    assert counts == {}
    loaded = load_dataset(str(tmp_path / "out"), split="train")
    names = loaded.features["classes"].feature
    for row in loaded:
        assert set(names.int2str(row["classes"])) <= set(row["class_prompt"].split()) | {"teddy bear", "hot dog"}
        stored = SAMPLES / "image" / f"{row['id']}.jpg"
        assert row["image"].size == Image.open(stored).size


@pytest.fixture
def many(tmp_path) -> Path:
    """Forty pairs, more than are on their way at once; the fifth and the thirtieth image are broken."""
    for index in range(40):
        row = random_row(index)
        for name, end in (("image", "jpg"), ("mask", "png")):
            path = tmp_path / "raw" / f"{name}s" / f"{index}.{end}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(row[name]["bytes"])
    for index in (5, 30):
        path = tmp_path / "raw" / "images" / f"{index}.jpg"
        path.write_bytes(path.read_bytes()[:200])
    (tmp_path / "raw" / "masks" / "20.png").unlink()
    return tmp_path / "raw"


def test_rows_come_in_their_order_and_the_first_error_stops(many):
    rows = make_reader("folder", many, labels="voc").rows()
    assert [next(rows)["id"] for _ in range(5)] == ["0", "1", "2", "3", "4"]
    with pytest.raises(ValueError, match=r"images/5\.jpg: broken image data"):
        next(rows)
    reader = make_reader("folder", many, labels="voc", on_error="skip")
    assert [row["id"] for row in reader.rows()] == [str(index) for index in range(40) if index not in (5, 20, 30)]
    assert list(reader.counts.items()) == [("broken", 2), ("listed without a mask", 1)]


def test_an_import_knows_its_total_from_the_beginning(many, tmp_path):
    told = []

    @contextmanager
    def watch(step, total, device=""):
        told.append((step, total))
        yield lambda finished, failed: told.append(finished)

    import_folder("folder", many, tmp_path / "out", watch=watch, labels="voc", on_error="skip")
    assert told == [("reading", 40), 37]
