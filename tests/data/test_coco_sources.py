"""Readers of COCO and of SDS on trees in exactly their layouts; masks against pixels that are known beforehand."""

import json
import os
import pickle
import re
import sys

import numpy as np
import pytest
from datasets import load_dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask
from support import coco_trees as trees
from support.coco_trees import annotation, box, image_entry, runs, save_image, save_instances, save_segments
from support.raw_trees import save_pair

from sds_hf import TFDP, add_scores
from sds_hf.cli import main
from sds_hf.data.images import decode_mask
from sds_hf.data.labels import COCO, VOC
from sds_hf.data.opening import open_dataset
from sds_hf.data.sources import READERS, make_reader
from sds_hf.data.sources.coco_ids import to_indices
from sds_hf.pipeline import import_source

IGNORED = 255


def only_row(reader, path, **options):
    (row,) = make_reader(reader, path, **options).rows()
    return row


def mask_of(row):
    return decode_mask(row["mask"]["bytes"])


def drawn(*boxes, size=(trees.HEIGHT, trees.WIDTH)):
    """A mask of boxes (value, left, top, right, bottom), the later over the earlier."""
    mask = np.zeros(size, np.uint8)
    for value, left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = value
    return mask


# Panoptic


def test_panoptic_segments_become_indices(tmp_path):
    """Stuff is background, a crowd and what no segment has are ignored; ids use all three colours."""
    trees.panoptic(tmp_path)
    raw = tmp_path / "raw"
    row = only_row("auto", raw)
    expected = drawn((73, 0, 0, 8, 6), (IGNORED, 0, 6, 8, 12), (12, 8, 6, 16, 10), (IGNORED, 8, 10, 16, 12))
    assert (mask_of(row) == expected).all()
    assert (row["id"], row["classes"], row["caption"]) == ("000000000139", [12, 73], "a fridge")
    assert row["image"]["bytes"] == (raw / "val2017" / "000000000139.jpg").read_bytes()
    painted = mask_of(only_row("coco-panoptic", raw, crowd="paint"))
    assert (painted == np.where(drawn((1, 0, 6, 8, 12)), 1, expected)).all()


def test_panoptic_pictures_may_be_beside_the_images(tmp_path):
    trees.panoptic(tmp_path)
    raw = tmp_path / "raw"
    expected = mask_of(only_row("coco-panoptic", raw))
    (raw / "annotations" / "panoptic_val2017").rename(raw / "panoptic_val2017")
    (raw / "images").mkdir()
    (raw / "val2017").rename(raw / "images" / "val2017")
    assert (mask_of(only_row("coco-panoptic", raw)) == expected).all()


def test_panoptic_pictures_and_files_that_do_not_fit(tmp_path):
    trees.panoptic(tmp_path)
    raw = tmp_path / "raw"
    picture, file = raw / "annotations/panoptic_val2017/000000000139.png", raw / "annotations/panoptic_val2017.json"
    save_segments(picture, np.full((trees.HEIGHT, trees.WIDTH), 70_001))
    with pytest.raises(ValueError, match=r"000000000139\.png: panoptic_val2017\.json has no segments \[70001\] of it"):
        only_row("coco-panoptic", raw)
    save_segments(picture, np.full((5, 7), 70_000))
    with pytest.raises(ValueError, match=r"000000000139\.jpg: 16x12 pixels, but its mask has 7x5"):
        only_row("coco-panoptic", raw)
    reader = make_reader("coco-panoptic", raw, on_error="skip")
    with pytest.raises(ValueError, match=r"no row could be read: 1 broken, 1 listed without an image"):
        list(reader.rows())
    picture.unlink()
    with pytest.raises(ValueError, match=r"000000000139\.jpg: image without a mask; with on_missing='skip'"):
        only_row("coco-panoptic", raw, on_missing="error")
    content = json.loads(file.read_text())
    save_segments(picture, np.full((trees.HEIGHT, trees.WIDTH), 7))
    content["annotations"][0]["segments_info"][0]["category_id"] = 91
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"category 91 of image 000000000139\.jpg is none of its categories"):
        only_row("coco-panoptic", raw)


