"""A copy of a dataset with trusted masks, in which some rows have a defect and the truth is in a column."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sds_hf.data.cells import stored_cells
from sds_hf.data.folder import write_data_folder
from sds_hf.data.ids import RepeatedIdError, repeated_ids
from sds_hf.data.images import (
    BadImageError,
    cell_bytes,
    decode_image,
    decode_mask,
    encode_jpeg,
    encode_mask,
    encode_picture,
)
from sds_hf.data.instances import InstanceError, encode_rle, entries, given_instances, instance_map
from sds_hf.data.labels import IGNORE_INDEX, LabelSpace, labels_of
from sds_hf.errors import no_such
from sds_hf.progress import Watch, nothing
from sds_hf.prove.defects import DEFECTS, IMAGE_DEFECTS, OF_ONE_STRENGTH, STRENGTHS, Pair, spoil

if TYPE_CHECKING:
    from datasets import Dataset, Features

Row = dict[str, Any]
TRUTH, STRENGTH, ORIGINAL = "defect", "strength", "original_id"
OTHERS = 8  # rows that are asked for a mask or an image of another row
JPEG_QUALITY = 95
TEXT = """# Pairs with known defects

Trusted pairs, each followed by copies of it with a defect, made by `sds-hf defects`. `defect` is null for a trusted
pair, else the kind; `strength` is weak, medium or strong, null for kinds that have only one; `original_id` names the
trusted pair.
"""


@dataclass(frozen=True)
class DefectCopy:
    """What was written.

    Attributes:
        folder: where it lies.
        rows: number of rows by defect, `none` for the trusted ones.
        left_out: what was not written, by reason.
    """

    folder: Path
    rows: dict[str, int]
    left_out: dict[str, int]


def inject_defects(
    dataset: "Dataset",
    out: str | Path,
    *,
    seed: int = 0,
    copies: int = 1,
    kinds: Sequence[str] | None = None,
    labels: str = "auto",
    num_proc: int = 1,
    source: str = "",
    watch: Watch = nothing,
) -> DefectCopy:
    """Write the rows of a dataset, each followed by copies of it with a defect.

    A copy depends on the seed, on the row's id and, where it takes the mask or the image of another row, on which rows
    there are; not on their order or the number of processes. Rows that say in a column `defect` that they have one are
    left out.

    Args:
        dataset: with `image` and `mask` that can be trusted; `id` names the rows, which are numbered if it is missing.
            Objects are the row's `instances` where it lists them, else the classes of the mask.
        out: the new folder, which `load_dataset` reads.
        seed: of everything drawn.
        copies: of each row, each with another kind of defect, at one of three strengths.
        kinds: names in `DEFECTS`, all of them if None.
        labels: label space of the masks; `auto` takes it from the ClassLabel names of `classes`.
        num_proc: processes.
        source: what to call the dataset in `origin.json`.
        watch: shows progress.

    Raises:
        ValueError: if a kind or the label space is not known, a column is missing, ids repeat, or the folder is not
            empty.
    """
    chosen = list(DEFECTS if kinds is None else kinds)
    if unknown := [kind for kind in chosen if kind not in DEFECTS]:
        raise ValueError(no_such("defect", unknown[0], DEFECTS))
    if not 1 <= copies <= len(chosen):
        raise ValueError(f"copies must be from 1 to {len(chosen)}, the number of kinds, not {copies}")
    if missing := [name for name in ("image", "mask") if name not in dataset.column_names]:
        raise ValueError(f"defects need trusted pairs; the dataset has no column {missing}")
    spoiler = Spoiler(dataset, labels_of(dataset.features, labels), seed, copies, chosen)
    rows, left_out = Counter[str](), Counter(spoiler.left_out)
    with watch("spoiling", len(spoiler.row_numbers)) as tell:

        def counted() -> Iterator[Row]:
            for position, (group, reasons) in enumerate(_in_order(spoiler, num_proc), 1):
                left_out.update(reasons)
                rows.update(row[TRUTH] or "none" for row in group)
                yield from group
                tell(position, 0)

        origin = {"reader": "defects", "source": source, "seed": seed, "copies": copies, "kinds": chosen}
        write_data_folder(counted(), spoiler.features, out, TEXT, origin=origin)
    return DefectCopy(Path(out), dict(rows), dict(left_out))


class Spoiler:
    """Makes of a row number the trusted row and its copies.

    Args:
        dataset, seed, copies: see `inject_defects`.
        labels: what mask indices mean.
        kinds: names of defects.

    Attributes:
        row_numbers: of the trusted rows, in order.
        left_out: how many rows have a defect already.
        features: of the rows that are made.

    Raises:
        ValueError: if ids repeat or there is no trusted row.
    """

    def __init__(self, dataset: "Dataset", labels: LabelSpace, seed: int, copies: int, kinds: Sequence[str]) -> None:
        self._stored = dataset.with_format("arrow")
        self._labels, self._seed, self._copies, self._kinds = labels, seed, copies, kinds
        self.features = _features(dataset.features)
        truth = dataset.with_format(None)[TRUTH] if TRUTH in dataset.column_names else [None] * len(dataset)
        self.row_numbers = [row for row, defect in enumerate(truth) if defect is None]
        spoilt = len(dataset) - len(self.row_numbers)
        self.left_out = {"rows that have a defect already": spoilt} if spoilt else {}
        if not self.row_numbers:
            raise ValueError(f"every row has a defect already (column {TRUTH!r}); defects are made of trusted pairs")
        self._names = (
            [str(name) for name in dataset.with_format(None)["id"]]
            if "id" in dataset.column_names
            else [str(row) for row in range(len(dataset))]
        )
        for name, (first, second, *_) in repeated_ids(lambda: self._names).items():
            raise RepeatedIdError(str(name), first, second)
        drawn = {row: _digest(seed, self._names[row]) for row in self.row_numbers}
        self._circle = sorted(self.row_numbers, key=lambda row: (drawn[row], self._names[row]))
        self._positions = {row: position for position, row in enumerate(self._circle)}

    def __call__(self, row: int) -> tuple[list[Row], list[str]]:
        """The trusted row and its copies, and why there are fewer than there should be."""
        name = self._names[row]
        try:
            cells = self._cells(row)
            pair = take_apart(cells, self._labels)
        except (ValueError, OSError) as error:  # of a picture, of instances, or of a file that may not be read
            return [], [f"broken rows, e.g. {name}: {error}"[:120]]
        trusted = {**cells, "id": name, TRUTH: None, STRENGTH: None, ORIGINAL: name}
        if not pair.numbers:
            return [trusted], ["copies of rows without an object"] * self._copies
        rows, digest = [trusted], _digest(self._seed, name)
        order = np.random.default_rng([self._seed, digest]).permutation(self._kinds).tolist()
        while order and len(rows) <= self._copies:
            kind = str(order.pop(0))
            rng = np.random.default_rng([self._seed, digest, list(DEFECTS).index(kind)])
            strength = int(rng.integers(len(STRENGTHS)))
            spoilt = spoil(rng, pair, self._others(row) if kind in OF_ONE_STRENGTH else [], kind, strength)
            if spoilt is not None:
                told = {TRUTH: kind, STRENGTH: None if kind in OF_ONE_STRENGTH else STRENGTHS[strength]}
                copy = {**trusted, **told, "id": f"{name}~{len(rows)}"}
                rows.append(copy | _cells_of(spoilt, pair, cells, kind in IMAGE_DEFECTS))
        return rows, ["copies that no further defect fits"] * (self._copies + 1 - len(rows))

    def _cells(self, row: int) -> Row:
        """The cells of a row, with the bytes of pictures whose files it names.

        Raises:
            ValueError: if a file may not or cannot be read.
        """
        cells = {name: column[0] for name, column in stored_cells(self._stored, [row]).items()}
        return {name: _with_bytes(cell) for name, cell in cells.items()}

    def _others(self, row: int) -> list[Pair]:
        """Some rows that come next in an order that depends on the seed and the ids only."""
        pairs, start = [], self._positions[row]
        for step in range(1, min(OTHERS, len(self._circle) - 1) + 1):
            try:
                pair = take_apart(self._cells(self._circle[(start + step) % len(self._circle)]), self._labels)
            except (ValueError, OSError):
                continue
            pairs += [pair] if pair.numbers else []
        return pairs


def _with_bytes(cell: Any) -> Any:
    """A cell that names a picture's file with the bytes of it; others as they are."""
    if isinstance(cell, dict) and set(cell) == {"bytes", "path"} and cell["path"] and cell["bytes"] is None:
        return {**cell, "bytes": cell_bytes(cell)}
    return cell


