"""Output of DiffuMask (Wu et al., ICCV 2023): a folder for each class, or what its augmentations write."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from sds_hf.data.prompts import classes_in_prompt
from sds_hf.data.sources.coco_ids import Ids
from sds_hf.data.sources.files import UnknownLayoutError, files_by_stem, subfolders
from sds_hf.data.sources.reader import Reader, Row

REFINED = ("refine_gt_crf", "refine_gt")  # in the order of preference
AUGMENTED = {"Image": "Mask", "train_image_2": "ground_truth_2"}  # spliced, and homography
Entry = tuple[str, Path, Path]  # id, image, mask


class DiffuMask(Reader):
    """Folders of a class with `train_image/image_<class>_<number>.jpg` and `refine_gt_crf/<same name>.png`.

    Args:
        path: such a folder, one that holds some of them, or the output of an augmentation: `Image/` and `Mask/`, or
            `train_image_2/` and `ground_truth_2/`.
        labels: `cityscapes` or `voc` if None, as the folders are called.
        masks: folder of the masks beside `train_image`; if None `refine_gt_crf`, or `refine_gt` where there is none.
        ids: of COCO's classes, as for `DatasetDiffusion`; the classes in the names confirm them.

    The class in a file's name becomes `class_prompt`. Images without a mask are unlabelled; they are skipped and
    counted. Attention maps (`npy/`) are pickled objects, which can run code; they are never opened, nor needed. Where
    the label space has no background, index 0 becomes 255.
    """

    name: ClassVar[str] = "diffumask"
    summary: ClassVar[str] = "<class folder>/train_image/*.jpg, refine_gt_crf/*.png; or Image/*, Mask/*"

    def __init__(
        self, path: str | Path, labels: str | None = None, masks: str | None = None, ids: Ids | None = None
    ) -> None:
        super().__init__(path, labels)
        self.masks = masks
        if not self.labels.has_background:
            self.ignore = 0
        if not list(_folders(self.path)):
            raise UnknownLayoutError(f"{self.path} and the folders in it have no train_image/, nor Image/ and Mask/")
        if ids or self.labels.original_ids:
            masks_by_name = {name: mask for name, _, mask in self.entries()}
            self.choose_ids(ids, masks_by_name, self.path, lambda name: self._named(_class_in(Path(name).name)))

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """See `Reader.recognises`."""
        return any(True for _ in _folders(path))

    def default_labels(self) -> str:
        """What the names of the folders begin with."""
        names = [self.path.resolve().name, *subfolders(self.path)]
        return "cityscapes" if any(name.lower().startswith("cityscapes") for name in names) else "voc"

    def entries(self) -> Iterator[Entry]:
        """See `Reader.entries`."""
        for folder, images in _folders(self.path):
            masks = folder / self._masks_beside(folder, images)
            for stem, image in files_by_stem(folder / images).items():
                yield stem if folder == self.path else f"{folder.name}/{stem}", image, masks / f"{stem}.png"

    def read(self, entry: Entry) -> Row | None:
        """See `Reader.read`."""
        name, image, path = entry
        if not path.exists():
            return self.missing("image without a mask", image, path)
        prompt = _class_in(image.stem)
        row = self.row(name, image, self.read_indices(path), prompt=prompt)
        if prompt and not set(row["classes"]) <= self._named(prompt):
            self.counts["mask shows a class its name does not"] += 1
        return row

    def _named(self, prompt: str | None) -> set[int]:
        return set(classes_in_prompt(prompt or "", self.labels.names, self.labels.class_ids))

    def _masks_beside(self, folder: Path, images: str) -> str:
        if images in AUGMENTED:
            return AUGMENTED[images]
        inner = subfolders(folder)
        if self.masks and self.masks not in inner:
            raise UnknownLayoutError(f"{folder} has no {self.masks}/; it has {sorted(inner)}")
        return self.masks or next((name for name in REFINED if name in inner), REFINED[0])


def _folders(path: Path) -> Iterator[tuple[Path, str]]:
    """Folders with images of DiffuMask, and what the folder of the images is called in each."""
    for folder in (path, *sorted(path / name for name in subfolders(path))):
        inner = subfolders(folder)
        yield from ((folder, images) for images, masks in AUGMENTED.items() if {images, masks} <= inner)
        if "train_image" in inner:
            yield folder, "train_image"


def _class_in(stem: str) -> str | None:
    """The class that `image_<class>_<number>` names."""
    first, _, rest = stem.partition("_")
    name, _, number = rest.rpartition("_")
    return name.replace("_", " ") if first == "image" and name and number.isdigit() else None
