"""The rows that matter: by rule those nearest its bound, by group the last in and the first out, and what changed."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from sds_hf.publishing.card.borderline import CutOff, cut_offs
from sds_hf.selection.candidates import GROUP_LABELS
from sds_hf.selection.duck import arrow_relation, database
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.report import Report
from sds_hf.selection.rules import AtMostPerGroup
from sds_hf.selection.rules.bounds import Bounded

EACH = 8  # rows on each side


@dataclass(frozen=True)
class Line:
    """A row and a word on it."""

    row: int
    note: str


@dataclass(frozen=True)
class Section:
    """Rows under a heading."""

    heading: str
    rows: list[Line]

    def plain(self) -> dict[str, Any]:
        """As the page has it."""
        return asdict(self)


def rows_that_matter(decisions: pa.Table, scores: pa.Table, recipe: Recipe, report: Report) -> list[Section]:
    """By rule the nearest below and above its bound; by group the last in and the first out.

    Args:
        decisions: `Selection.table`.
        scores: the score table, in the same order.
        recipe: what chose.
        report: for what quantiles came to.
    """
    columns = {rule.column for rule in recipe.rules if isinstance(rule, Bounded)} - {*decisions.column_names}
    for name in sorted(columns):
        decisions = decisions.append_column(name, scores[name])
    sections = list[Section]()
    with database() as connection:
        relation = arrow_relation(connection, decisions, "decisions")
        for number, (rule, step) in enumerate(zip(recipe.rules, report.steps, strict=True), 1):
            title = f"Rule {number}: {rule.label}"
            if isinstance(rule, AtMostPerGroup):
                sections.append(_when_full(title, rule, decisions, scores))
            for near in cut_offs(connection, relation, rule, step, EACH):
                sections += _at_ranks(title, near) if near.bound is None else _at_bound(title, near, near.bound)
    return [section for section in sections if section.rows]


def changed_rows(before: pa.Table, now: pa.Table, limit: int = 3 * EACH) -> list[Section]:
    """What came and what went between two selections of the same rows, by id; as many as fit, evenly spread."""
    kept = [dict(zip(table["id"].to_pylist(), table["kept"].to_pylist(), strict=True)) for table in (before, now)]
    reasons = now["reason"].to_pylist()
    sections = []
    for title, then, since in (("Came", False, True), ("Went", True, False)):
        rows = [row for row, name in enumerate(kept[1]) if kept[1][name] == since and kept[0].get(name, False) == then]
        chosen = [rows[index] for index in np.linspace(0, len(rows) - 1, min(limit, len(rows))).astype(int)]
        lines = [Line(row, reasons[row]) for row in chosen]
        sections.append(
            Section(f"{title}: {len(rows):,} rows" + (f", {len(lines)} of them" if len(rows) > limit else ""), lines)
        )
    return sections


def _at_bound(title: str, near: CutOff, bound: float) -> Iterator[Section]:
    for side, rows in (("just inside", near.stays), ("just outside", near.leaves)):
        lines = [Line(row, f"{near.name} {value:.4g}") for row, (value,) in rows]
        yield Section(f"{title} – {side} {bound:.4g}", lines)


def _at_ranks(title: str, near: CutOff) -> Iterator[Section]:
    family = near.name.replace("_", " ")
    for side, rows in (("last in", near.stays), ("first out", near.leaves)):
        lines = [
            Line(row, f"{family}: rank {rank:.0f} of {size:.0f}, the first {cutoff:.0f} stay")
            for row, (rank, size, cutoff) in rows
        ]
        yield Section(f"{title} – {side} by {family}", lines)


def _when_full(title: str, rule: AtMostPerGroup, decisions: pa.Table, scores: pa.Table) -> Section:
    """Rows whose group was full, the best first if a score says which those are."""
    reasons = decisions["reason"].to_pylist()
    groups = tuple(f"dropped:{GROUP_LABELS.get(column, column)}=" for column in rule.by)
    rows = [row for row, reason in enumerate(reasons) if reason.startswith(groups) and reason.endswith(" is full")]
    if rule.column is not None:
        values = _numbers(scores, rule.column)
        rows.sort(key=lambda row: -values[row])
    lines = [Line(row, reasons[row].removeprefix("dropped:").replace("=", " ", 1)) for row in rows[: 2 * EACH]]
    return Section(f"{title} – first out", lines)


def _numbers(table: pa.Table, column: str) -> np.ndarray:
    """A column as float64, NaN for null."""
    return np.asarray(table[column].cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def rows_of(sections: Sequence[Section]) -> list[int]:
    """All rows of the sections, each once, ascending."""
    return sorted({line.row for section in sections for line in section.rows})
