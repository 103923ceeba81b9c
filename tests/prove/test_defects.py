"""Defects of trusted pairs: each spoils one thing, by as much as it says, and the same way everywhere."""

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Image, Sequence, Value, load_dataset
from scipy import ndimage

from sds_hf.data.images import decode_image, decode_mask, encode_jpeg, encode_mask
from sds_hf.data.instances import decode_rle, encode_rle
from sds_hf.data.labels import CITYSCAPES, VOC
from sds_hf.prove.defects import DEFECTS, IMAGE_DEFECTS, MASK_DEFECTS, OF_ONE_STRENGTH, STRENGTHS, Pair, spoil
from sds_hf.prove.defects_copy import inject_defects, take_apart

SIDE = 80


def picture(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.clip(rng.normal(120, 30, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


def disc(y: int, x: int, radius: int) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def mask_of(**discs: tuple[int, int, int]) -> np.ndarray:
    """Discs of classes by name (with an ignored band of two pixels around them) as a mask of VOC."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for y, x, radius in discs.values():
        mask[disc(y, x, radius + 2)] = 255
    for name, place in discs.items():
        mask[disc(*place)] = VOC.names.index(name)
    return mask


def cells(mask: np.ndarray, seed: int = 0, **further) -> dict:
    image = {"bytes": encode_jpeg(picture(seed)), "path": "a.jpg"}
    classes = [int(value) for value in np.unique(mask) if value not in (0, 255)]
    return {"image": image, "mask": {"bytes": encode_mask(mask), "path": None}, "classes": classes, **further}


CAT_AND_DOG = mask_of(cat=(25, 25, 14), dog=(55, 55, 18))
BIRD = mask_of(bird=(40, 40, 16))


def pair_of(mask: np.ndarray = CAT_AND_DOG, labels=VOC, **further) -> Pair:
    return take_apart(cells(mask, **further), labels)


OTHER = pair_of(BIRD, seed=9)


@pytest.mark.parametrize("kind", DEFECTS)
@pytest.mark.parametrize("strength", range(3))
def test_a_defect_spoils_the_image_or_the_mask(kind, strength):
    pair = pair_of()
    image, mask = pair.image.copy(), pair.mask.copy()
    np.testing.assert_array_equal(mask, CAT_AND_DOG)
    spoilt = spoil(np.random.default_rng(1), pair, [OTHER], kind, strength)
    np.testing.assert_array_equal(pair.image, image)
    np.testing.assert_array_equal(pair.mask, mask)
    assert np.array_equal(spoilt.image, image) == (kind in MASK_DEFECTS)
    assert np.array_equal(spoilt.mask, mask) == (kind in IMAGE_DEFECTS)
    assert spoilt.image.shape == image.shape
    assert spoilt.mask.dtype == spoilt.image.dtype == np.uint8
    assert not VOC.unknown(np.unique(spoilt.mask))
    assert spoilt.numbers


@pytest.mark.parametrize("kind", [kind for kind in DEFECTS if kind not in (*OF_ONE_STRENGTH, "ruined", "torn")])
def test_the_stronger_the_more_differs(kind):
    """Averaged over draws; `ruined` draws one of three ways, and tiles that are elsewhere are so at any strength."""
    differing = []
    for strength in range(3):
        spoilt = [spoil(np.random.default_rng(seed), pair_of(), [OTHER], kind, strength) for seed in range(6)]
        if kind in MASK_DEFECTS:
            differing.append(np.mean([(one.mask != CAT_AND_DOG).mean() for one in spoilt]))
        else:
            differing.append(np.mean([np.abs(one.image.astype(float) - picture_seen()).mean() for one in spoilt]))
    assert differing[0] < differing[1]
    assert differing[1] < differing[2] or kind == "missing_object"  # of two objects one of several is all but one


def picture_seen() -> np.ndarray:
    return decode_image(cells(CAT_AND_DOG)["image"]).astype(float)


def test_what_the_shapes_become():
    pair, rng = pair_of(mask_of(dog=(40, 40, 20))), np.random.default_rng
    dog = VOC.names.index("dog")
    boxed = spoil(rng(0), pair, [], "boxed_mask", 2).mask
    np.testing.assert_array_equal(np.argwhere(boxed == dog).min(0), (20, 20))
    assert (boxed[20:61, 20:61] == dog).all()
    assert (boxed == dog).sum() == 41 * 41
    grown, shrunk = (spoil(rng(0), pair, [], kind, 2).mask == dog for kind in ("dilated_mask", "eroded_mask"))
    assert np.argwhere(grown).min(0).tolist() == [16, 16]  # a twentieth of 80
    np.testing.assert_array_equal(shrunk, ndimage.binary_erosion(disc(40, 40, 20), np.ones((9, 9))))
    steps = spoil(rng(0), pair, [], "coarse_mask", 2).mask  # 8 pixels
    blocks = steps.reshape(10, 8, 10, 8)
    assert (blocks == blocks[:, :1, :, :1]).all()
    moved = spoil(rng(0), pair, [], "shifted_mask", 2).mask
    away = np.argwhere(moved == dog).mean(0) - 40
    assert abs(np.hypot(*away) - 41 / 4) < 1


def test_classes_and_objects_that_are_wrong_or_missing():
    cat, dog = VOC.names.index("cat"), VOC.names.index("dog")
    half, one, both = (spoil(np.random.default_rng(3), pair_of(), [], "wrong_class", grade).mask for grade in range(3))
    assert {cat, dog} < set(np.unique(half))  # a part of one has another id
    assert len({cat, dog} & set(np.unique(one))) == 1
    assert not {cat, dog} & set(np.unique(both))
    np.testing.assert_array_equal(both > 0, CAT_AND_DOG > 0)
    gone = spoil(np.random.default_rng(3), pair_of(), [], "missing_object", 1).mask
    assert len({cat, dog} & set(np.unique(gone))) == 1
    assert (gone == 255).sum() == (CAT_AND_DOG == 255).sum()  # its band stays
    assert spoil(np.random.default_rng(0), OTHER, [], "missing_object", 1) is None
    assert spoil(np.random.default_rng(0), pair_of(), [pair_of()], "wrong_object", 0) is None  # shows the same classes


def test_a_defect_that_changes_next_to_nothing_is_none():
    square = np.zeros((SIDE, SIDE), np.uint8)
    square[10:70, 10:70] = 12
    assert spoil(np.random.default_rng(0), pair_of(square), [], "boxed_mask", 2) is None


@pytest.mark.parametrize("kind", MASK_DEFECTS)
@pytest.mark.parametrize("strength", range(3))
def test_where_classes_cover_the_picture_they_still_do(kind, strength):
    """Street scenes have no background: what shrinks gives way to another class, what moves in is ignored."""
    mask = np.full((SIDE, SIDE), 1, np.uint8)
    mask[:40] = 11
    mask[disc(50, 30, 14)] = 14
    mask[:4, :4] = 255
    other = take_apart(cells(np.where(mask == 14, 9, mask)), CITYSCAPES)
    spoilt = spoil(np.random.default_rng(5), take_apart(cells(mask), CITYSCAPES), [other], kind, strength)
    assert not CITYSCAPES.unknown(np.unique(spoilt.mask))
    if kind != "shifted_mask":
        assert (spoilt.mask == 255).sum() <= 32


FEATURES = Features(
    {
        "id": Value("string"),
        "image": Image(),
        "mask": Image(),
        "classes": Sequence(ClassLabel(names=list(VOC.names))),
        "caption": Value("string"),
    }
)


def dataset(count: int = 6) -> Dataset:
    masks = [CAT_AND_DOG, BIRD, mask_of(car=(30, 40, 20), cow=(70, 70, 8))]
    rows = [cells(masks[n % 3], n, id=f"row{n}", caption=f"picture {n}") for n in range(count)]
    return Dataset.from_list(rows, features=FEATURES)


def rows_of(folder) -> dict[str, dict]:
    return {row["id"]: row for row in load_dataset(str(folder), split="train").with_format("arrow")[:].to_pylist()}


def test_a_copy_of_a_dataset_with_the_truth(tmp_path):
    source = dataset()
    copy = inject_defects(source, tmp_path / "copy", copies=12, seed=3)
    assert copy.rows["none"] == 6
    assert set(copy.rows) == {"none", *DEFECTS}
    assert sum(copy.left_out.values()) == 6 * 13 - sum(copy.rows.values())  # with one object none can be missing
    rows = rows_of(tmp_path / "copy")
    stored = source.with_format("arrow")[:].to_pylist()
    for old in stored:
        new = rows[old["id"]]
        assert {name: new[name] for name in old} == {**old, "mask": new["mask"]}
        assert new["mask"]["bytes"] == old["mask"]["bytes"]
        assert (new["defect"], new["strength"], new["original_id"]) == (None, None, old["id"])
    for row in rows.values():
        old = rows[row["original_id"]]
        if row["defect"] in MASK_DEFECTS:
            assert row["image"]["bytes"] == old["image"]["bytes"]
            seen = np.unique(decode_mask(row["mask"]))
            assert row["classes"] == [value for value in seen.tolist() if value not in (0, 255)]
        elif row["defect"]:
            assert row["mask"]["bytes"] == old["mask"]["bytes"]
            assert row["classes"] == old["classes"]
        assert (row["strength"] in STRENGTHS) == (row["defect"] not in (None, *OF_ONE_STRENGTH))


def test_a_copy_depends_on_seed_and_id_only(tmp_path):
    source = dataset()
    inject_defects(source, tmp_path / "a", copies=2)
    inject_defects(source.select([3, 1, 5, 0, 4, 2]), tmp_path / "b", copies=2)
    inject_defects(source, tmp_path / "c", copies=2, seed=1)
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")
    assert rows_of(tmp_path / "a") != rows_of(tmp_path / "c")


@pytest.mark.slow
def test_processes_change_nothing(tmp_path):
    inject_defects(dataset(), tmp_path / "a")
    inject_defects(dataset(), tmp_path / "b", num_proc=2)
    names = ["data/train-00000.parquet", "origin.json"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_only_trusted_rows_are_copied(tmp_path):
    rows = dataset(5).with_format("arrow")[:].to_pylist()
    rows[1]["mask"] = {"bytes": b"no picture", "path": None}
    rows[2]["mask"] = {"bytes": encode_mask(np.zeros((SIDE, SIDE), np.uint8)), "path": None}
    for row, defect in zip(rows, [None, None, None, "torn", None], strict=True):
        row["defect"] = defect
    source = Dataset.from_list(rows, features=Features({**FEATURES, "defect": Value("string")}))
    copy = inject_defects(source, tmp_path / "copy")
    assert copy.rows["none"] == 3  # one is broken, one has a defect already
    assert sum(copy.rows.values()) == 5
    assert copy.left_out["rows that have a defect already"] == 1
    assert copy.left_out["copies of rows without an object"] == 1
    assert any(reason.startswith("broken rows, e.g. row1: mask") for reason in copy.left_out)


def test_pictures_that_are_stored_as_paths_are_copied(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    for name, data in (("a.jpg", cells(BIRD)["image"]["bytes"]), ("a.png", encode_mask(BIRD))):
        (folder / name).write_bytes(data)
    row = {"id": "a", "image": str(folder / "a.jpg"), "mask": str(folder / "a.png"), "classes": [3], "caption": ""}
    gone = {**row, "id": "b", "image": str(folder / "b.jpg")}
    copy = inject_defects(Dataset.from_list([row, gone], features=FEATURES), tmp_path / "copy")
    assert copy.rows["none"] == 1
    assert any(reason.startswith("broken rows, e.g. b") for reason in copy.left_out)
    (folder / "a.jpg").unlink()
    assert decode_image(rows_of(tmp_path / "copy")["a"]["image"]).shape == (SIDE, SIDE, 3)


def test_objects_that_a_row_lists_are_spoilt_with_the_mask(tmp_path):
    """Two cats that the mask does not tell apart; of those that stay the entries are as they were."""
    mask, first, second = np.zeros((SIDE, SIDE), np.uint8), disc(25, 25, 12), disc(55, 55, 14)
    mask[first | second] = 8
    corners = [[13.0, 13.0, 37.0, 13.0, 37.0, 37.0, 13.0, 37.0]]
    listed = [
        {"class": 8, "polygons": None, "counts": encode_rle(first)["counts"], "size": [SIDE, SIDE]},
        {"class": 8, "polygons": None, "counts": encode_rle(second)["counts"], "size": [SIDE, SIDE]},
    ]
    entry = {
        "class": ClassLabel(names=list(VOC.names)),
        "polygons": [[Value("float64")]],
        "counts": Value("string"),
        "size": [Value("int32")],
    }
    features = Features({**FEATURES, "instances": [entry]})
    by_outline = [{**listed[0], "counts": None, "polygons": corners, "size": [SIDE, SIDE]}, listed[1]]
    rows = [cells(mask, n, id=str(n), caption="", instances=given) for n, given in enumerate((listed, by_outline))]
    source = Dataset.from_list(rows, features=features)
    inject_defects(source, tmp_path / "copy", kinds=["missing_object", "dilated_mask"], copies=2)
    for row in rows_of(tmp_path / "copy").values():
        objects = [decode_rle(one["counts"], one["size"]) for one in row["instances"] if one["counts"]]
        if row["defect"] == "missing_object" and row["strength"] != "weak":
            assert len(row["instances"]) == 1
            assert row["instances"][0] in rows_of(tmp_path / "copy")[row["original_id"]]["instances"]
        elif row["defect"] == "dilated_mask":
            assert len(objects) == 2
            np.testing.assert_array_equal(
                (objects[0] | objects[1]) | (decode_mask(row["mask"]) == 8), decode_mask(row["mask"]) == 8
            )


def test_a_picture_of_ids_is_spoilt_with_the_mask():
    ids = np.zeros((SIDE, SIDE), np.uint8)
    ids[disc(25, 25, 14)], ids[disc(55, 55, 18)] = 7, 9
    pair = take_apart(cells(CAT_AND_DOG, instances={"bytes": encode_mask(ids), "path": None}), VOC)
    assert sorted(pair.keys) == [7, 9]
    from sds_hf.prove.defects_copy import _instances

    spoilt = spoil(np.random.default_rng(0), pair, [], "missing_object", 1)
    left = decode_mask(_instances(spoilt, pair, {"bytes": encode_mask(ids), "path": None}))
    assert len(set(np.unique(left)) - {0}) == 1
    np.testing.assert_array_equal(left > 0, spoilt.segments > 0)


def test_what_cannot_be_is_said(tmp_path):
    with pytest.raises(ValueError, match="no defect 'shrunk'; there are blank, boxed_mask,"):
        inject_defects(dataset(), tmp_path / "a", kinds=["shrunk"])
    with pytest.raises(ValueError, match="copies must be from 1 to 12"):
        inject_defects(dataset(), tmp_path / "a", copies=13)
    with pytest.raises(ValueError, match="no column \\['mask'\\]"):
        inject_defects(dataset().remove_columns("mask"), tmp_path / "a")
    with pytest.raises(ValueError, match="labels"):
        inject_defects(dataset().remove_columns("classes"), tmp_path / "a")
    twice = dataset(2).remove_columns("id").add_column("id", ["x", "x"])
    with pytest.raises(ValueError, match="id 'x' occurs more than once"):
        inject_defects(twice, tmp_path / "a")
    spoilt = dataset(2).add_column("defect", ["torn", "blank"])
    with pytest.raises(ValueError, match="every row has a defect already"):
        inject_defects(spoilt, tmp_path / "a")
    assert not (tmp_path / "a").exists()
