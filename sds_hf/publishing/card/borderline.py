"""Rows next to a cut-off: of each rule the last that stays and the first that leaves."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from sds_hf.check.reasons.words import bounds_of
from sds_hf.selection.duck import Relation, database, literal, parquet_relation
from sds_hf.selection.report import Step
from sds_hf.selection.rules import Rule, TopPerGroup
from sds_hf.selection.rules.bounds import Bounded

MOST = 6  # rows
LOWER = ("above", "low")  # bounds below which rows leave


def borderline_rows(decisions: Path, rules: Sequence[Rule], steps: Sequence[Step]) -> dict[int, str]:
    """Rows next to a cut-off, with what is to be said of one besides its reason.

    Args:
        decisions: Parquet file of a selection, with scores if they are known.
        rules: that were applied.
        steps: what each did.
    """
    with database() as connection:
        relation = parquet_relation(connection, [decisions])
        rows: dict[int, str] = {}
        for rule, step in zip(rules, steps, strict=False):
            pairs = _at_bounds(rule, step, relation) if isinstance(rule, Bounded) else _at_ranks(rule, relation)
            for stays, leaves, words in pairs:
                inner, outer = (connection.execute(query).fetchall() for query in (stays, leaves))
                if inner and outer:  # a rule that drops nothing has no border
                    rows.setdefault(inner[0][0], words.format(*inner[0][1:]))
                    rows.setdefault(outer[0][0], "")
    return dict(list(rows.items())[:MOST])


def _at_bounds(rule: Bounded, step: Step, relation: Relation) -> Iterator[tuple[str, str, str]]:
    """Queries for the rows on both sides of a rule's bounds, and what to say of the first."""
    if rule.column not in relation.columns:
        return
    value, kept = relation.columns[rule.column], relation.columns["kept"]
    reason = f"{relation.columns['reason']} = {literal('dropped:' + rule.column)}"
    for name, bound in bounds_of(rule, step).items():
        inner, outer, beyond = ("ASC", "DESC", "<=") if name in LOWER else ("DESC", "ASC", ">=")
        side = f"CAST({value} AS FLOAT) {beyond} CAST({bound!r} AS FLOAT)"
        words = f"kept: {rule.column.replace('{', '{{').replace('}', '}}')} {{:.4g}}, the cut-off is {bound:.6g}"
        leaves = _first(relation, f"{reason} AND {side}", f"{value} {outer}", value)
        yield _first(relation, kept, f"{value} {inner}", value), leaves, words


def _at_ranks(rule: Rule, relation: Relation) -> Iterator[tuple[str, str, str]]:
    """Queries for the last rank that stays and the first that leaves, in the largest group of each family."""
    labels = [rule._label(column) for column in rule.by] if isinstance(rule, TopPerGroup) else [rule.kind]
    for label in labels:
        names = [f"{label}_{name}" for name in ("rank", "cutoff", "group_size")]
        if all(name in relation.columns for name in names):
            rank, cutoff, size = (relation.columns[name] for name in names)
            kept = relation.columns["kept"]
            leaves = _first(relation, f"NOT {kept} AND {rank} = {cutoff} + 1", f"{size} DESC", rank)
            yield _first(relation, f"{kept} AND {rank} = {cutoff}", f"{size} DESC", rank), leaves, ""


def _first(relation: Relation, where: str, order: str, value: str) -> str:
    """SQL for the first row of an order, and a value of it."""
    row = relation.columns["row"]
    return f"SELECT {row}, CAST({value} AS DOUBLE) FROM {relation.sql} WHERE {where} ORDER BY {order}, {row} LIMIT 1"
