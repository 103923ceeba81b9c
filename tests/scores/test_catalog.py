"""`sds-hf scores`: every score, with what a person needs to choose."""

import json

from sds_hf.cli import main
from sds_hf.scores.base.catalog import catalog, score_classes
from sds_hf.scores.base.score import ClipScore
from sds_hf.scores.base.whole_set import WholeSetScore


def test_every_score_is_listed():
    found = {entry.name: entry for entry in catalog()}
    assert list(found) == sorted(score_classes())
    for name, score in score_classes().items():
        entry = found[name]
        assert list(entry.columns) == list(score.columns)
        assert list(entry.optional_columns) == list(score.optional_columns)
        assert set(entry.needs) == score.needs
        assert entry.whole_set == issubclass(score, WholeSetScore)
        assert (entry.cost == "light") == (not issubclass(score, ClipScore))
        assert entry.source
        assert entry.meaning.endswith(".")
        assert len(entry.meaning) < 200
    assert {name: found[name].cost for name in ("clip_sim", "pcs", "asf_miou", "tfdp")} == {
        "clip_sim": "forward", "pcs": "forwards", "asf_miou": "dense", "tfdp": "light",
    }  # fmt: skip


def test_the_command(capsys):
    assert main(["scores", "--json"]) == 0
    listed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)["result"]["scores"]}
    assert listed["tfdp"]["columns"] == {
        "scs": "double", "si_scs": "double", "cb_scs": "double", "num_instances": "int32"
    }  # fmt: skip
    assert main(["scores"]) == 0
    shown = capsys.readouterr().out
    for name in score_classes():
        assert name in shown
    assert "TFDP (Dai et al., ICLR 2025)" in " ".join(shown.split())
