"""PASCAL VOC 2012 and folders laid out like it."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from sds_hf.sources.reader import Reader, Row, UnknownLayoutError, read_mask


class PascalVOC(Reader):
    """`JPEGImages/<id>.jpg`, `SegmentationClass/<id>.png` and the ids in `ImageSets/Segmentation/<split>.txt`.

    Args:
        path: `VOC2012`, or a folder that holds `VOCdevkit/VOC2012` or `VOC2012`.
        labels: `voc` if None.
        split: name of the split file.
        masks: folder of the masks, e.g. `SegmentationClassAug`.
    """

    name: ClassVar[str] = "pascal-voc"
    summary: ClassVar[str] = "JPEGImages/*.jpg, SegmentationClass/*.png, ImageSets/Segmentation/<split>.txt"

    def __init__(
        self, path: str | Path, labels: str | None = None, split: str = "trainval", masks: str = "SegmentationClass"
    ) -> None:
        super().__init__(_root(Path(path)), labels)
        self.split, self.masks = split, self.path / masks
        lists = self.path / "ImageSets" / "Segmentation"
        self.list = lists / f"{split}.txt"
        if not self.list.exists():
            found = sorted(file.stem for file in lists.glob("*.txt"))
            raise UnknownLayoutError(f"no split {split!r} in {lists}; there are {found}")

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """See `Reader.recognises`."""
        return (_root(path) / "JPEGImages").is_dir() and (_root(path) / "ImageSets" / "Segmentation").is_dir()

    def default_labels(self) -> str:
        """`voc`."""
        return "voc"

    def rows(self) -> Iterator[Row]:
        """See `Reader.rows`."""
        for name in self.list.read_text().split():
            image, mask = self.path / "JPEGImages" / f"{name}.jpg", self.masks / f"{name}.png"
            if not image.exists() or not mask.exists():
                self.counts[f"listed without {'an image' if not image.exists() else 'a mask'}"] += 1
                continue
            yield self.row(name, image, self.check_mask(read_mask(mask), mask))


def _root(path: Path) -> Path:
    return next((path / inner for inner in ("VOCdevkit/VOC2012", "VOC2012") if (path / inner).is_dir()), path)
