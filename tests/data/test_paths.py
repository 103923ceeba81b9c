"""Paths in data lead into its own folder, where the user allows it, and nowhere else."""

import json
import os
import zipfile
from contextlib import nullcontext
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Image, IterableDataset, Sequence, Value, load_dataset
from datasets.arrow_writer import ArrowWriter
from huggingface_hub import DatasetCard
from support.rows import random_row

from sds_hf import ClassesPresent, add_scores, score_table
from sds_hf.data.access import paths
from sds_hf.data.access.checks import check_card
from sds_hf.data.access.origins import reach_of
from sds_hf.data.access.paths import NOWHERE, PathError, Reach, allow_paths, held, read_file
from sds_hf.data.labels import VOC
from sds_hf.data.opening import open_dataset, open_stream
from sds_hf.pipeline import import_source

FEATURES = Features(
    {"id": Value("string"), "image": Image(), "mask": Image(), "classes": Sequence(ClassLabel(names=list(VOC.names)))}
)
SCORE = ClassesPresent()


def row(index: int, **cells) -> dict:
    return {name: random_row(index)[name] for name in FEATURES} | cells


def write_folder(folder: Path, *rows: dict) -> Path:
    """A folder with one Parquet file, as a stranger writes it."""
    (folder / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=FEATURES.arrow_schema), folder / "data/train-00000.parquet")
    return folder


def named(path) -> dict:
    return {"bytes": None, "path": str(path)}


@pytest.fixture
def private(tmp_path) -> Path:
    """A mask of the user's that lies elsewhere."""
    (tmp_path / "private").mkdir()
    path = tmp_path / "private" / "mask.png"
    path.write_bytes(random_row(1)["mask"]["bytes"])
    return path


@pytest.fixture
def stranger(tmp_path, private) -> Path:
    """A folder of which one row names the user's file, another one its own."""
    folder = write_folder(
        tmp_path / "stranger", row(0), row(1, mask=named(private)), row(2, mask=named(tmp_path / "stranger/own.png"))
    )
    (folder / "own.png").write_bytes(random_row(2)["mask"]["bytes"])
    return folder


def failed(scored) -> list[bool]:
    return [value is None for value in scored["num_classes_present"]]


# What may be read


def test_inside_and_outside_after_links_are_followed(tmp_path, private):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"a")
    (folder / "link.png").symlink_to(private)
    (folder / "linked").symlink_to(private.parent)
    reach = Reach((str(folder),))
    assert reach.read(str(folder / "a.png")) == b"a"
    beside = (tmp_path / "folder-beside" / "a.png", private, folder / "link.png", folder / "linked/mask.png")
    for path in (*beside, folder / "../private/mask.png", "/etc/passwd", "mask.png", "\0"):
        with pytest.raises(PathError, match=r"outside the dataset's own folder.*with allow_paths|is no path"):
            reach.read(str(path))
    with pytest.raises(PathError, match=r"link\.png lies outside .*, it leads to .*mask\.png"):
        reach.read(str(folder / "link.png"))


@pytest.mark.parametrize(
    "name",
    ["https://host/a.png", "hf://datasets/u/x/a.png", "s3://b/a.png", "zip://a.png::https://host/a.zip", "http:///a"],
)
def test_no_address_is_asked_for(name, monkeypatch):
    monkeypatch.setattr(paths, "_from", lambda *names: pytest.fail("asked"))
    for reach in (NOWHERE, Reach(("/",)), Reach((), ("hf://datasets/u/y@1/",))):
        with pytest.raises(PathError, match=r"is an address, and none that data names .*allow_paths\(urls=True\)"):
            reach.read(name)


@pytest.mark.parametrize("name", ["file:///etc/hostname", "local:///etc/hostname", "zip://a::/etc/hostname"])
def test_other_spellings_of_local_files_are_local_files(name):
    with pytest.raises(PathError, match="lies outside the dataset's own folder"):
        Reach((), ("file://", "local://", "zip://")).read(name)


