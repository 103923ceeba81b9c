"""What each score, rule and recipe sees of a known truth."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from sds_hf.files import write_whole
from sds_hf.prove.judge_auroc import Bootstrap, Interval, aurocs, best, weighted_share
from sds_hf.prove.judge_orders import kept_by, misfit, order_of, seconds_a_row
from sds_hf.prove.judge_truth import (
    OWN,
    Truth,
    numbers,
    open_scored,
    read_scores,
    score_columns,
    skipped_columns,
    with_truth,
)
from sds_hf.selection.recipe import Recipe, recipe_names
from sds_hf.selection.rules import Rule
from sds_hf.selection.rules.base import SkippedScoresError
from sds_hf.selection.summary import differences
from sds_hf.table.score_table import ScoreTable

if TYPE_CHECKING:
    from datasets import Dataset

Kind = Literal["chance", "score", "rule", "recipe"]
STANDARD = ("sds-paper", "demo")  # recipes whose size is that of the comparison, if they can be judged


class Sight(BaseModel):
    """What one score, rule or recipe sees.

    Attributes:
        name: of the column or recipe, or the rule in a few words.
        kind: `chance` for rows drawn at random.
        auroc: by defect, `any` for all of them together: the chance that a clean row comes before one with the defect,
            with its 95 % interval. 0.5 sees nothing; below it, low values are the clean ones.
        by_strength: the same by defect and strength, without intervals.
        kept: rows among which the precision is.
        precision: share of clean rows among the kept, with its 95 % interval.
        classes: share of the rows that show a class that is kept, by class.
        own_kept: rows that the rules keep by themselves.
        own_precision: share of clean rows among those.
        seconds: a row, where it was measured.
        notes: how scores were computed otherwise than the recipe asks.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    kind: Kind
    auroc: dict[str, Interval]
    by_strength: dict[str, float] = {}
    kept: int
    precision: Interval
    classes: dict[str, float] = {}
    own_kept: int | None = None
    own_precision: float | None = None
    seconds: float | None = None
    notes: list[str] = []


class Judgement(BaseModel):
    """What scores, rules and recipes see of a truth.

    Attributes:
        truth: the column.
        rows: number of rows.
        clean: rows without a defect.
        defects: rows by defect.
        size: rows kept where all are compared at the same size.
        size_of: whose size that is.
        draws, seed: of the bootstrap.
        sights: one a score, rule and recipe.
        not_judged: recipes that do not fit these scores, and what asks for values that were skipped; and why.
    """

    model_config = ConfigDict(extra="forbid")

    truth: str
    rows: int
    clean: int
    defects: dict[str, int]
    size: int
    size_of: str
    draws: int
    seed: int
    sights: list[Sight]
    not_judged: dict[str, str] = {}

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        write_whole(Path(path), self.model_dump_json(indent=2) + "\n")

    def sight(self, name: str) -> Sight:
        """What is said of one score, rule or recipe."""
        return next(sight for sight in self.sights if sight.name == name)


def judge(
    scores: ScoreTable | str | Path,
    *,
    truth: str = "defect",
    dataset: "Dataset | str | None" = None,
    recipes: Sequence[str | Path] | None = None,
    rules: Sequence[Rule] = (),
    size: int | float | None = None,
    draws: int = 500,
    seed: int = 0,
    timed_rows: int = 0,
) -> Judgement:
    """Compare scores, rules and recipes with a truth that none of them was told.

    Of a table of `score_for`, what asks for values that it skips is not judged: scores that it has of some rows only,
    and the rules and recipes that need more of them.

    Args:
        scores: a score table or its folder, or a Parquet file or pattern with columns of scores.
        truth: column that is null for a clean row and else names its defect; in the scores, or in the dataset.
        dataset: that was scored; the one that the table names if None.
        recipes: files or names; if None all of the package whose rules read what is there, and whose scores were
            computed with the same settings (another model aside).
        rules: each judged alone.
        size: rows to keep, or a share of them, for a comparison at equal size; what the paper's recipe keeps if None,
            and half of the rows if that cannot be judged.
        draws: of the bootstrap.
        seed: of the bootstrap.
        timed_rows: how many rows each score is computed for again to say what it costs, one score at a time.

    Raises:
        ValueError: if the truth is not there, names no defect or only defects, there is no score, or a recipe that is
            named reads columns that are not there, or has bounds for scores of another kind.
    """
    if isinstance(scores, ScoreTable):
        scores = scores.folder
    table, manifest = read_scores(scores)
    if timed_rows and manifest is None:
        raise ValueError("only a score table says how its scores were computed, which timing them needs")
    table = with_truth(table, manifest, truth, dataset)
    rows = Truth(table, truth, manifest)
    skipped = skipped_columns(table)
    columns = {name: numbers(table[name]) for name in score_columns(table, truth) if name not in skipped}
    if not columns and not skipped:
        raise ValueError(f"{scores} has no column of numbers besides {list(OWN)}: there is no score to judge")
    chosen, not_judged = _chosen(recipes, table.column_names, manifest)
    notes = {one.name: differences(one, manifest["scores"]) for one in chosen if manifest is not None}
    not_judged |= {name: why for name, why in skipped.items() if name in score_columns(table, truth)}
    own = dict[str, np.ndarray | None]()
    for recipe in chosen:
        with _if_computed(recipe.name, not_judged):
            own[recipe.name] = kept_by(scores, recipe.rules, table.num_rows)
    count, size_of = _size(size, own, table.num_rows)
    against = _Against(rows, count, Bootstrap(rows.originals, draws, seed))
    sights = [against.chance()]
    sights += [against.sight(name, "score", values, best(values, count)) for name, values in columns.items()]
    for rule in rules:
        with _if_computed(rule.label, not_judged):
            alone = kept_by(scores, [rule], table.num_rows)
            sights += against.in_order(scores, rule.label, "rule", [rule], alone, not_judged)
    for recipe in (one for one in chosen if one.name in own):
        with _if_computed(recipe.name, not_judged):
            sights += against.in_order(scores, recipe.name, "recipe", recipe.rules, own[recipe.name], not_judged)
    for sight in sights:
        sight.notes = notes.get(sight.name, []) if sight.kind == "recipe" else []
    if timed_rows and manifest is not None:
        _add_costs(sights, chosen, seconds_a_row(open_scored(dataset, manifest), manifest, timed_rows))
    return Judgement(
        truth=truth, rows=table.num_rows, clean=int(rows.clean.sum()), defects=rows.counts, size=count,
        size_of=size_of, draws=draws, seed=seed, sights=sights, not_judged=not_judged,
    )  # fmt: skip


