"""Output of Dataset Diffusion (Nguyen et al., NeurIPS 2023): `image/`, `mask/` and a prompts file."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import ClassVar

from sds_hf.data.prompts import classes_in_prompt
from sds_hf.data.sources.coco_ids import Ids
from sds_hf.data.sources.files import UnknownLayoutError, files_by_stem, inner_path, read_json, stem_of
from sds_hf.data.sources.reader import Reader, Row
from sds_hf.data.sources.tables import text_of


class DatasetDiffusion(Reader):
    """`image/<name>.jpg` with `mask/<name>.png` and prompts.

    Args:
        path: the folder.
        labels: `voc` or `coco`; taken from the name of the prompts file if None.
        prompts: the prompts file; `prompts.json`, `voc_prompts.json` or `coco_prompts.json` of the folder if None.
        ids: for COCO, whether mask values are `contiguous` (1 to 80) or `original` category ids (1 to 90). If None it
            is found from the values of all masks, then from their agreement with the class prompts.

    Images without a mask are skipped and counted: Dataset Diffusion writes none where it knows no class of the prompt.
    """

    name: ClassVar[str] = "dataset-diffusion"
    summary: ClassVar[str] = "image/*.jpg, mask/*.png, prompts.json, as Dataset Diffusion writes them"

    def __init__(
        self, path: str | Path, labels: str | None = None, prompts: str | Path | None = None, ids: Ids | None = None
    ) -> None:
        self._prompts_file = Path(prompts) if prompts else find_prompts(Path(path))
        super().__init__(path, labels)
        self.images, self.masks = files_by_stem(self.path / "image"), files_by_stem(self.path / "mask", (".png",))
        if not self.images:
            raise UnknownLayoutError(f"{self.path / 'image'} holds no images")
        self.prompts = _read_prompts(self._prompts_file) if self._prompts_file else {}
        self.choose_ids(ids, self.masks, self.path / "mask", self._prompt_class_ids)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """See `Reader.recognises`."""
        return (path / "image").is_dir() and (path / "mask").is_dir() and find_prompts(path) is not None

    def default_labels(self) -> str | None:
        """The prompts file of VOC or COCO says which it is; a plain `prompts.json` does not."""
        name = self._prompts_file.name if self._prompts_file else ""
        return next((space for space in ("voc", "coco") if name.startswith(space)), None)

    def entries(self) -> Iterable[str]:
        """See `Reader.entries`."""
        return self.images

    def read(self, entry: str) -> Row | None:
        """See `Reader.read`."""
        if entry not in self.masks:
            return self.missing("image without a mask", self.images[entry], self.path / "mask" / f"{entry}.png")
        prompt = self.prompts.get(entry, {})
        row = self.row(
            entry,
            self.images[entry],
            self.read_indices(self.masks[entry]),
            prompt.get("caption"),
            prompt.get("class_prompt"),
        )
        if prompt.get("class_prompt") is not None and not set(row["classes"]) <= self._prompt_class_ids(entry):
            self.counts["mask shows a class its prompt does not name"] += 1
        return row

    def _prompt_class_ids(self, name: str) -> set[int]:
        """The class indices that the prompt of an image names."""
        return set(classes_in_prompt(self.prompts.get(name, {}).get("class_prompt") or "", self.labels.names))


def find_prompts(path: Path) -> Path | None:
    """The prompts file of a folder, if it has one."""
    names = ("prompts.json", "voc_prompts.json", "coco_prompts.json")
    return next((path / name for name in names if (path / name).exists()), None)


def _read_prompts(path: Path) -> dict[str, dict[str, str | None]]:
    """Prompts by image name: a list of {"filename", "caption", "class_prompt"}."""
    entries = read_json(path)
    try:
        return {
            _stem(entry["filename"]): {key: text_of(entry.get(key)) for key in ("caption", "class_prompt")}
            for entry in entries
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise UnknownLayoutError(
            f'{path} is no prompts file (a list of {{"filename", "caption", "class_prompt"}}): {error}'
        ) from error


def _stem(name: str) -> str:
    return stem_of(PurePosixPath(inner_path(name).name))
