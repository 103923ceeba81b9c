"""The file of marks: which rows were looked at, by whom, and how they were sampled."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from sds_hf.errors import one_line, short
from sds_hf.files import one_writer, whole_file
from sds_hf.limits import read_json

MARKS = "marks.parquet"  # in the folder of a selection
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("mark", pa.bool_()),
        ("who", pa.string()),
        ("when", pa.timestamp("us", "UTC")),
        ("sample", pa.string()),
    ]
)
SAMPLES_KEY = b"sds_hf.samples"


class Sample(BaseModel):
    """How rows were sampled; the same selection gives the same rows again.

    Attributes:
        rows: how many.
        seed: another one draws others.
        kept: kept rows of the selection they were drawn from.
        kept_sha256: digest of the ids of these.
        column: score by which the sample is stratified; None if it is uniform.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: int
    seed: int
    kept: int
    kept_sha256: str
    column: str | None = None

    @property
    def name(self) -> str:
        """What the column `sample` calls it."""
        return "uniform" if self.column is None else "stratified"


def read_marks(path: str | Path) -> pa.Table:
    """The marks of a file: `id`, `mark`, `who`, `when`, `sample`; none if there is no file.

    Raises:
        ValueError: in one line, if it is something else.
    """
    path = Path(path)
    if not path.exists():
        return SCHEMA.empty_table()
    try:
        table = pq.read_table(path)
        return table.select(SCHEMA.names).cast(SCHEMA.with_metadata(table.schema.metadata))
    except (pa.ArrowException, KeyError) as error:
        what = " ".join(str(error).split())
        raise ValueError(f"{path} is no file of marks with the columns {SCHEMA.names}: {what}") from error


def read_samples(marks: pa.Table) -> dict[str, Sample]:
    """The samples that a file of marks has, by name.

    Raises:
        ValueError: in one line, if what it says of them makes no sense.
    """
    text = (marks.schema.metadata or {}).get(SAMPLES_KEY, b"{}")
    try:
        return {str(name): Sample.model_validate(sample) for name, sample in dict(read_json(text)).items()}
    except ValidationError as error:
        what = one_line(error, {(): list(Sample.model_fields)})
    except (ValueError, TypeError) as error:
        what = str(error)
    raise ValueError(f"the samples of the file of marks, {SAMPLES_KEY.decode()}, make no sense: {what}")


def write_sample(path: str | Path, sample: Sample, ids: Iterable[str]) -> None:
    """Add the rows of a sample to a file of marks, which begins if it is not there.

    Raises:
        ValueError: if it has a sample of that name.
        OSError: if it cannot be written.
    """
    with one_writer(Path(path)):
        marks = read_marks(path)
        samples = read_samples(marks)
        if sample.name in samples:
            raise ValueError(
                f"{path} has a {sample.name} sample already, of {samples[sample.name].rows:,} rows: drawing again "
                "after having looked would spoil what it shows; mark the rows it has, or begin another file with "
                "out=..."
            )
        lines = [{"id": row_id, "sample": sample.name} for row_id in ids]
        table = pa.concat_tables([marks.replace_schema_metadata(None), pa.Table.from_pylist(lines, SCHEMA)])
        _write(path, table, samples | {sample.name: sample})


def record_marks(path: str | Path, marks: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Add marks to a file of marks, which begins if it is not there; a person's later mark of a row replaces the last.

    Args:
        path: the file.
        marks: each with `id`, `mark` (true for good; null takes one back), `who`, and `when` (a datetime or ISO 8601;
            now if it is missing).

    Returns:
        All marks of the file.

    Raises:
        ValueError: if one is no mark; names it.
        OSError: if the file cannot be written.
    """
    with one_writer(Path(path)):
        old = read_marks(path)
        lines: dict[str, list[dict[str, Any]]] = {}
        for line in old.to_pylist():
            lines.setdefault(line["id"], []).append(line)
        for mark in marks:
            line = _checked(mark)
            lines[line["id"]] = list(_marked(lines.get(line["id"], []), line))
        table = pa.Table.from_pylist([line for several in lines.values() for line in several], SCHEMA)
        _write(path, table, read_samples(old))
    return read_marks(path)


def load_marks(path: str | Path) -> list[Any]:
    """The marks in a JSON file, as a page without a server hands them out; for `record_marks`.

    Raises:
        ValueError: in one line, if it is something else.
    """
    try:
        marks = read_json(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} holds no marks: {error}") from error
    if not isinstance(marks, list) or not all(isinstance(mark, dict) for mark in marks):
        raise ValueError(
            f"{path} must hold a list of marks, each with `id`, `mark`, `who` and `when`, not {short(marks)}"
        )
    return marks


def _checked(mark: Mapping[str, Any]) -> dict[str, Any]:
    line = {name: mark.get(name) for name in ("id", "mark", "who", "when")}
    text = [line["id"], line["who"]]
    if not all(isinstance(value, str) and value for value in text) or not isinstance(line["mark"], bool | None):
        raise ValueError(f"a mark has `id` and `who` (texts) and `mark` (true, false or null), not {short(dict(mark))}")
    when = line["when"]
    try:
        moment = datetime.fromisoformat(when) if isinstance(when, str) else when or datetime.now(UTC)
        line["when"] = moment.astimezone(UTC)
    except (ValueError, AttributeError, OverflowError) as error:
        raise ValueError(f"the mark of {line['id']!r} has `when` {short(when)}: give a time in ISO 8601") from error
    return line


def _marked(lines: list[dict[str, Any]], mark: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """The lines of a row with a further mark: one line for each sample and person, or one that waits for a mark."""
    empty = {"mark": None, "who": None, "when": None}
    for sample in dict.fromkeys(line["sample"] for line in lines) or [None]:
        others = [line for line in lines if line["sample"] == sample and line["who"] not in (None, mark["who"])]
        yield from others
        if mark["mark"] is not None:
            yield mark | {"sample": sample}
        elif not others and sample is not None:
            yield {"id": mark["id"], "sample": sample, **empty}


def _write(path: str | Path, table: pa.Table, samples: Mapping[str, Sample]) -> None:
    text = json.dumps({name: sample.model_dump() for name, sample in samples.items()}, ensure_ascii=False)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with whole_file(Path(path)) as file:
        pq.write_table(table.replace_schema_metadata({SAMPLES_KEY: text}), file)
