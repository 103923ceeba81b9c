"""Which kept rows are looked at: drawn at random, the same ones again from the same selection."""

import hashlib
import heapq
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sds_hf.selection.duck import database
from sds_hf.selection.marks.file import MARKS, Sample, write_sample
from sds_hf.selection.select import Selection
from sds_hf.selection.source import open_scores
from sds_hf.table.score_table import ScoreTable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datasets import Dataset


@dataclass(frozen=True)
class Strata:
    """Kept rows in the order of a score, best first, in parts of equal size of which one row each is drawn.

    Attributes:
        ids: of the drawn rows, best score first.
        size: rows of a part. Rows that are too few for another part are left out; they have the lowest scores.
        ends: numbers of parts after which the order may be cut: the next row has a lower score, or there is none.
        bounds: what the score has to be above for that.
    """

    ids: list[str]
    size: int
    ends: list[int]
    bounds: list[float]


def sample(
    selection: Selection | str | Path,
    rows: int = 100,
    *,
    by: str | None = None,
    scores: "ScoreTable | Dataset | str | Path | None" = None,
    seed: int = 0,
    out: str | Path | None = None,
) -> Path:
    """Choose kept rows at random to look at, and write them into a file of marks for `certify`.

    A uniform sample is for the guarantee: what share of all kept rows is good. One stratified by a score is for
    choosing a threshold of that score. The rows depend on the ids that are kept, so that another selection has others.

    Args:
        selection: or its folder.
        rows: how many; more show more.
        by: score to stratify by, higher is better; uniform if None.
        scores: what the selection was made of; needed to stratify.
        seed: another one draws other rows.
        out: file of marks; `marks.parquet` beside the selection if None.

    Returns:
        The file.

    Raises:
        ValueError: if there are fewer kept rows, the file has such a sample already, or the scores are not those of the
            selection.
        OSError: if the file cannot be written.

    Examples:
        >>> chosen = select(table, recipe, out="sampled")
        >>> sample(chosen, 5).name
        'marks.parquet'
    """
    selection = opened(selection)
    kept = selection.report.kept
    if not 1 <= rows <= kept:
        raise ValueError(f"a sample has 1 to {kept:,} rows, as many as are kept, not {rows:,}")
    drawn = Sample(rows=rows, seed=seed, kept=kept, kept_sha256=kept_digest(selection), column=by)
    ids = uniform_ids(selection, drawn) if by is None else strata(selection, drawn, scores).ids
    path = Path(out) if out is not None else selection.path.with_name(MARKS)
    write_sample(path, drawn, sorted(ids, key=lambda row_id: _place(drawn, row_id)))
    return path


def opened(selection: Selection | str | Path) -> Selection:
    """A selection, or the one in a folder."""
    return selection if isinstance(selection, Selection) else Selection.load(selection)


def kept_digest(selection: Selection) -> str:
    """SHA-256 of the ids that are kept."""
    digest = hashlib.sha256()
    for row_id in _kept_ids(selection):
        digest.update(hashlib.sha256(row_id.encode("utf-8", "surrogatepass")).digest())
    return digest.hexdigest()


def uniform_ids(selection: Selection, drawn: Sample) -> list[str]:
    """The ids of a uniform sample: the first in a random order."""
    return heapq.nsmallest(drawn.rows, _kept_ids(selection), key=lambda row_id: _place(drawn, row_id))


def strata(selection: Selection, drawn: Sample, scores: Any) -> Strata:
    """A sample stratified by a score.

    Raises:
        ValueError: if there are no scores, they are not those of the selection, or too few kept rows have one.
    """
    column, ids, values = (
        str(drawn.column),
        list(_kept_ids(selection)),
        _values(selection, drawn, scores),
    )
    scored = np.flatnonzero(~np.isnan(values))
    if len(scored) < drawn.rows:
        raise ValueError(
            f"{len(scored):,} kept rows have the score {column!r}: a sample of {drawn.rows:,} needs as many"
        )
    order = np.array(sorted(scored, key=lambda index: (-values[index], _place(drawn, ids[index]))))
    size = len(order) // drawn.rows
    parts = [order[start : start + size] for start in range(0, size * drawn.rows, size)]
    first = [min(part, key=lambda index: _place(drawn, ids[index])) for part in parts]
    lowest = values[order[-1]]
    ordered, ends, bounds = np.append(values[order], lowest - max(1.0, abs(lowest))), list[int](), list[float]()
    for end in range(1, drawn.rows + 1):
        if ordered[end * size] < ordered[end * size - 1]:
            ends.append(end)
            bounds.append(float(ordered[end * size]))
    return Strata([ids[index] for index in first], size, ends, bounds)


def _kept_ids(selection: Selection) -> "Iterator[str]":
    for batch in selection.batches(["id", "kept"]):
        yield from batch["id"].filter(batch["kept"]).to_pylist()


def _place(drawn: Sample, row_id: str) -> bytes:
    """Where a row stands in the random order of a sample."""
    text = f"{drawn.kept_sha256}|{drawn.name}|{drawn.seed}|{row_id}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _values(selection: Selection, drawn: Sample, scores: Any) -> np.ndarray:
    """The score of each kept row, float64; NaN for none."""
    if scores is None:
        raise ValueError(f"a sample by {drawn.column!r} needs the scores that were selected from: give scores=...")
    if isinstance(scores, (str, Path)) and Path(scores).is_dir():
        scores = ScoreTable.load(scores)
    table_sha256 = selection.report.provenance.get("table_sha256")
    if table_sha256 and isinstance(scores, ScoreTable) and not scores.holds(table_sha256):
        raise ValueError("the selection was made of other scores than these; give those")
    with database() as connection:
        source = open_scores(scores, connection)
        if source.types.get(str(drawn.column)) not in ("FLOAT", "DOUBLE"):
            names = [name for name, kind in source.types.items() if kind in ("FLOAT", "DOUBLE")]
            raise ValueError(f"there is no score {drawn.column!r}; there are {names}")
        columns = f"{source.number} AS number, CAST({source.columns[str(drawn.column)]} AS DOUBLE) AS value"
        table = connection.sql(f"SELECT {columns} FROM {source.sql} ORDER BY number").fetchnumpy()
    if len(table["number"]) != selection.report.rows:
        counts = f"{selection.report.rows:,} rows; these scores have {len(table['number']):,}"
        raise ValueError(f"the selection was made of {counts}")
    rows = np.searchsorted(table["number"], selection.kept_rows())
    values: np.ndarray = np.ma.filled(table["value"].astype(np.float64), np.nan)[rows]
    if np.isnan(values).any():
        source.check_whole(f"a sample by {drawn.column!r}")
    return values
