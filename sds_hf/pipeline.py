"""The whole job from one recipe: source, scores, selection, publication."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset

from sds_hf.clip.device import current_device
from sds_hf.clip.launcher import current_rank, rank_together
from sds_hf.data.folder import ORIGIN, source_features, write_data_folder
from sds_hf.data.labels import label_space
from sds_hf.data.opening import folder_state, open_dataset
from sds_hf.data.sources import make_reader
from sds_hf.demo.dataset import SIDE, demo_features, demo_rows
from sds_hf.errors import public_name
from sds_hf.files import named_folder
from sds_hf.progress import Watch, adding, nothing, once_told
from sds_hf.publishing.publish import Published, check_target, publish, target_of
from sds_hf.scores.base.score import Score
from sds_hf.selection.cascade.score import score_for
from sds_hf.selection.recipe import Recipe, RecipeError, Source
from sds_hf.selection.report import Report
from sds_hf.selection.select import REPORT_FILE, Selection, select
from sds_hf.table.manifest import MANIFEST
from sds_hf.table.score_table import ScoreTable, score_table
from sds_hf.table.team import Team

DEMO_LABELS = ("voc", "coco")
REPORTS = {"scores": MANIFEST, "selection": REPORT_FILE, "published": MANIFEST}  # files that tell of results
DEMO_TEXT = """# Demo candidates

