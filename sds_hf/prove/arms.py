"""The arms of a proof: which rows each segmenter is trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from sds_hf.data.cells import readable
from sds_hf.data.content import row_digests
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.rules import resized
from sds_hf.selection.select import select

if TYPE_CHECKING:
    from datasets import Dataset

    from sds_hf.table.score_table import ScoreTable

FULL, RANDOM, CLEAN, PUBLISHED, RECIPE = "full", "random", "clean", "published", "recipe"


@dataclass(frozen=True)
class Arm:
    """Rows to train on.

    Attributes:
        name: of the recipe, with its size if there are several; `full`, `random N`, `clean` or `published`.
        kind: `full`, `random`, `clean`, `published` or `recipe`.
        rows: ascending row numbers of the dataset, int64; of `random` those that it is drawn from.
        size: rows to train on.
        recipe: name of the recipe, None of other arms.
        clean: share of rows without a known defect, None where the truth is not known.
    """

    name: str
    kind: str
    rows: np.ndarray
    size: int
    recipe: str | None = None
    clean: float | None = None

    def rows_of(self, seed: int) -> np.ndarray:
        """The rows of one seed, ascending: of `random` others each time, of a smaller one part of a larger one's."""
        if self.kind != RANDOM:
            return self.rows
        return np.sort(np.random.default_rng([seed, 2]).permutation(self.rows)[: self.size])


@dataclass(frozen=True)
class Arms:
    """All arms of a proof.

    Attributes:
        arms: in order: full, recipes, random ones of their sizes, clean.
        missing: what cannot be trained and why, a sentence each.
        candidates: rows that were scored.
    """

    arms: tuple[Arm, ...]
    missing: tuple[str, ...]
    candidates: int


def make_arms(
    dataset: "Dataset",
    scores: "ScoreTable | Dataset | str | Path",
    recipes: Sequence[Recipe],
    sizes: Sequence[float] = (),
    truth: str | None = None,
) -> Arms:
    """The arms of a proof.

    Args:
        dataset: rows with pictures: the candidates, or some of them, told apart by `id`.
        scores: of all candidates, as for `select`.
        recipes: each becomes an arm.
        sizes: shares of the candidates; each recipe is resized to each, besides its own size.
        truth: column of the dataset or of the scores that is null for clean rows.

    Raises:
        ValueError: if the rows of dataset and scores cannot be matched, or a recipe keeps nothing.
    """
    names = [recipe.name for recipe in recipes]
    if len(set(names)) < len(names):
        raise ValueError(f"two recipes are called {max(names, key=names.count)!r}; give each a name of its own")
    candidates = _Candidates(dataset, scores, truth)
    arms, missing = [candidates.arm(FULL, FULL, candidates.scored)], list[str]()
    if candidates.published is not None:
        arms.append(candidates.arm(PUBLISHED, PUBLISHED, candidates.published))
    for recipe in recipes:
        arms.append(candidates.arm(recipe.name, RECIPE, select(scores, recipe).kept_rows(), recipe.name))
        for share in sizes:
            name, target = f"{recipe.name} {share:.4g}", round(share * candidates.count)
            try:
                kept = select(scores, resized(recipe.rules, target)).kept_rows()
            except ValueError as error:
                missing.append(f"{name}: {error}")
                continue
            arms.append(candidates.arm(name, RECIPE, kept, recipe.name))
    if candidates.is_clean is not None:
        clean = candidates.scored[candidates.is_clean[candidates.scored]]
        arms.append(candidates.arm(CLEAN, CLEAN, clean))
    arms = _unlike(arms, missing)
    chosen = {arm.size for arm in arms if arm.kind in (RECIPE, PUBLISHED)} - {len(candidates.scored)}
    for size in sorted(chosen):
        pool = candidates.arm(f"{RANDOM} {size:,}", RANDOM, candidates.scored)
        arms.append(replace(pool, size=size))
    return candidates.with_pictures(arms, missing)


def check_apart(dataset: "Dataset", evaluation: Mapping[str, "Dataset"]) -> None:
    """Refuse pictures to evaluate on that are trained on.

    Raises:
        ValueError: if one of an evaluation set is among the candidates, byte for byte.
    """
    candidates = set(row_digests(readable(dataset, ["image"])))
    for name, chosen in evaluation.items():
        if shared := sum(digest in candidates for digest in row_digests(readable(chosen, ["image"]))):
            raise ValueError(
                f"{shared:,} of the {len(chosen):,} pictures of {name} are among the candidates: an arm would be "
                "evaluated on what it was trained on; take them out of one of the two"
            )


