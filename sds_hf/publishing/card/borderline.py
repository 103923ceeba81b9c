"""Rows next to a cut-off: of each rule the last that stay and the first that leave."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from sds_hf.check.reasons.words import bounds_of
from sds_hf.selection.candidates import GROUP_LABELS
from sds_hf.selection.duck import Relation, database, literal, parquet_relation
from sds_hf.selection.report import Step
from sds_hf.selection.rules import AtMostPerGroup, Rule
from sds_hf.selection.rules.base import RANKING
from sds_hf.selection.rules.bounds import Bounded

MOST = 6  # rows on a card
LOWER = ("above", "low")  # bounds below which rows leave
Rows = list[tuple[int, tuple[float, ...]]]


@dataclass(frozen=True)
class CutOff:
    """Rows on both sides of a cut-off, the nearest first; at ranks those of the largest groups.

    Attributes:
        name: of the column that has a bound, or of the family of groups whose ranks are cut.
        bound: the number; None at ranks.
        stays: numbers of rows that stay, each with its value, or with its rank, the size of its group and its last rank
            that stays.
        leaves: likewise of rows that leave.
    """

    name: str
    bound: float | None
    stays: Rows
    leaves: Rows


def cut_offs(
    connection: duckdb.DuckDBPyConnection, relation: Relation, rule: Rule, step: Step, most: int
) -> Iterator[CutOff]:
    """The rows next to each cut-off of a rule.

    Args:
        connection: the database.
        relation: a selection, with scores if they are known.
        rule: that was applied.
        step: what it did.
        most: rows on each side of a bound; at ranks, where groups have cut-offs of their own, twice as many.
    """
    names = relation.columns
    if isinstance(rule, Bounded):
        for name, bound in bounds_of(rule, step).items() if rule.column in names else ():
            inner, outer, beyond = ("ASC", "DESC", "<=") if name in LOWER else ("DESC", "ASC", ">=")
            value = names[rule.column]
            side = f"CAST({value} AS FLOAT) {beyond} CAST({bound!r} AS FLOAT)"
            left = f"{names['reason']} = {literal('dropped:' + rule.column)} AND {side}"
            stays = _first(connection, relation, names["kept"], f"{value} {inner}", [value], most)
            leaves = _first(connection, relation, left, f"{value} {outer}", [value], most)
            yield CutOff(rule.column, bound, stays, leaves)
    elif not isinstance(rule, AtMostPerGroup):  # which ranks no rows
        for family in _families(rule):
            if all(f"{family}_{part}" in names for part in RANKING):
                values = [names[f"{family}_{part}"] for part in RANKING]
                rank, size, cutoff = values
                sides = (f"{names['kept']} AND {rank} = {cutoff}", f"NOT {names['kept']} AND {rank} = {cutoff} + 1")
                found = [_first(connection, relation, where, f"{size} DESC", values, 2 * most) for where in sides]
                yield CutOff(family, None, found[0], found[1])


def borderline_rows(decisions: Path, rules: Sequence[Rule], steps: Sequence[Step]) -> dict[int, str]:
    """Rows next to a cut-off, with what is to be said of one besides its reason.

    Args:
        decisions: Parquet file of a selection, with scores if they are known.
        rules: that were applied.
        steps: what each did.
    """
    rows: dict[int, str] = {}
    with database() as connection:
        relation = parquet_relation(connection, [decisions])
        for rule, step in zip(rules, steps, strict=False):
            for near in cut_offs(connection, relation, rule, step, 1):
                if near.stays and near.leaves:  # a rule that drops nothing has no border
                    (stays, values), (leaves, _) = near.stays[0], near.leaves[0]
                    known = near.bound is not None
                    said = f"kept: {near.name} {values[0]:.4g}, the cut-off is {near.bound:.6g}" if known else ""
                    rows.setdefault(stays, said)
                    rows.setdefault(leaves, "")
    return dict(list(rows.items())[:MOST])


def _families(rule: Rule) -> list[str]:
    """What the columns of a rule's ranks may begin with."""
    by = list(getattr(rule, "by", ()))
    names = [*(GROUP_LABELS.get(column, column) for column in by), *by, rule.kind]
    return list(dict.fromkeys([*names, "stratum"] if rule.kind == "stratified" else names))


def _first(
    connection: duckdb.DuckDBPyConnection,
    relation: Relation,
    where: str,
    order: str,
    values: Sequence[str],
    most: int,
) -> Rows:
    """The first rows of an order, with some values of each."""
    row, told = relation.columns["row"], "".join(f", CAST({value} AS DOUBLE)" for value in values)
    known = " AND ".join([where, *(f"{value} IS NOT NULL" for value in values)])  # a skipped value is not
    query = f"SELECT {row}{told} FROM {relation.sql} WHERE {known} ORDER BY {order}, {row} LIMIT {most}"
    return [(number, tuple(rest)) for number, *rest in connection.execute(query).fetchall()]
