"""Score tables: Parquet shards of scores beside a dataset, with a manifest that says what made them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from sds_hf.clip.launcher import ALONE, Rank, current_rank
from sds_hf.data.access.remote import folder_at, local_copy
from sds_hf.data.cells import PICTURES
from sds_hf.data.content import joint_digest
from sds_hf.files import is_remote
from sds_hf.progress import Watch, nothing
from sds_hf.screen import Block, Screen
from sds_hf.table.manifest import MANIFEST, NEEDED, read_manifest
from sds_hf.table.shards import Shard, Shards

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

    from sds_hf.scores.base.catalog import ScoreLike
    from sds_hf.table.job import Job

Engine = Literal["local", "ray"]
Progress = Callable[[int, int], None]  # rows done so far, failures so far; first those of earlier runs


class ScoreTable(Screen):
    """A finished score table.

    Columns: `id`, `row`, `classes_present`, `num_classes_present`, those of the scores, `status` (`ok`, `failed` or
    `skipped`) and `error`. A failed row has null scores and says why. Only a table of `score_for` has skipped rows:
    `skipped_scores` names the columns whose values nobody needed, which are null, and `pcs_low` and `pcs_high` are what
    a skipped `pcs` lies between, after `pcs_shuffles` shuffles.

    Attributes:
        folder: where it lies; of a table elsewhere a copy.
        manifest: what `manifest.json` holds.

    Examples:
        >>> table = ScoreTable.load("scores")
        >>> table.to_arrow().column_names[:5]
        ['id', 'row', 'classes_present', 'num_classes_present', 'clip_sim']
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest

    def screen_title(self) -> str:
        """See `Screen.screen_title`."""
        rows, failed = (sum(shard[name] for shard in self.manifest["shards"]) for name in ("rows", "failed"))
        lost = f", {failed:,} of them failed" if failed else ""
        return f"ScoreTable: {rows:,} rows{lost}, in {self.folder}"

    def screen_blocks(self) -> list[Block]:
        """See `Screen.screen_blocks`."""
        hidden = ("score", "model_digest", "labels", "model", "version")
        scores = [
            [score["score"], ", ".join(f"{name}={value}" for name, value in score.items() if name not in hidden)]
            for score in self.manifest["scores"]
        ]
        origin = {
            "source": self.manifest["source"].get("name", ""),
            "classes": f"{len(self.manifest['labels']['names'])} of {self.manifest['labels'].get('name', '')}",
            "models": ", ".join(self.manifest["models"]) or "none",
            "device": self.manifest["device"],
            "shards": f"{len(self.manifest['shards']):,}",
        }
        return [
            Block("Made of", ("", ""), [[name, str(text)] for name, text in origin.items()]),
            Block("Scores", ("score", "settings"), scores),
            Block("Notes", ("",), [[str(note)] for note in self.manifest["notes"]]),
        ]

    @classmethod
    def load(cls, folder: str | Path) -> "ScoreTable":
        """The table in a folder.

        Raises:
            ValueError: if there is none, it is not finished, or a shard is not what the manifest says.
        """
        folder = folder_at(folder) if isinstance(folder, str) else folder
        folder = local_copy(folder) if is_remote(folder) else folder
        manifest = read_manifest(folder)
        if manifest is None or "shards" not in manifest:
            raise ValueError(
                f"{folder} holds no score table; `sds-hf score` makes one, of {folder} too if that is a dataset"
            )
        if manifest.get("complete") is False:
            raise ValueError(f"the score table in {folder} is not finished; run the same `sds-hf score` again to go on")
        _check_shape(manifest, folder)
        for shard in manifest["shards"]:
            if not Shard(**shard).is_intact(folder):
                raise ValueError(
                    f"{folder / shard['path']} is missing or not what {MANIFEST} says; run the same `sds-hf score` "
                    "again to make it anew"
                )
        return cls(folder, manifest)

    @property
    def skips(self) -> bool:
        """Whether values that nobody needed were not computed."""
        return NEEDED in self.manifest

    @property
    def paths(self) -> list[Path]:
        """The shards, in row order."""
        return [self.folder / shard["path"] for shard in self.manifest["shards"]]

    def to_arrow(self) -> pa.Table:
        """All rows in memory."""
        return pa.concat_tables(pq.read_table(path) for path in self.paths)

    @property
    def sha256(self) -> str:
        """Digest of all shards: two tables that have it in common hold the same."""
        return joint_digest(shard["sha256"].encode() for shard in self.manifest["shards"])

    def holds(self, sha256: str | None) -> bool:
        """Whether this is the table with that digest, or one to which nothing but scores was joined."""
        return sha256 in (self.sha256, *self.manifest.get("joined", ()))

    @property
    def pictures_decoded(self) -> set[str]:
        """Columns of pictures that were decoded, in each row that did not fail, of what the manifest's digest is of."""
        return {name for name in PICTURES if name in self.manifest.get("decoded", ())}

    def provenance(self) -> dict[str, Any]:
        """What a report says of where the scores come from."""
        names = ("source", "scores", "models", "labels", "device", "notes", "versions")
        provenance = {name: self.manifest[name] for name in names}
        provenance |= {name: self.manifest[name] for name in ("limits", NEEDED) if name in self.manifest}
        provenance["source"] = {"reader": None, **provenance["source"]}
        return {**provenance, "table_sha256": self.sha256}


