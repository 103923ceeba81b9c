"""Named ways to compute the scores and to select by them: the settings and rules of each, and nothing else."""

from dataclasses import dataclass, field
from typing import Any

Settings = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A mode, as a recipe would write it.

    Attributes:
        about: what it is, in one line.
        scores: settings by name of the score, where they differ from its defaults.
        rules: what keeps rows, in order.
    """

    about: str
    scores: dict[str, Settings] = field(default_factory=dict)
    rules: list[dict[str, Settings]]


def preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        ValueError: if there is none; names those that exist.
    """
    if name not in PRESETS:
        raise ValueError(f"no preset {name!r}; there are {list(PRESETS)}")
    return PRESETS[name]


def _above(column: str, value: float | str) -> dict[str, Settings]:
    return {"threshold": {"column": column, "above": value}}


def _top(*by: str) -> dict[str, Settings]:
    return {"top_per_group": {"column": "asf_miou", "by": list(by), "fraction": 0.6}}


# Where the paper and the code its authors published (github.com/tanghao2000/SDS) differ, `authors` follows the code.
_ENTROPY = {
    "similarity": "entropy",  # the code's "similarity" is the entropy of the class probabilities
    "class_list": "inner",  # np.unique(mask)[1:-1], in the script for VOC; the one for COCO takes "all"
    "pool": "patch_mean",  # CLIP-ES's image feature, not CLIP's own
    "resolution": 512,  # CLIP sees the image as it is, and the code takes images of 512 x 512 only
    "position": "bilinear",
}
_AUTHORS = {
    "clip_sim": _ENTROPY,
    "pcs": {**_ENTROPY, "difference": "abs", "scales": [4], "orders": 1},  # one shuffle of 4 x 4 tiles of 128 pixels
    "asf_miou": {
        "refine": "crf",
        "crf_image": "authors",  # shifted and wrapped around
        "class_list": "inner",
        "exclusive_boxes": True,
        "position": "bilinear",
        "iou": "pooled",
        "ignore": "none",
    },
}
_BOTH_FAMILIES = _top("num_classes_present", "classes_present")
_BY_NUMBER = _top("num_classes_present")  # the code groups by the number of classes only
_LOWEST_FIFTH = [_above("clip_sim", "q0.2"), _above("pcs", "q0.2"), _BOTH_FAMILIES]

PRESETS = {
    "paper": Preset(
        about="the paper's formulas and thresholds, its similarity read as a probability",
        rules=[_above("clip_sim", 0.8), _above("pcs", 0.1), _BOTH_FAMILIES],
    ),
    "cosine": Preset(
        about="the paper's formulas with plain cosines; none reaches its threshold of 0.8, so thresholds are quantiles",
        scores={"clip_sim": {"similarity": "cosine"}, "pcs": {"similarity": "cosine"}},
        rules=_LOWEST_FIFTH,
    ),
    "clipscore": Preset(
        about="the paper's formulas with CLIPScore, 2.5 times the cosine; thresholds are quantiles",
        scores={"clip_sim": {"similarity": "clipscore"}, "pcs": {"similarity": "clipscore"}},
        rules=_LOWEST_FIFTH,
    ),
    "authors": Preset(
        about="the authors' code as published last: entropies, one shuffle, no threshold on the image alone",
        scores=_AUTHORS,
        rules=[_above("pcs", 0.1), _BY_NUMBER],
    ),
    "authors-0515": Preset(
        about="the authors' code of 2025-05-15, which also asks for an entropy below 1",
        scores=_AUTHORS,
        rules=[{"threshold": {"column": "clip_sim", "below": 1.0}}, _above("pcs", 0.1), _BY_NUMBER],
    ),
}
