"""Raw folders as tools and people leave them: read rightly, or refused in one line that says what to do."""

import unicodedata

import numpy as np
import pytest
from PIL import Image
from support.coco_trees import annotation, box, image_entry, save_image, save_instances

from sds_hf.data.images import decode_mask
from sds_hf.data.sources import make_reader
from sds_hf.data.sources.files import Tree
from sds_hf.pipeline import import_folder

HEIGHT, WIDTH = 12, 16
DOG = 18  # the id of COCO's category


def save_pair(root, name, value=1, image=".jpg", mask=".png", mask_name=None, folders=("images", "masks")):
    """A picture, and a mask of zeros in which a corner has a value."""
    save_image(root / folders[0] / f"{name}{image}", HEIGHT, WIDTH)
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[:6, :8] = value
    path = root / folders[1] / f"{mask_name or name}{mask}"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, "PNG")
    return path


def rows_of(root, reader="folder", labels="voc", **options):
    return list(make_reader(reader, root, labels=labels, **options).rows())


def values_of(row) -> list[int]:
    return np.unique(decode_mask(row["mask"])).tolist()


# What values mean


@pytest.mark.parametrize(
    "text",
    ["background\nroad\nriver\n", "Background\nroad\nriver", "background\n\nroad\nriver\n",
     "\ufeffbackground\r\nroad\r\nriver",
     "background, road, river", "0: background\n1: road\n2: river", "background 0\nroad 1\nriver 2",
     "__ignore__\n_background_\nroad\nriver", "id,name\n0,background\n1,road\n2,river",
     '["background", "road", "river"]',
     '{"0": "background", "1": "road", "2": "river"}', "names:\n  0: background\n  1: road\n  2: river\n",
     "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:128,0,0::\nriver:0,128,0::\n",
     "0 0 0\tbackground\n128 0 0\t\troad\n0 128 0 river", "background,0,0,0\nroad,128,0,0\nriver,0,128,0"],
)  # fmt: skip
def test_names_files_are_read_as_what_they_are(tmp_path, text):
    for value in (1, 2):
        save_pair(tmp_path, f"p{value}", value)
    (tmp_path / "names.txt").write_text(text, encoding="utf-8")
    reader = make_reader("folder", tmp_path, labels=str(tmp_path / "names.txt"))
    rows = list(reader.rows())
    assert [[reader.labels.names[index] for index in row["classes"]] for row in rows] == [["road"], ["river"]]


@pytest.mark.parametrize("text", ["64 128 64 Tree top\n0 0 0 Void\n", "Tree top;64;128;64\nVoid;0;0;0\n"])
def test_colours_beside_names_are_those_of_masks(tmp_path, text):
    """CamVid's `label_colors.txt`: without the colours a mask is refused, and a colour of no name is."""
    path = save_pair(tmp_path, "a")
    (tmp_path / "names.txt").write_text(text)
    colors = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colors[:6] = (64, 128, 64)
    Image.fromarray(colors).save(path)
    reader = make_reader("folder", tmp_path, labels=str(tmp_path / "names.txt"))
    (row,) = reader.rows()
    mask = decode_mask(row["mask"])
    assert reader.labels.names[mask[0, 0]] == "Tree top"
    assert (mask == np.where(colors[..., 1] == 128, mask[0, 0], 255)).all()
    colors[0, 0] = (1, 2, 3)
    Image.fromarray(colors).save(path)
    with pytest.raises(ValueError, match=r"holds the colour \(1, 2, 3\), which stands for no name"):
        rows_of(tmp_path, labels=str(tmp_path / "names.txt"))


@pytest.mark.parametrize(
    "text", ["a" + " " * 20_000 + "=b", "9" * 5_000 + ": cat", "a |" * 5_000, "cat " + "1" * 5_000]
)
def test_names_that_are_none_are_refused_in_time(tmp_path, text):
    save_pair(tmp_path, "a")
    (tmp_path / "names.txt").write_text(f"background\n{text}\n" if text[0] == "a" else text)
    with pytest.raises(ValueError, match=r"^(?!Exceeds).{,400}$"):
        rows_of(tmp_path, labels=str(tmp_path / "names.txt"))


@pytest.mark.parametrize(
    "text", ["road\nbackground\nriver", "road\nriver\nBackground", "a:1,1,1::\nbackground:0,0,0::"]
)
def test_a_background_that_is_not_first_is_asked_about(tmp_path, text):
    save_pair(tmp_path, "a")
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises(
        ValueError, match=r"the background is name [23], so masks had [12] for it: put it first"
    ) as caught:
        rows_of(tmp_path, labels=str(tmp_path / "names.txt"))
    assert "\n" not in str(caught.value)


