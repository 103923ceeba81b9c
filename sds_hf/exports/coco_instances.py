"""COCO instances: images and one JSON of annotations, as detectors take it."""

from typing import Any

from sds_hf.data.instances import rle_of_part
from sds_hf.exports.base import Job, export_format
from sds_hf.exports.coco import categories, category_ids, coco_tree
from sds_hf.exports.segments import Segment, kind_of_objects, objects
from sds_hf.scores.base.shapes import InstanceKind


@export_format(
    "coco-instances",
    "COCO instances: train2017, annotations/instances_train2017.json (run lengths or the dataset's own polygons)",
    needs=("image", ("mask", "instances")),
)
def write_coco_instances(job: Job, instances: InstanceKind | None = None) -> None:
    """Write COCO's layout for instance segmentation.

    Category ids are COCO's own where the label space has them, else the indices. Objects of the mask are run lengths,
    which keep every pixel; polygons that the dataset gives stay polygons. Ignored pixels (255) belong to no object:
    COCO's file has no place for them.

    Args:
        job: what to write.
        instances: `column`, the objects of the column `instances`; `components`, connected parts of classes in the
            mask; `class`, whole classes. If None, the column if there is one, else components.
    """
    kind = kind_of_objects(instances, job.dataset.column_names, without="components")
    ids = category_ids(job.labels)
    with coco_tree(job, "instances", categories(job.labels)) as tree:
        for sample in job.samples():
            image_id = tree.add_image(sample)
            for segment in objects(sample, job.labels, kind):
                annotation_ids = {"id": tree.next_id, "image_id": image_id, "category_id": ids[segment.class_id]}
                tree.add({**annotation_ids, **_shape(segment, sample.size)})


def _shape(segment: Segment, size: tuple[int, int]) -> dict[str, Any]:
    drawn = segment.polygons and not segment.crowd
    return {
        "segmentation": list(segment.polygons) if drawn else rle_of_part(segment.part, size),
        "area": segment.part.area,
        "bbox": segment.part.box,
        "iscrowd": int(segment.crowd),
    }