@pytest.mark.parametrize("name", ["simplecache::https://host/a", "python://a::x", "blockcache::file:///etc/hostname"])
def test_what_is_no_archive_is_not_opened(name):
    with allow_paths("/", urls=True), pytest.raises(PathError, match="is no archive that is read"):
        NOWHERE.read(name)


def test_an_address_of_its_own_repository(monkeypatch):
    monkeypatch.setattr(paths, "_from", lambda address, name: b"a")
    reach = Reach((), ("hf://datasets/u/x@1/",))
    assert reach.read("hf://datasets/u/x@1/a.png") == b"a"
    for name in ("hf://datasets/u/x@1/../../y/a.png", "hf://datasets/u/x@1/%2e%2e/a", "hf://datasets/u/x@12/a.png"):
        with pytest.raises(PathError, match="is an address"):
            reach.read(name)


def test_an_archive_in_the_folder_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("a.png", b"a")
    reach = Reach((str(tmp_path),))
    assert reach.read(f"zip://a.png::{tmp_path}/all.zip") == b"a"
    with pytest.raises(PathError, match=r"cannot read zip://b\.png.*: .*b\.png"):
        reach.read(f"zip://b.png::{tmp_path}/all.zip")


def test_a_secret_of_an_address_is_not_in_the_message():
    with pytest.raises(PathError) as caught:
        NOWHERE.read("https://me:password@host/a.png?X-Amz-Signature=abc")
    assert "password" not in str(caught.value)
    assert "abc" not in str(caught.value)


