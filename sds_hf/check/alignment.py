"""The rows of two versions side by side, by id, in DuckDB, so that sets larger than memory work like small ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from sds_hf.check.versions import Version
from sds_hf.data.labels import LabelSpace
from sds_hf.selection.duck import CLASSES, Relation, classes_in, is_list_of_ids, literal, parquet_relation
from sds_hf.selection.report import ALIKE, OF_ONE_ROW
from sds_hf.selection.source import beside_partial
from sds_hf.table.partial.needs import SKIPPED

SIDES = ("a", "b")
NOT_SCORES = ("id", "row", "kept", "reason", "status", "error")


class Alignment:
    """Two versions, joined by id.

    The table `aligned` has a line an id of either: `in_a`, `kept_a`, `reason_a`, and for score number i `s<i>_a`, null
    where it is no finite number, and `skips<i>_a`, whether it was not computed, as no rule needed it; the same for `b`.
    The tables `a` and `b` have `id`, `kept`, `classes_present`.

    Args:
        connection: an empty database.
        before: version `a`.
        after: version `b`.

    Attributes:
        scores: score columns in both versions, by their number in `aligned`.
        only: score columns of one version, by version.
        has_classes: whether a version names the classes of its rows.

    Raises:
        ValueError: if a version has no ids or one twice.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, before: Version, after: Version) -> None:
        self._db = connection
        self.has_classes: dict[str, bool] = {}
        score_columns = {side: self._load(side, version) for side, version in zip(SIDES, (before, after), strict=True)}
        self.scores = [name for name in score_columns["a"] if name in score_columns["b"]]
        self.only = {side: [name for name in score_columns[side] if name not in self.scores] for side in SIDES}
        columns = [
            f"{side}.id IS NOT NULL AS in_{side}, coalesce({side}.kept, false) AS kept_{side}, "
            f"{side}.reason AS reason_{side}"
            for side in SIDES
        ]
        for number, name in enumerate(self.scores):
            values = {side: f"{side}.s{score_columns[side].index(name)}" for side in SIDES}
            columns += [
                f"CASE WHEN isfinite({score}) THEN CAST({score} AS DOUBLE) END AS s{number}_{side}"
                for side, score in values.items()
            ]
            columns += [
                f"coalesce(list_contains({side}.skips, {literal(name)}), false) AS skips{number}_{side}"
                for side in SIDES
            ]
        self._db.execute(f"CREATE TABLE aligned AS SELECT id, {', '.join(columns)} FROM a FULL JOIN b USING (id)")

    def _load(self, side: str, version: Version) -> list[str]:
        """Make the view of a version; returns its scores."""
        name, files = version.side.name, parquet_relation(self._db, version.tables)
        columns, types = files.columns, files.types
        if not {"id", "row"} & set(types):
            raise ValueError(f"the rows of {name} have no ids to match them by: it has neither scores nor a column id")
        decided = types.get("kept") == "BOOLEAN"
        reason = columns["reason"] if decided and types.get("reason") == "VARCHAR" else "CAST(NULL AS VARCHAR)"
        classes = next((name for name in (CLASSES, "classes") if is_list_of_ids(types.get(name, ""))), None)
        self.has_classes[side] = classes is not None
        class_list = _class_list(classes, columns, version) if classes else ""
        skips = columns[SKIPPED] if types.get(SKIPPED) == "VARCHAR[]" else "CAST(NULL AS VARCHAR[])"
        others = {*NOT_SCORES, *(beside_partial(columns) if SKIPPED in types else ())}
        scores = [
            column
            for column, kind in types.items()
            if kind in ("FLOAT", "DOUBLE") and column not in others and not _is_of_group(column, types)
        ]
        selected = [
            f"CAST({columns.get('id') or columns['row']} AS VARCHAR) AS id",
            f"{columns['kept'] if decided else 'true'} AS kept",
            f"regexp_replace({reason}, {literal(OF_ONE_ROW)}, {literal(ALIKE)}) AS reason",
            *([f"{class_list} AS {CLASSES}"] if classes else []),
            f"{skips} AS skips",
            *(f"{columns[score]} AS s{number}" for number, score in enumerate(scores)),
        ]
        self._db.execute(f"CREATE VIEW {side} AS SELECT {', '.join(selected)} FROM {files.sql}")
        if twice := self.fetch(
            f"SELECT id FROM {side} GROUP BY id HAVING count(*) > 1 OR id IS NULL ORDER BY 1 LIMIT 1"
        ):
            what = "a row without an id" if twice[0][0] is None else f"the id {twice[0][0]!r} more than once"
            raise ValueError(f"{name} has {what}; rows are matched by id")
        return scores

    def counts(self, conditions: Mapping[str, str]) -> dict[str, int]:
        """How many lines of `aligned` fulfil each condition."""
        counted = ", ".join(f"count(*) FILTER ({where})" for where in conditions.values())
        return dict(zip(conditions, self.fetch(f"SELECT {counted} FROM aligned")[0], strict=True))

    def count(self, where: str) -> int:
        """How many lines of `aligned` fulfil a condition."""
        return self.counts({"": where})[""]

    def fetch(self, query: str) -> list[tuple[Any, ...]]:
        """All rows of a query that gives few."""
        return self._db.execute(query).fetchall()

    def files(self, paths: Sequence[Path]) -> Relation:
        """The rows of Parquet files."""
        return parquet_relation(self._db, paths)

    def run(self, command: str) -> None:
        """Carry out a command."""
        self._db.execute(command)


def _class_list(name: str, columns: Mapping[str, str], version: Version) -> str:
    """SQL of the classes a row shows; ids that no score has looked at may repeat and stand for nothing."""
    labels = LabelSpace.from_names(version.names) if version.names else None
    return columns[name] if name == CLASSES else classes_in(columns[name], labels)[0]


def _is_of_group(name: str, types: Mapping[str, str]) -> bool:
    """Whether a selection put the column beside the scores: the last rank that stays of `<family>_rank`."""
    return name.endswith("_cutoff") and f"{name.removesuffix('_cutoff')}_rank" in types