# Annotation files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "holds a list; annotations of COCO are an object"),
        ("[" * 100_000, "cannot be read: maximum recursion depth exceeded"),
        ('{"images": [{"id": [1], "file_name": "a.jpg"}], "annotations": []}', "unhashable type: 'list'"),
        ('{"images": []}', "holds no annotations of COCO: there is no 'annotations'"),
        ('{"images": [{"id": 1}], "annotations": []}', "holds no annotations of COCO: there is no 'file_name'"),
        ('{"categories": [{"id": 1}], "images": [], "annotations": []}', "its categories are not as COCO has them"),
        (
            '{"categories": [{"id": 1, "name": "crack"}], "images": [], "annotations": []}',
            "its category 'crack' is no class of the label space 'coco'; give labels=...",
        ),
    ],
)
def test_files_that_are_not_of_coco_are_named(tmp_path, content, message):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val2017").mkdir()
    (tmp_path / "annotations" / "instances_val2017.json").write_text(content)
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        list(make_reader("auto", tmp_path).rows())
    assert "instances_val2017.json" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_splits_are_chosen_by_name_year_or_pattern(tmp_path):
    trees.instances(tmp_path)
    raw = tmp_path / "raw"
    (raw / "val2017").mkdir()

    def ids(split):
        return [row["id"][-2:] for row in make_reader("coco-instances", raw, split=split).rows()]

    assert ids("train") == ["09", "25", "30"]
    assert ids("train2014") == ["09", "25"]
    assert ids("train2017") == ids("*2017") == ["30"]
    with pytest.raises(ValueError, match=r"has the splits \['train2014', 'train2017', 'val2017'\]; say which, e\.g"):
        make_reader("coco-instances", raw)
    with pytest.raises(ValueError, match=r"no split 'test' in .*; there are \['train2014', 'train2017', 'val2017'\]"):
        make_reader("coco-instances", raw, split="test")
    with pytest.raises(ValueError, match="crowd must be ignore or paint, not 'drop'"):
        make_reader("coco-instances", raw, split="val", crowd="drop")
    with pytest.raises(ValueError, match=r"no folder of images called pictures; .*'train2014'.*: give images="):
        make_reader("coco-instances", raw, split="val", images="pictures")
    with pytest.raises(ValueError, match=r"has no annotations/panoptic_\*\.json"):
        make_reader("coco-panoptic", raw)


def test_categories_go_by_name_and_files_by_theirs_alone(tmp_path):
    """Other numbers, or those of COCO where the file has no categories; a path in a file name leads nowhere else."""
    raw = tmp_path / "raw"
    save_image(raw / "images" / "a.jpg")
    save_image(tmp_path / "b.jpg")
    images = [image_entry(1, name="a.jpg"), image_entry(2, name="../../b.jpg")]
    square = [annotation(1, 1, 82, [box(0, 0, 3, 3)], 9)]
    save_instances(raw, "own", images, square, categories=[{"id": 82, "name": "person"}])
    reader = make_reader("coco-instances", raw)
    assert [row["classes"] for row in reader.rows()] == [[1]]
    assert reader.counts == {"listed without an image": 1}
    save_instances(raw, "own", images, square, categories=[])
    assert only_row("coco-instances", raw)["classes"] == [73]
    save_instances(raw, "own", images, square, categories=[{"id": 82, "name": "sofa"}])
    assert only_row("coco-instances", raw, labels="voc")["classes"] == [18]


# Instances


def save_objects(folder, *annotations, size=(trees.HEIGHT, trees.WIDTH)):
    save_image(folder / "val2017" / "000000000001.jpg", *size)
    save_instances(folder, "val2017", [image_entry(1, *size)], list(annotations))
    return folder