def test_a_tree_like_voc_is_read_with_its_own_names(tmp_path):
    save_pair(tmp_path, "a", 2, folders=("JPEGImages", "SegmentationClass"))
    (tmp_path / "ImageSets" / "Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Segmentation" / "train.txt").write_text("a\n")
    with pytest.raises(ValueError, match=r"nothing in .* says what its mask indices mean"):
        make_reader("pascal-voc", tmp_path, split="train")
    (tmp_path / "labelmap.txt").write_text("background:0,0,0::\nroad:128,0,0::\nriver:0,128,0::\n")
    reader = make_reader("pascal-voc", tmp_path, split="train")
    assert [row["classes"] for row in reader.rows()] == [[2]]
    assert reader.labels.names == ("background", "road", "river")
    colors = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colors[:6] = (0, 128, 0)
    Image.fromarray(colors).save(tmp_path / "SegmentationClass" / "a.png")
    names = tmp_path / "own.txt"
    for text, classes in (("background\nroad\nriver\n", [2]), (None, [2]), ("0: background\n1: river\n2: road", None)):
        names.write_text(text or "")
        reader = make_reader("pascal-voc", tmp_path, split="train", labels=str(names) if text else None)
        if classes:
            assert [row["classes"] for row in reader.rows()] == [classes]
            continue
        with pytest.raises(ValueError, match="holds colours"):  # of which these names say nothing
            list(reader.rows())
    with pytest.raises(
        ValueError, match=r"no split 'trainval' in .*; there are \['train'\]: give split=..., e\.g\. split='tr"
    ):
        make_reader("pascal-voc", tmp_path)


def test_values_that_were_sorted_anew_are_refused(tmp_path):
    """A tool that makes PNGs smaller sorts the palette: the picture looks the same, and a person is a bicycle."""
    path = save_pair(tmp_path, "a", 2)
    image = Image.open(path).convert("P")
    image.putdata([2 if value else 0 for value in np.asarray(Image.open(path)).ravel()])
    image.putpalette([0, 0, 0, 128, 0, 0, 192, 128, 128])  # 2 has the colour of person, which is 15
    image.save(path)
    with pytest.raises(ValueError, match=r"its value 2 has the colour \(192, 128, 128\), that of 15: a tool"):
        rows_of(tmp_path)
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    image.save(path)
    assert values_of(*rows_of(tmp_path)) == [0, 2]


def test_shapes_in_transparency_alone_are_refused(tmp_path):
    path = save_pair(tmp_path, "a")
    alpha = Image.fromarray(np.where(np.asarray(Image.open(path)), 255, 0).astype(np.uint8))
    Image.merge("RGBA", [Image.new("L", alpha.size)] * 3 + [alpha]).save(path)
    with pytest.raises(ValueError, match="all its shapes are in its transparency"):
        rows_of(tmp_path)


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_masks_of_0_and_255_are_said_to_show_nothing(tmp_path, mode):
    path = save_pair(tmp_path, "a", 255)
    Image.open(path).convert(mode).save(path)
    (tmp_path / "names.txt").write_text("background\nlesion\n")
    reader = make_reader("folder", tmp_path, labels=str(tmp_path / "names.txt"))
    assert [row["classes"] for row in reader.rows()] == [[]]
    assert any("no row shows any class: all masks hold 0 and 255 only" in note for note in reader.notes())
    (tmp_path / "names.txt").write_text("0: background\n255: lesion\n")
    reader = make_reader("folder", tmp_path, labels=str(tmp_path / "names.txt"))
    assert [[reader.labels.names[index] for index in row["classes"]] for row in reader.rows()] == [["lesion"]]


def test_one_odd_mask_decides_nothing_of_the_others(tmp_path):
    """One stray pixel once turned every background of twelve masks into person."""
    for number in range(12):
        save_pair(tmp_path, f"p{number}", 90, folders=("images", "masks"))  # 90: only original ids go so far
    stray = save_pair(tmp_path, "stray", 44)
    values = np.asarray(Image.open(stray)).copy()
    values[0, 0] = 128
    Image.fromarray(values).save(stray)
    with pytest.raises(ValueError, match=r"stray\.png: \[128\]") as caught:
        rows_of(tmp_path, labels="coco")
    assert "original COCO category ids" in str(caught.value)


