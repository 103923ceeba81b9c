"""Any folder of images and masks, with or without a table."""

from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sds_hf.data.labels import IGNORE_INDEX
from sds_hf.data.sources.files import (
    IMAGE_SUFFIXES,
    MASK_SUFFIXES,
    UNSAFE_SUFFIXES,
    UnknownLayoutError,
    files_by_stem,
    read_mask,
)
from sds_hf.data.sources.reader import READERS, Reader, Row
from sds_hf.data.sources.tables import read_table, roles, text_of

IMAGE_FOLDERS = ("images", "image", "img", "JPEGImages")
MASK_FOLDERS = ("masks", "mask", "labels", "annotations", "SegmentationClass")
TABLES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
MASK_ENDS = ("", "_mask", "-mask", "_seg", "_label")  # what masks are called beyond their image
Entry = Mapping[str, Any]


class Folder(Reader):
    """Images and masks of the same names in two folders or in one, and an optional table with captions.

    Args:
        path: the folder.
        labels: the label space; must be given.
        images: folder of the images; `images`, `image`, `img` or `JPEGImages` if None, `.` for the folder itself. Those
            in inner folders count too; their ids have the folders before the name.
        masks: folder of the masks; `masks`, `mask`, `labels`, `annotations` or `SegmentationClass` if None. Masks are
            PNG, BMP or TIFF, or plain arrays of integers as `.npy`.
        mask_end: what the name of a mask has after that of its image; if None nothing, `_mask`, `-mask`, `_seg` or
            `_label`.
        table: CSV, JSON lines or Parquet; `metadata.csv`, `.jsonl` or `.parquet` of the folder or of the images' folder
            if None. Only the rows of a table are read.
        columns: which columns of the table to take, as `caption=blip,file_name=img`, or a mapping. Without it,
            `file_name` is called so or `image`, `mask_file_name` so or `mask`, `id` so, `caption` so, `text` or
            `prompt`, and `class_prompt` so, `classes` or `class`. File names start from the folder of the images or of
            the masks, or from `path`.
        ignore: index in the masks that is to be ignored, besides 255.
    """

    name: ClassVar[str] = "folder"
    summary: ClassVar[str] = "images/* and masks/*.png of the same names, optionally metadata.csv"

    def __init__(
        self,
        path: str | Path,
        labels: str | None = None,
        images: str | None = None,
        masks: str | None = None,
        mask_end: str | None = None,
        table: str | Path | None = None,
        columns: str | Mapping[str, str] | None = None,
        ignore: int | None = None,
    ) -> None:
        super().__init__(path, labels)
        self.images_folder = _find(self.path, images, IMAGE_FOLDERS, "images")
        self.masks_folder = _find(self.path, masks, MASK_FOLDERS, "masks")
        self._ends = MASK_ENDS if mask_end is None else (mask_end,)
        self._columns, self.ignore = columns, ignore
        beside = (folder / name for folder in (self.path, self.images_folder) for name in TABLES)
        self.table = Path(table) if table else next((file for file in beside if file.exists()), None)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """See `Reader.recognises`; every other layout comes first."""
        return all(
            any((path / name).is_dir() for name in names) for names in (IMAGE_FOLDERS, MASK_FOLDERS)
        ) and not any(other.recognises(path) for other in READERS.values() if other is not cls)

    def entries(self) -> Iterator[Entry]:
        """See `Reader.entries`; columns by their role."""
        images = _files(self.images_folder, IMAGE_SUFFIXES, beside=self.masks_folder)
        self._masks = _files(self.masks_folder, MASK_SUFFIXES, beside=self.images_folder)
        if self.images_folder == self.masks_folder:
            images = {stem: file for stem, file in images.items() if not self._is_mask(stem, images)}
        if not images:
            raise UnknownLayoutError(f"{self.images_folder} holds no images")
        if not self._masks:
            suffixes = ", ".join(MASK_SUFFIXES)
            raise UnknownLayoutError(f"{self.masks_folder} holds no masks ({suffixes}){_why(self.masks_folder)}")
        if self.table is not None:
            yield from self._listed(self.table)
            return
        yield from ({"file_name": file.relative_to(self.images_folder).as_posix()} for file in images.values())
        used = {self._mask_of(stem) for stem in images}
        if self.images_folder != self.masks_folder:
            self.counts["mask without an image"] += len(self._masks.keys() - used)

    def _listed(self, table: Path) -> Iterator[Entry]:
        lines = read_table(table)
        columns = roles(table, lines, self._columns)
        for number, line in enumerate(lines, 1):
            if not isinstance(name := line.get(columns["file_name"]), str) or not name:
                raise UnknownLayoutError(f"{table}: row {number} names no file in {columns['file_name']!r}")
            yield {role: text_of(line.get(column)) for role, column in columns.items()}

    def read(self, entry: Entry) -> Row | None:
        """See `Reader.read`."""
        image = self._file(self.images_folder, entry["file_name"])
        if not image.exists():
            return self.missing("listed without an image", image)
        inside = image.is_relative_to(self.images_folder)
        stem = (image.relative_to(self.images_folder) if inside else Path(image.name)).with_suffix("").as_posix()
        named = entry.get("mask_file_name")
        path = self._file(self.masks_folder, named) if named else self._masks.get(self._mask_of(stem) or "")
        if path is None or not path.exists():
            return self.missing("listed without a mask", path or image)
        mask = read_mask(path)
        if self.ignore is not None:
            mask = np.where(mask == self.ignore, IGNORE_INDEX, mask).astype(np.uint8)
        name = entry.get("id") or stem
        return self.row(name, image, self.check_mask(mask, path), entry.get("caption"), entry.get("class_prompt"))

    def _mask_of(self, stem: str) -> str | None:
        return next((stem + end for end in self._ends if stem + end in self._masks), None)

    def _is_mask(self, stem: str, stems: Container[str]) -> bool:
        return any(end and stem.endswith(end) and stem.removesuffix(end) in stems for end in self._ends)

    def _file(self, folder: Path, name: str) -> Path:
        """A file that a table names; never one outside the folder."""
        path = Path(name)
        if not path.is_absolute() and ".." not in path.parts:
            for start in (folder, self.path):
                if (start / path).exists():
                    return start / path
        return folder / path.name


def _find(path: Path, folder_name: str | None, names: tuple[str, ...], kind: str) -> Path:
    for name in (folder_name,) if folder_name else names:
        if (path / name).is_dir():
            return path / name
    folders = sorted(folder.name for folder in path.iterdir() if folder.is_dir())
    raise UnknownLayoutError(
        f"{path} has no folder of {kind} called {folder_name or ' or '.join(names)}; it has {folders}: give --{kind}"
    )


def _files(folder: Path, suffixes: tuple[str, ...], beside: Path) -> dict[str, Path]:
    """Files by name, without those of the other folder if it is inside."""
    files = files_by_stem(folder, suffixes, deep=True)
    inside = beside != folder and beside.is_relative_to(folder)
    return {stem: file for stem, file in files.items() if not (inside and file.is_relative_to(beside))}


def _why(folder: Path) -> str:
    """Why the files there are no masks, if it can be told."""
    there = {file.suffix.lower() for file in folder.rglob("*") if file.is_file()}
    if unsafe_suffixes := sorted(there & set(UNSAFE_SUFFIXES)):
        return f"; {' and '.join(unsafe_suffixes)} are not loaded, since they can run code: save masks as index PNG"
    if there & {".jpg", ".jpeg", ".webp"}:
        return "; JPEG and WebP lose indices: save masks as index PNG"
    return ""
