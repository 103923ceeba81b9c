"""What has to hold before a recipe's table is begun, above all by processes each of which makes its part by itself."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq

from sds_hf.scores.base.batches import all_columns
from sds_hf.scores.base.score import Score
from sds_hf.selection.cascade.plan import stretches
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.rules import Rule
from sds_hf.selection.select import rows_left
from sds_hf.table.job import table_schema
from sds_hf.table.partial.phase import Phase
from sds_hf.table.team import ALONE


def phase_of_parts(
    recipe: Recipe, scores: Sequence[Score], folder: Path, manifest: Mapping[str, Any], instead: str = ALONE
) -> Phase:
    """The one pass over the rows in which processes that wait for nobody make the table of a recipe.

    Args:
        recipe: whose rules decide.
        scores: of the table, with `classes_present`.
        folder: of the table, for messages.
        manifest: what is there already; empty if nothing is.
        instead: what a message says to do.

    Raises:
        ValueError: if a rule looks at all rows before another is asked, or the folder's table is for other rules.
    """
    parts, wish = stretches(recipe.rules, scores), wish_of(recipe)
    if len(parts) > 1:
        rule = parts[1].rules[-1].label
        raise ValueError(
            f"{rule!r} looks at all rows before what comes after it is scored, so parts have to wait for each other; "
            + instead
        )
    phase = Phase(parts[0].needs, None, 0, 1, wish)
    if manifest and not phase.is_begun(manifest):
        raise ValueError(
            f"{folder} is scored for other rules, and going on with these is for processes that wait for each other; "
            + instead
        )
    return phase


def check_columns(rules: Sequence[Rule], scores: Sequence[Score]) -> None:
    """Refuse rules that read what the table will not have, or no numbers, before anything is computed.

    Args:
        rules: of a recipe.
        scores: of the table, with `classes_present`.

    Raises:
        ValueError: names it.
    """
    columns = {"id", "row", *all_columns(scores)}
    if missing := [name for rule in rules for name in rule.reads if name not in columns]:
        raise ValueError(f"the rules read {missing}, which no score of the recipe writes; there are {sorted(columns)}")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "no-rows.parquet"
        pq.write_table(table_schema(all_columns(scores)).empty_table(), path)
        for rule in rules:
            with suppress(LookupError, TypeError):  # a rule of somebody else's may need a row
                rows_left(path, [rule])


def wish_of(recipe: Recipe) -> dict[str, Any]:
    """What a manifest says that a table is for."""
    return {"recipe": recipe.name, "rules": [{rule.kind: rule.settings()} for rule in recipe.rules]}
