"""Label spaces: what the indices of a mask mean and how CLIP is asked about them."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

IGNORE_INDEX = 255
UNUSED = "unlabeled"  # name of an index 0 that no pixel has


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
        return range(1 if self.has_background or self.names[:1] == (UNUSED,) else 0, len(self.names))

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        """256 RGB colours, one an index: PASCAL VOC's colour map, which repeats none."""
        return _voc_palette()

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

        A new space takes the background prompts of VOC that are no class of it.
        """
        names = tuple(names)
        for space in (VOC, COCO, CITYSCAPES):
            if names == space.names:
                return space
        has_background = names[:1] == ("background",)
        start = 1 if has_background or names[:1] == (UNUSED,) else 0
        classes = tuple(name.replace("_", " ") for name in names[start:])
        return cls(
            name="custom",
            names=names,
            prompts=classes,
            background_prompts=tuple(prompt for prompt in VOC.background_prompts if prompt not in classes),
            has_background=has_background,
            source="class names of the dataset",
        )


def label_space(name: str) -> LabelSpace:
    """The label space of that name.

    Args:
        name: `voc`, `coco`, `cityscapes`, or a text file with the name of a class in each line, index 0 first.

    Raises:
        ValueError: if there is none; names those that exist.
    """
    if name.endswith(".txt"):
        return LabelSpace.from_names(_lines(Path(name)))
    if name not in SPACES:
        raise ValueError(
            f"no label space {name!r}; there are {sorted(SPACES)}, or a .txt file with a name in each line"
        )
    return _load(name)


def _lines(path: Path) -> list[str]:
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as names of classes: {error}") from error
    if not names or len(set(names)) < len(names) or len(names) > IGNORE_INDEX:
        raise ValueError(f"{path}: {len(names)} names; there must be 1 to {IGNORE_INDEX}, each only once")
    return names


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
    return LabelSpace.from_names(names)


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
