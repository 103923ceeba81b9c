"""DiffuMask, VOC objects, SBD, Cityscapes, Open Images and folders with a table, on small trees in these layouts."""

import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support import raw_trees
from support.layouts import LAYOUTS
from support.paths import SHARED
from support.raw_trees import BOXES, BOXES_HEADER, CITY, pixels, save, save_picture

from sds_hf import ASF, Recipe, Threshold, add_scores, publish, select
from sds_hf.cli import main
from sds_hf.data.images import decode_mask, encode_mask
from sds_hf.data.labels import CITYSCAPES, VOC
from sds_hf.data.opening import folder_state, open_dataset
from sds_hf.data.sources import READERS, make_reader
from sds_hf.pipeline import import_source
from sds_hf.scores.base.rows import read_rows
from sds_hf.scores.classes_present import ClassesPresent
from sds_hf.scores.clip_sim import ClipSim
from sds_hf.scores.diversity import Diversity
from sds_hf.scores.tfdp import TFDP

VOID, ROAD, PERSON, CAR, BICYCLE = 255, *raw_trees.NAMES.values()


def rows_of(reader):
    return {row["id"]: row for row in reader.rows()}


def mask_of(row, column="mask", count=8):
    """The first pixels of a mask of a row."""
    return decode_mask(row[column]["bytes"], highest=65535).ravel()[:count].tolist()


def first_row(name, path, **options):
    return next(make_reader(name, path, **options).rows())


# Which layout it is


@pytest.mark.parametrize("name", sorted({*LAYOUTS} - {"dataset-diffusion", "folder"}))  # whose trees have other names
def test_each_layout_is_recognised_by_its_reader_only(name, tmp_path):
    LAYOUTS[name](tmp_path)
    assert [reader.name for reader in READERS.values() if reader.recognises(tmp_path / "raw")] == [name]


@pytest.mark.parametrize("masks", ["masks", "SegmentationClass"])
def test_only_what_no_other_reader_knows_is_a_plain_folder(tmp_path, masks):
    save_picture(tmp_path / "images" / "a.jpg")
    save(tmp_path / masks / "a.png", pixels(3))
    assert "folder" in [reader.name for reader in READERS.values() if reader.recognises(tmp_path)]
    raw_trees.spliced(tmp_path)
    assert make_reader("auto", tmp_path / "raw").name == "diffumask"
    for name in ("Image", "Mask"):
        (tmp_path / "raw" / name).rename(tmp_path / name)
    assert [reader.name for reader in READERS.values() if reader.recognises(tmp_path)].count("folder") == 0


def test_a_folder_of_two_layouts_is_asked_about(tmp_path):
    raw_trees.spliced(tmp_path)
    raw_trees.cityscapes(tmp_path)
    with pytest.raises(ValueError, match="could be of several layouts: give cityscapes or diffumask in place of auto"):
        make_reader("auto", tmp_path / "raw")


# DiffuMask


