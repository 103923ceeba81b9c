"""Synthetic images named as in SDS (Tang et al., AAAI 2025): `gen_voc` or `gen_coco` without prompts."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

from sds_hf.data.sources.coco_ids import Ids
from sds_hf.data.sources.dataset_diffusion import find_prompts
from sds_hf.data.sources.files import MASK_SUFFIXES, UnknownLayoutError, files_by_stem, read_text, subfolders
from sds_hf.data.sources.reader import Reader, Row

# The name of a real image of VOC or COCO, and which of its captions the synthetic one was made from.
NAME = re.compile(r"(\d+_\d+|(?:COCO_[a-z]+\d{4}_)?\d{12})_\d+")
FOLDERS = {"gen_voc": "voc", "gen_coco": "coco"}


class SDS(Reader):
    """`image/<real image>_<number>.jpg` with `mask/<the same>.png`, and lists of ids such as `voc/train.txt`.

    Args:
        path: the folder, `gen_voc` or `gen_coco`.
        labels: `voc` or `coco`; taken from the folder's name if None.
        split: a list of ids, each alone or before its classes, counted from 0 without the background: a file, or the
            name of one (`train`) in the folder, in `voc/` or `coco/` there, or in one of these beside it. All images if
            None.
        masks: folder of the masks; `mask` if None. Pickled arrays, as SDS keeps activation maps (`.npy`), are refused.
        ids: for COCO, as for `DatasetDiffusion`; where values do not tell, the classes of the list do.

    The column `group` names the real image that a synthetic one was made from; null where the name does not say.
    """

    name: ClassVar[str] = "sds"
    summary: ClassVar[str] = "image/2007_000032_0.jpg, mask/2007_000032_0.png, as SDS names them; lists in train.txt"
    further: Mapping[str, str] = {"group": "text"}

    def __init__(
        self,
        path: str | Path,
        labels: str | None = None,
        split: str | Path | None = None,
        masks: str = "mask",
        ids: Ids | None = None,
    ) -> None:
        super().__init__(path, labels)
        self.folder = self.path / masks
        self.images, self.masks = files_by_stem(self.path / "image"), files_by_stem(self.folder, MASK_SUFFIXES)
        if not self.images:
            raise UnknownLayoutError(f"{self.path / 'image'} holds no images")
        self.listed = self._read_list(self._find_list(split)) if split else dict.fromkeys(self.images)
        self.choose_ids(ids, self.masks, self.folder, lambda name: self.listed.get(name) or set())

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """See `Reader.recognises`; where there are prompts, it is the output of Dataset Diffusion as it was."""
        if not {"image", "mask"} <= subfolders(path) or find_prompts(path):
            return False
        first = next((file for file in (path / "image").iterdir() if not file.name.startswith(".")), None)
        return path.name in FOLDERS or (first is not None and NAME.fullmatch(first.stem) is not None)

    def default_labels(self) -> str | None:
        """What the folder's name says."""
        return FOLDERS.get(self.path.name)

    def entries(self) -> Iterable[str]:
        """See `Reader.entries`."""
        return self.listed

    def read(self, entry: str) -> Row | None:
        """See `Reader.read`."""
        if entry not in self.images or entry not in self.masks:
            if entry in self.images:
                return self.missing("image without a mask", self.images[entry], self.folder / f"{entry}.png")
            return self.missing("listed without an image", self.path / "image" / f"{entry}.jpg")
        named = NAME.fullmatch(entry)
        row = self.row(entry, self.images[entry], self.read_indices(self.masks[entry]), group=named and named[1])
        listed_classes = self.listed[entry]
        if listed_classes is not None and not set(row["classes"]) <= listed_classes:
            self.counts["mask shows a class that the list does not name"] += 1
        return row

    def _find_list(self, split: str | Path) -> Path:
        folders = (self.path, self.path / self.labels.name, self.path.parent / self.labels.name)
        files = [Path(split), *(folder / f"{split}.txt" for folder in folders)]
        for file in files:
            if file.is_file():
                return file
        raise UnknownLayoutError(f"no list {str(split)!r}: there is none of {', '.join(map(str, files))}")

    def _read_list(self, file: Path) -> dict[str, set[int] | None]:
        """Names with the indices of their classes; None where the list has no classes."""
        listed: dict[str, set[int] | None] = {}
        for number, line in enumerate(read_text(file).split("\n"), 1):
            if line.strip():
                name, *classes = line.split()
                listed[name] = self._indices(classes, f"{file}, line {number}") if classes else None
        return listed

    def _indices(self, classes: list[str], where: str) -> set[int]:
        """Indices of classes that are counted from 0."""
        numbers = {str(number): index for number, index in enumerate(self.labels.class_ids)}
        if unknown := [name for name in classes if name not in numbers]:
            raise UnknownLayoutError(
                f"{where}: {unknown} are no classes of {self.labels.name!r}; lists have 0 to {len(numbers) - 1}"
            )
        return {numbers[name] for name in classes}
