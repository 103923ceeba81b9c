"""Published folders that a stranger made: parts that are links out of them, devices, pipes or bombs."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from sds_hf import load, verify
from sds_hf.cli import main

PARTS = ("README.md", "manifest.json", "report.json", "recipe.yaml", "data/train-00000.parquet")


def spoil(path: Path, kind: str, private: Path) -> None:
    """Put something else in the place of a file."""
    if kind == "link":
        path.rename(private)
    else:
        path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(private if kind == "link" else "/dev/zero")


@pytest.mark.parametrize("kind", ["link", "device", "pipe"])
@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_no_file_of_the_folder_is_refused(published, tmp_path, part, kind, capsys):
    copy = shutil.copytree(published, tmp_path / "copy")
    spoil(copy / part, kind, tmp_path / "private")
    failures = verify(copy).failures
    assert [failure for failure in failures if re.search("outside|no regular file|missing", failure)], failures
    if part.startswith(("data", "manifest")):
        with pytest.raises(ValueError, match=r"outside|no regular file|missing or differs"):
            load(copy)
    if kind != "link" and not part.startswith(("data", "manifest")):
        assert main(["card", str(copy), "--check"]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


BOMB = "a: &a [l,l,l,l,l,l,l,l,l]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)
)
DEEP = "[" * 100_000 + "]" * 100_000
TEXTS = [
    ("README.md", f"---\n{BOMB}---\n"),
    ("README.md", f"---\na: {DEEP[:3000]}\n---\n"),
    ("README.md", "---\n- a\n---\n"),
    ("README.md", "---\n!!python/object/apply:os.system [id]\n---\n"),
    ("manifest.json", DEEP),
    ("manifest.json", '{"made_by": "sds-hf", "format": 1, "files": {}}'),
    (
        "manifest.json",
        '{"made_by": "sds-hf", "format": 1, "files": [{"path": "/etc/x", "sha256": "", "size": 1}]}',
    ),
    ("manifest.json", '{"made_by": "sds-hf", "format": 1, "files": [{"path": "a/../../x", "sha256": "", "size": 1}]}'),
    ("manifest.json", '{"made_by": "sds-hf", "format": 1, "files": [{"sha256": "", "size": 1}, 3]}'),
    ("report.json", DEEP),
    *(
        ("report.json", json.dumps({"rows": 60, "kept": 23, part: value}))
        for part, values in {
            "provenance": [{"source": []}, {"source": {"reader": []}}, {"source": {}}, {"models": []}, {"labels": [1]}],
            "metadata": [{"configs": 3}, {"configs": [{}]}, {"dataset_info": []}, {"dataset_info": {"features": [{}]}}],
        }.items()
        for value in values
    ),
    ("report.json", "[]"),
    ("recipe.yaml", BOMB),
    ("recipe.yaml", "rules: 1"),
]


@pytest.mark.parametrize(("part", "content"), TEXTS, ids=[f"{part}-{i}" for i, (part, _) in enumerate(TEXTS)])
def test_texts_that_no_one_writes_are_one_line(published, tmp_path, part, content, capsys):
    copy = shutil.copytree(published, tmp_path / "copy")
    (copy / part).write_text(content)
    assert not verify(copy).ok
    for command in (["verify"], ["card"], ["card", "--check"], ["diff", str(published)]):
        code = main([*command, str(copy)])
        printed = capsys.readouterr()
        assert code in (0, 1, 2)
        assert "Traceback" not in printed.err
        assert len(printed.err.splitlines()) <= 2, printed.err
