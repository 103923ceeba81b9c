"""What a selection reads: a score table, Parquet files or a dataset, as one relation in DuckDB."""

import glob
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from sds_hf.data.cells import READABLE, column_cells, readable, stored_cells
from sds_hf.data.content import content_digest
from sds_hf.data.labels import IGNORE_INDEX, LabelSpace, check_background, class_names
from sds_hf.scores.base.add import recorded_scores
from sds_hf.scores.base.catalog import score_classes
from sds_hf.scores.base.score import score_cells
from sds_hf.scores.classes_present import ClassesPresent
from sds_hf.selection.duck import (
    CLASSES,
    COUNT,
    Relation,
    arrow_relation,
    classes_in,
    is_list_of_ids,
    parquet_relation,
)
from sds_hf.table.manifest import versions
from sds_hf.table.partial.needs import SKIPPED
from sds_hf.table.score_table import ScoreTable

if TYPE_CHECKING:
    from datasets import Dataset

MASK_COLUMNS = ("mask", "classes", "id")  # what a mask shows, and what to call its row
MASKS_AT_ONCE = 256
Teller = Literal["column", "masks", "lists"]
UNNAMED = LabelSpace(
    name="unnamed", names=("background", *map(str, range(1, IGNORE_INDEX))), prompts=(), background_prompts=()
)
UNNAMED_NOTE = (
    "no names of classes are known, so index 0 of the masks was taken for the background and 255 for what is ignored: "
    "a column `classes` of ClassLabel says otherwise"
)


@dataclass(frozen=True)
class Scores:
    """Rows with scores.

    Attributes:
        sql: of the relation that has them.
        columns: SQL of what is known of a row, by name: columns of the user's, and `id`, `row`, `classes_present` and
            `num_classes_present` where these follow from others.
        types: DuckDB's type of each; Arrow's of a column that DuckDB cannot take, which has no SQL.
        halves: columns of float16.
        number: SQL of a row's number.
        problem: SQL of why a row could not be scored; null if it could.
        class_names: by index; empty if they are not known.
        provenance: where the scores come from, as `ScoreTable.provenance` says it; empty if nothing is known.
        notes: what a person should know of how this was read.
        skipped: SQL of the names of a row's columns that were not computed, because nobody needed them; empty if all
            were.
        partial: columns that stand beside those of which some are skipped, and are no scores.
    """

    sql: str
    columns: dict[str, str]
    types: dict[str, str]
    halves: frozenset[str]
    number: str
    problem: str
    class_names: list[str]
    provenance: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    skipped: str = ""
    partial: frozenset[str] = frozenset()

    def check_whole(self, purpose: str) -> None:
        """Refuse rows of which values were skipped.

        Args:
            purpose: what needs all values.

        Raises:
            ValueError: says how to compute the rest.
        """
        if self.skipped:
            raise ValueError(
                f"{purpose} needs all scores of all rows, and some of these were skipped, as `{SKIPPED}` says: compute "
                "the rest with `score_table`, or `sds-hf score` and its option `all`"
            )


def open_scores(scores: Any, connection: duckdb.DuckDBPyConnection) -> Scores:
    """Scores of any kind. Where no column `classes_present` says what masks show, the masks themselves are read.

    Args:
        scores: a score table or its folder, a Parquet file or pattern, or a dataset.
        connection: an empty database.

    Raises:
        ValueError: if it is none of these, or no mask can be read.
    """
    from datasets import Dataset

    if isinstance(scores, Dataset):
        return _of_dataset(scores, connection)
    if not isinstance(scores, (str, Path, ScoreTable)):
        splits = f" with the splits {list(scores)}; choose one" if isinstance(scores, dict) else ""
        kind = type(scores).__name__
        raise ValueError(f"select takes a score table, Parquet files or a Dataset, not {kind}{splits}")
    if isinstance(scores, str) and "://" in scores:
        scores = ScoreTable.load(scores)
    if isinstance(scores, (str, Path)) and not Path(scores).is_dir():
        return _of_files(str(scores), connection)
    table = scores if isinstance(scores, ScoreTable) else ScoreTable.load(scores)
    relation = parquet_relation(connection, table.paths)
    return _known(
        relation, list(table.manifest["labels"]["names"]), relation.columns["row"], "column", table.provenance()
    )


