"""The pictures that demo scenes are made of: openly licensed SVG artwork with exact outlines.

`artwork.json.gz` is written by `examples/demo_clip/collect_artwork.py`; NOTICE names authors and licences. Each picture
shows one *concept*: a PASCAL VOC class or a distractor.
"""

import gzip
import io
import json
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from PIL import Image

DEMO_SETS = (
    "noto",
    "noto-v1",
    "fluent-emoji",
    "fluent-emoji-flat",
    "emojione",
    "fxemoji",
    "streamline-emojis",
    "sds-hf",
)  # what the demo's scenes are drawn from; the demo CLIP has seen them, and further sets, in other scenes
HELD_OUT_SET = "twemoji"  # never used to train the demo CLIP


@dataclass(frozen=True)
class Picture:
    """One drawing: its `set`, the `concept` it shows, its SVG `body` and `view` (left, top, width, height)."""

    set: str
    concept: str
    name: str
    view: tuple[float, float, float, float]
    body: str


@cache
def pictures() -> tuple[Picture, ...]:
    """All pictures of the package, in file order."""
    data = gzip.decompress((files("sds_hf.demo") / "artwork.json.gz").read_bytes())
    return tuple(Picture(**{**entry, "view": tuple(entry["view"])}) for entry in json.loads(data))


@cache
def sets() -> tuple[str, ...]:
    """Names of the artwork sets, in file order."""
    return tuple(dict.fromkeys(picture.set for picture in pictures()))


@cache
def by_concept(chosen: tuple[str, ...]) -> dict[str, dict[str, tuple[Picture, ...]]]:
    """Pictures of the chosen sets as concept -> set -> pictures.

    Raises:
        ValueError: if a set does not exist.
    """
    if unknown := set(chosen) - set(sets()):
        raise ValueError(f"no artwork set {sorted(unknown)}; there are {list(sets())}")
    concepts: dict[str, dict[str, list[Picture]]] = {}
    for picture in pictures():
        if picture.set in chosen:
            concepts.setdefault(picture.concept, {}).setdefault(picture.set, []).append(picture)
    return {concept: {name: tuple(group) for name, group in groups.items()} for concept, groups in concepts.items()}


@lru_cache(maxsize=8192)
def render(picture: Picture, side: int) -> Image.Image:
    """The picture in RGBA, its longer side `side` pixels or a little less, cropped to what is visible."""
    resvg = _resvg()
    left, top, width, height = picture.view
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {height}" width="{side}" height="{side}">{picture.body}</svg>'
    )
    image = Image.open(io.BytesIO(bytes(resvg.svg_to_bytes(svg_string=svg, width=side, height=side)))).convert("RGBA")
    return image.crop(image.getchannel("A").point(lambda alpha: 255 * (alpha > 40)).getbbox())


def _resvg() -> Any:
    try:
        import resvg_py
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('drawing demo scenes needs resvg: pip install "sds-hf[demo]"') from error
    return resvg_py
