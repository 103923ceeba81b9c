"""Croissant: what a published dataset is, as JSON-LD that programs read, with the fields for responsible AI.

The vocabulary is Croissant 1.0 with its extension RAI 1.0, both of MLCommons.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sds_hf.data.folder import Shard
from sds_hf.exports.base import export_format
from sds_hf.exports.samples import ExportError
from sds_hf.files import write_whole
from sds_hf.hub.snapshot import SnapshotError, open_snapshot
from sds_hf.selection.disclosure import public_name
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.report import Report


@export_format(
    "croissant", "croissant.json of a published dataset, with the fields for responsible AI", needs=(), of_files=True
)
def write_croissant(dataset: str, folder: Path) -> None:
    """Write `croissant.json`.

    Paths in it count from the published folder, into which it belongs; those of a repository on the Hub are addresses
    of the version that was looked at. Rows are not read.

    Args:
        dataset: a published folder, or a Hub id.
        folder: where to write.

    Raises:
        ExportError: if sds-hf did not publish it, or the Hub cannot be reached.
    """
    try:
        snapshot = open_snapshot(dataset)
        entries = snapshot.entries().values()
        recipe, report = Recipe.load(snapshot.fetch("recipe.yaml")), Report.load(snapshot.fetch("report.json"))
    except (SnapshotError, FileNotFoundError) as error:
        raise ExportError(f"{dataset} cannot be described: {error}") from error
    files = [Shard(entry.path, entry.rows, entry.size, entry.sha256) for entry in entries if entry.rows is not None]
    text = render_croissant(recipe, report, files, snapshot.address, snapshot.revision or "main")
    write_whole(folder / "croissant.json", text)


CONFORMS_TO = ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"]
TERMS = """
citeAs column containedIn equivalentProperty extract field fileObject fileProperty fileSet format includes isLiveDataset
jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate separator source subField
transform
"""
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    **{term: f"cr:{term}" for term in TERMS.split()},
}
PARQUET = "application/x-parquet"
ROWS = "rows"  # the set of files that holds the kept rows
REPOSITORY = "repository"
TYPES = {"image": "sc:ImageObject", "bool": "sc:Boolean", "string": "sc:Text", "large_string": "sc:Text"}


def render_croissant(
    recipe: Recipe, report: Report, files: Sequence[Shard], address: str | None = None, revision: str = "main"
) -> str:
    """The text of `croissant.json`.

    Args:
        recipe: what was asked, and where it is published.
        report: what was found; its `metadata` says which columns there are.
        files: the Parquet files; those in `data/` hold the rows.
        address: web address of the repository; if None, paths count from the folder in which the file lies.
        revision: of the repository at that address.
    """
    publication = recipe.publish
    name = publication.title or recipe.name
    citation = publication.citation or report.provenance.get("terms", {}).get("citation")
    document = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": " ".join(name.split()),
        "description": publication.description or f"{report.kept} synthetic images with masks",
        "conformsTo": CONFORMS_TO,
        "license": _license(recipe),
        "url": address,
        "citeAs": citation,
        "inLanguage": publication.language or None,
        "keywords": ["synthetic", "semantic segmentation", "sds-hf", *publication.tags],
        "distribution": list(_distribution(files, address, revision)),
        "recordSet": [_record_set(report)],
        **{f"rai:{name}": value for name, value in responsible_ai(recipe, report).items()},
    }
    fields = {key: value for key, value in document.items() if value is not None}
    return json.dumps(fields, indent=2, ensure_ascii=False) + "\n"


def responsible_ai(recipe: Recipe, report: Report) -> dict[str, str | list[str]]:
    """The fields of the RAI vocabulary that recipe and report answer, by name; what nobody said is left out."""
    provenance, publication = report.provenance, recipe.publish
    source, models = provenance.get("source", {}), provenance.get("models", {})
    origin = public_name(source["name"]) if "name" in source else "a dataset that is not named"
    made_with = [f"{one.role}: {one.name} ({one.license or 'licence not stated'})" for one in publication.origins]
    answers: dict[str, str | list[str] | None] = {
        "dataCollection": " ".join(
            [f"{report.rows} image-mask pairs of {origin} were scored by machine, {report.kept} of them were kept."]
            + ([publication.attribution] if publication.attribution else [])
        ),
        "dataCollectionType": ["Others: images and masks made by machine", *made_with],
        "dataCollectionRawData": f"{origin}, SHA-256 of its content {source['sha256']}" if "sha256" in source else None,
        "dataCollectionMissingData": f"{report.failed} pairs could not be read or scored and were left out",
        "dataPreprocessingProtocol": [f"{s.text}: {s.after} of {s.before} pairs stay" for s in report.steps],
        "dataAnnotationProtocol": ["Masks are class indices as the source wrote them; no person checked them here"],
        "annotationsPerItem": "1 mask",
        "annotatorDemographics": ["none, no person annotated"],
        "machineAnnotationTools": [
            f"scores by {public_name(name)}, SHA-256 of its weights {model['weights_sha256']}"
            for name, model in models.items()
        ],
        "dataBiases": _biases(report),
        "dataLimitations": [
            "Images and masks are made by machine and may be wrong; so is the selection where the model is that scores",
            "Scores put the rows of this set in an order; they do not say how far off a mask is",
            *report.warnings,
        ],
        "dataUseCases": ["Training of semantic segmentation; not its evaluation, since no person checked the masks"],
        "personalSensitiveInformation": ["Not examined; generators can repeat what they were trained on"],
        "dataReleaseMaintenancePlan": "A version is a commit with a tag; manifest.json has the SHA-256 of every file",
    }
    return {name: value for name, value in answers.items() if value}


def _biases(report: Report) -> list[str]:
    shares = ", ".join(f"{count.name} {count.after} of {count.before}" for count in report.classes if count.before)
    names = ", ".join(map(public_name, report.provenance.get("models", {})))
    classes = f"Selection changes how often classes occur; images kept of those that show a class: {shares}"
    return [*([classes] if shares else []), *([f"The selection has the biases of {names}"] if names else [])]


def _license(recipe: Recipe) -> str | None:
    publication = recipe.publish
    named = publication.license == "other" and publication.license_name
    link = publication.license_link or ""
    return link if link.startswith("http") else (publication.license_name if named else publication.license)


def _distribution(files: Sequence[Shard], address: str | None, revision: str) -> Iterator[dict[str, Any]]:
    rows: dict[str, Any] = {"@type": "cr:FileSet", "@id": ROWS, "name": ROWS, "encodingFormat": PARQUET}
    rows["includes"] = "data/*.parquet"
    if address:  # the format demands a digest of a repository too; its commit is the nearest there is
        yield {
            "@type": "cr:FileObject", "@id": REPOSITORY, "name": REPOSITORY, "encodingFormat": "git+https",
            "contentUrl": f"{address}/tree/{revision}", "sha256": revision,
        }  # fmt: skip
        rows["containedIn"] = {"@id": REPOSITORY}
    yield rows
    base = f"{address}/resolve/{revision}/" if address else ""
    for file in files:
        yield {
            "@type": "cr:FileObject", "@id": file.path, "name": file.path, "encodingFormat": PARQUET,
            "contentUrl": base + file.path, "contentSize": f"{file.size} B", "sha256": file.sha256,
        }  # fmt: skip


def _record_set(report: Report) -> dict[str, Any]:
    """The columns of the rows; those of objects inside have no place."""
    features = report.metadata.get("dataset_info", {}).get("features", [])
    fields = [field for feature in features if (field := _field(feature)) is not None]
    return {"@type": "cr:RecordSet", "@id": "default", "name": "default", "field": fields}


def _field(feature: dict[str, Any]) -> dict[str, Any] | None:
    """A column as the card's YAML describes it; None if it is made of parts."""
    name, inner = feature["name"], feature.get("list", feature.get("sequence"))
    data_type = _type(feature.get("dtype") if inner is None else inner)
    if data_type is None:
        return None
    source: dict[str, Any] = {"fileSet": {"@id": ROWS}, "extract": {"column": name}}
    if data_type == TYPES["image"]:
        source["transform"] = {"jsonPath": "bytes"}
    field = {"@type": "cr:Field", "@id": f"default/{name}", "name": name, "dataType": data_type, "source": source}
    return field if inner is None else {**field, "repeated": True}


def _type(dtype: Any) -> str | None:
    if isinstance(dtype, dict):
        return "sc:Integer" if "class_label" in dtype or "class_label" in str(dtype.get("dtype")) else None
    if not isinstance(dtype, str):
        return None
    number = "sc:Integer" if dtype.lstrip("u").startswith("int") else "sc:Float" if dtype.startswith("float") else None
    return TYPES.get(dtype, number)
