"""What several recipes keep of the same scores: how much they agree on, by class, and what comes and goes."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import duckdb
from pydantic import BaseModel, ConfigDict, Field

from sds_hf.selection.duck import arrow_relation, database, parquet_relation
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.report import ALIKE, OF_ONE_ROW, Step
from sds_hf.selection.rules import resized
from sds_hf.selection.select import EmptySelectionError, Selection, select
from sds_hf.selection.source import open_scores
from sds_hf.table.score_table import ScoreTable

if TYPE_CHECKING:
    from datasets import Dataset

DEFECT = "defect"  # the demo's truth
EXAMPLES = 5


class Turn(BaseModel):
    """Rows that a recipe keeps and the first does not, or the reverse.

    Attributes:
        rows: how many.
        reasons: why the one of the two that drops them does so, the most frequent first.
        examples: some ids.
    """

    model_config = ConfigDict(extra="forbid")

    rows: int
    reasons: dict[str, int] = Field(default_factory=dict)
    examples: list[str] = Field(default_factory=list)


class Choice(BaseModel):
    """What one recipe keeps.

    Attributes:
        recipe: its name or file.
        kept: rows.
        clean: of these, where the truth is known.
        classes: kept rows by class.
        steps: what each rule did.
        notes: what a person should look at.
        came: rows that the first recipe does not keep; None in the first.
        went: rows that only the first keeps; None in the first.
    """

    model_config = ConfigDict(extra="forbid")

    recipe: str
    kept: int
    clean: int | None = None
    classes: dict[str, int] = Field(default_factory=dict)
    steps: list[Step] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    came: Turn | None = None
    went: Turn | None = None


class Overlap(BaseModel):
    """Two recipes: rows that both keep, and rows that either keeps."""

    model_config = ConfigDict(extra="forbid")

    recipes: tuple[str, str]
    both: int
    either: int


class Comparison(BaseModel):
    """What several recipes keep of the same candidates.

    Attributes:
        rows: candidates.
        truth: the column that tells which rows have a defect; None if there is none.
        clean: candidates without a defect.
        classes: candidates by class.
        recipes: in their order; the others are compared with the first.
        overlaps: of every two.
    """

    model_config = ConfigDict(extra="forbid")

    rows: int
    truth: str | None = None
    clean: int | None = None
    classes: dict[str, int] = Field(default_factory=dict)
    recipes: list[Choice]
    overlaps: list[Overlap] = Field(default_factory=list)


def compare(
    scores: "ScoreTable | Dataset | str | Path",
    recipes: Sequence[Recipe | str | Path],
    *,
    target: int | None = None,
    truth: str | None = None,
    dataset: "Dataset | str | None" = None,
    memory_limit: str | None = None,
    scratch: str | Path | None = None,
) -> Comparison:
    """Apply several recipes to the same scores.

    Args:
        scores: see `select`.
        recipes: two or more recipes, names or files.
        target: rows that each recipe keeps in place of the share of its last rule, so that sizes are equal.
        truth: column that is null for a clean row and else names its defect, of the scores or of their dataset; if
            None, the column `defect` where the scores have one.
        dataset: that was scored, if it is to tell the truth and the scores do not say which it is.
        memory_limit: see `select`.
        scratch: see `select`.

    Raises:
        ValueError: if there are fewer than two recipes, one cannot be applied to the scores (see `select`), or the
            truth is in neither the scores nor the dataset. A recipe that keeps no row is part of the comparison.

    Examples:
        >>> half = Recipe(name="half", rules=[TopK("pcs", fraction=0.5)])
        >>> [(choice.recipe, choice.kept) for choice in compare(scored, [recipe, half]).recipes]
        [('mine', 14), ('half', 12)]
    """
    if len(recipes) < 2:
        raise ValueError(f"compare needs two recipes or more, not {len(recipes)}")
    names = _names(recipes)
    with TemporaryDirectory(prefix="sds-hf-", dir=scratch) as folder, database(memory_limit, scratch) as connection:
        choices = []
        for number, recipe in enumerate(recipes):
            loaded = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
            if target is not None:
                loaded = loaded.model_copy(update={"rules": resized(loaded.rules, target)})
            choices.append(_choose(scores, loaded, Path(folder) / str(number), memory_limit, scratch))
        if all(isinstance(choice, str) for choice in choices):
            raise EmptySelectionError("no recipe keeps a row: " + "; ".join(map(str, choices)))
        decided = _Decisions(connection, scores, choices)
        column = decided.load_truth(truth, dataset)
        return decided.comparison(names, choices, column)


def _names(recipes: Sequence[Recipe | str | Path]) -> list[str]:
    """What to call the recipes: files without their folders, unless these tell them apart."""
    names = [recipe.name if isinstance(recipe, Recipe) else Path(recipe).name for recipe in recipes]
    if len(set(names)) == len(names):
        return names
    return [name if isinstance(recipe, Recipe) else str(recipe) for name, recipe in zip(names, recipes, strict=True)]


def _choose(scores: Any, recipe: Recipe, out: Path, memory_limit: str | None, scratch: Any) -> Selection | str:
    """The selection, or why it is empty."""
    try:
        return select(scores, recipe, out=out, memory_limit=memory_limit, scratch=scratch)
    except EmptySelectionError as error:
        return str(error)


def _scored_dataset(provenance: Mapping[str, Any]) -> str | None:
    """What a score table calls the dataset it is of; other scores do not know."""
    return provenance["source"].get("name") or None if "table_sha256" in provenance else None


class _Decisions:
    """The decisions of all recipes side by side.

    The table `rows` has `row`, `id`, and for each recipe by its number `kept_<n>` and `reason_<n>`.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, scores: Any, choices: Sequence[Selection | str]) -> None:
        self._db, self._scores = connection, scores
        selections = {number: choice for number, choice in enumerate(choices) if isinstance(choice, Selection)}
        parts: list[str] = []
        for number, selection in selections.items():
            files = parquet_relation(connection, [selection.path])
            kept, reason = files.columns["kept"], files.columns["reason"]
            columns = f'{files.columns["row"]} AS "row", {files.columns["id"]} AS id, ' if not parts else ""
            parts.append(f"(SELECT {columns}{kept} AS kept_{number}, {reason} AS reason_{number} FROM {files.sql})")
        empty = "".join(
            f", false AS kept_{number}, 'dropped:' AS reason_{number}"
            for number, choice in enumerate(choices)
            if isinstance(choice, str)
        )
        connection.execute(f"CREATE TABLE rows AS SELECT *{empty} FROM {' POSITIONAL JOIN '.join(parts)}")

    def load_truth(self, column: str | None, dataset: Any) -> str | None:
        """Make the table `clean` of the rows without a defect; returns the column that says so, if there is one."""
        source = open_scores(self._scores, self._db)
        name = column or DEFECT
        if name in source.columns:
            sql = f'SELECT {source.number} AS "row" FROM {source.sql} WHERE {source.columns[name]} IS NULL'
        elif column is None and dataset is None:
            return None
        else:
            sql = self._in_dataset(name, dataset or _scored_dataset(source.provenance))
        self._db.execute(f"CREATE TABLE clean AS {sql}")
        return name

    def _in_dataset(self, column: str, dataset: Any) -> str:
        """SQL of the clean rows, where the dataset says which these are."""
        from sds_hf.data.opening import open_dataset

        if not dataset:
            raise ValueError(f"the scores have no column {column!r}, nor say which dataset they are of: name it")
        rows = open_dataset(dataset) if isinstance(dataset, str) else dataset
        if column not in rows.column_names:
            raise ValueError(f"neither the scores nor their dataset have a column {column!r} that tells the truth")
        names = [name for name in ("id", column) if name in rows.column_names]
        table = rows.select_columns(names).with_format("arrow")[:]
        relation = arrow_relation(self._db, table, "truth_of_dataset")
        numbered = f"(SELECT *, row_number() OVER () - 1 AS number FROM {relation.sql})"
        others = f"""SELECT count(*) FROM rows FULL JOIN {numbered} ON "row" = number
                     WHERE "row" IS NULL OR number IS NULL"""
        if "id" in names:
            others += f' OR (id <> CAST({relation.columns["id"]} AS VARCHAR) AND id <> CAST("row" AS VARCHAR))'
        if self._value(others):
            raise ValueError(f"the dataset of {len(rows):,} rows that is to tell the truth is not what was scored")
        return f'SELECT number AS "row" FROM {numbered} WHERE {relation.columns[column]} IS NULL'

    def comparison(self, names: Sequence[str], choices: Sequence[Selection | str], truth: str | None) -> Comparison:
        """All of it, counted."""
        first = next(choice for choice in choices if isinstance(choice, Selection))
        return Comparison(
            rows=first.report.rows,
            truth=truth,
            clean=self._value('SELECT count(*) FROM rows SEMI JOIN clean USING ("row")') if truth else None,
            classes={count.name: count.before for count in first.report.classes},
            recipes=[self._choice(number, name, choices[number], truth) for number, name in enumerate(names)],
            overlaps=[self._overlap((a, b), names) for a, b in combinations(range(len(names)), 2)],
        )

    def _choice(self, number: int, name: str, choice: Selection | str, truth: str | None) -> Choice:
        report = None if isinstance(choice, str) else choice.report
        clean = f'SELECT count(*) FROM rows SEMI JOIN clean USING ("row") WHERE kept_{number}'
        return Choice(
            recipe=name,
            kept=report.kept if report else 0,
            clean=self._value(clean) if truth else None,
            classes={count.name: count.after for count in report.classes} if report else {},
            steps=report.steps if report else [],
            notes=report.warnings if report else [str(choice)],
            came=self._turn(number, 0) if number else None,
            went=self._turn(0, number) if number else None,
        )

    def _turn(self, keeps: int, drops: int) -> Turn:
        """Rows that one recipe keeps and another drops."""
        rows = f"FROM rows WHERE kept_{keeps} AND NOT kept_{drops}"
        counted = f"regexp_replace(reason_{drops}, '{OF_ONE_ROW}', '{ALIKE}')"
        reasons = self._db.execute(f"SELECT {counted}, count(*) {rows} GROUP BY 1 ORDER BY 2 DESC, 1").fetchall()
        examples = self._db.execute(f"SELECT id {rows} ORDER BY id LIMIT {EXAMPLES}").fetchall()
        return Turn(rows=sum(n for _, n in reasons), reasons=dict(reasons), examples=[name for (name,) in examples])

    def _overlap(self, pair: tuple[int, int], names: Sequence[str]) -> Overlap:
        a, b = (f"kept_{number}" for number in pair)
        both, either = self._db.execute(
            f"SELECT count(*) FILTER ({a} AND {b}), count(*) FILTER ({a} OR {b}) FROM rows"
        ).fetchall()[0]
        return Overlap(recipes=(names[pair[0]], names[pair[1]]), both=both, either=either)

    def _value(self, query: str) -> Any:
        return self._db.execute(query).fetchall()[0][0]
