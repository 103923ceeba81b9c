"""Cityscapes (Cordts et al., CVPR 2016)."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sds_hf.data.labels import CITYSCAPES, IGNORE_INDEX
from sds_hf.data.sources.files import UnknownLayoutError, natural, subfolders
from sds_hf.data.sources.masks import read_mask
from sds_hf.data.sources.reader import Reader, Row

IMAGE_END = "_leftImg8bit.png"
ANNOTATIONS = ("gtFine", "gtCoarse")
EVALUATED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)  # label ids of train ids 0 to 18
LABEL_IDS, TRAIN_IDS, INSTANCE_IDS = "labelIds", "labelTrainIds", "instanceIds"
FIRST_OBJECT = 1000  # lower instance ids are those of stuff, and of groups
HIGHEST_ID = 33 * 1000 + 999


class Cityscapes(Reader):
    """`leftImg8bit/<split>/<city>/*_leftImg8bit.png` and `gtFine/<split>/<city>/*_gtFine_labelIds.png`.

    Masks become train ids plus 1; what is not evaluated is 255, and 0 does not occur. Where there are no
    `labelIds` files, `labelTrainIds` files are read.

    Args:
        path: the folder that holds both.
        labels: `cityscapes` if None.
        split: `train`, `val`, `test` (without annotations), or `train_extra` of `gtCoarse`.
        masks: `gtFine` or `gtCoarse`; if None the first of them that has the split.
        instances: whether to read the single objects too, as pictures of ids in the column `instances`: 1000 times the
            label id plus a number. Groups of objects have none.
    """

    name: ClassVar[str] = "cityscapes"
    summary: ClassVar[str] = "leftImg8bit/<split>/<city>/*.png, gtFine/<split>/<city>/*_labelIds.png"

    def __init__(
        self,
        path: str | Path,
        labels: str | None = None,
        split: str = "train",
        masks: str | None = None,
        instances: bool = False,
    ) -> None:
        super().__init__(path, labels)
        if self.labels is not CITYSCAPES:
            raise UnknownLayoutError(f"Cityscapes' label ids mean its own classes, not those of {self.labels.name!r}")
        self.masks = masks or next(
            (name for name in ANNOTATIONS if (self.path / name / split).is_dir()), ANNOTATIONS[0]
        )
        self.further = {"instances": "picture"} if instances else {}
        self.images = self.path / "leftImg8bit" / split
        self.annotations = self.path / self.masks / split
        for folder in (self.images, self.annotations):
            if not folder.is_dir():
                there = sorted(subfolders(folder.parent))
                raise UnknownLayoutError(f"no split {split!r} in {folder.parent}; there are {there}: give split=...")

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """See `Reader.recognises`."""
        return (path / "leftImg8bit").is_dir() and any((path / name).is_dir() for name in ANNOTATIONS)

    def default_labels(self) -> str:
        """`cityscapes`."""
        return "cityscapes"

    def entries(self) -> list[Path]:
        """See `Reader.entries`."""
        return sorted(self.images.glob(f"*/*{IMAGE_END}"), key=lambda path: natural(path.name))

    def read(self, entry: Path) -> Row | None:
        """See `Reader.read`."""
        name = entry.name.removesuffix(IMAGE_END)
        files = [self._annotation(entry, kind) for kind in (LABEL_IDS, TRAIN_IDS)]
        path = next((path for path in files if path.exists()), None)
        if path is None:
            return self.missing("image without a mask", entry, files[0])
        ids = self._annotation(entry, INSTANCE_IDS)
        if self.further and not ids.exists():
            return self.missing("image without instances", entry, ids)
        stored = read_mask(self.file(path))
        mask = _from_label_ids(stored, path) if path == files[0] else _from_train_ids(stored)
        extra_cells: dict[str, Any] = {column: _objects(self.file(ids)) for column in self.further}
        return self.row(name, entry, self.check_mask(mask, path), **extra_cells)

    def _annotation(self, image: Path, kind: str) -> Path:
        name = image.name.removesuffix(IMAGE_END)
        return self.annotations / image.parent.name / f"{name}_{self.masks}_{kind}.png"


def _from_label_ids(mask: np.ndarray, path: Path) -> np.ndarray:
    """Label ids (0 to 33; 255 is the licence plate's -1) as train ids + 1."""
    if unknown := sorted({*np.unique(mask).tolist()} - {*range(34), IGNORE_INDEX}):
        raise UnknownLayoutError(f"{path}: {unknown} are no label ids of Cityscapes (0 to 33)")
    table = np.full(256, IGNORE_INDEX, np.uint8)
    table[list(EVALUATED)] = range(1, len(EVALUATED) + 1)
    return np.asarray(table[mask])


def _from_train_ids(mask: np.ndarray) -> np.ndarray:
    return np.where(mask == IGNORE_INDEX, IGNORE_INDEX, np.minimum(mask, IGNORE_INDEX - 2) + 1).astype(np.uint8)


def _objects(path: Path) -> np.ndarray:
    """The ids of single objects, (H, W) uint16; 0 elsewhere."""
    ids = read_mask(path, HIGHEST_ID)
    return np.where(ids >= FIRST_OBJECT, ids, 0).astype(np.uint16)
