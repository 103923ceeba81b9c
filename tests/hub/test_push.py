"""A repository on the Hub, over real HTTP: one commit, a tag, and nothing lost when something goes wrong."""

import itertools
import json
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from support.jobs import commits, files, make_job, paths, tags, writes

from sds_hf.hub import retry as retrying
from sds_hf.hub.layout import MANIFEST
from sds_hf.hub.push import HubRepository, OvertakenError, PublishError

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def versions(tiny_clip, tmp_path_factory) -> list[Path]:
    """Two published folders; the second has other rows and no scores."""
    folder = tmp_path_factory.mktemp("versions")
    job = make_job(tiny_clip, folder)
    job.publish(folder=folder / "v1")
    job.selecting(1.0).publish(folder=folder / "v2", scores=None)
    return [folder / "v1", folder / "v2"]


@pytest.fixture
def name() -> str:
    """A repository that is not there yet."""
    return f"user/set-{next(NUMBERS)}"


@pytest.fixture
def api() -> HfApi:
    return HfApi()


@pytest.fixture
def two_attempts(monkeypatch):
    """Give up sooner than usual."""
    monkeypatch.setattr(retrying, "ATTEMPTS", 2)


def push(name: str, folder: Path, tag: str | None = None, **options) -> tuple[str, list[str], str]:
    """What `publish` does with a folder: commit, files that went, tag."""
    repository = HubRepository(name, **options)
    revision, removed = repository.commit(folder, paths(folder))
    return revision, removed, repository.tag(revision, tag)


def somebody_elses(api, name, contents):
    api.create_repo(name, repo_type="dataset")
    operations = [CommitOperationAdd(path, data.encode()) for path, data in contents.items()]
    api.create_commit(name, operations, commit_message="theirs", repo_type="dataset")


# Versions


def test_the_same_again_is_no_commit_and_other_content_is_the_next_version(api, name, versions):
    first, _, tag = push(name, versions[0])
    assert (tag, commits(api, name)) == ("v1", 1)
    before = files(api, name)
    assert push(name, versions[0]) == (first, [], "v1")
    assert commits(api, name) == 1
    second, removed, tag = push(name, versions[1])
    assert (tag, commits(api, name)) == ("v2", 2)
    assert removed == ["scores/candidates.parquet"]
    assert set(files(api, name)) == set(paths(versions[1])) == set(before) - set(removed)
    assert files(api, name, "v1") == before
    assert tags(api, name) == {"v1": first, "v2": second}


def test_a_tag_of_ones_own(api, name, versions):
    assert push(name, versions[0], "camera-ready")[2] == "camera-ready"
    with pytest.raises(PublishError, match=r"the tag 'camera-ready' is taken by .*; choose another one with tag="):
        push(name, versions[1], "camera-ready")
    assert push(name, versions[1])[2] == "v1"
    assert commits(api, name) == 2


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "theirs",
    [
        {"README.md": "---\nlicense: mit\n---\n", "old.py": "print()"},
        {"manifest.json": '{"name": "web app"}', "a/b.csv": "x"},
    ],
)
def test_somebody_elses_repository(hub, api, name, versions, theirs, overwrite):
    somebody_elses(api, name, theirs)
    before = files(api, name)
    hub.faults.log.clear()
    if overwrite:
        _, removed, _ = push(name, versions[0], overwrite=True)
        assert set(files(api, name)) == set(paths(versions[0]))
        assert set(removed) == set(theirs) - set(paths(versions[0]))
    else:
        with pytest.raises(
            PublishError, match=rf"{name} exists \(2 files\) and was not made by sds-hf; overwrite=True"
        ):
            push(name, versions[0])
        assert writes(hub) == []
        assert files(api, name) == before


def test_an_empty_repository_is_filled(api, name, versions):
    api.create_repo(name, repo_type="dataset")
    assert push(name, versions[0])[2] == "v1"


def test_what_a_person_added_stays(api, name, versions):
    push(name, versions[0])
    api.upload_file(path_or_fileobj=b"text", path_in_repo="LICENSE", repo_id=name, repo_type="dataset")
    assert push(name, versions[1])[1] == ["scores/candidates.parquet"]
    assert "LICENSE" in files(api, name)


