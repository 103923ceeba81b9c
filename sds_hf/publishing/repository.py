"""The folder of a published dataset: data, card, recipe, report, scores, pictures and a manifest with checksums."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from sds_hf.data.access.paths import read_file
from sds_hf.data.cells import READABLE
from sds_hf.data.content import distinct, not_held, of_other_rows
from sds_hf.data.folder import Shard, TableStream, card_metadata, features_beside, tables_of_dataset, write_shards
from sds_hf.data.labels import VOC, LabelSpace, class_names
from sds_hf.errors import public_text
from sds_hf.files import sha256_of, write_whole
from sds_hf.hub.layout import CANDIDATES, CARD, MANIFEST, RECIPE, REPORT, compare_listed, renew_entry, write_manifest
from sds_hf.publishing.beside import as_long_as, beside
from sds_hf.publishing.card.colors import with_palette
from sds_hf.publishing.card.handwritten import LastCard, keep_by_hand
from sds_hf.publishing.card.hub_rules import check_folder
from sds_hf.publishing.card.illustrations import draw_pictures
from sds_hf.publishing.card.render import front_matter, render_card
from sds_hf.selection.changes import Diff
from sds_hf.selection.disclosure import disclosed
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.report import Report
from sds_hf.selection.select import Selection
from sds_hf.table.manifest import contents_of
from sds_hf.table.score_table import ScoreTable

if TYPE_CHECKING:
    from datasets import Dataset, Features

NOT_IN_DATA = ("id", "row", "status", "error", "classes_present", "num_classes_present")  # of the score table
ROWS_AT_ONCE = 1 << 16
Explorer = Callable[[Path, "Dataset", Selection, Recipe, Report], None]
OTHER_DATASET = (
    "this dataset is not the one that was scored: its ids, images, masks or classes differ, or their order; give the "
    "one that was scored, or score this one"
)
TERMS = ("license", "homepage", "citation")  # of a dataset's own description


@dataclass(frozen=True)
class CardRenewal:
    """A card that was rendered again: where it is, whether it differs from what was there, and what looks odd."""

    path: Path
    changed: bool
    warnings: list[str]


def build_repository(
    dataset: "Dataset",
    selection: Selection,
    recipe: Recipe,
    folder: Path,
    *,
    scores: ScoreTable | None = None,
    last_card: LastCard | None = None,
    review: Callable[[Path, Report], Diff | None] | None = None,
    explorer: Explorer | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Write everything that is published into an empty folder.

    Args:
        dataset: the candidates that were scored.
        selection: which of them stay.
        recipe: what chose them, and where to they are published.
        folder: where to write.
        scores: their score table; its columns are added to the data and all candidates' scores are published.
        last_card: README of the version before; what people wrote into it is kept, see `keep_by_hand`.
        review: told the folder with data and scores, and the report, finds what is new for the card, or refuses.
        explorer: puts a page to look into the set beside it.
        progress: called with the number of rows written since the last call.

    Returns:
        The report as published, with the truth where the dataset has it and what the card needs.

    Raises:
        ValueError: if the dataset, the scores and the selection do not belong together, or the Hub would refuse the
            card.
    """
    check_candidates(dataset, selection, scores)
    check_recipe(recipe, selection)
    report, labels = _report(dataset, selection, recipe, scores)
    report, recipe = _public(report, recipe)
    if terms := {name: text for name in TERMS if (text := getattr(dataset.info, name))}:
        report.provenance["terms"] = terms
    candidates = None if scores is None else _write_candidates(scores, selection, folder)
    with beside(threads=2) as work:
        same_content = work.start(check_content, dataset, selection, scores, work.go_on)
        pictures = work.start(draw_pictures, folder, dataset, selection, recipe, report, labels=labels)
        features, tables = _data(dataset, selection, scores, folder)
        if recipe.publish.mask_palette:
            tables = map(_with_palettes, tables)
        shards, num_bytes = write_shards(as_long_as(same_content, tables), folder, progress=progress)
        same_content.result()
        report.assets = pictures.result()
    metadata: dict[str, Any] = card_metadata(features, shards, num_bytes).to_dict()  # type: ignore[no-untyped-call]
    if candidates is not None:
        metadata["configs"].append({"config_name": "scores", "data_files": "scores/*.parquet"})
        shards.append(candidates)
    report.metadata = metadata
    report.changes = review(folder, report) if review else None
    report.save(folder / REPORT)
    write_whole(folder / RECIPE, recipe.to_yaml())
    card = render_card(recipe, report)
    write_whole(folder / CARD, keep_by_hand(last_card, card) if last_card else card)
    check_folder(folder, others=(last_card and last_card.others) or ()).refuse()
    if explorer:
        explorer(folder, dataset, selection, recipe, report)
    write_manifest(folder, {shard.path: shard.rows for shard in shards})
    return report