def test_large_objects_are_painted_before_small_ones(tmp_path):
    """Whatever their order in the file; of one size the lower id comes first, and a crowd before everything."""
    crowd = drawn((1, 0, 0, 16, 4))
    save_objects(
        tmp_path,
        annotation(5, 1, 90, [box(1, 1, 4, 4)], 9),
        annotation(7, 1, 3, [box(10, 6, 14, 10)], 16),
        annotation(6, 1, 2, [box(12, 8, 16, 12)], 16),
        annotation(1, 1, 1, [box(0, 0, 8, 6), box(8, 0, 9, 1)], 49),
        annotation(9, 1, 1, {"counts": runs(crowd), "size": list(crowd.shape)}, 1, crowd=1),
    )
    expected = drawn((IGNORED, 0, 0, 16, 4), (1, 0, 0, 8, 6), (1, 8, 0, 9, 1), (80, 1, 1, 4, 4), (2, 12, 8, 16, 12),
                     (3, 10, 6, 14, 10))  # fmt: skip
    assert (mask_of(only_row("auto", tmp_path)) == expected).all()
    painted = mask_of(only_row("coco-instances", tmp_path, crowd="paint"))
    assert (painted == np.where(expected == IGNORED, 1, expected)).all()


def test_run_lengths_as_a_list_and_as_text_are_the_same(tmp_path):
    pixels = drawn((1, 3, 2, 9, 11), (0, 5, 4, 6, 5), size=(40, 50))
    text = coco_mask.encode(np.asfortranarray(pixels))["counts"].decode()
    rows = []
    for place, counts in enumerate((runs(pixels), text)):
        shape = {"counts": counts, "size": [40, 50]}
        folder = save_objects(tmp_path / str(place), annotation(1, 1, 18, shape, 53), size=(40, 50))
        rows.append(only_row("coco-instances", folder))
    assert (mask_of(rows[0]) == 17 * pixels).all()
    assert rows[0] == rows[1]
    outline = {"class": 17, "polygons": None, "counts": text, "size": [40, 50], "iscrowd": False}
    assert rows[0]["instances"] == [outline]


corners = st.lists(st.tuples(st.floats(-3, 33), st.floats(-3, 27)), min_size=3, max_size=6)
objects = st.lists(
    st.tuples(st.sampled_from(COCO.original_ids[1:]), st.lists(corners, min_size=1, max_size=3), st.integers(1, 5),
              st.booleans()), max_size=6,
)  # fmt: skip


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(objects)
def test_masks_are_those_of_cocos_own_tools(tmp_path, found):
    """Each pixel has the class of the smallest object that `pycocotools` sees there, of those the one of highest id."""
    size = (24, 30)
    shapes = [[np.ravel(points).tolist() for points in polygons] for _, polygons, _, _ in found]
    save_objects(
        tmp_path,
        *(annotation(number, 1, category, shape, area, int(crowd))
          for number, (shape, (category, _, area, crowd)) in enumerate(zip(shapes, found, strict=True))), size=size,
    )  # fmt: skip
    pixels = [coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(shape, *size))) for shape in shapes]
    expected = np.zeros(size, np.uint8)
    for y, x in np.ndindex(size):
        here = [number for number, mask in enumerate(pixels) if mask[y, x]]
        ranked = [(-found[number][2], number) for number in here if not found[number][3]]
        if ranked:
            expected[y, x] = COCO.original_ids.index(found[max(ranked)[1]][0])
        elif here:
            expected[y, x] = IGNORED
    row = only_row("coco-instances", tmp_path)
    assert (mask_of(row) == expected).all()
    assert [one["polygons"] for one in row["instances"]] == shapes


