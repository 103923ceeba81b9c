"""Shards of a table of which only that is computed which decides: what they have, and that they have all."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sds_hf.scores.base.batches import all_columns
from sds_hf.scores.base.score import Score
from sds_hf.table.job import table_schema
from sds_hf.table.partial.joined import FRAME, skipped_and_status, skipped_rows
from sds_hf.table.partial.needs import SKIPPED, partial_columns
from sds_hf.table.shards import Shard, Shards


def computed(scores: Sequence[Score], shards: Shards, finished: Mapping[int, Shard]) -> dict[str, Any]:
    """What a manifest says of the shards: rows that have a score, by column, and work, by kind."""
    rows, work = Counter[str](), dict[str, list[int]]()
    for number in finished:
        table = shards.read(number)
        counts = Counter(name for cell in table[SKIPPED].to_pylist() for name in cell or ())
        ok = table.num_rows - finished[number].failed
        rows.update({name: ok - counts[name] for name in all_columns(scores)})
        for score in scores:
            for name, (count, whole) in score.work(table).items():
                before = work.get(name, [0, 0])
                work[name] = [before[0] + count, before[1] + whole]
    return {"rows": dict(rows), "work": work}


def without_partial_columns(scores: Sequence[Score], shards: Shards, finished: Mapping[int, Shard]) -> dict[int, Shard]:
    """Shards in which no value is skipped any more, written as those of a table that never skipped one."""
    schema, whole = table_schema(all_columns(scores)), dict[int, Shard]()
    for number in sorted(finished):
        table = shards.read(number)
        if SKIPPED in table.column_names:
            table = table.select(schema.names).cast(schema)
            whole[number] = shards.write(number, table, finished[number].content_sha256)
    return whole


def with_values_of(scores: Sequence[Score], stored: Sequence[Score], table: pa.Table) -> pa.Table:
    """Rows with all columns of some scores, in which nothing is computed but what a table has.

    Args:
        scores: that are to be computed.
        stored: those of them that the table has with the same settings.
        table: rows of it.
    """
    schema, count = table_schema(partial_columns(scores)), table.num_rows
    known = {*FRAME, *partial_columns(stored)} & {*table.column_names}
    skipped, failed = skipped_rows(table), pc.equal(table["status"], "failed").to_numpy()
    lacking = {
        name: skipped.get(name, np.zeros(count, bool)) if name in known else np.ones(count, bool)
        for name in all_columns(scores)
    }
    rows = {field.name: table[field.name] if field.name in known else pa.nulls(count, field.type) for field in schema}
    return pa.table(rows | skipped_and_status(lacking, failed)).cast(schema)