def _of_dataset(dataset: "Dataset", connection: duckdb.DuckDBPyConnection) -> Scores:
    """All columns but images. Rows are numbered in their order; a column `row` is the user's own."""
    from datasets.features.features import require_decoding

    columns = [name for name, feature in dataset.features.items() if not require_decoding(feature)]
    table = dataset.data.table.select(columns)
    if dataset._indices is not None:  # all at once; `datasets` would take row by row
        table = table.take(dataset._indices.column(0))
    names = class_names(dataset.features)
    masks = None
    if "mask" in dataset.column_names and CLASSES not in columns:
        masks = _seen.get(dataset)
        masks = _seen[dataset] = _classes_in_masks(_cells_of_dataset(dataset), names) if masks is None else masks
    relation = arrow_relation(connection, table, "dataset")
    return _numbered(relation, connection, names, masks, _provenance(dataset))


def _provenance(dataset: "Dataset") -> dict[str, Any]:
    """What is known of where scores in a dataset come from, and what tells its rows, like `ScoreTable.provenance`."""
    columns = [name for name in READABLE if name in dataset.column_names]
    source = {"name": dataset.info.dataset_name or "", "reader": None, "rows": len(dataset)}
    source |= {"sha256": content_digest(dataset, columns), "columns": columns}
    return {"source": source, **recorded_scores(dataset), "versions": versions()}


_seen: "WeakKeyDictionary[Dataset, pa.Table]" = WeakKeyDictionary()  # masks are read once, thresholds tried often


def _of_files(pattern: str, connection: duckdb.DuckDBPyConnection) -> Scores:
    """Parquet files, whose rows are numbered in the files' order unless they say `row`."""
    from datasets import Features

    paths = [pattern] if Path(pattern).is_file() else sorted(glob.glob(pattern))  # a file's name is no pattern
    if not paths:
        raise ValueError(f"no score table and no Parquet file at {pattern}")
    schema = pq.read_schema(paths[0])
    classes = pa.schema([column for column in schema if column.name == "classes"], metadata=schema.metadata)
    names = class_names(Features.from_arrow_schema(classes))
    has_masks = "mask" in schema.names and CLASSES not in schema.names
    masks = _classes_in_masks(_cells_of_files(paths), names) if has_masks else None
    relation = parquet_relation(connection, paths)
    if "row" in schema.names and pa.types.is_integer(schema.field("row").type):
        return _known(_joined(relation, connection, masks), names, relation.columns["row"], _told_by(masks))
    return _numbered(relation, connection, names, masks)


def _cells_of_dataset(dataset: "Dataset") -> Iterator[dict[str, list[Any]]]:
    stored = readable(dataset, MASK_COLUMNS)
    for start in range(0, len(stored), MASKS_AT_ONCE):
        yield stored_cells(stored, range(start, min(start + MASKS_AT_ONCE, len(stored))))


def _cells_of_files(paths: Sequence[str]) -> Iterator[dict[str, list[Any]]]:
    for path in paths:
        with pq.ParquetFile(path) as file:
            columns = [name for name in MASK_COLUMNS if name in file.schema_arrow.names]
            for batch in file.iter_batches(MASKS_AT_ONCE, columns=columns):
                part = pa.Table.from_batches([batch])
                yield {name: column_cells(part[name]) for name in columns}


def _classes_in_masks(cells: Iterable[Mapping[str, list[Any]]], names: Sequence[str]) -> pa.Table:
    """What masks show, as `shown` (lists of ids), and what is wrong with those that cannot be read, as `problem`.

    Raises:
        ValueError: if none can be read, or the names leave open what 0 is.
    """
    if names:
        check_background(names)
    labels = LabelSpace.from_names(names) if names else UNNAMED
    classes, problems = list[Any](), list[str | None]()
    for batch in cells:
        columns, errors = score_cells([ClassesPresent()], batch, labels)
        problems += [errors.get(row) for row in range(len(columns[CLASSES]))]
        classes += columns[CLASSES]
    if problems and all(problems):
        raise ValueError(f"groups are made of what the masks show, but none can be read: {problems[0]}")
    return pa.table({"shown": pa.array(classes, pa.list_(pa.int32())), "problem": pa.array(problems, pa.string())})


