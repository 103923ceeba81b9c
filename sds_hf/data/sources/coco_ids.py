"""What the values of ready-made COCO masks stand for: indices, category ids, or the values of COCO-Stuff."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from sds_hf.data.labels import IGNORE_INDEX, LabelSpace
from sds_hf.data.sources.files import UnknownLayoutError
from sds_hf.data.sources.masks import read_mask

Ids = Literal["contiguous", "original", "stuffthingmaps"]
ALL_IDS: tuple[Ids, ...] = get_args(Ids)
STUFF = range(91, 182)  # what stuffthingmaps hold for stuff; things are category ids less 1
PIXELMAPS = {182, 183}  # of the values of COCO's own stuff_*_pixelmaps those that no other masks have
NEARLY_ALL = 0.9  # of the masks: those that are left may be broken
SEVERAL, FEW = 3, 4  # what only one encoding has must be in so many masks, or in one of so many
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
        raise UnknownLayoutError(f"ids must be {' or '.join(get_args(Ids))}, not {ids!r}")


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


@dataclass(frozen=True)
class Held:
    """What a mask holds besides 0 and 255.

    Attributes:
        values: all of them.
        large: those of at least one pixel in a thousand; a few stray pixels tell nothing of an encoding.
        named: the class indices that its image was asked to show.
    """

    values: set[int]
    large: set[int]
    named: set[int]


def find_ids(
    masks: Mapping[str, Path],
    labels: LabelSpace,
    folder: Path,
    class_ids_of: Callable[[str], set[int]] | None = None,
    unless_same: bool = False,
) -> Ids:
    """The encoding of masks, judged mask by mask: the one that nearly all of them share.

    A mask that has it not is named when it is read. Where nearly all could have either, what the images were asked to
    show decides, then values that only one encoding has, in several masks.

    Args:
        masks: files by name; each is read once, and passed over if it cannot be: its row will say why.
        labels: of COCO.
        folder: where they are, for errors.
        class_ids_of: the class indices that the image of that name was asked to show, if known.
        unless_same: whether it need not be told where indices and category ids mean the same, as 1 to 11 do.

    Raises:
        UnknownLayoutError: if more than one encoding or none is possible; names the flag, or files that differ.
    """
    of_files = {path: _held(path, class_ids_of(name) if class_ids_of else set()) for name, path in masks.items()}
    held_by_path = {path: held for path, held in of_files.items() if held is not None and held.values}
    _check_pixelmaps(held_by_path, folder)
    fitting = {
        ids: [path for path in held_by_path if held_by_path[path].large <= _possible(ids, labels)] for ids in ALL_IDS
    }
    if (best := _asked_for(held_by_path, labels)) and len(fitting[best]) * 2 > len(held_by_path):
        return best
    candidates = [ids for ids in ALL_IDS if len(fitting[ids]) >= NEARLY_ALL * len(held_by_path)]
    with_stuff = [path for path, held in held_by_path.items() if held.large & set(STUFF)]
    if candidates == ["stuffthingmaps"] and len(with_stuff) * FEW >= len(held_by_path):
        return "stuffthingmaps"
    if not set(candidates) & {"contiguous", "original"}:
        raise UnknownLayoutError(_differing(fitting, held_by_path, labels, folder))
    # Most values of COCO-Stuff are those of others too, and its 0 is a person: its own have to decide.
    contiguous = [path for path in fitting["contiguous"] if path not in fitting["original"]]
    original = [path for path in fitting["original"] if path not in fitting["contiguous"]]
    for ids, telling, others in (("contiguous", contiguous, original), ("original", original, contiguous)):
        enough = len(telling) >= SEVERAL or len(telling) * FEW >= len(held_by_path) > 0
        if ids in candidates and enough and len(telling) * (1 - NEARLY_ALL) >= len(others):
            return ids
    if unless_same and set().union(*(held.values for held in held_by_path.values())) <= _same(labels):
        return "contiguous"
    few = [path.name for path in (*contiguous, *original)][:SEVERAL]
    raise UnknownLayoutError(
        f"the masks in {folder} could hold contiguous (1-80) or original (1-90) COCO ids; say which: "
        f"ids='contiguous' or ids='original'{f' (only {few} tell, of {len(held_by_path)} masks)' if few else ''}"
    )


def _possible(ids: Ids, labels: LabelSpace) -> set[int]:
    """The values that an encoding has."""
    if ids == "contiguous":
        return {*range(len(labels.names)), IGNORE_INDEX}
    if ids == "original":
        return {*labels.original_ids, IGNORE_INDEX}
    return {*(original - 1 for original in labels.original_ids[1:]), *STUFF, IGNORE_INDEX}


def _same(labels: LabelSpace) -> set[int]:
    """The values that mean the same as indices and as category ids."""
    return {index for index, original in enumerate(labels.original_ids) if index == original}


def _held(path: Path, named: set[int]) -> Held | None:
    """What a mask holds; None if it cannot be read."""
    try:
        values, counts = np.unique(read_mask(path), return_counts=True)
    except (ValueError, OSError):
        return None
    pixels = {int(value): int(count) for value, count in zip(values, counts, strict=True)}
    least = sum(pixels.values()) / 1000
    classes = set(pixels) - {0, IGNORE_INDEX}
    return Held(classes, {value for value in classes if pixels[value] >= least}, named)


def _check_pixelmaps(shown: Mapping[Path, Held], folder: Path) -> None:
    holding = [held.values & PIXELMAPS for held in shown.values() if held.values & PIXELMAPS]
    if len(holding) * 2 > len(shown):
        raise UnknownLayoutError(
            f"{folder} holds {min(holding[0])}, as COCO's stuff_*_pixelmaps do: these have no classes of things; "
            "take the panoptic or instance annotations, or stuffthingmaps"
        )


def _asked_for(shown: Mapping[Path, Held], labels: LabelSpace) -> Ids | None:
    """The encoding in which masks show what their images were asked to; None if that is not clear."""
    original = {original: index for index, original in enumerate(labels.original_ids)}
    contiguous = sum(len(held.values & held.named) for held in shown.values())
    moved = sum(len({original.get(value) for value in held.values} & held.named) for held in shown.values())
    if max(contiguous, moved) > 2 * min(contiguous, moved):
        return "contiguous" if contiguous > moved else "original"
    return None


def _differing(fitting: Mapping[Ids, list[Path]], shown: Mapping[Path, Held], labels: LabelSpace, folder: Path) -> str:
    """What masks that share no encoding hold."""
    contiguous, original = _possible("contiguous", labels), _possible("original", labels)
    only = {value: path for path, held in reversed([*shown.items()]) for value in held.values & (contiguous ^ original)}
    if set(only) & contiguous and set(only) & original:
        first, second = min(set(only) & contiguous), min(set(only) & original)
        return (
            f"{folder} holds {first}, which is no original COCO category id, and {second}, which is no contiguous one: "
            f"the masks are of different encodings; import them apart, with ids=... ({first} is in {only[first].name}, "
            f"{second} in {only[second].name})"
        )
    ids = max(ALL_IDS, key=lambda ids: len(fitting[ids]))
    odd = next(path for path in shown if path not in fitting[ids])
    return (
        f"{len(fitting[ids])} of {len(shown)} masks in {folder} could hold {MEANING[ids]}, but not {odd.name}: it has "
        f"{sorted(shown[odd].large - _possible(ids, labels))}: take it out, or say which ids with ids={ids!r}"
    )
