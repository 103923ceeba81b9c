"""A token is in no file, message or log; who sees what was published; nothing runs that only looks like data."""

import json
import logging
import os
import pickle
import re
import shutil
import tempfile
import threading
import traceback
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
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


# What else a run knows of this machine and its user

PASSWORD, SIGNATURE, PROJECT = "CANARYpassword", "CANARYsignature", "CANARYproject"


@pytest.fixture
def server(stored):
    """A web server that asks for nothing and gives the data file of a stored dataset; its host and port."""
    data = (stored / "data/train-00000.parquet").read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            start, end = 0, len(data)
            if wanted := re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
                start, end = int(wanted[1]), int(wanted[2]) + 1 if wanted[2] else end
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(data[start:end])))
            self.end_headers()
            if self.command == "GET":
                with suppress(OSError):
                    self.wfile.write(data[start:end])

        do_GET = do_HEAD = answer

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def chain(dataset: str, folder: Path, scores: str = "classes_present,diversity") -> list[int]:
    """Score, select, publish and export it; the exit codes."""
    out = {name: str(folder / name) for name in ("scores", "selection", "published", "exported")}
    rule = "top_k: {column: diversity, fraction: 0.5}"
    return [
        main(["score", dataset, "--out", out["scores"], "--scores", scores]),
        main(["select", out["scores"], "--rule", rule, "--out", out["selection"]]),
        main(["publish", dataset, out["selection"], "--scores", out["scores"], "--folder", out["published"]]),
        main(["diff", out["scores"], out["published"]]),
        main(["export", out["published"], "croissant", "--out", out["exported"]]),
        main(["card", out["published"]]),
        main(["verify", out["published"]]),
    ]


def canaries(folder: Path, printed: str, *words: str) -> list[str]:
    """Where any of these words is written or printed."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    places = [str(path) for path in files if any(word.encode() in path.read_bytes() for word in words)]
    return places + [line for line in printed.splitlines() if any(word in line for word in words)]


@pytest.mark.parametrize(
    "address",
    [
        "http://me:{}@{}/x.parquet",
        pytest.param("http://{1}/x.parquet?X-Amz-Signature={0}&f=.parquet", marks=pytest.mark.slow),
    ],
)
def test_what_an_address_says_of_the_user_is_nowhere(server, address, tmp_path, capfd, caplog):
    with caplog.at_level(logging.INFO):
        assert chain(address.format(PASSWORD, server), tmp_path) == [0] * 7
    printed = capfd.readouterr()
    assert canaries(tmp_path, printed.out + printed.err + caplog.text, PASSWORD) == []
    assert "x.parquet" in (tmp_path / "published/README.md").read_text()


def test_an_address_that_cannot_be_read_is_told_without_it(tmp_path, capfd):
    for address in (f"http://me:{PASSWORD}@127.0.0.1:9/x.parquet", f"s3://b/x.parquet?sig={PASSWORD}"):
        assert main(["score", address, "--out", str(tmp_path / "scores"), "--scores", "classes_present"]) == 2
        printed = capfd.readouterr()
        assert canaries(tmp_path, printed.out + printed.err, PASSWORD) == []


def test_where_files_lie_is_not_published(tmp_path, dataset, capfd):
    """Of rows that fail, of a folder, of a model and of fitted files."""
    folder = tmp_path / PROJECT / "me@home: files"
    rows = dataset.with_format("arrow")[:].to_pylist()
    for number, row in enumerate(rows):
        missing = {"bytes": None, "path": str(folder / f"{number}.png")}
        outside = {"bytes": None, "path": f"/{PROJECT}/x.png"}
        address = {"bytes": None, "path": f"https://me:{PASSWORD}@host/x.png?sig={SIGNATURE}"}
        row["mask"] = {3: missing, 5: outside, 7: address}.get(number, row["mask"])
    (folder / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, dataset.features.arrow_schema), folder / "data/train-00000.parquet")
    assert chain(str(folder), tmp_path) == [0] * 7
    capfd.readouterr()  # the terminal is the user's: paths that he gave are shown there
    words = PROJECT, PASSWORD, SIGNATURE, str(tmp_path), os.path.expanduser("~/")
    assert canaries(tmp_path / "published", "", *words) == canaries(tmp_path / "exported", "", *words) == []
    assert "lies outside the dataset's own folder" in (tmp_path / "published/report.json").read_text()


def test_a_hub_whose_address_has_a_password(hub, words, secret, tmp_path, monkeypatch, capfd, caplog):
    address = hub.url.replace("://", f"://me:{PASSWORD}@")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    for fault in (None, {"code": 403, "times": -1}):
        if fault:
            hub.faults.add("POST|GET", do="status", **fault)
        main([*words, "--to", "user/endpoint", "--json"])
        main(["export", "user/endpoint", "croissant", "--out", str(tmp_path / f"out{bool(fault)}")])
        printed = capfd.readouterr()
        assert canaries(tmp_path, printed.out + printed.err + caplog.text, PASSWORD, secret) == []


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
