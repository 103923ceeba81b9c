"""Scores fitted to a reference set by name, in Python and from the command line."""

import json

import pytest
from support.rows import random_dataset

from sds_hf import add_scores
from sds_hf.cli import main
from sds_hf.scores.base.fitted import fit_score, load_statistics
from sds_hf.scores.gmm_sim import GMMSim

SETTINGS = {"dtype": "fp32", "components": 4, "dimensions": 8}


def test_the_same_as_fitting_the_class(tiny_clip, tmp_path):
    settings = {**SETTINGS, "model": tiny_clip}
    by_name = fit_score("gmm_sim", [random_dataset(8)], tmp_path / "a.npz", settings)
    by_class = GMMSim.fit(random_dataset(8), tmp_path / "b.npz", **settings)
    assert isinstance(by_name, GMMSim)
    assert {**by_name.identity(), "fitted": None} == {**by_class.identity(), "fitted": None}


def test_from_the_command_line_to_the_column(tiny_clip, tmp_path, capsys):
    random_dataset(8).to_parquet(tmp_path / "real.parquet")
    options = ["--model", tiny_clip, "--labels", "voc", "--json"]
    assert main(["fit", "gmm_sim", f"{tmp_path}/real.parquet", "--out", f"{tmp_path}/gmm.npz", "--set", "components=4",
                 "--set", "dimensions=8", "--model", tiny_clip, "--dtype", "fp32", "--json"]) == 0  # fmt: skip
    summary = json.loads(capsys.readouterr().out)["result"]
    assert (summary["images"], summary["components"]) == (8, 4)
    assert summary["sha256"] == load_statistics(tmp_path / "gmm.npz", "gmm_sim").digest
    assert main(["score", f"{tmp_path}/real.parquet", "--scores", "gmm_sim", "--out", f"{tmp_path}/scores", "--dtype",
                 "fp32", "--set", f"scores.gmm_sim.fitted={tmp_path}/gmm.npz", *options]) == 0  # fmt: skip
    found = json.loads(capsys.readouterr().out)["result"]["scores"]["gmm_sim"]
    score = GMMSim(model=tiny_clip, dtype="fp32", fitted=f"{tmp_path}/gmm.npz")
    values = add_scores(random_dataset(8), score)["gmm_sim"]
    assert (found["0"], found["1"]) == pytest.approx((min(values), max(values)), abs=1e-5)


@pytest.mark.parametrize(
    ("name", "sets", "settings", "message"),
    [
        ("pcs", 1, {}, r"^'pcs' is not fitted to a reference set; these are: \['difficulty', 'gmm_sim', 'leakage'"),
        ("gmm_sim", 2, {}, "^gmm_sim is fitted to reference, not to 2 datasets$"),
        ("real_prob", 3, {}, "^real_prob is fitted to real and synthetic, not to 3 datasets$"),
        ("real_prob", 1, {"method": "lda"}, "^method 'lda' needs synthetic images beside the real ones"),
        ("gmm_sim", 1, {"parts": 3}, r"^gmm_sim: parts: there is no such setting, only \['model', 'dtype', 'comp"),
        ("gmm_sim", 1, {"dimensions": "many"}, "^gmm_sim: dimensions: .*integer.*, not 'many'$"),
    ],
)
def test_what_cannot_be_fitted(tmp_path, name, sets, settings, message):
    with pytest.raises(ValueError, match=message):
        fit_score(name, [random_dataset(2)] * sets, tmp_path / "x.npz", settings)
    assert not (tmp_path / "x.npz").exists()
