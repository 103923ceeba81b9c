"""One file to look at a selection: the whole table, and the pictures of the rows that matter; it needs no network."""

import html
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from sds_hf.data.labels import LabelSpace, class_names
from sds_hf.data.opening import open_dataset
from sds_hf.errors import public_name
from sds_hf.explore.bundle import data_url, one_file
from sds_hf.explore.config import page_config
from sds_hf.explore.exploration import check_ids
from sds_hf.explore.pictures import RowPictures
from sds_hf.explore.rows_that_matter import changed_rows, rows_of, rows_that_matter
from sds_hf.files import write_whole
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.select import RECIPE_FILE, Selection
from sds_hf.selection.source import scores_beside
from sds_hf.table.partial.needs import SKIPPED
from sds_hf.table.score_table import ScoreTable

if TYPE_CHECKING:
    from datasets import Dataset

MOST_ROWS = 300_000  # in one file: of so many, ids and six scores take about 15 MB


class Look:
    """A page as text.

    Attributes:
        page: HTML, whole.
    """

    def __init__(self, page: str) -> None:
        self.page = page

    def save(self, path: str | Path) -> None:
        """Write it as a file."""
        write_whole(Path(path), self.page)

    def _repr_html_(self) -> str:
        text = html.escape(self.page, quote=True)
        return f'<iframe srcdoc="{text}" style="width:100%;height:800px;border:0" sandbox="allow-scripts"></iframe>'


def look(
    selection: Selection,
    dataset: "Dataset | str | Path | None" = None,
    *,
    scores: ScoreTable | str | Path | None = None,
    against: Selection | None = None,
    out: str | Path | None = None,
) -> Look:
    """The rows that matter of a selection, with its rules to be tried out, in one file.

    Args:
        selection: what is looked at.
        dataset: the candidates, for pictures; where the scores say they come from if None, and no pictures if it is
            not there.
        scores: the score table; the one beside the selection that it was made of if None.
        against: another selection of the same rows: what came and what went is shown too.
        out: file to write.

    Raises:
        ValueError: if the scores are not those the selection was made of, or are too many for one file.

    Examples:
        >>> page = look(selection, candidates, scores=table)
        >>> page.save("look.html")
    """
    table = scores if isinstance(scores, ScoreTable) else ScoreTable.load(scores or _scores_beside(selection))
    report = selection.report
    if not table.holds(report.provenance.get("table_sha256")):
        raise ValueError(f"the selection was not made from the scores in {table.folder}; give them with scores=...")
    if report.rows > MOST_ROWS:
        raise ValueError(f"{report.rows:,} rows are too many for one file ({MOST_ROWS:,}): use sds-hf explore")
    recipe, cells, decisions = Recipe.load(selection.path.with_name(RECIPE_FILE)), table.to_arrow(), selection.table()
    sections = rows_that_matter(decisions, cells, recipe, report)
    if against is not None:
        sections = [*changed_rows(against.table(), decisions), *sections]
    candidates = _candidates(dataset, report.provenance.get("source", {}).get("name"), selection, table)
    names = report.provenance.get("labels", {}).get("names") or (class_names(candidates.features) if candidates else [])
    config = page_config(
        f"Selection by {recipe.name}",
        tables=[{"base64": _base64(_slim(cells))}],
        labels=LabelSpace.from_names(names) if names else None,
        recipes=[recipe],
        scores=str(table.folder),
        pictures=_inline(candidates, rows_of(sections)) if candidates is not None else None,
        sections=[section.plain() for section in sections],
    )
    page = Look(one_file(config))
    if out is not None:
        page.save(out)
    return page


def _scores_beside(selection: Selection) -> Path:
    """The score table that lies beside a selection and that it was made of.

    Raises:
        ValueError: if there is none.
    """
    folder = selection.path.parent
    if table := scores_beside(folder, selection.report.provenance.get("table_sha256")):
        return table
    raise ValueError(f"no score table beside {folder} is the selection's: give it with scores=...")


def _candidates(
    dataset: "Dataset | str | Path | None", source: str | None, selection: Selection, table: ScoreTable
) -> "Dataset | None":
    """The dataset, opened; None if none was given and none is where the scores say it is.

    Raises:
        ValueError: if the one that was given has other rows than were scored.
    """
    if dataset is not None:
        opened = open_dataset(dataset) if isinstance(dataset, (str, Path)) else dataset
        check_ids(opened, table.paths, str(table.folder))
        return opened
    # Scores may be a stranger's: what they name lies in this folder and has their rows, or it is somebody's secret.
    is_name = source and source == public_name(source) and ".." not in Path(source).parts
    beside = selection.path.parent.parent / "source"
    for path in filter(Path.exists, [*([Path(str(source))] if is_name else []), beside]):
        opened = open_dataset(path)
        with suppress(ValueError):
            check_ids(opened, table.paths, str(table.folder))
            return opened
    return None


def _slim(cells: pa.Table) -> pa.Table:
    """Columns that the page reads."""
    plain = [
        field.name
        for field in cells.schema
        if not pa.types.is_nested(field.type) or _is_ids(field.type) or field.name == SKIPPED
    ]
    return cells.select(plain)


def _is_ids(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) and pa.types.is_integer(kind.value_type))


def _base64(table: pa.Table) -> str:
    sink = pa.BufferOutputStream()
    pq.write_table(table.combine_chunks(), sink, compression="snappy")
    return data_url("", sink.getvalue()).partition(",")[2]


def _inline(dataset: "Dataset", rows: list[int]) -> dict[str, Any] | None:
    """Small pictures of some rows as addresses."""
    if "image" not in dataset.column_names:
        return None
    pictures, has_masks = RowPictures(dataset, keep=False), "mask" in dataset.column_names
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        try:
            cells[str(row)] = {"image": data_url("image/jpeg", pictures.image(row, "small"))}
            if has_masks:
                cells[str(row)]["mask"] = data_url("image/png", pictures.mask(row, "small"))
        except ValueError:  # a picture that cannot be read is not shown
            continue
    return {"kind": "inline", "rows": cells}