class Pickled:
    """An object that leaves a file where it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_diffumask_reads_what_the_crf_left(tmp_path):
    raw_trees.diffumask(tmp_path)
    attention = next((tmp_path / "raw").rglob("npy/*.npy"))
    attention.write_bytes(pickle.dumps(Pickled(tmp_path / "ran")))
    reader = make_reader("auto", tmp_path / "raw")
    rows = list(reader.rows())
    assert [(row["class_prompt"], row["classes"]) for row in rows] == [("bird", [3]), ("dog", [12])]
    assert mask_of(rows[1], count=4) == [12, 12, 0, 0]
    assert (reader.counts, reader.labels) == ({"image without a mask": 1}, VOC)
    assert not (tmp_path / "ran").exists()
    folder = attention.parents[1]
    assert list(rows_of(make_reader("diffumask", folder, masks="refine_gt"))) == [
        "image_dog_200000",
        "image_dog_200001",
    ]
    with pytest.raises(
        ValueError, match=r"has no other/; it has \['npy', 'refine_gt', 'refine_gt_crf', 'train_image'\]"
    ):
        list(make_reader("diffumask", folder, masks="other").rows())


def test_diffumask_names_a_class_that_the_mask_lacks(tmp_path):
    raw_trees.diffumask(tmp_path)
    save(next((tmp_path / "raw").rglob("refine_gt_crf/*.png")), pixels(12, 15))
    reader = make_reader("diffumask", tmp_path / "raw")
    assert len(list(reader.rows())) == 2
    assert reader.counts["mask shows a class its name does not"] == 1


def test_diffumask_of_cityscapes_has_no_background(tmp_path):
    folder = tmp_path / "Cityscapes_Multi_Attention_car_sub_9_NoClipretrieval"
    save_picture(folder / "train_image" / "image_car_200000.jpg")
    save(folder / "refine_gt_crf" / "image_car_200000.png", pixels(CAR))
    for path in (folder, tmp_path):
        row = first_row("auto", path)
        assert (mask_of(row, count=3), row["classes"], row["class_prompt"]) == ([CAR, VOID, VOID], [CAR], "car")


@pytest.mark.parametrize(("images", "masks"), [("Image", "Mask"), ("train_image_2", "ground_truth_2")])
def test_masks_of_three_equal_channels_are_indices(tmp_path, images, masks):
    raw_trees.spliced(tmp_path)
    for old, new in (("Image", images), ("Mask", masks)):
        (tmp_path / "raw" / old).rename(tmp_path / "raw" / new)
    rows = rows_of(make_reader("auto", tmp_path / "raw"))
    assert {name: row["classes"] for name, row in rows.items()} == {"splicing_3000": [3, 12], "splicing_15001": [12]}
    colored = np.repeat(pixels(3)[..., None], 3, -1)
    colored[0, 1] = 0, 0, 128
    save(tmp_path / "raw" / masks / "splicing_3000.png", colored)
    with pytest.raises(ValueError, match=r"splicing_3000\.png: holds colours, e\.g\. \(0, 0, 128\) at row 0, column 1"):
        list(make_reader("diffumask", tmp_path / "raw").rows())


# PASCAL VOC and SBD


def test_objects_of_pascal_voc(tmp_path):
    save_picture(tmp_path / "JPEGImages" / "2007_000032.jpg")
    for name, values in (("SegmentationClass", (15, 15, 255, 9)), ("SegmentationObject", (1, 2, 255, 3))):
        save(tmp_path / name / "2007_000032.png", pixels(*values))
    (tmp_path / "ImageSets" / "Segmentation").mkdir(parents=True)
    names = tmp_path / "ImageSets" / "Segmentation" / "train.txt"
    names.write_text("/JPEGImages/2007_000032.jpg /SegmentationClassAug/2007_000032.png\n\n2007_000033\n")
    reader = make_reader("auto", tmp_path, split="train", instances=True)
    (row,) = reader.rows()
    assert (row["id"], mask_of(row, "instances", 4), reader.counts) == (
        "2007_000032",
        [1, 2, 255, 3],
        {"listed without an image": 1},
    )
    import_source("pascal-voc", tmp_path, tmp_path / "out", split="train", instances=True)
    data = load_dataset(str(tmp_path / "out"), split="train")
    assert add_scores(data, TFDP(instances="column", class_norm="none"))["num_instances"] == [3]


def test_sbd(tmp_path):
    options = raw_trees.sbd(tmp_path)
    row = first_row("auto", tmp_path / "raw", **options)
    assert (row["id"], mask_of(row, count=3), mask_of(row, "instances", 3)) == ("2008_000003", [15, 19, 0], [1, 2, 0])
    assert list(rows_of(make_reader("sbd", tmp_path / "raw"))) == ["2008_000002", "2008_000003"]
    with pytest.raises(ValueError, match=r"no split 'test' in .*; there are \['train', 'val'\]"):
        make_reader("sbd", tmp_path / "raw", split="test")


@pytest.mark.parametrize("broken", ["junk", "truncated", "other struct", "colours", "HDF5"])
def test_a_broken_matlab_file_is_named(tmp_path, broken):
    raw_trees.sbd(tmp_path)
    path = next((tmp_path / "raw").rglob("cls/2008_000002.mat"))
    whole = path.read_bytes()
    if broken == "other struct":
        raw_trees.save_mat(path, "GTinst", pixels(1))
    elif broken == "colours":
        raw_trees.save_mat(path, "GTcls", np.zeros((2, 3, 3), np.uint8))
    else:
        header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\0" * 99
        path.write_bytes({"junk": b"no MATLAB", "truncated": whole[:-9], "HDF5": header}[broken])
    with pytest.raises(ValueError, match=r"2008_000002\.mat: .*GTcls\.Segmentation") as raised:
        list(make_reader("sbd", tmp_path / "raw", split="val").rows())
    assert "\n" not in str(raised.value)


# Cityscapes

TRAIN_ID = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14,
            28: 15, 31: 16, 32: 17, 33: 18}  # fmt: skip


def test_cityscapes_ids_become_train_ids_plus_one(tmp_path):
    raw_trees.cityscapes(tmp_path)
    folder = tmp_path / "raw" / "gtFine" / "train" / "aachen"
    label_ids = folder / f"{CITY}_gtFine_labelIds.png"
    save(label_ids, pixels(*range(34), 255))
    wanted = [TRAIN_ID[value] + 1 if value in TRAIN_ID else VOID for value in range(34)] + [VOID, VOID]
    reader = make_reader("auto", tmp_path / "raw")
    row = next(reader.rows())
    assert (row["id"], reader.labels, mask_of(row, count=36)) == (CITY, CITYSCAPES, wanted)
    assert row["classes"] == list(range(1, 20))
    assert "instances" not in row
    label_ids.unlink()
    save(folder / f"{CITY}_gtFine_labelTrainIds.png", pixels(*range(19), 255))
    assert mask_of(first_row("cityscapes", tmp_path / "raw"), count=20) == [*range(1, 20), VOID]
    for kind, value, said in (("labelTrainIds", 19, "20"), ("labelIds", 34, "34")):
        save(folder / f"{CITY}_gtFine_{kind}.png", pixels(value))
        with pytest.raises(ValueError, match=rf"{kind}\.png: \[{said}\]"):
            list(make_reader("cityscapes", tmp_path / "raw").rows())


def save_flat_city(root, names: str):
    """What Datumaro writes: no folders of cities, and label ids that are places in `label_colors.txt`."""
    save_picture(root / "leftImg8bit" / "train" / "a_leftImg8bit.png")
    save(root / "gtFine" / "train" / "a_gtFine_labelIds.png", pixels(0, 7, 8, 11))
    (root / "label_colors.txt").write_text(names)


def test_other_classes_in_the_layout_of_cityscapes(tmp_path):
    save_flat_city(tmp_path, " background\n" + "".join(f" c{number}\n" for number in range(1, 12)))
    reader = make_reader("auto", tmp_path)
    (row,) = reader.rows()
    assert [reader.labels.names[index] for index in row["classes"]] == ["c7", "c8", "c11"]
    assert mask_of(row, count=4) == [0, 7, 8, 11]


def test_classes_of_cityscapes_in_their_own_order_are_its_own(tmp_path):
    others = [*"abcdefg", "road", "sidewalk", *"ij", "building", "wall", "fence", *"klm", "pole", "n", "trafficlight",
              "trafficsign", "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", *"op", "train",
              "motorcycle", "bicycle"]  # fmt: skip
    save_flat_city(tmp_path, "".join(f"{number} 0 0 {name}\n" for number, name in enumerate(others)))
    reader = make_reader("auto", tmp_path)
    (row,) = reader.rows()
    assert (reader.labels, [CITYSCAPES.names[index] for index in row["classes"]]) == (
        CITYSCAPES,
        ["road", "sidewalk", "building"],
    )
    save_flat_city(tmp_path, "".join(f" {name}\n" for name in others))  # one place further, so that 7 is `g`
    with pytest.raises(ValueError, match=r"label_colors\.txt names no background and no colour is black, so that 0 is"):
        make_reader("auto", tmp_path)
    names = tmp_path / "names.txt"
    names.write_text("\n".join(["background", *others]))
    reader = make_reader("auto", tmp_path, labels=str(names))
    assert [reader.labels.names[index] for row in reader.rows() for index in row["classes"]] == ["g", "road", "j"]


def test_objects_splits_and_coarse_annotations_of_cityscapes(tmp_path):
    options = raw_trees.cityscapes(tmp_path)
    row = first_row("cityscapes", tmp_path / "raw", **options)
    assert mask_of(row, count=7) == [ROAD, PERSON, CAR, CAR, BICYCLE, VOID, VOID]
    assert mask_of(row, "instances", 7) == [0, 0, 26000, 26001, 33000, 0, 29000]
    coarse = make_reader("cityscapes", tmp_path / "raw", split="train_extra")
    assert [row["id"] for row in coarse.rows()] == ["bayreuth_000000_000001"]
    with pytest.raises(ValueError, match=r"no split 'val' in .*leftImg8bit; there are \['train', 'train_extra'\]"):
        make_reader("cityscapes", tmp_path / "raw", split="val")
    next((tmp_path / "raw").rglob("*instanceIds.png")).unlink()
    reader = make_reader("cityscapes", tmp_path / "raw", **options)
    with pytest.raises(ValueError, match="no row could be read: 1 image without instances, 1 image without a mask"):
        list(reader.rows())


def test_scores_of_cityscapes_know_no_background(tmp_path, tiny_clip):
    mask = np.full((48, 64), VOID, np.uint8)
    mask[:20], mask[20:40, :30] = ROAD, CAR
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    rows = read_rows({"image": [picture], "mask": [mask]}, {"image", "mask"}, CITYSCAPES)
    assert ClassesPresent().compute(rows)["classes_present"] == [[ROAD, CAR]]
    score = ASF(model=str(tiny_clip), dtype="fp32")
    ((_, reference),) = score.references(rows, score.reference)
    assert set(reference.unique().tolist()) <= {ROAD, CAR, VOID}
    assert 0 <= score.compute(rows)["asf_miou"][0] <= 1
    errors = read_rows({"mask": [np.zeros((4, 4), np.uint8)]}, {"mask"}, CITYSCAPES).errors
    assert errors == {0: "mask: [0] stand for no class of the label space 'cityscapes' (1 to 19, 255 is ignored)"}


# Open Images


def test_boxes_of_open_images(tmp_path):
    raw_trees.open_images(tmp_path)
    reader = make_reader("auto", tmp_path / "raw", classes="street-scenes")
    (row,) = reader.rows()
    names = [reader.labels.names[box["class"]] for box in row["boxes"]]
    assert names == ["car", "person", "bicycle", "person"]
    assert row["boxes"][0] == {
        "class": reader.labels.names.index("car"), "xmin": 0.25, "ymin": 0.125, "xmax": 0.5, "ymax": 0.75,
        "confidence": 1.0, "is_occluded": False, "is_truncated": True, "is_group_of": False, "is_depiction": False,
        "is_inside": None,
    }  # fmt: skip
    assert [reader.labels.names[class_id] for class_id in row["classes"]] == ["car", "person"]  # no bicycle: a drawing
    assert reader.counts == {"image without a box of the classes": 1, "boxes without an image": 1}
    assert "mask" not in row
    (apart,) = make_reader("open-images", tmp_path / "raw", classes="street-scenes-14").rows()
    assert len({box["class"] for box in apart["boxes"]}) == 4
    everything = make_reader("open-images", tmp_path / "raw")
    assert everything.labels.names == ("Toy", "Bicycle", "Person", "Woman", "Car")
    assert len(list(everything.rows())) == 2


def test_scores_of_boxes(tmp_path, tiny_clip, capsys):
    options = raw_trees.open_images(tmp_path)
    arguments = [text for key, value in options.items() for text in (f"--{key}", value)]
    out = str(tmp_path / "out")
    assert main(["import", "open-images", str(tmp_path / "raw"), "--out", out, *arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"]["skipped"] == {"boxes without an image": 1}
    data = load_dataset(out, split="train")
    scored = add_scores(data, Diversity(objects="boxes"), ClassesPresent(), ClipSim(model=str(tiny_clip), dtype="fp32"))
    assert (scored["num_objects"], scored["classes_present"]) == ([3, 1], [[0, 1, 2], [3]])
    assert all(0 <= value <= 1 for value in scored["clip_sim"])
    with pytest.raises(ValueError, match=r"\['mask'\] missing among") as raised:
        add_scores(data, ASF(model=str(tiny_clip)))
    assert "\n" not in str(raised.value)


def test_more_classes_than_colours_can_be_published(tmp_path):
    raw_trees.open_images(tmp_path)
    with (tmp_path / "raw" / "class-descriptions-boxable.csv").open("a") as file:
        file.writelines(f"/m/more{number},Thing {number}\n" for number in range(300))
    import_source("open-images", tmp_path / "raw", tmp_path / "in")
    data = add_scores(load_dataset(str(tmp_path / "in"), split="train"), ClassesPresent())
    recipe = Recipe(name="boxes", rules=[Threshold(column="num_classes_present", above=1)])
    publish(data, select(data, recipe), recipe, folder=tmp_path / "out")
    assert load_dataset(str(tmp_path / "out"), split="train")["id"] == ["000002b66c9c498e"]


def test_a_recipe_tells_the_reader(tmp_path):
    options = raw_trees.cityscapes(tmp_path)
    recipe = Recipe.model_validate(
        {"name": "x", "rules": [], "source": {"path": "raw", "reader": "cityscapes", "on_error": "skip", **options}}
    )
    assert recipe.source.reader_options() == {"on_error": "skip", **options}


@pytest.mark.parametrize("place", ["images", "images/train", "train_0", "."])
def test_images_are_found_where_they_are_handed_out(tmp_path, place):
    raw_trees.open_images(tmp_path)
    folder = tmp_path / "raw" / place
    folder.mkdir(parents=True, exist_ok=True)
    for file in list((tmp_path / "raw" / "train").iterdir()):
        file.rename(folder / file.name)
    assert len(list(make_reader("open-images", tmp_path / "raw").rows())) == 2


def test_what_is_wrong_with_boxes_is_said(tmp_path):
    raw_trees.open_images(tmp_path)
    raw = tmp_path / "raw"
    table = next(raw.glob("*bbox.csv"))

    def said(lines=BOXES, header=BOXES_HEADER, **options):
        table.write_text("\n".join([header, *lines]))
        with pytest.raises(ValueError, match=r"csv|classes|boxes|folder") as raised:
            list(make_reader("open-images", raw, **options).rows())
        assert "\n" not in str(raised.value)
        return str(raised.value)

    assert "line 4: more boxes of 000002b66c9c498e, which came before; sort the file" in said(
        [BOXES[0], BOXES[4], BOXES[1]]
    )
    assert "line 3: 2 values in place of 13" in said([BOXES[0], BOXES[1][:20]])
    assert "it has no columns ['XMin']" in said(header=BOXES_HEADER.replace("XMin,", "Left,"))
    assert "image 000002b66c9c498e: {'xmin': 0.75" in said([BOXES[0].replace("0.25", "0.75")])
    assert "could not convert string to float: 'x'" in said([BOXES[0].replace("0.25", "x")])
    assert "classes: ['Lorry'] are no classes of" in said(classes="Car,Lorry")
    assert "give classes=..., not labels=..." in said(labels="voc")
    assert "it has ['train']" in said(images="pictures")
    assert "choose one with split=... or table=..." in said(split="validation")
    (raw / "class-descriptions-boxable.csv").unlink()
    assert "add it, or give classes=street-scenes or street-scenes-14" in said()
    table.write_bytes(f"{BOXES_HEADER}\n{BOXES[0]}".encode() + b"\xe9")
    with pytest.raises(ValueError, match=r"bbox\.csv, line \d: 'utf-8' codec"):
        list(make_reader("open-images", raw, classes="street-scenes").rows())


def test_ids_lead_to_no_file_outside_and_empty_lines_are_none(tmp_path):
    raw_trees.open_images(tmp_path)
    raw_trees.sbd(tmp_path / "sbd")
    raw, root = tmp_path / "raw", tmp_path / "sbd" / "raw" / "benchmark_RELEASE" / "dataset"
    save_picture(tmp_path / "secret.jpg")
    save_picture(root / "secret.jpg")
    outside = BOXES[5].replace("000002c707c9895e", "../../secret")
    next(raw.glob("*bbox.csv")).write_text("\n".join([BOXES_HEADER, BOXES[0], "", outside, ""]))
    assert list(rows_of(make_reader("open-images", raw))) == ["000002b66c9c498e"]
    (root / "secret.mat").write_bytes((root / "cls" / "2008_000002.mat").read_bytes())
    (root / "val.txt").write_text("../secret\n2008_000002\n")
    assert list(rows_of(make_reader("sbd", root, split="val"))) == ["2008_000002"]


# Any folder


@pytest.fixture
def pairs(tmp_path):
    """Two images with masks, one in an inner folder."""
    for name, value in (("a", 3), ("inner/b", 4)):
        save_picture(tmp_path / "images" / f"{name}.jpg")
        save(tmp_path / "masks" / f"{name}.png", pixels(value))
    return tmp_path


def rename(folder, end):
    for path in list(folder.rglob("*.png")):
        path.rename(path.with_name(f"{path.stem}{end}.png"))


def test_inner_folders_and_ends_of_names(pairs):
    def classes(**options):
        return {
            name: row["classes"] for name, row in rows_of(make_reader("folder", pairs, labels="voc", **options)).items()
        }

    assert classes() == {"a": [3], "inner/b": [4]}
    rename(pairs / "masks", "_mask")
    assert classes() == {"a": [3], "inner/b": [4]}
    rename(pairs / "masks", "-x")
    with pytest.raises(ValueError, match="no row could be read: 2 mask without an image, 2 listed without a mask"):
        classes()
    assert classes(mask_end="_mask-x") == {"a": [3], "inner/b": [4]}
    for path in (pairs / "masks" / "a_mask-x.png", pairs / "images" / "a.jpg"):
        path.rename(pairs / "images" / path.name.replace("-x", ""))
    (pairs / "images" / "c_mask.png").write_bytes((pairs / "images" / "a.jpg").read_bytes())
    (pairs / "images" / "inner" / "b.jpg").unlink()
    assert classes(masks="images", mask_end="_mask") == {"a": [3]}


def test_one_folder_inside_the_other(pairs):
    for path in list((pairs / "images").iterdir()):
        path.rename(pairs / path.name)
    found = rows_of(make_reader("folder", pairs, labels="voc", images="."))
    assert {name: row["classes"] for name, row in found.items()} == {"a": [3], "inner/b": [4]}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_columns_of_a_table_by_other_names(pairs, kind):
    rows = [{"img": "images/inner/b.jpg", "seg": "inner/b.png", "blip": "a boat", "what": ["boat", "sea"]},
            {"img": "/elsewhere/a.jpg", "seg": "../../a.png", "blip": "", "what": []}]  # fmt: skip
    table = pairs / "images" / f"metadata.{kind}"
    if kind == "csv":
        flat = [{**row, "what": '"' + ", ".join(row["what"]) + '"'} for row in rows]
        table.write_text("\n".join([",".join(flat[0]), *(",".join(row.values()) for row in flat)]))
    elif kind == "jsonl":
        table.write_text("\n".join(map(json.dumps, rows)))
    else:
        pq.write_table(pa.Table.from_pylist(rows), table)
    columns = "file_name=img, mask_file_name=seg,caption=blip,class_prompt=what"
    found = rows_of(make_reader("auto", pairs, labels="voc", columns=columns))
    assert {name: (row["caption"], row["class_prompt"], row["classes"]) for name, row in found.items()} == {
        "inner/b": ("a boat", "boat, sea", [4]),
        "a": (None, None, [3]),
    }
    given = {"file_name": "img", "mask_file_name": "seg"}
    assert len(rows_of(make_reader("folder", pairs, labels="voc", columns=given))) == 2
    for wrong in ("title=blip", "caption=gone", "caption"):
        with pytest.raises(ValueError, match=r"has \['img', 'seg', 'blip', 'what'\], to be taken as \['file_name'"):
            list(make_reader("folder", pairs, labels="voc", columns=wrong).rows())
    with pytest.raises(ValueError, match=r"needs a column `file_name`; .*: name one with columns="):
        list(make_reader("folder", pairs, labels="voc").rows())


def test_a_table_leads_to_no_file_outside(pairs):
    save_picture(pairs / "images" / "kept" / "a.jpg")
    save_picture(pairs / "secret.jpg")
    save(pairs / "secret.png", pixels(5))
    (pairs / "inside").mkdir()
    for name in ("images", "masks"):
        (pairs / name).rename(pairs / "inside" / name)
    table = pairs / "inside" / "metadata.jsonl"
    table.write_text('{"file_name": "../../secret.jpg"}\n{"file_name": "a.jpg", "mask": "../../secret.png"}')
    reader = make_reader("folder", pairs / "inside", labels="voc")
    with pytest.raises(ValueError, match=r"no row could be read: .*1 listed without an image, 1 listed without a mask"):
        list(reader.rows())
    table.write_text('{"file_name": ""}')
    with pytest.raises(ValueError, match="row 1 names no file in 'file_name'"):
        list(make_reader("folder", pairs / "inside", labels="voc").rows())
    table.write_text("3")
    with pytest.raises(ValueError, match="cannot be read: a line is no JSON object"):
        list(make_reader("folder", pairs / "inside", labels="voc").rows())


def test_plain_arrays_are_masks_and_pickles_are_not(pairs):
    for path in list((pairs / "masks").rglob("*.png")):
        np.save(path.with_suffix(".npy"), np.asarray(Image.open(path)).astype(np.int64))
        path.unlink()
    assert [row["classes"] for row in make_reader("folder", pairs, labels="voc").rows()] == [[3], [4]]
    path = pairs / "masks" / "a.npy"
    for array, said in (
        (np.array([Pickled(pairs / "ran")]), "pickled objects can run code and are not loaded"),
        (np.zeros((8, 12)), r"float64 of shape \(8, 12\); a mask is \(H, W\) integers"),
        (np.full((8, 12), 256), "indices from 256 to 256; they go from 0 to 255"),
        (np.full((8, 12), 21), r"\[21\] stand for no class"),
    ):
        np.save(path, array, allow_pickle=True)
        with pytest.raises(ValueError, match=rf"a\.npy: .*{said}"):
            list(make_reader("folder", pairs, labels="voc").rows())
    assert not (pairs / "ran").exists()
    with path.open("wb") as file:
        np.savez(file, pixels(3))
    huge = b"\x93NUMPY\x01\x00\x48\x00{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 100000000)}"
    for data in (path.read_bytes(), huge.ljust(82), b"\x93NUMPY\x01\x00\x04\x00(((("):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"a\.npy: no plain array of numbers"):
            list(make_reader("folder", pairs, labels="voc").rows())


@pytest.mark.parametrize(
    ("suffix", "said"),
    [(".pt", r"\.pt are not loaded, since they can run code"), (".jpg", "JPEG and WebP lose indices")],
)
def test_files_that_are_no_masks_are_refused_with_the_reason(pairs, suffix, said):
    for path in list((pairs / "masks").rglob("*.png")):
        path.rename(path.with_suffix(suffix))
    with pytest.raises(ValueError, match=rf"holds no masks \(.*{said}: save masks as index PNG"):
        list(make_reader("folder", pairs, labels="voc").rows())


def test_hidden_files_are_left_out_and_links_are_followed_once(pairs):
    for kind in ("images", "masks"):
        (pairs / kind / "inner").rename(pairs / f"{kind}-elsewhere")
        (pairs / kind / "inner").symlink_to(pairs / f"{kind}-elsewhere")
        (pairs / kind / "again").symlink_to(pairs / kind)
    save_picture(pairs / "images" / ".ipynb_checkpoints" / "a-checkpoint.jpg")
    save(pairs / "masks" / ".ipynb_checkpoints" / "a-checkpoint.png", pixels(9))
    (pairs / "images" / "folder.jpg").mkdir()
    (pairs / "images" / "loop.jpg").symlink_to("loop.jpg")
    assert sorted(rows_of(make_reader("folder", pairs, labels="voc"))) == ["a", "inner/b"]


def test_a_change_behind_a_link_is_seen(pairs, tmp_path_factory):
    linked = tmp_path_factory.mktemp("linked")
    (linked / "images").symlink_to(pairs / "images")
    before = folder_state(linked)
    save_picture(pairs / "images" / "c.jpg")
    assert folder_state(linked) != before


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_of_a_table_end_only_where_lines_end(pairs, end):
    caption = "one\u2028two\x85three"
    lines = [json.dumps({"file_name": "a.jpg", "caption": caption}, ensure_ascii=False), ""]
    (pairs / "metadata.jsonl").write_bytes(b"\xef\xbb\xbf" + end.join(lines).encode())
    assert first_row("folder", pairs, labels="voc")["caption"] == caption


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", "no row could be read: 2 image that the table does not list"),
        (
            '{"file_name": "a.jpg", "caption": "\\ud800"}',
            r"a\.jpg: its name or its caption holds '\\ud800', which is no",
        ),
        ("[" * 100_000, r"metadata\.jsonl cannot be read: maximum recursion depth"),
    ],
)
def test_tables_that_cannot_be_read_are_named(pairs, table, said):
    (pairs / "metadata.jsonl").write_text(table)
    with pytest.raises(ValueError, match=said):
        list(make_reader("folder", pairs, labels="voc").rows())


def test_two_files_of_one_name_are_told(pairs):
    save(pairs / "masks" / "a.tif", pixels(3))
    with pytest.raises(ValueError, match=r"masks has a\.(png|tif) and a\.(png|tif); which one is 'a'\? Remove one"):
        list(make_reader("folder", pairs, labels="voc").rows())


# What all readers do


def test_sizes_must_agree(pairs):
    save(pairs / "masks" / "a.png", np.zeros((12, 8), np.uint8))
    with pytest.raises(ValueError, match=r"a\.jpg: 12x8 pixels, but its mask has 8x12; they must be of one size"):
        list(make_reader("folder", pairs, labels="voc").rows())
    image = Image.open(pairs / "images" / "a.jpg")
    image.getexif()[0x0112] = 6  # lies on its side, and is upright when it is decoded
    image.save(pairs / "images" / "a.jpg", exif=image.getexif())
    assert len(list(make_reader("folder", pairs, labels="voc").rows())) == 2


def test_a_broken_row_stops_an_import_or_is_left_out(pairs, caplog, capsys):
    (pairs / "masks" / "inner" / "b.png").write_bytes(b"junk")
    out = str(pairs / "out")
    command = ["import", "folder", str(pairs), "--labels", "voc", "--out", out]
    assert main(command) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "inner/b.png: 4 bytes that are no image; with --on-error skip such rows are left out and counted" in said
    assert main([*command[:-1], str(pairs / "one"), "--on-error", "skip"]) == 0
    said = capsys.readouterr().out
    assert "1 row read by folder" in " ".join(said.split())
    assert main([*command, "--on-error", "skip", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["counts"]["rows"], said["result"]["skipped"], said["out"]) == (1, {"broken": 1}, out)
    assert any("inner/b.png: 4 bytes that are no image" in message for message in caplog.messages)
    (pairs / "masks" / "a.png").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"no row could be read: 2 broken; .*a\.png: 4 bytes that are no image"):
        list(make_reader("folder", pairs, labels="voc", on_error="skip").rows())
    with pytest.raises(ValueError, match="on_error must be raise or skip, not 'ignore'"):
        make_reader("folder", pairs, labels="voc", on_error="ignore")


@pytest.mark.parametrize("name", sorted(raw_trees.LAYOUTS))
def test_a_missing_mask_can_be_an_error(name, tmp_path):
    options = raw_trees.LAYOUTS[name](tmp_path)
    _, _, skipped = raw_trees.FOUND[name]
    for policy in ("raise", "skip"):
        reader = make_reader(name, tmp_path / "raw", on_missing="error", on_error=policy, **options)
        with pytest.raises(ValueError, match=rf": {skipped[2:]}; with on_missing='skip'"):
            list(reader.rows())


@pytest.mark.parametrize("name", ["cityscapes", "open-images"])
def test_raw_folders_are_opened_with_their_further_columns(name, tmp_path):
    options = raw_trees.LAYOUTS[name](tmp_path)
    rows = open_dataset(tmp_path / "raw", **options)
    assert rows["id"] == raw_trees.FOUND[name][0]
    import_source(name, tmp_path / "raw", tmp_path / "out", **options)
    stored = load_dataset(str(tmp_path / "out"), split="train")
    assert stored.features == rows.features
    assert stored[0] == rows[0]
    assert next(iter(load_dataset(str(tmp_path / "out"), split="train", streaming=True))) == stored[0]


@settings(max_examples=30)
@given(values=st.lists(st.integers(0, 20) | st.just(255), min_size=1, max_size=96), mode=st.sampled_from("LP3"))
def test_indices_stay_indices(tmp_path_factory, values, mode):
    folder = tmp_path_factory.mktemp("raw")
    array = pixels(*values)
    save_picture(folder / "images" / "a.jpg")
    save(folder / "masks" / "a.png", np.repeat(array[..., None], 3, -1) if mode == "3" else array)
    if mode == "P":
        picture = Image.fromarray(array)
        picture.putpalette([channel for color in VOC.palette for channel in color])
        picture.save(folder / "masks" / "a.png")
    (row,) = make_reader("folder", folder, labels="voc").rows()
    assert row["mask"]["bytes"] == encode_mask(array)
    assert row["classes"] == sorted({*np.unique(array).tolist()} - {0, 255})


@pytest.mark.skipif(not (SHARED / "samples" / "camvid").is_dir(), reason="real samples are not at hand")
def test_real_street_scenes_with_names_of_their_own(tmp_path):
    names = [
        "sky",
        "building",
        "pole",
        "road",
        "pavement",
        "tree",
        "signsymbol",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    ]
    (tmp_path / "names.txt").write_text("\n".join(names))
    reader = make_reader(
        "folder",
        SHARED / "samples" / "camvid",
        labels=str(tmp_path / "names.txt"),
        images="val",
        masks="valannot",
        ignore=11,
    )
    rows = list(reader.rows())
    assert (len(rows), reader.labels.has_background, reader.counts) == (14, False, {})
    assert all(names.index("road") in row["classes"] for row in rows)
    assert any(VOID in decode_mask(row["mask"]["bytes"]) for row in rows)
