"""The examples run as they stand."""

import os
import subprocess
import sys

import pytest
import torch
from support.paths import DEMO_CLIP, ROOT


def run(script: str, *args: object) -> str:
    command = [sys.executable, str(ROOT / "examples" / script), *map(str, args)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not (DEMO_CLIP / "model.safetensors").exists(), reason="the demo CLIP is not trained")
def test_quickstart():
    assert "of 40 rows kept" in run("quickstart.py")


@pytest.mark.slow
def test_the_demo_clip_can_be_trained_and_continued(tmp_path):
    """Two runs of a few steps: the second goes on from the checkpoint; the result is a model of the package."""
    small = ("--scenes", 60, "--batch", 12, "--count", 4, "--work", tmp_path / "work", "--out", tmp_path / "clip")
    said = run("demo_clip/train.py", "--samples", 24, *small)
    assert "0 of 24 samples seen" in said
    tokenizer = (tmp_path / "work" / "tokenizer" / "tokenizer.json").read_bytes()
    said = run("demo_clip/train.py", "--samples", 60, *small)
    assert "24 of 60 samples seen" in said
    assert torch.load(tmp_path / "work" / "checkpoint.pt", weights_only=True)["seen"] == 60
    assert "zero-shot, artwork held out" in (tmp_path / "clip" / "README.md").read_text()
    from sds_hf.clip.encoder import load

    encoder = load(str(tmp_path / "clip"), torch.device("cpu"), torch.float32)
    assert encoder.encode_texts(["a dog"]).shape == (1, 128)
    assert (tmp_path / "clip" / "tokenizer.json").read_bytes() == tokenizer


@pytest.mark.slow
def test_the_demo_clip_goes_on_from_its_weights_with_its_tokenizer(tmp_path):
    """The embeddings of its tokens would be those of others by a new one."""
    few = ("--samples", 12, "--scenes", 24, "--batch", 12, "--count", 2)
    run("demo_clip/train.py", *few, "--start", DEMO_CLIP, "--work", tmp_path / "work", "--out", tmp_path / "clip")
    assert (tmp_path / "clip" / "tokenizer.json").read_bytes() == (DEMO_CLIP / "tokenizer.json").read_bytes()