# Faults


@pytest.mark.parametrize("request_", ["POST .*/preupload/", "POST .*/info/lfs/objects/batch", "POST .*/commit/main"])
def test_a_push_that_fails_leaves_what_was_published(hub, api, name, versions, request_):
    first, _, _ = push(name, versions[0])
    before = files(api, name)
    hub.faults.add(request_, "status", code=400, times=-1)
    with pytest.raises(
        PublishError, match=rf"publishing to {name} failed: the Hub answered 400 \(injected\); .* run it again"
    ):
        push(name, versions[1])
    assert (files(api, name), tags(api, name)) == (before, {"v1": first})
    hub.faults.clear()
    assert push(name, versions[1])[2] == "v2"


@pytest.mark.parametrize(
    "fault", [{"do": "status", "code": 412}, {"do": "status", "code": 503}, {"do": "drop_before"}, {"do": "drop_after"}]
)
def test_a_commit_that_falters_once_is_made_once(hub, api, name, versions, fault, caplog):
    hub.faults.add("POST .*/commit/main", **fault)
    revision, _, _ = push(name, versions[0])
    assert [entry["fault"] for entry in hub.faults.log if "fault" in entry] == [fault["do"]]
    assert (commits(api, name), tags(api, name)) == (1, {"v1": revision})
    assert "trying again" in caplog.text


def test_somebody_else_may_commit_in_between(hub, api, name, versions, monkeypatch):
    """The version that was looked at is no longer there: look again, so that nothing of theirs goes."""
    push(name, versions[0])
    create = HfApi.create_commit

    def overtaken(self, *args, **options):
        monkeypatch.undo()
        api.upload_file(path_or_fileobj=b"new", path_in_repo="data/theirs.txt", repo_id=name, repo_type="dataset")
        return create(self, *args, **options)

    monkeypatch.setattr(HfApi, "create_commit", overtaken)
    hub.faults.log.clear()
    _, removed, _ = push(name, versions[1])
    statuses = [entry["status"] for entry in hub.faults.log if "/commit/" in entry["line"]]
    assert statuses == [200, 412, 200]  # theirs, ours on the old version, ours on theirs
    assert removed == ["scores/candidates.parquet"]
    assert "data/theirs.txt" in files(api, name)


def test_a_version_that_was_looked_at_is_the_only_parent(hub, api, name, versions):
    push(name, versions[0])
    repository = HubRepository(name)
    repository.pin()
    api.upload_file(path_or_fileobj=b"new", path_in_repo="notes.md", repo_id=name, repo_type="dataset")
    before = files(api, name)
    with pytest.raises(OvertakenError, match=f"{name} was changed by somebody else meanwhile; run it again"):
        repository.commit(versions[1], paths(versions[1]))
    assert files(api, name) == before
    repository.pin()
    repository.commit(versions[1], paths(versions[1]))
    assert set(files(api, name)) == {*paths(versions[1]), "notes.md"}


def test_a_repository_that_somebody_makes_meanwhile_is_not_written_into(api, name, versions):
    repository = HubRepository(name, overwrite=True)
    assert repository.pin() is None
    somebody_elses(api, name, {"a.csv": "x"})
    with pytest.raises(OvertakenError):
        repository.commit(versions[0], paths(versions[0]))
    assert list(files(api, name)) == ["a.csv"]


@pytest.mark.parametrize("theirs", ["data/train-00001.parquet", "scores/extra.parquet"])
def test_what_would_be_taken_for_ours_is_refused(api, name, versions, theirs):
    push(name, versions[0])
    api.upload_file(path_or_fileobj=b"x", path_in_repo=theirs, repo_id=name, repo_type="dataset")
    before = files(api, name)
    with pytest.raises(PublishError, match=f"{name} holds {theirs}, which sds-hf did not write, .* move it"):
        push(name, versions[1])
    assert files(api, name) == before


# What is damaged is not foreign