def take_apart(cells: Row, labels: LabelSpace) -> Pair:
    """The pair of a row.

    Raises:
        BadImageError: if image or mask cannot be read, do not fit, or the mask has indices that mean nothing.
        InstanceError: if the row's instances cannot be used.
    """
    image, mask = decode_image(cells["image"]), decode_mask(cells["mask"])
    if image.shape[:2] != mask.shape:
        sizes = ["x".join(str(side) for side in array.shape[1::-1]) for array in (image, mask)]
        raise BadImageError(f"mask: {sizes[1]} pixels for an image of {sizes[0]}")
    present = [int(value) for value in np.unique(mask)]
    if unknown := labels.unknown(present):
        raise BadImageError(f"mask: holds the indices {unknown}, which mean nothing in {labels.name!r}")
    classes = [value for value in present if value in labels.class_ids]
    nothing_ = 0 if labels.has_background else IGNORE_INDEX
    segments, class_ids, keys = np.zeros(mask.shape, np.int32), list[int](), list[int]()
    listing = cells.get("instances")
    instances = np.zeros(mask.shape, np.int32) if listing is None else _listed(listing, mask, labels)
    for class_id in classes:
        for key in np.unique(instances[mask == class_id]).tolist():
            class_ids.append(class_id)
            keys.append(key)
            segments[(mask == class_id) & (instances == key)] = len(class_ids)
    rest = np.where(segments > 0, nothing_, mask).astype(np.uint8)
    absent = tuple(class_id for class_id in labels.class_ids if class_id not in classes)
    return Pair(image, segments, tuple(class_ids), rest, nothing_, absent, tuple(keys))


