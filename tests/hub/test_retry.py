"""What is tried again, how long it waits, and what is left of an error."""

import json
import time
from email.utils import formatdate

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from hypothesis import given
from hypothesis import strategies as st

from sds_hf.hub import retry as retrying
from sds_hf.hub.retry import describe, failures, retry, status_of


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    """How long it would have waited."""
    found: list[float] = []
    monkeypatch.setattr(retrying.time, "sleep", found.append)
    return found


def asking(hub, **fault) -> str:
    """Ask who we are, with a fault first."""
    hub.faults.add("GET /api/whoami-v2", "status", **fault)
    return retry(lambda: HfApi().whoami()["name"], "asking")


@pytest.mark.parametrize("code", retrying.PASSING)
def test_what_may_pass_is_tried_again(hub, pauses, code):
    assert asking(hub, code=code) == "user"
    assert len(pauses) == 1


@pytest.mark.parametrize("code", [400, 401, 403, 404, 422])
def test_what_does_not_pass_is_not(hub, pauses, code):
    with pytest.raises(HfHubHTTPError) as caught:
        asking(hub, code=code)
    assert status_of(caught.value) == code
    assert pauses == []


def test_pauses_grow_and_differ_and_end(hub, pauses, monkeypatch):
    with pytest.raises(HfHubHTTPError):
        asking(hub, code=500, times=-1)
    assert len(pauses) == retrying.ATTEMPTS - 1
    for attempt, pause in enumerate(pauses):
        assert retrying.DELAY * 2**attempt <= pause <= 1.25 * retrying.DELAY * 2**attempt
    hub.faults.clear()
    monkeypatch.setattr(retrying, "LONGEST", 0.01)
    assert asking(hub, code=500) == "user"
    assert pauses[-1] == 0.01


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"Retry-After": "20"}, 20, 25),
        ({"Retry-After": formatdate(time.time() + 3600, usegmt=True)}, retrying.LONGEST, retrying.LONGEST),
        ({"Retry-After": formatdate(time.time() - 3600, usegmt=True)}, retrying.DELAY, 1.25 * retrying.DELAY),
        ({"Retry-After": "100000"}, retrying.LONGEST, retrying.LONGEST),
        ({"RateLimit": '"api";r=0;t=30'}, 30, 37.5),
        ({"RateLimit": '"api";r=12;t=30'}, retrying.DELAY, 1.25 * retrying.DELAY),
    ],
)
@pytest.mark.parametrize("code", [429, 503])
def test_the_server_may_ask_for_a_pause(hub, pauses, code, headers, least, most):
    asking(hub, code=code, headers=headers)
    assert least <= pauses[0] <= most


@given(st.text(alphabet=st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=30))
def test_a_pause_that_makes_no_sense_is_ignored(text):
    error = OSError("x")
    error.response = type("Answer", (), {"headers": {"Retry-After": text}, "status_code": 503})()
    assert retrying.DELAY <= retrying._pause(1, error) <= retrying.LONGEST


def test_a_file_of_this_machine_is_not_tried_again(tmp_path, pauses):
    with pytest.raises(FileNotFoundError):
        retry((tmp_path / "gone").read_bytes, "reading")
    assert pauses == []


def test_a_mistake_of_ours_is_not_tried_again(pauses):
    with pytest.raises(KeyError):
        retry(lambda: {}["x"], "mistake")
    assert pauses == []


def test_an_upload_fails_with_the_reason_as_its_cause(hub, pauses):
    """As `huggingface_hub` raises it from its threads."""

    def upload():
        try:
            asking(hub, code=403)
        except HfHubHTTPError as error:
            raise RuntimeError("Error while uploading 'a.parquet' to the Hub.") from error

    with pytest.raises(failures()) as caught:
        retry(upload, "uploading")
    assert status_of(caught.value) == 403
    assert describe(caught.value).startswith("the Hub answered 403")
    assert pauses == []


@pytest.mark.parametrize("error", [ConnectionResetError("peer\nlost"), json.JSONDecodeError("short", "{", 1)])
def test_an_error_is_one_line(error, pauses):
    def fail():
        raise error

    with pytest.raises(type(error)):
        retry(fail, "asking")
    assert len(pauses) == retrying.ATTEMPTS - 1
    assert "\n" not in describe(error)
    assert describe(error).startswith(type(error).__name__)
