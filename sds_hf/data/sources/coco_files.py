"""Annotation files of COCO and the images they list: what the readers of panoptic and instance annotations share."""

import re
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal, get_args

from sds_hf.data.instances import InstanceError, flag, is_crowd
from sds_hf.data.labels import IGNORE_INDEX, LabelSpace
from sds_hf.data.names_files import is_background, is_ignored, letters
from sds_hf.data.sources.files import Tree, UnknownLayoutError, inner_path, read_json, stem_of
from sds_hf.data.sources.reader import Reader, Row

Crowd = Literal["ignore", "paint"]
STUFF = range(92, 201)  # category ids of stuff in panoptic annotations
IMAGE_FOLDERS = ("images", "JPEGImages")


@dataclass(frozen=True)
class Listed:
    """An image that an annotation file lists.

    Attributes:
        entry: what the file says of it.
        name: its name in the file, without suffix, with the folders before it.
        image: the file; None if it is not there.
        file: the annotation file.
        annotations: those of the image.
        categories: of the file.
        caption: the first of its captions, if there are any.
    """

    entry: Mapping[str, Any]
    name: str
    image: Path | None
    file: Path
    annotations: list[dict[str, Any]] = field(repr=False)
    categories: "Categories" = field(repr=False)
    caption: str | None = None

    def index(self, annotation: Mapping[str, Any]) -> int | None:
        """The index of an annotation or segment: 0 is the background, 255 ignored, None stuff of no class.

        Raises:
            UnknownLayoutError: if its category is none of the file's, or a thing of no class.
        """
        category = annotation["category_id"]
        if category in self.categories.indices:
            return self.categories.indices[category]
        if category not in self.categories.names:
            raise UnknownLayoutError(
                f"{self.file}: category {category} of image {self.entry['file_name']} is none of its categories"
            )
        if category in self.categories.things:
            raise UnknownLayoutError(
                f"{self.file}: its category {self.categories.names[category]!r} is no class of the label space "
                f"{self.categories.space!r}; give labels=..."
            )
        return None


@dataclass(frozen=True)
class Categories:
    """The categories of an annotation file.

    Attributes:
        indices: by id; that of a category called background is 0, or 255 where the label space has none.
        names: by id.
        things: ids of those that are countable.
        space: name of the label space.
    """

    indices: Mapping[int, int]
    names: Mapping[int, str]
    things: Collection[int]
    space: str


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
        crowd: what regions of crowds become: `ignore` makes them 255, `paint` their class; `usual_crowd` if None.
    """

    kind: ClassVar[str]
    usual_crowd: ClassVar[Crowd] = "ignore"

    def __init__(
        self,
        path: str | Path,
        labels: str | None = None,
        split: str | None = None,
        images: str | None = None,
        crowd: Crowd | None = None,
    ) -> None:
        super().__init__(path, labels)
        crowd = crowd or self.usual_crowd
        if crowd not in get_args(Crowd):
            raise UnknownLayoutError(f"crowd must be {' or '.join(get_args(Crowd))}, not {crowd!r}")
        files = annotation_files(self.path, self.kind)
        if not files:
            raise UnknownLayoutError(f"{self.path} has no annotations/{self.kind}_*.json")
        self.files = {name: files[name] for name in chosen_splits(files, split, self.path)}
        self.image_folders = {name: _image_folder(self.path, name, images) for name in self.files}
        self.crowd, self._trees = crowd, dict[Path, Tree]()

    def default_labels(self) -> str:
        """`coco`."""
        return "coco"

    def entries(self) -> Iterable[Listed]:
        """See `Reader.entries`."""
        seen: dict[str, Path] = {}
        for name, file in self.files.items():
            for listed in self._listed(name, file):
                key = _identity(listed)
                if seen.setdefault(key, file) == file:
                    yield listed
                else:
                    self.counts["image of an earlier annotation file"] += 1

    def read(self, entry: Listed) -> Row | None:
        """See `Reader.read`."""
        if entry.image is None:
            folder = self._trees[entry.file].folder
            return self.missing("listed without an image", folder / str(inner_path(entry.entry["file_name"])))
        try:
            return self.read_annotated(entry)
        except (KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError) as error:
            raise UnknownLayoutError(
                f"{entry.file}: annotations of {entry.image.name} are not as COCO has them: {_fault(error)}"[:400]
            ) from error

    @abstractmethod
    def read_annotated(self, listed: Listed) -> Row | None:
        """The row of an image that is there; annotations may lack what they should have."""

    @property
    def unlabeled(self) -> int:
        """What pixels without a class are: background, or ignored where the label space has none."""
        return 0 if self.labels.has_background else IGNORE_INDEX

    def value(self, listed: Listed, annotation: Mapping[str, Any]) -> int:
        """What the pixels of an annotation or segment become."""
        index = listed.index(annotation)
        if index is None:
            self.findings.passed_over[listed.categories.names[annotation["category_id"]]] += 1
            return self.unlabeled
        is_ignored_crowd = is_crowd(annotation) and self.crowd == "ignore"
        self.findings.annotations += 1
        self.findings.crowds += is_ignored_crowd
        return IGNORE_INDEX if is_ignored_crowd else index

    def _listed(self, name: str, file: Path) -> Iterator[Listed]:
        document = _read_object(self.file(file))
        categories = categories_of(document.get("categories", []), self.labels, file)
        captions = _captions(file, self.kind)
        try:
            annotations = defaultdict(list)
            for annotation in document["annotations"]:
                annotations[annotation["image_id"]].append(annotation)
            images = {image["id"]: image for image in document["images"]}
            _check_ids(document["images"], images, file)
            names = {number: stem_of(inner_path(image["file_name"])) for number, image in images.items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise UnknownLayoutError(f"{file} holds no annotations of COCO: {_fault(error)}"[:400]) from error
        if lost := len(annotations.keys() - images.keys()):
            if lost == len(annotations):
                number, other = next(iter(annotations)), next(iter(images), None)
                raise UnknownLayoutError(
                    f"{file}: no annotation belongs to an image: they say image_id {number!r}, images say id {other!r}"
                )
            self.counts["image id of annotations that no image has"] += lost
        tree = self._trees[file] = Tree(self.image_folders[name], self.path)
        for number, image in images.items():
            path = tree.find(image["file_name"])
            own = annotations.get(number, [])
            yield Listed(image, names[number], path, file, own, categories, captions.get(number))


def _identity(listed: Listed) -> str:
    """What is the same for one image in two annotation files: COCO's number, else its place."""
    number = re.fullmatch(r"(?:COCO_[a-z]+\d{4}_)?(\d{12})", PurePosixPath(listed.name).name)
    return number[1] if number else str(listed.image or f"{listed.file} {listed.name}")


