"""Ready-made masks of COCO: COCO-Stuff's `stuffthingmaps`, and masks of the 80 things in either id system."""

import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from sds_hf.data.labels import MaskValues
from sds_hf.data.sources.coco_files import IMAGE_FOLDERS, annotation_files, chosen_splits
from sds_hf.data.sources.coco_ids import Ids, check_ids, find_ids
from sds_hf.data.sources.files import UnknownLayoutError, files_by_stem, subfolders
from sds_hf.data.sources.reader import Reader, Row

MASK_FOLDERS = ("stuffthingmaps", "masks", "SegmentationClass")
SPLIT = re.compile(r"(train|val|test)(\d{4})?")
YEAR = re.compile(r"\d{4}$")
IMAGE_NAME = re.compile(r"(?:COCO_[a-z]+\d{4}_)?(\d{12})")  # as COCO of 2014 and of 2017 call their files


class COCOMasks(Reader):
    """Masks in `stuffthingmaps/`, `masks/` or `SegmentationClass/`, all in it or by split, with the images of COCO.

    Args:
        path: the folder.
        labels: `coco` if None; no other will do.
        split: `train`, `val`, or a pattern such as `*2017`; may be left out if there is one or none.
        images: folder of the images, or of their splits; the folder itself, `images` or `JPEGImages` if None.
        masks: folder of the masks, or of their splits; the first of the above that is there if None.
        ids: what mask values are: `contiguous` (1 to 80), `original` category ids (1 to 90), or `stuffthingmaps`
            (category id less 1; stuff becomes background). If None it is found from the values of all masks, which are
            read once more for that; masks in a folder `stuffthingmaps` are what it says.

    A mask and an image belong together if they have the same number: `COCO_train2014_000000000009.jpg` and
    `000000000009.png` do.
    """

    name: ClassVar[str] = "coco-masks"
    summary: ClassVar[str] = (
        "stuffthingmaps/, masks/ or SegmentationClass/ with [<split>/]*.png, and the images of COCO"
    )

    def __init__(
        self,
        path: str | Path,
        labels: str | None = None,
        split: str | None = None,
        images: str | None = None,
        masks: str | None = None,
        ids: Ids | None = None,
    ) -> None:
        super().__init__(path, labels)
        if not self.labels.original_ids:
            raise UnknownLayoutError(f"coco-masks reads COCO's classes, not those of {self.labels.name!r}; try folder")
        self.folder = _mask_folder(self.path, masks)
        image_folders = [self.path / name for name in ((images,) if images else (".", *IMAGE_FOLDERS))]
        splits = _splits(self.folder).union(*map(_splits, image_folders))
        if splits or split:
            splits = set(chosen_splits(splits, split, self.path))
        self.masks = _by_number(_chosen([self.folder], splits, (".png",)))
        self.images = _chosen(image_folders, splits)
        if not self.images:
            raise UnknownLayoutError(f"{self.path} holds no images of COCO: give images=...")
        check_ids(ids)
        self._ids, self.values = ids, MaskValues(self.labels)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """See `Reader.recognises`; annotations are better than masks made of them.

        Images of numbers alone are not enough: what masks in a plain folder mean has to be said.
        """
        if annotation_files(path, "panoptic") or annotation_files(path, "instances"):
            return False
        inner, folders = subfolders(path), [path / name for name in (".", *IMAGE_FOLDERS)]
        of_coco = any(YEAR.search(split) for folder in folders for split in _splits(folder))
        of_coco = of_coco or any(map(_has_image_of_coco, folders))
        return "stuffthingmaps" in inner or (of_coco and bool(inner & set(MASK_FOLDERS)))

    def default_labels(self) -> str:
        """`coco`."""
        return "coco"

    @cached_property
    def ids(self) -> Ids:  # type: ignore[override]
        """What mask values are, as given or as found."""
        if self._ids or self.folder.name == "stuffthingmaps":
            return self._ids or "stuffthingmaps"
        return find_ids({name: self.file(path) for name, path in self.masks.items()}, self.labels, self.folder)

    def entries(self) -> Iterable[str]:
        """See `Reader.entries`."""
        if extra := len(self.masks.keys() - {_number(stem) for stem in self.images}):
            self.counts["mask without an image"] = extra
        return self.images

    def read(self, entry: str) -> Row | None:
        """See `Reader.read`."""
        mask = self.masks.get(_number(entry))
        if mask is None:
            return self.missing("image without a mask", self.images[entry], self.folder / f"{entry}.png")
        return self.row(entry, self.images[entry], self.read_indices(mask))


def _mask_folder(path: Path, masks: str | None) -> Path:
    inner = subfolders(path)
    for name in (masks,) if masks else MASK_FOLDERS:
        if (path / name).is_dir():
            return path / name
    raise UnknownLayoutError(
        f"{path} has no folder of masks called {masks or ' or '.join(MASK_FOLDERS)}; it has {sorted(inner)}: "
        "give masks=... (stuff_*_pixelmaps have no classes of things, so they will not do)"
    )


def _splits(folder: Path) -> set[str]:
    return {name for name in subfolders(folder) if SPLIT.fullmatch(name)}


def _chosen(folders: list[Path], splits: set[str], suffixes: tuple[str, ...] | None = None) -> dict[str, Path]:
    """Files by name in the inner folders of the splits; in those folders themselves that have no such inner ones."""
    chosen_folders = [folder / split for folder in folders for split in sorted(splits) if (folder / split).is_dir()]
    chosen_folders += [folder for folder in folders if not _splits(folder)]
    files: dict[str, Path] = {}
    for folder in chosen_folders:
        for stem, file in (files_by_stem(folder, suffixes) if suffixes else files_by_stem(folder)).items():
            if stem in files:
                raise UnknownLayoutError(f"{files[stem]} and {file} are both {stem!r}; give split=..., or rename one")
            files[stem] = file
    return files


def _has_image_of_coco(folder: Path) -> bool:
    """Whether the first image of a folder is called as in COCO 2014."""
    files = folder.iterdir() if folder.is_dir() else ()
    first = next((file for file in files if file.suffix.lower() in (".jpg", ".jpeg", ".png")), None)
    return first is not None and first.stem.startswith("COCO_") and IMAGE_NAME.fullmatch(first.stem) is not None


def _number(stem: str) -> str:
    named = IMAGE_NAME.fullmatch(stem)
    return named[1] if named else stem


def _by_number(files: dict[str, Path]) -> dict[str, Path]:
    numbered: dict[str, Path] = {}
    for stem, path in files.items():
        if (other := numbered.setdefault(_number(stem), path)) is not path:
            raise UnknownLayoutError(f"{other} and {path} have one number; which one is it? Remove one")
    return numbered
