"""Folders that are replaced as a whole, by processes that are killed at any step."""

import subprocess
import sys
from pathlib import Path

import pytest

from sds_hf.files import check_free, new_folder, restore_folder

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