def test_instances_are_what_tfdp_reads(tmp_path):
    """Covered objects count in full, a crowd not at all: the same numbers as from masks that show each by itself."""
    crowd = {"counts": runs(drawn((1, 0, 0, 2, 2))), "size": [trees.HEIGHT, trees.WIDTH]}
    covered, small = [2.5, 2.5, 13.5, 2.5, 13.5, 10.5, 2.5, 10.5], drawn((1, 4, 4, 8, 8))
    save_objects(
        tmp_path / "raw",
        annotation(1, 1, 1, [covered], 88),
        annotation(2, 1, 1, {"counts": runs(small), "size": list(small.shape)}, 16),
        annotation(3, 1, 1, crowd, 4, crowd=1),
    )
    import_source("auto", tmp_path / "raw", tmp_path / "out")
    score = TFDP(instances="column", class_norm="none")
    scored = add_scores(load_dataset(str(tmp_path / "out"), split="train"), score)
    assert scored["num_instances"][:] == [2]
    (tmp_path / "apart").mkdir()
    for place, mask in enumerate((drawn((1, 2, 2, 14, 11)), small)):
        folder = tmp_path / "apart"
        save_pair(folder, str(place), mask.ravel()[:64], "images", "masks")
        Image.fromarray(mask).save(folder / "masks" / f"{place}.png")
        save_image(folder / "images" / f"{place}.jpg")
    import_source("folder", tmp_path / "apart", tmp_path / "singles", labels="coco")
    singles = add_scores(load_dataset(str(tmp_path / "singles"), split="train"), TFDP(class_norm="none"))
    assert scored["si_scs"][0] == pytest.approx(sum(singles["si_scs"]))


def test_annotations_of_no_image_are_counted(tmp_path):
    """A text instead of a number names nothing, and the mask would be empty without a word."""
    save_objects(tmp_path, annotation(1, "1", 1, [box(0, 0, 2, 2)], 4), annotation(2, 1, 2, [box(4, 4, 6, 6)], 4))
    reader = make_reader("coco-instances", tmp_path)
    assert [row["classes"] for row in reader.rows()] == [[2]]
    assert reader.counts == {"image id of annotations that no image has": 1}


def test_outlines_that_enclose_nothing_are_counted(tmp_path):
    """Four numbers are no box here, though `pycocotools` would take them for one."""
    save_objects(
        tmp_path,
        annotation(1, 1, 1, [[1, 1, 5, 5]], 16),
        annotation(2, 1, 2, [], 0),
        annotation(3, 1, 3, [box(0, 0, 2, 2), [3, 3]], 4),
        annotation(4, 1, 4, None, 4),
    )
    reader = make_reader("coco-instances", tmp_path)
    (row,) = reader.rows()
    assert (row["classes"], len(row["instances"])) == ([3], 1)
    assert reader.counts == {"outline of fewer than three corners": 4}


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([[0, 0, 1, 1, 2]], "a polygon is x, y, x, y, ... in pixels below 100000, not [0, 0, 1, 1, 2]"),
        ([[0, 0, 1e9, 0, 1e9, 1e9]], "a polygon is x, y, x, y, ... in pixels below 100000"),
        ([[0, 0, float("nan"), 0, 1, 1]], "a polygon is x, y, x, y, ... in pixels below 100000"),
        ([["a"] * 6], "a polygon is x, y, x, y, ... in pixels below 100000, not ['a', 'a', 'a', 'a', 'a', 'a']"),
        ([[0, 0, 4, None, 4, 4]], "a polygon is x, y, x, y, ... in pixels below 100000"),
        ([[[0, 0], [4, 0], [4, 4]]], "a polygon is one list x, y, x, y, ..., not pairs such as [0, 0]"),
        ([[0, 0], [4, 0], [4, 4]], "a polygon is one list x, y, x, y, ..., not pairs such as [0, 0]"),
        ([0, 0, 4, 0, 4, 4], "a segmentation is a list of polygons [[x, y, x, y, ...], ...] or run lengths"),
        ("[[0, 0, 4, 0, 4, 4]]", "a segmentation is a list of polygons [[x, y, x, y, ...], ...] or run lengths"),
        ([{"counts": [192], "size": [12, 16]}], "a segmentation is a list of polygons [[x, y, x, y, ...], ...] or"),
        ([{"x": [0, 4, 4], "y": [0, 0, 4]}], "a segmentation is a list of polygons [[x, y, x, y, ...], ...] or"),
        ({}, 'run lengths are {"size": [height, width], "counts": ...}, not {}'),
        ({"counts": [0, 9], "size": [12, 16]}, "run lengths of 9 pixels in a picture of 16x12"),
        ({"counts": "0:", "size": [12, 16]}, "run lengths of 10 pixels in a picture of 16x12"),
        ({"counts": "o" * 40, "size": [12, 16]}, "run lengths of 0 pixels in a picture of 16x12"),
        ({"counts": "0:" + "o" * 20 + "0", "size": [12, 16]}, "Python int"),
        ({"counts": [192], "size": [16, 12]}, "run lengths for [16, 12] in a picture of [12, 16], [height, width]"),
    ],
)
def test_shapes_that_cannot_be_are_named(tmp_path, shape, message):
    save_objects(tmp_path, annotation(4, 1, 1, shape, 9))
    with pytest.raises(ValueError, match=re.escape(f"instances_val2017.json: annotation 4: {message}")):
        only_row("coco-instances", tmp_path)


