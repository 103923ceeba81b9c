"""What is looked at: a score table, the dataset it was made of, and where marks go."""

import getpass
import glob
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from sds_hf.data.content import files_behind
from sds_hf.data.labels import LabelSpace
from sds_hf.explore.bundle import short_digest
from sds_hf.explore.clip_views import ClipViews
from sds_hf.explore.config import page_config
from sds_hf.explore.marks import MarksFile
from sds_hf.explore.pictures import RowPictures
from sds_hf.explore.plain_table import plain_table
from sds_hf.files import cache_folder, identity_of, whole_file
from sds_hf.selection.recipe import Recipe
from sds_hf.table.score_table import ScoreTable

if TYPE_CHECKING:
    from datasets import Dataset

ROWS_AT_ONCE = 1 << 16


@dataclass
class Exploration:
    """Everything the server hands out.

    Attributes:
        title: of the page.
        scores: what the user calls the table.
        tables: Parquet files of it, in row order.
        labels: what indices of masks mean; None if that is not known.
        identities: of the scores, as the manifest has them.
        recipes: to begin with.
        dataset: the candidates; None if only scores are looked at.
        marks: where marks go.
        sha256: what tells the table from others.
        halves: columns that were float16.
    """

    title: str
    scores: str
    tables: list[Path]
    labels: LabelSpace | None
    identities: list[dict[str, Any]]
    marks: MarksFile
    sha256: str
    recipes: list[Recipe] = field(default_factory=list)
    dataset: "Dataset | None" = None
    halves: list[str] = field(default_factory=list)

    @cached_property
    def pictures(self) -> RowPictures | None:
        """Of the rows, if there is a dataset with pictures."""
        has_pictures = self.dataset is not None and "image" in self.dataset.column_names
        return RowPictures(self.dataset) if self.dataset is not None and has_pictures else None

    @cached_property
    def views(self) -> ClipViews | None:
        """What CLIP saw, if it is known."""
        return ClipViews(self.identities, self.labels) if self.labels and self.identities else None

    def config(self) -> dict[str, Any]:
        """What the page is told."""
        columns = self.dataset.column_names if self.dataset is not None else []
        has_masks = self.pictures is not None and "mask" in columns
        views = self.views if has_masks else None
        pictures = {"kind": "server", "references": bool(views and views.has_references)} if self.pictures else None
        if pictures is not None:
            pictures |= {"shuffles": bool(views and views.has_shuffles), "masks": has_masks}
        captions = {"sources": [{"url": "captions.parquet"}], "key": "row"} if "caption" in columns else None
        return page_config(
            self.title,
            tables=[{"url": f"table/{number}.parquet"} for number in range(len(self.tables))],
            labels=self.labels,
            recipes=self.recipes,
            scores=self.scores,
            pictures=pictures,
            captions=captions,
            pixels={"url": "pixels.parquet"} if has_masks and self.labels else None,
            marks="marks",
            halves=self.halves,
        )

    def cached(self, name: str) -> Path:
        """Where something made of this table and dataset is kept."""
        key = (files_behind(self.dataset) if self.dataset is not None else None) or f"once {id(self)}"
        return cache_folder("explore") / short_digest(f"{self.sha256} {key}") / name


def open_exploration(
    scores: str | Path,
    dataset: "Dataset | None" = None,
    *,
    recipes: Sequence[Recipe] = (),
    marks: Path | None = None,
) -> Exploration:
    """What there is to look at.

    Args:
        scores: a score table's folder, or Parquet files that `select` reads.
        dataset: the one that was scored.
        recipes: to begin with; the first one is applied.
        marks: file for marks; `marks.parquet` beside the table if None.

    Raises:
        ValueError: if there is no score table, or the dataset is another one.
    """
    is_table = Path(scores).is_dir()
    exploration = _of_table(ScoreTable.load(scores), str(scores)) if is_table else _of_files(str(scores))
    if dataset is not None:
        check_ids(dataset, exploration.tables, str(scores))
    return replace(
        exploration,
        recipes=list(recipes),
        dataset=dataset,
        marks=MarksFile(marks, _user()) if marks else exploration.marks,
    )


def _of_table(table: ScoreTable, scores: str) -> Exploration:
    return Exploration(
        title=_title(table, scores),
        scores=scores,
        tables=table.paths,
        labels=LabelSpace(**{name: _hashable(value) for name, value in table.manifest["labels"].items()}),
        identities=table.manifest["scores"],
        marks=MarksFile(table.folder.parent / "marks.parquet", _user()),
        sha256=table.sha256,
    )


def _title(table: ScoreTable, scores: str) -> str:
    """What was scored, by the last two parts of its name; a folder beside the scores by its parent's too."""
    name = table.manifest["source"].get("name") or scores
    beside = table.folder.resolve().parent / name
    return "/".join((beside if beside.exists() else Path(name)).parts[-2:])


def _of_files(pattern: str) -> Exploration:
    paths = [Path(pattern)] if Path(pattern).is_file() else [Path(path) for path in sorted(glob.glob(pattern))]
    if not paths:
        raise ValueError(f"no score table and no Parquet file at {pattern}")
    table = plain_table(pattern, "|".join(map(identity_of, paths)))
    return Exploration(
        title=paths[0].stem,
        scores=pattern,
        tables=[table.path],
        labels=LabelSpace.from_names(table.class_names) if table.class_names else None,
        identities=[],
        marks=MarksFile(paths[0].with_name("marks.parquet"), _user()),
        sha256=table.key,
        halves=table.halves,
    )


def check_ids(dataset: "Dataset", tables: Sequence[Path], scores: str) -> None:
    """Refuse a dataset of other rows than were scored.

    Raises:
        ValueError: says what differs.
    """
    rows = sum(pq.ParquetFile(path).metadata.num_rows for path in tables)
    if len(dataset) != rows:
        raise ValueError(f"the scores in {scores} are of {rows:,} rows; this dataset has {len(dataset):,}")
    if "id" not in dataset.column_names:
        return
    ids, start = dataset.select_columns(["id"]).with_format("arrow"), 0
    for path in tables:
        scored = pq.read_table(path, columns=["id"])["id"]
        here = ids[start : start + len(scored)]["id"].cast(pa.string())
        numbers = list(map(str, range(start, start + len(scored))))  # what rows without ids are called
        if scored.to_pylist() not in (here.to_pylist(), numbers):
            raise ValueError(f"the scores in {scores} are of other rows: ids differ from row {start:,} on")
        start += len(scored)


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def write_captions(dataset: "Dataset", path: Path) -> None:
    """The captions by row, as Parquet."""
    stored, schema = (
        dataset.select_columns(["caption"]).with_format("arrow"),
        pa.schema([("row", pa.int32()), ("caption", pa.string())]),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file, pq.ParquetWriter(file, schema) as writer:
        for start in range(0, len(stored), ROWS_AT_ONCE):
            texts = stored[start : start + ROWS_AT_ONCE]["caption"].cast(pa.string()).combine_chunks()
            writer.write_table(pa.table([pa.array(range(start, start + len(texts)), pa.int32()), texts], schema=schema))


def _user() -> str:
    """Who marks rows; in a container a number may have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
