"""Label spaces as the specification lists them."""

import numpy as np
import pytest
from datasets import ClassLabel, Features, Image, Sequence

from sds_hf.data.labels import CITYSCAPES, COCO, VOC, LabelSpace, label_space, labels_of


def test_sizes_and_places():
    assert (len(VOC.names), len(COCO.names)) == (21, 81)
    assert (VOC.names[0], VOC.names[1], VOC.names[20]) == ("background", "aeroplane", "tvmonitor")
    assert (COCO.names[1], COCO.names[80]) == ("person", "toothbrush")
    assert VOC.class_ids == range(1, 21)
    assert (len(VOC.prompts), len(COCO.prompts)) == (20, 80)
    assert len(set(VOC.names)) == 21
    assert len(set(COCO.names)) == 81


def test_original_coco_ids_leave_out_ten_numbers():
    missing = set(range(1, 91)) - set(COCO.original_ids)
    assert missing == {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    assert COCO.names[COCO.original_ids.index(52)] == "banana"
    assert list(COCO.original_ids) == sorted(COCO.original_ids)


def test_prompts_are_those_of_clip_es():
    changed = {name: VOC.prompts[VOC.names.index(name) - 1] for name in ("bird", "chair", "person", "tvmonitor")}
    assert changed == {
        "bird": "bird avian",
        "chair": "chair seat",
        "person": "person with clothes,people,human",
        "tvmonitor": "tvmonitor screen",
    }
    assert COCO.prompts[COCO.names.index("snowboard") - 1] == "snowboard"
    assert len(VOC.background_prompts) == 25
    assert set(VOC.background_prompts) - set(COCO.background_prompts) == {"keyboard", "sign"}
    assert VOC.texts()[0] == "a clean origami aeroplane."
    assert VOC.texts()[-1] == "a clean origami sign."
    assert (VOC.cam_threshold, COCO.cam_threshold) == (0.4, 0.7)


def test_the_palette_is_that_of_pascal_voc():
    known = {0: (0, 0, 0), 1: (128, 0, 0), 8: (64, 0, 0), 15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192)}
    assert {index: VOC.palette[index] for index in known} == known
    assert len(set(VOC.palette)) == 256


def test_names_of_a_dataset_find_their_space():
    assert LabelSpace.from_names(VOC.names) is VOC
    assert LabelSpace.from_names(list(COCO.names)) is COCO
    own = LabelSpace.from_names(["background", "cell", "sky"])
    assert (own.name, own.prompts, own.class_ids) == ("custom", ("cell", "sky"), range(1, 3))
    assert "sky" not in own.background_prompts
    streets = LabelSpace.from_names(["road", "traffic_light"])
    assert (streets.has_background, streets.class_ids) == (False, range(2))
    assert streets.prompts == ("road", "traffic light")


def test_cityscapes_has_no_background():
    assert (len(CITYSCAPES.names), len(CITYSCAPES.prompts), CITYSCAPES.class_ids) == (20, 19, range(1, 20))
    assert (CITYSCAPES.names[1], CITYSCAPES.names[14], CITYSCAPES.names[19]) == ("road", "car", "bicycle")
    assert CITYSCAPES.unknown([0, 1, 19, 20, 255]) == [0, 20]
    assert not set(CITYSCAPES.background_prompts) & set(CITYSCAPES.prompts)
    assert LabelSpace.from_names(CITYSCAPES.names) is CITYSCAPES
    own = LabelSpace.from_names(["unlabeled", "lane"])
    assert (own.has_background, own.class_ids, own.prompts, own.unknown([0, 1])) == (False, range(1, 2), ("lane",), [0])


def test_names_come_from_a_text_file(tmp_path):
    (tmp_path / "names.txt").write_text("\ufeffsky\n\ntraffic light\n", encoding="utf-8")
    own = label_space(str(tmp_path / "names.txt"))
    assert (own.names, own.class_ids) == (("sky", "traffic light"), range(2))
    (tmp_path / "names.txt").write_text("background\n" + "\n".join(VOC.names[1:]))
    assert label_space(str(tmp_path / "names.txt")) is VOC
    for text, said in (("sky\nsky\n", "2 names; there must be 1 to 255, each only once"), ("", "0 names")):
        (tmp_path / "names.txt").write_text(text)
        with pytest.raises(ValueError, match=said):
            label_space(str(tmp_path / "names.txt"))
    with pytest.raises(ValueError, match=r"there is no file .*gone\.txt: give one"):
        label_space(str(tmp_path / "gone.txt"))


def test_unknown_spaces_are_named():
    with pytest.raises(ValueError, match=r"no label space 'ade20k'; there are cityscapes, coco, voc, or a \.txt file"):
        label_space("ade20k")
    with pytest.raises(ValueError, match=r"; did you mean 'voc'\?$"):
        label_space("vocc")


def test_palette_fits_pillow():
    assert np.array(VOC.palette, np.uint8).shape == (256, 3)


def test_indices_that_mean_nothing_are_named():
    assert VOC.unknown(np.array([0, 20, 255])) == []
    assert VOC.unknown([254, 21, 3, 21]) == [21, 254]
    assert LabelSpace.from_names(["road", "kerb"]).unknown([0, 1, 2, 255]) == [2]


@pytest.mark.parametrize("names", [VOC.names[1:], COCO.names[1:], ("none", "cat"), ("Other", "cat")])
def test_names_of_a_class_label_that_leave_open_what_0_is_are_refused(names):
    classes = Sequence(ClassLabel(names=list(names)))
    with pytest.raises(ValueError, match=f"has '{names[0]}' at 0, which masks mostly hold for the background"):
        labels_of(Features(mask=Image(), classes=classes))
    assert labels_of(Features(classes=classes)).names == names  # of lists of ids nothing is open