SHAPE = {"complete": bool, "shards": list, "labels": dict, "scores": list, "source": dict, "models": dict}
SHAPE |= {"device": str, "notes": list, "versions": dict}


def _check_shape(manifest: dict[str, Any], folder: Path) -> None:
    """Refuse a manifest that has not what is read of it.

    Raises:
        ValueError: names what is missing or of another kind.
    """
    strange = [name for name, kind in SHAPE.items() if not isinstance(manifest.get(name), kind)]
    if not strange and not isinstance(manifest["labels"].get("names"), list):
        strange = ["labels.names"]
    if not strange and not (manifest["shards"] and all(map(_is_shard, manifest["shards"]))):
        strange = ["shards"]
    if not strange and not all(isinstance(score, dict) and "score" in score for score in manifest["scores"]):
        strange = ["scores"]
    parts = manifest["source"].get("parts", []) if not strange else []
    if not (isinstance(parts, list) and all(map(_is_part, parts))):
        strange = ["source.parts"]
    if strange:
        raise ValueError(f"{folder / MANIFEST} is no manifest of a score table: see {', '.join(strange)}")


def _is_part(entry: Any) -> bool:
    """Whether an entry of a manifest says of which content some of its scores are."""
    kinds = {"scores": list, "columns": list, "sha256": str}
    return isinstance(entry, dict) and all(isinstance(entry.get(name), kind) for name, kind in kinds.items())


def _is_shard(entry: Any) -> bool:
    """Whether an entry of a manifest describes a shard in the same folder."""
    kinds = {"path": str, "rows": int, "failed": int, "sha256": str, "content_sha256": str}
    return (
        isinstance(entry, dict)
        and all(isinstance(entry.get(name), kind) for name, kind in kinds.items())
        and set(entry) <= {*kinds, "state"}
        and Path(entry["path"]).name == entry["path"]
    )


