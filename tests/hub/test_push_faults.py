"""Every request of a publication goes wrong in every way: afterwards the old version is there, or the new one."""

import copy
import itertools
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub.constants import HF_HUB_CACHE
from support.jobs import make_job, paths
from support.session import HUB

from sds_hf.cli import main
from sds_hf.data import folder as datafolder
from sds_hf.hub import push as hub_module
from sds_hf.hub import retry as retrying
from sds_hf.hub.push import HubRepository, PublishError

NAME = "user/faults"
# Whatever a fault is, the request may have taken effect (`after`, `answer`) or not (the others).
FAULTS = {
    "500": {"do": "status", "code": 500},
    "503": {"do": "status", "code": 503},
    "429": {"do": "status", "code": 429, "headers": {"Retry-After": "1"}},
    "412": {"do": "status", "code": 412},
    "before": {"do": "drop_before"},
    "after": {"do": "drop_after"},
    "upload": {"do": "drop_upload", "bytes": 20},
    "answer": {"do": "truncate", "bytes": 5},
}


@pytest.fixture(scope="module")
def versions(tiny_clip, tmp_path_factory) -> list[Path]:
    """Three published folders with several data shards; the second has the fewest."""
    folder = tmp_path_factory.mktemp("versions")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datafolder, "ROWS_PER_GROUP", 2)
        patch.setattr(datafolder, "SHARD_BYTES", 1)
        job = make_job(tiny_clip, folder)
        job.selecting(1.0).publish(folder=folder / "old")
        job.publish(folder=folder / "new")
        job.selecting(0.3).publish(folder=folder / "other")
    assert len(list((folder / "new" / "data").iterdir())) >= 3
    return [folder / "old", folder / "new", folder / "other"]


class Scene:
    """A repository with the old version; it can be put back to that."""

    def __init__(self, old: Path, new: Path) -> None:
        self.new = new
        push(old)
        self.key = ("dataset", NAME)
        self.saved = copy.deepcopy(HUB.store.repos[self.key])
        self.before, kept = self.tree(), self._large_of_main()
        self.stored = set(self._large())
        push(new)
        self.after = self.tree()
        self.stored -= self._large_of_main() - kept  # what other tests sent of it is sent again here
        assert len({path for path in self.after if self.after[path] != self.before.get(path)}) >= 8
        assert set(self.before) - set(self.after)  # some go, too

    def reset(self) -> None:
        HUB.faults.clear()
        HUB.faults.log.clear()
        HUB.store.repos[self.key] = copy.deepcopy(self.saved)
        for oid in set(self._large()) - self.stored:
            os.unlink(HUB.store.path("lfs", oid))
        shutil.rmtree(Path(HF_HUB_CACHE) / f"datasets--{NAME.replace('/', '--')}", ignore_errors=True)

    def tree(self) -> dict[str, str]:
        """Path and Git's digest of what the main branch holds."""
        return {path: entry["oid"] for path, entry in self._entries().items()}

    def tags(self) -> dict[str, str]:
        refs = HUB.store.repos[self.key]["refs"]
        return {name.removeprefix("refs/tags/"): commit for name, commit in refs.items() if "/tags/" in name}

    def history(self, ref: str = "refs/heads/main") -> list[str]:
        """Commits of a branch since the old version, the newest first."""
        repo, found = HUB.store.repos[self.key], []
        commit = repo["refs"][ref]
        while commit != self.saved["refs"]["refs/heads/main"]:
            found.append(commit)
            commit = repo["commits"][commit]["parent"]
        return found

    def check_either(self) -> None:
        """The old version, untouched, or the new one; of the new one the tag may be missing."""
        if not self.history():
            assert self.tree() == self.before
            assert self.tags() == self.saved_tags
        else:
            assert self.tree() == self.after
            assert self.tags() in (self.saved_tags, {**self.saved_tags, "v2": self.history()[0]})

    def check_new(self) -> None:
        """The new version in one step, tagged, and nothing sent twice."""
        assert self.tree() == self.after
        assert len(self.history()) == 1
        assert self.tags() == {**self.saved_tags, "v2": self.history()[0]}
        assert not [line for line, count in sent().items() if count > 1]

    @property
    def saved_tags(self) -> dict[str, str]:
        return {"v1": self.saved["refs"]["refs/tags/v1"]}

    def _entries(self) -> dict[str, dict]:
        repo = HUB.store.repos[self.key]
        return repo["commits"][repo["refs"]["refs/heads/main"]]["tree"]

    def _large_of_main(self) -> set[str]:
        return {entry["lfs"] for entry in self._entries().values() if "lfs" in entry}

    def _large(self) -> list[str]:
        return os.listdir(HUB.store.path("lfs", ""))