def _check_ids(listed: Sequence[Mapping[str, Any]], images: Mapping[Any, Mapping[str, Any]], file: Path) -> None:
    """Refuse a file in which two images have one id, or one name.

    Raises:
        UnknownLayoutError: names both images.
    """
    for image in listed:
        other = images[image["id"]]
        if other is not image:
            raise UnknownLayoutError(
                f"{file}: image id {image['id']!r} is that of {image['file_name']} and of {other['file_name']}; an id "
                "must be of one image"
            )


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
            raise UnknownLayoutError(f"{where} has the splits {names}; say which, e.g. split={names[0]!r}")
        return names
    splits = [name for name in names if fnmatchcase(name, split) or re.fullmatch(rf"{re.escape(split)}\d{{4}}", name)]
    if not splits:
        raise UnknownLayoutError(f"no split {split!r} in {where}; there are {names}")
    return splits


def categories_of(listed: Iterable[Mapping[str, Any]], labels: LabelSpace, file: Path) -> Categories:
    """The categories of a file, found in the label space by their names, things and stuff alike.

    Case, spaces and punctuation of a name do not count. Where a file has no categories, ids are those of COCO.

    Raises:
        UnknownLayoutError: if two have one id, or they are not as COCO has them.
    """
    if not listed and labels.original_ids:
        names = dict(zip(labels.original_ids[1:], labels.names[1:], strict=True))
        indices = dict(zip(names, labels.class_ids, strict=True))
        return Categories(indices, {**dict.fromkeys(STUFF, "stuff"), **names}, names, labels.name)
    names, things, indices = {}, set(), {}
    try:
        for category in listed:
            number, name = category["id"], category["name"]
            if number in names:
                raise UnknownLayoutError(f"{file}: category id {number!r} is that of {names[number]!r} and of {name!r}")
            names[number] = name
            if flag(category.get("isthing", 1)) and not is_background(name):
                things.add(number)
            index = _index_of(name, labels)
            if index is not None:
                indices[number] = index
        if things and not indices.keys() & things:
            raise UnknownLayoutError(
                f"{file}: its category {names[min(things, key=str)]!r} is no class of the label space {labels.name!r}; "
                "give labels=..."
            )
    except (KeyError, TypeError, AttributeError, InstanceError) as error:
        raise UnknownLayoutError(f"{file}: its categories are not as COCO has them: {_fault(error)}"[:400]) from error
    return Categories(indices, names, things, labels.name)


def _index_of(name: str, labels: LabelSpace) -> int | None:
    """The index of a category: of the class of that name, else of the only one spelt alike; None if it is no class."""
    if is_background(name):
        return 0 if labels.has_background else IGNORE_INDEX
    same = [index for index in labels.class_ids if labels.names[index] == name]
    alike = [index for index in labels.class_ids if letters(labels.names[index]) == letters(name)]
    if len(same or alike) == 1:
        return (same or alike)[0]
    return IGNORE_INDEX if is_ignored(name) else None


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
        raise UnknownLayoutError(f"{beside} holds no captions of COCO: {_fault(error)}") from error


def _image_folder(path: Path, name: str, images: str | None) -> Path:
    bases = (images,) if images else (".", *IMAGE_FOLDERS)
    candidates = [*(path / base / name for base in bases), *(path / base for base in bases if base != ".")]
    for folder in candidates:
        if folder.is_dir():
            return folder
    folders = sorted(folder.name for folder in path.iterdir() if folder.is_dir())
    raise UnknownLayoutError(
        f"{path} has no folder of images called {images or name}; it has {folders}: give images=..."
    )


def _fault(error: Exception) -> str:
    """What is wrong with a document that was read as COCO's."""
    return f"there is no {error}" if isinstance(error, KeyError) else repr(error)
