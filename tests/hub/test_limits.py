"""Requests end in time however a Hub hangs, and the token goes to nobody else."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import HfApi
from support.jobs import paths

from sds_hf import verify
from sds_hf.hub import limits, retry
from sds_hf.hub.push import HubRepository, PublishError
from sds_hf.hub.snapshot import SnapshotError, open_snapshot

INFO = "GET /api/datasets/user/{}"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    for module, name, value in ((retry, "DELAY", 0.0), (retry, "ATTEMPTS", 2), (limits, "SILENCE", 0.3)):
        monkeypatch.setattr(module, name, value)


@pytest.fixture
def name(hub, published) -> str:
    """A published dataset."""
    HubRepository("user/limits").commit(published, paths(published))
    return "limits"


@pytest.fixture
def other_host():
    """Another host, and the headers it was sent."""
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen.append(dict(self.headers))
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD = do_POST = do_PUT = answer

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}", seen
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("nothing", [0, 1, 30])
def test_an_answer_that_hangs_in_the_middle_ends(hub, name, nothing):
    hub.faults.add(INFO.format(name), do="hang", bytes=nothing, times=-1)
    start = time.monotonic()
    with pytest.raises(PublishError, match="no half of it is published"):
        HubRepository(f"user/{name}").compare([])
    assert time.monotonic() - start < 10


def test_an_answer_that_drips_for_ever_ends(hub, name, monkeypatch):
    monkeypatch.setattr(limits, "TOTAL", 0.5)
    monkeypatch.setattr(limits, "SLOWEST", 1e9)
    hub.faults.add(INFO.format(name), do="drip", s=0.1, times=-1)
    start = time.monotonic()
    with pytest.raises(PublishError, match=r"not done after [01] seconds"):
        HubRepository(f"user/{name}").compare([])
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("request_kind", ["GET /api/datasets", "(HEAD|GET) /datasets/.*/resolve", "POST /api", "PUT"])
def test_a_redirect_to_another_host_takes_no_token_along(hub, name, other_host, tmp_path, request_kind):
    address, seen = other_host
    hub.faults.add(request_kind, do="redirect", url=address, times=-1)
    if "resolve" in request_kind:
        with pytest.raises(SnapshotError):
            open_snapshot(f"user/{name}").entries(fresh=True)
    else:
        (tmp_path / "x.bin").write_bytes(f"new {request_kind}".encode())
        with pytest.raises(PublishError):
            HubRepository(f"user/redirected-{len(request_kind)}").commit(tmp_path, ["x.bin"])
    assert not [headers for headers in seen if "authorization" in map(str.lower, headers) or "hf_user" in str(headers)]


@pytest.mark.parametrize("code", [401, 403])
def test_verify_says_to_log_in(hub, name, code):
    hub.faults.add("(GET|HEAD) .*limits", do="status", code=code, times=-1)
    with pytest.raises(SnapshotError) as caught:
        verify(f"user/{name}")
    assert "log in" in str(caught.value)
    assert "later" not in str(caught.value)


@pytest.mark.parametrize("body", [b"[]", b"null", b"\xff\xfe", b'{"sha": 5}', b"<html>", b'"x"', b"0", b""])
@pytest.mark.parametrize("path", ["GET /api/datasets/user/limits($|/revision)", "/tree/"])
def test_an_answer_of_another_kind_is_asked_for_again(hub, name, body, path):
    hub.faults.add(path, do="answer", body=body, times=1)
    assert HubRepository(f"user/{name}").compare(["README.md"])[0] == HfApi().dataset_info(f"user/{name}").sha


def test_a_card_of_a_version_on_the_hub_is_looked_at_before_it_is_loaded(hub, name, published, other_host):
    address, seen = other_host
    card = (published / "README.md").read_text().replace("path: data/train-*", f"path: {address}/x.parquet")
    assert address in card
    HfApi().upload_file(
        path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id=f"user/{name}", repo_type="dataset"
    )
    failures = verify(f"user/{name}").failures
    assert [failure for failure in failures if "is an address, and none that data names is asked for" in failure]
    assert not seen
