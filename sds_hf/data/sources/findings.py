"""What reading a folder showed beside its rows: said at import, so that a wrong reading is seen."""

import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from sds_hf.data.images import FORMATS, BadImageError, picture_size
from sds_hf.data.labels import IGNORE_INDEX, LabelSpace, mask_values
from sds_hf.data.names_files import letters

MOST = 10  # names in a note


@dataclass
class Findings:
    """What the rows of a reader showed.

    Attributes:
        rows: how many there are.
        without_class: how many of them show no class.
        classes: rows by class index.
        values: all indices of all masks.
        missing: the first path that was looked for and not found, by reason.
        annotations: how many were painted.
        crowds: how many of them are of crowds, which are ignored.
        passed_over: annotations by the name of their category, where that is no class of the label space.
    """

    rows: int = 0
    without_class: int = 0
    classes: Counter[int] = field(default_factory=Counter)
    values: set[int] = field(default_factory=set)
    missing: dict[str, str] = field(default_factory=dict)
    annotations: int = 0
    crowds: int = 0
    passed_over: Counter[str] = field(default_factory=Counter)

    def add(self, class_ids: Iterable[int]) -> None:
        """Count a row."""
        class_ids = list(class_ids)
        self.rows += 1
        self.without_class += not class_ids
        self.classes.update(class_ids)

    def notes(self, labels: LabelSpace, names_file: str | None, own_files: Iterable[Path] = ()) -> list[str]:
        """What may be wrong, in one line each.

        Args:
            labels: of the rows.
            names_file: the file with their names, if there is one.
            own_files: those that the folder may have, which may name other classes.
        """
        notes = [note for file in own_files if file.is_file() and (note := self._called_otherwise(labels, file))]
        if not self.classes:
            notes.append(f"no row shows any class{self._why()}")
        if names_file and labels.class_ids[:1] == range(1):
            notes.append(f"0 stands for {labels.names[0]!r}: {names_file} names no background")
        if self.passed_over:
            names = [f"{name} {count:,}" for name, count in self.passed_over.most_common()]
            more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
            value = 0 if labels.has_background else IGNORE_INDEX
            notes.append(
                f"{self.passed_over.total():,} annotations became {value}: of {len(names)} categories that are no "
                f"classes of {labels.name!r}: {', '.join(names[:MOST])}{more}"
            )
        return notes

    def _called_otherwise(self, labels: LabelSpace, file: Path) -> str:
        """Whether a file calls classes that rows show by other names; empty if not, or if nobody can tell."""
        try:
            names = mask_values(str(file)).labels.names
        except ValueError:
            return ""
        shown = [index for index in sorted(self.classes) if index < len(names)]
        differing = [index for index in shown if letters(names[index]) != letters(labels.names[index])]
        if not differing:
            return ""
        first, count = differing[0], len(differing)
        others = f", and {count - 1} more otherwise" if count > 1 else ""
        return (
            f"{file} calls class {first} {names[first]!r}, which was read as {labels.names[first]!r} of {labels.name!r}"
            f"{others}: if the masks are the folder's own, give labels=... that file"
        )

    def _why(self) -> str:
        if self.annotations and self.crowds == self.annotations:
            return (
                f": all {self.crowds} annotations are crowds (iscrowd 1), which are ignored; crowd='paint' paints them"
            )
        if self.values == {0, IGNORE_INDEX}:
            return (
                ": all masks hold 0 and 255 only, and 255 is ignored; if it is an object, give labels=... a file that "
                "numbers its lines, `0: background` and `255: NAME`"
            )
        return f": all masks hold {sorted(self.values)} only" if self.values else ""


def check_whole(data: bytes, image: Path) -> tuple[int, int]:
    """Refuse an image that breaks off: its size is still right, and only its last pixels are missing.

    Returns:
        Its height and width, upright.

    Raises:
        BadImageError: names the file.
    """
    size = picture_size(data, str(image))  # which says what is no image at all
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            opened.draft("L", (1, 1))  # of a JPEG an eighth of the pixels will do
            opened.load()
    except Exception as error:  # what Pillow makes of broken data has no end
        raise BadImageError(f"{image}: broken image data: {error}") from error
    return size


def check_sizes(data: bytes, size: tuple[int, ...], image: Path, what: str = "its mask has {}") -> None:
    """Refuse a mask of another size than its image.

    Args:
        data: the image file.
        size: height and width of the mask.
        image: its name, for errors.
        what: has that size, for errors.

    Raises:
        BadImageError: says both sizes, and whether the image is turned by its EXIF orientation.
    """
    upright = picture_size(data, str(image))
    if size == upright:
        return
    with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
        is_turned = opened.size != upright[::-1] and opened.size == size[::-1]
    why = (
        "its EXIF orientation turns the image, and the other is of the image as it is stored: take the tag away "
        "(`exiftool -Orientation= FILE`), or turn the mask or outlines"
        if is_turned
        else "they must be of one size"
    )
    image_size, mask_size = (f"{width}x{height}" for height, width in (upright, size))
    raise BadImageError(f"{image}: {image_size} pixels, but {what.format(mask_size)}; {why}")


def with_way_out(error: Exception) -> Exception:
    """An error, with what to do about it if it is of a broken file; others say it themselves."""
    if type(error) is not ValueError and not isinstance(error, (BadImageError, OSError)):
        return error
    broken = type(error)(f"{error}; with on_error='skip' such rows are left out and counted")
    broken.__cause__ = error
    return broken
