"""The benchmark counts the right operations and adds up; how fast this machine is, is not tested."""

import json

import pytest
import torch

from sds_hf.bench import bench, bench_rows, count_flops
from sds_hf.cli import main
from sds_hf.clip.encoder import load
from sds_hf.clip.stages import Stages, stage


def test_operations_of_the_encoder(tiny_clip):
    """Three blocks of width 32 over 37 tokens; of the last one only the class token goes all the way."""
    encoder, pixels = load(tiny_clip, torch.device("cpu"), torch.float32), torch.randn(2, 3, 48, 48)
    tokens, width, inner = 37, 32, 64
    block = 2 * tokens * width * (4 * width + 2 * inner) + 4 * tokens**2 * width
    last = 2 * tokens * 2 * width**2 + 2 * width * (2 * width + 2 * inner) + 4 * tokens * width
    embedding, projection = 2 * 36 * 3 * 64 * width, 2 * width * 16
    assert count_flops(lambda: encoder.encode_images(pixels)) == 2 * (2 * block + last + embedding + projection)


@pytest.fixture(scope="module")
def result(tiny_clip):
    return bench(model=tiny_clip, rows=6, batch_size=3, image_size=64)


def test_speeds_add_up(result):
    assert set(result.scores) == {"clip_sim", "pcs", "asf_miou", "together"}
    for speed in (result.encoder, *result.scores.values()):
        assert speed.share == pytest.approx(speed.flops / result.matmul_flops)
        assert 0 < speed.share < 1
    flops = {name: speed.flops / speed.per_second for name, speed in result.scores.items()}
    assert flops["together"] == pytest.approx(flops["pcs"] + flops["asf_miou"], rel=1e-6)
    assert 9.5 < flops["pcs"] / flops["clip_sim"] < 10.5


def test_every_part_of_the_pass_has_its_share(result):
    named = {"decoding", "transfer", "preprocessing", "image encoder", "native encoder", "class activation", "affinity"}
    assert named <= set(result.stages)
    assert all(0 < share < 1 for share in result.stages.values())
    assert sum(result.stages.values()) < 1.5  # decoding runs beside the others


def test_the_plan_is_in_proportion(result):
    seconds, size = result.plan(1000)
    assert seconds == pytest.approx(1000 / result.scores["together"].per_second)
    assert size == round(1000 * result.bytes_per_row)


def test_rows_are_the_same_each_time():
    assert bench_rows(3, 32)[:]["classes"] == bench_rows(3, 32)[:]["classes"]
    assert [len(classes) for classes in bench_rows(6, 32)["classes"]] == [1, 2, 3, 1, 2, 3]


def test_nobody_listening_costs_nothing():
    with stage("unheard"):
        pass
    with Stages() as stages, stage("heard"):
        pass
    assert list(stages.seconds) == ["heard"]


def test_on_the_command_line(tiny_clip, capsys):
    options = ["bench", "--model", tiny_clip, "--rows", "3", "--batch-size", "3", "--image-size", "64"]
    assert main([*options, "--scores", "clip_sim", "--planned", "5000", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["result"]
    assert said["plan"]["rows"] == 5000
    assert set(said["scores"]) == {"clip_sim", "together"}
    assert main([*options, "--set", "asf_miou.refine=none"]) == 0
    text = capsys.readouterr().out
    assert "pcs + asf_miou together" in text
    assert "100,000 rows would take" in text


def test_unknown_scores_are_named(capsys):
    assert main(["bench", "--scores", "clip_simm"]) == 2
    assert "clip_simm" in capsys.readouterr().err
