"""Folders that plain `load_dataset` reads: Parquet shards with embedded images and a README that describes them."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from sds_hf.data.access.origins import reach_of
from sds_hf.data.cells import column_cells
from sds_hf.data.columns import published_column, published_features
from sds_hf.data.labels import LabelSpace
from sds_hf.data.sources import Reader
from sds_hf.files import new_folder, sha256_of, write_whole
from sds_hf.prefetch import prefetch

if TYPE_CHECKING:
    from datasets import Dataset, Features
    from huggingface_hub import DatasetCardData

ROWS_PER_GROUP = 100  # the Hub's viewer chokes on large row groups of images
GROUP_BYTES = 64 << 20  # it stops at 286 MiB
SHARD_BYTES = 256 << 20
ORIGIN = "origin.json"


@dataclass(frozen=True)
class Shard:
    """A written file: its path in the folder, rows, bytes, and SHA-256."""

    path: str
    rows: int
    size: int
    sha256: str


def row_features(labels: LabelSpace, extra: Mapping[str, Any] | None = None) -> "Features":
    """Features of imported rows; further columns pass through."""
    from datasets import ClassLabel, Features, Image, Sequence, Value

    return Features(
        {
            "id": Value("string"),
            "image": Image(),
            "mask": Image(),
            "caption": Value("string"),
            "classes": Sequence(ClassLabel(names=list(labels.names))),
            "class_prompt": Value("string"),
            **(extra or {}),
        }
    )


def tables_of_rows(rows: Iterable[Mapping[str, Any]], features: "Features") -> Iterator[pa.Table]:
    """Rows of a reader as Arrow tables of a row group each."""
    group: list[Mapping[str, Any]] = []
    size = 0
    for row in rows:
        group.append(row)
        size += sum(len(cell["bytes"] or b"") for cell in row.values() if isinstance(cell, dict) and "bytes" in cell)
        if len(group) == ROWS_PER_GROUP or size > GROUP_BYTES:
            yield pa.Table.from_pylist(group, schema=features.arrow_schema)
            group, size = [], 0
    if group:
        yield pa.Table.from_pylist(group, schema=features.arrow_schema)


class TableStream:
    """Tables that follow one another, whose rows are taken as many at a time as are asked for.

    Args:
        schema: of all of them.
        tables: made as they are needed.
    """

    def __init__(self, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
        self.schema, self._tables = schema, iter(tables)
        self._rest = schema.empty_table()

    def take(self, count: int) -> pa.Table:
        """The next rows; fewer if there are no more."""
        parts = [self._rest]
        while sum(part.num_rows for part in parts) < count and (more := next(self._tables, None)) is not None:
            parts.append(more.select(self.schema.names).cast(self.schema))
        table = pa.concat_tables(parts)
        self._rest = table.slice(count)
        return table.slice(0, count)

    def count_rest(self) -> int:
        """How many rows were not taken."""
        rest: int = self._rest.num_rows + sum(int(more.num_rows) for more in self._tables)
        return rest


def tables_of_dataset(
    dataset: "Dataset", beside: TableStream | None = None, decoded: Collection[str] = ()
) -> Iterator[pa.Table]:
    """A dataset as Arrow tables of at most a row group each, as it is published: see `published_column`.

    Args:
        dataset: the rows.
        beside: further columns of the same rows, in their order.
        decoded: columns of pictures whose very bytes were decoded before; they are not decoded again.

    Raises:
        ColumnError: if a cell cannot be published; names its row.
    """
    stored, features, reach = dataset.with_format("arrow"), dataset.features, reach_of(dataset)
    schema = features_beside(dataset, beside).arrow_schema
    for start in range(0, len(dataset), ROWS_PER_GROUP):
        table = stored[start : start + ROWS_PER_GROUP]
        names = _row_names(table, start)
        columns = [
            published_column(name, features[name], table[name], reach, names, name in decoded) for name in features
        ]
        if beside is not None:
            columns += beside.take(ROWS_PER_GROUP).columns
        table = pa.table(columns, names=schema.names).cast(schema)
        yield from _groups(table)


def _row_names(table: pa.Table, start: int) -> list[str]:
    if "id" in table.column_names:
        return [str(name) for name in column_cells(table["id"])]
    return [str(start + row) for row in range(table.num_rows)]


def _groups(table: pa.Table) -> Iterator[pa.Table]:
    """Parts of a table of at most `GROUP_BYTES`, or of one row."""
    if table.num_rows < 2 or table.nbytes <= GROUP_BYTES:
        yield table
        return
    middle = table.num_rows // 2
    for part in (table.slice(0, middle), table.slice(middle)):
        yield from _groups(part)


def features_beside(dataset: "Dataset", beside: TableStream | None = None) -> "Features":
    """Features of a dataset as it is published, and of further columns."""
    from datasets import Features

    more = Features.from_arrow_schema(beside.schema) if beside is not None else {}
    return published_features(Features({**dataset.features, **more}))


def write_shards(
    tables: Iterable[pa.Table], folder: Path, split: str = "train", progress: Callable[[int], None] | None = None
) -> tuple[list[Shard], int]:
    """Write tables as `data/<split>-*.parquet`, one row group each.

    The next tables are made in the background, and files that are whole are hashed there.

    Returns:
        The shards, and the bytes in memory.
    """
    shards: list[Future[Shard]] = []
    writer: pq.ParquetWriter | None = None
    rows, size, total = 0, 0, 0
    (folder / "data").mkdir(parents=True, exist_ok=True)

    def path_of_next() -> Path:
        return folder / "data" / f"{split}-{len(shards):05d}.parquet"

    def close() -> None:
        nonlocal writer, rows, size
        if writer is not None:
            writer.close()
            shards.append(hasher.submit(_shard, path_of_next(), rows))
        writer, rows, size = None, 0, 0

    with ThreadPoolExecutor(1) as hasher, closing(prefetch(tables, depth=1)) as ahead:
        for table in ahead:
            writer = writer or _writer(path_of_next(), table.schema)
            writer.write_table(table, row_group_size=ROWS_PER_GROUP)
            rows, size, total = rows + table.num_rows, size + table.nbytes, total + table.nbytes
            if progress:
                progress(table.num_rows)
            if size >= SHARD_BYTES:
                close()
        close()
    return [shard.result() for shard in shards], total


def _shard(path: Path, rows: int) -> Shard:
    return Shard(f"data/{path.name}", rows, path.stat().st_size, sha256_of(path))


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    # Images are compressed already; content-defined chunks let the Hub store a re-published subset once.
    return pq.ParquetWriter(
        path,
        schema,
        compression={name: "none" if name.endswith("bytes") else "snappy" for name in _leaves(schema)},
        write_page_index=True,
        use_content_defined_chunking=True,
    )


def card_metadata(features: "Features", shards: list[Shard], num_bytes: int, split: str = "train") -> "DatasetCardData":
    """`dataset_info` and `configs` of a card, as `load_dataset` checks them."""
    from datasets import DatasetInfo, SplitDict, SplitInfo
    from datasets.info import DatasetInfosDict
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCardData

    rows = sum(shard.rows for shard in shards)
    info = DatasetInfo(
        features=features,
        splits=SplitDict({split: SplitInfo(name=split, num_bytes=num_bytes, num_examples=rows)}),
        download_size=sum(shard.size for shard in shards),
        dataset_size=num_bytes,
    )
    data = DatasetCardData()
    DatasetInfosDict({"default": info}).to_dataset_card_data(data)
    configs = {"default": {"data_files": [{"split": split, "path": f"data/{split}-*"}]}}
    MetadataConfigs(configs).to_dataset_card_data(data)
    return data


def write_data_folder(
    rows: Iterable[Mapping[str, Any]],
    features: "Features",
    out: str | Path,
    text: str = "",
    origin: Mapping[str, Any] | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write rows into a new folder that `load_dataset` reads.

    Args:
        rows: rows as readers yield them.
        features: of all columns.
        out: the folder; must not exist or be empty.
        text: body of its README.
        origin: where the rows come from; kept in `origin.json`.
        progress: called with the number of rows written since the last call.

    Returns:
        The number of rows.

    Raises:
        ValueError: if the folder is not empty or there are no rows.
    """
    with new_folder(Path(out)) as folder:
        shards, num_bytes = write_shards(tables_of_rows(rows, features), folder, progress=progress)
        if not shards:
            raise ValueError("there are no rows to write")
        metadata = card_metadata(features, shards, num_bytes)
        write_whole(folder / "README.md", f"---\n{metadata}\n---\n\n{text}".rstrip() + "\n")
        write_whole(
            folder / ORIGIN,
            json.dumps({**(origin or {}), "rows": sum(shard.rows for shard in shards)}, indent=2) + "\n",
        )
    return sum(shard.rows for shard in shards)


