"""Why a row is kept or dropped: every rule with the row's values, its bounds, and the row's rank in each group."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sds_hf.check.reasons.words import Place, bounds_of, group_in_words, in_full, place_of, reason_in_words, stays
from sds_hf.errors import did_you_mean
from sds_hf.hub.layout import CANDIDATES
from sds_hf.screen import Block, Screen
from sds_hf.selection.duck import CLASSES, database
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.report import Report, Step
from sds_hf.selection.rules import Rule
from sds_hf.selection.rules.bounds import Bounded
from sds_hf.selection.rules.groups import TopPerGroup
from sds_hf.selection.select import RECIPE_FILE, REPORT_FILE, SELECTION_FILE, Selection
from sds_hf.selection.source import Scores, open_scores, scores_beside
from sds_hf.table.partial.needs import HIGH, LOW

if TYPE_CHECKING:
    from datasets import Dataset

    from sds_hf.table.score_table import ScoreTable


@dataclass(frozen=True)
class Judgement:
    """What a rule says of a row.

    Attributes:
        rule: in words, with the numbers behind quantiles.
        values: what it reads of the row, by column; empty if the scores were not given.
        passes: whether the row passes it; None where it was out before, or that cannot be told.
        places: in the groups of the rule.
    """

    rule: str
    values: dict[str, Any]
    passes: bool | None
    places: list[Place]


@dataclass(frozen=True, repr=False)
class Why(Screen):
    """Why a row is kept or dropped.

    Attributes:
        id: of the row.
        row: its number.
        kept: whether it stays.
        reason: as the selection has it.
        words: the same in words.
        rules: what each says, in order.
        scores: all scores of the row; empty if the scores were not given.
    """

    id: str
    row: int
    kept: bool
    reason: str
    words: str
    rules: list[Judgement]
    scores: dict[str, float | None]

    def screen_title(self) -> str:
        """See `Screen.screen_title`."""
        return f"{self.id} (row {self.row:,}) is {'kept' if self.kept else 'dropped'}: {self.words}"

    def screen_blocks(self) -> list[Block]:
        """See `Screen.screen_blocks`."""
        marks = {True: "passes", False: "fails", None: "–"}
        rules = [[judgement.rule, _listed(judgement.values), marks[judgement.passes]] for judgement in self.rules]
        places = [[str(place)] for judgement in self.rules for place in judgement.places]
        others = {
            name: value for name, value in self.scores.items() if all(name not in rule.values for rule in self.rules)
        }
        return [
            Block("Rules", ("rule", "the row has", ""), rules),
            Block("Groups", ("",), places),
            Block("Other scores", ("score", "value"), [[name, in_full(value)] for name, value in others.items()]),
        ]


def why(
    selection: "Selection | str | Path", row_id: str, scores: "ScoreTable | Dataset | str | Path | None" = None
) -> Why:
    """Why a row is kept or dropped.

    Args:
        selection: or its folder, or a published folder with the scores of all candidates.
        row_id: id of a row.
        scores: what the selection was made of; if None, of a selection's folder the table beside it. Without them no
            values are told, and ranks only of the group that decided.

    Raises:
        ValueError: if there is no such row, or the scores are not those of the selection.

    Examples:
        >>> why(selection, candidates["id"][0], table).words
        'among the best of class cow, rank 1 of 1 (1 stay)'
    """
    path, report, recipe, scores = _opened(selection, scores)
    table = pq.read_table(path, filters=pc.field("id") == str(row_id))
    if not table.num_rows:
        raise ValueError(_no_row(row_id, path, report.rows))
    record = table.to_pylist()[0]
    values: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    ranks: dict[str, list[Place]] = {}
    if scores is not None:
        with database() as connection:
            source = open_scores(scores, connection)
            groups = [name for rule in recipe.rules if isinstance(rule, TopPerGroup) for name in rule.by]
            values = _values(connection, source, record, groups)
            skipped = _skipped(connection, source, record["row"], values)
            values = {name: value for name, value in values.items() if name not in source.partial}
            for rule in recipe.rules:
                if isinstance(rule, TopPerGroup) and getattr(rule, "column", None):
                    names = source.class_names or report.provenance.get("labels", {}).get("names", [])
                    ranks |= _places(connection, replace(source, class_names=list(names)), path, rule, record, values)
    judgements = _judged(recipe.rules, report.steps, record, values | skipped, ranks)
    numbers = {name: value for name, value in values.items() if isinstance(value, float | None) and name not in skipped}
    words = reason_in_words(record | values, recipe.rules, report.steps)
    return Why(record["id"], record["row"], record["kept"], record["reason"], words, judgements, numbers)


def _no_row(row_id: Any, path: Path, rows: int) -> str:
    """What to say of an id that no row has: the one of the row of that number, or the one most like it."""
    ids = pq.read_table(path, columns=["id"])["id"].to_pylist()
    number = int(row_id) if re.fullmatch("[0-9]{1,18}", str(row_id)) else rows
    meant = f"; row {number:,} has the id {ids[number]!r}" if number < len(ids) else did_you_mean(str(row_id), ids)
    return f"there is no row {row_id!r} among the {rows:,} candidates{meant}"


def _opened(selection: Any, scores: Any) -> tuple[Path, Report, Recipe, Any]:
    """File of the decisions, report, recipe, and scores."""
    if isinstance(selection, Selection):
        path, report = selection.path, selection.report
    elif (Path(selection) / CANDIDATES).exists() and not (Path(selection) / SELECTION_FILE).exists():
        folder = Path(selection)  # published
        path, report = folder / CANDIDATES, Report.load(folder / REPORT_FILE)
        return path, report, Recipe.load(folder / RECIPE_FILE), str(path) if scores is None else scores
    else:
        selected = Selection.load(selection)
        path, report = selected.path, selected.report
        scores = scores_beside(path.parent, report.provenance.get("table_sha256")) if scores is None else scores
    return path, report, Recipe.load(path.with_name(RECIPE_FILE)), scores


def _values(connection: Any, source: Scores, record: Mapping[str, Any], groups: Sequence[str]) -> dict[str, Any]:
    """What the scores know of a row, by column: its scores, whole numbers, and what groups are made of.

    Raises:
        ValueError: if they have no such row.
    """
    numbers = [name for name, kind in source.types.items() if kind in ("FLOAT", "DOUBLE") or "INT" in kind]
    names = [name for name in dict.fromkeys([*numbers, *groups]) if name in source.columns]
    columns = ", ".join([f"CAST({source.columns['id']} AS VARCHAR)", *(source.columns[name] for name in names)])
    query = f"SELECT {columns} FROM {source.sql} WHERE {source.number} = {record['row']}"
    rows = connection.execute(query).fetchall()
    if not rows or rows[0][0] != record["id"]:
        raise ValueError(
            f"the scores have no row {record['row']:,} called {record['id']!r}: give those of the selection"
        )
    values = dict(zip(names, rows[0][1:], strict=True))
    nan = [name for name, value in values.items() if isinstance(value, float) and np.isnan(value)]
    return {name: None if name in nan else value for name, value in values.items() if name not in ("id", "row")}


def _skipped(connection: Any, source: Scores, row: int, values: Mapping[str, Any]) -> dict[str, str]:
    """In words what is known of a row's values that were not computed, by column."""
    if not source.skipped:
        return {}
    query = f"SELECT {source.skipped} FROM {source.sql} WHERE {source.number} = {row}"
    words = {}
    for name in connection.execute(query).fetchall()[0][0] or ():
        low, high = values.get(name + LOW), values.get(name + HIGH)
        words[name] = "not computed" if low is None else f"between {low:.4g} and {high:.4g}, not computed further"
    return words


