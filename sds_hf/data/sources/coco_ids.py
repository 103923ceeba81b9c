"""What the values of ready-made COCO masks stand for: indices, category ids, or the values of COCO-Stuff."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from sds_hf.data.labels import IGNORE_INDEX, LabelSpace
from sds_hf.data.sources.files import UnknownLayoutError, read_mask

Ids = Literal["contiguous", "original", "stuffthingmaps"]
STUFF = range(91, 182)  # what stuffthingmaps hold for stuff; things are category ids less 1
PIXELMAPS = {182, 183}  # of the values of COCO's own stuff_*_pixelmaps those that no other masks have
MEANING = {
    "contiguous": "indices (1 to 80)",
    "original": "original COCO category ids",
    "stuffthingmaps": f"values of stuffthingmaps (things 0 to 89, stuff {STUFF[0]} to {STUFF[-1]})",
}


def check_ids(ids: str | None) -> None:
    """Refuse the name of an encoding that there is not.

    Raises:
        UnknownLayoutError: names those that exist.
    """
    if ids not in (None, *get_args(Ids)):
        raise UnknownLayoutError(f"--ids is {' or '.join(get_args(Ids))}, not {ids!r}")


def to_indices(mask: np.ndarray, ids: Ids, labels: LabelSpace, path: Path) -> np.ndarray:
    """A mask as indices of the label space.

    Args:
        mask: (H, W) uint8 in the encoding `ids`, 255 being ignored.
        ids: what its values are.
        labels: of COCO.
        path: its file, for errors.

    Returns:
        (H, W) uint8; stuff is background.

    Raises:
        UnknownLayoutError: if it holds values that the encoding has not; names them.
    """
    if ids == "contiguous":
        return mask
    table = np.full(256, -1)
    if ids == "original":
        table[list(labels.original_ids)] = range(len(labels.original_ids))
    else:
        table[np.array(labels.original_ids[1:]) - 1] = labels.class_ids
        table[list(STUFF)] = 0
    table[IGNORE_INDEX] = IGNORE_INDEX
    indices = table[mask]
    if (indices < 0).any():
        raise UnknownLayoutError(f"{path}: {np.unique(mask[indices < 0]).tolist()} are no {MEANING[ids]}")
    return np.asarray(indices, np.uint8)


def find_ids(
    masks: Mapping[str, Path], labels: LabelSpace, folder: Path, class_ids_of: Callable[[str], set[int]] | None = None
) -> Ids:
    """The encoding of masks, from the values of all of them; if those do not tell, from what was asked for.

    Args:
        masks: files by name; each is read once, and passed over if it cannot be: its row will say why.
        labels: of COCO.
        folder: where they are, for errors.
        class_ids_of: the class indices that the image of that name was asked to show, if known.

    Raises:
        UnknownLayoutError: if more than one encoding or none is possible; names the flag.
    """
    values = {name: _values(path) for name, path in masks.items()}
    seen = set().union(*values.values()) - {0, IGNORE_INDEX}
    if encoding := _ids_of(seen, labels, folder):
        return encoding
    if class_ids_of:
        original = {original: index for index, original in enumerate(labels.original_ids)}
        agreed = dict.fromkeys(("contiguous", "original"), 0)
        for name, held in values.items():
            named = class_ids_of(name)
            agreed["contiguous"] += len(held & named)
            agreed["original"] += len({original.get(value) for value in held} & named)
        (fewer, _), (more, best) = sorted((count, ids) for ids, count in agreed.items())
        if more > 2 * fewer:
            return best  # type: ignore[return-value]
    raise UnknownLayoutError(
        f"the masks in {folder} could hold contiguous (1-80) or original (1-90) COCO ids; say which: "
        "--ids contiguous or --ids original"
    )


def _values(path: Path) -> set[int]:
    try:
        return {int(value) for value in np.unique(read_mask(path))}
    except (ValueError, OSError):
        return set()


def _ids_of(seen: set[int], labels: LabelSpace, folder: Path) -> Ids | None:
    """The encoding that alone has all these values; None if indices and category ids both do.

    Raises:
        UnknownLayoutError: if no encoding has them all, or they are those of pixelmaps.
    """
    if seen & PIXELMAPS:
        raise UnknownLayoutError(
            f"{folder} holds {min(seen & PIXELMAPS)}, as COCO's stuff_*_pixelmaps do: these have no classes of things; "
            "take the panoptic or instance annotations, or stuffthingmaps"
        )
    if seen & set(STUFF):
        return "stuffthingmaps"
    only_original = seen - set(range(len(labels.names)))
    only_contiguous = seen & (set(range(len(labels.names))) - set(labels.original_ids))
    if only_original and only_contiguous:
        raise UnknownLayoutError(
            f"{folder} holds {min(only_contiguous)}, which is no original COCO category id, and {min(only_original)}, "
            "which is no contiguous one: the masks are of different encodings; import them apart, with --ids"
        )
    return "original" if only_original else "contiguous" if only_contiguous else None
