"""Output of Dataset Diffusion (Nguyen et al., NeurIPS 2023): `image/`, `mask/` and a prompts file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal, get_args

import numpy as np

from sds_hf.labels import IGNORE_INDEX
from sds_hf.prompts import classes_in_prompt
from sds_hf.sources.reader import Reader, Row, UnknownLayoutError, files_by_stem, read_mask

Ids = Literal["contiguous", "original"]


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
        self._prompts_file = Path(prompts) if prompts else _find_prompts(Path(path))
        super().__init__(path, labels)
        if ids not in (None, *get_args(Ids)):
            raise UnknownLayoutError(f"--ids is contiguous or original, not {ids!r}")
        self.images, self.masks = files_by_stem(self.path / "image"), files_by_stem(self.path / "mask", (".png",))
        if not self.images:
            raise UnknownLayoutError(f"{self.path / 'image'} holds no images")
        self.prompts = _read_prompts(self._prompts_file) if self._prompts_file else {}
        self.ids: Ids = ids or (self._detect_ids() if self.labels.original_ids else "contiguous")

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """See `Reader.recognises`."""
        return (path / "image").is_dir() and (path / "mask").is_dir() and _find_prompts(path) is not None

    def default_labels(self) -> str | None:
        """The prompts file of VOC or COCO says which it is; a plain `prompts.json` does not."""
        name = self._prompts_file.name if self._prompts_file else ""
        return next((space for space in ("voc", "coco") if name.startswith(space)), None)

    def rows(self) -> Iterator[Row]:
        """See `Reader.rows`."""
        for name, image in self.images.items():
            if name not in self.masks:
                self.counts["image without a mask"] += 1
                continue
            prompt = self.prompts.get(name, {})
            mask = self.check_mask(self._contiguous(read_mask(self.masks[name]), self.masks[name]), self.masks[name])
            row = self.row(name, image, mask, prompt.get("caption"), prompt.get("class_prompt"))
            if prompt.get("class_prompt") is not None:
                asked = classes_in_prompt(prompt["class_prompt"], self.labels.names)
                if not set(row["classes"]) <= asked:
                    self.counts["mask shows a class its prompt does not name"] += 1
            yield row

    def _contiguous(self, mask: np.ndarray, path: Path) -> np.ndarray:
        if self.ids == "contiguous":
            return mask
        table = np.full(256, -1)
        table[list(self.labels.original_ids)] = range(len(self.labels.original_ids))
        table[IGNORE_INDEX] = IGNORE_INDEX
        indices = table[mask]
        if (indices < 0).any():
            raise UnknownLayoutError(
                f"{path}: {np.unique(mask[indices < 0]).tolist()} are no original COCO category ids"
            )
        return np.asarray(indices, np.uint8)

    def _detect_ids(self) -> Ids:
        """By values that only one encoding has, over all masks; then by agreement with the class prompts.

        Raises:
            UnknownLayoutError: if both are possible.
        """
        values = {name: np.unique(read_mask(path)) for name, path in self.masks.items()}
        seen = {int(value) for found in values.values() for value in found} - {0, IGNORE_INDEX}
        only_original = bool(seen - set(range(len(self.labels.names))))
        only_contiguous = bool(seen & (set(range(1, 91)) - set(self.labels.original_ids)))
        if only_original != only_contiguous:
            return "original" if only_original else "contiguous"
        agreement = {ids: self._agreement(values, ids) for ids in ("contiguous", "original")}
        best = max(agreement, key=lambda ids: agreement[ids])
        if not only_original and agreement[best] >= 2 * min(agreement.values()) + 1 and agreement[best] > 0:
            return best  # type: ignore[return-value]
        raise UnknownLayoutError(
            f"the masks in {self.path / 'mask'} could hold contiguous (1-80) or original (1-90) COCO ids; say which: "
            "--ids contiguous or --ids original"
        )

    def _agreement(self, values: dict[str, np.ndarray], ids: str) -> int:
        """How many class indices, read in that encoding, are named by the prompt of their image."""
        original = {original: index for index, original in enumerate(self.labels.original_ids)}
        agreed = 0
        for name, found in values.items():
            asked = classes_in_prompt(self.prompts.get(name, {}).get("class_prompt") or "", self.labels.names)
            for value in found:
                index = original.get(int(value)) if ids == "original" else int(value)
                agreed += index in asked
        return agreed


def _find_prompts(path: Path) -> Path | None:
    names = ("prompts.json", "voc_prompts.json", "coco_prompts.json")
    return next((path / name for name in names if (path / name).exists()), None)


def _read_prompts(path: Path) -> dict[str, dict[str, str]]:
    """Prompts by image name: a list of {"filename", "caption", "class_prompt"}."""
    try:
        entries = json.loads(path.read_text())
        return {Path(entry["filename"]).stem: entry for entry in entries}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnknownLayoutError(
            f'{path} is no prompts file (a list of {{"filename", "caption", "class_prompt"}}): {error}'
        ) from error
