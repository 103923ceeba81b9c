"""PASCAL VOC 2012 and folders laid out like it."""

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from sds_hf.data.labels import mask_values
from sds_hf.data.sources.coco_ids import Ids
from sds_hf.data.sources.files import IMAGE_SUFFIXES, UnknownLayoutError, files_by_stem, inner_path, read_text, stem_of
from sds_hf.data.sources.masks import read_mask
from sds_hf.data.sources.reader import NAMES_FILES, Reader, Row

SUFFIXES = (*IMAGE_SUFFIXES, ".tif", ".gif", ".ppm")  # all that the export to this layout writes


class PascalVOC(Reader):
    """`JPEGImages/<id>.jpg`, `SegmentationClass/<id>.png` and the ids in `ImageSets/Segmentation/<split>.txt`.

    Args:
        path: `VOC2012`, or a folder that holds `VOCdevkit/VOC2012` or `VOC2012`.
        labels: if None what the tree itself says in `labelmap.txt`, `class_names.txt` or the like; without such a file
            `voc` if the ids are those of PASCAL VOC, as 2007_000032. A label map's colours are read as well.
        split: name of the split file, e.g. `train_aug`. A line is an id, or begins with it or with a path to the image.
        masks: folder of the masks, e.g. `SegmentationClassAug`.
        instances: whether to read the objects of `SegmentationObject` too, as pictures of ids in a column `instances`.
        ids: of COCO's classes, as for `COCOMasks`.
    """

    name: ClassVar[str] = "pascal-voc"
    summary: ClassVar[str] = "JPEGImages/*.jpg, SegmentationClass/*.png, ImageSets/Segmentation/<split>.txt"

    def __init__(
        self,
        path: str | Path,
        labels: str | None = None,
        split: str = "trainval",
        masks: str = "SegmentationClass",
        instances: bool = False,
        ids: Ids | None = None,
    ) -> None:
        root = _root(Path(path))
        lists = root / "ImageSets" / "Segmentation"
        self.split, self.list = split, lists / f"{split}.txt"
        if root.is_dir() and not self.list.exists():
            splits = sorted(file.stem for file in lists.glob("*.txt"))
            such_as = f": give split=..., e.g. split={splits[0]!r}" if splits else ""
            raise UnknownLayoutError(f"no split {split!r} in {lists}; there are {splits}{such_as}")
        super().__init__(root, labels)
        self.masks = self.path / masks
        self.further = {"instances": "picture"} if instances else {}
        own = self.path / NAMES_FILES[0]
        values = mask_values(str(self.file(own))) if own.is_file() and not ids else None
        if values and (values.labels, values.moved) == (self.labels, self.values.moved):
            self.values = values  # the tree says itself which indices or colours its masks hold
            return
        self.choose_ids(ids, self._mask_files if self.labels.original_ids else {}, self.masks, unless_same=True)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """See `Reader.recognises`."""
        return (_root(path) / "JPEGImages").is_dir() and (_root(path) / "ImageSets" / "Segmentation").is_dir()

    def default_labels(self) -> str | None:
        """What the tree says itself; `voc` for the ids of PASCAL VOC, None for others.

        Raises:
            UnknownLayoutError: if two of its files say different things, or one leaves open what 0 is.
        """
        files = [self.file(self.path / name) for name in NAMES_FILES if (self.path / name).is_file()]
        spaces = {str(file): mask_values(str(file)).labels for file in files}
        if len({space.names for space in spaces.values()}) > 1:
            raise UnknownLayoutError(f"{' and '.join(spaces)} name different classes: give one of them as labels=...")
        for file, space in spaces.items():
            if 0 in space.class_ids and not file.endswith(NAMES_FILES[0]):
                raise UnknownLayoutError(
                    f"{file} names no background, so that 0 would be {space.names[0]!r}: give labels={file!r} if so, "
                    "else a file that begins with `background`"
                )
            return file
        names = [PurePosixPath(line.split()[0]).stem for line in self._lines()]
        of_voc = re.compile(r"\d{6}" if self.path.name == "VOC2007" else r"(19|20)\d\d_\d{6}")
        return "voc" if names and all(of_voc.fullmatch(name) for name in names) else None

    def entries(self) -> list[str]:
        """See `Reader.entries`."""
        return [self._id(line) for line in self._lines()]

    def read(self, entry: str) -> Row | None:
        """See `Reader.read`."""
        image, mask, ids = (files.get(entry) for files in (self._image_files, self._mask_files, self._id_files))
        if image is None:
            return self.missing("listed without an image", self.path / "JPEGImages" / f"{entry}.jpg")
        if mask is None:
            return self.missing("listed without a mask", self.masks / f"{entry}.png")
        if self.further and ids is None:
            return self.missing("listed without instances", self.path / "SegmentationObject" / f"{entry}.png")
        extra_cells: dict[str, Any] = {name: read_mask(self.file(ids)) for name in self.further if ids}
        return self.row(entry, image, self.read_indices(mask), **extra_cells)

    @cached_property
    def _image_files(self) -> Mapping[str, Path]:
        return files_by_stem(self.path / "JPEGImages", SUFFIXES, deep=True)

    @cached_property
    def _mask_files(self) -> Mapping[str, Path]:
        return files_by_stem(self.masks, (".png",), deep=True)

    @cached_property
    def _id_files(self) -> Mapping[str, Path]:
        return files_by_stem(self.path / "SegmentationObject", (".png",), deep=True)

    def _lines(self) -> list[str]:
        return [line.strip() for line in read_text(self.file(self.list)).split("\n") if line.strip()]

    def _id(self, line: str) -> str:
        """The id of a line: as much of it as is the name of an image; if nothing is, its first word."""
        ends = [match.start() for match in re.finditer(r"\s+|$", line)]
        ids = [_stem(line[:end]) for end in reversed(ends)]
        names = [name for name in ids if name in self._image_files] or [PurePosixPath(name).name for name in ids]
        return next((name for name in names if name in self._image_files), names[-1])


def _stem(text: str) -> str:
    """The id in what a list has for it: a name, or a path that may begin with the folder of the images."""
    path = inner_path(text.strip().replace("\\", "/").partition("JPEGImages/")[2] or text.lstrip("/"))
    return stem_of(path) if path.suffix.lower() in SUFFIXES else stem_of(path.with_name(f"{path.name}.jpg"))


def _root(path: Path) -> Path:
    return next((path / inner for inner in ("VOCdevkit/VOC2012", "VOC2012") if (path / inner).is_dir()), path)
