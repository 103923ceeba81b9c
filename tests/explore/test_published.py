"""The page beside a published set."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from huggingface_hub import hf_hub_download

from sds_hf.check.verify import verify
from sds_hf.explore.bundle import NAMES, page_file
from sds_hf.explore.published import write_explorer
from sds_hf.hub.layout import read_manifest


@pytest.fixture(scope="module")
def folder(job, tmp_path_factory):
    folder = tmp_path_factory.mktemp("explored") / "published"
    job.publish(folder=folder, explorer=write_explorer)
    return folder


def test_pictures_lie_where_the_page_is_told(job, folder):
    config = json.loads((folder / "explorer" / "explore.json").read_text(encoding="utf-8"))
    places = pq.read_table(folder / "explorer" / config["pictures"]["index"]).to_pylist()
    assert [line["row"] for line in places] == job.selection.kept_rows().tolist()
    published = pq.read_table(sorted((folder / "data").glob("*.parquet"))).to_pylist()
    for line, row in zip(places, published, strict=True):
        data = (folder / "explorer" / config["pictures"]["files"][line["file"]]).read_bytes()
        for name in ("image", "mask"):
            assert data[line[f"{name}_start"] :][: line[f"{name}_size"]] == row[name]["bytes"]
    assert (folder / "explorer" / config["tables"][0]["url"]).resolve() == folder / "scores" / "candidates.parquet"
    assert pq.read_table(folder / "explorer" / "pixels.parquet").num_rows == 12


def test_its_files_are_listed_and_checked(folder):
    listed = {entry["path"] for entry in read_manifest(folder / "manifest.json")["files"]}
    assert {f"explorer/{name}" for name in (*NAMES, "explore.json", "pictures.parquet", "pixels.parquet")} <= listed
    assert (folder / "explorer" / "page.js").read_bytes() == page_file("page.js")
    assert verify(folder).ok


def test_a_new_version_without_it_removes_it(job, folder, tmp_path):
    job.publish(folder=tmp_path / "again", explorer=write_explorer)
    published = job.publish(folder=tmp_path / "again", overwrite=True)
    assert "explorer/page.js" in published.removed
    assert not (tmp_path / "again" / "explorer").exists()


def test_on_the_hub_it_reads_from_there(job, hub):
    job.publish(to="user/explored", explorer=write_explorer)
    path = Path(hf_hub_download("user/explored", "explorer/explore.json", repo_type="dataset"))
    config = json.loads(path.read_text(encoding="utf-8"))
    assert config["tables"] == [{"url": f"{hub.url}/datasets/user/explored/resolve/main/scores/candidates.parquet"}]


def test_it_says_nothing_of_the_user_that_the_address_of_the_hub_does(job, hub, monkeypatch, tmp_path):
    def write(folder, dataset, selection, recipe, report):
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url.replace("://", "://me:S3CRET@"))
        publish = recipe.publish.model_copy(update={"to": "user/explored", "folder": None})
        write_explorer(folder, dataset, selection, recipe.model_copy(update={"publish": publish}), report)

    job.publish(folder=tmp_path / "out", explorer=write)
    config = json.loads((tmp_path / "out/explorer/explore.json").read_text(encoding="utf-8"))
    assert config["tables"] == [{"url": f"{hub.url}/datasets/user/explored/resolve/main/scores/candidates.parquet"}]
    assert "S3CRET" not in json.dumps(config)


def test_without_scores_there_is_nothing_to_explore(job, tmp_path):
    with pytest.raises(ValueError, match="give the score table"):
        job.publish(folder=tmp_path / "out", explorer=write_explorer, scores=None)
