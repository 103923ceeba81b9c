"""Whatever a user calls a dataset."""

import shutil
import socket
import time

import numpy as np
import pytest
from datasets import DatasetDict
from PIL import Image

from sds_hf.data.labels import COCO, VOC
from sds_hf.data.opening import open_dataset


@pytest.fixture
def raw(tmp_path):
    """Two pairs in two folders."""
    for name in ("images", "masks"):
        (tmp_path / "raw" / name).mkdir(parents=True)
    for index in (1, 2):
        save_pair(tmp_path / "raw", index)
    return tmp_path / "raw"


def save_pair(folder, index):
    Image.new("RGB", (8, 8), (index, 0, 0)).save(folder / "images" / f"{index}.png")
    Image.fromarray(np.full((8, 8), index, np.uint8)).save(folder / "masks" / f"{index}.png")


def names(dataset) -> list[str]:
    return dataset.features["classes"].feature.names


def test_a_data_folder_its_files_and_a_saved_dataset(stored, dataset, tmp_path):
    dataset.save_to_disk(tmp_path / "saved")
    for place in (stored, stored / "data" / "train-00000.parquet", f"{stored}/data/*.parquet", tmp_path / "saved"):
        opened = open_dataset(place)
        assert (opened["id"], names(opened)) == (dataset["id"], list(VOC.names))


def test_a_home_folder(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    dataset.save_to_disk(tmp_path / "saved")
    assert open_dataset("~/saved")["id"] == dataset["id"]


def test_one_of_several_splits(dataset, tmp_path):
    DatasetDict(a=dataset, b=dataset.select([3])).save_to_disk(tmp_path / "two")
    assert open_dataset(tmp_path / "two", "b")["id"] == dataset["id"][3:4]
    for split in (None, "c"):
        with pytest.raises(ValueError, match=r"has the splits \['a', 'b'\]: choose one with split="):
            open_dataset(tmp_path / "two", split)


def test_a_raw_folder_is_asked_for_its_labels(raw):
    with pytest.raises(ValueError, match="give labels='voc' or labels='coco'"):
        open_dataset(raw)
    opened = open_dataset(raw, labels="coco")
    assert (opened["classes"][:], names(opened)) == ([[1], [2]], list(COCO.names))


@pytest.mark.parametrize("beside", ["README.md", "metadata.parquet"])
def test_a_raw_folder_may_hold_a_readme_or_a_table(raw, dataset, beside):
    if beside == "README.md":
        (raw / beside).write_text("# Raw pairs\n")
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"file_name": ["1.png", "2.png"], "caption": ["one", "two"]}), raw / beside)
    assert open_dataset(raw, labels="voc")["id"] == ["1", "2"]


def test_a_raw_folder_that_changed_is_read_again(raw):
    assert open_dataset(raw, labels="voc")["id"] == ["1", "2"]
    save_pair(raw, 3)
    assert open_dataset(raw, labels="voc")["id"] == ["1", "2", "3"]
    assert open_dataset(raw, labels="voc").cache_files


def test_a_card_that_describes_data_wins_over_folders_that_look_raw(stored, raw):
    folder = shutil.copytree(stored, raw.parent / "both")
    for name in ("images", "masks"):
        shutil.copytree(raw / name, folder / name)
    assert len(open_dataset(folder)) == 12


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("./nowhere", r"^\./nowhere does not exist$"),
        ("a/b/c", "^a/b/c does not exist$"),
        ("none-*.parquet", r"^no file matches none-\*\.parquet$"),
        ("user/nothing-there", "^cannot open user/nothing-there: no such folder here, and as a Hub dataset: "),
    ],
)
def test_what_is_not_there(hub, name, said):
    with pytest.raises(ValueError, match=said) as caught:
        open_dataset(name)
    assert "\n" not in str(caught.value)


def test_a_hub_that_cannot_be_reached_is_said_at_once(monkeypatch):
    """No server listens at this port; `load_dataset` would try again for minutes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", f"http://127.0.0.1:{free.getsockname()[1]}")
    started = time.monotonic()
    said = "^cannot open candidats: no such folder here, and the Hub cannot be reached$"
    with pytest.raises(ValueError, match=said):
        open_dataset("candidats")
    assert time.monotonic() - started < 15


def test_a_raw_folder_has_no_splits(raw):
    with pytest.raises(ValueError, match=r"the reader 'folder' has no option \['split'\]"):
        open_dataset(raw, "train", labels="voc")


def test_a_folder_of_something_else(tmp_path):
    (tmp_path / "notes.txt").write_text("no data")
    with pytest.raises(ValueError, match="is no dataset: neither Parquet nor a layout of the readers"):
        open_dataset(tmp_path)
