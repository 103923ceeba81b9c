"""The builders of `loading_scripts/`: the rows of `sds-hf import`, through `datasets` itself."""

import inspect
import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest
from datasets import load_dataset
from support import coco_trees, raw_trees
from support.layouts import LAYOUTS, voc
from support.paths import ROOT
from support.raw_trees import save_pair, save_prompts

from sds_hf.data.folder import row_features
from sds_hf.data.labels import COCO, VOC
from sds_hf.data.sources import READERS
from sds_hf.pipeline import import_source

sys.path.insert(0, str(ROOT))

from loading_scripts.builder import RawBuilder, RawConfig
from loading_scripts.dataset_diffusion import DatasetDiffusion
from loading_scripts.folder import Folder
from loading_scripts.pascal_voc import PascalVOC

for script in sorted((ROOT / "loading_scripts").glob("*.py")):
    import_module(f"loading_scripts.{script.stem}")
BUILDERS = {builder.READER: builder for builder in RawBuilder.__subclasses__()}
OF_ALL = {"on_missing", "on_error"}  # options of every reader
OLD_PYTHON = os.environ.get("PYTHON_WITH_DATASETS_3")
FOUND = {  # ids, class ids, what is skipped
    "dataset-diffusion": (["0", "10"], [[COCO.names.index("refrigerator")], [1]], "1 image without a mask"),
    "folder": (["0", "1"], [[4], [3]], "1 listed without a mask"),
    "pascal-voc": (["2007_000039", "2007_000032"], [[20], [1, 15]], "1 listed without an image"),
    **coco_trees.FOUND,
    **raw_trees.FOUND,
}


def stored(dataset):
    return dataset.with_format("arrow")[:].to_pylist()


@pytest.mark.parametrize("name", LAYOUTS)
def test_rows_are_those_of_an_import(name, tmp_path, caplog):
    options = LAYOUTS[name](tmp_path)
    builder = BUILDERS[name](cache_dir=str(tmp_path / "cache"), data_dir=str(tmp_path / "raw"), **options)
    builder.download_and_prepare()
    rows = builder.as_dataset(split="train")
    ids, classes, skipped = FOUND[name]
    assert (rows["id"], rows["classes"]) == (ids, classes)
    assert f"{tmp_path / 'raw'}: {skipped}" in caplog.messages
    import_source(name, tmp_path / "raw", tmp_path / "imported", **options)
    imported = load_dataset(str(tmp_path / "imported"), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.features == imported.features
    assert stored(rows) == stored(imported)


@pytest.mark.parametrize("name", LAYOUTS)
def test_streaming_reads_the_same_again_and_again(name, tmp_path):
    options = LAYOUTS[name](tmp_path)
    builder = BUILDERS[name](cache_dir=str(tmp_path / "cache"), data_dir=str(tmp_path / "raw"), **options)
    rows = builder.as_streaming_dataset(split="train")
    for _ in range(2):
        assert [row["id"] for row in rows] == FOUND[name][0]
        assert list(builder.reader.counts.values()) == [1]
    assert not (tmp_path / "cache" / builder.name).exists()


def test_features_say_what_the_layout_implies(tmp_path):
    save_pair(tmp_path, "0", [6])
    save_prompts(tmp_path, {"0": "bus"}, "voc_prompts.json")
    assert DatasetDiffusion(data_dir=str(tmp_path)).info.features == row_features(VOC)


def test_the_name_of_the_configuration_chooses_a_list(tmp_path):
    voc(tmp_path)

    def ids(**options):
        builder = PascalVOC(
            cache_dir=str(tmp_path / "cache"), data_dir=str(tmp_path / "raw"), masks="SegmentationClassAug", **options
        )
        builder.download_and_prepare()
        return builder.as_dataset(split="train")["id"]

    assert ids(config_name="val") == ["2007_000032"]
    assert ids(config_name="train_aug") == FOUND["pascal-voc"][0]
    with pytest.raises(ValueError, match=r"no split 'trainval' in .*; there are \['train_aug', 'val'\]"):
        ids()


def test_settings_and_version_decide_the_place_in_the_cache(tmp_path):
    save_pair(tmp_path, "a", [3], "images", "masks")
    first, second = (
        Folder(cache_dir=str(tmp_path), data_dir=str(tmp_path), labels=labels).cache_dir for labels in ("voc", "coco")
    )
    assert first != second
    assert Path(first).name == Path(second).name == str(RawConfig.version) != "0.0.0"


def test_errors_are_one_line(tmp_path):
    raw = tmp_path / "raw"
    save_pair(raw, "0", [21, 3])
    save_prompts(raw, {"0": "bird"})

    def prepare(builder, **options):
        builder(cache_dir=str(tmp_path / "cache"), **options).download_and_prepare()

    for options, message in (
        ({}, "reads a raw folder: give data_dir="),
        ({"data_dir": str(raw)}, "says what its mask indices mean: give labels='voc' or labels='coco'"),
        (
            {"data_dir": str(raw), "labels": "ade20k"},
            "no label space 'ade20k'; there are cityscapes, coco,",
        ),
        ({"data_dir": str(raw), "labels": "coco", "ids": "both"}, "ids must be contiguous or original"),
        ({"data_dir": str(tmp_path / "gone"), "labels": "voc"}, "gone is no folder"),
        ({"data_dir": str(raw), "labels": "voc"}, "0.png: [21] stand for no class of the label space 'voc'"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)) as raised:
            prepare(DatasetDiffusion, **options)
        assert "\n" not in str(raised.value)


def test_every_reader_has_a_builder_with_its_options():
    assert set(BUILDERS) == set(READERS)
    for name, builder in BUILDERS.items():
        taken = set(inspect.signature(READERS[name].__init__).parameters) - {"self", "path"} | OF_ALL
        assert set(builder.BUILDER_CONFIG_CLASS().reader_options()) == taken
        assert {field.name for field in fields(builder.BUILDER_CONFIG_CLASS)} >= taken


def test_readme_names_every_script_and_option():
    text = (ROOT / "loading_scripts" / "README.md").read_text()
    for builder in BUILDERS.values():
        script = Path(inspect.getfile(builder)).name
        line = next(line for line in text.splitlines() if line.startswith(f"| `{script}` | `{builder.__name__}` |"))
        assert all(f"`{option}`" in line for option in set(builder.BUILDER_CONFIG_CLASS().reader_options()) - OF_ALL)
    assert all(f"`{option}`" in text for option in OF_ALL)


@pytest.mark.slow
@pytest.mark.skipif(not OLD_PYTHON, reason="PYTHON_WITH_DATASETS_3 names no Python with datasets 2 or 3 and Pillow")
@pytest.mark.parametrize("name", LAYOUTS)
def test_as_a_script_of_older_datasets(name, tmp_path):
    options = LAYOUTS[name](tmp_path)
    config = options.pop("split", None)
    script = inspect.getfile(BUILDERS[name])
    code = f"""
import json
from datasets import load_dataset
options = {{"data_dir": {str(tmp_path / "raw")!r}, "trust_remote_code": True, **{options!r}}}
rows = load_dataset({script!r}, {config!r}, split="train", **options)
streamed = load_dataset({script!r}, {config!r}, split="train", streaming=True, **options)
assert [row["id"] for row in streamed] == rows["id"]
print(json.dumps([rows["id"], rows["classes"]]))
"""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path / "hf")}
    ran = subprocess.run([OLD_PYTHON, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1]) == list(FOUND[name][:2])
