"""Shared fixtures: a Hub server, tiny models with random weights, and small datasets. Nothing here needs a network."""

import os
import shutil
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # each worker has a core

from support.session import HOME, HUB  # isort: skip  (it sets the environment that the others read)

import hypothesis
import pytest
from datasets import Dataset
from support.models import make_clip
from support.rows import random_dataset

# A busy machine is no failure, and a change is judged by the same examples every time; EXPLORE=1 draws others.
hypothesis.settings.register_profile("tests", deadline=None, derandomize="EXPLORE" not in os.environ)
hypothesis.settings.load_profile("tests")


@pytest.fixture(scope="session", autouse=True)
def _clean_up():
    yield
    HUB.stop()
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture
def hub():
    """The Hub server, without faults and with an empty log."""
    HUB.faults.clear()
    HUB.faults.log.clear()
    yield HUB
    HUB.faults.clear()


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory) -> str:
    """Path of a random CLIP: images of 48 pixels, patches of 8."""
    return str(make_clip(tmp_path_factory.mktemp("clip")))


@pytest.fixture(scope="session")
def other_clip(tmp_path_factory) -> str:
    """The same architecture with other weights."""
    return str(make_clip(tmp_path_factory.mktemp("clip"), seed=1))


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """Twelve rows in memory."""
    return random_dataset()


@pytest.fixture(scope="session")
def stored(dataset, tmp_path_factory) -> Path:
    """The same rows as a folder that `load_dataset` reads."""
    from sds_hf.data.folder import write_data_folder

    out = tmp_path_factory.mktemp("stored") / "rows"
    rows = dataset.with_format("arrow")[:].to_pylist()
    write_data_folder(rows, dataset.features, out)
    return out


@pytest.fixture(scope="session")
def job(tiny_clip, tmp_path_factory):
    """Twelve candidates, scored and selected; to be published, not to be changed."""
    from support.jobs import make_job

    return make_job(tiny_clip, tmp_path_factory.mktemp("job"))


@pytest.fixture(scope="session")
def published(job, tmp_path_factory) -> Path:
    """The folder that the job publishes; to be read, or copied to be spoilt."""
    folder = tmp_path_factory.mktemp("out") / "published"
    job.publish(folder=folder)
    return folder
