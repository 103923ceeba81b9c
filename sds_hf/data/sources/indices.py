"""How the mask files of a layout become indices of its label space."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from sds_hf.data.images import values_of
from sds_hf.data.labels import IGNORE_INDEX, LabelSpace, MaskValues
from sds_hf.data.sources.coco_ids import Ids, check_ids, find_ids, to_indices
from sds_hf.data.sources.files import UnknownLayoutError, inner_file
from sds_hf.data.sources.masks import read_mask


class MaskFiles:
    """What readers do with mask files.

    Attributes:
        path: the folder.
        labels: what the indices of the masks mean.
        values: what the mask files hold for them.
        names_file: the file with the names of the classes, if there is one.
        ids: what the masks of COCO hold.
        ignore: value in the mask files that is to be ignored, besides 255.
    """

    name: ClassVar[str]
    path: Path
    labels: LabelSpace
    values: MaskValues
    names_file: str | None = None
    ids: Ids = "contiguous"
    ignore: int | None = None

    def file(self, path: Path) -> Path:
        """A file of the folder that may be read.

        Raises:
            PathError: if it is a link that leads out of the folder, and where to is not allowed.
        """
        return inner_file(path, self.path)

    def choose_ids(
        self,
        ids: str | None,
        masks: Mapping[str, Path],
        folder: Path,
        class_ids_of: Callable[[str], set[int]] | None = None,
        unless_same: bool = False,
    ) -> None:
        """Decide what the masks of COCO hold; other label spaces have one encoding, and so have names from a file.

        Args:
            ids: as it was asked for; if None it is found, see `find_ids`.
            masks: files by name.
            folder: where they are, for errors.
            class_ids_of: the class indices that the image of that name was asked to show, if known.
            unless_same: whether it need not be told where indices and category ids mean the same, as 1 to 11 do.

        Raises:
            UnknownLayoutError: if there are no ids to choose, or nothing tells which they are.
        """
        check_ids(ids)
        if ids and not self.labels.original_ids:
            raise UnknownLayoutError(
                f"the reader {self.name!r} has no option ['ids'] with the labels {self.labels.name!r}, only with coco"
            )
        if ids:
            self.ids, self.values = ids, MaskValues(self.labels)  # type: ignore[assignment]
        elif self.labels.original_ids and self.names_file is None:
            checked = {name: self.file(path) for name, path in masks.items()}
            self.ids = find_ids(checked, self.labels, folder, class_ids_of, unless_same)

    def read_indices(self, path: Path) -> np.ndarray:
        """The mask of a file as indices of `labels`: (H, W) uint8.

        Raises:
            ValueError: names the file and what is wrong with it.
        """
        values = read_mask(self.file(path), colors=self.values.colors, palette=self._palette)
        indices = self._to_indices(values if self.ignore is None else values[values != self.ignore], path)
        if self.ignore is not None:
            rest, indices = indices, np.full(values.shape, IGNORE_INDEX, np.uint8)
            indices[values != self.ignore] = rest
        return self.check_mask(indices, path)

    def _to_indices(self, values: np.ndarray, path: Path) -> np.ndarray:
        if self.values.indices is None:
            return to_indices(values, self.ids, self.labels, path)
        table = np.full(256, -1)
        table[list(self.values.indices)] = list(self.values.indices.values())
        indices = table[values]
        if (indices < 0).any():
            unknown = np.unique(values[indices < 0]).tolist()
            indices = sorted(self.values.indices)
            hint = f"; it names {indices if len(indices) < 9 else f'{len(indices)} indices'}: are the masks indices?"
            hint = "; say what 0 is with a line `0: background` or `0: unlabeled`" if unknown == [0] else hint
            raise UnknownLayoutError(f"{path}: {unknown} stand for no class, having no name in {self.names_file}{hint}")
        return np.asarray(indices, np.uint8)

    @property
    def _palette(self) -> Mapping[tuple[int, int, int], int]:
        """Value of each colour of a palette: those that a names file says, else those of PASCAL VOC and our exports."""
        if self.values.colors:
            return {self.labels.palette[IGNORE_INDEX]: IGNORE_INDEX, **self.values.colors}
        moved = [value for value, index in (self.values.indices or {}).items() if index not in (value, IGNORE_INDEX)]
        if moved or self.ids != "contiguous":
            return {}
        return self.labels.value_of_color

    def check_mask(self, mask: np.ndarray, path: Path) -> np.ndarray:
        """The mask, if all its indices are of the label space.

        Raises:
            ValueError: names the file and the values.
        """
        if unknown := self.labels.unknown(values_of(mask)):
            lowest = 0 if self.labels.has_background else self.labels.class_ids[0]
            raise UnknownLayoutError(
                f"{path}: {unknown} stand for no class of the label space {self.labels.name!r} "
                f"({lowest} to {self.labels.class_ids[-1]}, 255 is ignored)"
            )
        return mask
