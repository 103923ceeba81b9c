"""Selection: rules over a table of scores, in DuckDB, so that a table larger than memory works like a small one."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

from sds_hf.report import ClassCount, Report, ScoreSummary, Step, lost_classes
from sds_hf.rules import Rule, literal, quoted
from sds_hf.table import ScoreTable

SELECTION_FILE, REPORT_FILE = "selection.parquet", "report.json"
BINS = 30
QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)


class EmptySelectionError(ValueError):
    """No row is left; the message says which rule took the last and how its column is distributed."""


class Selection:
    """Which rows stay and why.

    Attributes:
        path: Parquet file with `id`, `row`, `kept`, `reason` and, for each family of groups, `<family>_rank`,
            `<family>_group_size` and `<family>_cutoff`; ordered by row.
        report: what was found.
    """

    def __init__(self, path: Path, report: Report, keep_alive: Any = None) -> None:
        self.path, self.report, self._keep_alive = path, report, keep_alive

    @classmethod
    def load(cls, folder: str | Path) -> "Selection":
        """A selection saved in a folder.

        Raises:
            ValueError: if the folder holds none.
        """
        folder = Path(folder)
        if not (folder / SELECTION_FILE).exists():
            raise ValueError(f"{folder} holds no {SELECTION_FILE}: make one with `sds-hf select SCORES --out {folder}`")
        return cls(folder / SELECTION_FILE, Report.load(folder / REPORT_FILE))

    def table(self) -> pa.Table:
        """All of it in memory."""
        return pq.read_table(self.path)

    def kept_rows(self) -> np.ndarray:
        """Row numbers that stay, ascending, int64."""
        table = pq.read_table(self.path, columns=["row", "kept"])
        rows: np.ndarray = table["row"].to_numpy()[table["kept"].to_numpy()]
        return rows

    def apply(self, dataset: Dataset) -> Dataset:
        """The rows of the dataset that stay, in their order.

        Raises:
            ValueError: if the dataset is not the one that was scored.
        """
        if len(dataset) != self.report.rows:
            raise ValueError(f"the selection was made of {self.report.rows} rows; this dataset has {len(dataset)}")
        return dataset.select(self.kept_rows())


class Candidates:
    """The rows a selection works on, as the DuckDB table `candidates`; used by rules.

    Columns: `id`, `row`, what the rules read, `dropped` (a reason, null while the row is in) and `kept_by`.
    """

    def __init__(
        self, source: str, connection: duckdb.DuckDBPyConnection, rules: Sequence[Rule], class_names: Sequence[str]
    ) -> None:
        self._db, self._names = connection, list(class_names)
        self._db.execute(f"CREATE VIEW scores AS SELECT * FROM {source}")
        self.types = {name: kind for name, kind, *_ in self._db.execute("DESCRIBE scores").fetchall()}
        reads = dict.fromkeys(column for rule in rules for column in rule.reads)
        if missing := [column for column in reads if column not in self.types]:
            raise ValueError(f"the rules read {missing}, which the scores do not have; there are {list(self.types)}")
        columns = [
            f"CASE WHEN NOT isnan({quoted(name)}) THEN {quoted(name)} END AS {quoted(name)}"
            if self.is_float(name)
            else quoted(name)
            for name in reads
        ]
        failed = "CASE WHEN status = 'failed' THEN 'dropped:failed' END" if "status" in self.types else "NULL"
        self._db.execute(
            f"""CREATE TABLE candidates AS SELECT {", ".join(["id", '"row"', *columns])},
                CAST({failed} AS VARCHAR) AS dropped, CAST(NULL AS VARCHAR) AS kept_by FROM scores"""
        )

    def step(self, query: str, replaces: Sequence[str] = ()) -> None:
        """Replace the table by the result of a query over it; `replaces` are columns the query adds anew."""
        existing = {name for name, *_ in self._db.execute("DESCRIBE candidates").fetchall()}
        for name in replaces:
            if name in existing:
                self._db.execute(f"ALTER TABLE candidates DROP COLUMN {quoted(name)}")
        self._db.execute(f"CREATE TABLE next AS {query}")
        self._db.execute("DROP TABLE candidates")
        self._db.execute("ALTER TABLE next RENAME TO candidates")

    def value(self, query: str) -> Any:
        """The single value of a query."""
        found = self._db.execute(query).fetchone()
        return found[0] if found else None

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self._db.execute(query).fetchall()

    def is_list(self, column: str) -> bool:
        """Whether the column holds lists."""
        return bool(self.types[column].endswith("[]"))

    def group_name(self, column: str, expression: str) -> str:
        """SQL for what to call a group in a reason: class ids by their names."""
        if column == "classes_present" and self._names:
            names = ", ".join(literal(name) for name in self._names)
            return f"coalesce([{names}][{expression} + 1], CAST({expression} AS VARCHAR))"
        return f"CAST({expression} AS VARCHAR)"

    def save(self, path: Path) -> None:
        """Write the selection."""
        families = [
            name for name, *_ in self.rows("DESCRIBE candidates") if name.endswith(("_rank", "_group_size", "_cutoff"))
        ]
        columns = "".join(f", {quoted(name)}" for name in families)
        self._db.execute(
            f"""COPY (SELECT id, "row", dropped IS NULL AS kept,
                             coalesce(dropped, kept_by, 'kept:all_rules') AS reason{columns}
                      FROM candidates ORDER BY "row") TO {literal(str(path))} (FORMAT PARQUET)"""
        )

    def is_float(self, column: str) -> bool:
        """Whether the column holds scores."""
        return self.types[column] in ("FLOAT", "DOUBLE")


def select(scores: "ScoreTable | Dataset | str | Path", rules: Any, *, out: str | Path | None = None) -> Selection:
    """Choose rows by rules that look at score columns only.

    Args:
        scores: a score table or its folder, a Parquet file or pattern, or a dataset with score columns. Rows are named
            by `id`, or by their number if there is none. `classes` stands in for `classes_present`.
        rules: a `Recipe`, or rules in order.
        out: folder for `selection.parquet` and `report.json`; kept in a temporary place if None.

    Returns:
        The selection, with a reason for every row.

    Raises:
        ValueError: if a rule reads a column that is not there.
        EmptySelectionError: if no row is left.
    """
    rules = list(getattr(rules, "rules", [rules] if isinstance(rules, Rule) else rules))
    scratch = tempfile.TemporaryDirectory(prefix="sds-hf-")
    folder = Path(out) if out is not None else Path(scratch.name)
    folder.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect(":memory:", config={"temp_directory": scratch.name, "preserve_insertion_order": False})
    source, class_names, provenance = _source(scores, connection)
    candidates = Candidates(source, connection, rules, class_names)
    steps = [_apply(rule, candidates) for rule in rules]
    candidates.save(folder / SELECTION_FILE)
    report = _report(candidates, steps, class_names, provenance)
    report.save(folder / REPORT_FILE)
    connection.close()
    return Selection(folder / SELECTION_FILE, report, scratch if out is None else None)


def _source(scores: Any, connection: duckdb.DuckDBPyConnection) -> tuple[str, list[str], dict[str, Any]]:
    """SQL for the scores, class names by id, and where the scores come from."""
    if isinstance(scores, Dataset):
        connection.register("given", _score_columns(scores))
        feature = scores.features.get("classes")
        names = getattr(getattr(feature, "feature", feature), "names", None) or []
        return "given", list(names), {}
    if isinstance(scores, (str, Path)) and not Path(scores).is_dir():
        return f"read_parquet({literal(str(scores))})", [], {}
    table = scores if isinstance(scores, ScoreTable) else ScoreTable.load(scores)
    paths = ", ".join(literal(str(path)) for path in table.paths)
    return f"read_parquet([{paths}])", list(table.manifest["labels"]["names"]), table.provenance()


def _score_columns(dataset: Dataset) -> pa.Table:
    """All columns of a dataset but images, with `id`, `row` and the classes under the names that rules use."""
    names = [name for name, feature in dataset.features.items() if type(feature).__name__ != "Image"]
    table = dataset.select_columns(names).with_format("arrow")[:]
    rows = pa.array(np.arange(len(dataset)))
    table = table.append_column("row", rows) if "row" not in names else table
    if "id" not in names:
        table = table.append_column("id", rows.cast(pa.string()))
    if "classes" in names and "classes_present" not in names:
        classes = table["classes"].cast(pa.list_(pa.int32()))
        table = table.append_column("classes_present", classes)
    if "classes_present" in table.column_names and "num_classes_present" not in names:
        counts = pa.compute.list_value_length(table["classes_present"])
        table = table.append_column("num_classes_present", counts)
    return table


def _apply(rule: Rule, candidates: Candidates) -> Step:
    """Apply a rule and count.

    Raises:
        EmptySelectionError: if it takes the last row.
    """
    count = "SELECT count(*) FROM candidates WHERE dropped IS NULL"
    reasons = "SELECT dropped, count(*) FROM candidates WHERE dropped IS NOT NULL GROUP BY 1"
    before, old = candidates.value(count), dict(candidates.rows(reasons))
    rule.apply(candidates)
    after, new = candidates.value(count), dict(candidates.rows(reasons))
    if not after:
        column = rule.reads[0]
        values = candidates.rows(f"SELECT quantile_cont({quoted(column)}, {list(QUANTILES)}) FROM candidates")[0][0]
        found = (
            ", ".join(f"{q:.0%} {value:.3g}" for q, value in zip(QUANTILES, values, strict=True))
            if values
            else "only nulls"
        )
        raise EmptySelectionError(
            f"nothing is left after {rule.label!r} ({before} rows before it); quantiles of {column}: {found}. "
            f'A quantile as threshold keeps a share whatever the scale: above: "q0.2"'
        )
    dropped = {
        reason: total - old.get(reason, 0) for reason, total in sorted(new.items()) if total > old.get(reason, 0)
    }
    return Step(rule=rule.label, before=before, after=after, dropped=dropped)


def _report(
    candidates: Candidates, steps: list[Step], class_names: Sequence[str], provenance: dict[str, Any]
) -> Report:
    """Counts and distributions after all rules."""
    totals = candidates.rows("SELECT count(*), count(*) FILTER (dropped IS NULL) FROM candidates")[0]
    reasons = candidates.rows(
        "SELECT coalesce(dropped, kept_by, 'kept:all_rules'), count(*) FROM candidates GROUP BY 1 ORDER BY 1"
    )
    classes = _class_counts(candidates, class_names)
    failures = _failures(candidates)
    summaries = {
        name: _summary(candidates, name)
        for name in candidates.types
        if candidates.is_float(name) and name not in ("row",)
    }
    return Report(
        rows=totals[0],
        kept=totals[1],
        failed=dict(reasons).get("dropped:failed", 0),
        failures=failures,
        steps=steps,
        reasons=dict(reasons),
        classes=classes,
        scores=summaries,
        provenance=provenance,
        warnings=lost_classes(classes),
    )


def _class_counts(candidates: Candidates, class_names: Sequence[str]) -> list[ClassCount]:
    if "classes_present" not in candidates.types:
        return []
    found = candidates.rows(
        """SELECT class_id, count(*), count(*) FILTER (kept) FROM (
               SELECT unnest(s.classes_present) AS class_id, c.dropped IS NULL AS kept
               FROM scores s JOIN candidates c USING ("row")) GROUP BY 1 ORDER BY 1"""
    )
    names = dict(enumerate(class_names))
    return [ClassCount(id=i, name=names.get(i, str(i)), before=before, after=after) for i, before, after in found]


def _failures(candidates: Candidates) -> list[str]:
    if "error" not in candidates.types:
        return []
    return [
        f"{i}: {error}"
        for i, error in candidates.rows('SELECT id, error FROM scores WHERE error IS NOT NULL ORDER BY "row" LIMIT 5')
    ]


def _summary(candidates: Candidates, column: str) -> ScoreSummary:
    """Distribution of a score among all candidates and among the kept."""
    name = quoted(column)
    finite = f'(SELECT "row", {name} AS value FROM scores WHERE isfinite({name}))'
    nulls = candidates.value(f"SELECT count(*) - count(CASE WHEN isfinite({name}) THEN 1 END) FROM scores")
    quantiles = candidates.value(f"SELECT quantile_cont(value, {list(QUANTILES)}) FROM {finite}")
    if not quantiles:
        return ScoreSummary(nulls=nulls)
    low, high = quantiles[0], quantiles[-1]
    width = (high - low) / BINS or 1.0
    counts = np.zeros((2, BINS), int)
    query = f"""SELECT least(greatest(CAST(floor((value - {low!r}) / {width!r}) AS INT), 0), {BINS - 1}) AS bin,
                       count(*), count(*) FILTER (c.dropped IS NULL)
                FROM {finite} JOIN candidates c USING ("row") GROUP BY 1"""
    for place, total, kept in candidates.rows(query):
        counts[:, place] = total, kept
    return ScoreSummary(
        nulls=nulls,
        quantiles={f"{q:g}": float(value) for q, value in zip(QUANTILES, quantiles, strict=True)},
        edges=[low + width * i for i in range(BINS + 1)],
        all=counts[0].tolist(),
        kept=counts[1].tolist(),
    )
