"""What a selection found: rules, reasons, classes and scores, counted in the database."""

from collections.abc import Sequence
from math import isfinite

import numpy as np

from sds_hf.selection.candidates import Candidates
from sds_hf.selection.duck import CLASSES
from sds_hf.selection.report import ClassCount, Report, ScoreSummary, Step, lost_classes
from sds_hf.selection.source import Scores

BINS = 30
QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)


def quantiles(candidates: Candidates, column: str) -> dict[float, float]:
    """Quantiles of the finite numbers in a column; empty if there is none."""
    values = candidates.quantiles(column, QUANTILES, f"isfinite({candidates.column(column)})")
    return dict(zip(QUANTILES, values, strict=True)) if values else {}


def make_report(candidates: Candidates, steps: list[Step], scores: Scores, notes: Sequence[str] = ()) -> Report:
    """Counts and distributions after all rules.

    Args:
        candidates: after the last rule.
        steps: what each rule did.
        scores: what they were made of.
        notes: what a person should look at, besides what is found here.
    """
    totals = candidates.fetch("SELECT count(*), count(*) FILTER (dropped IS NULL) FROM state")[0]
    reasons = candidates.fetch(
        "SELECT coalesce(dropped, kept_by, 'kept:all_rules'), count(*) FROM state GROUP BY 1 ORDER BY 1"
    )
    classes = _class_counts(candidates, scores.class_names)
    return Report(
        rows=totals[0],
        kept=totals[1],
        failed=dict(reasons).get("dropped:failed", 0),
        failures=_failures(candidates),
        steps=steps,
        reasons=dict(reasons),
        classes=classes,
        scores={name: _summary(candidates, name) for name in candidates.scores},
        provenance=scores.provenance,
        warnings=[*scores.notes, *notes, *lost_classes(classes)],
    )


def _class_counts(candidates: Candidates, class_names: Sequence[str]) -> list[ClassCount]:
    if not candidates.class_columns:
        return []
    counts = candidates.fetch(
        f"""SELECT class_id, count(*), count(*) FILTER (kept) FROM (
                SELECT unnest({candidates.column(CLASSES)}) AS class_id, dropped IS NULL AS kept FROM {candidates.rows})
            GROUP BY 1 ORDER BY 1"""
    )
    names = dict(enumerate(class_names))
    return [ClassCount(id=i, name=names.get(i, str(i)), before=before, after=after) for i, before, after in counts]


def _failures(candidates: Candidates) -> list[str]:
    failures = candidates.fetch("SELECT id, problem FROM base WHERE problem <> '' LIMIT 5")
    return [f"{row_id}: {problem}" for row_id, problem in failures]


def _summary(candidates: Candidates, column: str) -> ScoreSummary:
    """Distribution of a score among all candidates and among the kept."""
    score = candidates.column(column)
    finite = f"FROM {candidates.rows} WHERE isfinite({score})"
    nulls = candidates.value(f"SELECT (SELECT count(*) FROM base) - (SELECT count(*) {finite})")
    values = quantiles(candidates, column)
    if not values:
        return ScoreSummary(nulls=nulls)
    low, high = values[0], values[1]
    width = (high - low) / BINS if isfinite(high - low) else high / BINS - low / BINS
    width = width or 1.0
    counts = np.zeros((2, BINS), int)
    bin_number = f"floor((CAST({score} AS DOUBLE) - {low!r}) / {width!r})"
    query = f"""SELECT CAST(least(greatest({bin_number}, 0), {BINS - 1}) AS INT) AS bin,
                       count(*), count(*) FILTER (dropped IS NULL) {finite} GROUP BY 1"""
    for bin_, total, kept in candidates.fetch(query):
        counts[:, bin_] = total, kept
    return ScoreSummary(
        nulls=nulls,
        quantiles={f"{q:g}": value for q, value in values.items()},
        edges=[low + width * i for i in range(BINS + 1)],
        all=counts[0].tolist(),
        kept=counts[1].tolist(),
    )