def test_annotations_that_lack_something_are_named(tmp_path):
    lacking = annotation(4, 1, 1, [box(0, 0, 2, 2)], 4)
    del lacking["segmentation"]
    save_objects(tmp_path, lacking)
    message = r"annotations of 000000000001\.jpg are not as COCO has them: there is no 'segmentation'"
    with pytest.raises(ValueError, match=message):
        only_row("coco-instances", tmp_path)
    save_instances(tmp_path, "val2017", [image_entry(1, 99, 98)], [])
    with pytest.raises(ValueError, match=r"000000000001\.jpg: 16x12 pixels, but 98x99 in instances_val2017\.json"):
        only_row("coco-instances", tmp_path)


def test_without_pycocotools_the_extra_is_named(tmp_path, monkeypatch, capsys):
    save_objects(tmp_path / "raw")
    for name in ("pycocotools", "pycocotools.mask"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["import", "auto", str(tmp_path / "raw"), "--out", str(tmp_path / "out")]) == 2
    assert 'this needs pycocotools: pip install "sds-hf[coco]"' in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "out").exists()


# Ready-made masks


def test_stuff_becomes_indices(tmp_path):
    """Tools write each region as a crowd; things are one category that is no class, and there are no objects."""
    grass = np.zeros((trees.HEIGHT, trees.WIDTH), np.uint8)
    grass[6:] = 1
    listed = [{"id": 124, "name": "grass"}, {"id": 157, "name": "sky"}, {"id": 183, "name": "other"}]
    shape = {"counts": runs(grass), "size": [*grass.shape]}
    trees.save_json(
        tmp_path / "annotations" / "stuff_train2017.json",
        images=[image_entry(1)],
        annotations=[annotation(1, 1, 124, shape, 96, 1), annotation(2, 1, 183, [box(0, 0, 4, 4)], 16)],
        categories=listed,
    )
    save_image(tmp_path / "train2017" / "000000000001.jpg")
    (tmp_path / "names.txt").write_text("background\nsky\ngrass\n")
    reader = make_reader("auto", tmp_path, labels=str(tmp_path / "names.txt"))
    (row,) = reader.rows()
    assert (reader.name, row["classes"], "instances" in row) == ("coco-stuff", [2], False)
    assert (mask_of(row) == 2 * grass).all()
    assert reader.findings.passed_over == {"other": 1}
    with pytest.raises(ValueError, match=r"its category 'grass' is no class of the label space 'coco'; give labels="):
        only_row("coco-stuff", tmp_path)
    assert (
        mask_of(only_row("coco-stuff", tmp_path, labels=str(tmp_path / "names.txt"), crowd="ignore")) == 255 * grass
    ).all()
    trees.instances(tmp_path / "both")
    trees.save_json(tmp_path / "both" / "raw" / "annotations" / "stuff_train2017.json")
    assert [reader.name for reader in READERS.values() if reader.recognises(tmp_path / "both" / "raw")] == [
        "coco-instances"
    ]