def _places(
    connection: Any, source: Scores, path: Path, rule: TopPerGroup, record: Mapping[str, Any], values: Mapping[str, Any]
) -> dict[str, list[Place]]:
    """Where a row stands in each of its groups, by the family's name: among the rows that were ranked there."""
    places: dict[str, list[Place]] = {}
    for column in rule.by:
        family = rule._label(column)
        if record.get(f"{family}_rank") is None or values.get(column) is None:
            continue
        groups = values[column] if isinstance(values[column], list) else [values[column]]
        connection.register(
            "ranked", pq.read_table(path, columns=["row"], filters=pc.field(f"{family}_rank").is_valid())
        )
        for group in groups:
            size, rank = _rank(connection, source, rule, column, group, record, values)
            same = (record[f"{family}_rank"], record[f"{family}_group_size"]) == (rank, size)
            share = None if rule.fraction is None else int(np.ceil(rule.fraction * size - 1e-9))
            named = column == CLASSES and int(group) < len(source.class_names)
            name = group_in_words(family, source.class_names[int(group)] if named else group)
            places.setdefault(family, []).append(Place(name, rank, size, record[f"{family}_cutoff"] if same else share))
        connection.unregister("ranked")
    return places


def _rank(
    connection: Any,
    source: Scores,
    rule: TopPerGroup,
    column: str,
    group: Any,
    record: Mapping[str, Any],
    values: Mapping[str, Any],
) -> tuple[int, int]:
    """Rows of a group, of those in `ranked`, and the rank of a row among them."""
    score, row_id = source.columns[str(rule.column)], f"CAST({source.columns['id']} AS VARCHAR)"
    member = (
        f"list_contains({source.columns[column]}, $group)"
        if isinstance(values[column], list)
        else f"{source.columns[column]} = $group"
    )
    better = f"{score} > own.value OR ({score} = own.value AND {row_id} < $id)"
    query = f"""SELECT count(*), count(*) FILTER ({better}) + 1
                FROM {source.sql}, (SELECT {score} AS value FROM {source.sql} WHERE {source.number} = $row) AS own
                WHERE {member} AND {source.number} IN (SELECT "row" FROM ranked)"""
    parameters = {"group": group, "id": record["id"], "row": record["row"]}
    size, rank = connection.execute(query, parameters).fetchall()[0]
    return int(size), int(rank)