def _joined(relation: Relation, connection: duckdb.DuckDBPyConnection, masks: pa.Table | None) -> Relation:
    """The relation with what its masks show beside it."""
    if masks is None:
        return relation
    connection.register("masks", masks)
    return Relation(
        f"(SELECT * FROM {relation.sql} POSITIONAL JOIN masks)", relation.columns, relation.types, relation.halves
    )


def _numbered(
    relation: Relation,
    connection: duckdb.DuckDBPyConnection,
    names: list[str],
    masks: pa.Table | None,
    provenance: Mapping[str, Any] | None = None,
) -> Scores:
    joined = _joined(relation, connection, masks)
    sql = f"(SELECT *, row_number() OVER () - 1 AS number FROM {joined.sql})"
    numbered = Relation(sql, joined.columns, joined.types, joined.halves)
    return _known(numbered, names, "number", _told_by(masks), provenance)


def _told_by(masks: pa.Table | None) -> Teller:
    return "lists" if masks is None else "masks"


def _known(
    relation: Relation, names: list[str], number: str, told_by: Teller, provenance: Mapping[str, Any] | None = None
) -> Scores:
    """What is known of each row of a relation.

    Args:
        relation: the rows.
        names: of the classes.
        number: SQL of a row's number.
        told_by: what says which classes a row shows: a `column` that a score wrote, the `masks` beside the relation, or
            `lists` of the user's, in which ids may repeat and stand for nothing.
        provenance: where the scores come from, if it is known.
    """
    columns = {"id": f"CAST({number} AS VARCHAR)", "row": number} | relation.columns
    types = {"id": "VARCHAR", "row": "BIGINT"} | relation.types
    problems = []
    if types.get("status") == "VARCHAR":
        error = columns["error"] if types.get("error") == "VARCHAR" else "NULL"
        problems.append(f"CASE WHEN {columns['status']} = 'failed' THEN coalesce({error}, '') END")
    raw = next((name for name in (CLASSES, "classes") if is_list_of_ids(types.get(name, ""))), None)
    if told_by == "masks":
        problems.append("problem")
        columns[CLASSES], types[CLASSES] = "shown", "INTEGER[]"
    elif told_by == "lists" and raw:
        columns[CLASSES], problem = classes_in(columns[raw], LabelSpace.from_names(names) if names else None)
        types[CLASSES] = "BIGINT[]"
        problems.append(problem)
    if is_list_of_ids(types.get(CLASSES, "")):
        columns[COUNT], types[COUNT] = f"len({columns[CLASSES]})", "BIGINT"
    return Scores(
        sql=relation.sql,
        columns=columns,
        types=types,
        halves=relation.halves,
        number=number,
        problem=f"CAST(coalesce({', '.join(['NULL', *problems, 'NULL'])}) AS VARCHAR)",
        class_names=names,
        provenance=dict(provenance or {}),
        notes=[UNNAMED_NOTE] if told_by == "masks" and not names else [],
        skipped=columns[SKIPPED] if (skips := types.get(SKIPPED) == "VARCHAR[]") else "",
        partial=beside_partial(columns) if skips else frozenset(),
    )


def beside_partial(columns: Iterable[str]) -> frozenset[str]:
    """Those of some columns that scores write beside values that were computed in part, and that are no scores."""
    kinds = (name for score in score_classes().values() for name in score.partial_columns)
    return frozenset({*kinds, SKIPPED} & {*columns})


def scores_beside(folder: Path, table_sha256: str | None) -> Path | None:
    """The score table that lies beside a selection's folder and that it was made of; None if none does.

    Args:
        folder: of the selection.
        table_sha256: of the table, as the selection's report has it.
    """
    for manifest in sorted(folder.absolute().parent.glob("*/manifest.json")):
        with suppress(ValueError, KeyError):
            if ScoreTable.load(manifest.parent).holds(table_sha256):
                return manifest.parent
    return None
