"""What an export is: a dataset in, a folder in another tool's format out, complete or not there."""

import csv
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sds_hf.data.labels import LabelSpace, labels_of
from sds_hf.data.opening import open_dataset
from sds_hf.errors import csv_cell, no_such
from sds_hf.exports.names import FileNames
from sds_hf.exports.samples import ExportError, Sample, samples
from sds_hf.files import check_free, new_folder
from sds_hf.selection.select import Selection

if TYPE_CHECKING:
    from datasets import Dataset

RENAMED = "renamed.csv"
Write = Callable[..., None]


@dataclass(frozen=True)
class Format:
    """A format that datasets are exported to.

    Attributes:
        name: what it is called.
        summary: what is written.
        write: writes a `Job` into its folder; what else it takes are the options of the format.
        needs: columns that a dataset must have; of several in a tuple, one.
        of_files: whether it describes the files of a published dataset and takes its name, not its rows.
    """

    name: str
    summary: str
    write: Write
    needs: tuple[str | tuple[str, ...], ...] = ("image", "mask")
    of_files: bool = False


@dataclass
class Job:
    """One export.

    Attributes:
        dataset: the rows.
        labels: what the indices of the masks mean.
        folder: where to write.
        names: file names of the rows.
        progress: called with the number of rows written since the last call.
        selection: that chose the rows, if one did.
    """

    dataset: "Dataset"
    labels: LabelSpace
    folder: Path
    names: FileNames
    progress: Callable[[int], None] | None = None
    selection: Selection | None = None

    def reasons(self) -> Iterator[str]:
        """Why each row stays, in their order; none without a selection."""
        for batch in self.selection.batches(["kept", "reason"]) if self.selection else ():
            yield from batch["reason"].filter(batch["kept"]).to_pylist()

    def samples(self, masks: bool = True) -> Iterator[Sample]:
        """The rows in order, images as they are stored, masks checked and decoded if wanted."""
        for sample in samples(self.dataset, self.labels, self.names, masks):
            yield sample
            if self.progress:
                self.progress(1)

    def subfolder(self, *parts: str) -> Path:
        """A new folder inside."""
        folder = self.folder.joinpath(*parts)
        folder.mkdir(parents=True)
        return folder


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        format: name of the format.
        out: the folder.
        rows: how many; None where only files are described.
        files: how many.
        renamed: how many rows have an id that is no safe file name; `renamed.csv` says which became what.
    """

    format: str
    out: Path
    rows: int | None
    files: int
    renamed: int = 0


FORMATS: dict[str, Format] = {}


def export_format(name: str, summary: str, **more: Any) -> Callable[[Write], Write]:
    """Register a function that writes a format.

    Examples:
        >>> @export_format("ids", "the ids of all rows")
        ... def write(job):
        ...     (job.folder / "ids.txt").write_text(" ".join(job.dataset["id"]))
        ...
        >>> export(candidates, "ids", "listed").files
        1
    """

    def register(write: Write) -> Write:
        FORMATS[name] = Format(name, summary, write, **more)
        return write

    return register


def export(
    dataset: "Dataset | str | Path",
    format: str,
    out: str | Path,
    *,
    labels: str = "auto",
    split: str | None = None,
    selection: Selection | None = None,
    progress: Callable[[int], None] | None = None,
    **options: Any,
) -> Exported:
    """Write a dataset in another tool's format.

    Image files are the bytes of the dataset, never encoded anew; masks keep every index. Rows are read a few at a time;
    only their ids stay in memory, about 200 bytes each.

    Args:
        dataset: rows with `image` and, for all but `webdataset`, `mask`; or what `open_dataset` opens. `croissant`
            takes a published folder or its Hub id.
        format: one of `FORMATS`.
        out: the folder; must not exist or be empty. It appears when it is complete.
        labels: what indices mean, see `label_space`; `auto` is what the ClassLabel names of the column `classes` say.
        split: which split, if there are several.
        selection: which rows of a dataset of candidates; all if None.
        progress: called with the number of rows written since the last call.
        **options: of the format.

    Raises:
        ExportError: if there is no such format or option, or the format cannot hold the dataset; names the row.
        ValueError: if there is something in `out`, nothing says what the indices of the masks mean, or the selection is
            of another dataset.

    Examples:
        >>> export("sds-mine", "voc", "as-voc").files
        31
    """
    from datasets import Dataset

    chosen, out = _format(format, options), Path(out)
    if isinstance(dataset, Selection):
        raise ExportError("export takes the candidates, and which of them as selection=...")
    if chosen.of_files:
        if isinstance(dataset, Dataset) or selection is not None:
            raise ExportError(f"{format} describes the files of a published dataset: give its folder or its Hub id")
        with new_folder(out) as folder:
            chosen.write(str(dataset), folder, **options)
            return Exported(format, out, None, _count(folder))
    check_free(out)  # before anything takes long
    rows = dataset if isinstance(dataset, Dataset) else _opened(dataset, split, labels)
    rows = selection.apply(rows) if selection is not None else rows
    _check_columns(chosen, rows)
    space = labels_of(rows.features, labels)
    with new_folder(out) as folder:
        job = Job(rows, space, folder, FileNames(), progress, selection)
        chosen.write(job, **options)
        _write_renamed(job.names.changed, folder)
        return Exported(format, out, len(rows), _count(folder), len(job.names.changed))


def _format(name: str, options: dict[str, Any]) -> Format:
    if name not in FORMATS:
        raise ExportError(no_such("format", name, FORMATS))
    option_names = list(inspect.signature(FORMATS[name].write).parameters)[2 if FORMATS[name].of_files else 1 :]
    if unknown := sorted(set(options) - set(option_names)):
        raise ExportError(f"the format {name!r} has no option {', '.join(unknown)}; its options are {option_names}")
    return FORMATS[name]


def _opened(dataset: str | Path, split: str | None, labels: str) -> "Dataset":
    """The dataset of that name; readers of raw folders have to know the label space."""
    return open_dataset(dataset, split, **({} if labels == "auto" else {"labels": labels}))


def _check_columns(chosen: Format, dataset: "Dataset") -> None:
    for need in chosen.needs:
        choices = (need,) if isinstance(need, str) else need
        if not set(choices) & set(dataset.column_names):
            raise ExportError(
                f"{chosen.name} needs the column {' or '.join(choices)}; this dataset has {dataset.column_names}"
            )
    if not len(dataset):
        raise ExportError("there are no rows to export")


def _write_renamed(changed: dict[str, str], folder: Path) -> None:
    if changed:
        with (folder / RENAMED).open("w", newline="", encoding="utf-8") as file:
            lines = ((name, csv_cell(row_id)) for name, row_id in changed.items())
            csv.writer(file).writerows([("name", "id"), *lines])


def _count(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))