def _listed(cell: Any, mask: np.ndarray, labels: LabelSpace) -> np.ndarray:
    """What the row's instances call the object at each pixel, 0 for none: an id, or a place in the list from 1."""
    objects = given_instances(cell, labels)
    ids = instance_map(objects, mask.shape)
    if ids.shape != mask.shape:
        raise InstanceError(f"instances: a picture of {ids.shape[1]}x{ids.shape[0]} pixels for another size of mask")
    if isinstance(objects, np.ndarray):
        return np.where(ids == IGNORE_INDEX, 0, ids)
    classes = np.array([0, *(instance.class_id for instance in objects)])
    return np.where(classes[ids] == mask, ids, 0)


def _cells_of(spoilt: Pair, pair: Pair, cells: Row, image_differs: bool) -> Row:
    """The cells that a defect changes."""
    if image_differs:
        is_jpeg = cells["image"]["bytes"][:2] == b"\xff\xd8"
        data = encode_jpeg(spoilt.image, JPEG_QUALITY) if is_jpeg else encode_picture(spoilt.image)
        return {"image": {"bytes": data, "path": f"spoilt.{'jpg' if is_jpeg else 'png'}"}}
    mask, changed = spoilt.mask, dict[str, Any]()
    changed["mask"] = {"bytes": encode_mask(mask), "path": "spoilt.png"}
    if isinstance(cells.get("classes"), list):
        seen = {spoilt.class_ids[number - 1] for number in spoilt.numbers}
        changed["classes"] = sorted(seen)
    if cells.get("instances") is not None:
        changed["instances"] = _instances(spoilt, pair, cells["instances"])
    return changed


def _instances(spoilt: Pair, pair: Pair, cell: Any) -> Any:
    """The row's instances after a defect: those it changes as run lengths, or the picture of ids."""
    keys = np.array([0, *spoilt.keys])
    if not isinstance(cell, list):
        border = decode_mask(cell, "ids", 65535) == IGNORE_INDEX
        ids = np.where(
            (spoilt.segments == 0) & border & (spoilt.rest == IGNORE_INDEX), IGNORE_INDEX, keys[spoilt.segments]
        )
        return {"bytes": encode_mask(ids.astype(np.uint8 if ids.max() <= 255 else np.uint16)), "path": "spoilt.png"}
    old = entries(cell)
    own = [entry for entry in old if not entry.get("iscrowd")]
    listed = [dict(entry) for entry in old if entry.get("iscrowd")]
    for number in spoilt.numbers:
        if not (key := spoilt.keys[number - 1]):
            continue
        seen, class_id = spoilt.segments == number, spoilt.class_ids[number - 1]
        same = number <= len(pair.keys) and pair.keys[number - 1] == key and pair.class_ids[number - 1] == class_id
        if same and np.array_equal(seen, pair.segments == number):
            listed.append(dict(own[key - 1]))
        else:
            rle = {"class": class_id, "counts": encode_rle(seen)["counts"], "size": list(seen.shape)}
            listed.append({**dict.fromkeys(old[0]), **rle, "iscrowd": False} if old else rle)
    return listed


def _features(features: "Features") -> "Features":
    """Features of the copy: an id that is text, run lengths for objects that are listed, and the truth."""
    from datasets import Features, Value

    changed = {"id": None, **features} | {"id": Value("string")}
    if "instances" in features:
        changed["instances"] = _with_run_lengths(features["instances"])
    return Features({**changed, TRUTH: Value("string"), STRENGTH: Value("string"), ORIGINAL: Value("string")})


def _with_run_lengths(feature: Any) -> Any:
    """The feature of lists of objects, with what run lengths need."""
    from datasets import Value

    inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)
    if not isinstance(inner, dict):
        return feature  # a picture of ids
    fields = {"counts": Value("string"), "size": [Value("int32")], "iscrowd": Value("bool"), **inner}
    if fields["counts"] != Value("string"):
        raise ValueError("the run lengths of `instances` are lists; defects write them as text: drop that column")
    return [fields]


def _digest(seed: int, name: str) -> int:
    """A number that is drawn for an id, the same on every machine."""
    return int.from_bytes(hashlib.sha256(f"{seed}|{name}".encode()).digest()[:8], "big")


def _in_order(spoiler: Spoiler, num_proc: int) -> Iterator[tuple[list[Row], list[str]]]:
    """What becomes of each trusted row, in their order."""
    if num_proc == 1:
        yield from map(spoiler, spoiler.row_numbers)
        return
    with ProcessPoolExecutor(num_proc, mp_context=get_context("spawn"), initializer=_use, initargs=(spoiler,)) as pool:
        yield from pool.map(_spoil, spoiler.row_numbers, chunksize=16)


_spoilers: list[Spoiler] = []  # of a process of `_in_order`


def _use(spoiler: Spoiler) -> None:
    _spoilers[:] = [spoiler]


def _spoil(row: int) -> tuple[list[Row], list[str]]:
    return _spoilers[0](row)
