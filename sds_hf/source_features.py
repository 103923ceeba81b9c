"""Columns of the rows of a reader, as features of `datasets` of any version."""

from collections.abc import Callable
from typing import Any

from datasets import ClassLabel, Features, Image, Value

from sds_hf.datafolder import row_features
from sds_hf.labels import LabelSpace
from sds_hf.sources import Reader

FLAGS = ("is_occluded", "is_truncated", "is_group_of", "is_depiction", "is_inside")


def source_features(reader: Reader) -> Features:
    """Features of a reader's rows: the common columns, without `mask` if it has none, and its further ones."""
    further = {name: KINDS[kind](reader.labels) for name, kind in reader.further.items()}
    features = row_features(reader.labels, further)
    return Features({name: features[name] for name in features if name != "mask" or reader.has_masks})


def _outlines(labels: LabelSpace) -> Any:
    return [
        {
            "class": ClassLabel(names=list(labels.names)),
            "polygons": [[Value("float64")]],
            "counts": Value("string"),
            "size": [Value("int32")],
            "iscrowd": Value("bool"),
        }
    ]


def _boxes(labels: LabelSpace) -> Any:
    sides = {side: Value("float32") for side in ("xmin", "ymin", "xmax", "ymax")}
    flags = {flag: Value("bool") for flag in FLAGS}
    return [{"class": ClassLabel(names=list(labels.names)), **sides, "confidence": Value("float32"), **flags}]


KINDS: dict[str, Callable[[LabelSpace], Any]] = {  # what `Reader.further` may name
    "text": lambda labels: Value("string"),
    "picture": lambda labels: Image(),
    "outlines": _outlines,  # what `given_instances` reads
    "boxes": _boxes,  # what `given_boxes` reads
}
