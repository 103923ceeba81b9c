"""`leakage`: how close an image comes to one of a set that it must not repeat, such as a validation split."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import pyarrow as pa

from sds_hf.clip.checkpoints import DEFAULT_MODEL
from sds_hf.clip.kinds import DTypeName
from sds_hf.schema import settings
from sds_hf.scores.base import encoding
from sds_hf.scores.base.fitted import FittedScore, reference_rows
from sds_hf.scores.base.rows import Rows
from sds_hf.scores.base.score import Values
from sds_hf.scores.functional.neighbors import nearest, pixel_hash

if TYPE_CHECKING:
    from datasets import Dataset

BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))  # 1 is for copies


@settings
class Leakage(FittedScore):
    """Highest CLIP cosine of an image with the images of a reference split, and which of them it is.

    A synthetic image that repeats one of the validation set makes a segmenter look better than it is.

    Columns read:
        image: picture of any size.

    Columns written:
        leakage: float32 in [-1, 1], lower is better; exactly 1 for the same pixels, found by their hash.
        leakage_of: id of the closest reference image, or its row if the reference has no ids.

    Args:
        fitted, model, dtype, labels: see `FittedScore`.

    Source:
        Ours.

    Examples:
        >>> test = candidates.select(range(4))
        >>> score = Leakage.fit(test, "test.npz", model="demo")
        >>> add_scores(candidates, score).column_names[-2:]
        ['leakage', 'leakage_of']
    """

    name: ClassVar[str] = "leakage"
    columns: ClassVar[dict[str, pa.DataType]] = {"leakage": pa.float32(), "leakage_of": pa.string()}
    needs: ClassVar[frozenset[str]] = frozenset({"image"})
    source: ClassVar[str] = "ours"
    reference_sets: ClassVar[tuple[str, ...]] = ("reference",)

    @classmethod
    def fit(
        cls, reference: "Dataset", out: str | Path, *, model: str = DEFAULT_MODEL, dtype: DTypeName = "auto"
    ) -> Self:
        """Remember the images of the reference split in a file: embeddings and hashes, no pixels.

        Args:
            reference: dataset with the column `image`.
            out: the file, `.npz`.
            model: see `ClipScore`.
            dtype: see `ClipScore`.

        Returns:
            The score.

        Raises:
            ValueError: if no image can be read.
        """
        score = cls(model=model, dtype=dtype)
        names = reference["id"] if "id" in reference.column_names else range(len(reference))
        encoder = score.encoder()
        points, hashes, ids = [], [], []
        for rows, row_numbers in reference_rows(reference, ["image"]):
            points.append(encoding.images(rows, encoder, encoding.View()).half().cpu().numpy())
            hashes += [pixel_hash(image) for image in rows.images]
            ids += [str(names[row_number]) for row_number in row_numbers]
        arrays = {"points": np.concatenate(points), "hashes": np.array(hashes), "ids": np.array(ids)}
        return score.saved(out, {"images": len(ids)}, **arrays)

    def compute(self, rows: Rows) -> dict[str, Values]:
        """See `Score.compute`."""
        import torch

        encoder = self.encoder()
        arrays = self.statistics(encoder).arrays
        queries = encoding.images(rows, encoder, encoding.View())
        cosines, indices = (matrix[:, 0].tolist() for matrix in nearest(queries, torch.from_numpy(arrays["points"]), 1))
        values, names = [min(cosine, BELOW_ONE) for cosine in cosines], [str(arrays["ids"][p]) for p in indices]
        for row, image in enumerate(rows.images):
            copies = np.flatnonzero(arrays["hashes"] == pixel_hash(image))
            if len(copies):
                values[row], names[row] = 1.0, str(arrays["ids"][copies[0]])
        return {"leakage": values, "leakage_of": names}
