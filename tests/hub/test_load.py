"""Loading published sets: checked and pinned by `load`, by registered names, and without any of our code."""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from datasets import load_dataset
from huggingface_hub import HfApi, hf_hub_download
from support.jobs import PLAIN
from support.raw_trees import save_pair
from support.rows import random_dataset

from sds_hf import load, register
from sds_hf.hub.layout import MANIFEST

SHARD = "data/train-00000.parquet"
NAME = "user/loaded"
PACKAGES = {"3.6": ["datasets==3.6.*", "pillow"], "5": ["datasets>=5,<6", "pillow"]}
READY = "PYTHONS_WITH_DATASETS"  # interpreters that have only datasets and Pillow, one a version, separated by ":"


@pytest.fixture(scope="module")
def pushed(published) -> str:
    """The same on the Hub, tagged v1, and a later version without the scores."""
    api = HfApi()
    api.create_repo(NAME, repo_type="dataset")
    api.upload_folder(repo_id=NAME, folder_path=published, repo_type="dataset")
    api.create_tag(NAME, tag="v1", repo_type="dataset")
    manifest = json.loads((published / MANIFEST).read_text())
    manifest["files"] = [entry for entry in manifest["files"] if not entry["path"].startswith("scores/")]
    later = json.dumps(manifest).encode()
    api.upload_file(repo_id=NAME, path_or_fileobj=later, path_in_repo=MANIFEST, repo_type="dataset")
    return NAME


