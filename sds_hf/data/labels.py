"""Label spaces: what the indices of a mask mean and how CLIP is asked about them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from sds_hf.data.names_files import SUFFIXES, Color, Names, is_background, is_doubtful, is_ignored, read_names
from sds_hf.errors import did_you_mean

IGNORE_INDEX = 255
BACKGROUND = "background"
UNUSED = "unlabeled"  # name of an index 0 that no pixel has
ADE20K = ("wall", "building", "sky", "floor", "tree")  # the first of its 150 names


@dataclass(frozen=True, kw_only=True)
class LabelSpace:
    """The classes of a dataset, indexed as in its masks.

    Attributes:
        name: short name, e.g. `"voc"`.
        names: class names by index; index 0 is the background unless `has_background` is false.
        prompts: text for each foreground class, by `class_ids`.
        background_prompts: things that may surround the classes; they compete with the classes in a softmax.
        template: sentence every prompt is put into.
        cam_threshold: share of an activation map's maximum that bounds an object in the affinity step.
        original_ids: for COCO, the category id (1 to 90) of every index; empty elsewhere.
        has_background: whether index 0 is background. If not, it is a class, or unused if called `unlabeled`, as in
            Cityscapes: what has no class there is 255.
        source: where names and prompts come from.
    """

    name: str
    names: tuple[str, ...]
    prompts: tuple[str, ...]
    background_prompts: tuple[str, ...]
    template: str = "a clean origami {}."
    cam_threshold: float = 0.4
    original_ids: tuple[int, ...] = ()
    has_background: bool = True
    source: str = ""

    @property
    def class_ids(self) -> range:
        """Indices of the foreground classes."""
        return range(1 if self.has_background or any(map(is_ignored, self.names[:1])) else 0, len(self.names))

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        """256 RGB colours, one an index: PASCAL VOC's colour map, which repeats none."""
        return _voc_palette()

    @property
    def value_of_color(self) -> dict[Color, int]:
        """The index that a colour of a mask's palette stands for: those of classes, background and what is ignored."""
        colors = {color: index for index, color in enumerate(self.palette[: len(self.names)])}
        return {**colors, self.palette[IGNORE_INDEX]: IGNORE_INDEX}

    def unknown(self, values: Iterable[int]) -> list[int]:
        """Those of the indices that mean nothing here: neither a class nor background nor ignored."""
        valid_indices = {*self.class_ids, IGNORE_INDEX} | ({0} if self.has_background else set())
        return sorted({int(value) for value in values} - valid_indices)

    def texts(self) -> list[str]:
        """The sentences for CLIP: those of the classes, in the order of `class_ids`, then those of the background."""
        return [self.template.format(prompt) for prompt in (*self.prompts, *self.background_prompts)]

    @classmethod
    def from_names(cls, names: Sequence[str]) -> "LabelSpace":
        """The known space with these class names, or a new one whose prompts are the names themselves.

        Index 0 is the background if it is called so in any spelling, and unused if it is called `unlabeled`, `void` or
        the like. A new space takes the background prompts of VOC that are no class of it.
        """
        names = tuple(names)
        for space in (VOC, COCO, CITYSCAPES):
            if names == space.names:
                return space
        has_background = any(map(is_background, names[:1]))
        start = 1 if has_background or any(map(is_ignored, names[:1])) else 0
        classes = tuple(name.replace("_", " ") for name in names[start:])
        return cls(
            name="custom",
            names=names,
            prompts=classes,
            background_prompts=tuple(prompt for prompt in VOC.background_prompts if prompt not in classes),
            has_background=has_background,
            source="class names of the dataset",
        )


@dataclass(frozen=True)
class MaskValues:
    """What the masks of a raw layout hold.

    Attributes:
        labels: the label space that they become.
        indices: index of each value; None if values are indices.
        colors: value of each colour of coloured masks, where it is known.
    """

    labels: LabelSpace
    indices: Mapping[int, int] | None = None
    colors: Mapping[Color, int] = field(default_factory=dict)

    @property
    def moved(self) -> dict[int, int]:
        """Index of each value that stands for another one than its own, and is not to be ignored."""
        return {value: index for value, index in (self.indices or {}).items() if index not in (value, IGNORE_INDEX)}


def is_names_file(name: str) -> bool:
    """Whether the name of a label space is that of a file with the names of its classes."""
    return name.lower().endswith(SUFFIXES)


def label_space(name: str) -> LabelSpace:
    """The label space of that name.

    Args:
        name: `voc`, `coco`, `cityscapes`, or a file with the names of the classes, see `read_names`.

    Raises:
        ValueError: if there is none, which names those that exist; or if a file gives values that are no indices.
    """
    values = mask_values(name)
    for value, index in values.moved.items():
        raise ValueError(
            f"{name}: masks with these names hold {value} where a dataset holds {index} "
            f"({values.labels.names[index]!r}): import them first, sds-hf import maps the values"
        )
    return values.labels


def mask_values(name: str) -> MaskValues:
    """The label space of that name, and what masks hold for its indices.

    A file may name the background at another value than 0, leave values out, and call some `void` or `unlabeled`: these
    become 255.

    Raises:
        ValueError: see `label_space`.
    """
    if is_names_file(name):
        return _of_names(read_names(Path(name)), name)
    if name not in SPACES:
        raise ValueError(
            f"no label space {name!r}; there are {', '.join(sorted(SPACES))}, or a .txt file with a name in each line"
            + did_you_mean(name, SPACES)
        )
    return MaskValues(_load(name))