def test_devices_pipes_and_proc_hold_nothing_up(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((Path("/dev/zero"), "a device"), (tmp_path / "pipe", "a pipe")):
        with pytest.raises(PathError, match=f"is no regular file \\({kind}\\)"):
            read_file(path)
    with pytest.raises(PathError, match=r"regular|Is a directory"):
        read_file(tmp_path)
    assert read_file(Path("/proc/self/environ")) == b""
    (tmp_path / "large").write_bytes(b"12345")
    monkeypatch.setattr(paths, "MOST_BYTES", 4)
    with pytest.raises(PathError, match="has 5 bytes; files in rows have at most 4"):
        read_file(tmp_path / "large")


def test_what_is_allowed_lasts_as_long_as_the_context(private):
    with allow_paths(private.parent):
        assert NOWHERE.read(str(private)) == private.read_bytes()
        with pytest.raises(PathError):
            NOWHERE.read("/etc/hostname")
    with pytest.raises(PathError):
        NOWHERE.read(str(private))
    with pytest.raises(ValueError, match=r"gone is no folder, so no path in it"), allow_paths(private / "gone"):
        pass


def test_files_in_lists_and_structs(private):
    cell = {"pages": [named(private), named("/etc/hostname")], "n": 1}
    with allow_paths(private.parent):
        pages = held(cell, NOWHERE)["pages"]
    assert pages[0]["bytes"] == private.read_bytes()
    assert "lies outside" in pages[1].reason


# Where a dataset comes from


def test_a_row_that_names_a_file_elsewhere_fails_alone(stranger, private, tmp_path):
    table = score_table(open_dataset(stranger), [SCORE], tmp_path / "scores").to_arrow()
    assert failed(table.to_pydict()) == [False, True, False]
    assert f"{private.name} lies outside the dataset's own folder" in table["error"][1].as_py()
    assert str(private.parent) not in table["error"][1].as_py()  # the table may be published
    streamed = score_table(open_stream(stranger), [SCORE], tmp_path / "streamed").to_arrow()
    assert streamed.equals(table)
    with allow_paths(private.parent):
        allowed = score_table(open_dataset(stranger), [SCORE], tmp_path / "allowed").to_arrow()
    assert failed(allowed.to_pydict()) == [False, False, False]


def test_a_row_that_names_a_pipe_or_a_device_fails_alone(tmp_path):
    """To open a pipe would wait for ever, also for the digest of what a dataset holds."""
    os.mkfifo(tmp_path / "pipe")
    folder = write_folder(
        tmp_path / "rows", row(0), row(1, mask=named(tmp_path / "pipe")), row(2, mask=named("/dev/zero"))
    )
    for place in ("here", "allowed"):
        with allow_paths(tmp_path) if place == "allowed" else nullcontext():
            table = score_table(open_dataset(folder), [SCORE], tmp_path / place).to_arrow()
        assert failed(table.to_pydict()) == [False, True, True]


def test_paths_of_data_that_python_loads_lead_nowhere(stranger, private):
    dataset = load_dataset("parquet", data_files=str(stranger / "data/*.parquet"), split="train")
    for kept in (dataset, dataset.select([1, 0, 2]).sort("id"), dataset.with_format("torch")):
        with pytest.warns(UserWarning, match="lies outside"):
            assert failed(kept.map(SCORE, batched=True).with_format(None)) == [False, True, True]
        with pytest.warns(UserWarning, match="lies outside"):
            assert failed(add_scores(kept, SCORE).with_format(None)) == [False, True, True]
    in_memory = load_dataset("parquet", data_files=str(stranger / "data/*.parquet"), split="train", keep_in_memory=True)
    with pytest.warns(UserWarning, match="lies outside"):
        assert failed(in_memory.map(SCORE, batched=True)) == [False, True, True]
    stream = load_dataset("parquet", data_files=str(stranger / "data/*.parquet"), split="train", streaming=True)
    with pytest.warns(UserWarning, match="lies outside"):
        assert failed({"num_classes_present": [r["num_classes_present"] for r in undecoded(add_scores(stream, SCORE))]})


def test_streams_ask_for_nothing_that_a_row_names(stranger, tmp_path, monkeypatch):
    """Nor in columns that no score reads, and in lists: there `datasets` would ask with the user's token."""
    features = Features({**FEATURES, "pages": Sequence(Image()), "more": {"page": Image()}})
    address = named("hf://datasets/u/x/a.png")
    rows = [row(index, pages=[address], more={"page": address}) for index in range(2)]
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=features.arrow_schema), path)
    asked = []
    monkeypatch.setattr("datasets.features.image.xopen", lambda name, *a, **k: asked.append(name))
    monkeypatch.setattr("datasets.utils.file_utils.xopen", lambda name, *a, **k: asked.append(name))
    stream = load_dataset("parquet", data_files=str(path), split="train", streaming=True)
    assert stream.features == features
    score_table(stream, [SCORE], tmp_path / "scores")
    scored = add_scores(stream, SCORE)
    assert scored.features == Features({**features, **{name: scored.features[name] for name in SCORE.columns}})
    assert all(r["num_classes_present"] for r in undecoded(scored))
    assert not asked


def undecoded(stream: IterableDataset) -> IterableDataset:
    return stream.select_columns(["num_classes_present"])


def test_workers_follow_the_same_rule(stranger):
    dataset = load_dataset("parquet", data_files=str(stranger / "data/*.parquet"), split="train")
    assert failed(dataset.map(SCORE, batched=True, num_proc=2)) == [False, True, True]
    with allow_paths(stranger.parent):
        assert failed(add_scores(dataset, SCORE, num_proc=2)) == [False, False, False]


def test_paths_that_a_user_wrote_lead_where_they_lead(private, tmp_path):
    rows = [row(0), row(1, mask=named(private))]
    written = Dataset.from_list(rows, features=FEATURES)
    generated = Dataset.from_generator(lambda: iter(rows), features=FEATURES, cache_dir=str(tmp_path / "cache"))
    streamed = IterableDataset.from_generator(lambda: iter(rows), features=FEATURES)
    for dataset in (written, generated):
        assert failed(dataset.map(SCORE, batched=True)) == [False, False]
        assert failed(add_scores(dataset, SCORE)) == [False, False]
    for stream in (streamed, written.to_iterable_dataset()):
        assert all(r["num_classes_present"] for r in undecoded(add_scores(stream, SCORE)))