@pytest.fixture(scope="module")
def scene(versions) -> Scene:
    return Scene(*versions[:2])


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    """Ours are a setting, those of `huggingface_hub` are not."""
    monkeypatch.setattr(retrying, "LONGEST", 0.0)
    unpaused = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})
    monkeypatch.setattr("huggingface_hub.utils._http.time", unpaused)


@pytest.fixture
def in_draft(monkeypatch):
    """So few files a commit that all of them need several."""
    monkeypatch.setattr(hub_module, "FILES_PER_COMMIT", 5)


def push(folder: Path) -> None:
    """What `publish` does with a folder once it is built."""
    repository = HubRepository(NAME)
    repository.card()
    revision, _ = repository.commit(folder, paths(folder))
    repository.tag(revision, None)


def sent() -> Counter:
    """How often each large file arrived and was answered; without an answer `huggingface_hub` repeats it at once."""
    return Counter(
        entry["line"] for entry in HUB.faults.log if entry["line"].startswith("PUT") and entry["status"] == 200
    )


def requests(scene: Scene) -> list[tuple[str, int, dict]]:
    """The requests of a publication without faults: a pattern, how many such came before, and what was logged."""
    scene.reset()
    push(scene.new)
    scene.check_new()
    seen: Counter = Counter()
    found = []
    old = scene.saved["refs"]["refs/heads/main"]
    for entry in HUB.faults.log:
        # Commits that come have another name each time.
        line = re.sub(rf"(?!{old})\b[0-9a-f]{{40}}\b", "[0-9a-f]{40}", re.escape(entry["line"]))
        found.append((f"^{line}$", seen[line], entry))
        seen[line] += 1
    return found


def applicable(fault: dict, entry: dict) -> bool:
    """Whether there is a body that can be cut."""
    if fault["do"] == "drop_upload":
        return bool(entry["in"] > fault["bytes"])
    return fault["do"] != "truncate" or (entry["out"] > fault["bytes"] and not entry["line"].startswith("HEAD"))


def survives_once(scene: Scene, pattern: str, place: int, fault: dict) -> None:
    """A fault that passes is not even noticed."""
    scene.reset()
    HUB.faults.add(pattern, after=place, **fault)
    push(scene.new)
    assert [entry["fault"] for entry in HUB.faults.log if "fault" in entry] == [fault["do"]]
    scene.check_new()


def survives_for_long(scene: Scene, pattern: str, place: int, fault: dict) -> bool:
    """A fault that stays stops the publication, unless nothing is missing; without it, the next one goes on."""
    scene.reset()
    HUB.faults.add(pattern, after=place, times=-1, **fault)
    said = ""
    try:
        push(scene.new)
    except PublishError as error:
        said = str(error)
        scene.check_either()
        HUB.faults.clear()
        push(scene.new)
    scene.check_new()
    assert "\n" not in said
    return bool(said)


def kinds(found: list[tuple[str, int, dict]]) -> list[tuple[str, int, dict]]:
    """The first request of each kind."""
    first = {}
    for pattern, place, entry in found:
        kind = re.sub(r"[0-9a-f]{40,64}|/\d+|\?.*", "", entry["line"])
        first.setdefault(kind, (pattern, place, entry))
    return list(first.values())


def test_nothing_is_published_before_all_files_are_there(scene):
    found = [entry["line"] for _, _, entry in requests(scene)]
    commit = next(place for place, line in enumerate(found) if "/commit/main" in line)
    uploads = [place for place, line in enumerate(found) if line.startswith("PUT")]
    assert len(uploads) >= 4
    assert max(uploads) < commit
    assert sum("/commit/" in line for line in found) == 1
    assert found[commit + 1 :][-1].startswith(f"POST /api/datasets/{NAME}/tag/")
    HUB.faults.log.clear()
    push(scene.new)
    assert not [entry for entry in HUB.faults.log if not entry["line"].startswith(("GET", "HEAD"))]


def test_a_request_of_each_kind_goes_wrong_once(scene):
    for (pattern, place, entry), fault in zip(kinds(requests(scene)), itertools.cycle(FAULTS.values()), strict=False):
        if applicable(fault, entry):
            survives_once(scene, pattern, place, fault)


