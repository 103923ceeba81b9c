"""Selection: rules over a table of scores, in DuckDB, so that a table larger than memory works like a small one."""

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sds_hf.files import check_own, named_folder, new_folder, read_sha256, restore_folder, write_whole
from sds_hf.screen import Block, Screen
from sds_hf.selection.candidates import Candidates
from sds_hf.selection.duck import database, literal
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.report import Report, Step
from sds_hf.selection.rules import Rule, missed_target
from sds_hf.selection.rules.base import SkippedScoresError
from sds_hf.selection.source import open_scores
from sds_hf.selection.summary import cutoffs, differences, make_report, quantiles
from sds_hf.table.score_table import ScoreTable

if TYPE_CHECKING:
    from datasets import Dataset

ROWS_AT_ONCE = 1 << 16
BYTES_PER_ROW = 300  # of the tables of a selection at their largest
UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
FILES = SELECTION_FILE, REPORT_FILE, RECIPE_FILE = "selection.parquet", "report.json", "recipe.yaml"


class EmptySelectionError(ValueError):
    """No row is left; the message says which rule took the last and how its column is distributed."""


class Selection(Screen):
    """Which rows stay and why.

    Attributes:
        path: Parquet file with `id`, `row`, `kept`, `reason` and, for each family of groups, `<family>_rank`,
            `<family>_group_size` and `<family>_cutoff`; ordered by row.
        report: what was found.

    Examples:
        >>> selection = Selection.load("selection")
        >>> selection.apply(candidates).num_rows, selection.report.kept
        (14, 14)
        >>> selection.rows("dropped:boundary")["id"].to_pylist()[:2]
        ['0_000007', '0_000010']
    """

    def __init__(self, path: Path, report: Report) -> None:
        self.path, self.report = path, report

    @classmethod
    def load(cls, folder: str | Path) -> "Selection":
        """A selection saved in a folder.

        Raises:
            ValueError: if the folder holds none, or its files are not of one selection.
        """
        folder = Path(folder)
        restore_folder(folder)
        if not (folder / SELECTION_FILE).exists():
            what = f"{folder} holds no {SELECTION_FILE}" if folder.is_dir() else f"there is no folder {folder}"
            raise ValueError(f"{what}: `sds-hf select` makes a selection")
        report = Report.load(folder / REPORT_FILE)
        for name, digest in report.files.items():
            if not (folder / name).exists() or read_sha256(folder / name) != digest:
                raise ValueError(
                    f"{folder / name} is not the one that {REPORT_FILE} belongs to: it was changed, or is of another "
                    "selection. Select again; a recipe that was edited is given to `select` anew"
                )
        return cls(folder / SELECTION_FILE, report)

    def screen_title(self) -> str:
        """See `Screen.screen_title`."""
        share = f" ({self.report.kept / self.report.rows:.1%})" if self.report.rows else ""
        return f"Selection: {self.report.kept:,} of {self.report.rows:,} rows kept{share}, in {self.path.parent}"

    def screen_blocks(self) -> list[Block]:
        """See `Screen.screen_blocks`."""
        reasons = sorted(self.report.reasons.items(), key=lambda reason: -reason[1])
        return [
            self.report.funnel,
            Block("Reasons", ("reason", "rows"), [[reason, f"{count:,}"] for reason, count in reasons]),
            Block("Worth a look", ("",), [[warning] for warning in self.report.warnings]),
        ]

    def table(self) -> pa.Table:
        """All of it in memory."""
        return pq.read_table(self.path)

    def rows(self, reason: str | None = None, *, kept: bool | None = None) -> pa.Table:
        """The rows of a reason, with their ranks in groups; `sds_hf.why` says more of one.

        Args:
            reason: as in the report, e.g. `dropped:pcs`; its beginning, e.g. `kept:class`, has all that begin so.
            kept: only rows that stay, or only those that leave.

        Raises:
            ValueError: if no row has such a reason; says which there are.
        """
        reasons = list(self.report.reasons)
        fitting = [name for name in reasons if reason is None or name == reason]
        fitting = fitting or [name for name in reasons if name.startswith(str(reason))]
        if not fitting:
            raise ValueError(f"no row has the reason {reason!r}; there are {reasons}")
        is_fitting = pc.is_in(pc.field("reason"), pa.array(fitting))
        return pq.read_table(self.path, filters=is_fitting if kept is None else is_fitting & (pc.field("kept") == kept))

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Some of its columns, a part of the rows at a time, in order."""
        with pq.ParquetFile(self.path) as file:
            yield from file.iter_batches(ROWS_AT_ONCE, columns=list(columns))

    def kept_rows(self) -> np.ndarray:
        """Row numbers that stay, ascending, int64."""
        kept = [batch["row"].filter(batch["kept"]).to_numpy() for batch in self.batches(["row", "kept"])]
        return np.concatenate([np.empty(0, np.int64), *kept])

    def check_free(self, folder: str | Path) -> None:
        """Refuse a folder whose files are somebody else's; see `save`.

        Raises:
            ValueError: names the file.
        """
        check_own(Path(folder), FILES, _is_selection(Path(folder)))

    def save(self, folder: str | Path) -> "Selection":
        """Keep the selection in a folder, in place of an earlier one there.

        Returns:
            The selection as it lies there.

        Raises:
            ValueError: if the folder holds files of these names that no selection wrote.
        """
        target = named_folder(Path(folder))
        self.check_free(target)
        with new_folder(target, replace=True, own=FILES) as part:
            for name in FILES:
                shutil.copy(self.path.parent / name, part / name)
        return Selection(target / SELECTION_FILE, self.report)

    def apply(self, dataset: "Dataset") -> "Dataset":
        """The rows of the dataset that stay, in their order.

        Raises:
            ValueError: if the dataset is not the one that was scored.
        """
        self.check_length(dataset)
        rows = self.kept_rows()
        kept = dataset.select(rows)
        if "id" in kept.column_names:
            self._check_ids(kept, rows)
        return kept

    def check_length(self, dataset: "Dataset") -> None:
        """Refuse, by a ValueError, a dataset that has not as many rows as there were candidates."""
        if len(dataset) != self.report.rows:
            raise ValueError(
                f"the selection was made of {self.report.rows} rows; this dataset has {len(dataset)}: give the one "
                "that was scored"
            )

    def look(self, dataset: Any = None, **options: Any) -> Any:
        """The rows that matter, with their pictures, as a page; a notebook shows it. See `sds_hf.look`."""
        import sds_hf  # a room that comes after this one has it

        return sds_hf.look(self, dataset, **options)

    def _check_ids(self, kept: "Dataset", rows: np.ndarray) -> None:
        """Refuse rows of other ids, unless they had none when they were scored and are named by their numbers."""
        names, start, numbered = kept.select_columns("id").with_format("arrow"), 0, True
        different: tuple[Any, str, str] | None = None
        for batch in self.batches(["id", "kept"]):
            ids = batch["id"].filter(batch["kept"]).to_pylist()
            here = names[start : start + len(ids)]["id"].to_pylist()
            for row, old, new in zip(rows[start : start + len(ids)], ids, map(str, here), strict=True):
                numbered = numbered and old == str(row)
                different = different or (None if old == new else (row, old, new))
            start += len(ids)
        if different and not numbered:
            row, old, new = different
            raise ValueError(f"the selection was made of other rows: row {row} was {old!r}, here it is {new!r}")


def select(
    scores: "ScoreTable | Dataset | str | Path",
    rules: Recipe | Rule | Sequence[Rule] | str | Path,
    *,
    out: str | Path | None = None,
    memory_limit: str | None = None,
    scratch: str | Path | None = None,
) -> Selection:
    """Choose rows by rules that look at score columns only.

    Rows go through DuckDB, which writes to disk what does not fit into memory, and never all through Python. Groups are
    made of the classes that masks show. A score table knows them; of a dataset or Parquet files that have masks and no
    column `classes_present`, the masks are read for it, once for each dataset.

    Args:
        scores: a score table or its folder, a Parquet file or pattern, or a dataset with score columns. Rows are named
            by `id`, or by their number if there is none. Where there is no mask, `classes` says what a row shows.
        rules: a `Recipe`, the name of one of the package, the path of a YAML file, a rule, or rules in order.
        out: folder for `selection.parquet`, `report.json` and `recipe.yaml`, which together replace those of an earlier
            selection, and nothing else; kept in a temporary place if None.
        memory_limit: what DuckDB may use, e.g. `"3GB"`; 80 % of the machine's if None.
        scratch: folder for what does not fit, about 150 bytes a row; the system's temporary one if None.

    Returns:
        The selection, with a reason for every row.

    Raises:
        ValueError: if a rule reads a column that is not there or holds no numbers, rows cannot be told apart, no mask
            can be read, the recipe's bounds are for scores of another kind than these, or `out` holds files of these
            names that no selection wrote.
        EmptySelectionError: if no row is left.
        SkippedScoresError: if a rule asks for values that `score_for` has skipped.

    Examples:
        >>> select(scored, Threshold("boundary", "q0.5")).report.kept
        12
        >>> select(scored, [Threshold("boundary", "q0.5"), TopK("pcs", target=5)]).report.reasons
        {'dropped:boundary': 12, 'dropped:top_k': 7, 'kept:top_k': 5}
        >>> select(table, "random").report.rows
        24
    """
    recipe = Recipe.of(rules)
    target = named_folder(Path(out)) if out is not None else Path(tempfile.mkdtemp(prefix="sds-hf-"))
    check_own(target, FILES, _is_selection(target))
    reads = (column for rule in recipe.rules for column in rule.reads)
    with database(memory_limit, scratch) as connection:
        source = open_scores(scores, connection)
        notes = differences(recipe, source.provenance.get("scores", ()))
        _use_disk_for_many(connection, source.sql)
        candidates = Candidates(connection, source, reads)
        notes += _skipped_note(candidates)
        steps = [_apply(rule, candidates) for rule in recipe.rules]
        missed = (missed_target(rule, step.after) for rule, step in zip(recipe.rules, steps, strict=True))
        idle = (f"{step.text} drops nothing" for step in steps if step.after == step.before)
        report = make_report(candidates, recipe.rules, steps, source, [*notes, *filter(None, missed), *idle])
        if identities := source.provenance.get("scores"):
            recipe = recipe.computed_as(identities)
        with new_folder(target, replace=True, own=FILES) as part:
            candidates.save(part / SELECTION_FILE)
            write_whole(part / RECIPE_FILE, recipe.to_yaml())
            report.files = {name: read_sha256(part / name) for name in (SELECTION_FILE, RECIPE_FILE)}
            report.save(part / REPORT_FILE)
    selection = Selection(target / SELECTION_FILE, report)
    if out is None:
        weakref.finalize(selection, shutil.rmtree, target, ignore_errors=True)
    return selection


def _is_selection(folder: Path) -> Callable[[Path], bool]:
    """Whether a file there is one of a selection that was made there and not changed since."""
    try:
        files = Report.load(folder / REPORT_FILE).files
    except (OSError, ValueError):
        files = {}
    return lambda path: bool(files) and (path.name == REPORT_FILE or read_sha256(path) == files.get(path.name))


def _use_disk_for_many(connection: duckdb.DuckDBPyConnection, source: str) -> None:
    """Keep the tables of a selection in a file, compressed, if memory cannot hold them."""
    settings = "current_setting('memory_limit'), current_setting('temp_directory')"
    rows, limit, spill = connection.sql(f"SELECT count(*), {settings} FROM {source}").fetchall()[0]
    amount, unit = limit.split()
    if rows * BYTES_PER_ROW > float(amount) * 1024 ** UNITS.index(unit):
        connection.execute(f"ATTACH {literal(str(Path(spill).with_name('selection.duckdb')))} AS disk; USE disk")


def _apply(rule: Rule, candidates: Candidates) -> Step:
    """Apply a rule and count.

    Raises:
        EmptySelectionError: if it takes the last row.
    """
    count = "SELECT count(*) FROM state WHERE dropped IS NULL"
    reasons = "SELECT dropped, count(*) FROM state WHERE dropped IS NOT NULL GROUP BY 1"
    _check_decided(rule, candidates)
    before, old = candidates.value(count), dict(candidates.fetch(reasons))
    candidates.last_kept.clear()
    bounds = rule.apply(candidates)
    after, new = candidates.value(count), dict(candidates.fetch(reasons))
    if not after:
        raise EmptySelectionError(
            f"nothing is left after {rule.label!r} ({before} rows before it)"
            + "".join(f"; quantiles of {name}: {_described(candidates, name)}" for name in rule.reads[:1])
            + f". {rule.hint}"
        )
    dropped = {
        reason: total - old.get(reason, 0) for reason, total in sorted(new.items()) if total > old.get(reason, 0)
    }
    values = cutoffs(rule, bounds, candidates)
    return Step(rule=rule.label, before=before, after=after, dropped=dropped, bounds=bounds, cutoffs=values)


def rows_left(scores: ScoreTable | Path, rules: Sequence[Rule]) -> np.ndarray:
    """Which rows of a table or of a Parquet file some rules leave, (rows,) bool."""
    with database() as connection:
        source = open_scores(scores, connection)
        candidates = Candidates(connection, source, (column for rule in rules for column in rule.reads))
        with suppress(EmptySelectionError):
            for rule in rules:
                _apply(rule, candidates)
        left: np.ndarray = connection.sql("SELECT dropped IS NULL AS left FROM state").fetchnumpy()["left"]
    return left


def _check_decided(rule: Rule, candidates: Candidates) -> None:
    """Refuse a rule that asks for values that were skipped when the rows were scored.

    Raises:
        SkippedScoresError: names them, and how they are computed.
    """
    rows = f"FROM {candidates.rows} WHERE dropped IS NULL AND"
    if not (count := candidates.value(f"SELECT count(*) {rows} ({rule.undecided(candidates)})")):
        return
    columns = [name for name in rule.reads if candidates.value(f"SELECT count(*) {rows} {candidates.skipped(name)}")]
    raise SkippedScoresError(
        f"{rule.label!r} asks for {' and '.join(columns)} of {count:,} rows of which that was skipped, since the rules "
        "they were scored for did not need it: compute it with `score_for`, or `sds-hf "
        "score` and its option `for`, or everything with `score_table`"
    )


def _skipped_note(candidates: Candidates) -> list[str]:
    """What is to be known of scores that were computed for some rows only."""
    rows, scored = candidates.fetch("SELECT count(*), count(*) FILTER (problem IS NULL) FROM base")[0]
    counts = [f"{name} for {scored - count:,}" for name, count in candidates.skipped_rows().items()]
    if not counts:
        return []
    return [
        f"of {rows:,} rows only what decides was computed: {', '.join(counts)}; distributions are of these rows alone, "
        "and rules that ask for more are refused until `sds-hf score` with its option `all` has computed the rest"
    ]


def _described(candidates: Candidates, column: str) -> str:
    values = quantiles(candidates, column) if candidates.is_number(column) else {}
    return ", ".join(f"{share:.0%} {value:.3g}" for share, value in values.items()) or "no finite number"