def _of_names(names: Names, file: str) -> MaskValues:
    _check_first(names, file)
    classes = {value: name for value, name in names.names.items() if not is_background(name) and not is_ignored(name)}
    if not classes:
        raise ValueError(f"{file}: {list(names.names.values())} have no class among them")
    background = [value for value, name in names.names.items() if is_background(name)]
    first = [BACKGROUND] if background else [] if 0 in classes else [UNUSED]
    indices = {value: IGNORE_INDEX for value, name in names.names.items() if is_ignored(name)}
    indices |= dict.fromkeys(background, 0) | {value: index for index, value in enumerate(classes, len(first))}
    of_voc = dict(zip(names.names, _voc_palette(), strict=False)) if names.is_labelmap else {}
    colors = {color: value for value, color in (names.colors or of_voc).items()}
    if len(colors) < len(names.colors):
        raise ValueError(f"{file}: two names have one colour")
    return MaskValues(
        LabelSpace.from_names([*first, *classes.values()]), {IGNORE_INDEX: IGNORE_INDEX} | indices, colors
    )


def _check_first(names: Names, file: str) -> None:
    """Refuse the names of known spaces without what 0 stands for: everything would be off by one.

    Raises:
        ValueError: says what to write.
    """
    if names.numbered or names.is_labelmap:
        return
    listed = [name.casefold() for name in names.names.values()]
    if len(listed) == 150 and all(name.startswith(first) for name, first in zip(listed, ADE20K, strict=False)):
        raise ValueError(
            f"{file} has ADE20K's 150 names, whose masks hold 1 to 150, and 0 where nothing is labelled: put a line "
            f"`{UNUSED}` before them; or number the lines (`0: wall`) if your masks do hold 0 for the wall"
        )
    if space := _without_background(listed):
        raise ValueError(
            f"{file} has the classes of {space.name} without their background, so that 0 would be {listed[0]!r}: "
            f"give labels={space.name!r}; or number the lines (`0: {listed[0]}`) if your masks do hold 0 for it"
        )


def _without_background(names: Sequence[str]) -> LabelSpace | None:
    """The known space whose classes these are, without their background."""
    listed = [name.casefold() for name in names]
    return next((space for space in (VOC, COCO) if listed == [name.casefold() for name in space.names[1:]]), None)


def labels_of(features: Any, name: str = "auto") -> LabelSpace:
    """The label space of a dataset.

    Args:
        features: of the dataset, None if they are not known.
        name: of the label space; `auto` takes the names of the ClassLabel in the column `classes`.

    Raises:
        ValueError: if there is no such column, or no such name: a label space is never guessed.
    """
    if name != "auto":
        return label_space(name)
    names = class_names(features)
    if not names:
        raise ValueError(
            'labels="auto" needs a column `classes` of ClassLabel, whose names say what indices mean; there is none. '
            'Say what they mean: labels="voc" or labels="coco"'
        )
    if elsewhere := [index for index, name in enumerate(names) if index and is_background(name)]:
        raise ValueError(
            f"the ClassLabel of column `classes` has {names[elsewhere[0]]!r} at {elsewhere[0]}; masks hold 0 for the "
            "background: import the masks anew, or say what indices mean with labels=FILE"
        )
    if "mask" in features:
        check_background(names)
    return LabelSpace.from_names(names)


def check_background(names: Sequence[str]) -> None:
    """Refuse names of a ClassLabel that leave open what masks hold for the background: all could be off by one.

    Raises:
        ValueError: says what to do.
    """
    if is_doubtful(names[0]) or _without_background(names):
        raise ValueError(
            f"the ClassLabel of column `classes` has {names[0]!r} at 0, which masks mostly hold for the background: if "
            f"yours do, give labels='voc' or 'coco', or cast the column to ClassLabel(names=['{BACKGROUND}', ...]); if "
            "not, give labels=FILE with a line `0: NAME`"
        )


def class_names(features: Any) -> list[str]:
    """The names of the ClassLabel in the column `classes`, by index; none if there is no such column."""
    feature = (features or {}).get("classes")
    feature = feature[0] if isinstance(feature, list) else getattr(feature, "feature", feature)  # before `datasets` 4
    return list(getattr(feature, "names", None) or [])


@cache
def _load(name: str) -> LabelSpace:
    data = json.loads((files("sds_hf") / "data" / "label_spaces" / f"{name}.json").read_text(encoding="utf-8"))
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    return LabelSpace(**values)


@cache
def _voc_palette() -> tuple[tuple[int, int, int], ...]:
    return *(_voc_color(index) for index in range(IGNORE_INDEX)), (224, 224, 192)


def _voc_color(index: int) -> tuple[int, int, int]:
    """Color `index` of the PASCAL VOC color map: its bits are dealt out to red, green and blue, highest first."""
    channels = [0, 0, 0]
    for position in range(8):
        for channel in range(3):
            channels[channel] |= (index >> (3 * position + channel) & 1) << (7 - position)
    return channels[0], channels[1], channels[2]


SPACES = ("voc", "coco", "cityscapes")
VOC = _load("voc")
COCO = _load("coco")
CITYSCAPES = _load("cityscapes")
