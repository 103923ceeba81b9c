"""Annotation files of COCO and the images they list: what the readers of panoptic and instance annotations share."""

import re
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from sds_hf.data.labels import IGNORE_INDEX, LabelSpace
from sds_hf.data.sources.files import UnknownLayoutError, read_json
from sds_hf.data.sources.reader import Reader, Row

Crowd = Literal["ignore", "paint"]
STUFF = range(92, 201)  # category ids of stuff in panoptic annotations
IMAGE_FOLDERS = ("images", "JPEGImages")


@dataclass(frozen=True)
class Listed:
    """An image that an annotation file lists.

    Attributes:
        entry: what the file says of it.
        image: where it should be.
        file: the annotation file.
        annotations: those of the image.
        indices: index of the label space of each category id.
        caption: the first of its captions, if there are any.
    """

    entry: Mapping[str, Any]
    image: Path
    file: Path
    annotations: list[dict[str, Any]] = field(repr=False)
    indices: Mapping[int, int] = field(repr=False)
    caption: str | None = None

    def index(self, annotation: Mapping[str, Any]) -> int:
        """The class index of an annotation or segment; 0 for stuff.

        Raises:
            UnknownLayoutError: if its category is none.
        """
        if (category := annotation["category_id"]) not in self.indices:
            raise UnknownLayoutError(
                f"{self.file}: category {category} of image {self.image.name} is none of its categories"
            )
        return self.indices[category]


class COCOAnnotated(Reader):
    """Images that `<kind>_<split>.json` lists, in `annotations/` or beside the images.

    `json` reads a file whole, at about six times its size in memory, and its captions, one an image, are kept beside
    it; images and masks are read one at a time.

    Args:
        path: the folder.
        labels: `coco` if None. Categories are found by their names, so that other spaces do where names agree.
        split: `train`, `val`, or a pattern such as `*2017`: which annotation files; an image that several list is read
            once. May be left out if there is one file.
        images: folder of the images; `<split>`, `images/<split>`, `images` or `JPEGImages` if None.
        crowd: what regions of crowds become: `ignore` makes them 255, `paint` their class.
    """

    kind: ClassVar[str]

    def __init__(
        self,
        path: str | Path,
        labels: str | None = None,
        split: str | None = None,
        images: str | None = None,
        crowd: Crowd = "ignore",
    ) -> None:
        super().__init__(path, labels)
        if crowd not in get_args(Crowd):
            raise UnknownLayoutError(f"--crowd is {' or '.join(get_args(Crowd))}, not {crowd!r}")
        files = annotation_files(self.path, self.kind)
        if not files:
            raise UnknownLayoutError(f"{self.path} has no annotations/{self.kind}_*.json")
        self.files = {name: files[name] for name in chosen_splits(files, split, self.path)}
        self.image_folders = {name: _image_folder(self.path, name, images) for name in self.files}
        self.crowd = crowd

    def default_labels(self) -> str:
        """`coco`."""
        return "coco"

    def entries(self) -> Iterable[Listed]:
        """See `Reader.entries`."""
        seen = set()
        for name, file in self.files.items():
            for listed in self._listed(name, file):
                if listed.entry["id"] in seen:
                    self.counts["image of an earlier annotation file"] += 1
                    continue
                seen.add(listed.entry["id"])
                yield listed

    def read(self, entry: Listed) -> Row | None:
        """See `Reader.read`."""
        if not entry.image.is_file():
            self.missing("listed without an image", entry.image)
            return None
        try:
            return self.read_annotated(entry)
        except (KeyError, TypeError) as error:
            raise UnknownLayoutError(
                f"{entry.file}: annotations of {entry.image.name} are not as COCO has them: {error!r}"
            ) from error

    @abstractmethod
    def read_annotated(self, listed: Listed) -> Row | None:
        """The row of an image that is there; annotations may lack what they should have."""

    def value(self, listed: Listed, annotation: Mapping[str, Any]) -> int:
        """What the pixels of an annotation or segment become."""
        index = listed.index(annotation)
        return IGNORE_INDEX if annotation.get("iscrowd") and self.crowd == "ignore" else index

    def _listed(self, name: str, file: Path) -> Iterator[Listed]:
        document = _read_object(file)
        indices = category_indices(document.get("categories", []), self.labels, file)
        captions = _captions(file, self.kind)
        try:
            annotations = defaultdict(list)
            for annotation in document["annotations"]:
                annotations[annotation["image_id"]].append(annotation)
            images = [
                (image, Path(image["file_name"]).name, annotations.get(image["id"], [])) for image in document["images"]
            ]
        except (KeyError, TypeError) as error:
            raise UnknownLayoutError(f"{file} holds no annotations of COCO: {error!r}") from error
        if lost := len(annotations.keys() - {image["id"] for image, _, _ in images}):
            self.counts["image id of annotations that no image has"] += lost
        folder = self.image_folders[name]
        for image, image_name, own in images:
            yield Listed(image, folder / image_name, file, own, indices, captions.get(image["id"]))


