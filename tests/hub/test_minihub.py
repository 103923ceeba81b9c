"""The test server keeps the rules of the Hub that the other tests rely on."""

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from support.minihub import MiniHub


@pytest.fixture
def server(tmp_path):
    with MiniHub(tmp_path / "hub", tokens={"hf_a": "a", "hf_b": "b"}, part_size=1000) as server:
        yield server


@pytest.fixture
def api(server) -> HfApi:
    api = HfApi(endpoint=server.url, token="hf_a")
    api.create_repo("a/set", repo_type="dataset")
    return api


def commit(api, data: bytes, parent: str | None = None, path: str = "x.parquet") -> str:
    operations = [CommitOperationAdd(path, data)]
    done = api.create_commit("a/set", operations, commit_message="m", repo_type="dataset", parent_commit=parent)
    return done.oid


def test_a_file_in_many_parts_comes_back(api, server):
    data = bytes(range(256)) * 20
    commit(api, data)
    assert sum("/lfs/part/" in entry["line"] for entry in server.faults.log) == 6
    with open(api.hf_hub_download("a/set", "x.parquet", repo_type="dataset"), "rb") as file:
        assert file.read() == data


def test_a_commit_on_an_old_version_is_refused(api):
    old = api.dataset_info("a/set").sha
    commit(api, b"one")
    with pytest.raises(HfHubHTTPError) as caught:
        commit(api, b"two", parent=old)
    assert caught.value.response.status_code == 412


def test_others_may_not_write_nor_see_what_is_private(api, server):
    with pytest.raises(HfHubHTTPError) as caught:
        commit(HfApi(endpoint=server.url, token="hf_b"), b"x")
    assert caught.value.response.status_code == 403
    api.create_repo("a/secret", repo_type="dataset", private=True)
    with pytest.raises(RepositoryNotFoundError):
        HfApi(endpoint=server.url, token=False).dataset_info("a/secret")


def test_it_keeps_what_it_has_when_it_starts_again(api, server):
    oid = commit(api, b"one")
    with MiniHub(server.store.root, tokens={"hf_a": "a"}) as again:
        assert HfApi(endpoint=again.url, token="hf_a").dataset_info("a/set").sha == oid


def test_a_lost_answer_is_of_a_request_that_was_carried_out(api, server):
    server.faults.add("POST .*/commit/", "drop_after")
    before = api.dataset_info("a/set").sha
    with pytest.raises(Exception, match=r"."):
        commit(api, b"one")
    assert api.dataset_info("a/set").sha != before
