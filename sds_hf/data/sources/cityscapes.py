"""Cityscapes (Cordts et al., CVPR 2016)."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sds_hf.data.labels import CITYSCAPES, IGNORE_INDEX
from sds_hf.data.names_files import is_background, letters, read_names
from sds_hf.data.sources.files import UnknownLayoutError, natural, subfolders
from sds_hf.data.sources.masks import read_mask
from sds_hf.data.sources.reader import Reader, Row

NAMES_FILE = "label_colors.txt"  # of Datumaro
IMAGE_END = "_leftImg8bit.png"
ANNOTATIONS = ("gtFine", "gtCoarse")
EVALUATED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)  # label ids of train ids 0 to 18
LABEL_IDS, TRAIN_IDS, INSTANCE_IDS = "labelIds", "labelTrainIds", "instanceIds"
FIRST_OBJECT = 1000  # lower instance ids are those of stuff, and of groups
HIGHEST_ID = 33 * 1000 + 999


class Cityscapes(Reader):
    """`leftImg8bit/<split>/<city>/*_leftImg8bit.png` and `gtFine/<split>/<city>/*_gtFine_labelIds.png`.

    Masks become train ids plus 1; what is not evaluated is 255, and 0 does not occur. Where there are no
    `labelIds` files, `labelTrainIds` files are read. The folders of the cities may be left out. Where Datumaro wrote
    other classes in this layout, its `label_colors.txt` says them, and label ids are the places of their names in it.

    Args:
        path: the folder that holds both.
        labels: `cityscapes` if None, or the classes of `label_colors.txt`.
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
        if self.labels is not CITYSCAPES and not (self.path / NAMES_FILE).is_file():
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
        """`cityscapes`, unless `label_colors.txt` names other classes.

        Raises:
            ValueError: if that file cannot be read as names, or leaves open which is 0: Datumaro adds a background
                before those that it lists, unless one of them is black.
        """
        own = self.path / NAMES_FILE
        if not own.is_file():
            return "cityscapes"
        names = read_names(self.file(own))
        if not is_background(names.names[0]) and (0, 0, 0) not in names.colors.values():
            raise UnknownLayoutError(
                f"{own} names no background and no colour is black, so that 0 is {names.names[0]!r} or what is in no "
                "class: give a file that begins with one of them as labels=..."
            )
        listed = [letters(names.names.get(number, "")) for number in EVALUATED]
        return "cityscapes" if listed == [letters(name) for name in CITYSCAPES.names[1:]] else str(own)

    def entries(self) -> list[Path]:
        """See `Reader.entries`."""
        images = (path for depth in ("", "*/") for path in self.images.glob(f"{depth}*{IMAGE_END}"))
        return sorted(images, key=lambda path: natural(path.name))

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
        extra_cells: dict[str, Any] = {column: _objects(self.file(ids)) for column in self.further}
        return self.row(name, entry, self._mask(path, path == files[0]), **extra_cells)

    def _mask(self, path: Path, has_label_ids: bool) -> np.ndarray:
        if self.labels is not CITYSCAPES:
            return self.read_indices(path)
        stored = read_mask(self.file(path))
        return self.check_mask(_from_label_ids(stored, path) if has_label_ids else _from_train_ids(stored), path)

    def _annotation(self, image: Path, kind: str) -> Path:
        name = image.name.removesuffix(IMAGE_END)
        return self.annotations / image.parent.relative_to(self.images) / f"{name}_{self.masks}_{kind}.png"


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