def _report(
    dataset: "Dataset", selection: Selection, recipe: Recipe, scores: ScoreTable | None
) -> tuple[Report, LabelSpace | None]:
    """The report of a selection, with what is known of its dataset and scores, and the classes of the masks."""
    report = selection.report.model_copy(deep=True)
    if scores is not None:
        report.provenance |= scores.provenance()  # scores may have been joined since
    report.truth = _truth(dataset, selection, recipe.publish.truth)
    names = report.provenance.get("labels", {}).get("names") or class_names(dataset.features)
    labels = LabelSpace.from_names(names) if names else None
    if labels:
        report.provenance.setdefault("labels", asdict(labels))
    return report, labels


def _data(
    dataset: "Dataset", selection: Selection, scores: ScoreTable | None, folder: Path
) -> tuple["Features", Iterator[pa.Table]]:
    """The kept rows with their scores, as they are published."""
    columns = None if scores is None else _score_columns(scores, folder)
    kept = selection.apply(dataset)
    if columns is not None:
        kept = kept.remove_columns([name for name in columns.schema.names if name in kept.column_names])
    decoded = () if scores is None else scores.pictures_decoded
    return features_beside(kept, columns), tables_of_dataset(kept, columns, decoded)


def _with_palettes(table: pa.Table) -> pa.Table:
    """Rows whose masks carry the palette of PASCAL VOC, which all label spaces share.

    Raises:
        ValueError: if there are no masks, or one is no PNG of 8-bit indices.
    """
    if "mask" not in table.column_names:
        raise ValueError("publish.mask_palette needs a column `mask`, which this dataset does not have")
    kind = table.schema.field("mask").type
    cells = [
        {**cell, "bytes": with_palette(cell["bytes"], VOC.palette)} if cell and cell["bytes"] else cell
        for cell in table["mask"].to_pylist()
    ]
    return table.set_column(table.column_names.index("mask"), table.schema.field("mask"), pa.array(cells, kind))


def renew_card(folder: Path, check: bool = False) -> CardRenewal:
    """The card of a published folder again, from its recipe and report; what people wrote into it is kept.

    Args:
        folder: with `recipe.yaml` and `report.json`; the data need not be there.
        check: write nothing, only compare.

    Returns:
        Whether the card differs from what was there, and what the Hub may say to it.

    Raises:
        ValueError: if the folder is none of sds-hf; if the manifest has another checksum than the card although nobody
            edited it; if a file to write is a link; or, with `check`, if the card is not the one that would be written.
    """
    for name in (RECIPE, REPORT):
        if not (folder / name).exists():
            raise ValueError(f"{folder} has no {name}: it is no published folder of sds-hf")
    path = folder / CARD
    if linked := [name for name in (CARD, MANIFEST) if (folder / name).is_symlink() and not check]:
        raise ValueError(
            f"{folder / linked[0]} is a link, and nothing is written through it; put the file in its place"
        )
    old = read_file(path).decode() if path.exists() else ""
    recipe, report = Recipe.load(folder / RECIPE), Report.load(folder / REPORT)
    rendered = render_card(recipe, report)
    same = compare_listed(folder, (CARD, RECIPE, REPORT))
    ours = front_matter(recipe, report) if same.get(RECIPE) and same.get(REPORT) else None
    text = keep_by_hand(LastCard(old, ours), rendered)
    if check and text != old:
        raise ValueError(f"{path} differs from what the recipe and the report give; run `sds-hf card {folder}`")
    checked = check_folder(folder, text)
    checked.refuse()
    edited = [name for name in same if not same[name]]
    if CARD in edited and old == rendered:
        raise ValueError(
            f"{folder / MANIFEST} has another checksum for {CARD} than it has, though nobody edited that: it is the "
            f"manifest that was changed. See with `sds-hf verify {folder}` what else is wrong, and publish again"
        )
    if check and CARD in edited:
        raise ValueError(f"{path} was edited and {MANIFEST} has its old checksum; run `sds-hf card {folder}`")
    if not check:
        if text != old:
            write_whole(path, text)
        renew_entry(folder, CARD)
    notes = [f"{name} was edited since it was published: {MANIFEST} had another checksum for it" for name in edited]
    return CardRenewal(path, text != old, [*notes, *checked.warnings])


def _public(report: Report, recipe: Recipe) -> tuple[Report, Recipe]:
    """Both as they may be published: they say nothing of this machine."""
    texts = {name: [public_text(text) for text in getattr(report, name)] for name in ("failures", "warnings")}
    public = report.model_copy(update={**texts, "provenance": disclosed(report.provenance), "files": {}})
    return public, recipe.disclosed()


def check_candidates(dataset: "Dataset", selection: Selection, scores: ScoreTable | None) -> None:
    """Refuse what can be refused before pictures are read: see `check_content` for these.

    Raises:
        ValueError: if the selection is not of these scores, or of other rows; says what differs.
    """
    provenance = selection.report.provenance
    if scores is not None and not scores.holds(provenance.get("table_sha256")):
        raise ValueError(f"the selection was not made from the scores in {scores.folder}; run `sds-hf select` on them")
    selection.check_length(dataset)
    scored = provenance.get("source", {})
    if not scored.get("columns", READABLE) or (not scored and "id" not in dataset.column_names):
        raise ValueError(
            "nothing tells whether the rows of this dataset are those that were selected from: select from scores that "
            "have a column id, or from a dataset with its images or masks"
        )
    if not scored and not _has_ids_of(dataset, selection):
        raise ValueError(OTHER_DATASET)


