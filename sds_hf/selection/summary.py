"""What a selection found: rules, reasons, classes and scores, counted in the database."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from math import ceil, isfinite
from typing import Any

import numpy as np

from sds_hf.errors import public_name, short
from sds_hf.scores.base.catalog import default_settings, recipe_settings
from sds_hf.selection.candidates import Candidates
from sds_hf.selection.duck import CLASSES
from sds_hf.selection.recipe import Recipe, RecipeError
from sds_hf.selection.report import ClassCount, Report, ScoreSummary, Step, lost_classes, no_class_shown
from sds_hf.selection.rules import Rule, TopK, TopPerGroup
from sds_hf.selection.source import Scores

BINS = 30  # of a histogram; fewer of few rows
MOST_EDGES = 4  # cut-offs of a score at which its histogram has an edge
MOST_GROUPS = 100  # whose cut-offs are told one by one
QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)


def quantiles(candidates: Candidates, column: str) -> dict[float, float]:
    """Quantiles of the finite numbers in a column; empty if there is none."""
    values = candidates.quantiles(column, QUANTILES, f"isfinite({candidates.column(column)})")
    return dict(zip(QUANTILES, values, strict=True)) if values else {}


def cutoffs(rule: Rule, bounds: Mapping[str, float], candidates: Candidates) -> dict[str, dict[str, float]]:
    """The values of a score at which a rule parts the rows, see `Step.cutoffs`; none if it compares no single score.

    Args:
        rule: that was applied.
        bounds: what its quantiles came to.
        candidates: right after it.
    """
    column = getattr(rule, "column", None)
    if not isinstance(column, str) or column not in candidates.types or not candidates.is_number(column):
        return {}
    fixed = {name: value for name, value in getattr(rule, "bounds", {}).items() if isinstance(value, float)}
    ranked = isinstance(rule, (TopK, TopPerGroup))  # by the score itself, and not at random
    values = fixed | dict(bounds) | (_lowest_kept(candidates, column) if ranked else {})
    finite = {name: value for name, value in values.items() if isfinite(value)}
    return {column: finite} if finite else {}


def _lowest_kept(candidates: Candidates, column: str) -> dict[str, float]:
    """The lowest score that each group keeps; of very many groups, the range of these."""
    rows = ", ".join(str(row) for _, row in candidates.last_kept)
    if not rows:
        return {}
    value = f"CAST({candidates.column(column)} AS DOUBLE)"
    values = dict(candidates.fetch(f'SELECT "row", {value} FROM base WHERE "row" IN ({rows})'))
    lowest = {name: values[row] for name, row in candidates.last_kept}
    if len(lowest) <= MOST_GROUPS:
        return lowest
    return {"lowest of a group": min(lowest.values()), "highest of a group": max(lowest.values())}


def make_report(
    candidates: Candidates, rules: Sequence[Rule], steps: list[Step], scores: Scores, notes: Sequence[str] = ()
) -> Report:
    """Counts and distributions after all rules.

    Args:
        candidates: after the last rule.
        rules: that were applied.
        steps: what each rule did.
        scores: what they were made of.
        notes: what a person should look at, besides what is found here.
    """
    totals = candidates.fetch("SELECT count(*), count(*) FILTER (dropped IS NULL) FROM state")[0]
    reasons = candidates.fetch(
        "SELECT coalesce(dropped, kept_by, 'kept:all_rules'), count(*) FROM state GROUP BY 1 ORDER BY 1"
    )
    classes = _class_counts(candidates, scores.class_names)
    failed = dict(reasons).get("dropped:failed", 0)
    empty = no_class_shown(classes, totals[0], failed) if candidates.class_columns else []
    return Report(
        rows=totals[0],
        kept=totals[1],
        failed=failed,
        failures=_failures(candidates),
        steps=steps,
        reasons=dict(reasons),
        classes=classes,
        scores={name: _summary(candidates, name, _edges_at(name, steps)) for name in _compared(candidates, rules)},
        provenance=scores.provenance,
        warnings=[*scores.notes, *notes, *empty, *lost_classes(classes)],
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


def _compared(candidates: Candidates, rules: Sequence[Rule]) -> list[str]:
    """Columns whose distribution is told: first those that the rules compare, then all other scores."""
    single = [getattr(rule, "column", None) or "" for rule in rules]
    several = [name for rule in rules for name in rule.reads if name in candidates.scores]
    numbers = [name for name in (*single, *several) if name in candidates.types and candidates.is_number(name)]
    return list(dict.fromkeys([*numbers, *candidates.scores]))


def _edges_at(column: str, steps: Sequence[Step]) -> list[float]:
    """Cut-offs of a score at which its histogram has an edge; of many groups none."""
    values = [list(step.cutoffs.get(column, {}).values()) for step in steps]
    return sorted({value for few in values if len(few) <= MOST_EDGES for value in few})[:MOST_EDGES]


def _summary(candidates: Candidates, column: str, bounds: Sequence[float]) -> ScoreSummary:
    """Distribution of a score among all candidates and among the kept."""
    score = candidates.column(column)
    finite = f"FROM {candidates.rows} WHERE isfinite({score})"
    rows, numbers = candidates.fetch(f"SELECT (SELECT count(*) FROM base), (SELECT count(*) {finite})")[0]
    values = quantiles(candidates, column)
    if not values:
        return ScoreSummary(nulls=rows)
    edges = bin_edges(values[0], values[1], numbers, bounds)
    starts = [0, *np.flatnonzero(np.isin(edges[:-1], list(bounds))).tolist(), len(edges) - 1]
    value = f"CAST({score} AS DOUBLE)"
    parts = []
    for first, end in pairwise(sorted(set(starts))):  # between two of these, bins are of equal width
        low, width = edges[first], edges[end] / (end - first) - edges[first] / (end - first)
        number = f"least(greatest(floor(({value} - {low!r}) / {width!r}), 0), {end - first - 1})"
        parts.append(f"WHEN {value} < {edges[end]!r} THEN {first} + {number}")
    counts = np.zeros((2, len(edges) - 1), int)
    query = f"""SELECT CAST(CASE {" ".join(parts)} ELSE {len(edges) - 2} END AS INT) AS bin,
                       count(*), count(*) FILTER (dropped IS NULL) {finite} GROUP BY 1"""
    for bin_, total, kept in candidates.fetch(query):
        counts[:, bin_] = total, kept
    return ScoreSummary(
        nulls=rows - numbers,
        quantiles={f"{q:g}": value for q, value in values.items()},
        edges=edges,
        all=counts[0].tolist(),
        kept=counts[1].tolist(),
    )


def bin_edges(low: float, high: float, rows: int, bounds: Sequence[float]) -> list[float]:
    """Edges of a histogram, ascending: one at each bound inside, and between two of these bins of equal width.

    Args:
        low: lowest value.
        high: highest value.
        rows: how many values there are; few have fewer bins.
        bounds: where an edge has to be.
    """
    bins = min(BINS, max(4, ceil(2 * rows ** (1 / 3))))  # Rice's rule
    high = high if high > low else low + max(1.0, abs(low) / 1000)
    ends = [low, *(bound for bound in sorted(set(bounds)) if low < bound < high), high]
    edges, span = [low], (high / 2 - low / 2) or 1.0  # halves, as a range may be more than a number holds
    for start, end in pairwise(ends):
        count = max(1, round((end / 2 - start / 2) / span * bins))
        edges += [start + (end / count - start / count) * index for index in range(1, count)]
        edges.append(end)
    return edges


def differences(recipe: Recipe, identities: Iterable[Mapping[str, Any]]) -> list[str]:
    """How scores were computed otherwise than a recipe asks, of those that its rules read: one sentence, or none.

    Args:
        recipe: whose rules are applied to them.
        identities: `Score.identity()` of each score, as the manifest of a score table has them.

    Raises:
        RecipeError: if they differ in what their numbers mean, so that the rules' bounds are not for them.
    """
    computed = {identity["score"]: identity for identity in identities}
    read = {column for rule in recipe.rules for column in rule.reads}
    scores = [score for score in recipe.make_scores() if read & set(score.columns) and score.name in computed]
    changes, sets = dict[str, str](), list[str]()
    for score in scores:
        recipe_values = recipe_settings({"score": score.name, **score.values()})
        table_values = default_settings(score.name) | recipe_settings(computed[score.name])
        named = recipe.model or recipe.scores[score.name].get("model")
        models = [public_name(values["model"]) for values in (recipe_values, table_values) if "model" in values]
        if named and "model" in computed[score.name] and models[0] != models[-1]:
            changes["model"] = f"{models[0]}, not {models[-1]}"
        for name in recipe_values:
            if recipe_values[name] != table_values.get(name) and name not in ("model", "fitted"):
                changes[f"{score.name}.{name}"] = f"{short(recipe_values[name])}, not {short(table_values.get(name))}"
                sets += [f"scores.{score.name}.{name}={table_values[name]}"] if name in score.defining else []
    if not changes:
        return []
    preset = f" (preset {recipe.preset})" if recipe.preset else ""
    listed = "; ".join(f"{name} {change}" for name, change in changes.items())
    sentence = f"{recipe.name}{preset} is for scores computed otherwise than these: {listed}"
    if sets:
        raise RecipeError(f"{sentence}. Its bounds are not for them: score with this recipe, or with {' '.join(sets)}")
    return [sentence]
