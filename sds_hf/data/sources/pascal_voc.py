"""PASCAL VOC 2012 and folders laid out like it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from sds_hf.data.sources.files import IMAGE_SUFFIXES, UnknownLayoutError, read_mask, read_text
from sds_hf.data.sources.reader import Reader, Row

SUFFIXES = (*IMAGE_SUFFIXES, ".tif", ".gif", ".ppm")  # all that the export to this layout writes


class PascalVOC(Reader):
    """`JPEGImages/<id>.jpg`, `SegmentationClass/<id>.png` and the ids in `ImageSets/Segmentation/<split>.txt`.

    Args:
        path: `VOC2012`, or a folder that holds `VOCdevkit/VOC2012` or `VOC2012`.
        labels: `voc` if None.
        split: name of the split file, e.g. `train_aug`. A line is an id, or begins with it or with a path to the image.
        masks: folder of the masks, e.g. `SegmentationClassAug`.
        instances: whether to read the objects of `SegmentationObject` too, as pictures of ids in a column `instances`.
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
    ) -> None:
        super().__init__(_root(Path(path)), labels)
        self.split, self.masks = split, self.path / masks
        self.further = {"instances": "picture"} if instances else {}
        lists = self.path / "ImageSets" / "Segmentation"
        self.list = lists / f"{split}.txt"
        if not self.list.exists():
            splits = sorted(file.stem for file in lists.glob("*.txt"))
            raise UnknownLayoutError(f"no split {split!r} in {lists}; there are {splits}")

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """See `Reader.recognises`."""
        return (_root(path) / "JPEGImages").is_dir() and (_root(path) / "ImageSets" / "Segmentation").is_dir()

    def default_labels(self) -> str:
        """`voc`."""
        return "voc"

    def entries(self) -> Iterator[str]:
        """See `Reader.entries`."""
        for line in read_text(self.list).split("\n"):
            if line.strip():
                path = Path(line.split()[0])
                yield path.stem if path.suffix.lower() in SUFFIXES else path.name

    def read(self, entry: str) -> Row | None:
        """See `Reader.read`."""
        images = (self.path / "JPEGImages" / f"{entry}{suffix}" for suffix in SUFFIXES)
        image = next((path for path in images if path.exists()), self.path / "JPEGImages" / f"{entry}.jpg")
        mask = self.masks / f"{entry}.png"
        ids = self.path / "SegmentationObject" / f"{entry}.png"
        for path, what in ((image, "an image"), (mask, "a mask"), *([(ids, "instances")] if self.further else [])):
            if not path.exists():
                return self.missing(f"listed without {what}", path)
        extra_cells: dict[str, Any] = {name: read_mask(ids) for name in self.further}
        return self.row(entry, image, self.check_mask(read_mask(mask), mask), **extra_cells)


def _root(path: Path) -> Path:
    return next((path / inner for inner in ("VOCdevkit/VOC2012", "VOC2012") if (path / inner).is_dir()), path)
