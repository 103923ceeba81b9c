"""Small trees in exactly the layouts of COCO and SDS, each with one thing that is skipped."""

import json

import numpy as np
from PIL import Image

from sds_hf.data.labels import COCO
from support.raw_trees import save_pair

HEIGHT, WIDTH = 12, 16
CATEGORIES = [
    {"id": number, "name": name, "isthing": 1}
    for number, name in zip(COCO.original_ids[1:], COCO.names[1:], strict=True)
]
STUFF = [{"id": 92, "name": "banner", "isthing": 0}, {"id": 187, "name": "sky-other-merged", "isthing": 0}]


def save_json(path, **content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def save_image(path, height=HEIGHT, width=WIDTH):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), 120, np.uint8)).save(path)


def image_entry(number, height=HEIGHT, width=WIDTH, name=None):
    return {"id": number, "file_name": name or f"{number:012d}.jpg", "height": height, "width": width}


def box(left, top, right, bottom):
    """A box as a polygon: exactly the pixels from left to right and top to bottom, the last of each left out."""
    return [left, top, right, top, right, bottom, left, bottom]


def runs(mask):
    """COCO's run lengths as a list, as its definition says: down the columns, zeros first."""
    flat = np.concatenate([[0], np.asarray(mask).T.ravel(), [2]]).astype(int)
    return np.diff(np.concatenate([[0], np.flatnonzero(np.diff(flat))])).tolist()


def annotation(number, image, category, shape, area, crowd=0):
    return {
        "id": number, "image_id": image, "category_id": category, "segmentation": shape, "area": area,
        "bbox": [0, 0, 1, 1], "iscrowd": crowd,
    }  # fmt: skip


def save_instances(raw, split, images, annotations, **more):
    save_json(
        raw / "annotations" / f"instances_{split}.json",
        **{"images": images, "annotations": annotations, "categories": CATEGORIES, **more},
    )


def save_segments(path, ids):
    """A picture of segments as COCO has them: the id of each pixel in its red, green and blue."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = np.asarray(ids)
    Image.fromarray(np.stack([ids % 256, ids // 256 % 256, ids // 256**2], -1).astype(np.uint8)).save(path)


def panoptic(folder):
    """Things, stuff, a crowd and pixels of no segment; an image that is listed and not there."""
    raw = folder / "raw"
    ids = np.zeros((HEIGHT, WIDTH), int)
    ids[:6, :8], ids[:6, 8:], ids[6:, :8] = 3_226_956, 70_000, 255
    ids[6:10, 8:] = 7
    save_segments(raw / "annotations" / "panoptic_val2017" / "000000000139.png", ids)
    save_image(raw / "val2017" / "000000000139.jpg")
    segments = [
        {"id": 3_226_956, "category_id": 82, "iscrowd": 0, "area": 48},
        {"id": 70_000, "category_id": 187, "iscrowd": 0, "area": 48},
        {"id": 255, "category_id": 1, "iscrowd": 1, "area": 48},
        {"id": 7, "category_id": 13, "iscrowd": 0, "area": 32},
    ]
    save_json(
        raw / "annotations" / "panoptic_val2017.json",
        images=[image_entry(139), image_entry(285)],
        annotations=[{"image_id": 139, "file_name": "000000000139.png", "segments_info": segments}],
        categories=CATEGORIES + STUFF,
    )
    captions = [{"image_id": 139, "id": 9, "caption": "later"}, {"image_id": 139, "id": 3, "caption": "a fridge\n"}]
    save_json(raw / "annotations" / "captions_val2017.json", annotations=captions)
    return {}


def instances(folder):
    """Two years of one split, of which one has an image that the other has too; objects that overlap."""
    raw = folder / "raw"
    for name in ("train2014/COCO_train2014_000000000009", "train2014/COCO_train2014_000000000025", "train2017/"):
        save_image(raw / f"{name}.jpg" if not name.endswith("/") else raw / name / "000000000030.jpg")
    annotations = [
        annotation(11, 9, 90, [box(1, 1, 4, 4)], 9),  # small, listed first
        annotation(12, 9, 1, [box(0, 0, 8, 6), box(10, 6, 12, 12)], 60),
    ]
    images = [image_entry(number, name=f"COCO_train2014_{number:012d}.jpg") for number in (9, 25)]
    save_instances(raw, "train2014", images, annotations)
    images = [image_entry(25), image_entry(30)]
    save_instances(raw, "train2017", images, [annotation(13, 30, 82, [box(3, 3, 5, 5)], 4)])
    save_instances(raw, "val2017", [], [])
    save_json(raw / "annotations" / "captions_train2017.json", annotations=[])
    return {"split": "train"}


def stuffthingmaps(folder):
    """COCO-Stuff by split; an image without a mask."""
    raw = folder / "raw"
    for split in ("train2017", "val2017"):
        save_pair(raw, "000000000139", [0, 81, 91, 181, 255], split, f"stuffthingmaps/{split}")
    save_pair(raw, "000000000285", [], "val2017", "stuffthingmaps/val2017", mask=False)
    return {"split": "val"}


def masks(folder):
    """Masks of both years in one folder, with category ids that only all of them together show to be such."""
    raw = folder / "raw"
    save_pair(raw, "000000000009", [1, 90], "train2014", "masks", palette=True)
    save_pair(raw, "000000000025", [1, 5, 255], "train2014", "masks", palette=True)
    for name in ("000000000009", "000000000025"):
        (raw / "train2014" / f"{name}.jpg").rename(raw / "train2014" / f"COCO_train2014_{name}.jpg")
    save_pair(raw, "000000000030", [3], "gone", "masks")
    return {"images": "train2014"}


def sds(folder):
    """Two images of one real image, in the list only one of them and one that is not there."""
    raw = folder / "raw"
    for name, values in (("2007_000032_0", [1, 15]), ("2007_000032_1", [1, 255]), ("2007_000039_0", [20])):
        save_pair(raw, name, values, palette=True)
    (folder / "voc").mkdir()
    (folder / "voc" / "train.txt").write_text("2007_000039_0 19\n2007_000032_1 0\n2007_000042_0 18\n")
    return {"labels": "voc", "split": "train"}


LAYOUTS = {
    "coco-panoptic": panoptic, "coco-instances": instances, "coco-masks": masks, "sds": sds,
}  # fmt: skip
FOUND = {  # ids, class ids, what is skipped
    "coco-panoptic": (["000000000139"], [[12, 73]], "1 listed without an image"),
    "coco-instances": (
        ["COCO_train2014_000000000009", "COCO_train2014_000000000025", "000000000030"],
        [[1, 80], [], [73]],
        "1 image of an earlier annotation file",
    ),
    "coco-masks": (
        ["COCO_train2014_000000000009", "COCO_train2014_000000000025"],
        [[1, 80], [1, 5]],
        "1 mask without an image",
    ),
    "sds": (["2007_000039_0", "2007_000032_1"], [[20], [1]], "1 listed without an image"),
}