def test_a_saved_dataset_names_what_lies_in_its_folder(private, tmp_path):
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "own.png").write_bytes(private.read_bytes())
    rows = [row(0, mask=named(saved / "own.png")), row(1, mask=named(private))]
    Dataset.from_list(rows, features=FEATURES).save_to_disk(saved)
    with ArrowWriter(path=str(saved / "data-00000-of-00001.arrow"), features=FEATURES) as writer:  # as a stranger may
        writer.write_table(pa.Table.from_pylist(rows, schema=FEATURES.arrow_schema))
        writer.finalize()
    dataset = open_dataset(saved)
    assert reach_of(dataset) == Reach((str(saved),))
    for scored in (dataset, dataset.filter(lambda name: True, input_columns="id")):
        with pytest.warns(UserWarning, match="lies outside"):
            assert failed(add_scores(scored, SCORE)) == [False, True]
    stream = dataset.to_iterable_dataset()
    assert reach_of(stream) == reach_of(dataset)


def test_a_folder_of_images_is_read_where_it_lies(private, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(2):
        (folder / f"{index}.png").write_bytes(random_row(index)["mask"]["bytes"])
    dataset = load_dataset("imagefolder", data_dir=str(folder), split="train").rename_column("image", "mask")
    assert failed(dataset.map(ClassesPresent(labels="voc"), batched=True)) == [False, False]
    (folder / "2.png").symlink_to(private)
    dataset = load_dataset("imagefolder", data_dir=str(folder), split="train").rename_column("image", "mask")
    with pytest.warns(UserWarning, match="lies outside"):
        assert failed(add_scores(dataset, ClassesPresent(labels="voc"))).count(True) == 1


def test_a_saved_dataset_names_no_arrow_files_elsewhere(tmp_path):
    for name in ("mine", "saved"):
        Dataset.from_list([row(0)], features=FEATURES).save_to_disk(tmp_path / name)
    state = tmp_path / "saved/state.json"
    state.write_text(state.read_text().replace("data-00000", "../mine/data-00000"))
    with pytest.raises(PathError, match="lies outside"):
        open_dataset(tmp_path / "saved")


@pytest.mark.parametrize(
    "state",
    [
        {"splits": ["../mine"]},
        {"splits": ["/etc"]},
        {"splits": [{}]},
        {"splits": "mine"},
        [],
        {"_data_files": ["data-00000-of-00001.arrow"]},
        {"_data_files": {"filename": "x"}},
        {"_data_files": [{"filename": "/etc/hostname"}]},
    ],
)
def test_a_saved_dataset_names_no_splits_or_files_elsewhere(state, tmp_path):
    for name in ("mine", "saved"):
        Dataset.from_list([row(0)], features=FEATURES).save_to_disk(tmp_path / name)
    name = "state.json" if "_data_files" in state else "dataset_dict.json"
    (tmp_path / "saved" / name).write_text(json.dumps(state))
    with pytest.raises((PathError, ValueError), match=r"lies outside|has no list"):
        open_dataset(tmp_path / "saved")


def test_a_file_in_the_home_folder_has_no_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home/.ssh").mkdir(parents=True)
    for path in (tmp_path / "home/x.parquet", tmp_path / "x.parquet"):
        key = tmp_path / "home/.ssh/key.png"
        key.write_bytes(random_row(1)["mask"]["bytes"])
        pq.write_table(pa.Table.from_pylist([row(1, mask=named(key))], schema=FEATURES.arrow_schema), path)
        for dataset in (open_dataset(path), open_stream(path)):
            assert reach_of(dataset) == NOWHERE


def test_a_folder_in_a_cache_of_the_hub_has_its_links(tmp_path):
    folder = write_folder(tmp_path / "datasets--u--x/snapshots/1a", row(0))
    (folder / "data/train-00000.parquet").rename(tmp_path / "datasets--u--x/blob")
    (folder / "data/train-00000.parquet").symlink_to("../../../blob")
    assert len(open_dataset(folder)) == 1
    assert not failed(add_scores(open_dataset(folder), SCORE))[0]


def test_links_that_a_pattern_matches_lead_into_its_folder(tmp_path):
    private = write_folder(tmp_path / "private", row(0)) / "data/train-00000.parquet"
    folder = write_folder(tmp_path / "folder", row(0))
    (folder / "data/x.parquet").symlink_to(private)
    (folder / "x.tar").symlink_to(private)
    for pattern in (folder / "data/*.parquet", folder / "*/x.parquet"):
        for reads in (open_dataset, open_stream):
            with pytest.raises(PathError, match=r"x\.parquet lies outside"):
                reads(pattern)
    with pytest.raises(PathError, match=r"x\.tar lies outside"):
        open_stream(folder)
    assert len(open_dataset(folder / "data/x.parquet")) == 1  # that the user names


def test_a_folder_whose_name_is_a_pattern_is_never_another_one(tmp_path):
    write_folder(tmp_path / "run1", row(1))
    for name in ("run[1]", "run?", "run*"):
        folder = write_folder(tmp_path / name, row(0), row(2))
        for path in (folder, folder / "data/train-00000.parquet"):
            for reads in (open_dataset, open_stream):
                with pytest.raises(PathError, match=r"takes for a pattern.*give the folder another name"):
                    reads(path)
    assert len(open_dataset(write_folder(tmp_path / "run{1,2}", row(0), row(2)))) == 2


def test_a_generator_that_only_a_file_speaks_of_is_a_strangers(stranger, private):
    folder = stranger.parent / "arrow"
    folder.mkdir()
    with ArrowWriter(features=FEATURES, path=str(folder / "generator-train.arrow")) as writer:
        writer.write(row(0, mask=named(private)))
        writer.finalize()
    (folder / "dataset_info.json").write_text(json.dumps({"builder_name": "generator"}))
    assert reach_of(Dataset.from_file(str(folder / "generator-train.arrow"))) == Reach((str(folder),))


def test_a_folder_that_parts_paths_is_not_allowed(tmp_path):
    (tmp_path / "a:").mkdir()
    with pytest.raises(ValueError, match="has ':' in it"), allow_paths(tmp_path / "a:"):
        pass


# Raw folders


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.parquet", "images/metadata.jsonl", "labelmap.txt"])
def test_a_list_in_a_raw_folder_that_leads_outside_is_not_read(name, tmp_path):
    for folder in ("raw/images", "raw/masks", "private"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "raw/images/a.jpg").write_bytes(random_row(1)["image"]["bytes"])
    (tmp_path / "raw/masks/a.png").write_bytes(random_row(1)["mask"]["bytes"])
    (tmp_path / "private/list").write_text("file_name,caption\na.jpg,my diary\n")
    (tmp_path / "raw" / name).symlink_to(tmp_path / "private/list")
    with pytest.raises(PathError, match=r"lies outside .*, it leads to .*list"):
        import_source("folder", tmp_path / "raw", tmp_path / "out", labels="voc")


@pytest.mark.parametrize("how", ["link", "link to a folder", "table", "absolute", "device", "pipe"])
def test_a_raw_folder_that_leads_outside_is_refused_by_name(how, private, tmp_path):
    raw = tmp_path / "raw"
    for name in ("images", "masks"):
        (raw / name).mkdir(parents=True)
    (raw / "masks/a.png").write_bytes(random_row(1)["mask"]["bytes"])
    (private.parent / "a.jpg").write_bytes(random_row(1)["image"]["bytes"])
    target = private.parent / "a.jpg"
    if how == "link":
        (raw / "images/a.jpg").symlink_to(target)
    elif how == "link to a folder":
        (raw / "images").rmdir()
        (raw / "images").symlink_to(private.parent)
    elif how in ("table", "absolute"):
        name = "../../private/a.jpg" if how == "table" else target
        (raw / "images/b.jpg").write_bytes(target.read_bytes())
        (raw / "metadata.csv").write_text(f"file_name,mask_file_name\n{name},a.png\n")
    elif how == "device":
        (raw / "images/a.jpg").symlink_to("/dev/zero")
    else:
        os.mkfifo(raw / "images/a.jpg")
    with pytest.raises(ValueError, match=r"a\.jpg|a\.png|raw/images lies|listed without an image") as caught:
        import_source("folder", raw, tmp_path / "out", labels="voc")
    reasons = {"pipe": "no regular file", "table": "without an image", "absolute": "without an image"}
    assert reasons.get(how, "lies outside") in str(caught.value)
    assert not (tmp_path / "out").exists()
    if how == "link":
        with allow_paths(private.parent):
            assert import_source("folder", raw, tmp_path / "out", labels="voc")[0] == 1


# Data files that a card names


@pytest.mark.parametrize(
    "files",
    [
        "/etc/*.parquet",
        "~/x.parquet",
        "../private/*.parquet",
        "data/../../private/x.parquet",
        "https://host/x.parquet",
        "hf://datasets/u/x/x.parquet",
        "zip://x.parquet::/home/me/x.zip",
        "file:///etc/x.parquet",
        ["data/*.parquet", "/etc/x.parquet"],
        {"split": "/etc/x.parquet"},
        [{"split": "train", "path": "/etc/x.parquet"}],
        [{"split": "train", "path": ["data/x.parquet", "/etc/x.parquet"]}],
    ],
)
def test_a_card_that_names_data_files_elsewhere_is_refused(tmp_path, files):
    import yaml

    folder = write_folder(tmp_path / "folder", row(0))
    front = yaml.safe_dump({"configs": [{"config_name": "default", "data_files": files}]})
    (folder / "README.md").write_text(f"---\n{front}---\n\n# Card\n")
    for read in (open_dataset, open_stream):
        with pytest.raises(PathError, match=r"lies outside the dataset's own folder|is an address"):
            read(folder)
    with pytest.raises(PathError):
        check_card((folder / "README.md").read_text(), "u/x")  # of a repository


@pytest.mark.parametrize("front", [" ---\n{}---\n", "\n\n---\n{}---\n", "---\r\n{}---\r\n", "--- \n{}---\n"])
def test_whatever_datasets_takes_for_a_front_is_checked(tmp_path, front):
    folder = write_folder(tmp_path / "folder", row(0))
    text = front.format("configs:\n- config_name: default\n  data_files: http://127.0.0.1:9/x.parquet\n")
    (folder / "README.md").write_bytes(text.encode())
    if DatasetCard.load(folder / "README.md").data.to_dict():
        with pytest.raises(PathError, match="is an address"):
            open_dataset(folder)
    else:  # `datasets` sees no front there either
        assert len(open_dataset(folder)) == 1


def test_a_standalone_yaml_is_checked_too(tmp_path):
    folder = write_folder(tmp_path / "folder", row(0))
    (folder / ".huggingface.yaml").write_text("configs:\n- config_name: default\n  data_files: http://127.0.0.1:9/x\n")
    with pytest.raises(PathError, match="is an address"):
        open_dataset(folder)


def test_a_card_names_what_is_in_its_folder(tmp_path):
    folder = write_folder(tmp_path / "folder", row(0))
    front = "configs:\n- config_name: default\n  data_files: [{split: train, path: data/*.parquet}]\n"
    (folder / "README.md").write_text(f"---\n{front}---\n")
    assert open_dataset(folder)["id"] == next(iter(open_stream(folder)))["id"].split()
    outside = tmp_path / "elsewhere.parquet"
    (folder / "data/train-00000.parquet").rename(outside)
    (folder / "data/train-00000.parquet").symlink_to(outside)
    with pytest.raises(PathError, match="lies outside the dataset's own folder, it leads to"):
        open_dataset(folder)
    with allow_paths(tmp_path):
        assert len(open_dataset(folder)) == 1


def test_a_card_with_an_alias_bomb_is_refused(tmp_path):
    folder = write_folder(tmp_path / "folder", row(0))
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)
    )
    (folder / "README.md").write_text(f"---\nconfigs: []\n{bomb}---\n")
    with pytest.raises(ValueError, match="holds more than 100,000 values, aliases followed"):
        open_dataset(folder)
