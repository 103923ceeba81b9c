"""What the two COCO exports share: names, image entries, categories, and JSON that is written as it comes."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sds_hf.data.labels import LabelSpace
from sds_hf.exports.base import Job
from sds_hf.exports.samples import ExportError, Sample

SPLIT = "train2017"  # what tools look for
BACKGROUND = "background"
FREE_STUFF_ID = 183  # COCO's panoptic stuff has ids from 92 to 200; this one stands for none of it
INFO = {"description": "exported by sds-hf", "version": "1.0"}


class JsonLists:
    """Lists of a JSON object, filled one entry at a time."""

    def __init__(self, files: dict[str, Any]) -> None:
        self._files = files
        self.counts = dict.fromkeys(files, 0)

    def add(self, name: str, entry: dict[str, Any]) -> None:
        """Append an entry to a list."""
        self._files[name].write((",\n" if self.counts[name] else "\n") + json.dumps(entry, ensure_ascii=False))
        self.counts[name] += 1


@contextmanager
def json_lists(path: Path, names: Sequence[str], rest: dict[str, Any]) -> Iterator[JsonLists]:
    """A JSON file of lists that need not fit into memory, and of further entries."""
    parts = {name: path.with_name(f"{path.name}.{name}") for name in names}
    with ExitStack() as stack:
        yield JsonLists({n: stack.enter_context(part.open("w", encoding="utf-8")) for n, part in parts.items()})
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(rest, ensure_ascii=False).removesuffix("}"))
        for name, part in parts.items():
            file.write(f",\n{json.dumps(name)}: [")
            with part.open(encoding="utf-8") as entries:
                shutil.copyfileobj(entries, file)
            file.write("]")
            part.unlink()
        file.write("}\n")


class Annotations:
    """The images and annotation files of a COCO tree.

    Args:
        job: what to write.
        lists: of the file with the annotations.
        captions: of the file with the captions, if the dataset has any.
    """

    def __init__(self, job: Job, lists: JsonLists, captions: JsonLists | None) -> None:
        self._images, self._lists, self._captions = job.subfolder(SPLIT), lists, captions

    def add_image(self, sample: Sample) -> int:
        """Write the image of a row, its entry and its caption; returns its id, which counts from 1."""
        name, number = f"{sample.name}.{sample.suffix}", sample.number + 1
        (self._images / name).write_bytes(sample.image)
        height, width = sample.size
        entry = {"id": number, "file_name": name, "width": width, "height": height, "row_id": sample.row_id}
        self._lists.add("images", entry)
        if self._captions is not None:
            self._captions.add("images", entry)
            if text := sample.cells["caption"]:
                self._captions.add("annotations", {"id": number, "image_id": number, "caption": text})
        return number

    def add(self, entry: dict[str, Any]) -> None:
        """Append an annotation."""
        self._lists.add("annotations", entry)

    @property
    def next_id(self) -> int:
        """What an annotation may be called; they count from 1."""
        return self._lists.counts["annotations"] + 1


@contextmanager
def coco_tree(job: Job, kind: str, listed: list[dict[str, Any]]) -> Iterator[Annotations]:
    """A tree of images and `annotations/<kind>_train2017.json` with these categories, and captions if there are any."""
    folder, lists = job.subfolder("annotations"), ("images", "annotations")
    rest = {"info": INFO, "licenses": []}
    with ExitStack() as stack:
        main = json_lists(folder / f"{kind}_{SPLIT}.json", lists, {**rest, "categories": listed})
        captions = None
        if "caption" in job.dataset.column_names:
            captions = stack.enter_context(json_lists(folder / f"captions_{SPLIT}.json", lists, rest))
        yield Annotations(job, stack.enter_context(main), captions)


def category_ids(labels: LabelSpace) -> dict[int, int]:
    """COCO's category id of every index, from 1 on, as detectors expect: the original ones where there are any.

    Else those of indices, or one more where index 0 is a class. The background, which only panoptic files have, is a
    category of stuff, with an id that no class has.
    """
    if labels.original_ids:
        return {**dict(enumerate(labels.original_ids)), 0: FREE_STUFF_ID}
    first = 1 if 0 in labels.class_ids else 0
    ids = {index: index + first for index in range(len(labels.names))}
    return {**ids, 0: len(labels.names)} if labels.has_background else ids


def categories(labels: LabelSpace, stuff: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The entries of all foreground classes.

    Args:
        labels: the classes.
        stuff: names of those that are no countable things.

    Raises:
        ExportError: if a name is no class.
    """
    if unknown := sorted(set(stuff) - {labels.names[class_id] for class_id in labels.class_ids}):
        raise ExportError(f"{unknown} are no classes of the label space {labels.name!r}, so they cannot be stuff")
    ids, palette = category_ids(labels), labels.palette
    return [
        {
            "id": ids[class_id],
            "name": labels.names[class_id],
            "supercategory": labels.names[class_id],
            "isthing": int(labels.names[class_id] not in stuff),
            "color": list(palette[class_id % 255]),
        }
        for class_id in labels.class_ids
    ]
