"""COCO panoptic: PNGs of segment ids and one JSON that says what they are."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sds_hf.data.instances import Part
from sds_hf.data.labels import IGNORE_INDEX, LabelSpace
from sds_hf.exports.base import Job, export_format
from sds_hf.exports.coco import BACKGROUND, SPLIT, categories, category_ids, coco_tree
from sds_hf.exports.samples import Sample
from sds_hf.exports.segments import Segment, kind_of_objects, objects
from sds_hf.scores.base.shapes import InstanceKind

SPREAD = 0x9E3779B1  # odd, so that numbers times it are different and far apart modulo 2**24


@export_format(
    "coco-panoptic",
    "COCO panoptic: train2017, annotations/panoptic_train2017.json and PNGs, id = R + 256 G + 65536 B",
)
def write_coco_panoptic(job: Job, instances: InstanceKind | None = None, stuff: Sequence[str] = ()) -> None:
    """Write COCO's layout for panoptic segmentation.

    Every pixel belongs to one segment, and ignored ones (255) to none (0). The background is a segment of stuff.
    Category ids are COCO's own where the label space has them, else the indices.

    Args:
        job: what to write.
        instances: what a segment of a thing is: `column`, an object of the column `instances`, cut to its class in the
            mask, smaller ones in front; `components`, a connected part of its class; `class`, all of it. If
            None, the column if there is one, else the class.
        stuff: names of classes that are no things: one segment each.
    """
    kind = kind_of_objects(instances, job.dataset.column_names, without="class")
    ids, listed = category_ids(job.labels), categories(job.labels, stuff)
    if job.labels.has_background:
        listed.append({"id": ids[0], "name": BACKGROUND, "supercategory": BACKGROUND, "isthing": 0, "color": [0, 0, 0]})
    with coco_tree(job, "panoptic", listed) as tree:
        pictures = job.subfolder("annotations", f"panoptic_{SPLIT}")
        for sample in job.samples():
            image_id, name = tree.add_image(sample), f"{sample.name}.png"
            numbers, infos = _painted(_segments(sample, job.labels, kind, stuff), sample.size, ids)
            _save(numbers, pictures / name)
            tree.add({"image_id": image_id, "file_name": name, "segments_info": infos})


def _segments(sample: Sample, labels: LabelSpace, kind: InstanceKind, stuff: Sequence[str]) -> Iterator[Segment]:
    """Disjoint segments that cover all pixels but the ignored ones."""
    mask = sample.indices
    left = mask != IGNORE_INDEX
    things = [segment for segment in objects(sample, labels, kind) if labels.names[segment.class_id] not in stuff]
    for thing in sorted(things, key=lambda segment: segment.part.area):  # the smallest is in front of all others
        window = thing.part.window
        visible = thing.part.mask & left[window] & (mask[window] == thing.class_id)
        if visible.any():
            yield Segment(thing.class_id, Part.of(visible, thing.part.top, thing.part.left), thing.crowd)
            left[window] &= ~visible
    for class_id in np.unique(mask[left]):
        yield Segment(int(class_id), Part.of(left & (mask == class_id)))


def _painted(
    segments: Iterator[Segment], shape: tuple[int, ...], ids: dict[int, int]
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Segment ids, (H, W) uint32 with 0 where there is none, and what they are."""
    numbers, infos = np.zeros(shape, np.uint32), []
    for index, segment in enumerate(segments, 1):
        number = index * SPREAD % (1 << 24)
        numbers[segment.part.window][segment.part.mask] = number
        infos.append(
            {
                "id": number,
                "category_id": ids[segment.class_id],
                "area": segment.part.area,
                "bbox": segment.part.box,
                "iscrowd": int(segment.crowd),
            }
        )
    return numbers, infos


def _save(numbers: np.ndarray, path: Path) -> None:
    channels = np.stack([numbers >> shift & 255 for shift in (0, 8, 16)], axis=-1)
    Image.fromarray(channels.astype(np.uint8)).save(path)
