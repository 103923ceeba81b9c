"""Any folder of images and masks, with or without a table."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePath
from typing import ClassVar, NamedTuple

from sds_hf.data.prompts import classes_in_prompt
from sds_hf.data.sources.coco_ids import Ids
from sds_hf.data.sources.files import (
    IMAGE_SUFFIXES,
    MASK_SUFFIXES,
    UNSAFE_SUFFIXES,
    Tree,
    UnknownLayoutError,
    files_by_stem,
    grouped_by_stem,
    stem_of,
)
from sds_hf.data.sources.reader import READERS, Reader, Row
from sds_hf.data.sources.tables import read_table, roles, text_of

IMAGE_FOLDERS = ("images", "image", "img", "JPEGImages")
MASK_FOLDERS = ("masks", "mask", "labels", "annotations", "SegmentationClass")
TABLES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
MASK_ENDS = ("", "_mask", "-mask", "_seg", "_label")  # what masks are called beyond their image


class Entry(NamedTuple):
    """What is told of a row: names of files, texts."""

    file_name: str
    mask_file_name: str | None = None
    id: str | None = None
    caption: str | None = None
    class_prompt: str | None = None


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
        ignore: value in the masks that is to be ignored, besides 255.
        ids: of COCO's classes, as for `COCOMasks`; the classes of the table confirm them.

    Where images and masks are in one folder, `a.jpg` is the image of `a.png`, and `a.png` that of `a_mask.png`.
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
        ids: Ids | None = None,
    ) -> None:
        super().__init__(path, labels)
        if ids and not self.labels.original_ids:
            self.choose_ids(ids, {}, self.path)  # which says why there are none to choose
        self.images_folder = _find(self.path, images, IMAGE_FOLDERS, "images")
        self.masks_folder = _find(self.path, masks, MASK_FOLDERS, "masks")
        self._ends = MASK_ENDS if mask_end is None else (mask_end,)
        self._columns, self.ignore, self._ids = columns, ignore, ids
        beside = (folder / name for folder in (self.path, self.images_folder) for name in TABLES)
        self.table = Path(table) if table else next((file for file in beside if file.exists()), None)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """See `Reader.recognises`; every other layout comes first."""
        return all(
            any((path / name).is_dir() for name in names) for names in (IMAGE_FOLDERS, MASK_FOLDERS)
        ) and not any(other.recognises(path) for other in READERS.values() if other is not cls)

    def entries(self) -> list[Entry]:
        """See `Reader.entries`."""
        images, self._masks = self._pictures()
        if not images:
            raise UnknownLayoutError(f"{self.images_folder} holds no images")
        if not self._masks:
            suffixes = ", ".join(MASK_SUFFIXES)
            raise UnknownLayoutError(f"{self.masks_folder} holds no masks ({suffixes}){_why(self.masks_folder)}")
        if self.table is None:
            entries = [Entry(self._name(file)) for file in images.values()]
        else:
            entries = self._listed(self.table)
            listed = {str(self._image(entry)) for entry in entries}
            unlisted = sum(str(file) not in listed for file in images.values())
            self.counts["image that the table does not list"] += unlisted
        if self._ids or self.labels.original_ids:
            prompts = {self._name(file): entry.class_prompt for entry in entries if (file := self._image(entry))}
            masks = {self._name(file): path for file in images.values() if (path := self._mask_of(file))}
            self.choose_ids(
                self._ids, masks, self.masks_folder, lambda name: self._named(prompts.get(name)), unless_same=True
            )
        if self.table is None and self.images_folder != self.masks_folder:
            used = {str(self._mask_of(file)) for file in images.values()}
            self.counts["mask without an image"] += sum(str(file) not in used for file in self._masks.values())
        return entries

    def _pictures(self) -> tuple[Mapping[str, Path], Mapping[str, Path]]:
        """Images and masks by name.

        Raises:
            UnknownLayoutError: if it is open which of two files is the image or the mask of a name.
        """
        if not self.images_folder.samefile(self.masks_folder):
            images, masks = self.images_folder, self.masks_folder
            return files_by_stem(images, IMAGE_SUFFIXES, True, masks), files_by_stem(masks, MASK_SUFFIXES, True, images)
        images_of: dict[str, Path] = {}
        masks_of: dict[str, Path] = {}
        suffixes = tuple({*IMAGE_SUFFIXES, *MASK_SUFFIXES})
        for stem, files in grouped_by_stem(self.images_folder, suffixes, deep=True).items():
            bases = [stem.removesuffix(end) for end in self._ends if end and stem.endswith(end)]
            base = next((base for base in bases if base in images_of), None)
            if len(files) == 1 and base is None and files[0].suffix.lower() in IMAGE_SUFFIXES:
                images_of[stem] = files[0]
            elif len(files) == 1:
                _check_only(base, files[0], masks_of, self._ends)
                masks_of[stem] = files[0]
            else:
                images_of[stem], masks_of[stem] = _image_and_mask(files, stem)
        return images_of, masks_of

    def _listed(self, table: Path) -> list[Entry]:
        lines = read_table(table)
        columns = roles(table, lines, self._columns)
        entries = []
        for number in range(len(lines)):
            line, lines[number] = lines[number], {}  # which is not needed twice
            if not isinstance(name := line.get(columns["file_name"]), str) or not name:
                raise UnknownLayoutError(f"{table}: row {number + 1} names no file in {columns['file_name']!r}")
            texts = {role: text_of(line.get(column)) for role, column in columns.items() if role != "file_name"}
            entries.append(Entry(name, **texts))
        return entries

    def read(self, entry: Entry) -> Row | None:
        """See `Reader.read`."""
        image = self._image(entry)
        if image is None:
            return self.missing("listed without an image", self._image_tree.expected(entry.file_name))
        if named := entry.mask_file_name:
            mask, expected = self._mask_tree.find(named), self._mask_tree.expected(named)
        else:
            mask, expected = self._mask_of(image), self.masks_folder / f"{self._stem(image)}{self._ends[0]}.png"
        if mask is None:
            return self.missing("listed without a mask", image, expected)
        if mask.samefile(image):
            raise UnknownLayoutError(f"{image} is named as its own mask")
        indices = self.read_indices(mask)
        name = entry.id or self._stem(image)
        return self.row(name, image, indices, entry.caption, entry.class_prompt)

    @cached_property
    def _image_tree(self) -> Tree:
        return Tree(self.images_folder, self.path)

    @cached_property
    def _mask_tree(self) -> Tree:
        return Tree(self.masks_folder, self.path)

    def _image(self, entry: Entry) -> Path | None:
        return self._image_tree.find(entry.file_name)

    def _name(self, file: Path) -> str:
        return file.relative_to(self.images_folder).as_posix()

    def _stem(self, image: Path) -> str:
        """The name of an image without suffix, with the folders before it."""
        inside = image.is_relative_to(self.images_folder)
        return stem_of(image.relative_to(self.images_folder) if inside else PurePath(image.name))

    def _mask_of(self, image: Path) -> Path | None:
        """The mask of an image: of its name with an end, or of its whole file name, as `a.jpg.png`."""
        stem = self._stem(image)
        names = [*(stem + end for end in self._ends), stem + image.suffix]
        return next((self._masks[name] for name in names if name in self._masks), None)

    def _named(self, prompt: str | None) -> set[int]:
        return set(classes_in_prompt(prompt or "", self.labels.names, self.labels.class_ids))


def _find(path: Path, folder_name: str | None, names: tuple[str, ...], kind: str) -> Path:
    for name in (folder_name,) if folder_name else names:
        if (path / name).is_dir():
            return path / name
    folders = sorted(folder.name for folder in path.iterdir() if folder.is_dir())
    raise UnknownLayoutError(
        f"{path} has no folder of {kind} called {folder_name or ' or '.join(names)}; it has {folders}: give {kind}=..."
    )


def _image_and_mask(files: list[Path], stem: str) -> tuple[Path, Path]:
    """Which of two files of one name is the image: the one that can be no mask, beside one that can.

    Raises:
        UnknownLayoutError: if that does not tell.
    """
    first, *others = sorted(
        files, key=lambda file: (file.suffix.lower() in MASK_SUFFIXES, file.suffix.lower() not in IMAGE_SUFFIXES)
    )
    kinds = [(file.suffix.lower() in IMAGE_SUFFIXES, file.suffix.lower() in MASK_SUFFIXES) for file in (first, *others)]
    if kinds not in ([(True, False), (True, True)], [(True, False), (False, True)], [(True, True), (False, True)]):
        raise UnknownLayoutError(
            f"{first.parent} has {first.name} and {others[0].name}; which one is {stem!r}? Remove one"
        )
    return first, others[0]


def _check_only(base: str | None, mask: Path, masks: Mapping[str, Path], ends: Sequence[str]) -> None:
    """Refuse a second mask of one image."""
    other = next((masks[base + end] for end in ends if base is not None and base + end in masks), None)
    if other is not None:
        raise UnknownLayoutError(f"{mask.parent} has {other.name} and {mask.name}; which one is the mask of {base!r}?")


def _why(folder: Path) -> str:
    """Why the files there are no masks, if it can be told."""
    there = {file.suffix.lower() for file in folder.rglob("*") if file.is_file()}
    if unsafe_suffixes := sorted(there & set(UNSAFE_SUFFIXES)):
        return f"; {' and '.join(unsafe_suffixes)} are not loaded, since they can run code: save masks as index PNG"
    if there & {".jpg", ".jpeg", ".webp"}:
        return "; JPEG and WebP lose indices: save masks as index PNG"
    return ""
