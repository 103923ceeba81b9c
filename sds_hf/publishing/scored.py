"""Scores that are columns of a dataset, as the score table that is published."""

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from sds_hf.data.cells import READABLE
from sds_hf.data.content import content_digest
from sds_hf.data.labels import class_names
from sds_hf.scores.base.add import add_scores, recorded_scores
from sds_hf.scores.base.catalog import score_classes
from sds_hf.scores.classes_present import ClassesPresent
from sds_hf.selection.select import Selection
from sds_hf.table.score_table import ScoreTable
from sds_hf.table.shards import Shards

if TYPE_CHECKING:
    from datasets import Dataset


def table_of(scored: "Dataset", selection: Selection, folder: Path) -> ScoreTable:
    """The scores of a dataset as a table of one shard.

    Why a row could not be scored is not known of a dataset: such rows have nulls and no error.

    Args:
        scored: by `add_scores`; the one that was selected from.
        selection: of its rows.
        folder: where to write.

    Raises:
        ValueError: if nothing says how the scores were computed, or the selection was not made of them.
    """
    record, provenance = recorded_scores(scored), selection.report.provenance
    source = provenance.get("source") or {}
    same = record["scores"] and record["scores"] == provenance.get("scores")
    if not same or content_digest(scored, source.get("columns", READABLE)) != source.get("sha256"):
        raise ValueError(
            "the selection was not made from the scores of this dataset: give the one that add_scores made and that "
            "was selected from, or a score table"
        )
    labels = "auto" if class_names(scored.features) else record["labels"]["name"]
    counted = scored if "classes_present" in scored.column_names else add_scores(scored, ClassesPresent(labels=labels))
    written = dict(ClassesPresent.columns)
    for identity in record["scores"]:
        score = score_classes()[identity["score"]]
        written |= score.columns | score.optional_columns
    columns = counted.select_columns([name for name in written if name in counted.column_names]).with_format("arrow")[:]
    decided, rows = selection.table(), len(scored)
    beside = {"status": pa.array(["ok"] * rows, pa.string()), "error": pa.nulls(rows, pa.string())}
    named = {name: columns[name] for name in columns.column_names}
    whole = pa.table({"id": decided["id"], "row": decided["row"], **named, **beside})
    shard = Shards(folder, rows, max(1, rows)).write(0, whole, source["sha256"])
    names = ("source", "scores", "models", "labels", "device", "notes", "versions")
    # Of a selection from a dataset no digest of a table is known: this is the table.
    manifest = {name: provenance[name] for name in names} | {"shards": [shard.entry()], "joined": [None]}
    return ScoreTable(folder, manifest)
