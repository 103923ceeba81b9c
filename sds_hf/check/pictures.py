"""Compare images and masks of two versions: by their bytes, and masks whose bytes differ by their pixels."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sds_hf.check.alignment import SIDES, Alignment
from sds_hf.check.versions import Version
from sds_hf.data.images import BadImageError, decode_mask
from sds_hf.selection.changes import PictureChanges
from sds_hf.selection.duck import Relation

INDICES = 1 << 16
ROWS_AT_ONCE = 10_000
GROUPS_KEPT = 8  # row groups of a version in memory; versions have their rows in the same order as a rule


def compare_pictures(rows: Alignment, versions: Sequence[Version]) -> tuple[PictureChanges, np.ndarray] | None:
    """Images and masks of the rows in both versions; files that both versions have are not read.

    Args:
        rows: of the versions.
        versions: two.

    Returns:
        What differs, and the pixels of each index in the masks that differ, before and now, (2, 65536) int64; None if a
        version has no pictures to match.

    Raises:
        ValueError: if data files cannot be had.
    """
    if any(version.side.kind != "published" for version in versions):
        return None
    shared = set(versions[0].files.values()) & set(versions[1].files.values())
    data = [version.data(but=shared) for version in versions]
    common, pixels = rows.count("kept_a AND kept_b"), np.zeros((2, INDICES), np.int64)
    if not all(data):  # no row is in both but in the same file
        return PictureChanges(rows=common), pixels
    stored = [rows.files(paths) for paths in data]
    columns = _common_pictures(stored)
    if not columns:
        return None
    for side, files in zip(SIDES, stored, strict=True):
        digests = ", ".join(f"sha256({files.columns[name]}.bytes) AS {name}" for name in columns)
        rows.run(
            f"""CREATE TABLE stored_{side} AS SELECT CAST({files.columns["id"]} AS VARCHAR) AS id, {digests},
                    row_number() OVER () - 1 AS place FROM {files.sql}"""
        )
    counts: dict[str, Any] = {"rows": common}
    if "image" in columns:
        both = "stored_a a JOIN stored_b b USING (id)"
        counts["images"] = rows.fetch(f"SELECT count(*) FROM {both} WHERE a.image IS DISTINCT FROM b.image")[0][0]
    if "mask" in columns:
        counts |= _masks(rows, data, pixels)
    return PictureChanges(**counts), pixels


def _common_pictures(stored: Sequence[Relation]) -> list[str]:
    """The columns of stored pictures that both versions have; none if rows have no ids."""
    types = [files.types for files in stored]
    if not all("id" in kinds for kinds in types):
        return []
    return [name for name in ("image", "mask") if all(kinds.get(name, "").startswith("STRUCT") for kinds in types)]


def _masks(rows: Alignment, data: Sequence[Sequence[Path]], pixels: np.ndarray) -> dict[str, Any]:
    """Counts of the masks whose bytes differ; their pixels are added by index, before and now."""
    counts, total = dict.fromkeys(("recoded", "masks", "resized", "unreadable", "pixels"), 0), 0
    for old, new in _changed_masks(rows, data):
        before, after = _decoded(old), _decoded(new)
        if before is None or after is None:
            counts["unreadable"] += 1
        elif before.shape != after.shape:
            counts["resized"] += 1
        elif np.array_equal(before, after):
            counts["recoded"] += 1
            continue
        else:
            counts["pixels"] += int((before != after).sum())
            total += before.size
            pixels[0] += np.bincount(before.ravel(), minlength=INDICES)
            pixels[1] += np.bincount(after.ravel(), minlength=INDICES)
        counts["masks"] += 1
    return {**counts, "share": counts["pixels"] / total if total else 0.0}


def _changed_masks(rows: Alignment, data: Sequence[Sequence[Path]]) -> Iterator[list[bytes | None]]:
    """Masks of the same row whose bytes differ, before and now."""
    rows.run(
        """CREATE TABLE changed AS SELECT row_number() OVER (ORDER BY a.place) - 1 AS number,
               a.place AS place_a, b.place AS place_b
           FROM stored_a a JOIN stored_b b USING (id) WHERE a.mask IS DISTINCT FROM b.mask"""
    )
    total = int(rows.fetch("SELECT count(*) FROM changed")[0][0])
    read = [_reader(paths) for paths in data]
    for start in range(0, total, ROWS_AT_ONCE):
        chosen = f"number >= {start} AND number < {start + ROWS_AT_ONCE} ORDER BY number"
        for places in rows.fetch(f"SELECT place_a, place_b FROM changed WHERE {chosen}"):
            yield [reader(place) for reader, place in zip(read, places, strict=True)]


def _reader(paths: Sequence[Path]) -> Callable[[int], bytes | None]:
    """A function that reads the mask of a row of files, and keeps a few row groups in memory."""
    starts = [0, *accumulate(pq.read_metadata(path).num_rows for path in paths)]

    @lru_cache(GROUPS_KEPT)
    def opened(file: int) -> tuple[pq.ParquetFile, list[int]]:
        parquet = pq.ParquetFile(paths[file])
        sizes = (parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups))
        return parquet, [0, *accumulate(sizes)]

    @lru_cache(GROUPS_KEPT)
    def group_of(file: int, group: int) -> pa.Array:
        return opened(file)[0].read_row_group(group, columns=["mask.bytes"])["mask"].combine_chunks().field("bytes")

    def read(place: int) -> bytes | None:
        file = bisect_right(starts, place) - 1
        row_number, groups = place - starts[file], opened(file)[1]
        group = bisect_right(groups, row_number) - 1
        data: bytes | None = group_of(file, group)[row_number - groups[group]].as_py()
        return data

    return read


def _decoded(data: bytes | None) -> np.ndarray | None:
    try:
        return decode_mask(data, highest=INDICES - 1)
    except BadImageError:
        return None
