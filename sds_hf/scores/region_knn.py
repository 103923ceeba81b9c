"""`region_knn`: whether the regions of a set that look like a region of a mask have its label too."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import IO, Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from sds_hf.clip.checkpoints import model_files
from sds_hf.files import cache_folder, read_sha256, whole_file
from sds_hf.schema import settings
from sds_hf.scores.base import encoding
from sds_hf.scores.base.rows import Rows
from sds_hf.scores.base.score import ClipScore, Values
from sds_hf.scores.base.whole_set import WholeSetScore
from sds_hf.scores.functional.neighbors import pixel_hash, text_hash
from sds_hf.scores.functional.regions import mean_features, patch_shares, seen_labels
from sds_hf.scores.functional.votes import (
    Points,
    agreement,
    build_index,
    nearest_others,
    read_index,
    whole_numbers,
    write_index,
)

REGIONS_AT_ONCE = 4096  # that are written


@settings
class RegionKNN(WholeSetScore, ClipScore):
    """How many of the regions of the set that look most like a region of the mask have the same class.

    What CLIP sees in a region is the mean of its patch tokens over the mask, each attending to itself only in the last
    block as in MaskCLIP. The candidates are their own memory: no text is asked, so this works for classes that CLIP has
    no word for. It sees a region of the wrong class, and objects that are not there; not the shape of a mask.

    A region never counts for itself, nor does any other of the same pixels: regions of one picture share what surrounds
    them, and a copy of a row would agree with it about any mistake.

    Columns read:
        image: picture of any size, seen as the other scores of CLIP see it.
        mask: class indices of the same size; 255 belongs to no region. All of a class in a row is one region.

    Columns written:
        region_knn: float32 in [0, 1], higher is better: the lowest of the row's regions; null if there is none.
        region_knn_class: list of structs, one a class of the mask, ids ascending: `class_id` int32, and `region_knn`
            float32, the share of the `k` regions of highest cosine that have this class; null where the model sees
            nothing of the class, which may lie outside its crop.

    A class of n regions cannot have more than (n - 1) / k: compare rows of one class with each other. Of regions that
    are equally close, those of the lower hash of their pixels count.

    Args:
        k: regions that are asked; all there are, if these are fewer.
        search: `exact`, or `faiss`, which looks into the closest of up to 4096 cells only and orders what it finds
            exactly; it needs `pip install "sds-hf[faiss]"`. The numbers depend on this setting, never on what is
            installed.
        resolution: side in pixels that images are resized to, without a crop; None: what the checkpoint's own processor
            does.
        statistics: names the file with the regions of the set, as `fit` writes it.
        model, dtype, labels: see `ClipScore`.

    Source:
        Ours; Bahri, Jiang and Gupta, ICML 2020, find wrong labels of images by their neighbours in a feature space.

    Examples:
        >>> add_scores(candidates, RegionKNN(model="demo", k=5)).column_names[-1]
        'region_knn_class'
    """

    name: ClassVar[str] = "region_knn"
    columns: ClassVar[dict[str, pa.DataType]] = {
        "region_knn": pa.float32(),
        "region_knn_class": pa.list_(pa.struct({"class_id": pa.int32(), "region_knn": pa.float32()})),
    }
    needs: ClassVar[frozenset[str]] = frozenset({"image", "mask"})
    leads: ClassVar[bool] = True
    applied: ClassVar[frozenset[str]] = frozenset({"k"})
    source: ClassVar[str] = "ours, after Bahri et al., ICML 2020"

    k: Annotated[int, Field(ge=1)] = 20
    search: Literal["exact", "faiss"] = "exact"
    resolution: Annotated[int, Field(ge=1)] | None = None

    def collect(self, rows: Rows) -> list[np.ndarray]:
        """The regions that the model sees."""
        return [self._regions(rows, range(len(rows)))[0]] if len(rows) else []

    def merge(self, left: list[np.ndarray], right: list[np.ndarray]) -> list[np.ndarray]:
        """See `WholeSetScore.merge`."""
        return left + right

    def freeze(self, collected: list[np.ndarray]) -> Mapping[str, Any]:
        """Digests of files in the cache: the regions, by picture, row and class, and an index of them, if wanted."""
        if not collected:
            raise ValueError("region_knn: the set has no row that can be read")
        digest = _keep(".npy", partial(_write_regions, parts=collected))
        memory = _memory(digest)
        about = {"model_digest": self.encoder().files.digest, "resolution": self.resolution}
        statistics = {"sha256": digest, "regions": len(memory.stored), **about}
        if self.search == "exact" or not len(memory.stored):
            return statistics
        index = build_index(memory.stored["vector"])
        return {**statistics, "index_sha256": _keep(".faiss", partial(write_index, index=index))}

    def compute(self, rows: Rows) -> dict[str, Values]:
        """See `Score.compute`; rows of the set have the vectors that were found when it was fitted, without a pass."""
        from sds_hf.clip.device import current_device

        memory = self._memory()
        fitted = [memory.of_row(*_keys(rows, row)) for row in range(len(rows))]
        new = [row for row, regions in enumerate(fitted) if not len(regions) and rows.present[row].any()]
        regions, owners = _joined(fitted, self._regions(rows, new) if new else None)
        closest = nearest_others(regions["vector"], regions["picture"], memory.points, self.k, str(current_device()))
        shares = agreement(regions["class_id"], memory.class_ids[closest], closest)
        by_row: list[dict[int, float]] = [{} for _ in range(len(rows))]
        for row, class_id, share in zip(owners, regions["class_id"].tolist(), shares.tolist(), strict=True):
            by_row[row][class_id] = share
        shares_of = [[(c, by_row[row].get(c, np.nan)) for c in rows.classes_of(row)] for row in range(len(rows))]
        return {
            "region_knn": [min((v for _, v in row if v == v), default=None) for row in shares_of],
            "region_knn_class": [
                [{"class_id": c, "region_knn": None if np.isnan(v) else v} for c, v in row] for row in shares_of
            ],
        }

    def _regions(self, rows: Rows, row_numbers: Sequence[int]) -> tuple[np.ndarray, list[int]]:
        """The regions of some rows that the model sees, see `_kind`, and the row of each."""
        encoder = self.encoder()
        tokens = encoding.patches(rows, encoder, self.resolution, local=True)
        preprocessing, patch = encoder.preprocessing, encoder.patch_size
        size = (self.resolution, self.resolution) if self.resolution else preprocessing.size
        records, owners = [], []
        for row in row_numbers:
            mask, class_ids = rows.masks[row], rows.classes_of(row)
            resized, corner = (size, (0, 0)) if self.resolution else preprocessing.frame(mask.shape)
            shares = patch_shares(seen_labels(mask, resized, corner, size), class_ids, patch)
            vectors = mean_features(tokens[row], shares)
            for class_id, vector in zip(class_ids, vectors, strict=True):
                if np.isfinite(vector).all():
                    records.append((*_keys(rows, row), class_id, whole_numbers(vector)))
                    owners.append(row)
        return np.array(records, _kind(tokens.shape[-1])), owners

    def _memory(self) -> "Memory":
        """The regions of the set.

        Raises:
            ValueError: if they are no longer there, or were found with other settings.
        """
        statistics = self.required_statistics()
        here = {"model_digest": model_files(self.model).digest, "resolution": self.resolution}
        if differing := [name for name, value in here.items() if statistics[name] != value]:
            raise ValueError(
                f"region_knn was fitted with another {differing[0]} than {here[differing[0]]!r}: fit again"
            )
        if self.search == "faiss" and statistics["regions"] and "index_sha256" not in statistics:
            raise ValueError("region_knn was fitted with search='exact', which makes no index: fit again")
        return _memory(statistics["sha256"], statistics.get("index_sha256") if self.search == "faiss" else None)


@dataclass(frozen=True, eq=False)
class Memory:
    """The regions of a set.

    Attributes:
        stored: (n,) records, see `_kind`, by picture, row and class; they lie in a file.
        row_keys: (n,) int64, of the row of each.
        class_ids: (n + 1,) int32, of each, and -1 for the neighbour that is none.
        points: what is searched.
    """

    stored: np.ndarray
    row_keys: np.ndarray
    class_ids: np.ndarray
    points: Points

    def of_row(self, picture: int, key: int) -> np.ndarray:
        """The regions of a row, one a class; none if the row was not in the set."""
        start, stop = (int(np.searchsorted(self.points.groups, picture, side)) for side in ("left", "right"))
        numbers = start + np.flatnonzero(self.row_keys[start:stop] == key)
        _, first = np.unique(self.class_ids[numbers], return_index=True)
        return self.stored[numbers[first]]


@lru_cache(maxsize=2)
def _memory(digest: str, index_digest: str | None = None) -> Memory:
    stored: np.ndarray = np.load(_path(digest, ".npy"), mmap_mode="r", allow_pickle=False)
    pictures, row_keys, class_ids = (np.ascontiguousarray(stored[name]) for name in ("picture", "row", "class_id"))
    index = None if index_digest is None else read_index(_path(index_digest, ".faiss"))
    return Memory(stored, row_keys, np.append(class_ids, -1), Points(stored["vector"], pictures, index))


def _kind(dimensions: int) -> np.dtype[np.void]:
    """What is kept of a region: hashes of the pixels of its picture, and of these and its mask; class; direction."""
    return np.dtype([("picture", "<i8"), ("row", "<i8"), ("class_id", "<i4"), ("vector", "<i2", (dimensions,))])


def _keys(rows: Rows, row: int) -> tuple[int, int]:
    """What stands for the picture of a row, and for the row: the same pixels, and the same mask too."""

    def compute() -> tuple[int, int]:
        picture = pixel_hash(rows.images[row])
        return picture, text_hash(f"{picture} {pixel_hash(rows.masks[row])}")

    return rows.share(("region keys", row), compute)


def _joined(fitted: Sequence[np.ndarray], new: tuple[np.ndarray, list[int]] | None) -> tuple[np.ndarray, list[int]]:
    """The regions of rows that were in the set, and of others, with the row of each."""
    owners = [row for row, regions in enumerate(fitted) for _ in regions]
    if new is None:
        return np.concatenate(fitted), owners
    return np.concatenate([*(regions for regions in fitted if len(regions)), new[0]]), owners + new[1]


def _write_regions(file: IO[bytes], parts: Sequence[np.ndarray]) -> None:
    """Regions as an array of NumPy's format, in the order of their keys, whatever the order of rows was."""
    keys = [np.concatenate([part[name] for part in parts]) for name in ("class_id", "row", "picture")]
    order = np.lexsort(keys)
    starts = np.cumsum([0, *map(len, parts)])
    np.lib.format.write_array_header_1_0(
        file, {"descr": np.lib.format.dtype_to_descr(parts[0].dtype), "fortran_order": False, "shape": order.shape}
    )
    for start in range(0, len(order), REGIONS_AT_ONCE):
        numbers = order[start : start + REGIONS_AT_ONCE]
        sources = np.searchsorted(starts, numbers, "right") - 1
        pairs = zip(sources.tolist(), (numbers - starts[sources]).tolist(), strict=True)
        file.write(np.array([parts[source][index] for source, index in pairs], parts[0].dtype).tobytes())


def _keep(ending: str, write: Callable[[IO[bytes]], None]) -> str:
    """Write a file of the cache; returns its digest, which is its name."""
    folder = cache_folder("models")
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{os.getpid()}.part{ending}"
    with whole_file(part) as file:
        write(file)
    digest = read_sha256(part)
    part.replace(folder / f"{digest}{ending}")
    return digest


def _path(digest: str, ending: str) -> Path:
    """A file of the cache.

    Raises:
        ValueError: if it is not there any more.
    """
    path = cache_folder("models") / f"{digest}{ending}"
    if not path.exists():
        raise ValueError(
            f"region_knn: the regions of the set are no longer in {path.parent}; delete "
            f"{cache_folder('statistics')} and score again"
        )
    return path
