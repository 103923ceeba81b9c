"""Small trees in exactly the layouts of DiffuMask, SBD, Cityscapes and Open Images, each with one thing skipped."""

import json

import numpy as np
from PIL import Image
from scipy.io import savemat

from sds_hf.data.labels import CITYSCAPES, VOC

HEIGHT, WIDTH = 8, 12
CITY = "aachen_000000_000019"


def pixels(*values, dtype=np.uint8):
    """A label map, 0 but for its first pixels."""
    found = np.zeros((HEIGHT, WIDTH), dtype)
    found.flat[: len(values)] = values
    return found


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def save_picture(path, height=HEIGHT, width=WIDTH):
    save(path, np.full((height, width, 3), 90, np.uint8))


def diffumask(folder):
    """Two folders of a class, one without CRF; an image without a mask; attention that must stay closed."""
    first = folder / "raw" / "VOC_Multi_Attention_dog_sub_9_NoClipRetrieval_sample"
    for number in (200_000, 200_001):
        save_picture(first / "train_image" / f"image_dog_{number}.jpg")
        (first / "npy").mkdir(exist_ok=True)
        np.save(first / "npy" / f"image_dog_{number}.npy", {11: np.zeros((2, 2), np.float32)}, allow_pickle=True)
        save(first / "refine_gt" / f"image_dog_{number}.png", pixels(12))
    save(first / "refine_gt_crf" / "image_dog_200000.png", pixels(12, 12))
    second = folder / "raw" / "VOC_Multi_Attention_bird_sub_9_NoClipRetrieval"
    save_picture(second / "train_image" / "image_bird_200000.jpg")
    save(second / "refine_gt" / "image_bird_200000.png", pixels(3))
    return {}


def spliced(folder):
    """Output of the splicing augmentation: masks of three equal channels."""
    for number, values in ((3000, [3, 12]), (15001, [12])):
        save_picture(folder / "raw" / "Image" / f"splicing_{number}.jpg")
        save(folder / "raw" / "Mask" / f"splicing_{number}.png", np.repeat(pixels(*values)[..., None], 3, -1))
    return {}


def save_mat(path, struct, segmentation, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {struct: {"Segmentation": segmentation, **more}}, do_compression=True)


def sbd(folder):
    """A list with an id that has no image."""
    root = folder / "raw" / "benchmark_RELEASE" / "dataset"
    for name, classes, ids in (("2008_000002", [20, 20], [1, 2]), ("2008_000003", [15, 19, 0], [1, 2, 0])):
        save_picture(root / "img" / f"{name}.jpg")
        save_mat(root / "cls" / f"{name}.mat", "GTcls", pixels(*classes), CategoriesPresent=sorted({*classes}))
        save_mat(root / "inst" / f"{name}.mat", "GTinst", pixels(*ids), Categories=classes[:2])
    (root / "train.txt").write_text("2008_000003\n2008_000002\n2008_000009\n")
    (root / "val.txt").write_text("2008_000002\n")
    return {"split": "train", "instances": True}


def cityscapes(folder):
    """Label ids with objects, a group, stuff and void; an image without annotations; coarse ones beside them."""
    raw = folder / "raw"
    for name in (CITY, "aachen_000001_000019"):
        save_picture(raw / "leftImg8bit" / "train" / "aachen" / f"{name}_leftImg8bit.png")
    fine = raw / "gtFine" / "train" / "aachen"
    save(fine / f"{CITY}_gtFine_labelIds.png", pixels(7, 24, 26, 26, 33, 4, 29))
    save(fine / f"{CITY}_gtFine_instanceIds.png", pixels(7, 24, 26000, 26001, 33000, 4, 29000, dtype=np.uint16))
    save(raw / "gtCoarse" / "train_extra" / "bayreuth" / "bayreuth_000000_000001_gtCoarse_labelIds.png", pixels(23))
    save_picture(raw / "leftImg8bit" / "train_extra" / "bayreuth" / "bayreuth_000000_000001_leftImg8bit.png")
    return {"split": "train", "instances": True}


BOXES_HEADER = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
)
BOXES = [  # three images in the order of the file; the second has no class of street scenes, the third no image
    "000002b66c9c498e,xclick,/m/0k4j,1,0.25,0.5,0.125,0.75,0,1,0,0,-1",
    "000002b66c9c498e,xclick,/m/03bt1vf,1,0,1,0,1,0,0,1,0,0",
    "000002b66c9c498e,xclick,/m/0199g,1,0,0.5,0,1,0,0,0,1,0",
    "000002b66c9c498e,xclick,/m/01g317,1,0,0.5,0,1,0,0,0,0,0",
    "000002b97e5471a0,xclick,/m/0138tl,1,0,0.5,0,1,0,0,0,0,0",
    "000002c707c9895e,xclick,/m/0k4j,1,0,0.5,0,1,0,0,0,0,0",
]
DESCRIPTIONS = "/m/0138tl,Toy\n/m/0199g,Bicycle\n/m/01g317,Person\n/m/03bt1vf,Woman\n/m/0k4j,Car\n"


def open_images(folder):
    """Boxes of the classes of street scenes, and of another."""
    raw = folder / "raw"
    for name in ("000002b66c9c498e", "000002b97e5471a0"):
        save_picture(raw / "train" / f"{name}.jpg")
    (raw / "oidv6-train-annotations-bbox.csv").write_text("\n".join([BOXES_HEADER, *BOXES]) + "\n")
    (raw / "class-descriptions-boxable.csv").write_text(DESCRIPTIONS)
    return {"split": "train", "classes": "Person,/m/0k4j,Woman,Toy"}


LAYOUTS = {"diffumask": diffumask, "sbd": sbd, "cityscapes": cityscapes, "open-images": open_images}
NAMES = {name: CITYSCAPES.names.index(name) for name in ("road", "person", "car", "bicycle")}
FOUND = {  # ids, class ids, what is skipped
    "diffumask": (
        [
            "VOC_Multi_Attention_bird_sub_9_NoClipRetrieval/image_bird_200000",
            "VOC_Multi_Attention_dog_sub_9_NoClipRetrieval_sample/image_dog_200000",
        ],
        [[3], [12]],
        "1 image without a mask",
    ),
    "sbd": (["2008_000003", "2008_000002"], [[15, 19], [20]], "1 listed without an image"),
    "cityscapes": ([CITY], [sorted(NAMES.values())], "1 image without a mask"),
    "open-images": (["000002b66c9c498e", "000002b97e5471a0"], [[0, 1, 2], [3]], "1 boxes without an image"),
}


def save_pair(folder, name, values, images="image", masks="mask", palette=False, mask=True):
    """An image and, if wanted, a mask that holds the values."""
    for part in (images, masks):
        (folder / part).mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(folder / images / f"{name}.jpg")
    if mask:
        pixels = np.zeros((8, 8), np.uint8)
        pixels.flat[: len(values)] = values
        image = Image.fromarray(pixels)
        if palette:
            image.putpalette([channel for color in VOC.palette for channel in color])
        image.save(folder / masks / f"{name}.png")


def save_prompts(folder, prompts, name="prompts.json"):
    entries = [
        {"filename": f"{key}.jpg", "caption": f"a photo; {value}", "class_prompt": value}
        for key, value in prompts.items()
    ]
    (folder / name).write_text(json.dumps(entries))