def test_folders_ask_which_ids_coco_masks_hold(tmp_path):
    save_pair(tmp_path, "a", 44)
    with pytest.raises(ValueError, match=r"could hold contiguous .* or original .* ids; say which: ids="):
        rows_of(tmp_path, labels="coco")
    assert values_of(*rows_of(tmp_path, labels="coco", ids="contiguous")) == [0, 44]
    assert values_of(*rows_of(tmp_path, labels="coco", ids="original")) == [0, 40]


# Names


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ("labelmap.txt", "calls class 1 'road', which was read as 'aeroplane' of 'voc', and 1 more otherwise: if"),
        ("class_names.txt", "calls class 1 'road', which was read as 'aeroplane' of 'voc', and 1 more otherwise: if"),
        (None, ""),
    ],
)
def test_a_folder_that_names_its_classes_otherwise_is_said(tmp_path, own, said):
    """With labels that were given; only what rows show counts, and neither case nor blanks do."""
    names = ["background", "road", "river", "Bird", "tree"]
    colors = ("0,0,0", "128,0,0", "0,128,0", "128,128,0", "0,0,128")
    for value in (1, 2, 3):
        save_pair(tmp_path, f"a{value}", value)
    if own == "labelmap.txt":
        lines = [f"{name}:{color}::" for name, color in zip(names, colors, strict=True)]
        (tmp_path / own).write_text("\n".join(["# label:color_rgb:parts:actions", *lines]))
    elif own:
        (tmp_path / own).write_text("\n".join(names))
    reader = make_reader("folder", tmp_path, labels="voc")
    assert [row["classes"] for row in reader.rows()] == [[1], [2], [3]]
    assert [said in note for note in reader.notes()] == ([True] if said else [])


@pytest.mark.parametrize(
    ("pairs", "ids"),
    [([("①", "①"), ("10²", "10²")], ["10²", "①"]), ([("my photo (1)", None), ("l'été #2 100%", None)], None),
     ([(unicodedata.normalize("NFD", "café"), unicodedata.normalize("NFC", "café"))], ["café"])],
)  # fmt: skip
def test_names_are_whole(tmp_path, pairs, ids):
    for image, mask in pairs:
        save_pair(tmp_path, image, mask_name=mask)
    rows = rows_of(tmp_path)
    assert sorted(row["id"] for row in rows) == sorted(ids or [image for image, _ in pairs])
    assert all(row["classes"] == [1] for row in rows)


def test_suffixes_in_capitals(tmp_path):
    save_pair(tmp_path, "a", image=".JPG", mask=".PNG")
    assert [row["id"] for row in rows_of(tmp_path)] == ["a"]


COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café.jpg") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("files", "listed"),
    [
        (("a.JPG", "a.Jpg"), "a.jpg"),
        (("a.JPG", "a.Jpg"), "elsewhere/a.jpg"),
        ((COMPOSED, DECOMPOSED), COMPOSED.replace(".jpg", ".JPG")),
        (("b/a.JPEG", "b/a.jpeG"), "b/a.jpeg"),
    ],
)
def test_of_two_names_that_are_spelt_alike_none_is_taken(tmp_path, files, listed):
    for name in files:
        save_image(tmp_path / "train" / name, HEIGHT, WIDTH)
    save_instances(tmp_path, "train", [image_entry(1, HEIGHT, WIDTH, listed)], [])
    with pytest.raises(ValueError, match="which one is ") as raised:
        rows_of(tmp_path, "coco-instances", "coco")
    assert all(name in str(raised.value) for name in files)


def test_a_name_that_is_spelt_exactly_so_is_taken(tmp_path):
    for name in (COMPOSED, DECOMPOSED, "a.jpg", "a.JPG"):
        save_image(tmp_path / "train" / name, HEIGHT, WIDTH)
    tree = Tree(tmp_path / "train")
    assert [tree.find(name).name for name in (DECOMPOSED, "a.JPG", "elsewhere/a.jpg")] == [
        DECOMPOSED, "a.JPG", "a.jpg",
    ]  # fmt: skip
    assert tree.find("b.jpg") is None


def test_masks_beside_their_pictures(tmp_path):
    here = {"images": ".", "masks": "."}
    save_pair(tmp_path, "a", folders=(".", "."))
    save_pair(tmp_path, "cat", image=".png", mask_name="cat_mask", folders=(".", "."))
    rows = rows_of(tmp_path, mask_end="_mask", **here)
    assert [row["id"] for row in rows] == ["cat"]


