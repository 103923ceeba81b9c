"""FiftyOne's ImageSegmentationDirectory: images and masks of the same names, and what else is known of each."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sds_hf.data.images import encode_mask
from sds_hf.exports.base import Job, export_format
from sds_hf.files import write_whole
from sds_hf.selection.duck import database
from sds_hf.selection.source import open_scores

TARGETS, FIELDS = "mask_targets.json", "fields.json"
TEXTS = ("caption", "class_prompt")


@export_format(
    "fiftyone", "FiftyOne's ImageSegmentationDirectory: data, labels (index PNGs), mask_targets.json, fields.json"
)
def write_fiftyone(job: Job, scores: str | Path | None = None) -> None:
    """Write what `fiftyone.types.ImageSegmentationDirectory` reads.

    Masks are grey PNGs, since FiftyOne reads palette PNGs as colours. That type has no place for class names:
    `mask_targets.json` holds them by index, for `dataset.default_mask_targets`. Nor has it one for more fields:
    `fields.json` holds ids, captions, the reasons of a selection and scores, by field and by path of the image in the
    folder, for `dataset.set_values(field, values, key_field="filepath")`.

    Args:
        job: the export.
        scores: of the rows, by id: folder of a score table, or Parquet files; else numbers of the dataset itself.
    """
    images, masks = job.subfolder("data"), job.subfolder("labels")
    table, fields = _scores_by_id(scores) if scores is not None else {}, dict[str, dict[str, Any]]()
    reasons = job.reasons()
    for sample in job.samples():
        path = images / f"{sample.name}.{sample.suffix}"
        path.write_bytes(sample.image)
        (masks / f"{sample.name}.png").write_bytes(encode_mask(sample.indices))
        own_values = {"id": sample.row_id, **dict(_told(sample.cells)), "reason": next(reasons, None)}
        for field, value in {**own_values, **table.get(sample.row_id, {})}.items():
            if value is not None:
                fields.setdefault(field, {})[path.relative_to(job.folder).as_posix()] = value
    targets = dict(enumerate(job.labels.names))
    write_whole(job.folder / TARGETS, json.dumps(targets, indent=2, ensure_ascii=False) + "\n")
    write_whole(job.folder / FIELDS, json.dumps(fields, indent=2, ensure_ascii=False) + "\n")


def _told(cells: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Captions and scores of a row."""
    for name, value in cells.items():
        if isinstance(value, float) or (name in TEXTS and isinstance(value, str)):
            yield name, value


def _scores_by_id(scores: str | Path) -> dict[str, dict[str, float]]:
    """Score columns by id."""
    with database() as connection:
        source = open_scores(scores, connection)
        names = [name for name, kind in source.types.items() if kind in ("FLOAT", "DOUBLE")]
        columns = ", ".join(source.columns[name] for name in ("id", *names))
        rows = connection.sql(f"SELECT {columns} FROM {source.sql}").fetchall()
    return {str(row[0]): dict(zip(names, row[1:], strict=True)) for row in rows}