def annotation_files(path: Path, kind: str) -> dict[str, Path]:
    """Annotation files of a kind, e.g. `instances`, by the name of their split."""
    files = [file for folder in (path, path / "annotations") for file in folder.glob(f"{kind}_*.json")]
    return {file.stem.removeprefix(f"{kind}_"): file for file in sorted(files, key=lambda file: file.name)}


def chosen_splits(names: Iterable[str], split: str | None, where: Path) -> list[str]:
    """Those of the names, e.g. `train2017`, that a split means, e.g. `train`, `train2017` or `*2017`.

    Raises:
        UnknownLayoutError: if there is none, or none is given and there are several.
    """
    names = sorted(names)
    if split is None:
        if len(names) > 1:
            raise UnknownLayoutError(f"{where} has the splits {names}; say which, e.g. --split {names[0]}")
        return names
    splits = [name for name in names if fnmatchcase(name, split) or re.fullmatch(rf"{re.escape(split)}\d{{4}}", name)]
    if not splits:
        raise UnknownLayoutError(f"no split {split!r} in {where}; there are {names}")
    return splits


def category_indices(categories: Iterable[Mapping[str, Any]], labels: LabelSpace, file: Path) -> dict[int, int]:
    """Index of each category id, by the names of the categories; 0 for stuff.

    Where a file has no categories, ids are those of COCO.

    Raises:
        UnknownLayoutError: if a thing is no class of the label space.
    """
    if not categories and labels.original_ids:
        return {**dict.fromkeys(STUFF, 0), **dict(zip(labels.original_ids[1:], labels.class_ids, strict=True))}
    names = {labels.names[index]: index for index in labels.class_ids}
    indices: dict[int, int] = {}
    try:
        for category in categories:
            is_thing = category.get("isthing", 1)
            if is_thing and category["name"] not in names:
                raise UnknownLayoutError(
                    f"{file}: its category {category['name']!r} is no class of the label space {labels.name!r}; "
                    "give --labels"
                )
            indices[category["id"]] = names[category["name"]] if is_thing else 0
    except (KeyError, TypeError, AttributeError) as error:
        raise UnknownLayoutError(f"{file}: its categories are not as COCO has them: {error!r}") from error
    return indices


def _read_object(file: Path) -> dict[str, Any]:
    document = read_json(file)
    if not isinstance(document, dict):
        raise UnknownLayoutError(f"{file} holds a {type(document).__name__}; annotations of COCO are an object")
    return document


def _captions(file: Path, kind: str) -> dict[int, str]:
    """The caption of each image that has the lowest id, from the caption file beside an annotation file."""
    beside = file.with_name(file.name.replace(kind, "captions", 1))
    if not beside.exists():
        return {}
    document = _read_object(beside)
    try:
        entries = sorted(document["annotations"], key=lambda entry: entry["id"], reverse=True)
        return {entry["image_id"]: entry["caption"].strip() for entry in entries}
    except (KeyError, TypeError, AttributeError) as error:
        raise UnknownLayoutError(f"{beside} holds no captions of COCO: {error!r}") from error


def _image_folder(path: Path, name: str, images: str | None) -> Path:
    bases = (images,) if images else (".", *IMAGE_FOLDERS)
    candidates = [*(path / base / name for base in bases), *(path / base for base in bases if base != ".")]
    for folder in candidates:
        if folder.is_dir():
            return folder
    folders = sorted(folder.name for folder in path.iterdir() if folder.is_dir())
    raise UnknownLayoutError(f"{path} has no folder of images called {images or name}; it has {folders}: give --images")