def python(code: str, *arguments: str, interpreter: str = sys.executable, **environment: str) -> str:
    """What another process prints."""
    ran = subprocess.run(
        [interpreter, "-c", code, *arguments],
        env=os.environ | environment,
        cwd=environment.get("HF_HOME"),
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


# load


def test_a_version_and_a_configuration(job, pushed):
    for dataset in (load(pushed, revision="v1"), load(f"{pushed}@v1"), load(pushed)):
        assert dataset["id"] == list(job.expected())
        assert dataset.features["classes"] == job.dataset.features["classes"]
    scores = load(pushed, "scores", revision="v1")
    assert scores["id"] == job.table.to_arrow()["id"].to_pylist()
    assert sum(scores["kept"]) == job.selection.report.kept
    with pytest.raises(ValueError, match=r"@[0-9a-f]{10} was published without scores/"):
        load(pushed, "scores")
    with pytest.raises(ValueError, match=r"no configuration 'data'; there are \['default', 'scores'\]"):
        load(pushed, "data")


@pytest.mark.slow
def test_only_what_is_needed_is_downloaded(pushed, hub, tmp_path):
    code = "import sys, sds_hf; print(len(sds_hf.load(sys.argv[1], revision='v1')))"
    assert python(code, pushed, HF_HOME=str(tmp_path)) == "6\n"
    fetched = {path.name for path in tmp_path.glob("hub/*/snapshots/*/**/*") if path.is_file()}
    assert fetched == {MANIFEST, "train-00000.parquet"}
    hub.faults.log.clear()
    assert python(code, pushed, HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1") == "6\n"
    assert hub.faults.log == []


@pytest.mark.slow
def test_without_a_hub_or_a_copy(pushed, tmp_path):
    code = """
import sys, sds_hf
try:
    sds_hf.load(sys.argv[1])
except ValueError as error:
    print(error)
"""
    said = f"{pushed} is no folder here, the Hub cannot be reached, and no copy of this version is cached\n"
    assert python(code, pushed, HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1") == said
    assert python(code, pushed, HF_HOME=str(tmp_path), HF_ENDPOINT="http://127.0.0.1:9") == said


def test_a_damaged_copy_in_the_cache_is_replaced(pushed):
    load(pushed, revision="v1")
    cached = Path(hf_hub_download(pushed, SHARD, repo_type="dataset", revision="v1")).resolve()
    data = bytearray(cached.read_bytes())
    data[len(data) // 2] ^= 1
    cached.write_bytes(data)
    assert len(load(pushed, revision="v1")) == 6
    assert cached.read_bytes() != bytes(data)


def test_a_foreign_dataset_costs_no_download(hub):
    api = HfApi()
    api.create_repo("user/foreign", repo_type="dataset", exist_ok=True)
    api.upload_file(
        repo_id="user/foreign", path_or_fileobj=b"x", path_in_repo="data/train.parquet", repo_type="dataset"
    )
    hub.faults.log.clear()
    with pytest.raises(ValueError, match=r"user/foreign has no manifest.json of sds-hf: .* datasets.load_dataset"):
        load("user/foreign")
    assert not [entry for entry in hub.faults.log if "parquet" in entry["line"]]


def test_a_version_without_a_manifest_is_not_taken_for_the_newest(pushed):
    first = HfApi().list_repo_commits(pushed, repo_type="dataset")[-1].commit_id
    with pytest.raises(ValueError, match=rf"{pushed} has no manifest.json of sds-hf"):
        load(pushed, revision=first)


def test_a_hub_that_falters(pushed, hub):
    hub.faults.add(f"GET /datasets/{NAME}/resolve/.*/{MANIFEST}", "status", code=503)
    hub.faults.add(f"HEAD /datasets/{NAME}/resolve/.*/{MANIFEST}", "drop_before", after=1)
    assert len(load(pushed)) == 6


@pytest.mark.parametrize("path", ["/etc/hostname", "data/../../secret", "data\\..\\secret", ".git/config"])
def test_a_manifest_that_leads_elsewhere(published, tmp_path, path):
    copy = shutil.copytree(published, tmp_path / "copy")
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["files"][0]["path"] = path
    (copy / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"is damaged: 0\.path: (leads out of the dataset|is hidden)"):
        load(copy)


# register


@pytest.fixture
def names() -> list[str]:
    return register()


def test_a_published_folder_by_name(job, published, names):
    assert names == ["sds_voc", "sds_coco"]
    plain = load_dataset("sds_voc", data_dir=str(published), split="train")
    streamed = load_dataset("sds_voc", data_dir=str(published), split="train", streaming=True)
    assert plain.features == load_dataset(str(published), split="train").features == streamed.features
    assert list(plain["id"]) == [row["id"] for row in streamed] == list(job.expected())
    scores = load_dataset("sds_voc", "scores", data_dir=str(published), split="train")
    assert sum(scores["kept"]) == len(plain)
    with pytest.raises(ValueError, match=r"the classes of .* are not those of sds_coco"):
        load_dataset("sds_coco", data_dir=str(published))


def test_a_published_folder_is_checked(published, names, tmp_path):
    copy = shutil.copytree(published, tmp_path / "copy")
    data = bytearray((copy / SHARD).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / SHARD).write_bytes(data)
    with pytest.raises(ValueError, match="is missing or differs from its checksum"):
        load_dataset("sds_voc", data_dir=str(copy))


def test_a_raw_folder_by_name(names, tmp_path):
    for index in (1, 2):
        save_pair(tmp_path / "raw", str(index), [index])
    options = {"data_dir": str(tmp_path / "raw"), "split": "train", "reader": "dataset-diffusion"}
    rows = load_dataset("sds_voc", **options)
    assert rows["classes"] == [[1], [2]]
    save_pair(tmp_path / "raw", "3", [3])
    assert load_dataset("sds_voc", **options)["classes"] == [[1], [2], [3]]  # not those of the cache
    streamed = load_dataset("sds_coco", streaming=True, options={"ids": "contiguous"}, **options)
    assert [row["classes"] for row in streamed] == [[1], [2], [3]]
    assert streamed.features["classes"].feature.names[:3] == ["background", "person", "bicycle"]
    with pytest.raises(ValueError, match="was not published by sds-hf: it has no configuration 'scores'"):
        load_dataset("sds_voc", "scores", **options)
    with pytest.raises(ValueError, match=r"has no option \['colour'\]"):
        load_dataset("sds_voc", options={"colour": "red"}, **options)


def test_a_name_needs_a_folder(names, tmp_path, monkeypatch):
    (tmp_path / "something.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r'sds_voc reads a folder: load_dataset\("sds_voc", data_dir=FOLDER\)'):
        load_dataset("sds_voc")


def test_a_version_of_datasets_without_the_table(monkeypatch):
    import datasets.packaged_modules

    monkeypatch.delattr(datasets.packaged_modules, "_PACKAGED_DATASETS_MODULES")
    with pytest.raises(RuntimeError, match=r"datasets \S+ takes no further names; load a published folder with"):
        register()


# Without sds-hf


@pytest.fixture(scope="module", params=PACKAGES)
def plain_python(request, tmp_path_factory) -> str:
    """An interpreter of a virtual environment with nothing but `datasets` and Pillow."""
    ready = [path for path in os.environ.get(READY, "").split(":") if path]
    if ready:
        (found,) = [path for path in ready if _version(path).startswith(request.param)] or [None]
        return found or pytest.skip(f"{READY} names no Python with datasets {request.param}")
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=True)
    interpreter = str(folder / "bin" / "python")
    pip = [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES[request.param]]
    done = subprocess.run(pip, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"pip cannot install {PACKAGES[request.param]}: {done.stderr.strip().splitlines()[-1]}")
    return interpreter


def _version(interpreter: str) -> str:
    return python("import datasets; print(datasets.__version__)", interpreter=interpreter)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["hub", "folder"])
def test_plain_load_dataset_elsewhere(job, pushed, published, plain_python, source, tmp_path):
    name, options = (pushed, {"revision": "v1"}) if source == "hub" else (str(published), {})
    environment = {"PYTHONPATH": "", "HF_HOME": str(tmp_path)}
    lacking = "import importlib.util; print(importlib.util.find_spec('sds_hf'))"
    assert python(lacking, interpreter=plain_python, **environment) == "None\n"
    seen = json.loads(python(PLAIN, name, json.dumps(options), interpreter=plain_python, **environment))
    assert seen["rows"] == seen["streamed"] == job.expected()
    assert seen["names"] == job.dataset.features["classes"].feature.names
    assert seen["mode"] == "L"
    assert len(seen["reasons"]) == len(random_dataset())
