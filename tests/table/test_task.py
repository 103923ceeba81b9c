"""What is looked up for a table is looked up once."""

import shutil
from pathlib import Path

import pytest

from sds_hf import ASF, PCS, score_table
from sds_hf.clip import checkpoints, encoder
from sds_hf.table import task


@pytest.fixture
def own_clip(tiny_clip, tmp_path) -> Path:
    """A copy of the model that nothing in this process has seen."""
    return Path(shutil.copytree(tiny_clip, tmp_path / "clip"))


def scores(model: Path) -> list:
    return [PCS(model=str(model), dtype="fp32", scales=(3,), orders=1), ASF(model=str(model), dtype="fp32")]


def test_a_checkpoint_its_files_and_the_request_are_made_once(dataset, own_clip, tmp_path, monkeypatch):
    checkpoints.model_files("demo")  # with which every model is compared: read once a process
    read, requested = [], []
    digest_of, request = checkpoints.sha256_of, task.request

    def digest(path):
        read.append(path.name)
        return digest_of(path)

    def made(*args):
        requested.append(args)
        return request(*args)

    monkeypatch.setattr(checkpoints, "sha256_of", digest)
    monkeypatch.setattr(task, "request", made)
    score_table(dataset.select(range(1)), scores(own_clip), tmp_path / "scores")
    assert sorted(read) == sorted(path.name for path in own_clip.iterdir())
    assert len(requested) == 1


def test_weights_that_change_are_noticed(own_clip, other_clip):
    before = checkpoints.model_files(str(own_clip)).digest
    shutil.copy(Path(other_clip) / "model.safetensors", own_clip)
    assert checkpoints.model_files(str(own_clip)).digest != before


def test_no_model_is_loaded_where_nothing_is_left_to_score(dataset, own_clip, tmp_path, monkeypatch):
    """Nor to say in the manifest what it does to an image."""
    table = score_table(dataset.select(range(1)), scores(own_clip), tmp_path / "scores")
    (model,) = table.manifest["models"].values()
    assert model["preprocessing"]["size"] == [48, 48]
    monkeypatch.setattr(encoder.Encoder, "__init__", lambda *args: pytest.fail("a model is loaded"))
    monkeypatch.setattr(encoder, "_loaded", {})
    assert score_table(dataset.select(range(1)), scores(own_clip), tmp_path / "scores").sha256 == table.sha256
    (told,) = scores(own_clip)[0].models().values()
    assert told["preprocessing"]["mean"] == tuple(model["preprocessing"]["mean"])
