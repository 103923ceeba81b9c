"""`sds-hf join`: score tables of the same rows become one."""

from pathlib import Path
from typing import Annotated

import typer

from sds_hf.cli import options


def command(
    tables: Annotated[list[Path], typer.Argument(help="Folders of score tables of the same rows, two or more.")],
    out: Annotated[Path, options.path("Folder of the joined table; that of the first table replaces it.")],
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Join score tables of the same rows; of a score that several have, the last one counts."""
    from sds_hf.cli import show
    from sds_hf.cli.answer import answer
    from sds_hf.table.join import differing, join_tables
    from sds_hf.table.manifest import NEEDED
    from sds_hf.table.score_table import ScoreTable

    loaded = [ScoreTable.load(folder) for folder in tables]
    replaced = {
        score: changes
        for number, table in enumerate(loaded)
        for later in loaded[number + 1 :]
        for score, changes in differing(table, later.manifest["scores"]).items()
    }
    if not json:
        options.say_replaced(replaced)
    joined = join_tables(loaded, out)
    scores = [entry["score"] for entry in joined.manifest["scores"]]
    if json:
        counts = {"rows": joined.manifest["source"]["rows"], "scores": len(scores)}
        needed = {NEEDED: joined.manifest[NEEDED]} if joined.skips else {}
        return answer("join", {"scores": scores, "replaced": replaced, **needed}, out=out, counts=counts)
    rows = joined.manifest["source"]["rows"]
    show.out.say("{} rows with {} into {}", f"{rows:,}", ", ".join(scores), out)
    show.needed(joined.manifest, rows)
    return None