def test_stuffthingmaps_become_indices(tmp_path):
    options = trees.stuffthingmaps(tmp_path)
    reader = make_reader("auto", tmp_path / "raw", **options)
    (row,) = reader.rows()
    assert (reader.name, reader.ids, reader.counts) == ("coco-masks", "stuffthingmaps", {"image without a mask": 1})
    assert mask_of(row).flat[:6].tolist() == [1, 73, 0, 0, IGNORED, 1]
    save_pair(tmp_path / "raw", "000000000139", [11], "val2017", "stuffthingmaps/val2017")
    with pytest.raises(ValueError, match=r"139\.png: \[11\] are no values of stuffthingmaps \(things 0 to 89, stuff"):
        only_row("auto", tmp_path / "raw", **options)


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        ([[1], [2, 255], [12]], "contiguous"),
        ([[1], [2, 255], [81]], "original"),
        ([[1], [0, 5], [128]], "stuffthingmaps"),
    ],
)
def test_ids_are_found_in_all_files_together(tmp_path, values, ids):
    for number, held in enumerate(values):
        save_pair(tmp_path, f"{number:012d}", held, "JPEGImages", "SegmentationClass", palette=True)
    reader = make_reader("coco-masks", tmp_path)
    assert (reader.name, reader.ids) == ("coco-masks", ids)
    first = next(iter(reader.rows()))
    assert first["classes"] == ([1] if ids != "stuffthingmaps" else [1, 2])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, 5, 80, 255], "could hold contiguous (1-80) or original (1-90) COCO ids; say which: ids='contiguous' or"),
        ([12, 82], "holds 12, which is no original COCO category id, and 82, which is no contiguous one"),
        ([92, 183], "holds 183, as COCO's stuff_*_pixelmaps do: these have no classes of things"),
    ],
)
def test_ids_that_cannot_be_told_are_an_error(tmp_path, values, message):
    save_pair(tmp_path, "000000000009", values, "images", "masks")
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        list(make_reader("coco-masks", tmp_path).rows())
    assert "\n" not in str(raised.value)
    if values[0] == 1:
        assert only_row("coco-masks", tmp_path, ids="original")["classes"] == [1, 5, 71]
        assert only_row("coco-masks", tmp_path, ids="contiguous")["classes"] == [1, 5, 80]


def test_pixelmaps_are_refused(tmp_path):
    save_pair(tmp_path, "000000000009", [92, 183], "train2017", "stuff_train2017_pixelmaps")
    with pytest.raises(ValueError, match=r"give masks=\.\.\. \(stuff_\*_pixelmaps have no classes of things"):
        make_reader("coco-masks", tmp_path)
    with pytest.raises(ValueError, match=r"holds 183, as COCO's stuff_\*_pixelmaps do"):
        only_row("coco-masks", tmp_path, masks="stuff_train2017_pixelmaps")


@given(st.lists(st.sampled_from([*range(81), IGNORED]), min_size=1), st.booleans())
def test_every_encoding_is_read_back(indices, with_stuff):
    mask = np.array([indices], np.uint8)
    original = np.array([*COCO.original_ids, *[0] * 174, IGNORED])[mask].astype(np.uint8)
    stuff = np.where(mask == 0, 181 if with_stuff else IGNORED, original - 1 + (mask == IGNORED)).astype(np.uint8)
    assert to_indices(mask, "contiguous", COCO, "a.png") is mask
    assert (to_indices(original, "original", COCO, "a.png") == mask).all()
    expected = mask if with_stuff else np.where(mask == 0, IGNORED, mask)
    assert (to_indices(stuff, "stuffthingmaps", COCO, "a.png") == expected).all()


