"""Arguments in messages become options of the command that was given."""

import pytest

from sds_hf.cli import main
from sds_hf.cli.flags import with_flags

OPTIONS = ["--out", "--labels", "--on-missing", "--overwrite", "--set", "--public", "--private", "--allow-path"]


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        ("choose another out=... or delete it", "choose another --out or delete it"),
        ("give labels='voc' or labels='coco', or a file", "give --labels voc or --labels coco, or a file"),
        ("with on_missing='skip' such rows are left out", "with --on-missing skip such rows are left out"),
        ("holds a dataset already; overwrite=True replaces it", "holds a dataset already; --overwrite replaces it"),
        ("say private=False, or", "say --public, or"),
        ("in the recipe, e.g. publish.license=cc-by-4.0", "in the recipe, e.g. --set publish.license=cc-by-4.0"),
        ("allow its folder with allow_paths", "allow its folder with --allow-path"),
        ("compute it with `sds-hf score` and its option `for`", "compute it with `sds-hf score --for`"),
        # no options of this command, or no arguments
        ("give split=..., or rename one", "give split=..., or rename one"),
        ("kept:out=3 of `labels=x`", "kept:--out 3 of `labels=x`"),
        ("/data/out=a/labels='x'", "/data/out=a/labels='x'"),
    ],
)
def test_messages(sentence, told):
    assert with_flags(sentence, OPTIONS) == told


def test_a_command_names_its_own_options(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    assert main(["import", "folder", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "give --labels voc or --labels coco" in capsys.readouterr().err
    assert main(["select", str(tmp_path), "--recipe", "random", "--out", str(tmp_path / "out")]) == 2
    assert "=" not in capsys.readouterr().err
