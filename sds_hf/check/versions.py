"""One version of a selection, wherever it lies: a published folder or repository, a score table, a selection."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sds_hf.errors import short
from sds_hf.files import sha256_of
from sds_hf.hub.layout import DATA, SCORES
from sds_hf.hub.snapshot import Snapshot, open_snapshot
from sds_hf.selection.changes import Side
from sds_hf.selection.disclosure import public_name
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.report import Report
from sds_hf.selection.select import RECIPE_FILE, REPORT_FILE, SELECTION_FILE, Selection
from sds_hf.table.score_table import ScoreTable

# Of a score's identity: they follow from the rest.
NOT_SETTINGS = ("score", "statistics", "model_digest", "sam3_model_digest", "regions_digest")


@dataclass(frozen=True)
class Version:
    """One version.

    Attributes:
        side: what to call it.
        tables: Parquet files that name the rows, with scores, decisions and classes as far as they are known.
        files: SHA-256 of Parquet files by path.
        names: of the classes, by index; empty if they are not known.
        classes: rows by class as the report has them; None if only the tables tell.
        settings: of rules, scores and labels by their names.
        snapshot: where the data of a published version is.
    """

    side: Side
    tables: list[Path] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    classes: dict[str, int] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    snapshot: Snapshot | None = None

    def data(self, but: Collection[str] = ()) -> list[Path]:
        """Data files of a published version, downloaded if need be, except those with these SHA-256.

        Raises:
            ValueError: if one cannot be had.
        """
        return _fetched(self.snapshot, [path for path in _of(self.files, DATA) if self.files[path] not in but])


def open_version(name: str | Path, token: str | None = None) -> Version:
    """A version by its name.

    Args:
        name: folder of a publication, a score table or a selection, or a Hub id, `user/name` or `user/name@revision`.
        token: as in `huggingface_hub`.

    Raises:
        ValueError: if nothing is there, or something else.
    """
    if not isinstance(name, (str, Path)):
        raise ValueError(
            f"a version is told by its folder or its Hub id, not by {short(name)}: a selection is saved with "
            "`selection.save(FOLDER)`"
        )
    folder, text = Path(name).expanduser(), str(name)
    if "://" in text:
        return _of_table(ScoreTable.load(text), text)
    if next(folder.glob("scores-*.parquet"), None):
        return _of_table(ScoreTable.load(folder), text)
    if (folder / SELECTION_FILE).exists():
        selection, recipe = Selection.load(folder), Recipe.load(folder / RECIPE_FILE)
        return Version(Side(name=text, kind="selection"), [selection.path], **told(selection.report, recipe))
    return published_version(open_snapshot(name, token=token), text)


def published_version(snapshot: Snapshot, name: str) -> Version:
    """The version that a snapshot shows; its scores are downloaded, its data only if there are no scores.

    Raises:
        ValueError: if sds-hf did not publish it, or parts of it are missing.
    """
    files = {path: entry.sha256 for path, entry in snapshot.entries().items() if path.endswith(".parquet")}
    if snapshot.revision is None:  # here files may have changed since
        files = {path: sha256_of(file) for path, file in zip(files, _fetched(snapshot, list(files)), strict=True)}
    report, recipe = _fetched(snapshot, [REPORT_FILE, RECIPE_FILE])
    tables = _fetched(snapshot, _of(files, SCORES) or _of(files, DATA))
    side = Side(name=name, kind="published", revision=snapshot.revision)
    return Version(side, tables, files, **told(Report.load(report), Recipe.load(recipe)), snapshot=snapshot)


def built_version(folder: Path, name: str, report: Report, recipe: Recipe) -> Version:
    """The version whose data and scores were just written into a folder."""
    files = {path.relative_to(folder).as_posix(): sha256_of(path) for path in sorted(folder.rglob("*.parquet"))}
    tables = [folder / path for path in _of(files, SCORES) or _of(files, DATA)]
    return Version(Side(name=name, kind="published"), tables, files, **told(report, recipe))


def told(report: Report, recipe: Recipe) -> dict[str, Any]:
    """What report and recipe say of a version, as arguments of `Version`."""
    return {
        "names": list(report.provenance.get("labels", {}).get("names") or []),
        "classes": {count.name: count.after for count in report.classes},
        "settings": {"rules": recipe.model_dump(mode="json")["rules"], **_computed(report.provenance)},
    }


def _of_table(table: ScoreTable, name: str) -> Version:
    return Version(
        Side(name=name, kind="scores"),
        table.paths,
        {shard["path"]: shard["sha256"] for shard in table.manifest["shards"]},
        names=list(table.manifest["labels"]["names"]),
        settings=_computed(table.manifest),
    )


def _computed(record: Mapping[str, Any]) -> dict[str, Any]:
    """How scores were computed, of a report's provenance or a table's manifest; without folders of this machine."""
    settings: dict[str, Any] = {}
    if "scores" in record:
        settings["scores"] = {
            identity["score"]: {name: _public(value) for name, value in identity.items() if name not in NOT_SETTINGS}
            for identity in record["scores"]
        }
    if "models" in record:
        settings["weights"] = {public_name(name): model["weights_sha256"] for name, model in record["models"].items()}
    if record.get("labels", {}).get("names"):
        settings["labels"] = list(record["labels"]["names"])
    return settings


def _public(value: Any) -> Any:
    return public_name(value) if isinstance(value, str) else value


def _of(files: Collection[str], folder: str) -> list[str]:
    return sorted(path for path in files if path.startswith(folder))


def _fetched(snapshot: Snapshot | None, paths: Collection[str]) -> list[Path]:
    """Files of a snapshot on this machine.

    Raises:
        ValueError: if one is missing.
    """
    try:
        return [snapshot.fetch_whole(path) for path in paths] if snapshot else []
    except FileNotFoundError as error:
        raise ValueError(f"{error}: it is not whole, so it cannot be compared; get it again") from error