@pytest.mark.parametrize("damage", [b"{", b"", b"\xff\xfe", b'{"made_by": "sds-hf", "format": 1}'])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_damaged_manifest_is_said_and_nothing_is_replaced(api, name, versions, damage, overwrite):
    push(name, versions[0])
    for path, data in ((MANIFEST, damage), ("LICENSE", b"theirs")):
        api.upload_file(path_or_fileobj=data, path_in_repo=path, repo_id=name, repo_type="dataset")
    before = files(api, name)
    with pytest.raises(PublishError, match=rf"{name}: manifest.json is damaged: .*; nothing there is replaced: bring"):
        push(name, versions[1], overwrite=overwrite)
    assert files(api, name) == before


def test_a_manifest_of_a_later_version_is_not_replaced(api, name, versions):
    push(name, versions[0])
    later = json.dumps({"made_by": "sds-hf", "format": 2, "files": []}).encode()
    api.upload_file(path_or_fileobj=later, path_in_repo=MANIFEST, repo_id=name, repo_type="dataset")
    with pytest.raises(PublishError, match=r"manifest\.json has the format 2, not 1: update sds-hf"):
        push(name, versions[1])


def test_a_manifest_that_arrives_damaged_is_downloaded_again(hub, api, name, versions):
    push(name, versions[0])
    hub.faults.add(f"GET .*/resolve/.*/{MANIFEST}", "corrupt", at=40)
    assert HubRepository(name).compare([])[0] == api.dataset_info(name).sha
    assert [entry["fault"] for entry in hub.faults.log if "fault" in entry] == ["corrupt"]
    assert push(name, versions[1])[2] == "v2"


# Answers that are none


@pytest.mark.parametrize("answer", [b"[]", b"null", b"<html>\x00\xff no JSON", b'{"error": "other"}', b"7"])
@pytest.mark.parametrize(
    "request_",
    ["GET .*/api/datasets/[^/]*/[^/?]*$", "GET .*/tree/", "GET .*/refs", "POST .*/preupload/", "POST .*/objects/batch",
     "POST .*/commit/main", "POST .*/tag/"],
)  # fmt: skip
def test_an_answer_that_makes_no_sense_is_asked_for_again(hub, api, name, versions, request_, answer, monkeypatch):
    monkeypatch.setattr(retrying, "DELAY", 0.0)
    push(name, versions[0])
    hub.faults.add(request_, "answer", body=answer)
    _, removed, tag = push(name, versions[1])
    assert (removed, tag, commits(api, name)) == (["scores/candidates.parquet"], "v2", 2)
    assert set(files(api, name)) == set(paths(versions[1]))
    assert [entry["fault"] for entry in hub.faults.log if "fault" in entry] in (["answer"], [])


@pytest.mark.parametrize("answer", [b"[]", b"null", b"\xff"])
def test_a_list_of_files_that_stays_wrong_is_no_empty_repository(hub, api, name, versions, answer, two_attempts):
    push(name, versions[0])
    before = files(api, name)
    hub.faults.add("GET .*/tree/", "answer", body=answer, times=-1)
    with pytest.raises(PublishError, match=f"publishing to {name} failed: the Hub: .*; no half of it is published"):
        push(name, versions[1])
    hub.faults.clear()
    assert files(api, name) == before


def test_a_tag_that_fails_is_added_by_running_again(hub, api, name, versions):
    hub.faults.add("POST .*/tag/", "status", code=400)
    with pytest.raises(
        PublishError,
        match=r"^the data is published as \w+, its tag is not: the Hub answered 400[^;]*; run it again to go on$",
    ):
        push(name, versions[0])
    assert (commits(api, name), tags(api, name)) == (1, {})
    revision, _, tag = push(name, versions[0])
    assert (commits(api, name), tags(api, name)) == (1, {tag: revision})


def test_a_hub_that_stays_away_is_one_line(hub, name, two_attempts):
    hub.faults.add("GET .*/api/datasets/", "drop_before", times=-1)
    with pytest.raises(PublishError, match=f"publishing to {name} failed: .*; no half of it is published") as caught:
        HubRepository(name).compare([])
    assert "\n" not in str(caught.value)


def test_who_may_not_write_is_told_to_log_in(api, name, versions):
    with pytest.raises(PublishError, match=r"the Hub answered 403 \(.*rights.*\); log in with `hf auth login`"):
        push(name, versions[0], token="hf_other")
    assert not api.repo_exists(name, repo_type="dataset")
