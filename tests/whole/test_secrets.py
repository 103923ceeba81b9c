"""A token is in no file, message or log; who sees what was published; nothing runs that only looks like data."""

import json
import logging
import os
import pickle
import shutil
import tempfile
import traceback
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import HfApi
from support.jobs import paths
from support.session import HOME as _HOME

from sds_hf.cli import main
from sds_hf.data.opening import open_dataset
from sds_hf.hub import retry as retrying
from sds_hf.hub.push import HubRepository, PublishError
from sds_hf.scores.base.fitted import ABOUT, load_statistics

SECRET = "hf_CANARYcanary0123456789"


@pytest.fixture(scope="module")
def words(tiny_clip, stored, tmp_path_factory) -> list[str]:
    """`sds-hf publish` of a scored and selected dataset."""
    folder = tmp_path_factory.mktemp("secrets")
    plan = {"name": "secrets", "model": tiny_clip, "scores": {"clip_sim": {"dtype": "fp32"}}}
    plan |= {"rules": [{"threshold": {"column": "clip_sim", "above": "q0.2"}}], "publish": {"license": "mit"}}
    (folder / "plan.yaml").write_text(json.dumps(plan))
    options = ["--recipe", str(folder / "plan.yaml"), "--json"]
    assert main(["score", str(stored), "--out", str(folder / "scores"), *options]) == 0
    assert main(["select", str(folder / "scores"), "--out", str(folder / "selection"), *options]) == 0
    return ["publish", str(stored), str(folder / "selection"), "--scores", str(folder / "scores")]


@pytest.fixture
def secret(hub, monkeypatch, tmp_path):
    """Work with a token that cannot be overlooked, in a scratch folder of one's own."""
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setattr(retrying, "DELAY", 0.0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    hub.tokens[SECRET] = "user"
    yield SECRET
    del hub.tokens[SECRET]


def holders(*folders: Path | str) -> list[str]:
    """Files that hold the token."""
    found = (path for folder in folders for path in Path(folder).rglob("*") if path.is_file())
    return [str(path) for path in found if SECRET.encode() in path.read_bytes()]


# What is published, what goes wrong, how it is asked for, and how it ends.
PUBLICATIONS = {
    "done": (None, [], 0),
    "json": (None, ["--json"], 0),
    "dry-run": (None, ["--dry-run"], 0),
    "falters": ({"code": 503}, [], 0),
    "unknown": ({"code": 401, "times": -1}, [], 2),
    "forbidden": ({"code": 403, "times": -1}, [], 2),
    "broken": ({"code": 500, "times": -1, "body": {"error": "no more room"}}, ["--json"], 2),
    "traceback": ({"code": 403, "times": -1}, ["--debug"], PublishError),
    "cut": ({"do": "truncate", "bytes": 5, "times": -1}, ["--debug"], 0),  # it took effect
}


QUICK = ("done", "dry-run", "traceback")


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[] if case in QUICK else pytest.mark.slow) for case in PUBLICATIONS]
)
def test_the_token_is_nowhere(hub, words, secret, case, tmp_path, caplog, capfd):
    fault, options, ends = PUBLICATIONS[case]
    kept, trace = tmp_path / "kept", ""

    def keep_scratch():
        shutil.copytree(tmp_path / "scratch", kept, dirs_exist_ok=True)

    if fault:
        hub.faults.add("POST .*/commit/main", **{"do": "status", "call": keep_scratch, **fault})
    with caplog.at_level(logging.DEBUG):
        try:
            code = main([*words, "--to", f"user/secret-{case}", *options])
        except PublishError as error:
            code, trace = type(error), "".join(traceback.format_exception(error))
    assert code == ends
    sent = {entry["token"] for entry in hub.faults.log if entry["line"].startswith("POST")}
    assert sent <= {f"Bearer {SECRET}"[:40]}  # it was used
    assert bool(sent) == (case != "dry-run")
    printed = capfd.readouterr()
    assert SECRET not in printed.out + printed.err + caplog.text + trace
    assert not [record for record in caplog.records if SECRET in str(record.__dict__)]
    assert holders(tmp_path, _HOME, words[2], words[4]) == []
    assert bool(list(kept.rglob("README.md"))) == bool(fault)  # the scratch was there to be looked at