def test_broken_masks_do_not_hide_the_encoding(tmp_path):
    for name, values in (("000000000009", [1, 82]), ("000000000025", [])):
        save_pair(tmp_path, name, values, "images", "masks")
    (tmp_path / "masks" / "000000000025.png").write_bytes(b"broken")
    reader = make_reader("coco-masks", tmp_path, on_error="skip")
    assert [row["classes"] for row in reader.rows()] == [[1, 73]]
    assert (reader.ids, reader.counts) == ("original", {"broken": 1})
    with pytest.raises(ValueError, match=r"000000000025\.png: 6 bytes that are no image"):
        list(make_reader("coco-masks", tmp_path).rows())
    with pytest.raises(ValueError, match="reads COCO's classes, not those of 'voc'; try folder"):
        make_reader("coco-masks", tmp_path, labels="voc")


# SDS


def test_sds_lists_say_which_rows_and_the_name_says_the_group(tmp_path):
    trees.sds(tmp_path)
    raw = tmp_path / "raw"
    reader = make_reader("auto", raw, labels="voc")
    assert [row["group"] for row in reader.rows()] == ["2007_000032", "2007_000032", "2007_000039"]
    assert (reader.name, reader.counts) == ("sds", {})
    (tmp_path / "voc" / "train.txt").write_text("2007_000032_0 0\n\n2007_000039_0\n")
    reader = make_reader("sds", raw, labels="voc", split="train")
    rows = list(reader.rows())
    assert [row["id"] for row in rows] == ["2007_000032_0", "2007_000039_0"]
    assert reader.counts == {"mask shows a class that the list does not name": 1}
    assert mask_of(rows[0]).flat[:3].tolist() == [1, 15, 0]
    given_by_path = make_reader("sds", raw, labels="voc", split=tmp_path / "voc" / "train.txt")
    assert [row["id"] for row in given_by_path.rows()] == [row["id"] for row in rows]
    with pytest.raises(ValueError, match=r"no list 'val': there is none of val, .*voc/val\.txt"):
        make_reader("sds", raw, labels="voc", split="val")
    (tmp_path / "voc" / "train.txt").write_text("2007_000032_0 0 20 -1\n")
    with pytest.raises(ValueError, match=r"train\.txt, line 1: \['20', '-1'\] are no classes of 'voc'; lists have 0"):
        make_reader("sds", raw, labels="voc", split="train")


def test_sds_takes_labels_from_the_folder_and_ids_from_the_list(tmp_path):
    folder = tmp_path / "gen_coco"
    save_pair(folder, "COCO_train2014_000000000009_3", [52])  # category id of banana, index of apple's neighbour
    with pytest.raises(ValueError, match="ids='contiguous' or ids='original'"):
        make_reader("auto", folder)
    (folder / "train.txt").write_text("COCO_train2014_000000000009_3 46\n")
    row = only_row("auto", folder, split="train")
    assert (row["classes"], row["group"]) == ([COCO.names.index("banana")], "COCO_train2014_000000000009")
    with pytest.raises(ValueError, match="give labels='voc' or labels='coco'"):
        make_reader("auto", folder.rename(tmp_path / "generated"))


def test_activation_maps_with_pickles_are_refused(tmp_path):
    save_pair(tmp_path / "gen_voc", "2007_000032_0", [], mask=False)
    cams = tmp_path / "gen_voc" / "cam"
    cams.mkdir()

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "opened"),)

    np.save(cams / "2007_000032_0.npy", {"keys": Trap()}, allow_pickle=True)
    assert b"mkdir" in pickle.dumps(Trap())
    with pytest.raises(ValueError, match=r"2007_000032_0\.npy: .*pickled objects can run code and are not loaded"):
        only_row("sds", tmp_path / "gen_voc", masks="cam")
    assert not (tmp_path / "opened").exists()