Emoji scenes drawn by `sds-hf demo`, about half of them with a known defect (column `defect`; no score reads it).
"""


@dataclass(frozen=True)
class Run:
    """What a run left behind."""

    out: Path
    dataset: Dataset
    table: ScoreTable
    selection: Selection
    published: Published

    @property
    def report(self) -> Report:
        """The report as published."""
        return self.published.report


@dataclass(frozen=True)
class Imported:
    """What an import read.

    Attributes:
        rows: how many.
        skipped: what was skipped or looks wrong, by reason.
        reader: its name.
        labels: name of the label space.
        classes: rows by the name of the class they show, most first.
        without_class: rows that show none.
        missing: the first path that was looked for and not found, by reason.
        passed_over: annotations of categories that are no classes, by their names.
        notes: what may be wrong, in one line each.
    """

    rows: int
    skipped: dict[str, int]
    reader: str
    labels: str
    classes: dict[str, int]
    without_class: int
    missing: dict[str, str]
    passed_over: dict[str, int]
    notes: list[str]


def import_source(
    reader: str,
    path: str | Path,
    out: str | Path,
    *,
    but: Path | None = None,
    watch: Watch = nothing,
    **options: Any,
) -> tuple[int, dict[str, int], str]:
    """Read a raw layout into a folder that `load_dataset` reads, see `import_folder`.

    Returns:
        Number of rows, what was skipped or looks wrong by reason, and the reader's name.
    """
    imported = import_folder(reader, path, out, but=but, watch=watch, **options)
    return imported.rows, imported.skipped, imported.reader


def import_folder(
    reader: str,
    path: str | Path,
    out: str | Path,
    *,
    but: Path | None = None,
    watch: Watch = nothing,
    **options: Any,
) -> Imported:
    """Read a raw layout into a folder that `load_dataset` reads, and say what was found.

    Args:
        reader: name of the reader, or `"auto"`.
        path: the raw folder.
        out: the new folder.
        but: a folder whose files do not count to decide whether the raw folder has changed; `out` if None.
        watch: shows progress.
        **options: of the reader, e.g. `labels="voc"`.

    Raises:
        ValueError: if the layout or its label space is not known, a file is broken, or `out` is not empty.
    """
    source = make_reader(reader, path, **options)
    about = {"reader": source.name, "path": Path(path).name, "labels": public_name(source.labels.name)}
    origin = {**about, **_request(reader, Path(path), but or named_folder(Path(out)), options)}
    text = f"# Candidates\n\nImported from `{Path(path).name}` by sds-hf with the reader `{source.name}`.\n"
    with watch("reading", source.count()) as tell:
        rows = write_data_folder(
            source.rows(), source_features(source), out, text, origin=origin, progress=adding(tell)
        )
    findings, names = source.findings, source.labels.names
    return Imported(
        rows=rows,
        skipped=dict(source.counts),
        reader=source.name,
        labels=source.labels.name,
        classes={names[index]: count for index, count in findings.classes.most_common()},
        without_class=findings.without_class,
        missing=findings.missing,
        passed_over=dict(findings.passed_over),
        notes=source.notes(),
    )


def run(
    recipe: Recipe,
    out: str | Path,
    *,
    watch: Watch = nothing,
    rows_per_shard: int = 1000,
    batch_size: int | None = None,
    all_scores: bool = False,
    **target: Any,
) -> Run | None:
    """Do everything a recipe says; run again, it goes on where it was. See `plan_run` for what it would do.

    The selection in `out/selection` is always that of what was published: where publishing is refused, both stay as
    they were.

    Under `torchrun`, `accelerate launch` or `srun` all processes score; the first one imports before, and selects and
    publishes after that, while the others are done.

    Args:
        recipe: with `source`; `publish` says where to, `out/published` if nowhere.
        out: folder for `source/` (if a raw folder is read), `scores/`, `selection/` and `published/`.
        watch: shows progress.
        rows_per_shard: see `score_table`.
        batch_size: see `score_table`.
        all_scores: compute all scores of all rows, not only those that the rules need; see `score_for`.
        **target: where to publish, e.g. `overwrite=True`; see `publish`.

    Returns:
        What it left behind; None in a process that has only scored.

    Raises:
        RecipeError: if the recipe names no source.
        ValueError: see the steps.
        OSError: if another run is at work in `out`, or another process of this one is gone.
    """
    out = named_folder(Path(out))
    target = target_arguments(recipe, out, target)
    rank = rank_together("a run")
    if rank.index == 0:  # before the work that is to be published
        check_target(recipe, target_of(recipe, **target))
    out.mkdir(parents=True, exist_ok=True)
    with Team(out, rank) as team:
        dataset, name = _source(recipe, out, watch, team)
        job = {"rows_per_shard": rows_per_shard, "batch_size": batch_size, "source": name}
        table = _scored(recipe, dataset, out, watch, all_scores, job)
        return _finished(recipe, dataset, table, out, watch, target) if team.rank.index == 0 else None


def target_arguments(recipe: Recipe, out: Path, target: Mapping[str, Any]) -> dict[str, Any]:
    """Where a run publishes to: into its own folder if neither the recipe nor the call says."""
    if recipe.publish.to or recipe.publish.folder or target.get("to") or target.get("folder"):
        return dict(target)
    return {"folder": out / "published", "overwrite": True, **target}


def _scored(
    recipe: Recipe, dataset: Dataset, out: Path, watch: Watch, all_scores: bool, job: Mapping[str, Any]
) -> ScoreTable:
    with once_told(watch, "scoring", len(dataset), str(current_device())) as tell:
        scores = scores_of(recipe)
        if all_scores:
            return score_table(dataset, scores, out / "scores", progress=tell, watch=watch, **job)
        return score_for(dataset, recipe, out / "scores", scores=scores, progress=tell, watch=watch, **job)


def scores_of(recipe: Recipe) -> list[Score]:
    """The scores of a recipe, with the labels of its source where that is a dataset."""
    return recipe.make_scores(labels=recipe.source.labels if recipe.source and recipe.source.dataset else None)


def _finished(
    recipe: Recipe, dataset: Dataset, table: ScoreTable, out: Path, watch: Watch, target: dict[str, Any]
) -> Run:
    selection = select(table, recipe)
    selection.check_free(out / "selection")
    with watch("publishing", selection.report.kept) as tell:
        published = publish(dataset, selection, recipe, scores=table, progress=adding(tell), **target)
    return Run(out, dataset, table, selection.save(out / "selection"), published)


def run_demo(
    rows: int = 200,
    out: str | Path = "sds-demo",
    *,
    seed: int = 0,
    labels: str = "voc",
    watch: Watch = nothing,
    recipe: Recipe | None = None,
) -> Run:
    """The whole job offline, on emoji scenes of which about half have a known defect.

    Args:
        rows: number of candidates.
        out: folder for everything; one of an earlier demo is used again.
        seed: of the scenes.
        labels: what the masks of the scenes mean, `voc` or `coco`.
        watch: shows progress.
        recipe: the recipe `demo` if None.

    Raises:
        ValueError: if `rows` is not positive, the label space is unknown, the folder holds something else or there are
            several processes.
    """
    if current_rank().count > 1:
        raise ValueError("the demo is one process's work: start it without torchrun, srun or an array")
    if rows < 1:
        raise ValueError(f"rows must be at least 1, not {rows}")
    if labels not in DEMO_LABELS:
        raise ValueError(f"labels must be one of {DEMO_LABELS}, not {labels!r}: the demo's scenes show VOC's classes")
    out, space = Path(out), label_space(labels)
    origin = {"reader": "demo", "seed": seed, "side": SIDE, "labels": labels}
    if not _is_imported(out / "source", {**origin, "rows": rows}):
        check_unused(out)
        with watch("drawing", rows) as tell:
            write_data_folder(
                demo_rows(rows, seed=seed, labels=space),
                demo_features(space),
                out / "source",
                DEMO_TEXT,
                origin=origin,
                progress=adding(tell),
            )
    recipe = recipe or Recipe.load("demo")
    recipe = recipe.model_copy(update={"source": Source(dataset=str(out / "source"))})
    demo_run = run(recipe, out, watch=watch, rows_per_shard=100, all_scores=True)  # bounds are to be tried out
    assert demo_run is not None
    return demo_run


def source_of(recipe: Recipe) -> Source:
    """Where the candidates of a recipe come from.

    Raises:
        RecipeError: if it does not say so.
    """
    source = recipe.source
    if source is None or (source.path is None) == (source.dataset is None):
        raise RecipeError(
            "a recipe that is run needs a source: either `source.path` (a raw folder) or `source.dataset`; "
            "`sds-hf recipes sds-paper` prints one to add it to"
        )
    return source


def _source(recipe: Recipe, out: Path, watch: Watch, team: Team) -> tuple[Dataset, str]:
    source = source_of(recipe)
    if source.dataset is not None:
        dataset = open_dataset(source.dataset, source.split, config=source.config, revision=source.revision)
        return dataset, source.dataset
    assert source.path is not None
    options, imported = source.reader_options(), out / "source"
    if team.rank.index > 0:
        team.wait((imported / ORIGIN).exists, lambda: [0])
    if not (imported / ORIGIN).exists():
        check_unused(out)
        import_source(source.reader, source.path, imported, but=out, watch=watch, **options)
    else:
        check_imported(source, out)
    return open_dataset(imported), source.path


def check_imported(source: Source, out: Path) -> None:
    """Refuse an import of a raw folder that has changed since.

    Raises:
        ValueError: says what to do.
    """
    assert source.path is not None
    imported = out / "source"
    if not Path(source.path).is_dir():
        raise ValueError(
            f"{source.path}, of which {imported} was imported, is no folder now: bring it back, or name {imported} as "
            "source.dataset in the recipe"
        )
    if not _is_imported(imported, _request(source.reader, Path(source.path), out, source.reader_options())):
        raise ValueError(
            f"{source.path}, or how it is to be read, has changed since it was imported into {imported}; choose "
            f"another out=..., or delete {imported} and {out / 'scores'}"
        )


def check_unused(out: Path) -> None:
    """Refuse the folder of another run before anything is read into it.

    Raises:
        ValueError: if it holds results without the source that is to be read.
    """
    if results := [name for name in ("scores", "selection", "published") if (out / name / REPORTS[name]).exists()]:
        raise ValueError(f"{out} holds {results[0]}/ of another run or dataset; choose another out=...")


def _request(reader: str, path: Path, but: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the rows of an import: of the options a digest, since they may say where files lie."""
    request = json.dumps([reader, dict(options)], sort_keys=True, default=str)
    return {"request": hashlib.sha256(request.encode()).hexdigest(), "state": folder_state(path.resolve(), but=but)}


def _is_imported(folder: Path, origin: Mapping[str, Any]) -> bool:
    """Whether the folder holds what was read from there already."""
    if not (folder / ORIGIN).exists():
        return False
    stored_origin = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
    return all(stored_origin.get(name) == value for name, value in origin.items())
