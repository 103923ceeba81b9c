"""Publishing to the Hub from candidates, scores and selection, over real HTTP, and loading it back."""

import itertools
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from datasets import Dataset
from huggingface_hub import HfApi
from support.jobs import commits, files, load_elsewhere, sums, tags, writes

from sds_hf import Threshold, load, publish, select
from sds_hf.data.labels import VOC
from sds_hf.hub.layout import MANIFEST, read_manifest
from sds_hf.publishing.publish import PublishError

NUMBERS = itertools.count()


@pytest.fixture
def name() -> str:
    """A repository that is not there yet."""
    return f"user/voc-{next(NUMBERS)}"


@pytest.fixture
def api() -> HfApi:
    return HfApi()


def test_one_commit_a_tag_and_plain_load_dataset_elsewhere(job, hub, api, name, tmp_path):
    done = job.publish(to=name)
    assert sum("/commit/" in line for line in writes(hub)) == commits(api, name) == 1
    assert tags(api, name) == {"v1": done.revision}
    assert done.url == f"{hub.url}/datasets/{name}"
    assert set(files(api, name)) == set(done.files)
    assert not [path for path in done.files if path.endswith(".py")]
    seen = load_elsewhere(name, tmp_path, revision="v1")
    assert not seen["ours"]
    assert seen["rows"] == seen["streamed"] == job.expected()
    assert seen["names"] == list(VOC.names)
    assert len(seen["reasons"]) == 12
    card = Path(api.hf_hub_download(name, "README.md", repo_type="dataset")).read_text(encoding="utf-8")
    assert f'load_dataset("{name}", split="train")' in card


def test_versions(job, api, name):
    first = job.publish(to=name)
    again = job.publish(to=name)
    assert (again.revision, again.tag, commits(api, name)) == (first.revision, "v1", 1)
    second = job.selecting(1.0).publish(to=name)
    assert (second.tag, commits(api, name)) == ("v2", 2)
    assert load(name).num_rows == second.report.kept > first.report.kept
    assert load(name, revision="v1").num_rows == first.report.kept


def test_the_target_may_stand_in_the_recipe(job, api, name):
    target = job.recipe.publish.model_copy(update={"to": name, "private": True, "tag": "first"})
    done = replace(job, recipe=job.recipe.model_copy(update={"publish": target})).publish()
    assert (done.target, done.tag) == (name, "first")
    assert api.dataset_info(name).private


def test_a_dry_run_sends_nothing(job, hub, api, name):
    planned = job.publish(to=name, dry_run=True)
    assert writes(hub) == []
    assert not api.repo_exists(name, repo_type="dataset")
    assert (planned.dry_run, planned.revision, planned.tag, planned.removed) == (True, None, "v1", [])
    done = job.publish(to=name)
    assert planned.files == done.files
    hub.faults.log.clear()
    planned = job.selecting(1.0).publish(to=name, dry_run=True, scores=None)
    assert writes(hub) == []
    assert (planned.revision, planned.tag, planned.removed) == (done.revision, "v2", ["scores/candidates.parquet"])


@pytest.mark.parametrize("dry_run", [False, True])
def test_somebody_elses_repository_is_refused(job, hub, api, name, dry_run):
    api.create_repo(name, repo_type="dataset")
    api.upload_file(path_or_fileobj=b"x", path_in_repo="a.csv", repo_id=name, repo_type="dataset")
    hub.faults.log.clear()
    with pytest.raises(PublishError, match=rf"{name} exists \(1 files\) and was not made by sds-hf; overwrite=True"):
        job.publish(to=name, dry_run=dry_run)
    assert writes(hub) == []


def test_a_dataset_that_was_not_scored_is_refused(job, hub, name):
    rows = job.dataset.with_format("arrow")[:].to_pylist()
    rows[0]["classes"] = [20]
    other = Dataset.from_list(rows, features=job.dataset.features)
    with pytest.raises(ValueError, match=r"this dataset is not the one that was scored: .*; give the one"):
        publish(other, job.selection, job.recipe, scores=job.table, to=name)
    assert writes(hub) == []


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ({}, r"say where to publish: a Hub id \(user/name\) with to=\.\.\., or a folder with folder="),
        ({"to": "sds-voc"}, r"'sds-voc' is no Hub id \(user/name\); a folder is given with folder="),
        ({"to": "./out/sds-voc"}, "is no Hub id"),
    ],
)
def test_a_target_that_makes_no_sense(job, hub, target, said):
    with pytest.raises(PublishError, match=said):
        job.publish(**target)
    assert hub.faults.log == []


def test_a_token_is_in_no_file_and_no_message(job, hub, api, name, tmp_path, caplog, capfd):
    hub.tokens["hf_secretsecret"] = "user"
    caplog.set_level(logging.DEBUG)
    hub.faults.add("POST .*/commit/main", "status", code=503)
    job.publish(to=name, token="hf_secretsecret")
    hub.faults.add("POST .*/commit/main", "status", code=400)
    with pytest.raises(PublishError) as caught:
        job.selecting(1.0).publish(to=name, token="hf_secretsecret")
    sent = {entry["token"] for entry in hub.faults.log if entry["line"].startswith("POST")}
    assert sent == {"Bearer hf_secretsecret"}
    printed = capfd.readouterr()
    said = [caplog.text, str(caught.value), repr(caught.value.__cause__), printed.out, printed.err]
    assert not [text for text in said if "secretsecret" in text]
    folder = Path(api.snapshot_download(name, repo_type="dataset", local_dir=tmp_path / "all"))
    assert not [path for path in folder.rglob("*") if path.is_file() and b"secretsecret" in path.read_bytes()]
    found = sums(folder)
    assert all(found[entry["path"]] == entry["sha256"] for entry in read_manifest(folder / MANIFEST)["files"])


def test_a_selection_brings_its_recipe(job, tmp_path):
    """With it the same is published; of rules given as such to `select`, too."""
    named = job.publish(folder=tmp_path / "named")
    publish(job.dataset, job.selection, scores=job.table, folder=tmp_path / "own")
    files = [{name: (tmp_path / which / name).read_bytes() for name in named.files} for which in ("named", "own")]
    same = [name for name in named.files if name.endswith((".parquet", ".png", "report.json"))]
    assert len(same) > 4
    assert all(files[0][name] == files[1][name] for name in same)
    rules = [Threshold("pcs", "q0.5")]
    chosen = select(job.table, rules)
    published = publish(job.dataset, chosen, scores=job.table, folder=tmp_path / "rules")
    assert published.report.kept == chosen.report.kept
    assert publish(job.dataset, chosen, rules, folder=tmp_path / "given").report.kept == chosen.report.kept
    (chosen.path.parent / "recipe.yaml").unlink()
    with pytest.raises(ValueError, match=r"no recipe.yaml lies beside .*: say what chose the rows with recipe="):
        publish(job.dataset, chosen, folder=tmp_path / "lost")
