"""A small tree of each raw layout, by reader."""

import pyarrow as pa
import pyarrow.parquet as pq

from support import coco_trees, raw_trees
from support.raw_trees import save_pair, save_prompts


def diffusion(folder):
    """COCO in original ids, prompts beside the folder, an image without a mask."""
    save_pair(folder / "raw", "0", [82, 255])
    save_pair(folder / "raw", "10", [1])
    save_pair(folder / "raw", "9", [], mask=False)
    save_prompts(folder, {"0": "refrigerator", "10": "person"}, "asked.json")
    return {"labels": "coco", "ids": "original", "prompts": str(folder / "asked.json")}


def plain(folder):
    """A table with numbers as ids, folders of unusual names, a row that is listed without a mask."""
    for name, values in (("a", [3]), ("b", [4, 255])):
        save_pair(folder / "raw", name, values, "pictures", "indices", palette=True)
    save_pair(folder / "raw", "c", [], "pictures", "indices", mask=False)
    rows = [{"file_name": f"{name}.jpg", "id": number, "text": f"picture {name}"} for number, name in enumerate("bac")]
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    return {"labels": "voc", "images": "pictures", "masks": "indices", "table": str(folder / "rows.parquet")}


def voc(folder):
    """Two lists, masks in a folder of their own, an id without an image."""
    root = folder / "raw" / "VOCdevkit" / "VOC2012"
    save_pair(root, "2007_000032", [1, 15, 255], "JPEGImages", "SegmentationClassAug", palette=True)
    save_pair(root, "2007_000039", [20], "JPEGImages", "SegmentationClassAug")
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train_aug.txt").write_text("2007_000039\n2007_000032\n2007_000042\n")
    (lists / "val.txt").write_text("2007_000032\n")
    return {"split": "train_aug", "masks": "SegmentationClassAug"}


OWN = {"dataset-diffusion": diffusion, "folder": plain, "pascal-voc": voc}


LAYOUTS = {**OWN, **coco_trees.LAYOUTS, **raw_trees.LAYOUTS}
