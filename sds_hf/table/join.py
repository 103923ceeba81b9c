"""Tables of the same rows become one, shard by shard of the first."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sds_hf.data.content import distinct
from sds_hf.files import new_folder
from sds_hf.scores.classes_present import ClassesPresent
from sds_hf.table.manifest import (
    MANIFEST,
    NEEDED,
    contents_of,
    limits_of,
    stored_scores,
    with_contents,
    write_manifest,
)
from sds_hf.table.partial.joined import JoinedColumns, columns_of
from sds_hf.table.partial.shards import computed
from sds_hf.table.score_table import ScoreTable
from sds_hf.table.shards import UNKNOWN, Shard, Shards


def differing(old: ScoreTable, identities: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """What would be replaced in a table: by score that it has with other settings, the settings that differ.

    Args:
        old: the table.
        identities: of scores, as in a manifest.
    """
    stored = {entry["score"]: entry for entry in old.manifest["scores"]}
    changes = {}
    for entry in identities:
        there = stored.get(entry["score"])
        if there is not None and dict(there) != dict(entry):
            names = sorted(name for name in {*there, *entry} if there.get(name) != entry.get(name))
            changes[entry["score"]] = [f"{name} was {there.get(name)!r}, is {entry.get(name)!r}" for name in names]
    return changes


def check_columns(entries: Sequence[Mapping[str, Any]]) -> None:
    """Refuse scores of one table of which two would write other numbers into the same column.

    Args:
        entries: of the scores, as in a manifest.

    Raises:
        ValueError: names the column, and the settings that differ.
    """
    writers = dict[str, Mapping[str, Any]]()
    for entry in entries:
        for column in sorted(columns_of(entry)):
            other = writers.setdefault(column, entry)
            names = {*entry} & {*other} - {"score", "version", "model"}  # a model is its digest
            if differing_names := sorted(name for name in names if entry[name] != other[name]):
                raise ValueError(
                    f"the scores {other['score']} and {entry['score']} both write the column {column!r}, with "
                    f"different {', '.join(differing_names)}: compute both with the same, or keep one in a table of "
                    "its own"
                )


def join_tables(
    tables: Sequence[ScoreTable],
    out: str | Path,
    source: Mapping[str, Any] | None = None,
    content_of: Callable[[int, pa.Table], str] | None = None,
) -> ScoreTable:
    """One table with the scores of several, of the same rows.

    A score that several tables have is that of the last one; where they have it with the same settings, a value that
    the last one skips is that of an earlier one. A row that failed in one of them has failed. Where values are skipped
    in all that have them, the table can go on to other rules, see `score_for`.

    Whether tables are of the same content is seen without the dataset where they read the same columns, or tell of
    those that all have in common. Else the manifest keeps what each part was made of, and a dataset is compared with
    all of it where it is given: `publish`, `add_to_table`, `score_table`.

    Args:
        tables: two or more, of the same rows in the same order; the shards are those of the first.
        out: its folder; the folder of the first table replaces that one.
        source: what its manifest says of the dataset, if more is known than the tables say.
        content_of: says of a shard, by its number and rows, the digest of what the dataset holds of it; for shards of
            which the first table does not know it.

    Raises:
        ValueError: if the tables are of other rows, other content or another label space, or two of their scores would
            write other numbers into the same column.

    Examples:
        >>> first = score_table(candidates, Boundary(), "first")
        >>> second = score_table(candidates, PromptMismatch(), "second")
        >>> join_tables([first, second], "both").to_arrow().column_names[4:-2]
        ['boundary', 'boundary_class', 'prompt_mismatch', 'prompt_missing', 'prompt_unnamed']
    """
    first, *others = tables
    if not others:
        raise ValueError("a join needs two tables or more")
    for other in others:
        _check_same(first, other)
    columns = JoinedColumns(tables)
    check_columns(columns.scores)
    out, manifest = Path(out), _manifest(tables, columns.scores, source)
    same_columns = manifest["source"].get("columns") == first.manifest["source"].get("columns")
    own = {entry["path"] for entry in first.manifest["shards"]} | {MANIFEST}
    rows, size = first.manifest["source"]["rows"], first.manifest["rows_per_shard"]
    replaced = out.exists() and out.resolve() == first.folder.resolve()
    with new_folder(out, replace=replaced, own=own if replaced else None) as part:
        shards, finished, same_rows = Shards(part, rows, size), list[Shard](), True
        counts = [len(shards.rows(number)) for number in range(shards.count)]
        for number, rows_of_all in enumerate(zip(*(_rows_of(table, counts) for table in tables), strict=True)):
            table, *rest = rows_of_all
            for other, its_rows in zip(others, rest, strict=True):
                if not its_rows["id"].equals(table["id"]):
                    raise ValueError(_difference(first, other))
            joined = columns.rows(rows_of_all)
            same = pc.equal(joined["status"], "failed").equals(pc.equal(table["status"], "failed"))
            same_rows = same_rows and same
            content = first.manifest["shards"][number]["content_sha256"] if same and same_columns else UNKNOWN
            content = content or (content_of(number, joined) if content_of else UNKNOWN)
            finished.append(shards.write(number, joined, content))
        if same_rows and all(entry in manifest["scores"] for entry in first.manifest["scores"]):
            manifest["joined"] = [*first.manifest.get("joined", ()), first.sha256]
        if columns.needed is not None:
            scores = [ClassesPresent(), *stored_scores(columns.scores)]
            manifest[NEEDED] = columns.needed | computed(scores, shards, dict(enumerate(finished)))
        manifest |= {"failed": sum(shard.failed for shard in finished), "shards": [one.entry() for one in finished]}
        write_manifest(part, manifest)
        shards.clean()
    return ScoreTable.load(out)


def _rows_of(table: ScoreTable, counts: Sequence[int]) -> Iterator[pa.Table]:
    """All rows of a table in parts of so many; only those in hand are in memory."""
    ahead, rest = (pq.read_table(path) for path in table.paths), list[pa.Table]()
    for count in counts:
        while sum(part.num_rows for part in rest) < count and (part := next(ahead, None)) is not None:
            rest.append(part)
        rows = pa.concat_tables(rest)
        rest = [rows.slice(count)]
        yield rows.slice(0, count)


def _check_same(first: ScoreTable, other: ScoreTable) -> None:
    """Refuse tables that cannot be of the same rows.

    Raises:
        ValueError: says why.
    """
    one, two = first.manifest, other.manifest
    if one["source"]["rows"] != two["source"]["rows"]:
        raise ValueError(
            f"{_named(first, other)} have {one['source']['rows']:,} and {two['source']['rows']:,} rows: not the same "
            "ones"
        )
    if one["labels"] != two["labels"]:
        raise ValueError(
            f"{_named(first, other)} are of the label spaces {one['labels']['name']!r} and {two['labels']['name']!r}"
        )
    if any(content.is_other(further) for content in contents_of(one) for further in contents_of(two)):
        raise ValueError(_difference(first, other))


def _difference(first: ScoreTable, other: ScoreTable) -> str:
    """What differs between the rows of two tables, in words."""
    ids, others = (
        pa.concat_tables(pq.read_table(path, columns=["id"]) for path in table.paths)["id"] for table in (first, other)
    )
    lacking = ids.filter(pc.invert(pc.is_in(ids, others.combine_chunks())))
    if len(lacking):
        return f"{other.folder} has no row {lacking[0].as_py()!r}, so the tables are not of the same rows"
    where = _named(first, other)
    if not ids.equals(others):
        return f"{where} have the same rows in another order; score one of them again, in the order of the other"
    return f"{where} are of rows that hold other pictures, masks or texts; score one of them again"


def _named(first: ScoreTable, other: ScoreTable) -> str:
    """Both tables, with the names of their datasets where these differ."""
    names = [table.manifest["source"].get("name") for table in (first, other)]
    differ = all(names) and names[0] != names[1]
    one, two = (
        f"{table.folder} (of {name})" if differ else str(table.folder)
        for table, name in zip((first, other), names, strict=True)
    )
    return f"{one} and {two}"


def _manifest(
    tables: Sequence[ScoreTable], scores: Sequence[Mapping[str, Any]], source: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What the manifest of a joined table with these scores says: of each its own identity and date."""
    manifests, scored = [table.manifest for table in tables], dict[str, Any]()
    for manifest in manifests:
        dates = manifest.get("scored", {})
        scored |= {entry["score"]: dates.get(entry["score"], manifest["created"]) for entry in manifest["scores"]}
    named = {value for entry in scores for value in entry.values() if isinstance(value, str)}
    models = {name: about for manifest in manifests for name, about in manifest["models"].items() if name in named}
    devices = list(dict.fromkeys(manifest["device"] for manifest in manifests))
    first = {name: value for name, value in manifests[0].items() if name not in ("limits", "decoded", "joined", NEEDED)}
    contents = distinct(content for manifest in manifests for content in contents_of(manifest))
    decoded = sorted(set().union(*(table.pictures_decoded for table in tables)))
    return {
        **first,
        **({"decoded": decoded} if len(contents) == 1 else {}),  # else nobody knows of what
        **limits_of(models, first["source"].get("reader")),
        "source": dict(source) if source else with_contents(manifests[0]["source"], contents),
        "scores": list(scores),
        "models": models,
        "fitted": {name: about for manifest in manifests for name, about in manifest["fitted"].items()},
        "notes": list(dict.fromkeys(note for manifest in manifests for note in manifest["notes"])),
        "device": ", ".join(devices),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "scored": scored,
        "complete": True,
    }