def check_content(
    dataset: "Dataset",
    selection: Selection,
    scores: ScoreTable | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Refuse a dataset that is not the one that was scored; all of it is read, once.

    Raises:
        ValueError: if it is another one, or scores that were joined are of another one; says which.
    """
    scored = [selection.report.provenance, *([scores.provenance()] if scores else [])]  # may have been joined since
    contents = distinct(content for about in scored if about.get("source") for content in contents_of(about))
    others = not_held(dataset, contents, progress)
    if others:
        raise ValueError(of_other_rows(others) if len(others) < len(contents) else OTHER_DATASET)


def check_recipe(recipe: Recipe, selection: Selection) -> None:
    """Refuse a recipe that is not what the selection was made by.

    Raises:
        ValueError: says what differs.
    """
    rules, steps = [rule.label for rule in recipe.rules], [step.rule for step in selection.report.steps]
    if rules != steps:
        raise ValueError(
            f"the selection was made by the rules {steps}, and the recipe has {rules}: give the recipe it was made by"
        )


def _has_ids_of(dataset: "Dataset", selection: Selection) -> bool:
    names, start = dataset.select_columns(["id"]).with_format("arrow"), 0
    for batch in selection.batches(["id"]):
        if [str(name) for name in names[start : start + len(batch)]["id"].to_pylist()] != batch["id"].to_pylist():
            return False
        start += len(batch)
    return True


def _write_candidates(scores: ScoreTable, selection: Selection, folder: Path) -> Shard:
    """Scores, decision and reason of all candidates, in one file; some rows at a time are in memory."""
    path = folder / CANDIDATES
    path.parent.mkdir()
    schema = pq.read_schema(selection.path)
    decided = TableStream(schema, (pa.Table.from_batches([batch]) for batch in selection.batches(schema.names)))
    decision_fields = [field for field in schema if field.name not in ("id", "row")]
    scored = pq.read_schema(scores.paths[0])
    whole = pa.schema([*scored, *decision_fields])
    with pq.ParquetWriter(path, whole) as writer:
        for table in _regrouped(scores, scored):
            decisions = decided.take(table.num_rows)
            if not decisions["row"].equals(table["row"]):
                raise ValueError(f"the selection in {selection.path} has other rows than the scores in {scores.folder}")
            table = table.set_column(scored.names.index("error"), scored.field("error"), _public_errors(table["error"]))
            columns = [*table.columns, *(decisions[field.name] for field in decision_fields)]
            writer.write_table(pa.table(columns, schema=whole), row_group_size=ROWS_AT_ONCE)
    return Shard(CANDIDATES, selection.report.rows, path.stat().st_size, sha256_of(path))


def _public_errors(errors: pa.ChunkedArray) -> pa.ChunkedArray:
    """Why rows failed, without where files lie."""
    if errors.null_count == len(errors):
        return errors
    return pa.chunked_array([[error and public_text(error) for error in errors.to_pylist()]], errors.type)


def _regrouped(scores: ScoreTable, schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of a score table, as many at a time as a row group has."""
    stream = TableStream(schema, (table for path in scores.paths for table in _parts(path)))
    while (table := stream.take(ROWS_AT_ONCE)).num_rows:
        yield table


def _parts(path: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE):
            yield pa.Table.from_batches([batch])


def _score_columns(scores: ScoreTable, folder: Path) -> TableStream:
    """The scores of the kept rows, from the file of all candidates."""
    schema = pq.read_schema(scores.paths[0])
    score_schema = pa.schema([field for field in schema if field.name not in NOT_IN_DATA])

    def kept() -> Iterator[pa.Table]:
        with pq.ParquetFile(folder / CANDIDATES) as file:
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=["kept", *score_schema.names]):
                yield pa.Table.from_batches([batch]).filter(batch["kept"])

    return TableStream(score_schema, kept())


def _truth(dataset: "Dataset", selection: Selection, column: str | None) -> dict[str, tuple[int, int]]:
    """Rows by defect among candidates and kept, where a column tells."""
    if column is None or column not in dataset.column_names:
        return {}
    before, after, start = Counter[str](), Counter[str](), 0
    defects = dataset.select_columns([column]).with_format("arrow")
    for batch in selection.batches(["kept"]):
        values = defects[start : start + len(batch)][column].combine_chunks()
        start += len(batch)
        for counts, chosen in ((before, values), (after, values.filter(batch["kept"]))):
            for entry in chosen.value_counts().to_pylist():
                counts[entry["values"] or "none"] += entry["counts"]
    names = sorted(before, key=lambda name: (name != "none", name))
    return {name: (before[name], after[name]) for name in names}