# All of them


def voc_with_instances(folder):
    """VOC with the annotations in COCO's form that some tools add."""
    save_pair(folder / "raw", "2007_000032", [1], "JPEGImages", "SegmentationClass")
    (folder / "raw" / "ImageSets" / "Segmentation").mkdir(parents=True)
    trees.save_json(folder / "raw" / "Annotations" / "instances_train.json", images=[], annotations=[])


def both_kinds(folder):
    trees.instances(folder)
    trees.panoptic(folder)
    trees.stuffthingmaps(folder)


def pairs(*names, images="image", masks="mask", inside="raw"):
    """A maker of a folder of pairs."""

    def make(folder):
        for name in names:
            save_pair(folder / inside, name, [1], images, masks)

    return make


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (trees.stuffthingmaps, "coco-masks"),
        (both_kinds, "coco-panoptic"),
        (voc_with_instances, "pascal-voc"),
        (pairs("COCO_val2014_000000000042", images="JPEGImages", masks="SegmentationClass"), "coco-masks"),
        (pairs("000000000042", images="images/val2017", masks="masks/val2017"), "coco-masks"),
        (pairs("000000000042", images="images", masks="masks"), "folder"),
        (pairs("2007_000032", images="JPEGImages", masks="SegmentationClass"), "folder"),
        (pairs("2007_000032_0"), "sds"),
        (pairs("COCO_train2014_000000000009_1"), "sds"),
        (pairs("2007_000032", "0"), "folder"),
    ],
)
def test_layouts_that_are_much_alike_are_told_apart(make, name, tmp_path):
    make(tmp_path)
    assert [reader.name for reader in READERS.values() if reader.recognises(tmp_path / "raw")] == [name]


def test_folders_of_sds_are_known_by_their_names(tmp_path):
    pairs("0", inside="gen_voc")(tmp_path)
    reader = make_reader("auto", tmp_path / "gen_voc")
    assert (reader.name, reader.labels) == ("sds", VOC)


@pytest.mark.parametrize("name", trees.LAYOUTS)
def test_import_writes_what_load_dataset_reads(name, tmp_path, capsys):
    """Through the command, with nothing else on its output; then loaded, streamed, and opened as it is."""
    options = trees.LAYOUTS[name](tmp_path)
    given_options = [part for option, value in options.items() for part in (f"--{option}", value)]
    out = str(tmp_path / "out")
    assert main(["import", name, str(tmp_path / "raw"), "--out", out, "--json", *given_options]) == 0
    said = json.loads(capsys.readouterr().out)
    ids, classes, skipped = trees.FOUND[name]
    assert (said["counts"]["rows"], said["result"]["reader"]) == (len(ids), name)
    assert [f"{count} {reason}" for reason, count in said["result"]["skipped"].items()] == [skipped]
    loaded = load_dataset(out, split="train")
    assert (loaded["id"][:], loaded["classes"][:]) == (ids, classes)
    streamed = list(load_dataset(out, split="train", streaming=True))
    for stored, row, source in zip(
        streamed, loaded, make_reader(name, tmp_path / "raw", **options).rows(), strict=True
    ):
        assert (np.asarray(row["mask"]) == mask_of(source)).all()
        assert stored["mask"].mode == "L"
        assert stored["id"] == row["id"]
    assert loaded.features["classes"].feature.names == list((VOC if name == "sds" else COCO).names)


def test_a_raw_folder_is_opened_as_it_is(tmp_path):
    trees.instances(tmp_path)
    dataset = open_dataset(tmp_path / "raw", split="train")
    assert dataset["classes"][:] == trees.FOUND["coco-instances"][1]
    assert [len(cell) for cell in dataset["instances"]] == [2, 0, 1]
