"""What the scores saw: the reference mask of a row, and its shuffled versions with their similarities."""

from collections.abc import Iterable, Mapping
from threading import Lock
from typing import Any

import numpy as np

from sds_hf.data.images import encode_jpeg
from sds_hf.data.labels import LabelSpace
from sds_hf.explore.bundle import data_url
from sds_hf.scores.base.catalog import score_classes
from sds_hf.scores.base.presets import field_names
from sds_hf.scores.base.rows import Rows, read_rows
from sds_hf.scores.base.score import Score

SHUFFLED = 9  # versions to show at most


class ClipViews:
    """Asks CLIP again, as a score table says it was asked.

    Args:
        identities: of the scores, as the manifest has them.
        labels: what indices of masks mean.
    """

    def __init__(self, identities: Iterable[Mapping[str, Any]], labels: LabelSpace) -> None:
        by_name = {identity["score"]: identity for identity in identities}
        self._asf = next((by_name[name] for name in ("asf_miou", "asf_class_iou") if name in by_name), None)
        self._pcs, self._labels, self._lock = by_name.get("pcs"), labels, Lock()

    @property
    def has_references(self) -> bool:
        """Whether a score made reference masks."""
        return self._asf is not None

    @property
    def has_shuffles(self) -> bool:
        """Whether a score shuffled pictures."""
        return self._pcs is not None

    def reference(self, image: Any, mask: Any) -> np.ndarray:
        """The reference mask, (H, W) uint8.

        Args:
            image: cell of the picture.
            mask: cell of the mask, which says the classes.

        Raises:
            ValueError: if there is none, or the model cannot be had.
        """
        score: Any = self._score(self._asf)
        judge = next((name for name in score.judges if not name.startswith("column:")), None)
        if judge is None:
            raise ValueError("the reference is a column of the dataset, and no model makes it")
        with self._lock:
            references = score.references(self._rows(image, mask), judge)
        if not references:
            raise ValueError("the mask shows no class that CLIP could be asked about")
        return np.asarray(references[0][1].cpu().numpy(), np.uint8)

    def shuffles(self, image: Any, mask: Any) -> list[dict[str, Any]]:
        """The intact picture and shuffled ones as CLIP sees them: `image`, `similarity`, and `scale`, tiles a side.

        Raises:
            ValueError: if the row cannot be scored, or the model cannot be had.
        """
        import torch

        from sds_hf.scores.base import encoding
        from sds_hf.scores.functional.patches import shuffle_patches

        score: Any = self._score(self._pcs)
        with self._lock:
            rows, encoder = self._rows(image, mask), score.encoder()
            pixels = encoding.pixels(rows, encoder, score.resolution)
            cuts = score.shuffles(pixels.shape[-1])
            chosen = range(0, len(cuts), -(-len(cuts) // SHUFFLED))
            versions = [pixels, *(shuffle_patches(pixels, *cuts[number]) for number in chosen)]
            similarities = [
                float(score.similarities(encoder.encode_images(version, score.pool, score.position), rows, encoder)[0])
                for version in versions
            ]
            low, high = torch.quantile(pixels.float(), 0.001), torch.quantile(pixels.float(), 0.999)
        scales = [None, *(pixels.shape[-1] // cuts[number][1] for number in chosen)]
        return [
            {"image": data_url("image/jpeg", _picture(version[0], low, high)), "similarity": value, "scale": scale}
            for version, value, scale in zip(versions, similarities, scales, strict=True)
        ]

    def _score(self, identity: Mapping[str, Any] | None) -> Score:
        if identity is None:
            raise ValueError("no such score was computed")
        cls = score_classes()[identity["score"]]
        return cls(**{name: value for name, value in identity.items() if name in field_names(cls)})

    def _rows(self, image: Any, mask: Any) -> Rows:
        rows = read_rows({"image": [image], "mask": [mask]}, {"image", "mask"}, self._labels)
        if rows.errors:
            raise ValueError(next(iter(rows.errors.values())))
        return rows


def _picture(pixels: Any, low: Any, high: Any) -> bytes:
    """Normalised pixels (3, H, W) as a JPEG."""
    scaled = ((pixels.float() - low) / (high - low)).clamp(0, 1).mul(255).byte()
    return encode_jpeg(scaled.permute(1, 2, 0).cpu().numpy(), 85)
