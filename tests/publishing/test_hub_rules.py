"""The offline check of cards: what the Hub refuses, what it does not know, and what the data contradicts."""

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard
from support.paths import ROOT
from support.reports import make_recipe, make_report

from sds_hf import Report
from sds_hf.cli import main
from sds_hf.files import sha256_of
from sds_hf.publishing.card.handwritten import END, START, join_card, split_card
from sds_hf.publishing.card.hub_rules import check_card, check_folder, size_category
from sds_hf.publishing.card.render import render_card

OTHER = {"license": "other", "license_name": "artwork", "license_link": "https://e.org/l"}
CARD = render_card(make_recipe(**OTHER, language=["en", "no"], tags=["voc"]), make_report())
DATA, BODY = split_card(CARD)
RENDERED = sorted((ROOT / "cards").glob("*/README.md"))


def checked(**changes):
    """The card with other keys; None takes one away."""
    data = {key: value for key, value in (DATA | changes).items() if value is not None}
    return check_card(join_card(data, BODY))


@pytest.mark.parametrize("path", RENDERED, ids=lambda path: path.parent.name)
def test_rendered_cards_are_right(path, hub):
    assert (check_folder(path.parent).errors, check_folder(path.parent).warnings) == ([], [])
    hub.card_checks.append(lambda data, kind: check_card(join_card(data, "")).errors)
    try:
        DatasetCard.load(path).validate()
        with pytest.raises(ValueError, match="no key 'licenses'"):
            DatasetCard(path.read_text().replace("license:", "licenses: mit\nlicense:", 1)).validate()
    finally:
        hub.card_checks.clear()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"license": None, "license_name": None, "license_link": None},
        {"license": ["mit", "cc-by-4.0"], "license_name": None, "license_link": None},
        {"license_link": "LICENSE.md"},
        {"language": "en"},
        {"language": ["yue", "multilingual", "code"]},
        {"source_datasets": ["original", "extended|coco", "user/raw_data"]},
        {"annotations_creators": ["found", "machine-generated"]},
        {"configs": None, "dataset_info": None},
        {"viewer": False},
    ],
)
def test_what_is_fine(changes):
    assert checked(**changes) == check_card(CARD)
    assert not check_card(CARD).errors + check_card(CARD).warnings


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"licenses": "mit"}, "there is no key 'licenses', only 'license'"),
        ({"languages": ["en"]}, "there is no key 'languages', only 'language'"),
        ({"license_name": None}, "license 'other' needs a license_name"),
        ({"license_link": None}, "needs a license_link: LICENSE, LICENSE.md or a web address, not None"),
        ({"license_link": "license.txt"}, "not 'license.txt'"),
        ({"license": True}, "license has True, which YAML makes of a plain yes, no, on or off"),
        ({"language": [False]}, "language has False, which YAML makes of a plain yes, no, on or off; put it in quotes"),
        ({"language": ["english"]}, "language 'english' is unknown to the Hub; it knows ISO 639-1 or 639-3 codes"),
        ({"task_categories": "image-segmentation"}, "task_categories must be a list, not 'image-segmentation'"),
        ({"task_categories": ["image-segmentaton"]}, "'image-segmentaton' is unknown to the Hub; it knows image-segm"),
        ({"task_ids": ["semantic"]}, "it knows semantic-segmentation"),
        ({"size_categories": ["n<1000"]}, "size_categories 'n<1000' is unknown"),
        ({"size_categories": ["1K<n<10K"]}, "dataset_info has 300 rows: 'n<1K'"),
        ({"annotations_creators": ["robots"]}, "annotations_creators 'robots' is unknown"),
        ({"source_datasets": ["a b"]}, "source_datasets 'a b' is neither"),
        ({"tags": "voc"}, "tags must be a list, not 'voc'"),
        ({"tags": ["voc", 2012]}, "tags must be text, not 2012"),
        ({"tags": [" "]}, "tags must be text, not ' '"),
        ({"pretty_name": 2012}, "pretty_name must be text, not 2012"),
        ({"configs": [{"config_name": "a"}, {"data_files": 3}]}, "configs cannot be read: "),
        ({"configs": DATA["configs"] * 2}, "configs has ['default', 'scores'] twice"),
        ({"configs": DATA["configs"][1:]}, "dataset_info is of ['default'], which configs lacks"),
        ({"dataset_info": {"features": 3}}, "dataset_info cannot be read: "),
    ],
)
def test_what_the_hub_refuses_is_said_in_a_line(changes, said):
    errors = checked(**changes).errors
    assert [error for error in errors if said in error], errors
    assert not [error for error in errors if "\n" in error]
    with pytest.raises(ValueError, match="is not right"):
        checked(**changes).refuse()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"license": "my-own", "license_name": None, "license_link": None},
            "license 'my-own' is no id the Hub is known",
        ),
        ({"language": ["eng"]}, "language 'eng' is unknown to the Hub"),
        ({"license": "mit"}, "license_name and license_link count only with license 'other'"),
    ],
)
def test_what_may_be_right_is_a_warning(changes, said):
    found = checked(**changes)
    assert not found.errors
    assert said in found.warnings[0]


