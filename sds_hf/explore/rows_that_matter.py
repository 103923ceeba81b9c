"""The rows that matter: by rule those nearest its bound, by group the last in and the first out, and what changed."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from sds_hf.selection.candidates import GROUP_LABELS
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.report import Report, Step
from sds_hf.selection.rules import AtMostPerGroup, Rule
from sds_hf.selection.rules.base import RANKING
from sds_hf.selection.rules.bounds import Bounded

EACH = 8  # rows on each side
UPPER = ("below", "high")


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
    sections = [
        section
        for number, (rule, step) in enumerate(zip(recipe.rules, report.steps, strict=True), 1)
        for section in _of_rule(decisions, scores, rule, step, f"Rule {number}: {rule.label}")
    ]
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


def _of_rule(decisions: pa.Table, scores: pa.Table, rule: Rule, step: Step, title: str) -> Iterator[Section]:
    kept = decisions["kept"].to_numpy()
    if isinstance(rule, Bounded):
        values = _numbers(scores, rule.column)
        dropped = np.array(decisions["reason"].to_pylist()) == f"dropped:{rule.column}"
        for name, bound in rule.bounds.items():
            value = step.bounds.get(name, bound)
            yield from _at_bound(title, rule.column, values, float(value), name in UPPER, kept, dropped)
        return
    if isinstance(rule, AtMostPerGroup):
        yield _when_full(title, rule, decisions, scores)
        return
    for name in _families(rule):
        if f"{name}_rank" in decisions.column_names:
            yield from _at_cutoff(title, name, decisions, kept)


def _families(rule: Rule) -> list[str]:
    """What the columns of a rule's ranks may begin with."""
    by = list(getattr(rule, "by", ()))
    names = [*(GROUP_LABELS.get(column, column) for column in by), *by, rule.kind]
    return list(dict.fromkeys([*names, "stratum"] if rule.kind == "stratified" else names))


def _at_bound(
    title: str, column: str, values: np.ndarray, bound: float, upper: bool, kept: np.ndarray, dropped: np.ndarray
) -> Iterator[Section]:
    sign = -1 if upper else 1
    over = sign * (values - bound)
    for side, rows in (
        ("just inside", np.flatnonzero(kept & (over >= 0))),
        ("just outside", np.flatnonzero(dropped & (over <= 0))),
    ):
        nearest = rows[np.argsort(np.abs(over[rows]), kind="stable")[:EACH]]
        yield Section(
            f"{title} – {side} {bound:.4g}", [Line(int(row), f"{column} {values[row]:.4g}") for row in nearest]
        )


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


def _at_cutoff(title: str, name: str, decisions: pa.Table, kept: np.ndarray) -> Iterator[Section]:
    rank, size, cutoff = (_numbers(decisions, f"{name}_{part}") for part in RANKING)
    for side, rows in (
        ("last in", np.flatnonzero(kept & (rank == cutoff))),
        ("first out", np.flatnonzero(~kept & (rank == cutoff + 1))),
    ):
        lines = [
            Line(
                int(row),
                f"{name.replace('_', ' ')}: rank {rank[row]:.0f} of {size[row]:.0f}, the first {cutoff[row]:.0f} stay",
            )
            for row in rows[np.argsort(-size[rows], kind="stable")[: 2 * EACH]]
        ]
        yield Section(f"{title} – {side} by {name.replace('_', ' ')}", lines)


def _numbers(table: pa.Table, column: str) -> np.ndarray:
    """A column as float64, NaN for null."""
    return np.asarray(table[column].cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def rows_of(sections: Sequence[Section]) -> list[int]:
    """All rows of the sections, each once, ascending."""
    return sorted({line.row for section in sections for line in section.rows})
