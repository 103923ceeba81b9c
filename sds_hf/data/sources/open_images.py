"""Boxes of Open Images (Kuznetsova et al., IJCV 2020), versions 4 to 7."""

import csv
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, ClassVar

from sds_hf.data.labels import LabelSpace
from sds_hf.data.sources.files import UnknownLayoutError, read_text, subfolders
from sds_hf.data.sources.reader import Reader, Row

Line = list[str]
BOXES = "*-annotations-bbox.csv"
DESCRIPTIONS = "*class-descriptions*.csv"
SIDES = {"XMin": "xmin", "YMin": "ymin", "XMax": "xmax", "YMax": "ymax"}
FLAGS = {"IsOccluded": "is_occluded", "IsTruncated": "is_truncated", "IsGroupOf": "is_group_of",
         "IsDepiction": "is_depiction", "IsInside": "is_inside"}  # fmt: skip
KNOWN = {"0": False, "1": True}  # -1 is unknown

# Street-scene classes that Meletis et al. (ITSC 2019) train with, by MID.
APART = {
    "/m/0199g": "bicycle",
    "/m/01bjv": "bus",
    "/m/0k4j": "car",
    "/m/04_sv": "motorcycle",
    "/m/07jdr": "train",
    "/m/07r04": "truck",
    "/m/01g317": "person",
    "/m/04yx4": "man",
    "/m/03bt1vf": "woman",
    "/m/01bl7v": "boy",
    "/m/05r655": "girl",
    "/m/015qff": "traffic light",
    "/m/01mqdt": "traffic sign",
    "/m/02pv19": "stop sign",
}
MERGED = {"man": "person", "woman": "person", "boy": "person", "girl": "person", "stop sign": "traffic sign"}
CHOICES = {
    "street-scenes": {mid: MERGED.get(name, name) for mid, name in APART.items()},
    "street-scenes-14": APART,
}


class OpenImages(Reader):
    """`<split>-annotations-bbox.csv`, a file of class descriptions and `<ImageID>.jpg`; boxes in place of masks.

    The rows have no column `mask` but `boxes`: class, corners as parts of the width and height in [0, 1], and what the
    file says of them. `classes` are those of the boxes that count as objects: no depictions, none of confidence 0.

    Args:
        path: the folder; the tables may be in `annotations/` or `csv/`, the images in `images/` or `<split>/`.
        labels: the classes found are the labels; nothing else can be given.
        split: `train`, `validation` or `test`; may be None if there is one file of boxes.
        table: the file of boxes, if it is called otherwise.
        images: folder of the images inside the folder.
        classes: names or MIDs such as /m/0k4j, with commas between them; `street-scenes`, nine classes of Meletis et
            al. (ITSC 2019) where men, women, boys and girls are persons and stop signs are traffic signs;
            `street-scenes-14`, these apart; all if None. Images without a box of them are left out and counted.

    The file of boxes is read line by line. The lines of an image must follow one another, as they do in the
    original; the ids of the images read are kept in memory to know that (about 100 bytes each).
    """

    name: ClassVar[str] = "open-images"
    summary: ClassVar[str] = "*-annotations-bbox.csv, class-descriptions-boxable.csv, images/<ImageID>.jpg"
    has_masks: ClassVar[bool] = False
    further = {"boxes": "boxes"}  # noqa: RUF012

    def __init__(
        self,
        path: str | Path,
        labels: str | None = None,
        split: str | None = None,
        table: str | Path | None = None,
        images: str | None = None,
        classes: str | Sequence[str] | None = None,
    ) -> None:
        if labels:
            raise UnknownLayoutError("the labels of Open Images are its classes: give classes=..., not labels=...")
        self._chosen = _chosen(Path(path), classes)
        super().__init__(path)
        self.table = Path(table) if table else _boxes_file(self.path, split)
        self._index = {mid: self.labels.names.index(name) for mid, name in self._chosen.items()}
        self._folders = _image_folders(self.path, self.table.name.split("-annotations")[0], images)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """See `Reader.recognises`."""
        return bool(_find(path, BOXES))

    def default_labels(self) -> LabelSpace:
        """The chosen classes."""
        return LabelSpace.from_names(list(dict.fromkeys(self._chosen.values())))

    def entries(self) -> Iterator[tuple[str, list[dict[str, str]]]]:
        """See `Reader.entries`; an image's id and its boxes of the chosen classes."""
        seen = set()
        with self.table.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file)
            header = next(lines, [])
            if missing := {"ImageID", "LabelName", *SIDES} - set(header):
                raise UnknownLayoutError(f"{self.table} is no file of boxes: it has no columns {sorted(missing)}")
            label, whole = header.index("LabelName"), self._whole(lines, len(header))
            for name, group in groupby(whole, key=itemgetter(header.index("ImageID"))):
                if name in seen:
                    raise UnknownLayoutError(
                        f"{self.table}, line {lines.line_num}: more boxes of {name}, which came before; sort the file"
                    )
                seen.add(name)
                # Most lines of such a file are of classes that are not asked for.
                yield name, [dict(zip(header, line, strict=True)) for line in group if line[label] in self._index]

    def _whole(self, lines: Any, count: int) -> Iterator[Line]:
        try:
            for line in lines:
                if line and len(line) != count:
                    raise csv.Error(f"{len(line)} values in place of {count}")
                if line:
                    yield line
        except (csv.Error, UnicodeDecodeError) as error:
            raise UnknownLayoutError(f"{self.table}, line {lines.line_num}: {error}") from error

    def read(self, entry: tuple[str, list[dict[str, str]]]) -> Row | None:
        """See `Reader.read`."""
        name, lines = entry
        if not lines:
            self.counts["image without a box of the classes"] += 1
            return None
        files = [folder / f"{Path(name).name}.jpg" for folder in self._folders]
        image = next((file for file in files if file.exists()), None)
        if image is None:
            return self.missing("boxes without an image", files[0])
        try:
            boxes = [self._box(line) for line in lines]
        except (ValueError, TypeError) as error:
            raise UnknownLayoutError(f"{self.table}: image {name}: {error}") from error
        counted = {box["class"] for box in boxes if not box["is_depiction"] and box["confidence"] != 0}
        return {**self.row(name, image, None, boxes=boxes), "classes": sorted(counted)}

    def _box(self, line: dict[str, str]) -> dict[str, Any]:
        sides = {side: float(line[column]) for column, side in SIDES.items()}
        if not (0 <= sides["xmin"] <= sides["xmax"] <= 1 and 0 <= sides["ymin"] <= sides["ymax"] <= 1):
            raise ValueError(f"{sides} are no corners between 0 and 1")
        return {
            "class": self._index[line["LabelName"]],
            **sides,
            "confidence": float(line["Confidence"]) if line.get("Confidence") else None,
            **{flag: KNOWN.get(line.get(column) or "") for column, flag in FLAGS.items()},
        }