@pytest.mark.parametrize("what", ["PUT /lfs/upload", "POST .*/commit/main", "POST .*/tag/"])
def test_what_stays_wrong_stops_and_goes_on_later(scene, what, monkeypatch):
    monkeypatch.setattr(retrying, "ATTEMPTS", 2)
    assert survives_for_long(scene, what, 1 if "PUT" in what else 0, FAULTS["503"])
    assert survives_for_long(scene, what, 0, FAULTS["before"])


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_each_request_goes_wrong_once(scene, fault):
    for pattern, place, entry in requests(scene):
        if applicable(FAULTS[fault], entry):
            survives_once(scene, pattern, place, FAULTS[fault])


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_each_request_goes_wrong_for_long(scene, fault, monkeypatch):
    monkeypatch.setattr(retrying, "ATTEMPTS", 2)
    stopped = {
        entry["line"]: survives_for_long(scene, pattern, place, FAULTS[fault])
        for pattern, place, entry in requests(scene)
        if applicable(FAULTS[fault], entry)
    }
    # What took effect is found to be there, and of what has arrived the confirmation is not missed.
    missed = [line for line, stops in stopped.items() if not stops and "/lfs/verify/" not in line]
    assert fault in ("after", "answer") or not missed


# More files than one commit should hold


# Pull requests that are none of this user's drafts.
STRANGERS = [
    {"num": 1, "title": "sds-hf: version 0 after 0", "author": {"name": "other"}, "status": "open"},
    {"num": 2, "title": "A typo", "author": {"name": "user"}, "status": "draft"},
]


def drafts(scene: Scene) -> list[dict]:
    return HUB.store.repos[scene.key]["discussions"]


def test_many_files_reach_the_main_branch_at_once(scene, in_draft):
    found = [entry["line"] for _, _, entry in requests(scene)]
    (draft,) = drafts(scene)
    assert draft["status"] == "merged"
    assert [change["data"]["status"] for change in draft["events"][1:]] == ["open", "merged"]
    assert draft["title"].startswith("sds-hf: version ")
    assert len(scene.history("refs/pr/1")) == sum("/commit/refs%2Fpr%2F1" in line for line in found) == 3
    assert not [line for line in found if "/commit/main" in line]


def test_an_interrupted_draft_is_continued_and_another_one_closed(scene, in_draft, versions, monkeypatch):
    monkeypatch.setattr(retrying, "ATTEMPTS", 2)
    scene.reset()
    HUB.faults.add("POST .*/commit/refs", "status", code=503, after=1, times=-1)
    with pytest.raises(PublishError, match="no half of it is published; run it again to go on"):
        push(scene.new)
    assert [draft["status"] for draft in drafts(scene)] == ["draft"]
    scene.check_either()
    HUB.faults.clear()
    push(scene.new)
    scene.check_new()
    assert len(scene.history("refs/pr/1")) == 3

    scene.reset()
    alike = {"isPullRequest": True, "createdAt": "2026-01-01T00:00:00.000Z", "events": [], "merge": None}
    drafts(scene).extend({**stranger, **alike} for stranger in STRANGERS)
    HUB.faults.add("POST .*/commit/refs", "status", code=503, after=1, times=-1)
    with pytest.raises(PublishError):
        push(versions[2])
    HUB.faults.clear()
    push(scene.new)
    assert [draft["status"] for draft in drafts(scene)] == ["open", "draft", "closed", "merged"]
    assert scene.tree() == scene.after


@pytest.mark.parametrize("times", [1, -1])
def test_what_others_commit_meanwhile_is_not_overlooked(scene, in_draft, times):
    """A draft belongs to the version it follows; after another one there is another draft."""
    scene.reset()
    places = itertools.count()

    def overtake():
        repo = HUB.store.repos[scene.key]
        head = repo["refs"]["refs/heads/main"]
        theirs = {f"data/{next(places)}.txt": {"oid": HUB.store.put_blob(b"x"), "size": 1}}
        tree = repo["commits"][head]["tree"] | theirs
        HUB.store.commit(repo, "refs/heads/main", head, tree, "theirs", "", "user")

    HUB.faults.add("POST .*/commit/refs", "sleep", s=0, times=times, call=overtake)
    if times == 1:
        push(scene.new)
        assert [draft["status"] for draft in drafts(scene)] == ["closed", "merged"]
        assert scene.tree() == scene.after | {"data/0.txt": scene.tree()["data/0.txt"]}
        assert len(scene.history()) == 2
    else:
        with pytest.raises(PublishError, match=f"publishing to {NAME} comes to no end: somebody else writes there"):
            push(scene.new)
        assert {path: scene.tree()[path] for path in scene.before} == scene.before


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["503", "412", "after", "answer"])
def test_each_kind_of_request_of_a_draft_goes_wrong_once(scene, in_draft, fault):
    for pattern, place, entry in kinds(requests(scene)):
        if applicable(FAULTS[fault], entry):
            survives_once(scene, pattern, place, FAULTS[fault])
            assert [draft["status"] for draft in drafts(scene)] == ["merged"]
            assert len(scene.history("refs/pr/1")) == 3


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["503", "before", "after"])
def test_each_kind_of_request_of_a_draft_goes_wrong_for_long(scene, in_draft, fault, monkeypatch):
    monkeypatch.setattr(retrying, "ATTEMPTS", 2)
    for pattern, place, _ in kinds(requests(scene)):
        survives_for_long(scene, pattern, place, FAULTS[fault])
        assert [draft["status"] for draft in drafts(scene)] == ["merged"]


