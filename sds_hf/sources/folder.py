"""Any folder of images and masks, with or without a table."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from sds_hf.sources.reader import Reader, Row, UnknownLayoutError, files_by_stem, natural, read_mask

IMAGE_FOLDERS = ("images", "image", "img", "JPEGImages")
MASK_FOLDERS = ("masks", "mask", "labels", "annotations", "SegmentationClass")
TABLES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


class Folder(Reader):
    """Images and masks of the same names in two folders, and an optional table with captions.

    Args:
        path: the folder.
        labels: the label space; must be given.
        images: folder of the images; `images`, `image`, `img` or `JPEGImages` if None.
        masks: folder of the masks; `masks`, `mask`, `labels`, `annotations` or `SegmentationClass` if None.
        table: CSV, JSON lines or Parquet with the columns `file_name` (an image), and if wanted `mask_file_name`, `id`,
            `caption` (or `text`) and `class_prompt`; `metadata.csv`, `.jsonl` or `.parquet` of the folder if None. Only
            the rows of a table are read.
    """

    name: ClassVar[str] = "folder"
    summary: ClassVar[str] = "images/* and masks/*.png of the same names, optionally metadata.csv"

    def __init__(
        self,
        path: str | Path,
        labels: str | None = None,
        images: str | None = None,
        masks: str | None = None,
        table: str | Path | None = None,
    ) -> None:
        super().__init__(path, labels)
        self.images_folder = _find(self.path, images, IMAGE_FOLDERS, "images")
        self.masks_folder = _find(self.path, masks, MASK_FOLDERS, "masks")
        self.table = (
            Path(table) if table else next((self.path / name for name in TABLES if (self.path / name).exists()), None)
        )

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """See `Reader.recognises`."""
        return all(any((path / name).is_dir() for name in names) for names in (IMAGE_FOLDERS, MASK_FOLDERS))

    def rows(self) -> Iterator[Row]:
        """See `Reader.rows`."""
        images, masks = (
            files_by_stem(self.images_folder),
            files_by_stem(self.masks_folder, (".png", ".bmp", ".tif", ".tiff")),
        )
        if not images:
            raise UnknownLayoutError(f"{self.images_folder} holds no images")
        for entry in self._entries(images):
            image = self.images_folder / Path(entry["file_name"]).name
            mask = self._mask(entry, image, masks)
            if not image.exists() or mask is None or not mask.exists():
                self.counts[f"listed without {'an image' if not image.exists() else 'a mask'}"] += 1
                continue
            name = image.stem if entry.get("id") in (None, "") else str(entry["id"])
            caption = entry.get("caption") or entry.get("text") or None
            yield self.row(
                name, image, self.check_mask(read_mask(mask), mask), caption, entry.get("class_prompt") or None
            )
        self.counts["mask without an image"] += len(set(masks) - set(images)) if not self.table else 0
        self.counts = +self.counts

    def _entries(self, images: dict[str, Path]) -> list[dict[str, Any]]:
        if self.table is None:
            return [{"file_name": images[stem].name} for stem in sorted(images, key=natural)]
        entries = _read_table(self.table)
        if entries and "file_name" not in entries[0]:
            raise UnknownLayoutError(f"{self.table} needs a column `file_name`; it has {list(entries[0])}")
        return entries

    def _mask(self, entry: dict[str, Any], image: Path, masks: dict[str, Path]) -> Path | None:
        named = entry.get("mask_file_name")
        return self.masks_folder / Path(named).name if named else masks.get(image.stem)


def _find(path: Path, given: str | None, names: tuple[str, ...], kind: str) -> Path:
    for name in (given,) if given else names:
        if (path / name).is_dir():
            return path / name
    found = sorted(folder.name for folder in path.iterdir() if folder.is_dir())
    raise UnknownLayoutError(
        f"{path} has no folder of {kind} called {given or ' or '.join(names)}; it has {found}: give --{kind}"
    )


def _read_table(path: Path) -> list[dict[str, Any]]:
    """The rows of a table.

    Raises:
        UnknownLayoutError: names the file and what is wrong with it.
    """
    if path.suffix not in (".csv", ".jsonl", ".parquet"):
        raise UnknownLayoutError(f"{path} is no .csv, .jsonl or .parquet table")
    try:
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8-sig") as file:
                return list(csv.DictReader(file))
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        import pyarrow.parquet as pq

        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    except UnicodeDecodeError as error:
        raise UnknownLayoutError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except (ValueError, csv.Error, OSError) as error:
        raise UnknownLayoutError(f"{path} cannot be read: {error}") from error
    return rows