def _chosen(path: Path, classes: str | Sequence[str] | None) -> dict[str, str]:
    """Names of the wanted classes by MID; several MIDs may have one name."""
    if isinstance(classes, str) and classes in CHOICES:
        return CHOICES[classes]
    names_or_mids = [part.strip() for part in classes.split(",")] if isinstance(classes, str) else list(classes or ())
    described = _descriptions(path)
    by_name = {name.lower(): mid for mid, name in described.items()}
    mids = {one: one if one in described else by_name.get(one.lower()) for one in names_or_mids}
    if unknown := [one for one, mid in mids.items() if mid is None]:
        raise UnknownLayoutError(
            f"classes: {unknown} are no classes of {path}; there are {sorted(described.values())[:20]}"
        )
    return {mid: described[mid] for mid in mids.values() if mid} or described


def _descriptions(path: Path) -> dict[str, str]:
    """Class names by MID."""
    files = _find(path, DESCRIPTIONS)
    if not files:
        raise UnknownLayoutError(
            f"{path} has no class-descriptions-boxable.csv: add it, or give classes={' or '.join(CHOICES)}"
        )
    lines = csv.reader(read_text(files[0]).split("\n"))
    return {line[0]: line[1] for line in lines if len(line) >= 2 and line[0].startswith("/")}


def _boxes_file(path: Path, split: str | None) -> Path:
    files = _find(path, BOXES)
    fitting = [file for file in files if split is None or f"-{split}-" in f"-{file.name}"]
    if len(fitting) != 1:
        file_names = [file.name for file in files]
        raise UnknownLayoutError(f"{path} has {file_names or 'no ' + BOXES}: choose one with split=... or table=...")
    return fitting[0]


def _find(path: Path, pattern: str) -> list[Path]:
    return sorted(file for folder in (path, path / "annotations", path / "csv") for file in folder.glob(pattern))


def _image_folders(path: Path, prefix: str, images: str | None) -> list[Path]:
    """Folders in which an image may be; `train_0` to `train_f` are how the images of `train` are handed out."""
    split = prefix.rpartition("-")[2]
    if images:
        if not (path / images).is_dir():
            raise UnknownLayoutError(f"{path} has no folder {images}; it has {sorted(subfolders(path))}")
        return [path / images]
    around = [path / "images" / split, path / "images", path / split, path]
    shards = [folder for parent in (path, path / "images") for folder in sorted(parent.glob(f"{split}_?"))]
    return [folder for folder in (*around, *shards) if folder.is_dir()]
