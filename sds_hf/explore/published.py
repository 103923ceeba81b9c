"""The page beside a published set: it reads scores and pictures out of the published files by ranges of bytes."""

import json
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from sds_hf.data.labels import LabelSpace
from sds_hf.explore.bundle import NAMES, page_file
from sds_hf.explore.config import page_config
from sds_hf.explore.pixels import write_pixels
from sds_hf.files import write_whole
from sds_hf.hub.client import address_of, hub_api
from sds_hf.hub.layout import CANDIDATES, EXPLORER
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.report import Report
from sds_hf.selection.select import Selection

if TYPE_CHECKING:
    from datasets import Dataset

PLACES = pa.schema(
    [("row", pa.int32()), ("file", pa.int32())]
    + [(f"{what}_{part}", pa.int64()) for what in ("image", "mask") for part in ("start", "size")]
)
SPACE = """---
title: {title}
sdk: static
app_file: index.html
---

Looks into the dataset beside it. To show it as a page of its own: make a static Space and put these files into it.
"""


def write_explorer(folder: Path, dataset: "Dataset", selection: Selection, recipe: Recipe, report: Report) -> None:
    """Put the page into `folder/explorer`.

    Served with the rest of the folder, or as a static Space, it needs no server of ours.

    Args:
        folder: of the repository, with data and scores.
        dataset: the candidates, for pixels by class.
        selection: which of them stay.
        recipe: what chose them, and where they are published.
        report: for the names of classes.

    Raises:
        ValueError: if no scores are published.
    """
    if not (folder / CANDIDATES).exists():
        raise ValueError("the explorer shows scores, and none are published: give the score table")
    explorer = folder / EXPLORER
    explorer.mkdir()
    for name in NAMES:
        write_whole(explorer / name, page_file(name))
    shards = sorted((folder / "data").glob("*.parquet"))
    _write_places(shards, selection.kept_rows().tolist(), explorer / "pictures.parquet")
    names = report.provenance.get("labels", {}).get("names") or []
    labels = LabelSpace.from_names(names) if names else None
    has_masks = labels is not None and "mask" in dataset.column_names
    if labels is not None and has_masks:
        write_pixels(dataset, labels, explorer / "pixels.parquet")
    base, columns = _base(recipe), pq.read_schema(shards[0]).names
    files = [f"{base}data/{path.name}" for path in shards]
    title = recipe.publish.title or recipe.publish.to or recipe.name
    config = page_config(
        title,
        tables=[{"url": base + CANDIDATES}],
        labels=labels,
        recipes=[recipe],
        scores=_scores_name(recipe),
        pictures={"kind": "ranges", "index": "pictures.parquet", "files": files} if "image" in columns else None,
        captions={"sources": [{"url": url} for url in files], "key": "id"}
        if {"id", "caption"} <= set(columns)
        else None,
        pixels={"url": "pixels.parquet"} if has_masks else None,
    )
    write_whole(explorer / "explore.json", json.dumps(config) + "\n")
    write_whole(explorer / "README.md", SPACE.format(title=json.dumps(title)))


def _base(recipe: Recipe) -> str:
    """What leads from the page to the published files."""
    if recipe.publish.to is None:
        return "../"
    return f"{address_of(hub_api(), recipe.publish.to)}/resolve/main/"


def _scores_name(recipe: Recipe) -> str:
    """Where the scores lie in a copy of the set."""
    return CANDIDATES if recipe.publish.to is None else f"{recipe.publish.to.partition('/')[2]}/{CANDIDATES}"


def _write_places(shards: list[Path], rows: list[int], path: Path) -> None:
    """At which bytes of the shards each kept row's picture and mask lie; size 0 if they do not lie as they are."""
    lines = [{"file": number, **places} for number, shard in enumerate(shards) for places in _places_in(shard)]
    table = pa.Table.from_pylist([{"row": row, **line} for row, line in zip(rows, lines, strict=True)], PLACES)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    write_whole(path, sink.getvalue())


def _places_in(shard: Path) -> Iterator[dict[str, int]]:
    """Start and size of each row's picture and mask; images are stored as they are, so their bytes are found again."""
    with (
        shard.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        pq.ParquetFile(shard) as parquet,
    ):
        columns = [name for name in ("image", "mask") if name in parquet.schema_arrow.names]
        for group in range(parquet.num_row_groups):
            cells = parquet.read_row_group(group, columns=columns)
            chunks = _chunks(parquet.metadata.row_group(group))
            places: list[dict[str, Any]] = [{} for _ in range(cells.num_rows)]
            for name in columns:
                start, end = chunks[f"{name}.bytes"]
                here = start
                for line, cell in zip(places, cells[name].to_pylist(), strict=True):
                    content = (cell or {}).get("bytes") or b""
                    at = data.find(content, here, end) if content else -1
                    at = data.find(content, start, end) if content and at < 0 else at  # the same picture as before
                    line |= {f"{name}_start": max(at, 0), f"{name}_size": len(content) if at >= 0 else 0}
                    here = at + len(content) if at >= here else here
            yield from places


def _chunks(group: Any) -> dict[str, tuple[int, int]]:
    """First and last byte of each column of a row group."""
    chunks = {}
    for number in range(group.num_columns):
        column = group.column(number)
        start = column.dictionary_page_offset or column.data_page_offset
        chunks[column.path_in_schema] = (start, start + column.total_compressed_size)
    return chunks