def test_the_token_would_be_found(hub, secret, tmp_path):
    (tmp_path / "a").write_text(f"x{SECRET}y")
    assert holders(tmp_path) == [str(tmp_path / "a")]


def test_a_token_as_an_argument_is_used_and_forgotten(hub, secret, monkeypatch, capfd):
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    repository = HubRepository("user/by-argument", token=SECRET)
    repository.compare([])
    assert {entry["token"] for entry in hub.faults.log} == {f"Bearer {SECRET}"[:40]}
    assert SECRET not in repr(repository)


# Who sees it


@pytest.fixture(scope="module")
def folder(words, tmp_path_factory) -> Path:
    """The same, published to a folder."""
    folder = tmp_path_factory.mktemp("published") / "folder"
    assert main([*words, "--folder", str(folder)]) == 0
    return folder


def visible(folder: Path, name: str, private: bool | None) -> bool:
    """Whether everybody sees it once it is published."""
    HubRepository(name, private=private).commit(folder, paths(folder))
    return not HfApi().dataset_info(name).private


@pytest.mark.parametrize(("private", "expected"), [(None, True), (True, False), (False, True)])
def test_a_new_repository_is_as_asked_for_or_as_the_account_has_it(hub, folder, private, expected):
    assert visible(folder, f"user/new-{private}", private) == expected  # this account's default is public


@pytest.mark.parametrize(
    ("there", "private"), [(True, None), (False, None), (True, True), (True, False), (False, False)]
)
def test_a_repository_that_exists_keeps_its_visibility(hub, folder, there, private):
    name = f"user/kept-{there}-{private}"
    HfApi().create_repo(name, repo_type="dataset", private=there)
    assert visible(folder, name, private) != there


@pytest.mark.parametrize("empty", [True, False])
def test_what_is_to_be_private_does_not_become_public(hub, words, folder, empty, capsys):
    name = f"user/open-{empty}"
    HfApi().create_repo(name, repo_type="dataset", private=False)
    if not empty:
        visible(folder, name, None)
    hub.faults.log.clear()
    assert main([*words, "--to", name, "--private"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"{name} exists and is public, but private was asked for: make it private on the Hub, say --public" in said
    assert not [entry for entry in hub.faults.log if entry["line"].startswith(("POST", "PUT"))]


# What could run code


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_a_pickle_in_a_fitted_model_is_refused_with_the_reason(tmp_path):
    about = np.array(json.dumps({"kind": "gmm_sim"}))
    np.savez(tmp_path / "m.npz", **{ABOUT: about, "means": np.array([Trap(tmp_path / "mark")], object)})
    with pytest.raises(
        ValueError, match=r"m\.npz holds pickled objects, which can run code and are not opened; fit it"
    ):
        load_statistics(tmp_path / "m.npz", "gmm_sim")
    (tmp_path / "n.npz").write_bytes(pickle.dumps(Trap(tmp_path / "mark")))
    with pytest.raises(
        ValueError, match=r"n\.npz holds pickled objects, which can run code and are not opened; fit it"
    ):
        load_statistics(tmp_path / "n.npz", "gmm_sim")
    assert not (tmp_path / "mark").exists()
    pickle.loads((tmp_path / "n.npz").read_bytes())
    assert (tmp_path / "mark").exists()  # the trap works


def test_the_code_of_a_dataset_is_not_run(tmp_path, stored):
    folder = tmp_path / "data"
    shutil.copytree(stored, folder)
    (folder / "data.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'mark')!r})\n")
    with pytest.raises(ValueError, match=r"scripts are no longer supported.*; its code is not run, give the data"):
        open_dataset(folder)
    assert not (tmp_path / "mark").exists()


def test_what_is_published_holds_no_code(folder):
    assert {Path(name).suffix for name in paths(folder)} == {".parquet", ".png", ".json", ".md", ".yaml"}
