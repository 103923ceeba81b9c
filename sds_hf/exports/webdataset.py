"""Tars of samples, as `webdataset` and the builder of that name in `datasets` read them."""

import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sds_hf.data.folder import SHARD_BYTES
from sds_hf.data.images import encode_mask
from sds_hf.exports.base import Job, export_format
from sds_hf.exports.samples import ExportError, Sample
from sds_hf.files import write_whole

if TYPE_CHECKING:
    from datasets import Features

MASK, CAPTION, OTHERS = "seg.png", "txt", "json"
NOT_PLAIN = ("binary", "large_binary", "timestamp", "date", "time", "duration", "decimal")  # no values of JSON


@export_format("webdataset", "tars of <key>.jpg, .seg.png, .txt (caption) and .json (the rest)", needs=("image",))
def write_webdataset(job: Job, shard_bytes: int = SHARD_BYTES) -> None:
    """Write `train-00000.tar`, `train-00001.tar`, ..., and a README by which `load_dataset` knows all types.

    A sample has the image (`jpg`, or `image.png` and the like), the mask as a grey PNG of indices (`seg.png`), the
    caption (`txt`, empty where there is none) and all other columns that JSON can hold (`json`, without nulls). All
    samples must have files of the same names, so the first image decides what all are called: where formats are mixed,
    some are not what their suffix says, which readers that look into files do not mind.

    Args:
        job: what to write.
        shard_bytes: a tar takes no more samples when it has so many bytes.

    Raises:
        ExportError: if the size is no positive number.
    """
    from datasets import Features, Image, Value

    if shard_bytes < 1:
        raise ExportError(f"shard_bytes must be at least 1, not {shard_bytes}")
    features = _features(job)
    image = ""
    with closing(_Tars(job.folder, shard_bytes)) as tars:
        for sample in job.samples():
            image = image or (sample.suffix if sample.suffix == "jpg" else f"image.{sample.suffix}")
            tars.add(sample.name, dict(_files(sample, image, features)))
    fields = Features({"__key__": Value("string"), image: Image(), **features})
    write_whole(job.folder / "README.md", _readme(fields))


def _features(job: Job) -> dict[str, Any]:
    """Features of the files of a sample but the image."""
    from datasets import Image, Value

    columns = job.dataset.features
    others = {name: one for name, one in columns.items() if name != "caption" and _plain(one)}
    return {
        **({MASK: Image()} if "mask" in columns else {}),
        **({CAPTION: Value("string")} if "caption" in columns else {}),
        OTHERS: {**others, "id": Value("string")},
    }


def _plain(feature: Any) -> bool:
    """Whether JSON holds the values of a feature as they are."""
    from datasets import ClassLabel, Value

    if isinstance(feature, Value):
        return not feature.dtype.startswith(NOT_PLAIN)
    if isinstance(feature, dict):
        return all(map(_plain, feature.values()))
    if isinstance(feature, list):
        return all(map(_plain, feature))
    inner = getattr(feature, "feature", None)
    return isinstance(feature, ClassLabel) or (inner is not None and _plain(inner))


def _files(sample: Sample, image: str, features: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    yield image, sample.image
    if sample.mask is not None:
        yield MASK, encode_mask(sample.mask)
    if CAPTION in features:
        yield CAPTION, (sample.cells["caption"] or "").encode()
    others = {name: sample.cells[name] for name in features[OTHERS] if sample.cells.get(name) is not None}
    yield OTHERS, json.dumps({**others, "id": sample.row_id}, ensure_ascii=False).encode()


class _Tars:
    """Numbered tars of bounded size; the same samples are the same bytes."""

    def __init__(self, folder: Path, shard_bytes: int) -> None:
        self._folder, self._limit, self._count = folder, shard_bytes, 0
        self._tar: tarfile.TarFile | None = None

    def add(self, key: str, files: dict[str, bytes]) -> None:
        if self._tar is None:
            self._tar = tarfile.open(self._folder / f"train-{self._count:05d}.tar", "w")  # noqa: SIM115
            self._count += 1
        for name, data in files.items():
            entry = tarfile.TarInfo(f"{key}.{name}")
            entry.size = len(data)
            self._tar.addfile(entry, io.BytesIO(data))
        if self._tar.offset >= self._limit:
            self.close()

    def close(self) -> None:
        if self._tar is not None:
            self._tar.close()
        self._tar = None


def _readme(features: "Features") -> str:
    from datasets import DatasetInfo
    from datasets.info import DatasetInfosDict
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCardData

    data = DatasetCardData()
    DatasetInfosDict({"default": DatasetInfo(features=features)}).to_dataset_card_data(data)
    MetadataConfigs({"default": {"data_files": [{"split": "train", "path": "*.tar"}]}}).to_dataset_card_data(data)
    return f"---\n{data}\n---\n"
