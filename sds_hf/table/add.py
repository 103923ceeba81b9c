"""Further scores for a table that is there: only these are computed."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from sds_hf.clip.launcher import rank_together
from sds_hf.data.access.remote import folder_at
from sds_hf.data.cells import READABLE, readable
from sds_hf.data.content import Content, content_digests, not_held, of_other_rows, row_digests
from sds_hf.data.labels import labels_of
from sds_hf.files import is_remote, named_folder
from sds_hf.progress import Watch, adding, nothing, once_told
from sds_hf.scores.base.batches import common_labels
from sds_hf.scores.base.catalog import ScoreLike, scores_of
from sds_hf.scores.classes_present import ClassesPresent
from sds_hf.table.job import scored_content
from sds_hf.table.join import check_columns, differing, join_tables
from sds_hf.table.manifest import NEEDED, OtherRequestError, contents_of, read_manifest, with_contents
from sds_hf.table.partial.phase import everything
from sds_hf.table.partial.shards import with_values_of
from sds_hf.table.score_table import ScoreTable, score_table
from sds_hf.table.shards import Shard, Shards
from sds_hf.table.task import Task, make_folder
from sds_hf.table.team import Team
from sds_hf.table.writer import begin

if TYPE_CHECKING:
    from datasets import Dataset

    from sds_hf.scores.base.score import Score

ADDED = ".added"  # a table of the new scores, in the folder of the old one while it is made
JOINING = ".joining"  # a file in there while both become one


def add_to_table(dataset: "Dataset", scores: ScoreLike, out: str | Path, **job: Any) -> ScoreTable:
    """Compute scores that a table does not have, and join them to it; run again, it goes on where it was.

    The table is as it was until all are computed, then all columns are there at once. A score that it has with other
    settings is replaced, see `sds_hf.table.join.differing`. In a table of `score_for` the scores are computed for all
    rows, as far as it has skipped them; what it skips of others stays so. Rows must be those that the table was made
    of. Under `torchrun` or `accelerate launch` each process computes its part, and the first one joins.

    Args:
        dataset: that the table was made of.
        scores: what to compute, as for `add_scores`; those that it has with the same settings, of all rows, are left
            out.
        out: folder of the table.
        **job: `batch_size`, `source`, `progress`, `watch`, `engine`, see `score_table`.

    Returns:
        The table with all scores.

    Raises:
        ValueError: if there is no finished table, or the dataset is not the one it was made of; see `score_table`.

    Examples:
        >>> score_table(candidates, Boundary(), "more").to_arrow().column_names[4:-2]
        ['boundary', 'boundary_class']
        >>> add_to_table(candidates, "prompt_mismatch", "more").to_arrow().column_names[4:-2]
        ['boundary', 'boundary_class', 'prompt_mismatch', 'prompt_missing', 'prompt_unnamed']
    """
    from datasets import Dataset

    chosen, folder = scores_of([scores]), folder_at(out)
    if is_remote(folder):
        raise ValueError(f"scores are added to a table on this machine; copy {out} here first")
    if not isinstance(dataset, Dataset):
        raise ValueError("scores are added to a table of a dataset that can be read again, not of a stream")
    aside = named_folder(folder) / ADDED
    if not aside.exists():
        ScoreTable.load(folder)  # says that there is none; while another process joins, it may be gone for a moment
    team = Team(named_folder(folder), rank_together("adding scores"))
    with _at_work(team, aside):
        table = ScoreTable.load(folder)
        _check_same(table, dataset, chosen, job.get("watch", nothing))
        stored = {entry["score"]: entry for entry in table.manifest["scores"]}
        check_columns(list((stored | {score.name: _identity(score, table) for score in chosen}).values()))
        lacking = [score for score in chosen if _lacks(table.manifest, score)]
        if not lacking:
            return table
        job["rows_per_shard"] = table.manifest["rows_per_shard"]
        with _one_at_a_time(table, aside, team):
            if any(_identity(score, table) in table.manifest["scores"] for score in lacking):
                if team.rank.index == 0:
                    _begin(Task(dataset, lacking, aside, job["rows_per_shard"], job.get("source", "")), table)
                team.wait(lambda: read_manifest(aside) is not None, lambda: [0])
            new = score_table(dataset, lacking, aside, **job)
        if team.rank.index == 0:
            (aside / JOINING).touch()
            team.wait(team.is_alone, lambda: ())  # the others may be reading the new table
            source = _source(table, dataset, new)
            joined = join_tables([table, new], folder, source, _content_of(dataset, source, table))
            shutil.rmtree(aside)
            return joined
    team.wait(lambda: not any(_lacks(read_manifest(folder), score) for score in lacking), lambda: [0])
    return ScoreTable.load(folder)


@contextmanager
def _at_work(team: Team, aside: Path) -> Iterator[None]:
    """Be one of the processes that add to a table; one that comes while the first one joins waits for the end of that.

    The first says that it joins, then looks whether others are at work; they say that they are, then look whether it
    joins: so it never takes the new table away from one that reads it.
    """
    joining = aside / JOINING
    while True:
        with team:
            if team.rank.index == 0:
                joining.unlink(missing_ok=True)  # of a run that was killed
            if not joining.exists():
                yield
                return
        team.wait(lambda: not joining.exists(), lambda: [0])


@contextmanager
def _one_at_a_time(table: ScoreTable, aside: Path, team: Team) -> Iterator[None]:
    """Begin an addition, or go on with it; one of other scores that was stopped before has to be finished first.

    Raises:
        ValueError: if there is such a one, with what it has scored; says what to do.
    """
    if team.rank.count == 1 and not [*aside.glob("scores-*"), *aside.glob("unfinished-*")]:
        shutil.rmtree(aside, ignore_errors=True)  # it was stopped before the first rows were scored
    try:
        yield
    except OtherRequestError as error:
        begun = [entry["score"] for entry in (read_manifest(aside) or {}).get("scores", ())]
        names = ", ".join(name for name in begun if name != ClassesPresent.name)
        raise ValueError(
            f"an addition of {names} to {table.folder} was stopped, and this is another one ({error.differing}): add "
            f"that again to finish it first, or delete {aside} to give it up"
        ) from error


def _lacks(manifest: Mapping[str, Any] | None, score: "Score") -> bool:
    """Whether a table has not all values of a score; one of which there is no manifest has none."""
    if manifest is None or _identity_in(manifest, score) not in manifest["scores"]:
        return True
    rows = manifest["source"]["rows"] - manifest["failed"]
    counts = manifest.get(NEEDED, {"rows": {}})["rows"]
    return any(counts.get(name, rows) < rows for name in score.writes)


def _begin(task: Task, table: ScoreTable) -> None:
    """Begin the table of some scores with the values that another one has of them, unless it is begun."""
    if read_manifest(task.folder) is not None:
        return
    make_folder(task.folder)
    task.read()
    stored = [score for score in task.scores if _identity(score, table) in table.manifest["scores"]]
    shards, finished = Shards(task.folder, table.manifest["source"]["rows"], task.rows_per_shard), dict[int, Shard]()
    for number, (path, entry) in enumerate(zip(table.paths, table.manifest["shards"], strict=True)):
        rows = with_values_of(task.scores, stored, pq.read_table(path))
        finished[number] = shards.write(number, rows, entry["content_sha256"])
    begin(task, {}, finished, everything(task.scores).entries({}, None))


def replacements(scores: "Sequence[Score]", table: ScoreTable) -> dict[str, list[str]]:
    """What `add_to_table` would replace: by score that the table has with other settings, what differs."""
    return differing(table, [_identity(score, table) for score in scores])


def _identity(score: "Score", table: ScoreTable) -> dict[str, Any]:
    return _identity_in(table.manifest, score)


def _identity_in(manifest: Mapping[str, Any], score: "Score") -> dict[str, Any]:
    """What a manifest would say of a score."""
    identity: dict[str, Any] = json.loads(json.dumps({**score.identity(), "labels": manifest["labels"]["name"]}))
    return identity


def _check_same(table: ScoreTable, dataset: "Dataset", scores: "Sequence[Score]", watch: Watch) -> None:
    """Refuse a dataset that is not the one a table was made of.

    Raises:
        ValueError: says what differs.
    """
    rows, labels = table.manifest["source"]["rows"], labels_of(dataset.features, common_labels(scores))
    if json.loads(json.dumps(asdict(labels))) != table.manifest["labels"]:
        raise ValueError(
            f"{table.folder} is of the label space {table.manifest['labels']['name']!r}, and this would be of "
            f"{labels.name!r}: say which with labels=..."
        )
    contents = contents_of(table.manifest)
    with once_told(watch, "reading", len(dataset)) as tell:
        others = not_held(dataset, contents, adding(tell)) if len(dataset) == rows else contents
    if 0 < len(others) < len(contents):
        raise ValueError(f"{table.folder}: {of_other_rows(others)}")
    if others:
        raise ValueError(
            f"{table.folder} was made of {rows:,} rows that are not those of this dataset; give the one it "
            "was made of, or choose another out=..."
        )


def _content_of(dataset: "Dataset", source: Mapping[str, Any], table: ScoreTable) -> Callable[[int, pa.Table], str]:
    """What says of a shard of a table the digest of what the dataset holds of it; see `join_tables`."""
    stored = readable(dataset, source.get("columns", READABLE))
    shards = Shards(table.folder, len(dataset), table.manifest["rows_per_shard"])
    return lambda number, rows: scored_content(row_digests(stored, shards.rows(number)), rows)


def _source(table: ScoreTable, dataset: "Dataset", new: ScoreTable) -> dict[str, Any]:
    """What the manifest says of the dataset, which was found to be that of all its scores, when these are in one."""
    contents = [*contents_of(table.manifest), *contents_of(new.manifest)]
    additional = sorted({name for content in contents for name in content.columns} - {*READABLE})
    columns = [*READABLE, *additional]
    sha256, readable_sha256 = content_digests(dataset, [columns, READABLE])
    return with_contents(table.manifest["source"], [Content((), tuple(columns), sha256, readable_sha256)])