def test_captions_with_commas_need_quotes(tmp_path):
    for name in "ab":
        save_pair(tmp_path, name)
    table = tmp_path / "metadata.csv"
    table.write_text("file_name,caption\na.jpg,a dog, a cat\nb.jpg,x\n")
    message = r"line 2 has 3 values for the columns \['file_name', 'caption'\]; a text with ',' in it must"
    with pytest.raises(ValueError, match=message):
        rows_of(tmp_path)
    table.write_text('file_name,caption\na.jpg,"a dog, a cat"\nb.jpg,x\n')
    assert [row["caption"] for row in rows_of(tmp_path)] == ["a dog, a cat", "x"]


@pytest.mark.parametrize("end", [",", ";", "\t", "|"])
def test_columns_are_parted_by_what_the_header_has(tmp_path, end):
    for name in "ab":
        save_pair(tmp_path, name)
    lines = [("file_name", " caption"), ("a.jpg", '"a ""big"" cat, a dog"'), ("b.jpg", ' 5" boat')]
    (tmp_path / "metadata.csv").write_text("".join(end.join(line) + "\n" for line in lines))
    assert [row["caption"] for row in rows_of(tmp_path)] == ['a "big" cat, a dog', '5" boat']


@pytest.mark.parametrize(
    ("text", "message"),
    [('a.jpg,"a cat\nb.jpg,a boat\n', "line 2: unexpected end of data"), ('a.jpg,x\nb.jpg,"a" boat\n', "line 3: ',' ")],
)
def test_a_quote_that_is_not_closed_swallows_no_rows(tmp_path, text, message):
    for name in "ab":
        save_pair(tmp_path, name)
    (tmp_path / "metadata.csv").write_text("file_name,caption\n" + text)
    with pytest.raises(
        ValueError, match=rf"metadata\.csv cannot be read: {message}.*; a text in double quotes ends with"
    ):
        rows_of(tmp_path)


def test_columns_of_one_name_are_refused(tmp_path):
    save_pair(tmp_path, "a")
    (tmp_path / "metadata.csv").write_text("file_name,caption,caption\na.jpg,one,two\n")
    with pytest.raises(
        ValueError, match=r"metadata\.csv cannot be read: it has two columns 'caption': rename or remove"
    ):
        rows_of(tmp_path)


def test_ids_of_rows_are_unique(tmp_path):
    for name in "ab":
        save_pair(tmp_path, name)
    (tmp_path / "metadata.csv").write_text("file_name,caption\na.jpg,x\na.jpg,y\n")
    with pytest.raises(ValueError, match=r"two rows would have the id 'a': .*a\.jpg and .*a\.jpg; ids must be unique"):
        rows_of(tmp_path)


# COCO


def coco(root, images, annotations, **more):
    for entry in images:
        save_image(root / "train" / entry["file_name"].replace("\\", "/"))
    save_instances(root, "train", images, annotations, **more)
    return root


def square(number, image, category=DOG, crowd=0):
    return annotation(number, image, category, [box(2, 2, 8, 8)], 36, crowd)


def test_equal_names_in_two_folders(tmp_path):
    images = [image_entry(1, name="0001.jpg"), image_entry(2, name="extra/0001.jpg")]
    rows = rows_of(coco(tmp_path, images, [square(1, 1, 1), square(2, 2)]), "coco-instances", "coco")
    assert [(row["id"], row["classes"]) for row in rows] == [("0001", [1]), ("extra/0001", [17])]


def test_backslashes_are_slashes(tmp_path):
    rows = rows_of(coco(tmp_path, [image_entry(1, name="inner\\a.jpg")], [square(1, 1)]), "coco-instances", "coco")
    assert [(row["id"], row["classes"]) for row in rows] == [("inner/a", [17])]


