"""Folders that are replaced as a whole, by processes that are killed at any step."""

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from sds_hf import files
from sds_hf.cli.failures import report
from sds_hf.files import (
    check_free,
    identity_of,
    new_folder,
    read_sha256,
    remembered,
    restore_folder,
    scratch_folder,
    sha256_of,
    write_whole,
)

# Replaces a folder, and dies by SIGKILL before its n-th change of the file system after the content is written.
KILLED = """
import os, pathlib, shutil, signal, sys
from sds_hf import files as folders
out, steps = pathlib.Path(sys.argv[1]), int(sys.argv[2])

def counting(change):
    def counted(*args, **options):
        global steps
        steps -= 1
        if steps == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return change(*args, **options)
    return counted

with folders.new_folder(out, replace=True) as part:
    (part / "a").write_text("new")
    pathlib.Path.rename, shutil.rmtree = counting(pathlib.Path.rename), counting(shutil.rmtree)
"""


@pytest.fixture
def old(tmp_path) -> Path:
    """A folder that is there."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("old")
    return tmp_path / "out"


def replace(folder: Path, text: str) -> None:
    with new_folder(folder, replace=True) as part:
        (part / "a").write_text(text)


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_killed_replacement_leaves_one_of_the_two(old, step):
    done = subprocess.run([sys.executable, "-c", KILLED, str(old), str(step)], check=False)
    assert done.returncode == -9
    restore_folder(old)
    assert (old / "a").read_text() == ("old" if step < 3 else "new")
    replace(old, "newer")
    assert [path.name for path in old.parent.iterdir()] == ["out"]
    assert (old / "a").read_text() == "newer"


def test_a_failure_leaves_the_old_one(old):
    with pytest.raises(FileNotFoundError), new_folder(old, replace=True) as part:
        (part / "no folder" / "a").write_text("new")
    assert (old / "a").read_text() == "old"
    assert [path.name for path in old.parent.iterdir()] == ["out"]


def test_two_processes_do_not_write_the_same_folder(old):
    with new_folder(old, replace=True) as part:
        (part / "a").write_text("mine")
        with pytest.raises(ValueError, match=r"another process is writing .*out; wait for it or choose another"):
            replace(old, "theirs")
        with new_folder(old.with_name("other")):
            pass
    assert (old / "a").read_text() == "mine"


@pytest.mark.parametrize(("replace", "said"), [(False, "is not empty"), (True, None)])
def test_what_is_there_is_kept_unless_it_may_go(old, replace, said):
    if said:
        with pytest.raises(ValueError, match=said):
            check_free(old, replace)
    else:
        check_free(old, replace)


def test_a_file_of_that_name_stays(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(ValueError, match="is a file"):
        replace(tmp_path / "out", "new")
    assert (tmp_path / "out").read_text() == "x"


# Where a user's name leads


def test_a_folder_that_is_a_link_is_written_where_it_leads(tmp_path):
    (tmp_path / "disk/out").mkdir(parents=True)
    (tmp_path / "link").symlink_to("disk/out")
    for content in "abc":
        replace(tmp_path / "link", content)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "disk/out/a").read_text() == content
        assert sorted(path.name for path in (*tmp_path.iterdir(), *(tmp_path / "disk").iterdir())) == [
            "disk",
            "link",
            "out",
        ]
        assert [path.name for path in (tmp_path / "link").iterdir()] == ["a"]


def test_an_empty_volume_holds_hidden_things_only(tmp_path):
    for name in (".hidden", "lost+found"):
        (tmp_path / "volume" / name).mkdir(parents=True)
    with new_folder(tmp_path / "volume") as part:
        (part / "a").write_text("new")
    assert sorted(path.name for path in (tmp_path / "volume").iterdir()) == [".hidden", "a", "lost+found"]
    with pytest.raises(ValueError, match="is not empty"), new_folder(tmp_path / "volume"):
        pass


@pytest.mark.parametrize("name", ["n" * 255, "名" * 85, "-x", "a\nb", " ", "x.", "[a]", "a=1"])
def test_any_name_that_the_disk_takes(tmp_path, name):
    for content in "ab":
        replace(tmp_path / name, content)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    write_whole(tmp_path / name / ("n" * 255), "x")


def test_a_link_to_itself_is_told(tmp_path):
    (tmp_path / "x").symlink_to("x")
    with pytest.raises(ValueError, match="leads to itself"), new_folder(tmp_path / "x"):
        pass


@pytest.mark.parametrize(
    ("name", "link", "target"),
    [("../mine", "", ""), ("{}/mine", "", ""), ("sub/mine", "sub", ".."), ("a", "sub", ".."),
     ("a", ".sds-hf/old", "../.."), ("sub/mine", ".sds-hf/new/sub", "../../.."), ("a", ".sds-hf", "../elsewhere")],
)  # fmt: skip
def test_what_a_killed_command_is_said_to_have_left_moves_nothing_of_mine(tmp_path, name, link, target):
    """A folder of a stranger may come with a workspace that names files outside of it, or leads there by links."""
    (tmp_path / "mine").write_text("mine")
    out, workspace = tmp_path / "out", tmp_path / ("elsewhere" if link == ".sds-hf" else "out/.sds-hf")
    for path in (workspace / "old/sub/mine", workspace / "new/a", out / "a"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("theirs")
    for names in ("names.txt", "names.json"):
        (workspace / names).write_text(name.format(tmp_path))
    if link:
        shutil.rmtree(out / link, ignore_errors=True)
        (out / link).symlink_to(target)
    if link == ".sds-hf/new/sub":
        (out / "sub").mkdir()
        (out / "sub/mine").write_text("theirs")
    with pytest.raises(ValueError, match=r"is a link|lies outside"):
        restore_folder(out)
    assert (tmp_path / "mine").read_text() == "mine"
    assert not (out / ".sds-hf.lock").exists()


def test_files_under_a_link_are_not_the_folders_own(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/sub").symlink_to("..")
    with pytest.raises(ValueError, match="is a link"), new_folder(tmp_path / "out", replace=True, own=["sub/mine"]):
        pass
    assert (tmp_path / "mine").read_text() == "mine"


def test_nothing_is_written_through_a_link_in_a_folder(tmp_path):
    (tmp_path / "bashrc").write_text("mine")
    (tmp_path / "README.md").symlink_to("bashrc")
    with pytest.raises(ValueError, match="is a link, and nothing is written through it"):
        write_whole(tmp_path / "README.md", "card")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/data").symlink_to(tmp_path)

    def write():
        with new_folder(tmp_path / "out", replace=True, own=()) as part:
            (part / "data").mkdir()
            (part / "data/new").write_text("new")

    with pytest.raises(ValueError, match="is a link"):
        write()
    assert (tmp_path / "bashrc").read_text() == "mine"


def test_a_file_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    write_whole(tmp_path / "x", "old")

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "flush", full)
    with pytest.raises(OSError, match=r"No space left.*what is finished stays"):
        write_whole(tmp_path / "x", "new")
    assert (tmp_path / "x").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_what_a_killed_process_left_in_the_temporary_folder_goes_with_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch_folder() as mine:
        (tmp_path / "sds-hf-left/files").mkdir(parents=True)
        (tmp_path / "sds-hf-left/.lock").touch()
        with scratch_folder() as other:
            assert mine.exists()  # a process is at work in it
            assert other.exists()
        assert not (tmp_path / "sds-hf-left").exists()
    assert not list(tmp_path.iterdir())


# Digests


def test_a_byte_that_rots_under_the_same_size_and_time_is_seen(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"a" * 100_000)
    state, digest = path.stat(), sha256_of(path)
    with path.open("r+b") as file:
        file.seek(20_000)  # between the samples
        file.write(b"b" * 40)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert sha256_of(path) != digest
    other = tmp_path / "y"
    other.write_bytes(b"c" * 100_000)
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    other.replace(path)
    assert sha256_of(path) == hashlib.sha256(b"c" * 100_000).hexdigest()


def test_what_has_no_end_has_no_digest(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        for read in (read_sha256, identity_of):
            with pytest.raises(OSError, match="is no regular file"):
                read(path)


def test_a_note_that_a_crash_cut_off_vouches_for_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert remembered("kind", "key", lambda: "text") == "text"
    (note,) = (path for path in tmp_path.rglob("*") if path.is_file())
    for rest in ("", "te", "text"):
        note.write_text(rest)
        assert remembered("kind", "key", lambda: "anew") == "anew"
    assert remembered("kind", "key", lambda: "other") == "anew"


def write_on_full_disk(monkeypatch, free: int = 0) -> None:
    """Fail as Arrow does."""
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free))
    raise OSError(errno.ENOSPC, "Error writing bytes to file. Detail: [errno 28] No space left on device")


def test_a_full_disk_is_named_with_what_was_written(tmp_path, monkeypatch, capsys):
    def fill(out):
        with new_folder(out) as part:
            (part / "data").mkdir()
            (part / "data" / "a").write_bytes(bytes(200_000))
            write_on_full_disk(monkeypatch)

    with pytest.raises(OSError, match=r"no space is left after 0\.2 MB of it") as raised:
        fill(tmp_path / "out")
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(tmp_path / "out"))
    assert report(raised.value, json=False) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert said == (
        f"error {tmp_path}/out: no space is left after 0.2 MB of it, and more is needed; free some space and run the "
        "same command again"
    )
    assert not list(tmp_path.iterdir())


def test_the_innermost_full_folder_is_named(tmp_path, monkeypatch):
    with pytest.raises(OSError, match="no space") as raised, scratch_folder(), new_folder(tmp_path / "out"):
        write_on_full_disk(monkeypatch)
    assert raised.value.filename == str(tmp_path / "out")
    with pytest.raises(OSError, match="no space") as raised, scratch_folder():
        write_on_full_disk(monkeypatch)
    assert raised.value.filename == tempfile.gettempdir()


def test_another_disk_that_is_full_is_not_taken_for_this_one(tmp_path, monkeypatch):
    with pytest.raises(OSError, match="Error writing bytes") as raised, new_folder(tmp_path / "out"):
        write_on_full_disk(monkeypatch, free=1 << 30)
    assert raised.value.filename is None