def _judged(
    rules: Sequence[Rule],
    steps: Sequence[Step],
    record: Mapping[str, Any],
    values: Mapping[str, Any],
    ranks: Mapping[str, list[Place]],
) -> list[Judgement]:
    judgements = []
    for rule, step in zip(rules, steps, strict=False):
        groups = rule.by if isinstance(rule, TopPerGroup) else ()
        read = {name: values[name] for name in rule.reads if name in values and name not in groups}
        families = [rule._label(column) for column in rule.by] if isinstance(rule, TopPerGroup) else [_family(rule)]
        places = [place for family in families for place in ranks.get(family) or place_of(record, family)]
        judgements.append(Judgement(step.text, read, _passes(rule, step, read, places, record), places))
    return judgements


def _family(rule: Rule) -> str:
    return "stratum" if rule.kind == "stratified" else rule.kind


def _passes(
    rule: Rule, step: Step, values: Mapping[str, Any], places: Sequence[Place], record: Mapping[str, Any]
) -> bool | None:
    if isinstance(rule, Bounded) and rule.column in values:
        value = values[rule.column]
        if isinstance(value, str):  # it was skipped: what the rule said is in the reason, unless the row was out before
            return record["kept"] or (False if record["reason"] == f"dropped:{rule.column}" else None)
        return value is not None and all(stays(value, name, bound) for name, bound in bounds_of(rule, step).items())
    if any(place.cutoff is not None and place.rank <= place.cutoff for place in places):
        return True
    if record["kept"]:
        return True
    return False if places else None


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {in_full(value)}" for name, value in values.items())