@pytest.mark.parametrize(
    ("images", "annotations", "more", "words"),
    [([image_entry(1, name="a.jpg"), image_entry(1, name="b.jpg")], [], {}, "image id 1 is that of a.jpg and of b.jpg"),
     ([image_entry(1, name="a.jpg")], [square(1, "1")], {}, "no annotation belongs to an image"),
     ([image_entry(1, name="a.jpg")], [square(1, 1, 999)], {}, "category 999 of image a.jpg is none of its categories"),
     ([image_entry(1, name="a.jpg")], [square(1, 1, 1)],
      {"categories": [{"id": 1, "name": "dog"}, {"id": 1, "name": "person"}]}, "category id 1 is that of 'dog' and of"),
     ([image_entry(1, name="a.jpg"), image_entry(2, name="a.png")], [], {}, "two rows would have the id 'a'")],
)  # fmt: skip
def test_files_that_contradict_themselves(tmp_path, images, annotations, more, words):
    with pytest.raises(ValueError, match=words) as caught:
        rows_of(coco(tmp_path, images, annotations, **more), "coco-instances", "coco")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("crowd", ["0", 0, False, None])
def test_a_crowd_that_is_none(tmp_path, crowd):
    coco(tmp_path, [image_entry(1, name="a.jpg")], [square(1, 1, crowd=crowd)])
    assert values_of(*rows_of(tmp_path, "coco-instances", "coco")) == [0, 17]


def test_outlines_that_paint_nothing_are_counted(tmp_path):
    nothing = [[[2.1, 2.1, 2.2, 2.1, 2.2, 2.2]], [[0.1, 0.1, 0.4, 0.1, 0.4, 0.4]], [[2, 2, 8, 8]]]
    annotations = [annotation(number, 1, DOG, shape, 1) for number, shape in enumerate(nothing, 1)]
    coco(tmp_path, [image_entry(1, name="a.jpg")], annotations)
    reader = make_reader("coco-instances", tmp_path, labels="coco")
    assert [row["classes"] for row in reader.rows()] == [[]]
    assert sum(count for reason, count in reader.counts.items() if "outline" in reason) == 3


def test_index_0_is_background_only_where_the_label_space_says_so(tmp_path):
    (tmp_path / "names.txt").write_text("apple\npear\n")
    categories = [{"id": 1, "name": "apple"}, {"id": 2, "name": "pear"}]
    images = [image_entry(1, name="a.jpg"), image_entry(2, name="b.jpg")]
    coco(tmp_path, images, [square(1, 1, 1), square(2, 2, 2)], categories=categories)
    reader = make_reader("coco-instances", tmp_path, labels=str(tmp_path / "names.txt"))
    assert [values_of(row) for row in reader.rows()] == [[0, 255], [1, 255]]  # 0 is the apple, 255 what nobody outlined
    assert any("0 stands for 'apple'" in note for note in reader.notes())


# What import says


def test_import_says_what_it_found(tmp_path):
    for name, value in (("a", 1), ("b", 15), ("c", 0)):
        save_pair(tmp_path / "raw", name, value)
    save_image(tmp_path / "raw" / "images" / "d.jpg", HEIGHT, WIDTH)
    imported = import_folder("folder", tmp_path / "raw", tmp_path / "out", labels="voc")
    assert (imported.rows, imported.classes, imported.without_class) == (3, {"aeroplane": 1, "person": 1}, 1)
    assert list(imported.skipped.values()) == [1]
    (missing,) = imported.missing.values()
    assert missing.endswith("masks/d.png")


def test_sizes_that_disagree_by_a_turn_are_told(tmp_path):
    save_pair(tmp_path, "a")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "images" / "a.jpg", exif=exif)
    with pytest.raises(ValueError, match="its EXIF orientation turns the image"):
        rows_of(tmp_path)


@pytest.mark.parametrize("area", [0, -1, None, float("nan"), "0"])
def test_an_area_that_a_tool_did_not_know_hides_no_object(tmp_path, area):
    """Large objects are painted first; one of area 0 would have covered all others."""
    save_image(tmp_path / "train" / "a.jpg", HEIGHT, WIDTH)
    objects = [
        annotation(1, 1, DOG, [box(2, 2, 6, 6)], 16),
        annotation(2, 1, 1, [box(0, 0, WIDTH, HEIGHT)], area),
    ]
    save_instances(tmp_path, "train", [image_entry(1, HEIGHT, WIDTH, "a.jpg")], objects)
    (row,) = rows_of(tmp_path, "coco-instances", "coco")
    assert values_of(row) == [1, 17]


def test_images_that_a_table_does_not_list_are_counted(tmp_path):
    for name in "abc":
        save_pair(tmp_path, name)
    (tmp_path / "metadata.csv").write_text("file_name,caption\nb.jpg,one\n")
    reader = make_reader("folder", tmp_path, labels="voc")
    assert [row["id"] for row in reader.rows()] == ["b"]
    assert reader.counts["image that the table does not list"] == 2
