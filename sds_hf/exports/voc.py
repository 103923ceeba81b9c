"""PASCAL VOC 2012: palette masks, and lists of names."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from sds_hf.data.labels import IGNORE_INDEX, LabelSpace
from sds_hf.exports.base import Job, export_format
from sds_hf.exports.samples import ExportError
from sds_hf.files import write_whole

SPLITS = ("train", "trainval")  # all rows are for training; tools ask for either


@export_format("voc", "PASCAL VOC: JPEGImages, SegmentationClass (palette PNGs), ImageSets, labelmap.txt")
def write_voc(job: Job) -> None:
    """Write the tree of PASCAL VOC 2012.

    Masks are PNGs of mode P in VOC's colours, whose indices are those of the dataset; 255 has that of VOC's borders,
    (224, 224, 192). Images that are no JPEGs keep their bytes and their suffix. `labelmap.txt` has one line
    `name:red,green,blue::` an index, as CVAT and Datumaro read it, and a last one for 255.

    Raises:
        ExportError: if two names are the same in such a line, which has no place for `:` and `#`.
    """
    images, masks = job.subfolder("JPEGImages"), job.subfolder("SegmentationClass")
    lists = job.subfolder("ImageSets", "Segmentation")
    palette = [channel for color in job.labels.palette for channel in color]
    with (lists / f"{SPLITS[0]}.txt").open("w", encoding="utf-8") as names:
        for sample in job.samples():
            (images / f"{sample.name}.{sample.suffix}").write_bytes(sample.image)
            save_palette_mask(sample.indices, masks / f"{sample.name}.png", palette)
            names.write(f"{sample.name}\n")
    (lists / f"{SPLITS[1]}.txt").write_bytes((lists / f"{SPLITS[0]}.txt").read_bytes())
    write_whole(job.folder / "labelmap.txt", _labelmap(job.labels))


def save_palette_mask(mask: np.ndarray, path: Path, palette: Sequence[int]) -> None:
    """Write a (H, W) uint8 mask as a PNG of mode P; the palette is red, green, blue of index 0, then of 1, ..."""
    image = Image.fromarray(mask)
    image.putpalette(palette)
    image.save(path, optimize=True)


def _labelmap(labels: LabelSpace) -> str:
    names = [" ".join(name.replace(":", " ").replace("#", " ").split()) for name in labels.names]
    if len(set(names)) < len(names) or "" in names:
        raise ExportError(f"labelmap.txt has no place for `:` and `#`, and without them names are the same: {names}")
    ignored = next(name for name in ("ignored", "void", "unlabeled", "dontcare") if name not in names)
    colors = [*labels.palette[: len(names)], labels.palette[IGNORE_INDEX]]
    lines = [f"{name}:{','.join(map(str, color))}::" for name, color in zip([*names, ignored], colors, strict=True)]
    return "\n".join(["# label:color_rgb:parts:actions", *lines]) + "\n"