def _leaves(schema: pa.Schema) -> list[str]:
    """Paths of the columns as Parquet stores them, e.g. `image.bytes`."""
    leaves: list[str] = []

    def walk(field: pa.Field, name: str) -> None:
        if pa.types.is_struct(field.type):
            for inner in field.type:
                walk(inner, f"{name}.{inner.name}")
        elif pa.types.is_list(field.type) or pa.types.is_large_list(field.type):
            walk(field.type.value_field, f"{name}.list.element")
        else:
            leaves.append(name)

    for field in schema:
        walk(field, field.name)
    return leaves


def reader_of(name: str) -> str | None:
    """The reader that wrote an imported folder; None of anything else."""
    try:
        origin = json.loads((Path(name) / ORIGIN).read_text(encoding="utf-8"))
        return str(origin["reader"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


FLAGS = ("is_occluded", "is_truncated", "is_group_of", "is_depiction", "is_inside")


def source_features(reader: Reader) -> "Features":
    """Features of a reader's rows: the common columns, without `mask` if it has none, and its further ones."""
    from datasets import Features

    extra_features = {name: KINDS[kind](reader.labels) for name, kind in reader.further.items()}
    features = row_features(reader.labels, extra_features)
    return Features({name: features[name] for name in features if name != "mask" or reader.has_masks})


def _outlines(labels: LabelSpace) -> Any:
    from datasets import ClassLabel, Value

    return [
        {
            "class": ClassLabel(names=list(labels.names)),
            "polygons": [[Value("float64")]],
            "counts": Value("string"),
            "size": [Value("int32")],
            "iscrowd": Value("bool"),
        }
    ]


def _boxes(labels: LabelSpace) -> Any:
    from datasets import ClassLabel, Value

    sides = {side: Value("float32") for side in ("xmin", "ymin", "xmax", "ymax")}
    flags = {flag: Value("bool") for flag in FLAGS}
    return [{"class": ClassLabel(names=list(labels.names)), **sides, "confidence": Value("float32"), **flags}]


def _text(labels: LabelSpace) -> Any:
    from datasets import Value

    return Value("string")


def _picture(labels: LabelSpace) -> Any:
    from datasets import Image

    return Image()


# What `Reader.further` may name; `given_instances` reads outlines, `given_boxes` boxes.
KINDS: dict[str, Callable[[LabelSpace], Any]] = {
    "text": _text,
    "picture": _picture,
    "outlines": _outlines,
    "boxes": _boxes,
}
