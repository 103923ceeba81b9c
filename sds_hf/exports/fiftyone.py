"""FiftyOne's ImageSegmentationDirectory: images and masks of the same names."""

import json

from sds_hf.data.images import encode_mask
from sds_hf.exports.base import Job, export_format
from sds_hf.files import write_whole

TARGETS = "mask_targets.json"


@export_format("fiftyone", "FiftyOne's ImageSegmentationDirectory: data, labels (index PNGs), mask_targets.json")
def write_fiftyone(job: Job) -> None:
    """Write what `fiftyone.types.ImageSegmentationDirectory` reads.

    Masks are grey PNGs, since FiftyOne reads palette PNGs as colours. That type has no place for class names:
    `mask_targets.json` holds them by index, for `dataset.default_mask_targets`.
    """
    images, masks = job.subfolder("data"), job.subfolder("labels")
    for sample in job.samples():
        (images / f"{sample.name}.{sample.suffix}").write_bytes(sample.image)
        (masks / f"{sample.name}.png").write_bytes(encode_mask(sample.indices))
    targets = dict(enumerate(job.labels.names))
    write_whole(job.folder / TARGETS, json.dumps(targets, indent=2, ensure_ascii=False) + "\n")