class _Candidates:
    """Rows that were scored, and where their pictures are; `row` is what the scores call a row, by its number.

    Attributes:
        count: rows of the scores.
        scored: numbers of those that did not fail.
        published: numbers of those that the scores of a published set say were kept; None for other scores.
        is_clean: whether a row is clean, by number; None where nobody knows.
    """

    def __init__(self, dataset: "Dataset", scores: Any, truth: str | None) -> None:
        everything = select(scores, [])
        table = everything.table().sort_by("row")
        numbers = table["row"].to_numpy()
        rows_here = _rows_of(dataset, table)
        self._row_of = np.full(int(numbers.max()) + 1, -1)  # of a row in the dataset, by number
        self._row_of[numbers] = rows_here
        self.count, self.scored = len(table), everything.kept_rows()
        kept = _column(scores, "kept")
        self.published = None if kept is None else numbers[np.array(kept.to_pylist(), bool)]
        values = None if truth is None else _column(scores, truth)
        if values is None and truth in dataset.column_names and (rows_here >= 0).all():
            values = dataset.select_columns([truth]).with_format("arrow")[:][truth].take(pa.array(rows_here))
        self.is_clean = None if values is None else np.zeros(len(self._row_of), bool)
        if self.is_clean is not None and values is not None:
            self.is_clean[numbers] = values.is_null().to_numpy()

    def arm(self, name: str, kind: str, rows: np.ndarray, recipe: str | None = None) -> Arm:
        """An arm of some candidates, by their numbers."""
        share = None if self.is_clean is None or not len(rows) else round(float(self.is_clean[rows].mean()), 4)
        return Arm(name, kind, np.sort(rows).astype(np.int64), len(rows), recipe, share)

    def with_pictures(self, arms: Sequence[Arm], missing: list[str]) -> Arms:
        """The arms whose rows all have pictures, by row numbers of the dataset; the others are said to be missing.

        Raises:
            ValueError: if there is none.
        """
        complete = []
        for arm in arms:
            rows_here = self._row_of[arm.rows]
            lacking = int((rows_here < 0).sum())
            if lacking:
                missing.append(
                    f"{arm.name}: {lacking:,} of its {len(rows_here):,} rows have no pictures in the dataset; give all "
                    "candidates as DATASET"
                )
            else:
                complete.append(replace(arm, rows=np.sort(rows_here)))
        if not complete:
            raise ValueError(f"no arm can be trained: {missing[0]}")
        return Arms(tuple(complete), tuple(missing), self.count)


def _rows_of(dataset: "Dataset", table: pa.Table) -> np.ndarray:
    """For each scored row its number in the dataset, -1 if it is not there.

    Raises:
        ValueError: if that cannot be told.
    """
    names = [str(name) for name in table["id"].to_pylist()]
    if "id" not in dataset.column_names:
        if len(dataset) != len(names):
            raise ValueError(
                f"the scores are of {len(names):,} rows, the dataset has {len(dataset):,} and no `id` to match them by"
            )
        return np.arange(len(names))
    stored = dataset.select_columns(["id"]).with_format("arrow")[:]["id"].to_pylist()
    numbers: dict[str, int] = {str(name): number for number, name in enumerate(stored)}
    if len(numbers) < len(stored):
        raise ValueError("ids of the dataset repeat; a proof needs each row once")
    rows_here = np.array([numbers.get(name, -1) for name in names])
    if not (rows_here >= 0).any():
        if len(dataset) == len(names) and names == [str(number) for number in table["row"].to_pylist()]:
            return np.arange(len(names))  # scored without ids
        raise ValueError(
            f"no id of the scores is in the dataset: they have {names[0]!r}, the dataset {str(stored[0])!r}"
        )
    return rows_here


def _column(scores: Any, name: str) -> Any:
    """A column of scores in the order of their rows, None if there is none."""
    from datasets import Dataset

    if isinstance(scores, Dataset):
        return scores.select_columns([name]).with_format("arrow")[:][name] if name in scores.column_names else None
    return None


def _unlike(arms: list[Arm], missing: list[str]) -> list[Arm]:
    """Arms without those that keep the rows of an earlier one of their recipe: what is kept is all there is."""
    kept: list[Arm] = []
    for arm in arms:
        same = [old for old in kept if old.recipe == arm.recipe and arm.recipe and np.array_equal(old.rows, arm.rows)]
        if same:
            missing.append(f"{arm.name}: its rows are those of {same[0].name}, the rules leave no more")
        else:
            kept.append(arm)
    return kept
