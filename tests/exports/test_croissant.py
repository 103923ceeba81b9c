"""Croissant metadata, read by the library of its makers."""

import hashlib
import json
import logging
import shutil
from pathlib import Path
from urllib.request import urlopen

import mlcroissant
import numpy as np
import pytest
from mlcroissant._src.core.rdf import make_context
from support.paths import ROOT
from support.rows import random_dataset

from sds_hf import Recipe, Report, TopK, publish, select
from sds_hf.cli import main
from sds_hf.data.folder import Shard
from sds_hf.exports import ExportError, export
from sds_hf.exports.croissant import CONTEXT, render_croissant

CARD = ROOT / "cards" / "sds-demo"


@pytest.fixture(scope="module")
def scored():
    return random_dataset().add_column("quality", [float(number % 5) for number in range(12)])


def publish_it(scored, **where):
    plan = Recipe(
        name="small",
        rules=[TopK(column="quality", target=6)],
        publish={"license": "cc-by-4.0", "title": "A small\nset", "citation": "@misc{x}", "tags": ["tiny"]},
    )
    publish(scored, select(scored, plan), plan, **where)


@pytest.fixture
def published(scored, tmp_path, monkeypatch):
    """A published folder of several files, with its metadata inside."""
    monkeypatch.setattr("sds_hf.data.folder.ROWS_PER_GROUP", 3)
    monkeypatch.setattr("sds_hf.data.folder.SHARD_BYTES", 1)
    publish_it(scored, folder=tmp_path / "set")
    assert export(tmp_path / "set", "croissant", tmp_path / "out").rows is None
    shutil.copy(tmp_path / "out" / "croissant.json", tmp_path / "set")
    return tmp_path / "set"


def validated(path: Path, caplog) -> mlcroissant.Metadata:
    """What the library makes of it; it logs what it misses."""
    with caplog.at_level(logging.WARNING, logger="absl"):
        metadata = mlcroissant.Dataset(str(path)).metadata
    missed = [line for line in caplog.text.splitlines() if "Property" in line or "not standard" in line]
    # When and as which version a set is published is not known when its files are made.
    assert not [line for line in missed if "datePublished" not in line and "schema.org/version" not in line]
    assert not metadata.ctx.issues.errors
    return metadata


def test_the_library_reads_the_rows(published, scored, caplog):
    metadata = validated(published / "croissant.json", caplog)
    assert (metadata.name, metadata.license, metadata.cite_as) == ("A small set", ["cc-by-4.0"], "@misc{x}")
    assert len(metadata.file_objects) == 2
    for file in metadata.file_objects:
        assert hashlib.sha256((published / file.content_url).read_bytes()).hexdigest() == file.sha256
    kept = {row["id"]: row for row in scored.filter(lambda value: value >= 2, input_columns="quality")}
    rows = list(mlcroissant.Dataset(str(published / "croissant.json")).records("default"))
    assert {row["default/id"].decode() for row in rows} == set(kept)
    for row in rows:
        expected = kept[row["default/id"].decode()]
        assert row["default/image"].tobytes() == expected["image"].tobytes()
        np.testing.assert_array_equal(np.asarray(row["default/mask"]), np.asarray(expected["mask"]))
        assert (list(row["default/classes"]), row["default/quality"]) == (expected["classes"], expected["quality"])


def test_fields_for_responsible_ai(tmp_path, caplog):
    """What recipe and report of the demo's card answer."""
    recipe, report = Recipe.load(CARD / "recipe.yaml"), Report.load(CARD / "report.json")
    (tmp_path / "croissant.json").write_text(
        render_croissant(recipe, report, [Shard("data/x.parquet", 1, 2, "0" * 64)])
    )
    found = json.loads((tmp_path / "croissant.json").read_text())
    assert f"{report.kept} of them were kept" in found["rai:dataCollection"]
    assert recipe.publish.attribution in found["rai:dataCollection"]
    assert len(found["rai:dataPreprocessingProtocol"]) == len(report.steps)
    for model in report.provenance["models"].values():
        assert model["weights_sha256"] in found["rai:machineAnnotationTools"][0]
    first = report.classes[0]
    assert f"{first.name} {first.after} of {first.before}" in found["rai:dataBiases"][0]
    assert found["rai:annotationsPerItem"] == "1 mask"
    metadata = mlcroissant.Dataset(str(tmp_path / "croissant.json")).metadata
    read = {
        "rai:dataCollection": metadata.data_collection,
        "rai:dataCollectionType": metadata.data_collection_type,
        "rai:dataCollectionRawData": metadata.data_collection_raw_data,
        "rai:dataCollectionMissingData": metadata.data_collection_missing_data,
        "rai:dataPreprocessingProtocol": metadata.data_preprocessing_protocol,
        "rai:dataAnnotationProtocol": metadata.data_annotation_protocol,
        "rai:annotationsPerItem": metadata.annotations_per_item,
        "rai:annotatorDemographics": metadata.annotator_demographics,
        "rai:machineAnnotationTools": metadata.machine_annotation_tools,
        "rai:dataBiases": metadata.data_biases,
        "rai:dataLimitations": metadata.data_limitations,
        "rai:dataUseCases": metadata.data_use_cases,
        "rai:personalSensitiveInformation": metadata.personal_sensitive_information,
        "rai:dataReleaseMaintenancePlan": metadata.data_release_maintenance_plan,
    }
    assert {name for name in found if name.startswith("rai:")} == set(read)
    for name, value in read.items():
        assert sorted(value) == sorted(found[name]), name


def test_the_context_is_the_standard_one():
    assert {key: CONTEXT[key] for key in make_context()} == make_context()


def test_a_repository_on_the_hub(scored, hub, tmp_path, capsys, caplog):
    """Addresses are those of the commit that was looked at; only small files are read."""
    publish_it(scored, to="user/croissant")
    hub.faults.log.clear()
    assert main(["export", "user/croissant", "croissant", "--out", str(tmp_path / "out")]) == 0
    assert "1 file of croissant written" in capsys.readouterr().out
    assert not [request for request in hub.faults.log if ".parquet" in request["line"]]
    metadata = validated(tmp_path / "out" / "croissant.json", caplog)
    assert metadata.url == f"{hub.url}/datasets/user/croissant"
    (file,) = [file for file in metadata.file_objects if file.content_url.endswith(".parquet")]
    with urlopen(file.content_url) as answer:
        assert hashlib.sha256(answer.read()).hexdigest() == file.sha256
    assert "/resolve/main/" not in file.content_url
    assert "hf_user" not in (tmp_path / "out" / "croissant.json").read_text()


def test_what_was_not_published(stored, hub, tmp_path):
    with pytest.raises(ExportError, match=r"has no manifest\.json of sds-hf: it was not published by it"):
        export(stored, "croissant", tmp_path / "out")
    with pytest.raises(
        ExportError, match=r"user/none is no folder here and no dataset on the Hub that this login may see"
    ) as caught:
        export("user/none", "croissant", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