def score_table(
    dataset: "Dataset | IterableDataset",
    scores: "ScoreLike",
    out: str | Path,
    *,
    rows_per_shard: int = 1000,
    batch_size: int | None = None,
    source: str = "",
    retry: str | None = None,
    progress: Progress | None = None,
    watch: Watch = nothing,
    engine: Engine = "local",
    rank: Rank | None = None,
) -> ScoreTable:
    """Score a dataset into a folder of Parquet shards; run again, it makes only those that are missing or damaged.

    In a table of `score_for` it computes what that has skipped.

    A shard that is finished stays so, whatever happens then, and of one that takes longer its rows are kept every
    minute. In the main thread Ctrl-C waits for the shard in hand and says how long; if that is more than a minute, it
    waits for the batch. A second one stops at once. Under `torchrun`, `accelerate launch` or `srun` each process
    makes every n-th shard, and all return the finished table. The jobs of an array do the same, but wait for nobody:
    the last one ends the table. A stream is read by one process; a run that goes on does not read finished shards
    again.

    Args:
        dataset: with `image` and `mask` (or `classes` where no score needs the mask); `id` names the rows, which are
            numbered if it is missing. Cast the images of a stream to `Image(decode=False)` before `map` or
            `rename_columns`, in which `datasets` encodes decoded ones anew.
        scores: what to compute, as for `add_scores`; `classes_present` comes by itself.
        out: folder of the table; with `sds-hf[ray]` also an address that fsspec knows, e.g. `s3://bucket/scores`.
        rows_per_shard: rows a shard; an interrupted run loses one, or a minute of it.
        batch_size: rows at a time, fewer where memory is short; if None 32, of which the
            first ones of a shard come alone, or on a GPU 256. Changes no numbers.
        source: what to call the dataset in the manifest.
        retry: `"failed"` scores rows again that failed; they may have changed in the dataset, others may not.
        progress: called with the rows done and failed by earlier runs, then after each batch.
        watch: shows the passes over the dataset before that: scores are fitted to it, and its content is read.
        engine: `"ray"` scores on the Ray cluster that `ray.init` finds, or starts one here; a table can be begun with
            one engine and finished with another.
        rank: which of several processes this is; what the launcher says if None, see `current_rank`.

    Raises:
        ValueError: if the folder holds a table of another request (it names the difference), ids repeat, a column is
            missing, the label space is not known, a model cannot be had or a number makes no sense; as
            `AllFailedError`, if not one row could be scored, after the table is written.
        PartScored: in a job of an array, if its part is finished and others are not.
        OSError: if the folder cannot be written.
        KeyboardInterrupt: after Ctrl-C.

    Examples:
        >>> table = score_table(candidates, ["boundary", PCS(model="demo", orders=1)], "table")
        >>> table.to_arrow().num_rows
        24
        >>> sorted(table.manifest["models"])
        ['demo']
    """
    from datasets import IterableDataset

    from sds_hf.table.partial.phase import everything
    from sds_hf.table.stream import score_stream
    from sds_hf.table.task import Task, make_folder
    from sds_hf.table.team import PartScored, Team
    from sds_hf.table.writer import write_part, write_table

    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    if retry not in (None, "failed"):
        raise ValueError(f"retry must be 'failed', not {retry!r}")
    if engine not in get_args(Engine):
        raise ValueError(f"engine must be one of {', '.join(get_args(Engine))}, not {engine!r}")
    if isinstance(dataset, IterableDataset):
        if engine != "local":
            raise ValueError("a stream is read by one process; choose engine='local', or load it without streaming")
        if retry:
            raise ValueError(
                "retry needs rows that can be looked up; a stream has none: load the dataset without streaming"
            )
        task = Task(dataset, scores, out, rows_per_shard, source)
        score_stream(task, batch_size, progress)
        return some_scored(ScoreTable.load(task.folder))
    rank = rank or current_rank()
    if retry and not rank.together:
        raise ValueError(f"rows that failed are scored again by processes that wait for each other; {ALONE}")
    task = Task(dataset, scores, out, rows_per_shard, source)
    job = job_class(engine)(task, batch_size)
    make_folder(task.folder)
    shards = Shards(task.folder, len(dataset), rows_per_shard, rank.index)
    with Team(task.folder, rank) as team:
        task.read(watch)
        if not rank.together:
            if NEEDED in (read_manifest(task.folder) or {}):
                raise ValueError(f"what {task.folder} skips is computed by processes that wait for each other; {ALONE}")
            if not write_part(job, shards, team, progress):
                raise PartScored(rank, task.folder)
        else:
            phase = everything(task.scores) if NEEDED in (read_manifest(task.folder) or {}) else None
            write_table(job, shards, team, retry, progress, phase)
    return some_scored(ScoreTable.load(task.folder))


def some_scored(table: ScoreTable) -> ScoreTable:
    """The table, if any of its rows could be scored.

    Raises:
        AllFailedError: if not.
    """
    from sds_hf.scores.base.batches import AllFailedError

    rows = sum(shard["rows"] for shard in table.manifest["shards"])
    if rows and table.manifest["failed"] == rows:
        raise AllFailedError(rows, str(pq.read_table(table.paths[0], columns=["error"])["error"][0]))
    return table


def job_class(engine: Engine) -> "type[Job]":
    """What scores a task's rows with an engine."""
    from sds_hf.table.job import Job

    if engine == "local":
        return Job
    from sds_hf.table.ray_engine import RayJob, ray_module

    ray_module()
    return RayJob
