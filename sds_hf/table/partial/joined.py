"""The columns of joined tables: which table each is from, and what none of them has computed."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sds_hf.scores.base.catalog import score_classes
from sds_hf.table.manifest import NEEDED
from sds_hf.table.partial.needs import HIGH, LOW, SKIPPED

if TYPE_CHECKING:
    from sds_hf.table.score_table import ScoreTable

FRAME = ("id", "row", "status", "error")  # what a table has besides scores


def columns_of(entry: Mapping[str, Any]) -> list[str]:
    """Columns that a score of a manifest writes, with some settings at least; none of one that is not known here."""
    score = score_classes().get(entry["score"])
    return [*score.columns, *score.optional_columns] if score else []


class JoinedColumns:
    """The columns of tables that become one, in order.

    A score that several tables have is that of the last one. Where they have it with the same settings, a value that
    the last one skips is that of an earlier one.

    Args:
        tables: of the same rows.

    Attributes:
        scores: what manifests say of each score, in order.
        needed: what the manifest of the joined table says that its values were needed for; None if none is skipped.
    """

    def __init__(self, tables: "Sequence[ScoreTable]") -> None:
        entries = [{entry["score"]: entry for entry in table.manifest["scores"]} for table in tables]
        merged = {name: entry for one in entries for name, entry in one.items()}
        self.scores = list(merged.values())
        # Columns that scores write only while values are skipped, with their types and the tables that may have them.
        self._beside = {
            column: (kind, [number for number, one in enumerate(entries) if one.get(name) == merged[name]])
            for name in merged
            if name in score_classes()
            for column, kind in score_classes()[name].partial_columns.items()
        }
        self._sources = self._in_order(tables, entries)
        skipped = [_skipped_anywhere(table) for table in tables]
        skipping = [
            max(table_numbers)
            for name, table_numbers in self._sources.items()
            if all(name in skipped[number] for number in table_numbers)
        ]
        self.needed = tables[max(skipping)].manifest[NEEDED] if skipping else None

    def _in_order(
        self, tables: "Sequence[ScoreTable]", entries: Sequence[Mapping[str, Mapping[str, Any]]]
    ) -> dict[str, list[int]]:
        """The tables that a column is from, by column: all that have it with the settings of the last one."""
        sources, scores = dict[str, list[int]](), dict[str, Mapping[str, Any]]()
        for number, (table, stored) in enumerate(zip(tables, entries, strict=True)):
            schema = pq.read_schema(table.paths[0])
            names = [name for name in schema.names if name not in (*FRAME, SKIPPED, *self._beside)]
            for score, entry in stored.items():
                if scores.get(score, entry) != entry:
                    for name in columns_of(entry) or names:
                        sources.pop(name, None)
            scores |= stored
            for name in names:
                sources.setdefault(name, []).append(number)
        known = [name for entry in self.scores for name in columns_of(entry) if name in sources]
        return {name: sources[name] for name in dict.fromkeys([*known, *sources])}

    def rows(self, tables: Sequence[pa.Table]) -> pa.Table:
        """Rows of the joined table; one that failed in a table has failed, and has no values.

        Args:
            tables: the same rows of each table.
        """
        failed = np.logical_or.reduce([pc.equal(table["status"], "failed").to_numpy() for table in tables])
        columns, lacking = dict[str, Any](), dict[str, np.ndarray]()
        skipped = [skipped_rows(table) for table in tables]
        for name, table_numbers in self._sources.items():
            none = np.zeros(len(failed), bool)
            versions = [(tables[number][name], skipped[number].get(name, none)) for number in table_numbers]
            columns[name], lacking[name] = _latest(versions)
        if self.needed is not None:
            columns |= {name: self._beside_values(name, tables, lacking) for name in self._beside}
        kept = {name: pc.if_else(~failed, column, pa.scalar(None, column.type)) for name, column in columns.items()}
        told = skipped_and_status(lacking, failed)
        if self.needed is None:
            del told[SKIPPED]
        joined = {"id": tables[0]["id"], "row": tables[0]["row"], **kept, **told}
        joined["error"] = pc.coalesce(*(table["error"] for table in tables))
        return pa.table({name: column.cast(_written(column.type)) for name, column in joined.items()})

    def _beside_values(self, name: str, tables: Sequence[pa.Table], lacking: Mapping[str, np.ndarray]) -> Any:
        """A column of intervals or of what was done for them: where tables differ, the one that knows more."""
        kind, table_numbers = self._beside[name]
        versions = [tables[number][name] for number in table_numbers if name in tables[number].column_names]
        if not versions:
            return pa.nulls(len(tables[0]), kind)
        values = pc.min_element_wise(*versions) if name.endswith(HIGH) else pc.max_element_wise(*versions)
        rows = next((lacking[name.removesuffix(end)] for end in (LOW, HIGH) if name.removesuffix(end) in lacking), None)
        return values if rows is None else pc.if_else(rows, values, pa.scalar(None, kind))


def _latest(versions: Sequence[tuple[Any, np.ndarray]]) -> tuple[Any, np.ndarray]:
    """Values of the last table, and where it skips them of one before; and which none has, (rows,) bool."""
    *earlier, (values, lacking) = versions
    for others, others_lacking in reversed(earlier):
        if lacking.any():
            values, lacking = pc.if_else(lacking, others, values), lacking & others_lacking
    return values, lacking


def skipped_and_status(lacking: Mapping[str, np.ndarray], failed: np.ndarray) -> dict[str, pa.Array]:
    """The columns with the names of what a row skips, and with its status.

    Args:
        lacking: which rows skip a column, (rows,) bool, by column.
        failed: rows that could not be scored, (rows,) bool.
    """
    names = [[name for name, rows in lacking.items() if rows[row]] for row in range(len(failed))]
    statuses = ["failed" if fails else "skipped" if row else "ok" for fails, row in zip(failed, names, strict=True)]
    cells = [None if fails else row for fails, row in zip(failed, names, strict=True)]
    return {SKIPPED: pa.array(cells, pa.list_(pa.string())), "status": pa.array(statuses, pa.string())}


def skipped_rows(table: pa.Table) -> dict[str, np.ndarray]:
    """Which rows skip a column, (rows,) bool, by column; of none that nobody skips."""
    cells = table[SKIPPED].to_pylist() if SKIPPED in table.column_names else []
    names = dict.fromkeys(name for cell in cells for name in cell or ())
    return {name: np.array([name in (cell or ()) for cell in cells], bool) for name in names}


def _skipped_anywhere(table: "ScoreTable") -> set[str]:
    """Columns of a table of which a row skips the value."""
    parts = (pq.read_table(path, columns=[SKIPPED]) for path in table.paths) if table.skips else ()
    return {name for part in parts for name in skipped_rows(part)}


def _written(kind: pa.DataType) -> pa.DataType:
    """A type as scores write it: Parquet calls the items of lists otherwise."""
    if pa.types.is_list(kind):
        return pa.list_(_written(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct({field.name: _written(field.type) for field in kind})
    return kind
