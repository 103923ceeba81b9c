"""The Semantic Boundaries Dataset (Hariharan et al., ICCV 2011) as it is distributed: MATLAB files."""

import struct
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sds_hf.data.access.paths import read_file
from sds_hf.data.labels import CITYSCAPES, COCO
from sds_hf.data.sources.files import UnknownLayoutError, files_by_stem, read_text
from sds_hf.data.sources.reader import Reader, Row

HEADER, COMPRESSED = 128, 15  # of MATLAB files: bytes before the first part, and the kind of packed ones
LARGEST = 64 << 20  # bytes


class SBD(Reader):
    """`benchmark_RELEASE/dataset/` with `img/<id>.jpg`, `cls/<id>.mat` and `inst/<id>.mat`.

    Args:
        path: that folder, or one that holds `benchmark_RELEASE/dataset` or `dataset`.
        labels: `voc` if None.
        split: `train` or `val`, whose ids are in `<split>.txt`; all of `cls/` if None.
        instances: whether to read the objects of `inst/` too, as pictures of ids in the column `instances`.

    Its 11,355 images are of PASCAL VOC; the masks have no 255.
    """

    name: ClassVar[str] = "sbd"
    summary: ClassVar[str] = "img/*.jpg, cls/*.mat, inst/*.mat of benchmark_RELEASE/dataset"

    def __init__(
        self, path: str | Path, labels: str | None = None, split: str | None = None, instances: bool = False
    ) -> None:
        super().__init__(_root(Path(path)), labels)
        if self.labels in (COCO, CITYSCAPES):
            raise UnknownLayoutError(f"SBD's masks hold indices of PASCAL VOC, not of {self.labels.name!r}")
        self.list = self.path / f"{split}.txt" if split else None
        self.further = {"instances": "picture"} if instances else {}
        if self.list and not self.list.exists():
            splits = sorted(file.stem for file in self.path.glob("*.txt"))
            raise UnknownLayoutError(f"no split {split!r} in {self.path}; there are {splits}")

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """See `Reader.recognises`."""
        root = _root(path)
        return (root / "img").is_dir() and any((root / "cls").glob("*.mat"))

    def default_labels(self) -> str:
        """`voc`."""
        return "voc"

    def entries(self) -> Collection[str]:
        """See `Reader.entries`."""
        if self.list is None:
            return files_by_stem(self.path / "cls", (".mat",))
        return [Path(name).name for name in read_text(self.list).split()]

    def read(self, entry: str) -> Row | None:
        """See `Reader.read`."""
        image, files = self.path / "img" / f"{entry}.jpg", [self.path / "cls" / f"{entry}.mat"]
        files += [self.path / "inst" / f"{entry}.mat"] if self.further else []
        for path, what in zip((image, *files), ("an image", "a mask", "instances"), strict=False):
            if not path.exists():
                return self.missing(f"listed without {what}", path)
        mask, *ids = (_segmentation(self.file(path)) for path in files)
        extra_cells: dict[str, Any] = dict(zip(self.further, ids, strict=True))
        return self.row(entry, image, self.check_mask(mask, files[0]), **extra_cells)


def _segmentation(path: Path) -> np.ndarray:
    """The label map of a file: (H, W) uint8."""
    try:
        from scipy.io import loadmat
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("SBD comes as MATLAB files, which need SciPy: pip install scipy") from error
    name = f"GT{path.parent.name}"
    try:
        _check_size(path)
        label_map = loadmat(path, variable_names=[name])[name]["Segmentation"][0, 0]
    except Exception as error:  # of a parser that believes what a file says: of many kinds
        raise UnknownLayoutError(f"{path}: no MATLAB file with {name}.Segmentation ({error})") from error
    if label_map.ndim != 2 or label_map.dtype != np.uint8:
        raise UnknownLayoutError(
            f"{path}: {name}.Segmentation is {label_map.dtype} of shape {label_map.shape}, not 8-bit (H, W)"
        )
    return np.asarray(label_map)


def _check_size(path: Path) -> None:
    """Refuse a file whose packed parts become far larger than any label map, before a parser unpacks them.

    Raises:
        ValueError: says how large.
    """
    data = read_file(path)
    start = HEADER
    while start + 8 <= len(data):
        kind, size = struct.unpack_from("<II" if data[126:128] == b"IM" else ">II", data, start)
        if kind == COMPRESSED:
            unpacked = zlib.decompressobj().decompress(data[start + 8 : start + 8 + size], LARGEST + 1)
            if len(unpacked) > LARGEST:
                raise ValueError(f"a part of more than {LARGEST >> 20} MiB")
        start += 8 + size


def _root(path: Path) -> Path:
    inner = (path / "benchmark_RELEASE" / "dataset", path / "dataset")
    return next((folder for folder in inner if (folder / "cls").is_dir()), path)
