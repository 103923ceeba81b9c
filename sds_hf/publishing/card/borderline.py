"""Rows next to a cut-off: of each rule the last that stays and the first that leaves."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb

from sds_hf.check.reasons import bounds_of
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
            for query, words in pairs:
                for (row,) in connection.execute(query).fetchall():
                    rows.setdefault(row, words.format(_value(connection, relation, rule, row)))
    return dict(list(rows.items())[:MOST])


def _at_bounds(rule: Bounded, step: Step, relation: Relation) -> Iterator[tuple[str, str]]:
    """Queries for the rows on both sides of a rule's bounds."""
    if rule.column not in relation.columns:
        return
    value, kept = relation.columns[rule.column], relation.columns["kept"]
    reason = f"{relation.columns['reason']} = {literal('dropped:' + rule.column)}"
    for name, bound in bounds_of(rule, step).items():
        inner, outer, beyond = ("ASC", "DESC", "<=") if name in LOWER else ("DESC", "ASC", ">=")
        side = f"CAST({value} AS FLOAT) {beyond} CAST({bound!r} AS FLOAT)"
        yield _first(relation, f"{kept}", f"{value} {inner}"), f"kept: {rule.column} {{}}, the cut-off is {bound:.6g}"
        yield _first(relation, f"{reason} AND {side}", f"{value} {outer}"), ""


def _at_ranks(rule: Rule, relation: Relation) -> Iterator[tuple[str, str]]:
    """Queries for the last rank that stays and the first that leaves, in the largest group of the rule."""
    labels = [rule._label(column) for column in rule.by] if isinstance(rule, TopPerGroup) else [rule.kind]
    for label in labels:
        names = [f"{label}_{name}" for name in ("rank", "cutoff", "group_size")]
        if all(name in relation.columns for name in names):
            rank, cutoff, size = (relation.columns[name] for name in names)
            kept = relation.columns["kept"]
            yield _first(relation, f"{kept} AND {rank} = {cutoff}", f"{size} DESC"), ""
            yield _first(relation, f"NOT {kept} AND {rank} = {cutoff} + 1", f"{size} DESC"), ""
            return


def _first(relation: Relation, where: str, order: str) -> str:
    row = relation.columns["row"]
    return f"SELECT {row} FROM {relation.sql} WHERE {where} ORDER BY {order}, {row} LIMIT 1"


def _value(connection: duckdb.DuckDBPyConnection, relation: Relation, rule: Rule, row: int) -> str:
    """The score of a row that a rule bounds."""
    column = relation.columns.get(getattr(rule, "column", None) or "")
    if column is None:
        return ""
    query = f"SELECT CAST({column} AS DOUBLE) FROM {relation.sql} WHERE {relation.columns['row']} = {row}"
    value = connection.execute(query).fetchall()[0][0]
    return "" if value is None else f"{value:.4g}"