# Killed


# Forks on demand, so that everything is imported once.
FORKS = """
import json, os, sys
import sds_hf.publishing.publish
from sds_hf.data import folder as datafolder
from sds_hf.hub import push as hub, retry as retrying
from sds_hf.cli import main

datafolder.ROWS_PER_GROUP, datafolder.SHARD_BYTES = 2, 1
for line in sys.stdin:
    hub.FILES_PER_COMMIT, *words = json.loads(line)
    child = os.fork()
    if child == 0:
        os._exit(main(words))
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


@pytest.fixture(scope="module")
def publish(tiny_clip, stored, tmp_path_factory):
    """Run `sds-hf publish` to a repository; its exit code. The process dies when a fault calls `publish.kill`."""
    folder = tmp_path_factory.mktemp("killed")
    plan = {"name": "killed", "model": tiny_clip, "scores": {"clip_sim": {"dtype": "fp32"}}}
    plan |= {"rules": [{"threshold": {"column": "clip_sim", "above": "q0.2"}}], "publish": {"license": "mit"}}
    (folder / "plan.yaml").write_text(json.dumps(plan))
    options = ["--recipe", str(folder / "plan.yaml"), "--json"]
    assert main(["score", str(stored), "--out", str(folder / "scores"), *options]) == 0
    assert main(["select", str(folder / "scores"), "--out", str(folder / "selection"), *options]) == 0
    words = [
        "publish",
        str(stored),
        str(folder / "selection"),
        "--scores",
        str(folder / "scores"),
        "--json",
        "--no-verify",
    ]
    pids: queue.Queue[int] = queue.Queue()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with subprocess.Popen([sys.executable, "-c", FORKS], env=os.environ | {"OMP_NUM_THREADS": "1"}, **pipes) as process:

        def go(name: str, limit: int, *more: str) -> int:
            process.stdin.write(json.dumps([limit, *words, "--to", name, *more]) + "\n")
            pids.put(int(process.stdout.readline()))
            while not re.fullmatch(r"-?[0-9]+\n", line := process.stdout.readline()):
                assert line
            pids.get_nowait() if not pids.empty() else None
            return int(line)

        go.kill = lambda: os.kill(pids.get(), signal.SIGKILL)
        large = set(os.listdir(HUB.store.path("lfs", "")))
        assert go("user/not-killed", 100) == 0
        go.large = set(os.listdir(HUB.store.path("lfs", ""))) - large
        go.files = main_branch(HUB.store.repos["dataset", "user/not-killed"])
        yield go
        process.stdin.close()


def main_branch(repo: dict) -> list[str]:
    return sorted(path for path in repo["commits"][repo["refs"]["refs/heads/main"]]["tree"] if path[0] != ".")


@pytest.mark.slow
@pytest.mark.parametrize("when", ["drop_before", "drop_after"])
@pytest.mark.parametrize(
    ("limit", "what", "place"),
    [
        (100, "POST /api/repos/create", 0),
        (100, "PUT /lfs/upload", 2),
        (100, "POST .*/commit/main", 0),
        (100, "POST .*/tag/", 0),
        (4, "POST .*/discussions$", 0),
        (4, "POST .*/commit/refs", 1),
        (4, "POST .*/status$", 0),
        (4, "POST .*/merge$", 0),
    ],
)
def test_a_killed_publication_goes_on(hub, publish, limit, what, place, when):
    name = f"user/killed-{limit}-{re.sub('[^a-z]', '', what)}-{when}".replace("_", "-")
    for oid in publish.large:
        os.unlink(hub.store.path("lfs", oid))
    hub.faults.add(what, when, after=place, call=publish.kill)
    assert publish(name, limit) == -signal.SIGKILL
    assert [entry["fault"] for entry in hub.faults.log if "fault" in entry] == [when]
    hub.faults.clear()
    repo = hub.store.repos.get(("dataset", name))
    assert repo is None or main_branch(repo) in ([], publish.files)
    assert publish(name, limit) == 0
    repo = hub.store.repos["dataset", name]
    assert main_branch(repo) == publish.files
    assert [ref for ref in repo["refs"] if "/tags/" in ref] == ["refs/tags/v1"]
    assert [each["status"] for each in repo["discussions"]] == (["merged"] if limit < len(publish.files) else [])
    assert not [line for line, count in sent().items() if count > 1]