def test_a_plain_no_is_found_in_yaml():
    assert "language has False" in check_card(CARD.replace("- 'no'", "- no")).errors[0]
    assert "cannot be read" in check_card("---\na: [\n---\n").errors[0]


@pytest.mark.parametrize(("rows", "size"), [(0, "n<1K"), (999, "n<1K"), (10**6, "1M<n<10M"), (10**12, "n>1T")])
def test_sizes(rows, size):
    assert size_category(rows) == size


# Against the data


def change_readme(folder: Path, change) -> None:
    data, body = split_card((folder / "README.md").read_text())
    change(data)
    (folder / "README.md").write_text(join_card(data, body))


@pytest.fixture
def folder(stored, tmp_path) -> Path:
    """A dataset folder of twelve rows to spoil."""
    return shutil.copytree(stored, tmp_path / "rows")


def test_counts_and_features_are_those_of_the_data(folder):
    assert not check_folder(folder).errors

    def fewer(data):
        data["dataset_info"]["splits"][0]["num_examples"] = 11

    change_readme(folder, fewer)
    assert check_folder(folder).errors == ["config 'default', split 'train': dataset_info has 11 rows, the data 12"]


def test_another_class_name_is_found(folder):
    def rename(data):
        (classes,) = [each for each in data["dataset_info"]["features"] if each["name"] == "classes"]
        classes["list"]["class_label"]["names"]["3"] = "fish"

    change_readme(folder, rename)
    assert "other features than dataset_info: ['classes']" in check_folder(folder).errors[0]


def test_files_that_are_not_there(folder):
    def elsewhere(data):
        data["configs"][0]["data_files"][0]["path"] = "data/test-*"
        data["license"], data["license_name"], data["license_link"] = "other", "mine", "LICENSE"

    change_readme(folder, elsewhere)
    found = check_folder(folder)
    assert found.errors == ["config 'default': no file is called data/test-*"]
    assert "license_link is LICENSE" in found.warnings[0]


# The command


@pytest.fixture
def published(tmp_path) -> Path:
    """A published folder without its data."""
    report = make_report()
    report.save(tmp_path / "report.json")
    (tmp_path / "recipe.yaml").write_text(make_recipe(**OTHER).to_yaml())
    entry = {"path": "README.md", "sha256": "", "size": 0, "rows": None}
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 1, "made_by": "sds-hf", "files": [entry]}))
    assert main(["card", str(tmp_path)]) == 0
    return tmp_path


def test_the_command_keeps_what_was_written_by_hand_and_renews_the_checksum(published, capsys):
    readme = published / "README.md"
    note = f"{START}\nMeasured by hand: 61.2 mIoU.\n{END}"
    text = (
        readme.read_text()
        .replace("\n## Classes\n", f"\n{note}\n\n## Classes\n")
        .replace("---\n", "---\nviewer: false\n", 1)
    )
    readme.write_text(text)
    assert main(["card", str(published)]) == 0
    assert note in readme.read_text()
    assert split_card(readme.read_text())[0]["viewer"] is False
    (entry,) = json.loads((published / "manifest.json").read_text())["files"]
    assert (entry["sha256"], entry["size"]) == (sha256_of(readme), readme.stat().st_size)
    capsys.readouterr()
    assert main(["card", str(published), "--check", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["out"], said["result"], said["warnings"]) == (str(readme), {"changed": False}, [])


@pytest.mark.parametrize("options", [[], ["--check"]])
def test_a_checksum_that_is_wrong_is_not_healed(published, options, capsys):
    """Nobody edited the card, so the manifest is what somebody changed."""
    manifest, digest = published / "manifest.json", sha256_of(published / "README.md")
    manifest.write_text(manifest.read_text().replace(digest, "0" * 64))
    before = manifest.read_text()
    assert main(["card", str(published), *options]) == 2
    assert "has another checksum for README.md than it has, though nobody edited that" in capsys.readouterr().err
    assert manifest.read_text() == before


@pytest.mark.parametrize("name", ["README.md", "manifest.json"])
def test_a_card_that_is_a_link_is_not_written_through(published, tmp_path, name, capsys):
    mine = tmp_path / "mine"
    (published / "README.md").write_text((published / "README.md").read_text() + "\nby hand\n")
    (published / name).rename(mine)
    (published / name).symlink_to(mine)
    before = mine.read_text()
    assert main(["card", str(published)]) == 2
    assert f"{name} is a link, and nothing is written through it" in capsys.readouterr().err
    assert mine.read_text() == before


def test_the_check_refuses_what_the_hub_would(published, capsys):
    recipe = make_recipe(license="other", license_name="mine")
    (published / "recipe.yaml").write_text(recipe.to_yaml())
    readme = published / "README.md"
    before = readme.read_text()
    assert main(["card", str(published), "--check"]) == 2
    assert "differs from what the recipe and the report give" in capsys.readouterr().err
    assert main(["card", str(published)]) == 2
    assert "needs a license_link" in capsys.readouterr().err
    assert readme.read_text() == before
    readme.write_text(render_card(recipe, Report.load(published / "report.json")))
    assert main(["card", str(published), "--check"]) == 2
    assert "needs a license_link" in capsys.readouterr().err
