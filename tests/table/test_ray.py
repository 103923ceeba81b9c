"""Scoring on a Ray cluster, and tables in an object store."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import Dataset
from support.crashes import Crash, crash_at
from support.rows import random_dataset

from sds_hf import PCS, ScoreTable, score_table
from sds_hf.data.opening import open_dataset

missing = [name for name in ("ray", "moto", "s3fs", "upath") if importlib.util.find_spec(name) is None]
needs_ray = pytest.mark.skipif("ray" in missing, reason="Ray is not installed")
needs_s3 = pytest.mark.skipif(bool({"moto", "s3fs", "upath"} & set(missing)), reason="moto or s3fs is not installed")


@pytest.fixture(scope="module")
def rows() -> Dataset:
    return random_dataset(26)


@pytest.fixture
def scores(tiny_clip) -> list:
    return [PCS(model=tiny_clip, dtype="fp32", scales=(3,), orders=1)]


@pytest.fixture(scope="module")
def cluster():
    """A head that computes nothing and two nodes that do."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="module")
def bucket():
    """The address of a bucket of an S3 server."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    given = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "me",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    os.environ.update(given)
    boto3.client("s3").create_bucket(Bucket="scores")
    yield "s3://scores"
    server.stop()
    for name in given:
        del os.environ[name]


def shard_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("scores-*.parquet"))}


def test_an_engine_that_is_none(dataset, scores, tmp_path):
    with pytest.raises(ValueError, match="engine must be one of local, ray, not 'spark'"):
        score_table(dataset, scores, tmp_path, engine="spark")
    with pytest.raises(ValueError, match="a stream is read by one process; choose engine='local'"):
        score_table(dataset.to_iterable_dataset(), scores, tmp_path, engine="ray")


@pytest.mark.skipif("ray" not in missing, reason="Ray is installed")
def test_what_is_missing_is_named(dataset, scores, tmp_path):
    with pytest.raises(ModuleNotFoundError, match=r'the engine "ray" needs Ray: pip install "sds-hf\[ray\]"'):
        score_table(dataset, scores, tmp_path / "scores", engine="ray")
    assert not (tmp_path / "scores").exists()


@pytest.mark.slow
@needs_ray
def test_one_machine_never_imports_ray(stored, tmp_path):
    code = f"""
import sys
from datasets import load_dataset
from sds_hf import ClassesPresent, score_table
score_table(load_dataset({str(stored)!r}, split="train"), [ClassesPresent()], {str(tmp_path / "scores")!r})
assert not {{"ray", "upath", "s3fs"}} & set(sys.modules), sorted(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
@needs_ray
def test_a_node_that_dies_loses_nothing(rows, scores, cluster, tmp_path):
    score_table(rows, scores, tmp_path / "local", rows_per_shard=2, batch_size=2)
    told, nodes = [], list(cluster.worker_nodes)

    def progress(done: int, failed: int) -> None:
        told.append((done, failed))
        if done == 6:
            cluster.remove_node(nodes[0], allow_graceful=False)

    table = score_table(rows, scores, tmp_path / "ray", rows_per_shard=2, batch_size=2, engine="ray", progress=progress)
    assert told == [(done, 0) for done in range(0, 27, 2)]
    assert shard_bytes(table.folder) == shard_bytes(tmp_path / "local")
    assert table.to_arrow()["id"].to_pylist() == rows["id"][:]
    assert table.sha256 == ScoreTable.load(tmp_path / "local").sha256
    assert len(cluster.worker_nodes) == 1


@pytest.mark.slow
@needs_ray
def test_one_engine_goes_on_where_the_other_stopped(rows, scores, cluster, tmp_path):
    whole = score_table(rows, scores, tmp_path / "whole", rows_per_shard=4)
    for first, second in (("ray", "local"), ("local", "ray")):
        with pytest.raises(Crash):
            score_table(rows, scores, tmp_path / first, rows_per_shard=4, engine=first, progress=crash_at(12))
        calls: list[int] = []
        tell = {"progress": lambda done, failed, calls=calls: calls.append(done)}
        score_table(rows, scores, tmp_path / first, rows_per_shard=4, engine=second, **tell)
        assert calls[0] == 8
        assert shard_bytes(tmp_path / first) == shard_bytes(whole.folder)


@pytest.mark.slow
@needs_ray
@needs_s3
def test_source_and_table_in_an_object_store(rows, scores, cluster, bucket, tmp_path):
    from upath import UPath

    rows.to_parquet(tmp_path / "rows.parquet")
    UPath(f"{bucket}/rows/0.parquet").write_bytes((tmp_path / "rows.parquet").read_bytes())
    source = open_dataset(f"{bucket}/rows/*.parquet")
    whole = score_table(rows, scores, tmp_path / "whole", rows_per_shard=4)
    out = f"{bucket}/table"
    with pytest.raises(Crash):
        score_table(source, scores, out, rows_per_shard=4, engine="ray", progress=crash_at(20))
    with pytest.raises(ValueError, match="is not finished; run the same `sds-hf score` again"):
        ScoreTable.load(out)
    calls: list[int] = []
    settings = {"rows_per_shard": 4, "engine": "ray", "progress": lambda done, failed: calls.append(done)}
    table = score_table(source, scores, out, **settings)
    assert calls == [16, 20, 24, 26]
    assert {path.name: path.read_bytes() for path in UPath(out).glob("scores-*.parquet")} == shard_bytes(whole.folder)
    assert sorted(path.name for path in UPath(out).iterdir()) == ["manifest.json", *shard_bytes(whole.folder)]
    assert table.sha256 == ScoreTable.load(out).sha256 == whole.sha256
    with pytest.raises(ValueError, match="rows_per_shard is 4, now 5"):
        score_table(source, scores, out, rows_per_shard=5)