@contextmanager
def _if_computed(name: str, not_judged: dict[str, str]) -> Iterator[None]:
    """Judge something unless it asks for values that were skipped, which `not_judged` then says."""
    try:
        yield
    except SkippedScoresError as error:
        not_judged[name] = str(error)


@dataclass(frozen=True)
class _Against:
    """The truth that orders of the rows are compared with, at one size.

    Attributes:
        rows: what is wrong with each.
        count: how many are kept.
        bootstrap: for the intervals.
    """

    rows: Truth
    count: int
    bootstrap: Bootstrap

    def sight(
        self, name: str, kind: Kind, order: np.ndarray, kept: np.ndarray, alone: np.ndarray | None = None
    ) -> Sight:
        """What is said of an order (N,), of the part (N,) of each row that it keeps, and of what it keeps by itself."""
        return Sight(
            name=name,
            kind=kind,
            auroc=aurocs(order, self.rows.clean, self.rows.kinds, self.bootstrap),
            by_strength=self.rows.by_strength(order),
            kept=round(kept.sum()),
            precision=weighted_share(kept, self.rows.clean, self.bootstrap),
            classes=self.rows.class_shares(kept),
            own_kept=None if alone is None else int(alone.sum()),
            own_precision=None if alone is None else self.rows.precision(alone),
        )

    def chance(self) -> Sight:
        """What is said of no order at all."""
        rows = len(self.rows.clean)
        return self.sight("chance", "chance", np.zeros(rows), np.full(rows, self.count / rows))

    def in_order(
        self,
        scores: Any,
        name: str,
        kind: Kind,
        rules: Sequence[Rule],
        alone: np.ndarray | None,
        not_judged: dict[str, str],
    ) -> list[Sight]:
        """What is said of rules in order; none if they keep no row, which `not_judged` then says."""
        rows = len(self.rows.clean)
        same_size = kept_by(scores, rules, rows, self.count)
        kept = alone if same_size is None or same_size.sum() == 0 else same_size
        if alone is None or kept is None or not kept.sum():
            not_judged[name] = "it keeps no row"
            return []
        return [self.sight(name, kind, order_of(scores, rules, rows), kept, alone)]


def _add_costs(
    sights: Sequence[Sight], recipes: Sequence[Recipe], seconds: Mapping[str, tuple[set[str], float]]
) -> None:
    """Note what the scores cost that each sight reads, in seconds a row."""
    reads = {recipe.name: {column for rule in recipe.rules for column in rule.reads} for recipe in recipes}
    for sight in sights:
        columns = reads.get(sight.name, {sight.name})
        costs = [cost for written, cost in seconds.values() if written & columns]
        sight.seconds = float(f"{sum(costs):.3g}") if costs else None


def _chosen(
    named: Sequence[str | Path] | None, columns: Sequence[str], manifest: Mapping[str, Any] | None
) -> tuple[list[Recipe], dict[str, str]]:
    """Recipes to judge, and why others are not."""
    chosen, not_judged = list[Recipe](), dict[str, str]()
    for name in recipe_names() if named is None else named:
        recipe = Recipe.load(name)
        reason = misfit(recipe, columns, manifest["scores"] if manifest else None)
        if reason and named is not None and reason.startswith("there is no "):
            raise ValueError(f"recipe {recipe.name}: {reason} among the scores; there are {sorted(columns)}")
        if reason and named is None:
            not_judged[recipe.name] = reason
        elif recipe.rules:
            chosen.append(recipe)
    return chosen, not_judged


def _size(size: int | float | None, own: Mapping[str, np.ndarray | None], rows: int) -> tuple[int, str]:
    """How many rows are kept where all are compared, and whose size that is.

    Raises:
        ValueError: if it is no number of rows and no share of them.
    """
    if size is not None:
        count = round(size * rows) if isinstance(size, float) and size <= 1 else int(size)
        if not 1 <= count <= rows:
            raise ValueError(f"a size is a number of rows from 1 to {rows}, or a share up to 1.0, not {size}")
        return count, "as asked"
    for name in STANDARD:
        kept = own.get(name)
        if kept is not None and 0 < kept.sum() < rows:
            return int(kept.sum()), f"what {name} keeps"
    return max(1, rows // 2), "half of the rows"
